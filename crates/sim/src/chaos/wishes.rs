//! What an operator wants of the members, and the change that does it: as a server makes it from a
//! leader's report, with the checks that keep a cluster from harming itself.

use std::collections::BTreeMap;

use env::SplitMix;
use host::{Goal, GroupReport};
use raft::{Configuration, ConfigurationChange, MemberChange, NodeId};

use super::plan::pick;
use super::{A_MEMBER_ADDED, A_MOVE, A_PROMOTION, A_REMOVAL, A_REPLACEMENT};
use crate::world::{address_of, attributes_at};

/// Members at a time: more would only be slower.
const MEMBERS_MAX: usize = 6;
/// Learners at a time.
const LEARNERS_MAX: usize = 2;
/// Who was not heard for so long is not there.
const SILENCE_MAX_MS: u64 = 1000;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A member without a vote.
    AddLearner,
    /// A member that votes once it holds the log.
    AddVoter,
    /// A vote for a learner.
    Promote,
    /// Another one in the place of this voter, or of any.
    Replace(Option<NodeId>),
    /// One less.
    Remove,
    /// A member at another address.
    Move,
}

/// The wishes of somebody who has no reason.
pub(super) const ANY_WISH: [Wish; 7] = [
    Wish::AddLearner,
    Wish::AddVoter,
    Wish::AddVoter,
    Wish::Promote,
    Wish::Replace(None),
    Wish::Remove,
    Wish::Move,
];

/// A change that fits a wish.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) change: ConfigurationChange,
    /// A machine that it needs.
    pub(super) joiner: Option<NodeId>,
    /// A node that is to have moved so many times afterwards.
    pub(super) mover: Option<(NodeId, u64)>,
    /// What has happened when it is done.
    pub(super) met: &'static str,
}

/// A leader's report, and what is needed beside it.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) report: &'a GroupReport,
    /// The id of the next member.
    pub(super) next_id: NodeId,
    /// How often each node has moved.
    pub(super) moves: BTreeMap<NodeId, u64>,
}

impl Desk<'_> {
    fn configuration(&self) -> &Configuration {
        &self.report.configuration.configuration
    }

    fn is_heard(&self, id: NodeId) -> bool {
        let silent_ms = self.report.member(id).and_then(|member| member.silent_ms);
        silent_ms.is_some_and(|silent| silent < SILENCE_MAX_MS)
    }

    fn all_heard_but(&self, one: Option<NodeId>) -> bool {
        let voters = &self.configuration().voters;
        voters.iter().filter(|id| Some(**id) != one).all(|id| self.is_heard(*id))
    }

    /// The change, if it may be asked for now.
    pub(super) fn plan(&self, wish: Wish, dice: &mut SplitMix) -> Option<Planned> {
        match wish {
            Wish::AddLearner => self.add(Goal::Learn),
            Wish::AddVoter => self.add(Goal::Vote),
            Wish::Replace(old) => self.replace(old, dice),
            Wish::Promote => self.promote(dice),
            Wish::Remove => self.remove(dice),
            Wish::Move => self.relocate(dice),
        }
    }

    fn planned(&self, member: Option<MemberChange>, met: &'static str) -> Planned {
        let change = ConfigurationChange {
            members: member.into_iter().collect(),
            // A leader's view may be an old one by the time that it is acted on.
            expected: Some(self.configuration().clone()),
            ..ConfigurationChange::default()
        };
        Planned { change, joiner: None, mover: None, met }
    }

    fn add(&self, goal: Goal) -> Option<Planned> {
        let configuration = self.configuration();
        let is_room = configuration.members().count() < MEMBERS_MAX
            && configuration.learners.len() < LEARNERS_MAX;
        (is_room && self.all_heard_but(None)).then(|| self.join(goal, A_MEMBER_ADDED))
    }

    fn join(&self, goal: Goal, met: &'static str) -> Planned {
        let joiner = self.next_id;
        let attributes = attributes_at(joiner, vec![address_of(joiner, 0)]);
        let attributes = host::MemberAttributes { goal, ..attributes };
        let mut planned = self.planned(Some(MemberChange::AddLearner(joiner)), met);
        planned.change.attributes = BTreeMap::from([(joiner, attributes.encode())]);
        planned.joiner = Some(joiner);
        planned
    }

    fn replace(&self, old: Option<NodeId>, dice: &mut SplitMix) -> Option<Planned> {
        let voters: Vec<NodeId> = self.configuration().voters.iter().copied().collect();
        let old = old.unwrap_or_else(|| pick(dice, &voters));
        let may =
            voters.contains(&old) && self.is_room_to_replace(old) && self.all_heard_but(Some(old));
        may.then(|| self.join(Goal::Replace(old), A_REPLACEMENT))
    }

    /// Whoever replaces one member is not kept out by learners that are to stay what they are, as
    /// a server does not keep it out: a member whose disk is gone could otherwise never leave.
    fn is_room_to_replace(&self, old: NodeId) -> bool {
        let configuration = self.configuration();
        let goal = |id: &NodeId| host::MemberAttributes::of(configuration, *id).goal;
        let mut goals = configuration.learners.iter().map(goal);
        configuration.learners.len() < LEARNERS_MAX || goals.all(|goal| goal != Goal::Replace(old))
    }

    fn promote(&self, dice: &mut SplitMix) -> Option<Planned> {
        let learners: Vec<NodeId> = self.configuration().learners.iter().copied().collect();
        let learner = (!learners.is_empty()).then(|| pick(dice, &learners))?;
        Some(self.planned(Some(MemberChange::Promote(learner)), A_PROMOTION))
    }

    fn remove(&self, dice: &mut SplitMix) -> Option<Planned> {
        let members: Vec<NodeId> = self.configuration().members().collect();
        let member = pick(dice, &members);
        let left = self.configuration().voters.iter().filter(|voter| **voter != member);
        let (count, heard) = left.fold((0, 0), |(count, heard), voter| {
            (count + 1, heard + usize::from(self.is_heard(*voter)))
        });
        (heard > count / 2).then(|| self.planned(Some(MemberChange::Remove(member)), A_REMOVAL))
    }

    /// Both addresses, so that it is reached wherever it is.
    fn relocate(&self, dice: &mut SplitMix) -> Option<Planned> {
        let members: Vec<NodeId> = self.configuration().members().collect();
        let mover = pick(dice, &members);
        let moves = *self.moves.get(&mover)?;
        let addresses = [1, 0].map(|more| address_of(mover, moves + more));
        let known = host::MemberAttributes::of(self.configuration(), mover);
        let attributes = host::MemberAttributes { peer_urls: addresses.to_vec(), ..known };
        let mut planned = self.planned(None, A_MOVE);
        planned.change.attributes = BTreeMap::from([(mover, attributes.encode())]);
        planned.mover = Some((mover, moves + 1));
        Some(planned)
    }
}

