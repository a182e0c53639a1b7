//! What the log holds, and what must be on disk beside it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

use crate::quorum::rule::{QuorumRule, RuleFault};
use crate::{ClockInterval, EntryId, Incarnation, KeyedCommand, LeaseTerms, NodeId, Term};

/// One entry of the log (Raft Figure 2: "command for state machine, and term when entry was
/// received by leader").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Term and index.
    pub id: EntryId,
    /// What the entry says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing. A new leader appends one, so that an entry of its own term can commit (Raft §8).
    Noop,
    /// Nothing but when it was appended, so that it can be a lease (`lease_clock.rs`). Only where
    /// leases go by [clocks of declared uncertainty](crate::LeaseClock::Declared).
    Lease(ClockInterval),
    /// A command for the state machine: one buffer from the client's socket to the log.
    Command(Bytes),
    /// A command that says what it touches, so that others can be executed beside it
    /// ([`waves`](crate::waves)). In a box, as the configurations.
    Keyed(Box<KeyedCommand>),
    /// A command that this node does not hold: it is a witness, and knows the entry by name alone.
    Withheld,
    /// The members of the group from this entry on, in force as soon as it is appended
    /// (thesis §4.1).
    ///
    /// In a box: there are few of them, and every other entry would be as large.
    Configuration(Box<Configuration>),
}

impl Payload {
    /// Whether it says anything to the state machine; what a witness is not told.
    pub(crate) fn is_command(&self) -> bool {
        match self {
            Self::Command(_) | Self::Keyed(_) | Self::Withheld => true,
            Self::Noop | Self::Lease(_) | Self::Configuration(_) => false,
        }
    }
}

impl Entry {
    /// Bytes that the entry counts against windows and batch limits: its payload and a fixed
    /// overhead, so that empty entries are not free.
    #[must_use]
    #[inline]
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 32;
        OVERHEAD_BYTES
            + match &self.payload {
                Payload::Noop | Payload::Withheld => 0,
                Payload::Lease(_) => 16,
                Payload::Command(command) => command.len(),
                Payload::Keyed(keyed) => keyed.command.len() + 8 * keyed.keys.as_slice().len(),
                Payload::Configuration(configuration) => configuration.size_bytes(),
            }
    }
}

/// Who votes and who learns (thesis §4.3). `outgoing` is empty except in a joint configuration.
///
/// Invariant: a node is not in both `voters` and `learners`. A node of `outgoing` may be in
/// `learners`: it votes until the configuration is left, and learns from then on.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct Configuration {
    /// The voters; in a joint configuration those of C_new.
    pub voters: BTreeSet<NodeId>,
    /// The voters of C_old while the configuration is joint; empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and do not vote; in a joint configuration those of C_new.
    pub learners: BTreeSet<NodeId>,
    /// Voters that hold the names of entries and the configurations, but no commands, and so never
    /// lead (`witness.rs`). For the life of its id a node is a witness or it is none.
    ///
    /// Invariant: only of voters, and not all of those of C_new.
    pub witnesses: BTreeSet<NodeId>,
    /// What the host keeps about members, such as their addresses. The protocol carries it and
    /// never looks inside. Being part of the configuration, it comes and goes with the members: no
    /// second list of members can disagree with the first (M14).
    ///
    /// Invariant: only of members.
    pub attributes: BTreeMap<NodeId, Bytes>,
    /// Tombstones: nodes that were members, oldest removal first. They are not added again, and are
    /// told to shut down (`docs/adr/0008-who-is-a-member.md`).
    ///
    /// Invariant: no members, none twice, at most [`TOMBSTONES_MAX`].
    pub removed: Vec<NodeId>,
    /// The disk by which each member vouches: what it says from another one counts for nothing.
    /// Members that are not in it were not heard yet, or do not say.
    ///
    /// Invariant: only of members, only known ones.
    pub incarnations: BTreeMap<NodeId, Incarnation>,
    /// How long an entry is a lease; `None` for no such leases (`docs/adr/0009-lease-guard.md`).
    pub lease: Option<LeaseTerms>,
    /// Which of the voters can decide alone.
    pub rule: QuorumRule,
    /// The same for C_old, which keeps its rule until it is left.
    ///
    /// Invariant: [`QuorumRule::Majority`] unless the configuration is joint.
    pub outgoing_rule: QuorumRule,
    /// Learners that pull from another member than the leader, and from whom (`feeding.rs`).
    ///
    /// Invariant: of learners alone; the other is a member, not the learner itself, and no witness.
    pub feeders: BTreeMap<NodeId, NodeId>,
    /// Who is preferred as a leader: the higher, the more (`preference.rs`). Who is not in it has
    /// 0, and a witness never leads. A site that is to lead is a number that all its members have.
    ///
    /// Invariant: only of members, none 0.
    pub priorities: BTreeMap<NodeId, u32>,
}

/// How many removed nodes a configuration remembers; then the oldest is forgotten. That is safe:
/// a node that comes back after so many changes is a stranger like any other. Its old votes and
/// acknowledgements cannot count, since each change, joint or in one step, has cut off every
/// configuration before it, and with them all in which it had a vote; its disk is looked at by its
/// [`Incarnation`]; and the leader's book on it is a new one. What is lost is the refusal to add
/// it, and that it is told to shut down.
pub const TOMBSTONES_MAX: usize = 256;

