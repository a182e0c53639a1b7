//! Opening a log: check, walk, find the end, cut a torn tail.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use env::Disk;

use crate::error::{Damage, DamageKind};
use crate::format::RECORD_HEADER_BYTES;
use crate::segment::{Segment, Step, Walk, file_name, parse_name};
use crate::{OpenError, Options, Position};

/// A tail is written again in pieces of this size.
const COPY_CHUNK_BYTES: u32 = 1 << 20;

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that were there.
    pub segment_count: usize,
    /// Records that were visited.
    pub record_count: u64,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
}

/// A torn tail of which a record's header was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: u64,
    /// Where the log now ends in it.
    pub offset: u32,
    /// Record headers in what was cut; all had been written after the last sync that the log knows
    /// of.
    pub orphan_count: usize,
}

/// Where the last segment ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) offset: u32,
    pub(crate) chain: u32,
    pub(crate) sealed: bool,
    /// What the last record says was durable.
    pub(crate) marked: u32,
}

/// The segments of a folder, in order.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segments: Vec<Arc<Segment>>,
    /// `None` if there is no segment.
    pub(crate) end: Option<End>,
    pub(crate) recovery: Recovery,
}

pub(crate) type Visit<'a, E> = &'a mut dyn FnMut(Position, &[u8]) -> Result<(), E>;

/// Reads the log in `dir` without creating anything.
pub(crate) fn recover<E>(
    disk: &dyn Disk,
    dir: &Path,
    names: &[String],
    options: &Options,
    from: Option<Position>,
    visit: Visit<'_, E>,
) -> Result<Found, OpenError<E>> {
    let mut segments = Vec::new();
    for number in names.iter().filter_map(|name| parse_name(name)) {
        segments.push(Segment::open(disk, dir, number, options.identity)?);
    }
    let missing = |number: u64| Damage {
        path: dir.join(file_name(number)),
        offset: 0,
        kind: DamageKind::Missing,
    };
    if !options.gaps_allowed {
        for pair in segments.windows(2) {
            let expected = pair[0].header.number + 1;
            if pair[1].header.number != expected {
                return Err(missing(expected).into());
            }
        }
    }
    if let Some(from) = from {
        let first = segments.first().map_or(u64::MAX, |segment| segment.header.number);
        let last = segments.last().map_or(0, |segment| segment.header.number);
        if from.segment > last || (from.segment < first && !options.gaps_allowed) {
            return Err(missing(from.segment).into());
        }
    }
    let mut found = Found { segments: Vec::new(), end: None, recovery: Recovery::default() };
    found.recovery.segment_count = segments.len();
    for (at, segment) in segments.iter().enumerate() {
        let next = segments.get(at + 1);
        let walked = Walked { segment, from, is_last: next.is_none() };
        let follower = next.filter(|next| next.header.number == segment.header.number + 1);
        let end = match follower {
            // Known from the next header, and nobody wants to see the records.
            Some(next) if from.is_some_and(|from| from.segment > segment.header.number) => End {
                offset: next.header.previous_end,
                chain: next.header.previous_checksum,
                sealed: true,
                marked: next.header.previous_end,
            },
            Some(_) | None => walked.walk(visit, &mut found.recovery)?,
        };
        if let Some(next) = follower
            && (next.header.previous_end, next.header.previous_checksum) != (end.offset, end.chain)
        {
            return Err(segment.damage(end.offset, DamageKind::Seal).into());
        }
        segment.written.store(end.offset, Ordering::Release);
        found.end = Some(end);
    }
    found.segments = segments.into_iter().map(Arc::new).collect();
    Ok(found)
}

/// A segment whose records are walked.
struct Walked<'a> {
    segment: &'a Segment,
    from: Option<Position>,
    is_last: bool,
}

impl Walked<'_> {
    fn walk<E>(&self, visit: Visit<'_, E>, recovery: &mut Recovery) -> Result<End, OpenError<E>> {
        let segment = self.segment;
        let mut walk = Walk::from_start(segment, segment.header.file_bytes);
        let sealed = loop {
            match walk.step()? {
                Step::Seal => break true,
                Step::Bad => break false,
                Step::Mark => {}
                Step::Data(position, payload) => {
                    if self.from.is_none_or(|from| position >= from) {
                        recovery.record_count += 1;
                        visit(position, payload).map_err(OpenError::Visit)?;
                    }
                }
            }
        };
        let chain = walk.chain.unwrap_or(0);
        let end = End { offset: walk.offset, chain, sealed, marked: walk.durable };
        if !sealed && !self.is_last {
            return Err(segment.damage(end.offset, DamageKind::Record).into());
        }
        // The owner has seen records up to `from`; a log that ends before has lost some.
        if let Some(from) = self.from
            && from.segment == segment.header.number
            && from.offset > end.offset + RECORD_HEADER_BYTES
        {
            return Err(segment.damage(end.offset, DamageKind::Record).into());
        }
        if !sealed {
            recovery.cut = self.cut_tail(walk, end.offset)?;
        }
        if self.is_last {
            self.make_durable(end.marked, end.offset)?;
        }
        Ok(end)
    }

    /// Decides whether what lies behind the last good record is a torn tail, and if so makes sure
    /// that none of it is ever taken for a record: what is appended next could end just where an
    /// old record starts, with the same bytes before it.
    fn cut_tail<E>(&self, walk: Walk<'_>, end: u32) -> Result<Option<Cut>, OpenError<E>> {
        let segment = self.segment;
        let orphans = walk.headers_behind()?;
        if orphans.iter().any(|(_, header)| header.durable > end) {
            return Err(segment.damage(end, DamageKind::Record).into());
        }
        let zeros = [0; RECORD_HEADER_BYTES as usize];
        for (offset, _) in &orphans {
            segment.file.write_all_at(&zeros, u64::from(*offset))?;
        }
        // A tail whose header was torn as well leaves no trace that could be told from what a
        // recycled file held before.
        let orphan_count = orphans.len();
        Ok((orphan_count > 0).then_some(Cut {
            segment: segment.header.number,
            offset: end,
            orphan_count,
        }))
    }

    /// Records that a killed process had written but not synced were just read from memory. They
    /// count as durable from here on, so they are made so; and they are written again before,
    /// because if a sync of that process failed, the system takes their pages for clean.
    fn make_durable(&self, durable: u32, end: u32) -> io::Result<()> {
        let file = &self.segment.file;
        let mut chunk = vec![0; COPY_CHUNK_BYTES.min(end - durable) as usize];
        let mut at = durable;
        while at < end {
            let len = (end - at).min(COPY_CHUNK_BYTES);
            let bytes = &mut chunk[..len as usize];
            file.read_exact_at(bytes, u64::from(at))?;
            file.write_all_at(bytes, u64::from(at))?;
            at += len;
        }
        file.sync_data()
    }
}
