//! A node that was removed learns of it.
//!
//! Who was removed is in the configuration, as a tombstone ([`Configuration::removed`]): it comes
//! and goes with the log like everything else there, and so is believed only once committed.
//!
//! A node that was cut off while it was removed will ask for votes, or lead in a term that is long
//! over. Whoever knows of its tombstone answers nothing but that. Its requests need no other
//! answer: a committed configuration without it decides without it.
//!
//! # What a node must hear to believe it
//!
//! Its own log, if that says so, is proof. A message is a claim. It must carry a committed
//! configuration that names this node, newer than all that this node knows to be committed, or of
//! more recoveries ([`Restored::force_survivors`](crate::Restored::force_survivors)); it must
//! answer a request of this very disk, since the id may have had another life; and one claim alone
//! does not end a node:
//!
//! ```text
//!   n1   leads, n3 is a member          n2   is mistaken, or was restored from another group
//!   n3   hears "removed" from n2: a claim. It waits for a second voice, or for a leader,
//!        which proves that it is a member.
//! ```
//!
//! Where there is only one other voter, that one is enough: without it this node can do nothing.
//!
//! Scripts: `testdata/membership/`.

use alloc::collections::BTreeSet;

use crate::configuration::is_sound;
use crate::recovery::recoveries;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{
    Body, Configuration, EntryId, Event, Incarnation, LogIndex, Node, NodeId, PeerFault,
    SnapshotMark,
};

/// So many members must say it.
const CLAIMS: usize = 2;

/// What this node knows of its own removal.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Removal {
    by: Option<EntryId>,
    /// Members that claim it. Invariant: members of the configuration in force when they did.
    claims: BTreeSet<NodeId>,
}

impl Removal {
    /// The configuration that says so, by its place.
    pub(crate) fn by(&self) -> Option<EntryId> {
        self.by
    }

    /// A leader was heard: this node is a member.
    pub(crate) fn forget_claims(&mut self) {
        if !self.claims.is_empty() {
            self.claims.clear();
        }
    }
}

impl Node {
    /// The newest configuration that this node knows to be committed. That of its mark is.
    #[must_use]
    pub fn committed_configuration(&self) -> &Configuration {
        self.configurations.at(self.commit_index)
    }

    /// Where it stands, or the mark if it is that of the mark.
    #[must_use]
    pub fn committed_configuration_index(&self) -> LogIndex {
        self.configurations.index_at(self.commit_index)
    }

    /// Whether `node` was removed, for all that is known to be committed here.
    pub(crate) fn is_tombstone(&self, node: NodeId) -> bool {
        if bug(Bug::UncommittedRemovalIsTold) {
            return self.configurations.current().removed.contains(&node);
        }
        self.committed_configuration().removed.contains(&node)
    }

    /// The commit index has moved: is this node removed by what is committed now?
    pub(crate) fn notice_removal(&mut self) {
        let configuration = self.committed_configuration();
        if !configuration.removed.contains(&self.options.id) {
            return;
        }
        let index = self.committed_configuration_index();
        let Some(last) = self.log.id_at(index) else { return };
        let by = SnapshotMark { last, configuration: configuration.clone() };
        self.learn_removal(by);
    }

    fn learn_removal(&mut self, by: SnapshotMark) {
        if self.removal.by.is_some() {
            return;
        }
        let last = by.last;
        self.removal.by = Some(last);
        self.output.removed = Some(by.into());
        self.record(|| Event::RemovedFromGroup { by: last });
    }

    /// A message of a node that was removed. Requests are answered, answers are not.
    pub(crate) fn tell_of_removal(&mut self, to: NodeId, incarnation: Incarnation, body: &Body) {
        let term = self.current_term();
        match body {
            Body::PreVote { .. }
            | Body::RequestVote { .. }
            | Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::Heartbeat { .. }
            | Body::Quiesce { .. }
            | Body::InstallSnapshot { .. }
            | Body::Pull { .. }
            | Body::ReadIndex { .. } => {}
            Body::PreVoteResponse { .. }
            | Body::RequestVoteResponse { .. }
            | Body::AppendEntriesResponse(_)
            | Body::HeartbeatResponse { .. }
            | Body::InstallSnapshotResponse { .. }
            | Body::TimeoutNow { .. }
            | Body::Removed { .. }
            | Body::PullResponse { .. }
            | Body::ReadIndexResponse { .. } => {
                return self.record(|| Event::StaleMessage { from: to, term });
            }
        }
        let index = self.committed_configuration_index();
        let Some(last) = self.log.id_at(index) else { return };
        let by = SnapshotMark { last, configuration: self.committed_configuration().clone() };
        self.record(|| Event::RemovalTold { to });
        self.answer(to, Body::Removed { by: by.into(), incarnation });
    }

