//! The index on disk, so that a restart need not read every record.
//!
//! A checkpoint is written in small steps while apply goes on, so its parts are of different
//! moments. That does no harm: recovery begins with the records that were written when the
//! checkpoint began, and a change that a part has already is recognised by its revision. The tables
//! (leases, alarms, members, users and roles) are all of the first moment.
//!
//! A file is a sequence of blocks, each with length and checksum; the last one says that it is.

mod check;
mod load;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{Disk, File, OpenMode};
use raft::EntryId;
use seglog::Position;

use crate::auth::encode_state;
use crate::codec::{
    Decoder, Encoder, Malformed, decode_alarm, decode_member, encode_alarm, encode_downgrade,
    encode_member,
};
use crate::index::{Location, Version, Versions};
use crate::request::{AlarmMember, LeaseId, MemberAttributes};
use crate::state::{Lease, SegmentUse, State};
use crate::store::Shared;

pub(crate) use check::{check_blocks, is_name};
pub(crate) use load::{Loaded, load};

const MAGIC: &[u8; 8] = b"flotckp1";
const PREFIX: &str = "checkpoint-";
const NEW_SUFFIX: &str = ".new";

const BLOCK_TABLES: u8 = 1;
const BLOCK_HISTORY: u8 = 2;
const BLOCK_KEYS: u8 = 3;
const BLOCK_END: u8 = 4;
/// Users and roles, if there ever were any.
const BLOCK_AUTH: u8 = 5;
/// The downgrade under way, if there is one.
const BLOCK_DOWNGRADE: u8 = 6;

/// Chunks of the index, or this many times 256 revisions, that one step takes under the lock.
const CHUNKS_PER_STEP: usize = 4;
const REVISIONS_PER_STEP: i64 = 4096;

/// Bytes written between two syncs, so that the last one is not a long one.
const BYTES_PER_SYNC: u64 = 2 << 20;

/// A checkpoint that is durable.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) number: u64,
    pub(crate) replay_from: Position,
    pub(crate) len_bytes: u64,
    pub(crate) file: Arc<dyn File>,
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}

/// A checkpoint on its way to disk.
#[derive(Debug)]
pub(crate) struct CheckpointJob {
    number: u64,
    replay_from: Position,
    file: Option<Arc<dyn File>>,
    path_new: PathBuf,
    written: u64,
    synced: u64,
    encoder: Encoder,
    /// The blocks of users and roles and of a downgrade, of the same moment as the tables; those
    /// that are not written yet, the last one first.
    rare: Vec<Vec<u8>>,
    next_revision: i64,
    end_revision: i64,
    after: Option<Box<[u8]>>,
    done: bool,
}

impl CheckpointJob {
    /// Takes down the tables. The caller's thread is the only one that changes them, and
    /// `replay_from` is where it appends next.
    pub(crate) fn begin(number: u64, replay_from: Position, state: &State) -> Self {
        let mut encoder = Encoder::default();
        encoder.u8(BLOCK_TABLES);
        encode_tables(&mut encoder, replay_from, state);
        Self {
            number,
            replay_from,
            file: None,
            path_new: PathBuf::new(),
            written: 0,
            synced: 0,
            encoder,
            rare: [encode_downgrade_block(state), encode_auth(state)]
                .into_iter()
                .flatten()
                .collect(),
            next_revision: state.history.first,
            end_revision: state.revision,
            after: None,
            done: false,
        }
    }

    /// Writes one block; returns whether all is written.
    pub(crate) fn step(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        shared: &Shared,
    ) -> io::Result<bool> {
        if self.file.is_none() {
            self.path_new = dir.join(file_name(self.number) + NEW_SUFFIX);
            if disk.exists(&self.path_new)? {
                disk.remove_file(&self.path_new)?;
            }
            let file = disk.open(&self.path_new, OpenMode::CreateNew)?;
            file.write_all_at(MAGIC, 0)?;
            self.written = MAGIC.len() as u64;
            self.file = Some(file.into());
        } else if let Some(block) = self.rare.pop() {
            self.encoder.bytes = block;
        } else {
            self.collect(&shared.state.read());
        }
        self.write_block()?;
        Ok(self.done)
    }

