//! Somebody changes the members while faults go on: adds, promotes, replaces, moves and removes
//! them by the calls that a server makes, starts who joins and takes away who has left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::Moment;
use host::{CallError, ChangeError, GroupConfiguration, GroupReport};
use raft::{Configuration, NodeId};

use super::wishes::{ANY_WISH, Desk, Planned, Wish};
use super::{Chaos, FaultKind, TURNS};
use crate::Failure;
use crate::chaos::pick;
use env::SplitMix;

/// Wishes at a time: more than one, so that changes meet.
const ERRANDS_MAX: usize = 2;

/// A change that nobody has heard of for so long has begun, or never will: a host waits no longer
/// for a moment at which it may.
const BEGUN_WITHIN: Duration = Duration::from_secs(8);

type Slot<T> = Arc<Mutex<Option<T>>>;

/// Who changes the members, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Operator {
    next_id: u64,
    errands: Vec<Errand>,
    /// Machines that were made for members and never ran.
    newcomers: Vec<NodeId>,
    /// When each was asked for.
    asked_at: BTreeMap<NodeId, Moment>,
    /// When a change was last left without an answer that is certain.
    left_open_at: Option<Moment>,
    /// Since when nothing is held up any more.
    patient_since: Moment,
}

/// A wish that was told to a node, in one of its lives.
#[derive(Debug)]
struct Errand {
    /// Whether it is a fault of the first phase, and not the second one's tidying.
    is_fault: bool,
    at: NodeId,
    life: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Look(Wish, Slot<Result<GroupReport, CallError>>),
    Change(Box<Planned>, Slot<Result<GroupConfiguration, ChangeError>>),
}

impl Operator {
    pub(super) fn new(founder_count: u64) -> Self {
        Self { next_id: founder_count + 1, errands: Vec::new(), ..Self::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.errands.is_empty()
    }

    /// Whether nothing that was asked for may still begin. A leader holds a change until it may
    /// make it, and goes on with it when whoever brought it is gone.
    pub(super) fn is_done_with(&self, now: Moment) -> bool {
        let may_begin = |since: Moment| now < self.patient_since.max(since).after(BEGUN_WITHIN);
        self.is_idle() && !self.left_open_at.is_some_and(may_begin)
    }

    /// What was held up goes on from now: what was asked before may take as long once more.
    pub(super) fn be_patient(&mut self, now: Moment) {
        self.patient_since = now;
    }

    /// Whether a machine may become a member yet, although nobody will be told of it.
    fn may_still_join(&self, node: NodeId, now: Moment) -> bool {
        let asked_at = self.asked_at.get(&node);
        asked_at.is_some_and(|at| now < self.patient_since.max(*at).after(BEGUN_WITHIN))
    }
}

impl Chaos {
    /// Somebody wants something of the members, and tells this node.
    pub(super) fn change_members(&mut self, at: NodeId, dice: &mut SplitMix) {
        let wish = match self.spoiled.as_ref() {
            // With one disk less nobody else may be missing.
            Some(spoiled) => Wish::Replace(Some(spoiled.node)),
            None => pick(dice, &ANY_WISH),
        };
        self.begin(at, wish, true);
    }

    fn begin(&mut self, at: NodeId, wish: Wish, is_fault: bool) {
        let world = &self.cluster.world;
        let handle = world.group(at, self.groups[0]);
        let Some(handle) = handle.filter(|_| self.operator.errands.len() < ERRANDS_MAX) else {
            return;
        };
        let slot = Slot::default();
        let keep = Arc::clone(&slot);
        handle.report(move |report| *keep.lock().expect("one thread") = Some(report));
        let (life, step) = (world.life_count(at), Step::Look(wish, slot));
        self.operator.errands.push(Errand { is_fault, at, life, step });
    }

    /// Goes on with what is under way.
    pub(super) fn work_on_members(&mut self, turn: u64) -> Result<(), Failure> {
        for errand in std::mem::take(&mut self.operator.errands) {
            self.go_on(errand)?;
        }
        self.look_at_spoiled();
        if turn >= TURNS && self.core.is_none() {
            self.tidy_members();
        } else if !self.operator.newcomers.is_empty() && self.dice.below(10) == 0 {
            let newcomer = self.operator.newcomers.remove(0);
            if self.cluster.world.life_count(newcomer) == 0 {
                self.start_or_say(newcomer)?;
                self.operator.newcomers.push(newcomer);
            }
        }
        if self.dice.below(8) == 0 {
            self.cluster.world.connect_all();
        }
        Ok(())
    }

