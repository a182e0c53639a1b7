//! The ordered index: key → versions, in memory.
//!
//! Two levels of sorted arrays: chunks of up to [`CHUNK_MAX`] keys. Against a B-tree of the standard
//! library it is denser (a chunk that keys are appended to fills up), and it counts a range without
//! walking it: each chunk knows how many of its keys exist.

mod version;

use bytes::Bytes;

use crate::key_range::KeyRange;
use crate::request::LeaseId;

pub(crate) use version::{Location, ValueRef, Version, VersionRef, Versions};

/// Keys in a chunk. Inserting moves half of it, 16 bytes of pointer and length and 8 of record a key;
/// counting walks two chunks and the table of them.
const CHUNK_MAX: usize = 256;

/// What a key costs beside its bytes and its value: entry, record, allocator.
const KEY_OVERHEAD_BYTES: usize = 24 + 64 + 16;

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    versions: Box<Versions>,
}

/// Invariant: not empty; keys rise, all at or above `lower`, which is above all keys before it.
#[derive(Debug)]
struct Chunk {
    lower: Box<[u8]>,
    entries: Vec<Entry>,
    /// Keys whose latest version is no tombstone.
    live_count: usize,
    /// Whether a key may have versions for a compaction to drop.
    has_history: bool,
}

impl Chunk {
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (*entry.key).cmp(key))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    chunks: Vec<Chunk>,
    live_count: usize,
    memory_bytes: usize,
}

impl Index {
    /// Keys that exist now.
    pub(crate) fn live_count(&self) -> usize {
        self.live_count
    }

    /// Keys and values in memory, with what they cost beside.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The chunk that has or would have `key`.
    fn chunk_of(&self, key: &[u8]) -> usize {
        self.chunks.partition_point(|chunk| &*chunk.lower <= key).saturating_sub(1)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Versions> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        Some(&chunk.entries[chunk.find(key).ok()?].versions)
    }

