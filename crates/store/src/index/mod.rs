//! The ordered index: key → versions, in memory.
//!
//! Two levels of sorted arrays: chunks of up to [`CHUNK_MAX`] keys. Against a B-tree of the
//! standard library it is denser (a chunk that keys are appended to fills up), and it counts a
//! range without walking it: each chunk knows how many of its keys exist.
//!
//! A search compares *heads*: the bytes of each key behind the prefix that all its neighbours
//! share, as a number. These lie beside each other, so a search misses the cache a few times and
//! not twice per step, and looks at a key itself only where heads are equal.

mod head;
mod version;

use std::cmp::Ordering;

use bytes::Bytes;

use crate::key_range::KeyRange;
use crate::request::LeaseId;

use head::{common_bytes, find_by_head, head_of};
pub(crate) use version::{Location, ValueRef, Version, VersionRef, Versions};

/// Keys in a chunk. Inserting moves half of it, 16 bytes of pointer and length, 8 of record and 4
/// of head a key; counting walks two chunks and the table of them.
const CHUNK_MAX: usize = 256;

/// A chunk's room grows by this, since most chunks stay far from full.
const CHUNK_STEP: usize = 32;

/// What a key costs beside its bytes and its value: entry, head, record, allocator.
const KEY_OVERHEAD_BYTES: usize = 24 + 4 + 64 + 16;

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    versions: Box<Versions>,
}

/// Invariant: not empty; keys rise, all at or above `lower`, which is above all keys before it. All
/// begin with the same `shared_bytes` bytes, and `heads` has what is behind these, in their order.
#[derive(Debug)]
struct Chunk {
    lower: Box<[u8]>,
    shared_bytes: usize,
    heads: Vec<u32>,
    entries: Vec<Entry>,
    /// Keys whose latest version is no tombstone.
    live_count: usize,
    /// Whether a key may have versions for a compaction to drop.
    has_history: bool,
}

impl Chunk {
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let head = head_of(key, self.shared_bytes);
        let found = find_by_head(&self.heads, head, |at| (*self.entries[at].key).cmp(key));
        found.map_err(|place| {
            // Heads say nothing about a key that does not share the prefix.
            let start = &key[..key.len().min(self.shared_bytes)];
            let prefix = self.entries.first().map_or(&[][..], |e| &e.key[..self.shared_bytes]);
            match start.cmp(prefix) {
                Ordering::Less => 0,
                Ordering::Equal => place,
                Ordering::Greater => self.entries.len(),
            }
        })
    }

    fn insert(&mut self, place: usize, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(CHUNK_STEP);
            self.heads.reserve_exact(CHUNK_STEP);
        }
        let shared_bytes = match self.entries.first() {
            None => entry.key.len(),
            Some(first) => common_bytes(&first.key[..self.shared_bytes], &entry.key),
        };
        self.heads.insert(place, head_of(&entry.key, shared_bytes));
        self.entries.insert(place, entry);
        if shared_bytes != self.shared_bytes {
            self.shared_bytes = shared_bytes;
            self.make_heads();
        }
    }

    fn make_heads(&mut self) {
        self.heads.clear();
        let shared_bytes = self.shared_bytes;
        self.heads
            .extend(self.entries.iter().map(|entry| head_of::<u32>(&entry.key, shared_bytes)));
    }
}

/// Where a key was found. A key that is looked for again is likely to be there still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: usize,
    entry: usize,
}

/// See the module.
///
/// Invariant: `heads` has a head for each chunk, of its lower end; that of the first one, which is
/// empty, is not used. The others begin with the same `shared_bytes` bytes.
#[derive(Debug, Default)]
pub(crate) struct Index {
    #[expect(clippy::vec_box, reason = "a new chunk moves the table, so its items are small")]
    chunks: Vec<Box<Chunk>>,
    heads: Vec<u128>,
    shared_bytes: usize,
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
        let Some(first) = self.chunks.get(1) else { return 0 };
        let start = &key[..key.len().min(self.shared_bytes)];
        match start.cmp(&first.lower[..self.shared_bytes]) {
            Ordering::Less => return 0,
            Ordering::Equal => {}
            Ordering::Greater => return self.chunks.len() - 1,
        }
        let head = head_of(key, self.shared_bytes);
        match find_by_head(&self.heads[1..], head, |at| (*self.chunks[at + 1].lower).cmp(key)) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    fn insert_chunk(&mut self, at: usize, chunk: Box<Chunk>) {
        let lower = &*chunk.lower;
        let shared_bytes = match self.chunks.get(1) {
            _ if at == 0 => 0,
            None => lower.len(),
            Some(first) => common_bytes(&first.lower[..self.shared_bytes], lower),
        };
        self.heads.insert(at, head_of(lower, shared_bytes));
        self.chunks.insert(at, chunk);
        if shared_bytes != self.shared_bytes {
            self.shared_bytes = shared_bytes;
            let heads = self.chunks.iter().map(|chunk| head_of(&chunk.lower, shared_bytes));
            self.heads = heads.collect();
        }
    }