    fn go_on(&mut self, errand: Errand) -> Result<(), Failure> {
        let world = &self.cluster.world;
        let lives = world.is_on(errand.at) && world.life_count(errand.at) == errand.life;
        match &errand.step {
            Step::Look(wish, slot) => {
                let wish = *wish;
                let told = slot.lock().expect("one thread").take();
                match told {
                    None if lives => self.operator.errands.push(errand),
                    Some(Ok(report)) if lives => self.ask_for(wish, errand, &report),
                    // Nobody knows, or the node is gone.
                    Some(_) | None => {}
                }
            }
            Step::Change(planned, slot) => {
                let told = slot.lock().expect("one thread").take();
                match told {
                    None if lives => self.operator.errands.push(errand),
                    Some(Ok(_)) => {
                        let planned = planned.clone();
                        self.changed(&planned)?;
                    }
                    Some(Err(error)) if error.definitely_failed() => {
                        if let Some(joiner) = planned.joiner {
                            self.dismiss(joiner);
                        }
                    }
                    // Nobody knows what became of it.
                    Some(Err(_)) | None => self.operator.left_open_at = Some(world.now()),
                }
            }
        }
        Ok(())
    }

    /// Makes a wish into a change, if it may be asked for now.
    fn ask_for(&mut self, wish: Wish, errand: Errand, report: &GroupReport) {
        let world = &mut self.cluster.world;
        let nodes = world.nodes();
        let moves: BTreeMap<NodeId, u64> =
            nodes.into_iter().map(|node| (node, world.moves(node))).collect();
        let desk = Desk { report, next_id: NodeId(self.operator.next_id), moves };
        // A disk may have been lost since the wish was told.
        let may = self.spoiled.as_ref().is_none_or(|it| wish == Wish::Replace(Some(it.node)));
        let planned = desk.plan(wish, &mut self.dice).filter(|_| may);
        let handle = world.group(errand.at, self.groups[0]);
        let Some((planned, handle)) = planned.zip(handle) else { return };
        if let Some(joiner) = planned.joiner {
            self.operator.next_id += 1;
            self.operator.newcomers.push(joiner);
            self.operator.asked_at.insert(joiner, world.now());
            world.add(joiner);
            self.install_for(joiner);
        }
        let slot = Slot::default();
        let keep = Arc::clone(&slot);
        handle.change_configuration(planned.change.clone(), move |result| {
            let before = keep.lock().expect("one thread").replace(result);
            assert!(before.is_none(), "an operator is answered once");
        });
        if errand.is_fault {
            self.census.meet(FaultKind::Members.name());
        }
        let step = Step::Change(Box::new(planned), slot);
        self.operator.errands.push(Errand { step, ..errand });
    }

    fn changed(&mut self, planned: &Planned) -> Result<(), Failure> {
        self.census.meet(planned.met);
        let Some((mover, moves)) = planned.mover else { return Ok(()) };
        let world = &mut self.cluster.world;
        // Two wishes may have led to the same move: it goes there once, and not to where nobody
        // was told that it would be.
        if !world.nodes().contains(&mover) || world.moves(mover) >= moves {
            return Ok(());
        }
        let was_on = world.is_on(mover);
        if was_on {
            world.kill(mover);
        }
        world.relocate(mover);
        if was_on { self.start_or_say(mover) } else { Ok(()) }
    }

    fn dismiss(&mut self, node: NodeId) {
        self.operator.newcomers.retain(|newcomer| *newcomer != node);
        self.cluster.world.retire(node);
    }

    /// In the end every machine is a member's, and no member is without one.
    fn tidy_members(&mut self) {
        let group = self.groups[0];
        let Some((leader, known)) = self.cluster.world.settled_members(group) else { return };
        if !self.operator.is_idle() {
            return;
        }
        let now = self.cluster.world.now();
        for node in self.cluster.world.nodes() {
            let may_join =
                !known.removed.contains(&node) && self.operator.may_still_join(node, now);
            if !known.contains(node) && !may_join && !self.will_hear_of_it(node, &known) {
                self.dismiss(node);
            }
        }
        let dead = self.spoiled.as_ref().filter(|spoiled| spoiled.is_dead);
        if let Some(dead) = dead.map(|spoiled| spoiled.node).filter(|dead| known.contains(*dead)) {
            self.begin(leader, Wish::Replace(Some(dead)), false);
        }
    }

