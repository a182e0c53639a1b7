//! One watcher: what it asks for, what it is told, and whether that is right.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use env::SplitMix;
use host::GroupId;
use raft::NodeId;
use store::WatchCreateRequest;

use super::compactions::Compactions;
use super::ledger::{FIRST, Ledger, Seen};
use super::streams::{Heard, Listening, Next};
use crate::Failure;
use crate::history::{Change, History};
use crate::stores::Cluster;

pub(super) type Who = (NodeId, GroupId);

/// What the world knows of the member that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// By the configuration that it knows it has a vote.
    pub(super) votes: bool,
    /// Its disk was made to fail.
    pub(super) is_ill: bool,
}

/// What a watcher wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Every change of every key.
    Everything,
    /// Of one key.
    Key(u64),
    /// Of the keys that begin with `key-`.
    Prefix,
    /// Deletions only.
    NoPut,
    /// Puts only.
    NoDelete,
}

impl Filter {
    pub(super) fn chosen(dice: &mut SplitMix) -> Self {
        match dice.below(4) {
            0 => Self::Key(dice.below(5)),
            1 => Self::Prefix,
            2 => Self::NoPut,
            _ => Self::NoDelete,
        }
    }

    fn wants(self, seen: &Seen) -> bool {
        match self {
            Self::Everything => true,
            Self::Key(number) => seen.key == format!("key-{number}"),
            Self::Prefix => seen.key.starts_with("key-"),
            Self::NoPut => seen.value.is_none(),
            Self::NoDelete => seen.value.is_some(),
        }
    }

    fn request(self, start_revision: i64) -> WatchCreateRequest {
        let every_key = Bytes::from_static(b"\0");
        let (key, range_end) = match self {
            Self::Key(number) => (Bytes::from(format!("key-{number}")), Bytes::new()),
            Self::Prefix => (Bytes::from_static(b"key-"), Bytes::from_static(b"key.")),
            Self::Everything | Self::NoPut | Self::NoDelete => (every_key.clone(), every_key),
        };
        WatchCreateRequest {
            key,
            range_end,
            start_revision,
            no_put: self == Self::NoPut,
            no_delete: self == Self::NoDelete,
            prev_kv: true,
            ..WatchCreateRequest::default()
        }
    }
}

/// What a watcher was told, and nobody has looked at yet.
#[derive(Debug)]
enum Told {
    Changes(i64, Vec<Seen>),
    Bookmark(i64),
    /// What was up to here is gone.
    Compacted(i64),
}

/// What a read brought, in numbers.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub(super) was_compacted: bool,
    pub(super) bookmarks: u64,
    /// Messages that the API brought.
    pub(super) by_api: u64,
}

#[derive(Debug)]
pub(super) struct Watcher {
    filter: Filter,
    life: u64,
    stream: Option<Listening>,
    /// Whether the API has refused it in this life of the node, which has no vote.
    is_refused: bool,
    /// The first revision that it was not told of.
    next: i64,
    /// The first revision that a new stream was asked for.
    start: i64,
    told: VecDeque<Told>,
    /// Held against the ledger up to here.
    checked: i64,
    /// The newest compaction that may have been done.
    compacted: i64,
}

impl Watcher {
    pub(super) fn new(filter: Filter) -> Self {
        let next = FIRST + 1;
        Self {
            filter,
            life: 0,
            stream: None,
            is_refused: false,
            next,
            start: next,
            told: VecDeque::new(),
            checked: FIRST,
            compacted: 0,
        }
    }

    /// A node that was started again knows nothing of its streams.
    pub(super) fn live(&mut self, life: u64) {
        if self.life != life {
            self.stream = None;
            self.is_refused = false;
            self.life = life;
        }
    }

    pub(super) fn has_seen(&self, revision: i64) -> bool {
        self.next == revision + 1
    }

