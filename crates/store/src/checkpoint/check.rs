//! A checkpoint of another member, before anybody relies on it.

use std::io;

use super::{BLOCK_END, MAGIC, PREFIX, block_crc};

/// Whether a file of this name is a checkpoint.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Sees that the blocks of a checkpoint are as they were written, and the last one there.
pub(crate) fn check_blocks(
    len_bytes: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a checkpoint is damaged");
    let mut magic = [0; 8];
    read(&mut magic, 0)?;
    if magic != *MAGIC {
        return Err(damaged());
    }
    let mut at = 8;
    loop {
        let mut head = [0; 8];
        read(&mut head, at)?;
        let (len, crc) = head.split_at(4);
        let len = u32::from_le_bytes(len.try_into().expect("four bytes"));
        let crc = u32::from_le_bytes(crc.try_into().expect("four bytes"));
        if at + 8 + u64::from(len) > len_bytes {
            return Err(damaged());
        }
        let mut block = vec![0; len as usize];
        read(&mut block, at + 8)?;
        if block_crc(at, &block) != crc {
            return Err(damaged());
        }
        if block.first() == Some(&BLOCK_END) {
            return Ok(());
        }
        at += 8 + u64::from(len);
    }
}
