//! Writes a bbolt file. Keys come in order, so each tree is built from its leaves up and every byte
//! is written once. Page 2 is the list of free pages, which is empty.

use std::io;

use env::File;

use super::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, IS_BUCKET, LEAF, MAGIC, META, VERSION, fnv1a};

const PAGE_SIZE: u32 = 4096;
const PAGE_BYTES: usize = PAGE_SIZE as usize;
const FIRST_PAGE: u64 = 3;
const FREELIST: u16 = 16;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Database<'a> {
    file: &'a dyn File,
    next_page: u64,
    buffer: Vec<u8>,
    written: u64,
    buckets: Vec<(Vec<u8>, u64)>,
}

/// Elements of one page on their way.
#[derive(Debug)]
struct Page {
    kind: u16,
    /// Flags, key, and value or page.
    elements: Vec<(u32, Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Page {
    fn new(kind: u16) -> Self {
        Self { kind, elements: Vec::new(), bytes: HEADER_BYTES }
    }

    fn takes(&self, key: &[u8], value: &[u8]) -> bool {
        let value = if self.kind == LEAF { value.len() } else { 0 };
        let full = self.elements.len() >= usize::from(u16::MAX) - 1;
        self.elements.is_empty()
            || (!full && self.bytes + ELEMENT_BYTES + key.len() + value <= PAGE_BYTES)
    }

    fn push(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        let value_bytes = if self.kind == LEAF { value.len() } else { 0 };
        self.bytes += ELEMENT_BYTES + key.len() + value_bytes;
        self.elements.push((flags, key.to_vec(), value.to_vec()));
    }
}

/// One bucket: its pages so far, level by level.
#[derive(Debug)]
pub(crate) struct Bucket {
    leaf: Page,
    /// First key and number of each page of the leaves.
    pages: Vec<(Vec<u8>, u64)>,
    last_key: Option<Vec<u8>>,
}

impl<'a> Database<'a> {
    /// A file that is empty.
    pub(crate) fn new(file: &'a dyn File) -> Self {
        let written = FIRST_PAGE * PAGE_BYTES as u64;
        Self { file, next_page: FIRST_PAGE, buffer: Vec::new(), written, buckets: Vec::new() }
    }

    /// Begins a bucket. Buckets are finished in the order of their names.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket { leaf: Page::new(LEAF), pages: Vec::new(), last_key: None }
    }

    /// Adds a key behind all that are in the bucket.
    pub(crate) fn put(&mut self, bucket: &mut Bucket, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert!(
            bucket.last_key.as_deref().is_none_or(|last| last < key),
            "the keys of a bucket come in order"
        );
        bucket.last_key = Some(key.to_vec());
        self.add(bucket, 0, key, value)
    }

    fn add(&mut self, bucket: &mut Bucket, flags: u32, key: &[u8], value: &[u8]) -> io::Result<()> {
        if !bucket.leaf.takes(key, value) {
            let leaf = std::mem::replace(&mut bucket.leaf, Page::new(LEAF));
            bucket.pages.push(self.write_page(leaf)?);
        }
        bucket.leaf.push(flags, key, value);
        Ok(())
    }

    /// Ends a bucket.
    pub(crate) fn finish_bucket(&mut self, name: &str, bucket: Bucket) -> io::Result<()> {
        let root = self.finish_tree(bucket)?;
        assert!(
            self.buckets.last().is_none_or(|(last, _)| &last[..] < name.as_bytes()),
            "buckets come in order"
        );
        self.buckets.push((name.as_bytes().to_vec(), root));
        Ok(())
    }

    /// Writes the pages above the leaves until one is left, which is the root.
    fn finish_tree(&mut self, mut bucket: Bucket) -> io::Result<u64> {
        let leaf = self.write_page(bucket.leaf)?;
        bucket.pages.push(leaf);
        let mut level = bucket.pages;
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut branch = Page::new(BRANCH);
            for (key, page) in level {
                if !branch.takes(&key, &[]) {
                    let full = std::mem::replace(&mut branch, Page::new(BRANCH));
                    above.push(self.write_page(full)?);
                }
                branch.push(0, &key, &page.to_le_bytes());
            }
            above.push(self.write_page(branch)?);
            level = above;
        }
        Ok(level.first().map_or(FIRST_PAGE, |(_, page)| *page))
    }

