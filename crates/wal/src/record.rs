//! What is in a record of the log, version 1.
//!
//! ```text
//! version u8 │ kind u8 │ flags u8 │ zero u8 │ group u64 │ cut_from u64
//! mark (if flagged) │ hard state (if flagged) │ entry count u32 │ entry …
//! ```
//!
//! The encodings inside are [`codec`]'s. A [`raft::Persist`] is one record, or several parts one
//! behind another if it is large; it counts once its last part is there, and mark and hard state
//! are in that one. `cut_from` is the index of the first entry of the whole persist, 0 without
//! entries, and the same in all parts.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{Entry, HardState, MarkWrite};

use crate::{GroupId, codec};

const VERSION: u8 = 1;
const FIRST: u8 = 1;
const LAST: u8 = 2;
const MARK: u8 = 4;
const RESET: u8 = 8;
const HARD_STATE: u8 = 16;
/// Bytes before mark, hard state and entries, and the entry count.
pub(crate) const FIXED_BYTES: usize = 24;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A persist or a part of one.
    Persist,
    /// Mark and hard state of a group as they are, so that older segments are not needed for them.
    State,
    /// Entries as they are, so that an older segment is not needed for them.
    Copy,
    /// The group is gone.
    Remove,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) group: GroupId,
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
    /// Entries from this index on are overwritten; 0 for none.
    pub(crate) cut_from: u64,
    pub(crate) mark: Option<MarkWrite>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) entries: Vec<Entry>,
}

impl Record {
    /// A whole record of a kind that carries nothing yet.
    pub(crate) fn of(kind: Kind, group: GroupId) -> Self {
        Self {
            kind,
            group,
            is_first: true,
            is_last: true,
            cut_from: 0,
            mark: None,
            hard_state: None,
            entries: Vec::new(),
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let reset = self.mark.as_ref().is_some_and(|mark| mark.reset);
        out.put_u8(VERSION);
        out.put_u8(match self.kind {
            Kind::Persist => 1,
            Kind::State => 2,
            Kind::Copy => 3,
            Kind::Remove => 4,
        });
        out.put_u8(
            flag(self.is_first, FIRST)
                | flag(self.is_last, LAST)
                | flag(self.mark.is_some(), MARK)
                | flag(reset, RESET)
                | flag(self.hard_state.is_some(), HARD_STATE),
        );
        out.put_u8(0);
        out.put_u64_le(self.group.0);
        out.put_u64_le(self.cut_from);
        if let Some(mark) = &self.mark {
            codec::put_mark(out, &mark.mark);
        }
        if let Some(hard_state) = self.hard_state {
            codec::put_hard_state(out, hard_state);
        }
        let count = u32::try_from(self.entries.len()).expect("a record is far below 4 GiB");
        out.put_u32_le(count);
        self.entries.iter().for_each(|entry| codec::put_entry(out, entry));
    }

    /// Reads a record; `None` for bytes that [`Self::encode`] would not have written.
    pub(crate) fn decode(mut input: Bytes) -> Option<Self> {
        if input.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = match input.try_get_u8().ok()? {
            1 => Kind::Persist,
            2 => Kind::State,
            3 => Kind::Copy,
            4 => Kind::Remove,
            _ => return None,
        };
        let flags = input.try_get_u8().ok()?;
        let known = flags & !(FIRST | LAST | MARK | RESET | HARD_STATE) == 0;
        let reset = flags & RESET != 0;
        if !known || (reset && flags & MARK == 0) || input.try_get_u8().ok()? != 0 {
            return None;
        }
        let mut record = Self::of(kind, GroupId(input.try_get_u64_le().ok()?));
        record.is_first = flags & FIRST != 0;
        record.is_last = flags & LAST != 0;
        record.cut_from = input.try_get_u64_le().ok()?;
        if flags & MARK != 0 {
            record.mark = Some(MarkWrite { mark: codec::take_mark(&mut input)?.into(), reset });
        }
        if flags & HARD_STATE != 0 {
            record.hard_state = Some(codec::take_hard_state(&mut input)?);
        }
        let count = input.try_get_u32_le().ok()? as usize;
        if count > input.len() / codec::ENTRY_BYTES_MIN {
            return None;
        }
        record.entries.reserve_exact(count);
        for _ in 0..count {
            record.entries.push(codec::take_entry(&mut input)?);
        }
        record.is_sound(input.is_empty()).then_some(record)
    }

    /// What the rest of the crate computes with: entries in a row, indexes that have a next one.
    fn is_sound(&self, at_end: bool) -> bool {
        let consecutive = self
            .entries
            .windows(2)
            .all(|pair| pair[0].id.index.0.checked_add(1) == Some(pair[1].id.index.0));
        let mark = self.mark.as_ref().map_or(0, |write| write.mark.last.index.0);
        let last = self.entries.last().map_or(0, |entry| entry.id.index.0);
        let first = self.entries.first().map_or(1, |entry| entry.id.index.0);
        at_end && consecutive && first > 0 && mark < u64::MAX && last < u64::MAX
    }
}
