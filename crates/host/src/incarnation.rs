//! The number of this node's log: drawn once, kept beside it, and carried by every message, so that
//! the groups tell a node that lost its disk from one that was only away (`docs/adr/0008`).
//!
//! `incarnation`: magic 8 │ version u32 │ number u64, not 0 │ checksum u32          little-endian
//!
//! The number vouches for the log, so it is no older than the log: it is drawn when the log has its
//! first record (`beginning.rs`). One whose log has nothing is drawn again, since all that was
//! acknowledged under it is gone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use env::{Disk, Entropy, OpenMode};
use raft::{Incarnation, NodeId};
use wal::{GroupId, RecoveredGroup};

use crate::StartError;

const NAME: &str = "incarnation";
const UNFINISHED_NAME: &str = "incarnation.tmp";
const MAGIC: [u8; 8] = *b"FLOTDISK";
const VERSION: u32 = 1;
const FILE_BYTES: usize = 24;

/// What the log says of its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// There is no log.
    Empty,
    /// It knows no number of this node: of a version that drew none, or none was recorded yet.
    Unnumbered,
    /// A group has a number of this node on record.
    Numbered,
}

impl Log {
    pub(crate) fn of(own: NodeId, groups: &BTreeMap<GroupId, RecoveredGroup>) -> Self {
        let has_number = |group: &RecoveredGroup| {
            let newest = group.configurations.last().map(|(_, configuration)| configuration);
            newest.unwrap_or(&group.mark.configuration).incarnations.contains_key(&own)
        };
        match groups {
            groups if groups.is_empty() => Self::Empty,
            groups if groups.values().any(has_number) => Self::Numbered,
            _ => Self::Unnumbered,
        }
    }
}

/// Whether there is a number in `folder`, so that there was a log once.
pub(crate) fn is_drawn(disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
    disk.exists(&folder.join(NAME))
}

/// The number in `folder`; another one, durable when this returns, if the log has nothing yet, or
/// was written by a version that drew none.
///
/// # Errors
/// The disk; or the file is damaged, or missing beside a log that was known by it: under another
/// number this node would count for nothing, so it is better not to begin.
pub(crate) fn settle(
    disk: &dyn Disk,
    folder: &Path,
    entropy: &dyn Entropy,
    log: Log,
) -> Result<Incarnation, StartError> {
    disk.create_dir_all(folder)?;
    let path = folder.join(NAME);
    let exists = disk.exists(&path)?;
    if log == Log::Numbered && !exists {
        return Err(StartError::IncarnationDamaged { path });
    }
    if log != Log::Empty && exists {
        let number = read(disk, &path)?.ok_or(StartError::IncarnationDamaged { path })?;
        // A process that was killed may have renamed the file and not synced the folder.
        disk.sync_dir(folder)?;
        return Ok(number);
    }
    let number = draw(entropy);
    write(disk, folder, number)?;
    Ok(number)
}

fn draw(entropy: &dyn Entropy) -> Incarnation {
    loop {
        let number = Incarnation(entropy.next_u64());
        if number.is_known() {
            return number;
        }
    }
}

/// The file gets its name when it is whole and durable, so it is never seen in half.
fn write(disk: &dyn Disk, folder: &Path, number: Incarnation) -> io::Result<()> {
    let unfinished = folder.join(UNFINISHED_NAME);
    if disk.exists(&unfinished)? {
        disk.remove_file(&unfinished)?;
    }
    let mut bytes = [0; FILE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&checksum.to_le_bytes());
    let file = disk.open(&unfinished, OpenMode::CreateNew)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, &folder.join(NAME))?;
    disk.sync_dir(folder)
}

/// `None` for bytes that [`write`] would not have written.
fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Incarnation>> {
    let file = disk.open(path, OpenMode::ReadOnly)?;
    if file.len_bytes()? != FILE_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; FILE_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let (body, checksum) = bytes.split_at(20);
    let mut number = [0; 8];
    number.copy_from_slice(&body[12..]);
    let number = Incarnation(u64::from_le_bytes(number));
    let is_ours = body[..8] == MAGIC && body[8..12] == VERSION.to_le_bytes();
    let is_whole = checksum == crc32c::crc32c(body).to_le_bytes();
    Ok((is_ours && is_whole && number.is_known()).then_some(number))
}

#[cfg(test)]
mod tests {
    use env::SplitMix;
    use env::mem::{MemDisk, SeededEntropy};

    use super::*;

    const FOLDER: &str = "/data";

    fn settled(disk: &MemDisk, seed: u64, log: Log) -> Incarnation {
        settle(disk, Path::new(FOLDER), &SeededEntropy::new(seed), log).expect("the disk is well")
    }

    fn damaged(disk: &MemDisk) -> bool {
        let settled = settle(disk, Path::new(FOLDER), &SeededEntropy::new(2), Log::Numbered);
        matches!(settled, Err(StartError::IncarnationDamaged { .. }))
    }

    #[test]
    fn a_number_is_drawn_once_and_outlives_a_power_loss() {
        let disk = MemDisk::new();
        let first = settled(&disk, 1, Log::Empty);
        assert!(first.is_known());
        disk.crash(&mut SplitMix::new(3));
        assert_eq!(settled(&disk, 2, Log::Numbered), first);
    }

    /// A log that was deleted alone has forgotten as much as a disk that was lost.
    #[test]
    fn a_log_that_begins_anew_gets_another_number() {
        let disk = MemDisk::new();
        let first = settled(&disk, 1, Log::Empty);
        let second = settled(&disk, 2, Log::Empty);
        assert_ne!(first, second);
        assert_eq!(settled(&disk, 3, Log::Unnumbered), second);
    }

    #[test]
    fn a_log_of_a_version_without_numbers_gets_one() {
        let disk = MemDisk::new();
        let drawn = settled(&disk, 1, Log::Unnumbered);
        assert_eq!(settled(&disk, 2, Log::Numbered), drawn);
    }

    #[test]
    fn other_bytes_are_no_number() {
        let disk = MemDisk::new();
        settled(&disk, 1, Log::Empty);
        let path = Path::new(FOLDER).join(NAME);
        let file = disk.open(&path, OpenMode::ReadWrite).expect("it was written");
        for at in 0..FILE_BYTES as u64 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("it is long enough");
            file.write_all_at(&[byte[0] ^ 1], at).expect("the disk is well");
            assert!(damaged(&disk), "byte {at}");
            file.write_all_at(&byte, at).expect("the disk is well");
        }
        file.set_len(3).expect("the disk is well");
        assert!(damaged(&disk));
        disk.remove_file(&path).expect("the disk is well");
        assert!(damaged(&disk), "the log is known by a number that is not there");
    }
}
