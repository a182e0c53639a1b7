//! Reading a checkpoint.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, File, OpenMode};
use raft::EntryId;
use seglog::Position;

use super::{
    BLOCK_AUTH, BLOCK_DOWNGRADE, BLOCK_END, BLOCK_HISTORY, BLOCK_KEYS, BLOCK_TABLES, Checkpoint,
    MAGIC, NEW_SUFFIX, PREFIX, block_crc, decode_history, decode_keys, decode_tables, file_name,
};
use crate::auth::decode_state;
use crate::codec::{Decoder, Malformed, decode_downgrade};
use crate::state::State;

/// What a checkpoint says, on its way into the state.
pub(crate) struct Loaded {
    pub(super) applied: EntryId,
    pub(super) state: State,
}

impl Loaded {
    /// The state that it holds.
    pub(crate) fn into_state(self, state: &mut State) {
        let budget = state.memory_budget_bytes;
        *state = self.state;
        state.applied = self.applied;
        state.memory_budget_bytes = budget;
    }
}

/// Loads the newest checkpoint of a folder, if there is one. There is at most one: it gets its
/// name when all of it is durable, so a damaged one is an error.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> io::Result<Option<(Checkpoint, Loaded)>> {
    let mut newest = None;
    for name in disk.list(dir)? {
        if name.ends_with(NEW_SUFFIX) {
            disk.remove_file(&dir.join(name))?;
        } else if let Some(number) = name.strip_prefix(PREFIX).and_then(|n| n.parse().ok()) {
            newest = newest.max(Some(number));
        }
    }
    let Some(number) = newest else { return Ok(None) };
    let path = dir.join(file_name(number));
    let file: Arc<dyn File> = disk.open(&path, OpenMode::ReadOnly)?.into();
    let len_bytes = file.len_bytes()?;
    match read_blocks(&*file, len_bytes)? {
        Some((replay_from, loaded)) => {
            Ok(Some((Checkpoint { number, replay_from, len_bytes, file }, loaded)))
        }
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is damaged: restore the node from its peers", path.display()),
        )),
    }
}

/// `None` for damage.
fn read_blocks(file: &dyn File, len_bytes: u64) -> io::Result<Option<(Position, Loaded)>> {
    let mut magic = [0; 8];
    if len_bytes < 8 {
        return Ok(None);
    }
    file.read_exact_at(&mut magic, 0)?;
    if magic != *MAGIC {
        return Ok(None);
    }
    let mut at = 8;
    let mut result: Option<(Position, Loaded)> = None;
    while at + 8 <= len_bytes {
        let mut head = [0; 8];
        file.read_exact_at(&mut head, at)?;
        let (len, crc) = head.split_at(4);
        let len = u32::from_le_bytes(len.try_into().expect("four bytes"));
        let crc = u32::from_le_bytes(crc.try_into().expect("four bytes"));
        if u64::from(len) > len_bytes - at - 8 {
            return Ok(None);
        }
        let mut block = vec![0; len as usize];
        file.read_exact_at(&mut block, at + 8)?;
        if block_crc(at, &block) != crc {
            return Ok(None);
        }
        at += 8 + u64::from(len);
        let mut d = Decoder::new(Bytes::from(block));
        let block = match (d.u8(), &mut result) {
            (Ok(BLOCK_TABLES), None) => decode_tables(&mut d).map(|tables| {
                result = Some(tables);
            }),
            (Ok(BLOCK_AUTH), Some((_, loaded))) => decode_state(&mut d).map(|auth| {
                loaded.state.auth = auth;
            }),
            (Ok(BLOCK_DOWNGRADE), Some((_, loaded))) => decode_downgrade(&mut d).map(|target| {
                loaded.state.downgrade = target;
            }),
            (Ok(BLOCK_HISTORY), Some((_, loaded))) => decode_history(&mut d, &mut loaded.state),
            (Ok(BLOCK_KEYS), Some((_, loaded))) => decode_keys(&mut d, &mut loaded.state),
            (Ok(BLOCK_END), Some(_)) => return Ok(result),
            _ => Err(Malformed),
        };
        if block.is_err() {
            return Ok(None);
        }
    }
    Ok(None)
}