    /// By the API in every other life, so that a watcher goes on by the one where it stopped by the
    /// other.
    fn open(&mut self, cluster: &Cluster, (node, group): Who) {
        if self.stream.is_some() {
            return;
        }
        let create = self.filter.request(self.next);
        let is_everything = u64::from(self.filter == Filter::Everything);
        let by_api = !(node.0 + self.life + is_everything).is_multiple_of(2);
        self.stream = Some(if by_api && !self.is_refused {
            Listening::to_api(cluster.door(node, group), self.life, create)
        } else {
            Listening::to_store(&cluster.store_of(node, group), create)
        });
        self.start = self.next;
    }

    /// Takes what waits in the stream.
    pub(super) fn read(
        &mut self,
        cluster: &Cluster,
        dice: &mut SplitMix,
        compactions: &Compactions,
        (who, truth): (Who, Truth),
    ) -> Result<Brought, Failure> {
        let mut brought = Brought::default();
        self.compacted = compactions.newest();
        self.open(cluster, who);
        let mut stream = self.stream.take().expect("made above");
        if dice.below(4) == 0 {
            stream.request_progress();
        }
        let by_api = u64::from(stream.is_api());
        let mut idle = 0;
        while idle < 3 {
            let heard = match stream.next(who, truth)? {
                Next::Over => return Ok(brought),
                Next::OfLearner => {
                    self.is_refused = true;
                    return self.read(cluster, dice, compactions, (who, truth));
                }
                Next::Nothing => {
                    idle += 1;
                    continue;
                }
                Next::Heard(heard) => heard,
            };
            brought.by_api += by_api;
            let is_over = self.hear(heard, compactions, &mut brought);
            if is_over.map_err(|failure| named(failure, who))? {
                return Ok(brought);
            }
        }
        self.stream = Some(stream);
        Ok(brought)
    }

