//! Changing the members of a group (thesis §4), on the leader.
//!
//! A change begins when its first configuration is appended, and is in force from then on. One
//! change is under way at a time; [`change`](crate::configuration::change) says what its entries
//! are: a joint configuration and C_new, or C_new alone
//! ([`one_step`](crate::configuration::one_step)). The node owns only when: when a change may
//! begin, which is one rule for both ways, when a joint configuration is left, and when a leader
//! that is no voter any more goes.
//!
//! # Why a leader must first commit an entry of its own term (M1)
//!
//! ```text
//!   S1 leads term 1, appends C+5 and reaches nobody; S2 leads term 2.
//!     S1   C  C+5@1
//!     S2   C                Were S2 to append C-1 now, two changes of one configuration would be
//!     S3   C                in two logs. S1 decides with majorities of C+5, S2 with those of C-1,
//!     S4   C                and those need not meet: only each of them meets the majorities of C.
//! ```
//!
//! An entry of term 2 on a majority of C means that S1 cannot be elected without its change being
//! overwritten first. Of changes that go in one step this is the published bug: without the rule
//! S2 and S3 commit C-1, and S1 is elected by S4 and S5. Joint consensus would survive this very
//! picture, since C+5 is joint and needs a majority of C; the rule is kept because with it nobody
//! has to prove that again for each change.
//!
//! A change that does not come to its end is given up in `abandon.rs`. Scripts:
//! `testdata/membership/`.

use alloc::collections::BTreeSet;

use crate::configuration::change::{enter, leave, target};
use crate::configuration::one_step;
use crate::progress::Progress;
use crate::quorum::rule::Half;
use crate::quorum::{Decision, Quorum};
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{
    ChangeError, Configuration, ConfigurationChange, Entry, EntryId, Event, HalfStatus,
    MemberChange, Node, NodeId, Payload, QuorumStatus, Transition,
};

