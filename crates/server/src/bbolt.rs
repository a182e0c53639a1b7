//! bbolt's file format, the one of etcd's backups: a B+tree of pages, each bucket a tree of its
//! own.
//!
//! ```text
//! page     id u64 │ flags u16 │ count u16 │ overflow u32 │ elements, then their keys and values
//! leaf     flags u32 │ pos u32 │ key length u32 │ value length u32      (pos: from the element)
//! branch   pos u32 │ key length u32 │ page u64
//! meta     magic u32 │ version u32 │ page size u32 │ flags u32 │ root u64 │ sequence u64
//!          │ freelist u64 │ pages u64 │ transaction u64 │ FNV-1a of the above u64
//! bucket   root u64 │ sequence u64, and where the root is 0 a page behind it
//! ```
//!
//! Numbers are little-endian. Pages 0 and 1 are the two metas; the one of the later transaction
//! counts.

mod read;
mod write;

pub(crate) use read::{Cursor, Reader};
pub(crate) use write::Database;

const HEADER_BYTES: usize = 16;
const ELEMENT_BYTES: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
/// A leaf's element that is a bucket.
const IS_BUCKET: u32 = 1;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

fn fnv1a(bytes: &[u8]) -> u64 {
    let offset = 0xcbf2_9ce4_8422_2325_u64;
    bytes.iter().fold(offset, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
