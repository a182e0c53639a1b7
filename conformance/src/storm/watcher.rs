//! One watcher: what it asked for, and what it was given.

use api::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};
use api::mvccpb::{Event, KeyValue};
use env::SplitMix;

use super::truth::Truth;
use super::{KEYS, key};

/// Faults that one watcher remembers; the first may cause the others.
const FAULTS_MAX: usize = 5;

/// An event as it was given: enough to find it again in the truth.
#[derive(Clone, Copy, Debug)]
struct Seen {
    revision: i64,
    digest: u32,
    /// It was behind a compaction when it came, so that what was there before may be gone.
    is_old: bool,
}

#[derive(Debug)]
pub(super) struct Watcher {
    key: String,
    range_end: String,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    /// The first revision of interest.
    start: i64,
    /// The first revision of which it was not given everything.
    pub(super) next: i64,
    seen: Vec<Seen>,
    /// Revisions that it was told are gone, first and last.
    pub(super) gaps: Vec<(i64, i64)>,
    /// Up to where it was told to have everything, and how many events it had been given then.
    pub(super) bookmarks: Vec<(i64, usize)>,
    /// All events, of those that see everything.
    pub(super) events: Option<Vec<Event>>,
    pub(super) faults: Vec<String>,
}

/// A number that tells two events apart.
pub(super) fn digest(event: &Event, with_prev: bool) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    add(&event.r#type.to_le_bytes());
    let mut add_kv = |kv: &KeyValue| {
        add(&kv.key);
        add(&kv.value);
        for number in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
            add(&number.to_le_bytes());
        }
    };
    event.kv.iter().for_each(&mut add_kv);
    if with_prev {
        event.prev_kv.iter().for_each(&mut add_kv);
    }
    hash
}

/// The revision of an event; 0 if it has no key.
pub(super) fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

impl Watcher {
    /// One that sees everything, with what was there before.
    pub(super) fn reference(first: i64) -> Self {
        let events = Some(Vec::new());
        let (key, range_end) = (key(0), "storm0".to_owned());
        Self { key, range_end, prev_kv: true, events, ..Self::empty(first) }
    }

    pub(super) fn chosen(dice: &mut SplitMix, first: i64) -> Self {
        let mut one_in = |bound: u64| dice.below(bound) == 0;
        let (no_put, no_delete, prev_kv) = (one_in(12), one_in(12), one_in(4));
        // Some want nothing yet.
        let start = if one_in(20) { first + 100 } else { first };
        let wide = one_in(40);
        let number = dice.below(KEYS);
        let (key, range_end) = match dice.below(2) {
            _ if wide => (key(0), "storm0".to_owned()),
            0 => (key(number), String::new()),
            _ => (key(number / 10 * 10), key(number / 10 * 10 + 10)),
        };
        Self { key, range_end, no_put, no_delete, prev_kv, ..Self::empty(start) }
    }

    fn empty(start: i64) -> Self {
        Self {
            key: String::new(),
            range_end: String::new(),
            no_put: false,
            no_delete: false,
            prev_kv: false,
            start,
            next: start,
            seen: Vec::new(),
            gaps: Vec::new(),
            bookmarks: Vec::new(),
            events: None,
            faults: Vec::new(),
        }
    }

    /// Begins where it has got to.
    pub(super) fn request(&self, watch_id: i64) -> WatchCreateRequest {
        let filters = [(self.no_put, FilterType::Noput), (self.no_delete, FilterType::Nodelete)];
        let filters = filters.into_iter().filter(|(wanted, _)| *wanted);
        WatchCreateRequest {
            key: self.key.clone().into(),
            range_end: self.range_end.clone().into(),
            start_revision: self.next,
            filters: filters.map(|(_, filter)| filter.into()).collect(),
            prev_kv: self.prev_kv,
            watch_id,
            ..WatchCreateRequest::default()
        }
    }

    pub(super) fn fault(&mut self, text: &str) {
        if self.faults.len() < FAULTS_MAX {
            let (key, end) = (&self.key, &self.range_end);
            self.faults.push(format!("watcher of {key}..{end} from {}: {text}", self.start));
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let Some(kv) = &event.kv else { return false };
        let key = &kv.key[..];
        let inside = match self.range_end.as_str() {
            "" => key == self.key.as_bytes(),
            end => self.key.as_bytes() <= key && key < end.as_bytes(),
        };
        // Types on the wire: 0 is a put, 1 a delete.
        let filtered = if event.r#type == 0 { self.no_put } else { self.no_delete };
        inside && !filtered
    }

    /// One answer's events. All of a revision come in one, so the next begins behind it.
    pub(super) fn observe(&mut self, header_revision: i64, events: Vec<Event>, compacted: i64) {
        let mut last = self.next;
        for event in &events {
            let at = revision(event);
            if at < last {
                self.fault(&format!("an event of revision {at} came where {last} was next"));
            }
            if !self.wants(event) {
                self.fault(&format!("it did not ask for {event:?}"));
            }
            last = last.max(at);
            let is_old = at <= compacted;
            self.seen.push(Seen { revision: at, digest: digest(event, self.prev_kv), is_old });
        }
        if last > header_revision {
            self.fault(&format!("the header says {header_revision}, an event {last}"));
        }
        self.next = self.next.max(last + 1);
        if let Some(all) = &mut self.events {
            all.extend(events);
        }
    }

    /// It was told that it has everything up to a revision.
    pub(super) fn bookmark(&mut self, at: i64) {
        if at + 1 >= self.next && at >= self.start {
            self.bookmarks.push((at, self.seen.len()));
            self.next = at + 1;
        }
    }

    /// It was told that history begins at a revision.
    pub(super) fn cut(&mut self, compact_revision: i64) {
        if compact_revision <= self.next {
            let next = self.next;
            self.fault(&format!("cut at {compact_revision}, which is not behind its next, {next}"));
        }
        self.gaps.push((self.next, compact_revision - 1));
        self.next = self.next.max(compact_revision);
    }

    /// Holds what it was given against what has happened.
    pub(super) fn check(&self, truth: &Truth, last: i64, faults: &mut Vec<String>) {
        let in_gap = |at: i64| self.gaps.iter().any(|(from, to)| (*from..=*to).contains(&at));
        let wanted = truth.events(self.start, last).filter(|event| self.wants(event));
        let wanted: Vec<&Event> = wanted.filter(|event| !in_gap(revision(event))).collect();
        let of = format!("watcher of {}..{} from {}", self.key, self.range_end, self.start);
        for (number, (event, seen)) in wanted.iter().zip(&self.seen).enumerate() {
            let without = seen.is_old && digest(event, false) == seen.digest;
            if revision(event) != seen.revision
                || (digest(event, self.prev_kv) != seen.digest && !without)
            {
                let at = seen.revision;
                faults.push(format!("{of}: event {number} is of {at}, expected {event:?}"));
                return;
            }
        }
        if wanted.len() != self.seen.len() {
            let (wanted, seen) = (wanted.len(), self.seen.len());
            faults.push(format!("{of}: {seen} events of {wanted}"));
            return;
        }
        for (at, count) in &self.bookmarks {
            let before = wanted.partition_point(|event| revision(event) <= *at);
            if before != *count {
                faults.push(format!("{of}: told of all up to {at} with {count} of {before}"));
                return;
            }
        }
    }
}
