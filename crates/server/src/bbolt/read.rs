//! Reads a bbolt file that anybody may have written. Nothing in it is believed: each number is held
//! against the file's length, and a tree that goes in circles comes to an end.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use env::File;

use super::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, IS_BUCKET, LEAF, MAGIC, VERSION, fnv1a};

/// bbolt's pages have between these sizes.
const PAGE_BYTES_MIN: u64 = 1 << 10;
const PAGE_BYTES_MAX: u64 = 1 << 20;
/// Branches above one another; each has two children at least.
const DEPTH_MAX: usize = 64;
/// A page of one large value has that value and little else.
const PAGE_RUN_BYTES_MAX: u64 = 1 << 30;

/// A file that is being read.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    file: Arc<dyn File>,
    page_bytes: u64,
    page_count: u64,
    root: u64,
}

/// Keys and values of a bucket in order.
#[derive(Debug)]
pub(crate) struct Cursor {
    reader: Reader,
    /// Pages on the way down, each with what is still to be visited.
    stack: Vec<VecDeque<Element>>,
    pages_left: u64,
    failed: bool,
    /// Whether elements that are buckets count, and not those that are none.
    of_buckets: bool,
}

#[derive(Debug)]
enum Element {
    Page(u64),
    Pair { is_bucket: bool, key: Vec<u8>, value: Vec<u8> },
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is no whole bbolt file: {what}"))
}

fn number(bytes: &[u8], at: usize, width: usize) -> io::Result<u64> {
    let field = at.checked_add(width).and_then(|end| bytes.get(at..end));
    let mut number = [0; 8];
    number[..width].copy_from_slice(field.ok_or_else(|| bad("a field lies outside its page"))?);
    Ok(u64::from_le_bytes(number))
}

/// The same, as a length or position.
fn place(bytes: &[u8], at: usize, width: usize) -> io::Result<usize> {
    usize::try_from(number(bytes, at, width)?).map_err(|_| bad("a number is too large"))
}

struct Meta {
    page_bytes: u64,
    root: u64,
    page_count: u64,
    transaction: u64,
}

impl Meta {
    fn parse(page: &[u8]) -> io::Result<Self> {
        let meta =
            page.get(HEADER_BYTES..HEADER_BYTES + 64).ok_or_else(|| bad("it is too short"))?;
        if number(meta, 0, 4)? != u64::from(MAGIC) || number(meta, 4, 4)? != u64::from(VERSION) {
            return Err(bad("it does not begin as one"));
        }
        if number(meta, 56, 8)? != fnv1a(&meta[..56]) {
            return Err(bad("a checksum is wrong"));
        }
        let page_bytes = number(meta, 8, 4)?;
        if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
        {
            return Err(bad("its pages have no size that pages have"));
        }
        Ok(Self {
            page_bytes,
            root: number(meta, 16, 8)?,
            page_count: number(meta, 40, 8)?,
            transaction: number(meta, 48, 8)?,
        })
    }
}

impl Reader {
    /// Reads the metas. `length` is that of the database alone, without what may stand behind it.
    ///
    /// # Errors
    /// What the disk said; [`io::ErrorKind::InvalidData`] for a file that is none.
    pub(crate) fn open(file: Arc<dyn File>, length: u64) -> io::Result<Self> {
        let read = |at: u64| {
            if at + 80 > length {
                return Err(bad("it is too short"));
            }
            let mut page = vec![0; 80];
            file.read_exact_at(&mut page, at)?;
            Meta::parse(&page)
        };
        let first = read(0);
        // Where the second one is, the first one says; if that is damaged, the usual size does.
        let page_bytes = first.as_ref().map_or(4096, |meta| meta.page_bytes);
        let meta = match (first, read(page_bytes)) {
            (Ok(first), Ok(second)) if second.transaction > first.transaction => second,
            (Ok(first), _) => first,
            (Err(_), Ok(second)) => second,
            (Err(error), Err(_)) => return Err(error),
        };
        if meta.page_count > length / meta.page_bytes {
            return Err(bad("pages are missing at its end"));
        }
        Ok(Self { file, page_bytes: meta.page_bytes, page_count: meta.page_count, root: meta.root })
    }

    /// The names of the buckets in order, each with what its value says.
    pub(crate) fn buckets(&self) -> Cursor {
        Cursor::new(self.clone(), self.root, true)
    }

    /// What is in a bucket; nothing if there is none of this name.
    ///
    /// # Errors
    /// What the disk said, or [`io::ErrorKind::InvalidData`].
    pub(crate) fn bucket(&self, name: &str) -> io::Result<Cursor> {
        let found = self
            .buckets()
            .find(|bucket| bucket.as_ref().map_or(true, |(found, _)| found == name.as_bytes()));
        match found.transpose()? {
            Some((_, value)) => self.inside(&value),
            None => Ok(Cursor::of(self.clone(), VecDeque::new())),
        }
    }

    /// What is in a bucket, by its value.
    pub(crate) fn inside(&self, value: &[u8]) -> io::Result<Cursor> {
        match number(value, 0, 8)? {
            // A small bucket has its only page behind its head.
            0 => {
                let page = value.get(16..).ok_or_else(|| bad("a bucket is cut short"))?;
                Ok(Cursor::of(self.clone(), elements(page)?))
            }
            root => Ok(Cursor::new(self.clone(), root, false)),
        }
    }

