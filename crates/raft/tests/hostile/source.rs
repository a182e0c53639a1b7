//! Messages, and parts of them, out of bytes.

use bytes::Bytes;
use raft::*;

/// Numbers out of bytes; zeros when they have run out.
pub(super) struct Source<'a> {
    data: &'a [u8],
    /// Everything a peer or a host can say; inputs of the corpus that are older say less.
    pub(super) is_wide: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, is_wide: false }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        *first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// One of so many.
    pub(super) fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Mostly small, so that messages often fit; sometimes absurd.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=239 => u64::from(small % 12),
            240..=247 => u64::from(self.byte()) << 4,
            248..=251 => 1 << 62,
            _ => u64::MAX,
        }
    }

    pub(super) fn index(&mut self) -> LogIndex {
        LogIndex(self.number())
    }

    fn entry_id(&mut self) -> EntryId {
        EntryId::new(self.number(), self.number())
    }

    pub(super) fn node(&mut self) -> NodeId {
        NodeId(self.number().saturating_add(1))
    }

    pub(super) fn configuration(&mut self) -> Configuration {
        let mut of = |most: u8| -> std::collections::BTreeSet<NodeId> {
            let count = self.byte() % most;
            (0..count).map(|_| NodeId(u64::from(self.byte() % 6) + 1)).collect()
        };
        let configuration = Configuration {
            voters: of(4),
            outgoing: of(2),
            learners: of(2),
            removed: of(2).into_iter().collect(),
            ..Configuration::default()
        };
        if self.is_wide { self.with_more(configuration) } else { configuration }
    }

    /// What else a configuration may have, sound or not.
    fn with_more(&mut self, mut configuration: Configuration) -> Configuration {
        let near = |source: &mut Self| NodeId(u64::from(source.below(6)) + 1);
        let what = self.byte();
        if what & 1 == 1 {
            configuration.witnesses.insert(near(self));
        }
        if what & 2 == 2 {
            configuration.incarnations.insert(near(self), self.incarnation());
        }
        if what & 4 == 4 {
            configuration.lease = Some(self.lease_terms());
        }
        if what & 8 == 8 {
            configuration.rule = self.rule();
        }
        if what & 16 == 16 {
            configuration.outgoing_rule = self.rule();
        }
        if what & 32 == 32 {
            configuration.feeders.insert(near(self), near(self));
        }
        if what & 64 == 64 {
            configuration.priorities.insert(near(self), u32::from(self.byte()));
        }
        if what & 128 == 128 {
            configuration.attributes.insert(near(self), Bytes::from_static(b"at"));
        }
        configuration
    }

    pub(super) fn incarnation(&mut self) -> Incarnation {
        Incarnation(self.number() % 3)
    }

    pub(super) fn lease_terms(&mut self) -> LeaseTerms {
        let clock = match self.below(3) {
            0 => LeaseClock::Declared { uncertainty_us_max: u32::from(self.byte()) },
            _ => LeaseClock::Monotonic,
        };
        let duration_us = self.number().saturating_mul(1000);
        LeaseTerms { duration_us, drift_ppm: u32::from(self.byte()), clock }
    }

    pub(super) fn rule(&mut self) -> QuorumRule {
        let near = |source: &mut Self| NodeId(u64::from(source.below(6)) + 1);
        match self.below(5) {
            0 => QuorumRule::EvenSet { extra: [near(self)].into_iter().collect() },
            1 => {
                let (election, commit) = (self.number(), self.number());
                let small = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
                QuorumRule::Flexible { election: small(election), commit: small(commit) }
            }
            2 => QuorumRule::weighted((1..=3).map(|node| (NodeId(node), u32::from(self.byte())))),
            3 => QuorumRule::grouped([[near(self), near(self)], [near(self), near(self)]]),
            _ => QuorumRule::Majority,
        }
    }

    pub(super) fn clock(&mut self) -> ClockInterval {
        ClockInterval { earliest_us: self.number(), latest_us: self.number() }
    }

    pub(super) fn keyed(&mut self) -> KeyedCommand {
        let keys = ConflictKeys::of((0..self.below(3)).map(|_| u64::from(self.below(4))));
        KeyedCommand { keys: keys.unwrap_or_default(), command: Bytes::from_static(b"k") }
    }

    pub(super) fn mark(&mut self) -> SnapshotMark {
        SnapshotMark { last: self.entry_id(), configuration: self.configuration() }
    }

    fn payload(&mut self) -> Payload {
        if self.is_wide && self.flag() {
            return match self.below(3) {
                0 => Payload::Withheld,
                1 => Payload::Lease(self.clock()),
                _ => Payload::Keyed(self.keyed().into()),
            };
        }
        match self.byte() % 4 {
            0 => Payload::Noop,
            1 => Payload::Configuration(self.configuration().into()),
            _ => Payload::Command(Bytes::from_static(b"x")),
        }
    }

    /// Half of the time a run that follows `prev`.
    fn entries(&mut self, prev: EntryId) -> Vec<Entry> {
        let is_run = self.flag();
        let mut id = prev;
        (0..self.byte() % 4)
            .map(|_| {
                id = if is_run {
                    let term = Term(id.term.0.max(self.number()));
                    EntryId { term, index: LogIndex(id.index.0.saturating_add(1)) }
                } else {
                    self.entry_id()
                };
                Entry { id, payload: self.payload() }
            })
            .collect()
    }

    pub(super) fn body(&mut self) -> Body {
        match self.byte() % 19 {
            0 => Body::PreVote { last: self.entry_id() },
            1 => Body::PreVoteResponse { granted: self.flag() },
            2 => Body::RequestVote { last: self.entry_id(), leadership_transfer: self.flag() },
            3 => Body::RequestVoteResponse { granted: self.flag() },
            4 | 5 => {
                let prev = self.entry_id();
                let (commit_index, session) = (self.index(), self.number() % 2);
                Body::AppendEntries {
                    prev,
                    commit_index,
                    session,
                    entries: self.entries(prev).into(),
                }
            }
            6 => Body::AppendEntriesResponse(AppendOutcome::Accepted {
                session: self.number() % 2,
                match_index: self.index(),
            }),
            7 => Body::AppendEntriesResponse(AppendOutcome::Rejected {
                session: self.number() % 2,
                prev_index: self.index(),
                hint: self.entry_id(),
            }),
            8 => Body::Heartbeat { commit_index: self.index(), round: self.number() },
            9 => Body::HeartbeatResponse { round: self.number(), last_index: self.index() },
            10 => Body::InstallSnapshot { mark: self.mark().into() },
            11 => Body::InstallSnapshotResponse { match_index: self.index() },
            12 => Body::Quiesce { last: self.entry_id(), commit_index: self.index() },
            13 => Body::TimeoutNow { lease_ended: self.flag() },
            14 if self.flag() => Body::ReadIndex { context: self.number(), replied: self.flag() },
            14 => {
                let index = self.flag().then(|| self.index());
                Body::ReadIndexResponse { context: self.number(), index }
            }
            15 => Body::Pull { prev: self.entry_id() },
            16 => {
                let (prev, commit_index) = (self.entry_id(), self.index());
                Body::PullResponse { prev, commit_index, entries: self.entries(prev).into() }
            }
            17 => {
                let (prev, commit_index) = (self.entry_id(), self.index());
                Body::CommitIndex { prev, commit_index, session: self.number() % 2 }
            }
            _ => {
                let incarnation = Incarnation(self.number() % 2);
                Body::Removed { by: self.mark().into(), incarnation }
            }
        }
    }
}
