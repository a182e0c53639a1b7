//! By which configuration a leader decided that an entry is committed.
//!
//! A leader can do several things in one step, and another configuration may be in force behind
//! them than before. With voters 1, 2 and 3 and the learner 4 that is to vote, an acknowledgement
//! comes from 2:
//!
//! ```text
//!   commits 7             held by 1 and 2: two of the voters 1, 2, 3
//!   appends 8             4 is promoted: C_old is 1, 2, 3 and C_new is 1, 2, 3, 4
//! ```
//!
//! By the configuration at the end of the step 7 is held by too few: C_new asks for three. And
//! where a joint configuration is left in the step that commits it, the end of the step asks for
//! too little: C_old is gone. So the step is read in order, by its events, and each commit is
//! judged by what was in force when it was decided, and by nothing else.

use alloc::format;
use alloc::vec::Vec;

use super::Violation;
use crate::configuration::ConfigurationHistory;
use crate::{Configuration, EntryId, Event, LogIndex, Node, Role, Term};

/// What a leader took for committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decided {
    /// The last entry that is committed with this decision.
    pub entry: EntryId,
    /// The term of the leader.
    pub term: Term,
    /// What was in force.
    pub by: Configuration,
}

impl Decided {
    /// The newest commit of a leader, by what is in force now: where no events are recorded.
    #[must_use]
    pub fn by_now(leader: &Node) -> Option<Self> {
        let entry = leader.log.id_at(leader.commit_index)?;
        Some(Self { entry, term: leader.term(), by: leader.configurations.current().clone() })
    }
}

/// Who leads, and what is in force, before a step.
#[derive(Clone, Debug, Hash)]
pub struct InForce {
    leads: Option<Term>,
    history: ConfigurationHistory,
}

impl InForce {
    /// Looks at a node before a step.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let leads = (node.role() == Role::Leader).then(|| node.term());
        Self { leads, history: node.configurations.clone() }
    }

    /// What the node decided as a leader in the step that led to `node`, which recorded `events`.
    ///
    /// # Errors
    /// A commit whose configuration is not known any more.
    pub fn decided(self, node: &Node, events: &[Event]) -> Result<Vec<Decided>, Violation> {
        self.read(&node.configurations, events)
    }

    fn read(
        self,
        after: &ConfigurationHistory,
        events: &[Event],
    ) -> Result<Vec<Decided>, Violation> {
        let mut decided = Vec::new();
        let mut leads = self.leads;
        let mut in_force = Some(self.history.current());
        for event in events {
            if let Event::BecameLeader { term } = event {
                leads = Some(*term);
            } else if is_end_of_leadership(event) {
                leads = None;
            } else if let Event::ConfigurationInForce { index } = event {
                // One that came in this step is in the log behind it. One that was gone back to,
                // and is not there any more, was there before.
                in_force = exactly_at(after, *index).or_else(|| exactly_at(&self.history, *index));
            } else if let (Event::Committed { last }, Some(term)) = (event, leads) {
                let Some(by) = in_force.cloned() else {
                    let detail = format!("{last} is committed in {events:?}");
                    let property = "it is known by whom a commit was decided";
                    return Err(Violation { property, detail });
                };
                decided.push(Decided { entry: *last, term, by });
            }
        }
        Ok(decided)
    }
}

fn is_end_of_leadership(event: &Event) -> bool {
    matches!(
        event,
        Event::BecameFollower { .. }
            | Event::BecamePreCandidate { .. }
            | Event::BecameCandidate { .. }
    )
}