    /// Makes a version the latest of its key. `value` is `None` for tombstones and for values that
    /// are to stay on disk. Returns the value before, if it was in memory.
    pub(crate) fn push(
        &mut self,
        key: &[u8],
        version: Version,
        lease: LeaseId,
        value: Option<Bytes>,
    ) -> Option<Bytes> {
        let at = self.chunk_of(key);
        let live = !version.is_tombstone();
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.insert_new(at, 0, key, Versions::new(version, lease, value));
            return None;
        };
        match chunk.find(key) {
            Ok(found) => {
                let versions = &mut *chunk.entries[found].versions;
                let was_live = !versions.latest.is_tombstone();
                self.memory_bytes -= versions.value_bytes();
                let old = versions.push(version, lease, value);
                self.memory_bytes += versions.value_bytes() + size_of::<(Version, LeaseId)>();
                chunk.has_history = true;
                chunk.live_count = chunk.live_count + usize::from(live) - usize::from(was_live);
                self.live_count = self.live_count + usize::from(live) - usize::from(was_live);
                old
            }
            Err(place) => {
                self.insert_new(at, place, key, Versions::new(version, lease, value));
                None
            }
        }
    }

    /// Adds a key with all its versions, as a checkpoint has them. `false`, and nothing is done, if
    /// the key is not behind all others.
    #[must_use]
    pub(crate) fn append(&mut self, key: &[u8], versions: Versions) -> bool {
        let last = self.chunks.last().and_then(|chunk| chunk.entries.last());
        if last.is_some_and(|last| *last.key >= *key) {
            return false;
        }
        let at = self.chunks.len().saturating_sub(1);
        let place = self.chunks.last().map_or(0, |chunk| chunk.entries.len());
        self.insert_new(at, place, key, versions);
        true
    }

    fn insert_new(&mut self, mut at: usize, mut place: usize, key: &[u8], versions: Versions) {
        let live = usize::from(!versions.latest.is_tombstone());
        self.live_count += live;
        self.memory_bytes +=
            key.len() + KEY_OVERHEAD_BYTES + versions.value_bytes() + size_of_val(versions.older());
        let has_history = versions.has_history();
        let entry = Entry { key: key.into(), versions: Box::new(versions) };
        match self.chunks.get_mut(at) {
            None => {
                at = 0;
                self.chunks.push(Chunk::new(Box::default(), Vec::new()));
            }
            Some(chunk) if chunk.entries.len() == CHUNK_MAX => {
                // A chunk that grows at its end stays full: keys often come in order.
                let cut = if place == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
                let upper = chunk.entries.split_off(cut);
                chunk.recount();
                let lower = upper.first().map_or(&entry.key, |first| &first.key).clone();
                // A key below the lower end of the new chunk must stay in the old one.
                let belongs_to_upper = upper.is_empty() || place > cut;
                self.chunks.insert(at + 1, Chunk::new(lower, upper));
                if belongs_to_upper {
                    at += 1;
                    place -= cut;
                }
            }
            Some(_) => {}
        }
        let chunk = &mut self.chunks[at];
        chunk.entries.insert(place, entry);
        chunk.live_count += live;
        chunk.has_history |= has_history;
    }

    /// Keys of the range in order, with all their versions.
    pub(crate) fn range<'a, 'r>(
        &'a self,
        range: &'r KeyRange,
    ) -> impl Iterator<Item = (&'a [u8], &'a Versions)> + use<'a, 'r> {
        let at = self.chunk_of(&range.start);
        let (first, rest) = match self.chunks.get(at) {
            Some(chunk) => {
                let place = chunk.find(&range.start).unwrap_or_else(|place| place);
                (&chunk.entries[place..], &self.chunks[at + 1..])
            }
            None => (&[][..], &[][..]),
        };
        first
            .iter()
            .chain(rest.iter().flat_map(|chunk| &chunk.entries))
            .map(|entry| (&*entry.key, &*entry.versions))
            .take_while(|(key, _)| !range.ends_before(key))
    }

    /// How many keys of the range exist now.
    pub(crate) fn count(&self, range: &KeyRange) -> usize {
        if range.is_single() {
            return usize::from(self.get(&range.start).is_some_and(|v| !v.latest.is_tombstone()));
        }
        let mut count = 0;
        for chunk in &self.chunks[self.chunk_of(&range.start).min(self.chunks.len())..] {
            let (Some(first), Some(last)) = (chunk.entries.first(), chunk.entries.last()) else {
                continue;
            };
            if range.ends_before(&first.key) {
                break;
            }
            if range.contains(&first.key) && range.contains(&last.key) {
                count += chunk.live_count;
                continue;
            }
            let inside = chunk.entries.iter().filter(|entry| range.contains(&entry.key));
            count += inside.filter(|entry| !entry.versions.latest.is_tombstone()).count();
        }
        count
    }

    /// Some keys behind `after` (or from the beginning), as many as their chunk has: a walk that
    /// other changes may interrupt goes on behind the last of them. `None` at the end.
    pub(crate) fn some_after<'a>(
        &'a self,
        after: Option<&[u8]>,
    ) -> Option<impl DoubleEndedIterator<Item = (&'a [u8], &'a Versions)> + Clone + use<'a>> {
        let chunk = self.chunks.get(self.chunk_number_after(after))?;
        // Keys may have come to the chunk since its others were visited.
        let visited =
            after.map_or(0, |after| chunk.entries.partition_point(|entry| *entry.key <= *after));
        Some(chunk.entries[visited..].iter().map(|entry| (&*entry.key, &*entry.versions)))
    }

    fn chunk_number_after(&self, after: Option<&[u8]>) -> usize {
        let Some(after) = after else { return 0 };
        let at = self.chunk_of(after);
        match self.chunks.get(at).and_then(|chunk| chunk.entries.last()) {
            Some(last) if *last.key > *after => at,
            _ => at + 1,
        }
    }

    /// Drops in the chunk behind `after` what a compaction at `revision` made unreadable, and tells
    /// it. Returns the key to go on behind, `None` at the end.
    pub(crate) fn compact_chunk(
        &mut self,
        after: Option<&[u8]>,
        revision: i64,
        mut dropped: impl FnMut(&Version),
    ) -> Option<Box<[u8]>> {
        let at = self.chunk_number_after(after);
        let chunk = self.chunks.get_mut(at)?;
        let last = chunk.entries.last()?.key.clone();
        if !chunk.has_history {
            return Some(last);
        }
        let mut freed_bytes = 0;
        chunk.entries.retain_mut(|entry| {
            let older_bytes = size_of_val(entry.versions.older());
            let gone = entry.versions.compact(revision, &mut dropped);
            freed_bytes += older_bytes - size_of_val(entry.versions.older());
            if gone {
                freed_bytes += entry.key.len() + KEY_OVERHEAD_BYTES;
            }
            !gone
        });
        chunk.recount();
        self.memory_bytes -= freed_bytes;
        if chunk.entries.is_empty() {
            self.chunks.remove(at);
            if let Some(first) = self.chunks.first_mut() {
                // Every key must have a chunk to go to.
                first.lower = Box::default();
            }
        }
        Some(last)
    }

    /// Changes values in memory or locations of the keys in the chunk behind `after`.
    pub(crate) fn update_chunk(
        &mut self,
        after: Option<&[u8]>,
        mut update: impl FnMut(&[u8], &mut Versions),
    ) -> Option<Box<[u8]>> {
        let at = self.chunk_number_after(after);
        let chunk = self.chunks.get_mut(at)?;
        for entry in &mut chunk.entries {
            self.memory_bytes -= entry.versions.value_bytes();
            update(&entry.key, &mut entry.versions);
            self.memory_bytes += entry.versions.value_bytes();
        }
        chunk.entries.last().map(|entry| entry.key.clone())
    }

    /// Changes value in memory or locations of one key, if it is there.
    pub(crate) fn update(&mut self, key: &[u8], update: impl FnOnce(&mut Versions)) {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.find(key) else { return };
        let versions = &mut *chunk.entries[place].versions;
        self.memory_bytes -= versions.value_bytes();
        update(versions);
        self.memory_bytes += versions.value_bytes();
    }
}

impl Chunk {
    fn new(lower: Box<[u8]>, entries: Vec<Entry>) -> Self {
        let mut chunk = Self { lower, entries, live_count: 0, has_history: false };
        chunk.entries.reserve_exact(CHUNK_MAX - chunk.entries.len());
        chunk.recount();
        chunk
    }

    fn recount(&mut self) {
        let live = |entry: &&Entry| !entry.versions.latest.is_tombstone();
        self.live_count = self.entries.iter().filter(live).count();
        self.has_history = self.entries.iter().any(|entry| entry.versions.has_history());
    }
}

#[cfg(test)]
mod tests;