    fn page(&self, page: u64) -> io::Result<Vec<u8>> {
        if page < 2 || page >= self.page_count {
            return Err(bad("a page lies outside the file"));
        }
        let at = page * self.page_bytes;
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, at)?;
        if number(&header, 0, 8)? != page {
            return Err(bad("a page is not where it says it is"));
        }
        let run = number(&header, 12, 4)? + 1;
        let bytes = run * self.page_bytes;
        if run > self.page_count - page || bytes > PAGE_RUN_BYTES_MAX {
            return Err(bad("a page goes on behind the file's end"));
        }
        let length = usize::try_from(bytes).map_err(|_| bad("a page is too large"))?;
        let mut page = vec![0; length];
        self.file.read_exact_at(&mut page, at)?;
        Ok(page)
    }
}

/// The elements of a page.
fn elements(page: &[u8]) -> io::Result<VecDeque<Element>> {
    let kind = u16::try_from(number(page, 8, 2)?).unwrap_or(0);
    let count = place(page, 10, 2)?;
    let mut elements = VecDeque::new();
    for at in (0..count).map(|element| HEADER_BYTES + element * ELEMENT_BYTES) {
        if kind & BRANCH != 0 {
            elements.push_back(Element::Page(number(page, at + 8, 8)?));
        } else if kind & LEAF != 0 {
            let flags = number(page, at, 4)?;
            let start = at + place(page, at + 4, 4)?;
            let key_end = start + place(page, at + 8, 4)?;
            let value_end = key_end + place(page, at + 12, 4)?;
            let slice = |from: usize, to: usize| {
                page.get(from..to).map(<[u8]>::to_vec).ok_or_else(|| bad("a value is cut short"))
            };
            let (key, value) = (slice(start, key_end)?, slice(key_end, value_end)?);
            let is_bucket = flags & u64::from(IS_BUCKET) != 0;
            elements.push_back(Element::Pair { is_bucket, key, value });
        } else {
            return Err(bad("a page of a tree is of no kind that it has"));
        }
    }
    Ok(elements)
}

impl Cursor {
    fn new(reader: Reader, root: u64, of_buckets: bool) -> Self {
        Self { of_buckets, ..Self::of(reader, VecDeque::from([Element::Page(root)])) }
    }

    fn of(reader: Reader, elements: VecDeque<Element>) -> Self {
        let pages_left = reader.page_count;
        Self { reader, stack: vec![elements], pages_left, failed: false, of_buckets: false }
    }

    fn advance(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        while let Some(elements) = self.stack.last_mut() {
            match elements.pop_front() {
                None => {
                    self.stack.pop();
                }
                Some(Element::Page(page)) => {
                    if self.pages_left == 0 || self.stack.len() > DEPTH_MAX {
                        return Err(bad("its pages go in circles"));
                    }
                    self.pages_left -= 1;
                    self.stack.push(elements_of(&self.reader, page)?);
                }
                Some(Element::Pair { is_bucket, key, value }) if is_bucket == self.of_buckets => {
                    return Ok(Some((key, value)));
                }
                Some(Element::Pair { .. }) => {}
            }
        }
        Ok(None)
    }
}

fn elements_of(reader: &Reader, page: u64) -> io::Result<VecDeque<Element>> {
    elements(&reader.page(page)?)
}

impl Iterator for Cursor {
    type Item = io::Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use env::mem::MemDisk;
    use env::{Disk as _, OpenMode};

    use super::super::Database;
    use super::*;

    /// A small file, and what is read from it, whole or in part.
    fn read_all(bytes: &[u8]) -> io::Result<usize> {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/d"))?;
        let file = disk.open(Path::new("/d/db"), OpenMode::CreateNew)?;
        file.write_all_at(bytes, 0)?;
        let reader = Reader::open(Arc::from(file), bytes.len() as u64)?;
        let mut count = 0;
        for bucket in reader.buckets() {
            for pair in reader.inside(&bucket?.1)? {
                pair?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn small_file() -> Vec<u8> {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.open(Path::new("/d/db"), OpenMode::CreateNew).unwrap();
        let mut database = Database::new(&*file);
        let mut bucket = database.bucket();
        for number in 0..300_u32 {
            database.put(&mut bucket, &number.to_be_bytes(), &[1; 40]).unwrap();
        }
        database.finish_bucket("key", bucket).unwrap();
        let length = usize::try_from(database.finish().unwrap()).unwrap();
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// No byte of a file brings the reader down or makes it read for ever.
    #[test]
    fn a_damaged_file_is_an_error_or_another_file_and_never_a_panic() {
        let bytes = small_file();
        assert_eq!(read_all(&bytes).unwrap(), 300);
        let header_ends = |at: usize| at % 4096 < 80;
        for at in (0..bytes.len()).filter(|at| header_ends(*at) || at % 37 == 0) {
            for flipped in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flipped;
                let _ = read_all(&damaged);
            }
        }
        for length in (0..bytes.len()).step_by(509) {
            assert!(read_all(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn pages_that_go_in_circles_come_to_an_end() {
        let mut bytes = small_file();
        let branch = (3..bytes.len() / 4096).find(|page| bytes[page * 4096 + 8] == 1).unwrap();
        let child = branch * 4096 + HEADER_BYTES + 8;
        bytes[child..child + 8].copy_from_slice(&(branch as u64).to_le_bytes());
        assert!(read_all(&bytes).unwrap_err().to_string().contains("circles"));
    }
}