    /// A member says that this node was removed.
    pub(crate) fn handle_removed(
        &mut self,
        from: NodeId,
        by: SnapshotMark,
        incarnation: Incarnation,
    ) {
        let own = self.options.id;
        let (last, term) = (by.last, self.current_term());
        // Survivors that were forced (`recovery.rs`) went on from less than was committed here.
        let is_forced =
            recoveries(last.term) > recoveries(self.log.last().term) && !bug(Bug::LostMembersGoOn);
        if self.removal.by.is_some()
            || incarnation != self.options.incarnation
            || last.index <= self.commit_index && !is_forced
        {
            // Of another life, or of a time that this node knows better.
            return self.record(|| Event::StaleMessage { from, term });
        }
        let proves = is_sound(&by.configuration) && by.configuration.removed.contains(&own);
        if !proves {
            return self.fault(from, PeerFault::FalseRemoval);
        }
        let current = self.configurations.current();
        if !current.contains(from) {
            // Of a configuration that this node has not, or has no more.
            return self.record(|| Event::StaleMessage { from, term });
        }
        let others = current.members().filter(|member| *member != own && current.is_voter(*member));
        let claims = if bug(Bug::RemovalIsBelievedAtOnce) { 1 } else { CLAIMS };
        let needed = others.count().clamp(1, claims);
        self.record(|| Event::RemovalClaimed { from, by: last });
        self.removal.claims.insert(from);
        if self.removal.claims.len() < needed {
            return;
        }
        if !matches!(self.role, RoleState::Follower { .. }) {
            self.become_follower(term, None);
        }
        self.learn_removal(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HardState, Input, Message, Options, Restored, Term, Tick};

    const OWN: LogIndex = LogIndex(4);

    /// Node 1 of five has applied 4@1, and hears from 3 and 4 that `last` names it as removed.
    fn is_removed_by(last: EntryId) -> bool {
        let members = Configuration::of_voters([1, 2, 3, 4, 5].map(NodeId));
        let own = EntryId { index: OWN, term: Term(1) };
        let restored = Restored {
            hard_state: HardState { current_term: Term(1), voted_for: None },
            mark: SnapshotMark { last: own, configuration: members },
            last: own,
            applied: OWN,
            ..Restored::default()
        };
        let mut node = Node::new(Options::new(NodeId(1), 1), restored).expect("sound options");
        node.handle(Tick(0), Input::Tick);
        let configuration = Configuration {
            removed: [1, 2, 5].map(NodeId).into_iter().collect(),
            ..Configuration::of_voters([3, 4].map(NodeId))
        };
        for from in [3, 4] {
            let by = SnapshotMark { last, configuration: configuration.clone() }.into();
            let body = Body::Removed { by, incarnation: Incarnation::default() };
            let message = Message::new(NodeId(from), NodeId(1), Term(1), body);
            node.handle(Tick(0), Input::Message(message));
        }
        node.take_output().removed.is_some()
    }

    /// T202: survivors that were forced write behind what they have, which may be less than node 1
    /// has committed and applied. It would go on, and be the second group of that name as soon as
    /// two more that are lost come back.
    #[test]
    fn who_was_lost_in_a_recovery_believes_it_whatever_it_has_applied() {
        let forced = Term(1 << 32 | 7);
        assert!(is_removed_by(EntryId { index: LogIndex(5), term: Term(1) }));
        assert!(is_removed_by(EntryId { index: LogIndex(4), term: forced }));
        assert!(is_removed_by(EntryId { index: LogIndex(2), term: forced }));
        assert!(!is_removed_by(EntryId { index: LogIndex(4), term: Term(1) }), "it knows better");
    }
}