impl Configuration {
    /// A configuration of voters alone.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// A configuration of voters alone that decide by `rule`.
    ///
    /// # Errors
    /// The rule is none for these voters: above all, two quorums need not share one.
    ///
    /// ```
    /// use raft::{Configuration, NodeId, QuorumRule};
    ///
    /// let voters = [1, 2, 3, 4].map(NodeId);
    /// let flexible = |election, commit| QuorumRule::Flexible { election, commit };
    /// assert!(Configuration::of_voters_by(flexible(3, 2), voters).is_ok());
    /// assert!(Configuration::of_voters_by(flexible(2, 3), voters).is_err());
    /// ```
    pub fn of_voters_by(
        rule: QuorumRule,
        voters: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, RuleFault> {
        let configuration = Self { rule, ..Self::of_voters(voters) };
        configuration.rule.check(&configuration.voters)?;
        Ok(configuration)
    }

    /// Whether agreement takes a quorum of both C_old and C_new.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Members counted once per role; an upper bound of distinct members.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.voters.len() + self.outgoing.len() + self.learners.len()
    }

    /// Bytes that the configuration counts against windows and batch limits.
    fn size_bytes(&self) -> usize {
        let attributes = self.attributes.values().map(|attributes| 16 + attributes.len());
        let lease = if self.lease.is_some() { 16 } else { 0 };
        let nodes = 8 * (self.removed.len() + self.witnesses.len());
        let others = nodes + 16 * self.incarnations.len() + lease;
        let rules = self.rule.size_bytes() + self.outgoing_rule.size_bytes();
        let others = others + 16 * self.feeders.len() + 12 * self.priorities.len();
        8 * self.member_count() + attributes.sum::<usize>() + others + rules
    }

    /// The same without what is said about nodes that are no members, and with a tombstone for each
    /// member of `before` that is none any more.
    pub(crate) fn that_follows(mut self, before: &Self) -> Self {
        let mut attributes = core::mem::take(&mut self.attributes);
        attributes.retain(|node, _| self.contains(*node));
        let mut witnesses = core::mem::take(&mut self.witnesses);
        witnesses.extend(&before.witnesses);
        witnesses.retain(|node| self.is_voter(*node));
        let mut incarnations = core::mem::take(&mut self.incarnations);
        incarnations.retain(|node, _| self.contains(*node));
        let mut removed = before.removed.clone();
        removed.extend(before.members().filter(|node| !self.contains(*node)));
        removed.drain(..removed.len().saturating_sub(TOMBSTONES_MAX));
        let mut feeders = core::mem::take(&mut self.feeders);
        feeders.retain(|learner, feeder| self.learners.contains(learner) && self.contains(*feeder));
        let mut priorities = core::mem::take(&mut self.priorities);
        priorities.retain(|node, _| self.contains(*node));
        Self { witnesses, attributes, incarnations, removed, feeders, priorities, ..self }
    }

    /// From whom `node` pulls: a learner without a vote in any half, with a feeder.
    pub(crate) fn feeder_of(&self, node: NodeId) -> Option<NodeId> {
        self.feeders.get(&node).copied().filter(|_| !self.is_voter(node))
    }

    /// Whether `node` has a vote in this configuration, in either half of a joint one.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` is a member in any role.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// All members, each once, in order of id.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let all: BTreeSet<NodeId> =
            self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect();
        all.into_iter()
    }
}

/// Written as the scripts write it; a list that is empty is left out.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voters=")?;
        write_nodes(f, &self.voters)?;
        let others = [
            (" outgoing=", &self.outgoing),
            (" learners=", &self.learners),
            (" witnesses=", &self.witnesses),
        ];
        for (name, nodes) in others {
            if !nodes.is_empty() {
                f.write_str(name)?;
                write_nodes(f, nodes)?;
            }
        }
        if !self.removed.is_empty() {
            f.write_str(" removed=")?;
            write_nodes(f, &self.removed)?;
        }
        for (name, rule) in [(" rule=", &self.rule), (" outgoing-rule=", &self.outgoing_rule)] {
            if *rule != QuorumRule::Majority {
                write!(f, "{name}{rule}")?;
            }
        }
        if let Some(lease) = self.lease {
            write!(f, " lease={lease}")?;
        }
        for (place, (node, priority)) in self.priorities.iter().enumerate() {
            write!(f, "{}{node}:{priority}", if place == 0 { " priorities=" } else { "," })?;
        }
        for (place, (learner, feeder)) in self.feeders.iter().enumerate() {
            write!(f, "{}{learner}:{feeder}", if place == 0 { " feeders=" } else { "," })?;
        }
        Ok(())
    }
}

pub(crate) fn write_nodes<'a>(
    f: &mut fmt::Formatter<'_>,
    nodes: impl IntoIterator<Item = &'a NodeId>,
) -> fmt::Result {
    for (place, node) in nodes.into_iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(f, "{comma}{node}")?;
    }
    Ok(())
}

/// Term and vote, in one record: a crash leaves the old pair or the new one, never half
/// (Raft Figure 2, "persistent state on all servers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct HardState {
    /// Latest term the node has seen.
    pub current_term: Term,
    /// The candidate that received this node's vote in `current_term`.
    pub voted_for: Option<NodeId>,
}

/// What stands for the log up to and including `last` (Raft §7): the entry's name and the
/// configuration in force there. The state itself is the host's.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct SnapshotMark {
    /// The last entry that the snapshot covers; index 0 for a group that begins.
    pub last: EntryId,
    /// The configuration as of `last`.
    pub configuration: Configuration,
}
