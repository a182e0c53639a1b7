//! The bytes of one file: as the process sees them, and as they would be found after a crash.

use std::collections::BTreeMap;

use crate::SplitMix;

/// A disk writes whole sectors; a crash keeps or loses each one.
pub(super) const SECTOR_BYTES: usize = 512;

/// What is kept of a sector's durable content: empty if the sector was behind the durable end.
type Undo = BTreeMap<usize, Vec<u8>>;

/// A file without a name.
#[derive(Debug, Default)]
pub(super) struct Inode {
    /// What reads see.
    live: Vec<u8>,
    /// Durable content of sectors that were written and not synced since.
    unsynced: Undo,
    /// The same for sectors that were written when a sync failed. The system forgets that they are
    /// dirty, so a later sync that succeeds does not make them durable.
    forgotten: Undo,
    /// The length after a crash, as far as it was synced.
    durable_len: usize,
    /// Bits that reads see flipped, until the byte is written again or the disk is mended.
    rot: BTreeMap<usize, u8>,
}

impl Inode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.live
    }

    /// A copy whose bytes are all durable.
    pub(super) fn fork(&self) -> Self {
        Self { live: self.live.clone(), durable_len: self.live.len(), ..Self::default() }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let old_len = self.live.len();
        for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            self.remember(sector, old_len);
        }
        if end > old_len {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.rot.retain(|at, _| !(offset..end).contains(at));
    }

    /// Reads see the bits of `mask` flipped in the byte at `offset`.
    pub(super) fn rot(&mut self, offset: usize, mask: u8) {
        self.rot.insert(offset, mask);
    }

    pub(super) fn mend_rot(&mut self) {
        self.rot.clear();
    }

    /// Fills `buffer` with what the disk gives back from `start` on, and says how many bytes of it
    /// are rotten; `None` behind the end.
    pub(super) fn read(&self, start: usize, buffer: &mut [u8]) -> Option<usize> {
        let end = start.checked_add(buffer.len())?;
        buffer.copy_from_slice(self.live.get(start..end)?);
        let mut flipped = 0;
        for (at, mask) in self.rot.range(start..end) {
            buffer[at - start] ^= mask;
            flipped += 1;
        }
        Some(flipped)
    }

    /// Keeps the durable content of a sector that is about to change.
    fn remember(&mut self, sector: usize, old_len: usize) {
        if self.unsynced.contains_key(&sector) {
            return;
        }
        if let Some(content) = self.forgotten.remove(&sector) {
            self.unsynced.insert(sector, content);
            return;
        }
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(old_len).min(self.durable_len);
        let content = self.live.get(start..end).unwrap_or_default().to_vec();
        self.unsynced.insert(sector, content);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.live.len() {
            let old_len = self.live.len();
            let end = old_len.min(self.durable_len);
            for sector in len / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
                self.remember(sector, old_len);
            }
        }
        self.live.resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.live.len();
    }

    /// A sync that failed: the dirty sectors are clean for the system and lost for the disk.
    pub(super) fn fail_sync(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        for (sector, content) in unsynced {
            self.forgotten.entry(sector).or_insert(content);
        }
    }

    /// The machine stops. `dice` decides for each unsynced sector whether it reached the disk;
    /// without dice none did.
    pub(super) fn crash(&mut self, dice: Option<&mut SplitMix>) {
        let mut len = self.durable_len;
        let mut lost: Vec<(usize, Vec<u8>)> = Vec::new();
        match dice {
            None => lost.extend(std::mem::take(&mut self.unsynced)),
            Some(dice) => {
                for (sector, content) in std::mem::take(&mut self.unsynced) {
                    let end = ((sector + 1) * SECTOR_BYTES).min(self.live.len());
                    if dice.below(2) == 0 {
                        lost.push((sector, content));
                    } else {
                        len = len.max(end);
                    }
                }
                // The size of a file may reach the disk without what is in it, and after a cut the
                // old size may come back.
                if dice.below(2) == 0 {
                    len = self.live.len();
                }
            }
        }
        lost.extend(std::mem::take(&mut self.forgotten));
        self.live.resize(len.max(self.durable_len), 0);
        for (sector, content) in lost {
            let start = (sector * SECTOR_BYTES).min(self.live.len());
            let end = (start + SECTOR_BYTES).min(self.live.len());
            let kept = content.len().min(end - start);
            self.live[start..start + kept].copy_from_slice(&content[..kept]);
            self.live[start + kept..end].fill(0);
        }
        self.live.truncate(len);
        self.durable_len = len;
    }

    /// Changes a byte on the disk behind everyone's back.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) {
        assert!(offset < self.live.len(), "there is no byte at {offset} to corrupt");
        self.live[offset] ^= mask;
        let sector = offset / SECTOR_BYTES;
        for undo in [&mut self.unsynced, &mut self.forgotten] {
            if let Some(byte) =
                undo.get_mut(&sector).and_then(|content| content.get_mut(offset % SECTOR_BYTES))
            {
                *byte ^= mask;
            }
        }
    }
}