    /// Fills the next block.
    fn collect(&mut self, state: &State) {
        let e = &mut self.encoder;
        // What was compacted since is gone from history; what came since is in the log.
        self.next_revision = self.next_revision.max(state.history.first);
        if self.next_revision <= self.end_revision {
            let end = self.end_revision.min(self.next_revision + REVISIONS_PER_STEP - 1);
            e.u8(BLOCK_HISTORY);
            e.i64(self.next_revision);
            let count = usize::try_from(end + 1 - self.next_revision).unwrap_or(0);
            e.len(count);
            for revision in self.next_revision..=end {
                let location = state.history.get(revision);
                encode_location(e, location.expect("history has all revisions from its first on"));
            }
            self.next_revision = end + 1;
            return;
        }
        let mut any = false;
        for _ in 0..CHUNKS_PER_STEP {
            let Some(mut chunk) = state.index.some_after(self.after.as_deref()) else { break };
            if !any {
                e.u8(BLOCK_KEYS);
                any = true;
            }
            for (key, versions) in chunk.clone() {
                encode_key(e, key, versions);
            }
            self.after = chunk.next_back().map(|(key, _)| key.into());
        }
        if !any {
            e.u8(BLOCK_END);
            self.done = true;
        }
    }

    fn write_block(&mut self) -> io::Result<()> {
        let file = self.file.as_ref().expect("the first step opened it");
        let block = std::mem::take(&mut self.encoder.bytes);
        let len = u32::try_from(block.len())
            .map_err(|_| io::Error::other("the tables of the store are beyond 4 GiB"))?;
        let mut head = [0; 8];
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4..].copy_from_slice(&block_crc(self.written, &block).to_le_bytes());
        file.write_all_at(&head, self.written)?;
        file.write_all_at(&block, self.written + 8)?;
        self.written += 8 + u64::from(len);
        if self.done || self.written - self.synced > BYTES_PER_SYNC {
            file.sync_data()?;
            self.synced = self.written;
        }
        self.encoder.bytes = block;
        self.encoder.bytes.clear();
        Ok(())
    }

    /// Makes the checkpoint the one to begin with, and removes those before it.
    pub(crate) fn finish(self, disk: &dyn Disk, dir: &Path) -> io::Result<Checkpoint> {
        assert!(self.done, "a checkpoint is finished when all is written");
        disk.rename(&self.path_new, &dir.join(file_name(self.number)))?;
        disk.sync_dir(dir)?;
        remove_all_but(disk, dir, self.number)?;
        Ok(Checkpoint {
            number: self.number,
            replay_from: self.replay_from,
            len_bytes: self.written,
            file: self.file.expect("all is written"),
        })
    }
}

fn remove_all_but(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    let keep = file_name(number);
    for name in disk.list(dir)? {
        if name.starts_with(PREFIX) && name != keep {
            disk.remove_file(&dir.join(name))?;
        }
    }
    Ok(())
}

/// Over the place as well, so that a block cannot pass for another one.
fn block_crc(at: u64, block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&at.to_le_bytes()), block)
}

fn encode_location(e: &mut Encoder, location: Location) {
    e.u64(u64::from(location.segment));
    e.u64(u64::from(location.offset));
    e.u64(u64::from(location.len_bytes));
}

fn decode_u32(d: &mut Decoder) -> Result<u32, Malformed> {
    u32::try_from(d.u64()?).map_err(|_| Malformed)
}

fn decode_location(d: &mut Decoder) -> Result<Location, Malformed> {
    Ok(Location { segment: decode_u32(d)?, offset: decode_u32(d)?, len_bytes: decode_u32(d)? })
}

fn encode_auth(state: &State) -> Option<Vec<u8>> {
    let mut e = Encoder::default();
    e.u8(BLOCK_AUTH);
    encode_state(&mut e, &state.auth);
    (!state.auth.is_pristine()).then_some(e.bytes)
}