    fn remove_chunk(&mut self, at: usize) {
        self.chunks.remove(at);
        self.heads.remove(at);
        if let Some(first) = self.chunks.first_mut() {
            // Every key must have a chunk to go to.
            first.lower = Box::default();
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Versions> {
        self.find(key).map(|(_, _, versions)| versions)
    }

    /// As [`Index::get`], for who comes back to change it.
    pub(crate) fn find<'a>(&'a self, key: &[u8]) -> Option<(Place, &'a [u8], &'a Versions)> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get(at)?;
        let found = chunk.find(key).ok()?;
        let entry = &chunk.entries[found];
        Some((Place { chunk: at, entry: found }, &entry.key, &entry.versions))
    }

    fn is_at(&self, place: Place, key: &[u8]) -> bool {
        let entry = self.chunks.get(place.chunk).and_then(|chunk| chunk.entries.get(place.entry));
        entry.is_some_and(|entry| *entry.key == *key)
    }

    /// Makes a version the latest of its key, which may be at `place`. `value` is `None` for
    /// tombstones and for values that are to stay on disk. Returns the lease before.
    pub(crate) fn push(
        &mut self,
        key: &[u8],
        version: Version,
        lease: LeaseId,
        value: Option<&Bytes>,
        place: Option<Place>,
    ) -> LeaseId {
        let live = !version.is_tombstone();
        let found = match place.filter(|place| self.is_at(*place, key)) {
            Some(place) => (place.chunk, Ok(place.entry)),
            None => {
                let at = self.chunk_of(key);
                (at, self.chunks.get(at).map_or(Err(0), |chunk| chunk.find(key)))
            }
        };
        match found {
            (at, Ok(entry)) => {
                let chunk = &mut *self.chunks[at];
                let versions = &mut *chunk.entries[entry].versions;
                let was_live = !versions.latest.is_tombstone();
                let old_lease = versions.lease();
                self.memory_bytes -= versions.value_bytes();
                versions.push(version, lease, value);
                self.memory_bytes += versions.value_bytes() + size_of::<(Version, LeaseId)>();
                chunk.has_history = true;
                chunk.live_count = chunk.live_count + usize::from(live) - usize::from(was_live);
                self.live_count = self.live_count + usize::from(live) - usize::from(was_live);
                old_lease
            }
            (at, Err(entry)) => {
                self.insert_new(at, entry, key, Versions::new(version, lease, value));
                LeaseId::NONE
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
                self.insert_chunk(0, Box::new(Chunk::new(Box::default(), Vec::new())));
            }
            Some(chunk) if chunk.entries.len() == CHUNK_MAX => {
                // A chunk that grows at its end stays full: keys often come in order.
                let cut = if place == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
                let upper = chunk.entries.split_off(cut);
                if !upper.is_empty() {
                    // Into a new place: allocators do not shrink one in which most is used.
                    let mut lower = Vec::with_capacity(cut + CHUNK_STEP);
                    lower.append(&mut chunk.entries);
                    chunk.entries = lower;
                    chunk.keys_changed();
                }
                let lower = upper.first().map_or(&entry.key, |first| &first.key).clone();
                // A key below the lower end of the new chunk must stay in the old one.
                let belongs_to_upper = upper.is_empty() || place > cut;
                self.insert_chunk(at + 1, Box::new(Chunk::new(lower, upper)));
                if belongs_to_upper {
                    at += 1;
                    place -= cut;
                }
            }
            Some(_) => {}
        }
        let chunk = &mut self.chunks[at];
        chunk.insert(place, entry);
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
        chunk.keys_changed();
        self.memory_bytes -= freed_bytes;
        if chunk.entries.is_empty() {
            self.remove_chunk(at);
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
        let mut chunk = Self {
            lower,
            shared_bytes: 0,
            heads: Vec::new(),
            entries,
            live_count: 0,
            has_history: false,
        };
        chunk.entries.reserve_exact(CHUNK_STEP);
        chunk.keys_changed();
        chunk
    }

    /// Counts and compares anew.
    fn keys_changed(&mut self) {
        // Keys rise, so what the first and the last have in common all have.
        self.shared_bytes = match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => common_bytes(&first.key, &last.key),
            _ => 0,
        };
        self.heads = Vec::with_capacity(self.entries.capacity().min(CHUNK_MAX));
        self.make_heads();
        let live = |entry: &&Entry| !entry.versions.latest.is_tombstone();
        self.live_count = self.entries.iter().filter(live).count();
        self.has_history = self.entries.iter().any(|entry| entry.versions.has_history());
    }
}

#[cfg(test)]
mod tests;