    /// Writes a page and returns its first key and its number.
    fn write_page(&mut self, page: Page) -> io::Result<(Vec<u8>, u64)> {
        let number = self.next_page;
        let pages = page.bytes.div_ceil(PAGE_BYTES);
        let start = self.buffer.len();
        let overflow =
            u32::try_from(pages - 1).map_err(|_| io::Error::other("a page of 16 TiB"))?;
        let count =
            u16::try_from(page.elements.len()).map_err(|_| io::Error::other("65536 keys"))?;
        self.buffer.extend_from_slice(&header(number, page.kind, count, overflow));
        let mut data = Vec::new();
        let elements = page.elements.len() * ELEMENT_BYTES;
        for (at, (flags, key, value)) in page.elements.iter().enumerate() {
            let pos = small(elements - at * ELEMENT_BYTES + data.len())?;
            data.extend_from_slice(key);
            if page.kind == LEAF {
                for number in [*flags, pos, small(key.len())?, small(value.len())?] {
                    self.buffer.extend_from_slice(&number.to_le_bytes());
                }
                data.extend_from_slice(value);
            } else {
                for number in [pos, small(key.len())?] {
                    self.buffer.extend_from_slice(&number.to_le_bytes());
                }
                self.buffer.extend_from_slice(value);
            }
        }
        self.buffer.extend_from_slice(&data);
        self.buffer.resize(start + pages * PAGE_BYTES, 0);
        self.next_page += pages as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()?;
        }
        let first = page.elements.into_iter().next();
        Ok((first.map(|(_, key, _)| key).unwrap_or_default(), number))
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file; returns its length.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let mut root = self.bucket();
        for (name, page) in std::mem::take(&mut self.buckets) {
            let mut value = page.to_le_bytes().to_vec();
            value.extend_from_slice(&0_u64.to_le_bytes());
            self.add(&mut root, IS_BUCKET, &name, &value)?;
        }
        let root = self.finish_tree(root)?;
        self.write_buffer()?;
        let mut head = Vec::with_capacity(PAGE_BYTES * 3);
        for (page, transaction) in [(0, 2), (1, 3)] {
            head.extend_from_slice(&header(page, META, 0, 0));
            head.extend_from_slice(&self.meta(root, transaction));
            head.resize(PAGE_BYTES * (usize::try_from(page).unwrap_or(0) + 1), 0);
        }
        head.extend_from_slice(&header(2, FREELIST, 0, 0));
        head.resize(PAGE_BYTES * 3, 0);
        self.file.write_all_at(&head, 0)?;
        Ok(self.written)
    }

    fn meta(&self, root: u64, transaction: u64) -> Vec<u8> {
        let mut meta = Vec::with_capacity(64);
        for number in [MAGIC, VERSION, PAGE_SIZE, 0] {
            meta.extend_from_slice(&number.to_le_bytes());
        }
        for number in [root, 0, 2, self.next_page, transaction] {
            meta.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv1a(&meta);
        meta.extend_from_slice(&sum.to_le_bytes());
        meta
    }
}

fn header(page: u64, kind: u16, count: u16, overflow: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&page.to_le_bytes());
    header[8..10].copy_from_slice(&kind.to_le_bytes());
    header[10..12].copy_from_slice(&count.to_le_bytes());
    header[12..].copy_from_slice(&overflow.to_le_bytes());
    header
}

fn small(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::Error::other("a value beyond 4 GiB"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use env::mem::MemDisk;
    use env::{Disk as _, OpenMode};

    use super::super::Reader;
    use super::*;

    #[test]
    fn what_is_put_is_found_by_walking_the_pages() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/db"), OpenMode::CreateNew).unwrap();
        let mut database = Database::new(&*file);
        let key = |number: u32| number.to_be_bytes().to_vec();
        // Small ones, some that need pages of their own, and enough for three levels.
        let value = |number: u32| match number % 1000 {
            0 => vec![7; 3 * PAGE_BYTES],
            at => vec![7; usize::try_from(at % 90).unwrap()],
        };
        let empty = database.bucket();
        database.finish_bucket("empty", empty).unwrap();
        let mut bucket = database.bucket();
        for number in 0..40_000 {
            database.put(&mut bucket, &key(number), &value(number)).unwrap();
        }
        database.finish_bucket("key", bucket).unwrap();
        let length = database.finish().unwrap();
        assert_eq!(length, file.len_bytes().unwrap());
        assert_eq!(length % 4096, 0);
        let reader = Reader::open(Arc::from(file), length).unwrap();
        let names: Vec<Vec<u8>> = reader.buckets().map(|bucket| bucket.unwrap().0).collect();
        assert_eq!(names, [b"empty".to_vec(), b"key".to_vec()]);
        assert_eq!(reader.bucket("empty").unwrap().count(), 0);
        let mut found = 0;
        for (number, pair) in (0..).zip(reader.bucket("key").unwrap()) {
            assert_eq!(pair.unwrap(), (key(number), value(number)));
            found += 1;
        }
        assert_eq!(found, 40_000);
        assert_eq!(reader.bucket("none").unwrap().count(), 0);
    }
}