#[cfg(test)]
mod tests {
    use host::{GroupConfiguration, MemberReport};
    use raft::{LogIndex, Term};

    use super::*;

    const DEAD: NodeId = NodeId(3);

    /// Of voters 1, 2 and 3, of which 3 is silent, and learners 4 and 5.
    fn report(goal_of_5: Goal) -> GroupReport {
        let mut configuration = Configuration::of_voters([1, 2, 3].map(NodeId));
        for (id, goal) in [(NodeId(4), Goal::Learn), (NodeId(5), goal_of_5)] {
            let attributes = host::MemberAttributes { goal, ..attributes_at(id, Vec::new()) };
            configuration.learners.insert(id);
            configuration.attributes.insert(id, attributes.encode());
        }
        let member = |id: NodeId| MemberReport {
            id,
            match_index: LogIndex(9),
            silent_ms: (id != DEAD).then_some(0),
            needs_snapshot: false,
            is_slow: false,
            counts: true,
        };
        GroupReport {
            leader_id: NodeId(1),
            term: Term(1),
            last_index: LogIndex(9),
            commit_index: LogIndex(9),
            members: configuration.members().map(member).collect(),
            configuration: GroupConfiguration {
                index: LogIndex(1),
                is_committed: true,
                configuration,
            },
            unguarded: Vec::new(),
        }
    }

    fn may(wish: Wish, goal_of_5: Goal) -> bool {
        let report = report(goal_of_5);
        let desk = Desk { report: &report, next_id: NodeId(6), moves: BTreeMap::new() };
        desk.plan(wish, &mut SplitMix::new(1)).is_some()
    }

    /// T122. With both goals to stay learners the cluster would never be well again.
    #[test]
    fn learners_that_stay_do_not_keep_a_dead_member_in() {
        let replace = Wish::Replace(Some(DEAD));
        assert!(may(replace, Goal::Learn) && may(replace, Goal::Vote));
        assert!(!may(replace, Goal::Replace(DEAD)), "somebody is about to replace it");
        assert!(!may(Wish::Replace(Some(NodeId(1))), Goal::Learn), "3 is missing already");
        assert!(!may(Wish::AddLearner, Goal::Learn));
    }
}