fn exactly_at(history: &ConfigurationHistory, index: LogIndex) -> Option<&Configuration> {
    history.iter().find(|(at, _)| *at == index).map(|(_, configuration)| configuration)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::invariants::Cluster;
    use crate::{
        AppendOutcome, Body, Entry, Input, Message, NodeId, Options, Payload, PersistNumber,
        Restored, SnapshotMark, Tick,
    };

    fn of(voters: &[u64]) -> Configuration {
        Configuration::of_voters(voters.iter().copied().map(NodeId))
    }

    /// A history that begins at the first, and has each of the others where it says.
    fn history(of_them: &[(u64, &[u64])]) -> ConfigurationHistory {
        let (first, behind) = of_them.split_first().expect("there is a first one");
        let last = EntryId::new(1, first.0);
        let mut history =
            ConfigurationHistory::new(&SnapshotMark { last, configuration: of(first.1) });
        for (index, voters) in behind {
            let payload = Payload::Configuration(of(voters).into());
            history.append(&[Entry { id: EntryId::new(2, *index), payload }]);
        }
        history
    }

    fn in_force(index: u64) -> Event {
        Event::ConfigurationInForce { index: LogIndex(index) }
    }

    fn commit(index: u64) -> Event {
        Event::Committed { last: EntryId::new(2, index) }
    }

    /// By whom each commit was decided, by a leader of term 2 if it `leads`.
    fn judged(
        leads: bool,
        before: &[(u64, &[u64])],
        after: &[(u64, &[u64])],
        events: &[Event],
    ) -> Result<Vec<(u64, Configuration)>, Violation> {
        let before = InForce { leads: leads.then_some(Term(2)), history: history(before) };
        let decided = before.read(&history(after), events)?;
        assert!(decided.iter().all(|decided| decided.term == Term(2)));
        Ok(decided.into_iter().map(|decided| (decided.entry.index.0, decided.by)).collect())
    }

    const THREE: (u64, &[u64]) = (0, &[1, 2, 3]);
    const FOUR: (u64, &[u64]) = (8, &[1, 2, 3, 4]);
    const FIVE: (u64, &[u64]) = (9, &[1, 2, 3, 4, 5]);

    /// T87: and not by the one at the end of the step.
    #[test]
    fn a_commit_is_judged_by_what_was_in_force_when_it_was_decided() {
        let before = judged(true, &[THREE], &[THREE, FOUR], &[commit(7), in_force(8)]);
        assert_eq!(before, Ok(vec![(7, of(THREE.1))]), "the change came behind it");
        let behind = judged(true, &[THREE], &[THREE, FOUR], &[in_force(8), commit(7)]);
        assert_eq!(behind, Ok(vec![(7, of(FOUR.1))]), "the change was in force");
    }

    #[test]
    fn two_changes_in_a_step_judge_what_comes_behind_each() {
        let events = [commit(6), in_force(8), commit(7), in_force(9), commit(9)];
        let judged = judged(true, &[THREE], &[THREE, FOUR, FIVE], &events);
        assert_eq!(judged, Ok(vec![(6, of(THREE.1)), (7, of(FOUR.1)), (9, of(FIVE.1))]));
    }

    #[test]
    fn a_change_that_is_gone_back_from_judges_nothing_behind() {
        let lead = Event::BecameLeader { term: Term(2) };
        let events = [in_force(0), lead, commit(8)];
        let gone = judged(false, &[THREE, FOUR], &[THREE], &events);
        assert_eq!(gone, Ok(vec![(8, of(THREE.1))]));
        // Another one has taken its place.
        let other: (u64, &[u64]) = (8, &[1, 2]);
        let events = [&events[..2], &[in_force(8), commit(8)]].concat();
        let replaced = judged(false, &[THREE, FOUR], &[THREE, other], &events);
        assert_eq!(replaced, Ok(vec![(8, of(other.1))]));
        // And that of a snapshot stands for all before it.
        let replaced = judged(false, &[THREE, FOUR], &[other], &events);
        assert_eq!(replaced, Ok(vec![(8, of(other.1))]));
    }

    /// A leader commits, hears of a later term, and drops the change that was in force.
    #[test]
    fn a_change_that_is_dropped_later_has_judged_what_came_before() {
        let follow = Event::BecameFollower { term: Term(3), leader_id: None };
        let events = [commit(7), follow, in_force(0), commit(8)];
        let judged = judged(true, &[THREE, FOUR], &[THREE], &events);
        assert_eq!(judged, Ok(vec![(7, of(FOUR.1))]), "and what it hears of is not its own word");
    }

    #[test]
    fn nothing_is_guessed() {
        let judged = judged(true, &[THREE], &[THREE], &[in_force(8), commit(7)]);
        let violation = judged.expect_err("what came into force at 8 is nowhere");
        assert_eq!(violation.property, "it is known by whom a commit was decided");
    }

    /// Node 1 leads 2 and 3 and the learner 4, all of which hold 1@1; 2@1 is on its own disk, and 4
    /// has acknowledged it.
    fn leader_of_three() -> Node {
        let options =
            Options { pre_vote: false, record_events: true, ..Options::new(NodeId(1), 1) };
        let learners = core::iter::once(NodeId(4)).collect();
        let members = Configuration { learners, ..of(THREE.1) };
        let mut node = Node::new(options, Restored::bootstrap(members)).expect("sound options");
        let now = Tick(9999);
        node.handle(Tick(0), Input::Tick);
        node.handle(now, Input::Tick);
        drop(node.take_output());
        node.handle(now, Input::Persisted(PersistNumber(1)));
        let vote = Body::RequestVoteResponse { granted: true };
        node.handle(now, Input::Message(Message::new(NodeId(2), NodeId(1), Term(1), vote)));
        for number in 2..=3 {
            drop(node.take_output());
            node.handle(now, Input::Persisted(PersistNumber(number)));
            if number == 2 {
                accept(&mut node, 2, 1);
                node.append(vec![Entry { id: EntryId::new(1, 2), payload: Payload::Noop }].into());
            }
        }
        accept(&mut node, 4, 2);
        assert_eq!((node.role(), node.commit_index), (Role::Leader, LogIndex(1)));
        drop(node.take_output());
        node
    }

    fn accept(node: &mut Node, from: u64, index: u64) {
        let outcome = AppendOutcome::Accepted { session: 0, match_index: LogIndex(index) };
        let body = Body::AppendEntriesResponse(outcome);
        let message = Message::new(NodeId(from), NodeId(1), Term(1), body);
        node.handle(Tick(9999), Input::Message(message));
    }

    /// T87: the acknowledgement of 2 decides 2@1, and then 4 is promoted.
    #[test]
    fn a_leader_that_promotes_in_the_step_of_a_commit_is_judged_by_the_voters_before() {
        let mut leader = leader_of_three();
        let before = InForce::of(&leader);
        accept(&mut leader, 2, 2);
        leader.promote_when_ready(Tick(9999), NodeId(4), 100).expect("4 learns");
        let events = leader.take_output().events;
        let decided = before.clone().decided(&leader, &events).expect("nothing was dropped");
        let [decided] = &decided[..] else { panic!("one commit: {events:?}") };
        assert_eq!(decided.entry, EntryId::new(1, 2));
        let on_disks = |disks: &'static [u64]| move |voter: NodeId, _| disks.contains(&voter.0);
        let judged = |decided, disks| Cluster::observe_commit(&leader, decided, on_disks(disks));
        assert_eq!(judged(decided, &[1, 2]), Ok(()), "two of the three who decided");
        let refused = judged(decided, &[1, 4]).expect_err("4 had no vote");
        assert_eq!(refused.property, "Durable Quorum");

        // Had it been promoted first, two of four would be too few.
        let (commit, rest): (Vec<Event>, Vec<Event>) =
            events.into_iter().partition(|event| matches!(event, Event::Committed { .. }));
        let events = [rest, commit].concat();
        let decided = before.decided(&leader, &events).expect("nothing was dropped");
        let refused = judged(&decided[0], &[1, 2]).expect_err("C_new asks for three");
        assert_eq!(refused.property, "Durable Quorum");
        assert_eq!(judged(&decided[0], &[1, 2, 4]), Ok(()));
    }
}