    /// Whether a node that is no member will end by itself: two members must tell it so, or the
    /// only other one that it knows (`docs/adr/0008`), and it has to find them. Otherwise somebody
    /// takes it away.
    fn will_hear_of_it(&self, node: NodeId, known: &Configuration) -> bool {
        let world = &self.cluster.world;
        // One whose joining was forgotten with the entry that said so is removed by nobody.
        let is_removed = known.removed.contains(&node);
        if world.life_count(node) == 0 || self.is_dead(node) || !is_removed {
            return false;
        }
        let Some(its) = world.configuration(node, self.groups[0]) else { return false };
        let others: Vec<NodeId> = its.members().filter(|other| *other != node).collect();
        let tells =
            |other: &&NodeId| known.contains(**other) && world.net().reaches(node.0, other.0);
        let telling = others.iter().filter(tells).count();
        // It is started again first.
        !world.is_on(node) || telling >= 2 || (telling > 0 && telling == others.len())
    }

    /// Whether every machine is a member's, every learner has come to its goal, and nothing is
    /// under way.
    pub(super) fn members_are_settled(&self) -> bool {
        let world = &self.cluster.world;
        let nodes = world.nodes();
        let lost = self.spoiled.as_ref().filter(|spoiled| spoiled.must_go());
        self.operator.is_idle()
            && lost.is_none()
            && self.groups.iter().all(|group| {
                let Some((_, known)) = world.settled_members(*group) else { return false };
                let goal = |id: &NodeId| host::MemberAttributes::of(&known, *id).goal;
                let all_there = known.members().eq(nodes.iter().copied());
                all_there && known.learners.iter().all(|id| goal(id) == host::Goal::Learn)
            })
    }
}

#[cfg(test)]
mod tests {
    use raft::ConfigurationChange;

    use super::*;
    use crate::chaos::{A_MOVE, Plan};

    /// T127: the leader may hold the change until it may begin, and whoever asked for it is gone.
    #[test]
    fn a_machine_whose_joining_may_still_begin_is_not_taken_away() {
        let mut chaos = Chaos::new(Plan::of(1));
        let group = chaos.groups[0];
        chaos.cluster.world.start_all().expect("empty disks");
        let is_settled = |world: &crate::World<_>| world.settled_members(group).is_some();
        assert!(chaos.cluster.world.run_until(Duration::from_secs(9), is_settled));
        let (leader, _) = chaos.cluster.world.settled_members(group).expect("it is settled");
        let is_asked = |node: &NodeId| *node != leader;
        let asked = chaos.cluster.world.nodes().into_iter().find(is_asked).expect("three");
        while chaos.operator.asked_at.is_empty() {
            // What was wished for too early was not asked for.
            chaos.begin(asked, Wish::AddLearner, true);
            chaos.cluster.world.run_for(Duration::from_millis(1));
            chaos.work_on_members(0).expect("nothing is amiss");
        }
        chaos.cluster.world.kill(asked);
        chaos.work_on_members(0).expect("nobody is told");
        let joiner = *chaos.operator.asked_at.keys().next().expect("it was asked for");
        let is_there = |chaos: &mut Chaos, after| {
            chaos.cluster.world.run_for(after);
            chaos.tidy_members();
            chaos.cluster.world.nodes().contains(&joiner)
        };
        assert!(is_there(&mut chaos, Duration::ZERO));
        assert!(is_there(&mut chaos, BEGUN_WITHIN / 2));
        chaos.operator.be_patient(chaos.cluster.world.now());
        assert!(is_there(&mut chaos, BEGUN_WITHIN * 3 / 4));
        assert!(!is_there(&mut chaos, BEGUN_WITHIN), "it is nobody's");
    }

    /// T121: the second wish is told of the first one's change, and the machine has not moved yet.
    #[test]
    fn two_wishes_for_one_move_move_a_machine_once() {
        let mut chaos = Chaos::new(Plan::of(1));
        let (change, mover) = (ConfigurationChange::default(), NodeId(1));
        let planned = Planned { change, joiner: None, mover: Some((mover, 1)), met: A_MOVE };
        for _ in 0..2 {
            chaos.changed(&planned).expect("a machine that is off moves");
        }
        assert_eq!(chaos.cluster.world.moves(mover), 1);
    }
}
