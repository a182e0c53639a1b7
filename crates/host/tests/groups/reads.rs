//! What a read may rest on is the reader's choice.

use std::sync::mpsc::channel;
use std::time::Duration;

use host::{ChangeError, ReadError, ReadMode, Staleness};
use raft::{
    ConfigurationChange, LeaseChange, LeaseClock, LeaseTerms, LogIndex, NodeId,
    ReadError as Refusal, Term, Transition,
};

use crate::bed::Bed;

impl Bed {
    #[track_caller]
    fn read(&mut self, id: NodeId, mode: ReadMode) -> Result<LogIndex, ReadError> {
        let (reply, answer) = channel();
        self.group(id).read(mode, move |result| crate::bed::told(&reply, result));
        self.answer("a read", &answer)
    }

    /// Two voters that do not lead.
    fn followers(&mut self) -> [NodeId; 2] {
        let leader = self.elect();
        let mut others = (1..=3).map(NodeId).filter(|id| *id != leader);
        [others.next(), others.next()].map(|id| id.expect("three voters"))
    }
}

fn stale(staleness: Staleness) -> ReadMode {
    ReadMode::Stale(staleness)
}

#[test]
fn every_mode_sees_on_every_node_what_was_acknowledged_there() {
    let mut bed = Bed::new(3, 1, Box::new(|options| options.lease_drift_ppm = Some(0)));
    bed.start_all();
    let leader = bed.elect();
    for id in [1, 2, 3].map(NodeId) {
        let index = bed.add(id, 1).applied.index;
        let term = Some(bed.group(leader).status().term);
        let modes = [
            ReadMode::ReadIndex,
            ReadMode::Lease,
            ReadMode::LeaseGuard { checks_limbo: false },
            ReadMode::AfterWrite { index, term },
            stale(Staleness { at_least: index, ..Staleness::default() }),
        ];
        for mode in modes {
            let read = bed.read(id, mode).expect("it can be answered");
            assert!(read >= index, "{mode:?} at {id}: {read} is before {index}");
        }
    }
}

#[test]
fn a_read_after_a_write_waits_on_another_node_until_that_has_it() {
    let mut bed = Bed::started(3);
    let [near, far] = bed.followers();
    bed.net.isolate(far.0);
    let index = bed.add(near, 5).applied.index;
    let (reply, answer) = channel();
    let mode = ReadMode::AfterWrite { index, term: None };
    bed.group(far).read(mode, move |result| crate::bed::told(&reply, result));
    bed.run_for(Duration::from_secs(3));
    assert!(answer.try_recv().is_err(), "it does not have it");
    bed.net.heal_all();
    let read = bed.answer("the read", &answer).expect("it has come");
    assert!(read >= index);
}

#[test]
fn a_read_after_a_write_that_was_lost_says_so() {
    let mut bed = Bed::started(3);
    let leader = bed.elect();
    let applied = bed.add(leader, 5).applied;
    let mode = ReadMode::AfterWrite { index: applied.index, term: Some(Term(applied.term.0 + 7)) };
    let refused = bed.read(leader, mode);
    assert!(matches!(refused, Err(ReadError::Refused(Refusal::WriteLost { .. }))), "{refused:?}");
}

#[test]
fn a_stale_read_is_answered_within_its_bounds_or_refused_at_once() {
    let mut bed = Bed::started(3);
    let [_, far] = bed.followers();
    let leader = bed.elect();
    let index = bed.add(leader, 5).applied.index;
    bed.run_for(Duration::from_millis(300));
    bed.net.isolate(far.0);
    bed.run_for(Duration::from_millis(300));
    let behind = bed.add(leader, 5).applied.index;
    bed.read(far, stale(Staleness::default())).expect("anything is good enough");
    let too_old = bed.read(far, stale(Staleness { at_least: behind, ..Staleness::default() }));
    assert!(matches!(too_old, Err(ReadError::Refused(Refusal::TooOld { .. }))), "{too_old:?}");
    bed.read(far, stale(Staleness { at_least: index, ..Staleness::default() }))
        .expect("it has that");
    let fresh = Staleness { silence_ticks_max: Some(200), ..Staleness::default() };
    let silent = bed.read(far, stale(fresh));
    assert_eq!(silent, Err(ReadError::Refused(Refusal::Silence)));
    bed.read(leader, stale(fresh)).expect("it hears a quorum");
}

/// With leases in the log a leader answers by itself; the terms of them are the group's.
#[test]
fn a_guarded_read_takes_no_round_once_the_group_has_terms_for_it() {
    let mut bed = Bed::started(3);
    let leader = bed.elect();
    let mode = ReadMode::LeaseGuard { checks_limbo: false };
    bed.read(leader, mode).expect("by a round, as long as there are no terms");
    let (reply, answer) = channel();
    let terms = LeaseTerms { duration_us: 2_000_000, drift_ppm: 0, clock: LeaseClock::Monotonic };
    let change =
        ConfigurationChange { lease: LeaseChange::Set(terms), ..ConfigurationChange::default() };
    bed.group(leader).change_configuration(change, move |result| crate::bed::told(&reply, result));
    bed.answer("the change", &answer).expect("sound terms");
    let index = bed.add(leader, 5).applied.index;
    // Nobody could answer a round.
    bed.net.isolate(leader.0);
    let before = bed.now();
    assert!(bed.read(leader, mode).expect("on the lease") >= index);
    assert!(bed.now() < before.after(Duration::from_millis(1)), "at once");
    let (reply, answer) = channel();
    bed.group(leader).read(ReadMode::ReadIndex, move |result| crate::bed::told(&reply, result));
    bed.run_for(Duration::from_millis(500));
    assert!(answer.try_recv().is_err(), "the round is not answered");
}

/// What a leader elsewhere would not be told is refused here, and not made without it.
#[test]
fn what_no_errand_carries_is_refused() {
    let mut bed = Bed::started(3);
    let leader = bed.elect();
    let lease = LeaseChange::End;
    let plain = ConfigurationChange { lease, ..ConfigurationChange::default() };
    let priorities = [(leader, 1)].into();
    for change in [
        ConfigurationChange { transition: Transition::OneStep, ..plain.clone() },
        ConfigurationChange { priorities, ..plain },
    ] {
        let (reply, answer) = channel();
        bed.group(leader)
            .change_configuration(change, move |result| crate::bed::told(&reply, result));
        let refused = bed.answer("a refusal", &answer);
        assert!(matches!(refused, Err(ChangeError::NotCarried)), "{refused:?}");
    }
}