    /// Nothing rings any more, so nothing may be there.
    pub(super) fn check_silence(&mut self, who: Who, truth: Truth) -> Result<(), Failure> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let next = stream.look(who, truth)?;
        Failure::unless(matches!(next, Next::Nothing), "watch: awake", || {
            format!("{who:?}: {next:?} had come, and nobody was woken")
        })
    }

    /// Takes one message. Whether the watcher is gone with it.
    fn hear(
        &mut self,
        heard: Heard,
        compactions: &Compactions,
        brought: &mut Brought,
    ) -> Result<bool, Failure> {
        match heard {
            Heard::Created => {}
            Heard::Events(revision, events) => {
                self.take(events.into_iter())?;
                let newest = self.next - 1;
                Failure::unless(revision >= newest, "watch: ordered", || {
                    format!("the header is at {revision}, the events at {newest}")
                })?;
            }
            Heard::Bookmark(revision) => {
                brought.bookmarks += 1;
                self.told.push_back(Told::Bookmark(revision));
                self.next = self.next.max(revision + 1);
            }
            Heard::Compacted(compact_revision) => {
                let is_right = compactions.may_be(compact_revision) && compact_revision > self.next;
                Failure::unless(is_right, "watch: complete or compacted", || {
                    format!(
                        "told of a compaction at {compact_revision}, there were {compactions:?}, \
                         had seen all before {}",
                        self.next
                    )
                })?;
                self.told.push_back(Told::Compacted(compact_revision - 1));
                self.next = compact_revision;
                brought.was_compacted = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One message with changes.
    fn take(&mut self, events: impl Iterator<Item = (i64, Seen)>) -> Result<(), Failure> {
        let mut by_revision: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
        let mut before = 0;
        for (at, seen) in events {
            Failure::unless(at >= before, "watch: ordered", || {
                format!("events go back from {before} to {at}")
            })?;
            Failure::unless(at >= self.start, "watch: resumable", || {
                format!("{at} comes, and {} was asked for", self.start)
            })?;
            Failure::unless(at >= self.next, "watch: unique", || {
                format!("{seen:?} at {at} comes, and all before {} had come", self.next)
            })?;
            Failure::unless(self.filter.wants(&seen), "watch: filtered", || {
                format!("{seen:?} comes to {:?}", self.filter)
            })?;
            before = at;
            by_revision.entry(at).or_default().push(seen);
        }
        self.next = self.next.max(before + 1);
        self.told.extend(by_revision.into_iter().map(|(at, seen)| Told::Changes(at, seen)));
        Ok(())
    }

    /// Holds against the ledger what the ledger knows already. Returns how many changes that were.
    pub(super) fn check(
        &mut self,
        ledger: &mut Ledger,
        history: &mut History,
        who: Who,
    ) -> Result<u64, Failure> {
        let mut count = 0;
        while let Some(told) = self.told.front() {
            let (Told::Changes(at, _) | Told::Bookmark(at) | Told::Compacted(at)) = told;
            let at = *at;
            if let (Filter::Everything, Told::Changes(_, seen)) = (self.filter, told)
                && at == ledger.newest() + 1
            {
                let change = |seen: &Seen| Change { key: seen.key.clone(), value: seen.value };
                let changes: Vec<Change> = seen.iter().map(change).collect();
                history.changes.insert(at, changes.clone());
                ledger.learn(at, changes);
            }
            if at > ledger.newest() {
                break;
            }
            let told = self.told.pop_front().expect("it was there a moment ago");
            count += self.check_one(ledger, told).map_err(|failure| named(failure, who))?;
        }
        Ok(count)
    }

    fn check_one(&mut self, ledger: &Ledger, told: Told) -> Result<u64, Failure> {
        let (at, mut seen) = match told {
            Told::Changes(at, seen) => (at, seen),
            Told::Bookmark(at) => {
                self.check_none_missed(ledger, at, "watch: bookmarkable")?;
                self.checked = self.checked.max(at);
                return Ok(0);
            }
            Told::Compacted(at) => {
                self.checked = self.checked.max(at);
                return Ok(0);
            }
        };
        self.check_none_missed(ledger, at - 1, "watch: reliable")?;
        seen.sort_by(|a, b| a.key.cmp(&b.key));
        let expected: Vec<&Seen> =
            ledger.at(at).iter().filter(|seen| self.filter.wants(seen)).collect();
        let keys = |seen: &[&Seen]| -> Vec<_> {
            seen.iter().map(|seen| (seen.key.clone(), seen.value)).collect()
        };
        let both = || format!("at {at} came {seen:?}, and {expected:?} happened");
        let same = keys(&expected) == keys(&seen.iter().collect::<Vec<_>>());
        Failure::unless(same, "watch: atomic", both)?;
        for (seen, expected) in seen.iter().zip(&expected) {
            let (created, version) = (expected.create_revision, expected.version);
            let is_right = (seen.create_revision, seen.version) == (created, version);
            Failure::unless(is_right, "watch: creations", both)?;
            // What a change replaced may be compacted with it: then nobody can tell it any more.
            let is_gone = seen.before.is_none() && at <= self.compacted;
            let is_told = is_gone || seen.before == expected.before;
            Failure::unless(is_told, "watch: previous values", both)?;
        }
        self.checked = self.checked.max(at);
        Ok(seen.len() as u64)
    }

    /// Nothing that it wants happened between what was checked and `upto`. What was compacted
    /// before it came is no loss: it was told.
    fn check_none_missed(
        &self,
        ledger: &Ledger,
        upto: i64,
        property: &'static str,
    ) -> Result<(), Failure> {
        for revision in self.checked + 1..=upto {
            let missed = ledger.at(revision).iter().find(|seen| self.filter.wants(seen));
            Failure::unless(missed.is_none(), property, || {
                format!("{:?} was not told of {missed:?} at {revision}", self.filter)
            })?;
        }
        Ok(())
    }

    /// The ledger is complete, and the stream has nothing more.
    pub(super) fn check_end(&self, ledger: &Ledger, who: Who) -> Result<(), Failure> {
        Failure::unless(self.told.is_empty(), "watch: ordered", || {
            format!("{who:?}: {:?} is behind the end {}", self.told, ledger.newest())
        })?;
        self.check_none_missed(ledger, ledger.newest(), "watch: reliable")
            .map_err(|failure| named(failure, who))
    }
}

fn named(failure: Failure, who: Who) -> Failure {
    Failure::new(failure.property, format!("{who:?}: {}", failure.detail)).of(who.0, who.1)
}
