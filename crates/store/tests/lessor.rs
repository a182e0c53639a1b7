//! When leases expire, on the leader.

mod common;

use std::time::Duration;

use common::*;
use env::Moment;
use store::*;

const RETRY: Duration = Duration::from_secs(1);

const TERM: raft::Term = raft::Term(1);

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000_000)
}

#[test]
fn a_lease_expires_after_its_time_unless_it_is_renewed() {
    let mut h = Harness::new();
    let mut lessor = Lessor::new();
    lessor.promote(at(0), TERM, &h.store);
    h.grant(1).unwrap();
    h.grant(2).unwrap();
    lessor.observe(at(0), &h.store);
    assert_eq!(lessor.next_deadline(), Some(at(10)));
    assert_eq!(lessor.renew(LeaseId(2), at(9)), Some(10));
    assert_eq!(lessor.renew(LeaseId(3), at(9)), None, "there is none");
    assert!(lessor.expired(at(9), 100, RETRY).is_empty());
    assert_eq!(lessor.expired(at(10), 100, RETRY), [LeaseId(1)]);
    assert!(lessor.expired(at(10), 100, RETRY).is_empty(), "it was told");
    assert_eq!(lessor.expired(at(11), 100, RETRY), [LeaseId(1)], "and is told again");
    assert_eq!(lessor.renew(LeaseId(1), at(11)), None, "too late");
    h.apply(Command::LeaseRevoke { id: LeaseId(1) }).unwrap();
    lessor.observe(at(11), &h.store);
    assert_eq!(lessor.next_deadline(), Some(at(19)));
    let remaining = lessor.remaining(LeaseId(2), at(12)).unwrap();
    assert_eq!((remaining.granted_ttl, remaining.remaining), (10, Duration::from_secs(7)));
}

#[test]
fn expiry_is_limited_and_the_oldest_come_first() {
    let mut h = Harness::new();
    let mut lessor = Lessor::new();
    lessor.promote(at(0), TERM, &h.store);
    for id in 1..=5 {
        h.grant(id).unwrap();
        lessor.observe(at(10 - id.unsigned_abs()), &h.store);
    }
    assert_eq!(lessor.expired(at(100), 2, RETRY), [LeaseId(5), LeaseId(4)]);
    assert_eq!(lessor.expired(at(100), 9, RETRY), [LeaseId(3), LeaseId(2), LeaseId(1)]);
    let ids: Vec<i64> = lessor.leases(at(0)).into_iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [5, 4, 3, 2, 1], "by expiry");
}

#[test]
fn a_new_leader_gives_full_time_or_what_a_checkpoint_says() {
    let mut h = Harness::new();
    h.grant(1).unwrap();
    h.grant(2).unwrap();
    h.apply(Command::LeaseCheckpoint { remaining: vec![(LeaseId(1), 3), (LeaseId(9), 1)] })
        .unwrap();
    let mut lessor = Lessor::new();
    lessor.promote(at(50), TERM, &h.store);
    assert_eq!(lessor.next_deadline(), Some(at(53)));
    assert!(lessor.expired(at(52), 9, RETRY).is_empty());
    lessor.demote(&h.store);
    assert!(!lessor.is_leading());
    assert!(lessor.expired(at(99), 9, RETRY).is_empty());
}

#[test]
fn a_restore_is_read_anew_and_known_leases_keep_their_time() {
    let mut ahead = Harness::new();
    let mut h = Harness::new();
    for h in [&mut ahead, &mut h] {
        h.grant(1).unwrap();
    }
    ahead.grant(2).unwrap();
    let mut lessor = Lessor::new();
    lessor.promote(at(0), TERM, &h.store);
    let mut snapshot = host::StateMachine::snapshot(&mut ahead.machine).unwrap();
    host::StateMachine::restore(&mut h.machine, snapshot.last(), &mut *snapshot).unwrap();
    lessor.observe(at(5), &h.store);
    let deadlines: Vec<_> = lessor
        .leases(at(5))
        .into_iter()
        .map(|(id, left)| (id.0, left.remaining.as_secs()))
        .collect();
    assert_eq!(deadlines, [(1, 5), (2, 10)]);
}

/// W10: what a lease has left is written down, so that a change of leader does not begin its time
/// anew; and a renewal is never shortened by what was written down before it.
#[test]
fn checkpoints_tell_what_is_left_and_a_renewal_has_to_mend_them() {
    let mut h = Harness::new();
    let mut lessor = Lessor::with_checkpoints(Duration::from_secs(4));
    lessor.promote(at(0), TERM, &h.store);
    h.grant(1).unwrap();
    h.grant(2).unwrap();
    lessor.observe(at(0), &h.store);
    assert!(lessor.checkpoints(at(3), 100).is_empty(), "not due");
    lessor.renew(LeaseId(2), at(3)).unwrap();
    let due = lessor.checkpoints(at(4), 100);
    assert_eq!(due, [(LeaseId(1), 6)], "the other was renewed");
    assert!(lessor.is_shortened(LeaseId(1)) && !lessor.is_shortened(LeaseId(2)));
    h.apply(Command::LeaseCheckpoint { remaining: due }).unwrap();
    lessor.observe(at(5), &h.store);
    let left = lessor.remaining(LeaseId(1), at(5)).unwrap().remaining;
    assert_eq!(left, Duration::from_secs(5), "writing it down changes nothing here");

    let mut next = Lessor::with_checkpoints(Duration::from_secs(4));
    next.promote(at(6), TERM, &h.store);
    let left = |lessor: &Lessor, id, now| lessor.remaining(LeaseId(id), at(now)).unwrap().remaining;
    assert_eq!(left(&next, 1, 6), Duration::from_secs(6), "later than it was, never earlier");
    assert_eq!(left(&next, 2, 6), Duration::from_secs(10), "nothing was written down");
    assert!(next.is_shortened(LeaseId(1)));
    h.apply(Command::LeaseCheckpoint { remaining: vec![(LeaseId(1), 10)] }).unwrap();
    next.observe(at(7), &h.store);
    assert_eq!(next.renew(LeaseId(1), at(7)), Some(10));
    assert!(!next.is_shortened(LeaseId(1)));
    let mut last = Lessor::with_checkpoints(Duration::from_secs(4));
    last.promote(at(8), TERM, &h.store);
    assert_eq!(left(&last, 1, 8), Duration::from_secs(10), "the renewal is not forgotten");
}

/// Ten thousand that end at once are told in pieces, each in a time that hardly anybody notices.
#[test]
fn ten_thousand_leases_that_end_at_once_are_told_in_pieces() {
    let mut h = Harness::new();
    let mut lessor = Lessor::new();
    lessor.promote(at(0), TERM, &h.store);
    for id in 1..=10_000 {
        h.grant(id).unwrap();
    }
    lessor.observe(at(0), &h.store);
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let piece = lessor.expired(at(10), 250, RETRY);
        assert_eq!(piece.len(), 250);
        told.extend(piece);
    }
    assert_eq!(told.len(), 10_000, "each once");
    assert!(lessor.expired(at(10), 250, RETRY).is_empty());
}