impl Node {
    pub(crate) fn begin_change(
        &mut self,
        change: &ConfigurationChange,
    ) -> Result<EntryId, ChangeError> {
        // So that who is promoted is on record, whatever the change itself waits for.
        self.record_disks(change.allow_stall && !bug(Bug::PromotesOffTheRecord));
        let is_one_step = change.transition == Transition::OneStep;
        match self.may_begin_change(change.allow_stall) {
            Err(ChangeError::TermNotCommitted) if is_one_step && bug(Bug::OneStepBeforeTheNoop) => {
            }
            may_begin => may_begin?,
        }
        let current = self.configurations.current();
        if change.expected.as_ref().is_some_and(|expected| expected != current) {
            return Err(ChangeError::Unexpected { index: self.configurations.index() });
        }
        let target = target(current, change)?;
        if is_one_step {
            one_step::check(current, &target)
                .map_err(|fault| ChangeError::NotInOneStep { fault })?;
        }
        self.check_learners(&change.members)?;
        if !change.allow_stall {
            self.check_stall(&target)?;
        }
        let first = match change.transition {
            Transition::Joint => enter(current, target),
            Transition::OneStep => target.that_follows(current),
        };
        let is_step = is_one_step && first.voters != current.voters;
        let id = self.append_configuration(first);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.step_at = is_step.then_some(id.index);
        }
        Ok(id)
    }

    /// One change at a time, and none before this leader knows which configuration it begins from.
    /// `may_wait` for the change itself with committing anything more: only where witnesses may be
    /// all that is missing (`witness.rs`).
    pub(crate) fn may_begin_change(&self, may_wait: bool) -> Result<(), ChangeError> {
        let RoleState::Leader(leader) = &self.role else {
            return Err(ChangeError::NotLeader { leader_id: self.leader_id() });
        };
        if let Some(transfer) = leader.transfer {
            return Err(ChangeError::TransferInProgress { to: transfer.to });
        }
        let current = self.configurations.current();
        let is_early = self.commit_index < leader.first_index;
        let may_wait = may_wait && !current.witnesses.is_empty();
        if is_early && !may_wait && !bug(Bug::ChangeBeforeTheNoop) {
            return Err(ChangeError::TermNotCommitted);
        }
        let index = self.configurations.index();
        let is_open = current.is_joint() || index > self.commit_index && !may_wait;
        if is_open && !bug(Bug::TwoChangesAtOnce) {
            return Err(ChangeError::InProgress { index });
        }
        Ok(())
    }

    /// A learner that lacks the log would be a voter that can only delay (thesis §4.2.1, M17).
    fn check_learners(&self, changes: &[MemberChange]) -> Result<(), ChangeError> {
        for change in changes {
            if let MemberChange::Promote(learner) = *change
                && !self.holds_log(learner)
                && !bug(Bug::EmptyLearnerIsPromoted)
            {
                let match_index =
                    self.book(learner).map_or_else(Default::default, |book| book.match_index);
                return Err(ChangeError::LearnerLags { learner, match_index });
            }
        }
        Ok(())
    }

    /// A quorum of C_new must hold the log already: three empty voters that join a group of two
    /// would stop it for as long as the log takes to reach one of them.
    fn check_stall(&self, target: &Configuration) -> Result<(), ChangeError> {
        let voters = target.voters.len();
        let holding = target.voters.iter().filter(|voter| self.holds_log(**voter)).count();
        let is_quorum =
            target.incoming_half().is_quorum(Decision::Commit, &|voter| self.holds_log(voter));
        let current = self.configurations.current();
        // Who only learns does not change who can agree.
        if is_quorum
            || bug(Bug::EmptyMajorityIsAdded)
            || (target.voters == current.voters && target.rule == current.rule)
        {
            return Ok(());
        }
        Err(ChangeError::WouldStall { holding, voters })
    }

    /// Alive, and has all that is committed, or lacks little enough.
    pub(crate) fn holds_log(&self, node: NodeId) -> bool {
        if node == self.options.id {
            return true;
        }
        let Some(book) = self.book(node) else { return false };
        let (first, last) = (book.match_index.next(), self.log.last().index);
        let has_little_to_come = self.log.cache().contains(first)
            && self.log.cache().size_bytes_of(first, last) <= self.options.promotion_lag_bytes_max;
        self.hears(book)
            && book.counts()
            && (book.match_index >= self.commit_index || has_little_to_come)
    }

    pub(crate) fn book(&self, node: NodeId) -> Option<&Progress> {
        let RoleState::Leader(leader) = &self.role else { return None };
        leader.members.iter().find(|member| member.id == node)
    }

    pub(crate) fn hears(&self, member: &Progress) -> bool {
        let timeout = self.options.election_timeout_ticks;
        member.heard_at.is_some_and(|heard| self.now < heard.after(timeout))
    }

    /// Goes on with a change after the commit index has moved, or a transfer has ended. The two
    /// things that may be due exclude each other: a leader of C_old leaves the joint configuration
    /// as a voter of it.
    pub(crate) fn continue_change(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        // The target of a transfer has been promised a log that stands still.
        let may_append = leader.transfer.is_none() && self.commit_index >= leader.first_index;
        let is_last = self.configurations.index() == self.log.last().index;
        let stays = bug(Bug::JointIsNeverLeft) || bug(Bug::JointIsLeftOnlyAtTheEnd) && !is_last;
        if self.commit_index < self.configurations.index() {
            return;
        }
        if !self.configurations.current().is_joint() {
            self.step_down_if_removed();
        } else if may_append && !stays {
            // M9: being in force at once, it is proposed once; and it is not subject to any limit.
            // If it is lost with this leader, the next one comes by here with its first commit.
            let next = leave(self.configurations.current());
            self.append_configuration(next);
        }
    }

    /// Thesis §4.2.2: a leader that is not in C_new leads until C_new is committed, not counting
    /// itself, and then steps down (M10).
    fn step_down_if_removed(&mut self) {
        let is_voter = self.configurations.current().is_voter(self.options.id);
        if is_voter || bug(Bug::RemovedLeaderGoesOn) {
            return;
        }
        // The others learn of the commit from what leaves with this output.
        self.replicate();
        let term = self.current_term();
        self.record(|| Event::Removed { term });
        self.become_follower(term, None);
    }

    pub(crate) fn append_configuration(&mut self, configuration: Configuration) -> EntryId {
        let id = EntryId { term: self.current_term(), index: self.log.last().index.next() };
        let entry = Entry { id, payload: Payload::Configuration(configuration.into()) };
        if let RoleState::Leader(leader) = &mut self.role {
            leader.uncommitted_bytes += entry.size_bytes();
        }
        self.append(alloc::vec![entry].into());
        id
    }

    /// Another configuration is in force: a leader opens and closes books.
    pub(crate) fn adopt_configuration(&mut self) {
        let last_index = self.log.last().index;
        let index = self.configurations.index();
        if let RoleState::Leader(leader) = &mut self.role {
            leader.adopt((index, self.configurations.current()), last_index, self.now);
        }
        self.record(|| Event::ConfigurationInForce { index });
        if bug(Bug::RemovedLeaderGoesAtOnce) && matches!(self.role, RoleState::Leader(_)) {
            self.step_down_if_removed();
        }
    }

    /// With fewer voters, what was said before may be a quorum already: of a read (R12), and of
    /// entries.
    pub(crate) fn count_anew(&mut self) {
        if matches!(self.role, RoleState::Leader(_)) && !bug(Bug::ShrinkingIsNotCounted) {
            self.confirm_rounds();
            self.advance_commit_index();
        }
    }

    pub(crate) fn quorum_status(&self) -> Option<QuorumStatus> {
        if !matches!(self.role, RoleState::Leader(_)) {
            return None;
        }
        let own = self.options.id;
        let is_alive =
            |voter| voter == own || self.book(voter).is_some_and(|book| self.hears(book));
        // Who speaks from another disk than the one on record is alive, and decides nothing.
        let counts = |voter: NodeId| {
            let book = self.book(voter);
            is_alive(voter) && (voter == own || book.is_some_and(Progress::counts))
        };
        let half = |voters: &BTreeSet<NodeId>, half: Half<'_>| HalfStatus {
            alive: voters.iter().filter(|voter| is_alive(**voter)).count(),
            voters: voters.len(),
            decides: half.is_quorum(Decision::Commit, &counts),
        };
        let configuration = self.configurations.current();
        Some(QuorumStatus {
            incoming: half(&configuration.voters, configuration.incoming_half()),
            outgoing: half(&configuration.outgoing, configuration.outgoing_half()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AppendOutcome, Body, Input, LogIndex, Message, Options, PersistNumber, Restored, Role,
        Term, Tick,
    };

    /// M10, thesis §4.2.2: the leader counts the others, not itself, and steps down when its own
    /// removal is committed; the others are told.
    #[test]
    fn removed_leader_steps_down_when_that_is_committed() {
        let options = Options { pre_vote: false, ..Options::new(NodeId(1), 1) };
        let voters = Configuration::of_voters([1, 2, 3].map(NodeId));
        let mut node = Node::new(options, Restored::bootstrap(voters)).expect("sound options");
        let answer =
            |from, body| Input::Message(Message::new(NodeId(from), NodeId(1), Term(1), body));
        let accepted = |from, index| {
            let match_index = LogIndex(index);
            let outcome = AppendOutcome::Accepted { session: 0, match_index };
            answer(from, Body::AppendEntriesResponse(outcome))
        };
        node.handle(Tick(0), Input::Tick);
        node.handle(Tick(9999), Input::Tick);
        drop(node.take_output());
        node.handle(Tick(9999), Input::Persisted(PersistNumber(1)));
        node.handle(Tick(9999), answer(2, Body::RequestVoteResponse { granted: true }));
        assert_eq!(node.role(), Role::Leader);

        let payload = Payload::Configuration(Configuration::of_voters([2, 3].map(NodeId)).into());
        node.append(alloc::vec![Entry { id: EntryId::new(1, 2), payload }].into());
        drop(node.take_output());
        node.handle(Tick(9999), Input::Persisted(PersistNumber(2)));
        node.handle(Tick(9999), accepted(2, 2));
        assert_eq!(node.commit_index, LogIndex(0), "one of two others is no majority");
        node.handle(Tick(9999), accepted(3, 2));
        assert_eq!((node.commit_index, node.role()), (LogIndex(2), Role::Follower));
        let told = node.take_output().messages.into_iter().filter(|message| {
            matches!(message.body, Body::CommitIndex { commit_index: LogIndex(2), .. })
        });
        assert_eq!(told.map(|message| message.to.0).collect::<alloc::vec::Vec<_>>(), [2, 3]);
    }
}
