//! A host ends its part in a group when the protocol says that it has none any more.

use std::time::Duration;

use host::GroupConfiguration;
use raft::{Configuration, LogIndex, MemberChange, NodeId};

use crate::bed::{Bed, GROUP};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);

/// Who leads, and who is to be removed.
fn leader_and_other(bed: &mut Bed) -> (NodeId, NodeId) {
    let leader = bed.elect();
    (leader, if leader == N2 { NodeId(3) } else { N2 })
}

#[test]
fn a_member_that_is_removed_is_told_by_its_own_log() {
    let mut bed = Bed::started(3);
    let (leader, removed) = leader_and_other(&mut bed);
    bed.change(leader, vec![MemberChange::Remove(removed)]);
    bed.until("it is told", |bed| bed.was_told(removed, "removed").then_some(()));
    bed.add(leader, 5);
    let stays = NodeId(6 - leader.0 - removed.0);
    assert!(!bed.was_told(leader, "removed") && !bed.was_told(stays, "removed"));
}

#[test]
fn a_leader_that_removes_itself_is_told_and_another_leads() {
    let mut bed = Bed::started(3);
    let leader = bed.elect();
    bed.change(leader, vec![MemberChange::Remove(leader)]);
    bed.until("it is told", |bed| bed.was_told(leader, "removed").then_some(()));
    bed.kill(leader);
    let next = bed.elect();
    assert_ne!(next, leader);
    assert_eq!(bed.add(next, 5).sum, 5);
}

/// It was away while it was removed, so its log does not say it.
#[test]
fn a_member_that_was_away_when_it_was_removed_is_told_when_it_is_back() {
    let mut bed = Bed::started(3);
    let (leader, removed) = leader_and_other(&mut bed);
    bed.kill(removed);
    bed.change(leader, vec![MemberChange::Remove(removed)]);
    bed.run_for(Duration::from_secs(2));
    bed.start(removed);
    bed.until("it is told", |bed| bed.was_told(removed, "removed").then_some(()));
}

/// What a peer says in its greeting is a claim, and one claim ends nobody.
#[test]
fn one_mistaken_peer_ends_nobody() {
    let mut bed = Bed::new(3, 1, Box::new(|_| {}));
    // Alone, so that no leader proves it a member.
    bed.start(N1);
    bed.run_for(Duration::from_millis(100));
    let mut configuration = Configuration::of_voters([2, 3].map(NodeId));
    configuration.removed.push(N1);
    let known = GroupConfiguration { index: LogIndex(9), is_committed: true, configuration };
    let claim = |bed: &mut Bed, from: u64, known: &GroupConfiguration| {
        bed.receiver(N1).claim_removal(NodeId(from), GROUP, known.clone());
        bed.run_for(Duration::from_millis(100));
        bed.was_told(N1, "removed")
    };
    assert!(!claim(&mut bed, 2, &known), "one voice of two");
    assert!(!claim(&mut bed, 2, &known), "the same voice again");
    assert!(!claim(&mut bed, 9, &known), "no member");
    let uncommitted = GroupConfiguration { is_committed: false, ..known.clone() };
    assert!(!claim(&mut bed, 3, &uncommitted), "it may be rolled back");
    assert!(claim(&mut bed, 3, &known), "two members say it");
}