fn encode_downgrade_block(state: &State) -> Option<Vec<u8>> {
    let mut e = Encoder::default();
    e.u8(BLOCK_DOWNGRADE);
    encode_downgrade(&mut e, state.downgrade);
    state.downgrade.is_some().then_some(e.bytes)
}

fn encode_tables(e: &mut Encoder, replay_from: Position, state: &State) {
    e.u64(replay_from.segment);
    e.u64(u64::from(replay_from.offset));
    e.u64(state.applied.term.0);
    e.u64(state.applied.index.0);
    e.i64(state.revision);
    e.i64(state.compact_revision);
    e.len(state.leases.len());
    for (id, lease) in &state.leases {
        e.i64(id.0);
        e.i64(lease.ttl);
        e.i64(lease.remaining_ttl);
    }
    e.len(state.alarms.len());
    state.alarms.iter().for_each(|alarm| encode_alarm(e, *alarm));
    e.len(state.members.len());
    state.members.values().for_each(|member| encode_member(e, member));
    e.len(state.segments.len());
    for (segment, usage) in &state.segments {
        e.u64(u64::from(*segment));
        e.u64(usage.total);
        e.i64(usage.last_revision);
    }
}

fn decode_tables(d: &mut Decoder) -> Result<(Position, Loaded), Malformed> {
    let replay_from = Position { segment: d.u64()?, offset: decode_u32(d)?, len_bytes: 0 };
    let applied = EntryId::new(d.u64()?, d.u64()?);
    let mut state = State::new(0);
    state.revision = d.i64()?;
    state.compact_revision = d.i64()?;
    state.history.first = state.compact_revision.max(state.history.first);
    let leases = d.list(|d| Ok((LeaseId(d.i64()?), d.i64()?, d.i64()?)))?;
    for (id, ttl, remaining_ttl) in leases {
        state.leases.insert(id, Lease { ttl, remaining_ttl, keys: Default::default() });
    }
    let alarms: Vec<AlarmMember> = d.list(decode_alarm)?;
    state.alarms = alarms.into_iter().collect();
    let members: Vec<MemberAttributes> = d.list(decode_member)?;
    state.members = members.into_iter().map(|member| (member.id, member)).collect();
    let segments = d.list(|d| {
        let usage =
            |d: &mut Decoder| Ok(SegmentUse { total: d.u64()?, live: 0, last_revision: d.i64()? });
        Ok((decode_u32(d)?, usage(d)?))
    })?;
    state.segments = segments.into_iter().collect();
    Ok((replay_from, Loaded { applied, state }))
}

fn decode_history(d: &mut Decoder, state: &mut State) -> Result<(), Malformed> {
    let first = d.i64()?;
    let locations = d.list(decode_location)?;
    let history = &mut state.history;
    if history.locations.is_empty() {
        history.first = first;
    }
    if history.get(first - 1).is_none() && !history.locations.is_empty() {
        // A compaction forgot what lies between while the checkpoint was written.
        history.locations.clear();
        history.first = first;
    }
    history.locations.extend(locations);
    Ok(())
}

fn encode_key(e: &mut Encoder, key: &[u8], versions: &Versions) {
    e.slice(key);
    e.len(versions.older().len() + 1);
    for found in versions.all() {
        let version = found.version;
        e.i64(version.mod_revision);
        e.i64(version.create_revision);
        e.i64(version.version);
        e.u64(u64::from(version.sub));
        e.i64(found.lease.0);
        encode_location(e, version.location);
    }
}

fn decode_keys(d: &mut Decoder, state: &mut State) -> Result<(), Malformed> {
    while !d.is_at_end() {
        let key = d.slice()?;
        let versions = d.list(|d| {
            let mod_revision = d.i64()?;
            let create_revision = d.i64()?;
            let version = d.i64()?;
            let sub = decode_u32(d)?;
            let lease = LeaseId(d.i64()?);
            let location = decode_location(d)?;
            Ok((Version { mod_revision, create_revision, version, sub, location }, lease))
        })?;
        let versions = Versions::from_checkpoint(versions).ok_or(Malformed)?;
        if !state.index.append(&key, versions) {
            return Err(Malformed);
        }
    }
    Ok(())
}
