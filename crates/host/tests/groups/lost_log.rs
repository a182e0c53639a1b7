//! Who loses its log is told from who was away (`docs/adr/0008`).

use std::path::Path;
use std::time::Duration;

use env::Disk;
use raft::{EntryId, LogIndex, MemberChange, NodeId};

use crate::bed::{Bed, SOON};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

#[test]
fn every_log_has_a_number_of_its_own_and_the_group_knows_it() {
    let mut bed = Bed::started(3);
    let report = bed.settle();
    let recorded = &report.configuration.configuration.incarnations;
    for id in [N1, N2, N3] {
        assert_eq!(recorded.get(&id), Some(&bed.group(id).incarnation()), "{id}");
    }
    let numbers: std::collections::BTreeSet<_> = recorded.values().map(|number| number.0).collect();
    assert_eq!(numbers.len(), 3, "{recorded:?}");
}

#[test]
fn a_node_that_comes_back_with_its_log_has_the_same_number_and_counts() {
    let mut bed = Bed::started(3);
    bed.settle();
    let number = bed.group(N2).incarnation();
    bed.kill(N2);
    bed.add(N1, 5);
    bed.start(N2);
    assert_eq!(bed.group(N2).incarnation(), number);
    let leader = bed.elect();
    bed.until("it has caught up", |bed| {
        (bed.group(N2).applied_index() == bed.group(leader).applied_index()).then_some(())
    });
    bed.run_for(SOON);
    assert!(!bed.was_told(N2, "log lost"));
    assert!(bed.report(leader).members.iter().all(|member| member.counts));
}

/// The word of the others need not be heard before it begins: the group itself finds it out.
#[test]
fn a_voter_that_lost_its_log_does_not_count_and_its_host_is_told() {
    let mut bed = Bed::started(3);
    bed.settle();
    bed.kill(N2);
    bed.wipe(N2);
    bed.start(N2);
    bed.until("it is told", |bed| bed.was_told(N2, "log lost").then_some(()));
    let leader = bed.elect();
    let report = bed.report(leader);
    let member = report.member(N2).expect("it is still a member");
    assert!(!member.counts, "{report:?}");
    for id in [N1, N3] {
        assert!(!bed.was_told(id, "log lost"), "{id}");
    }
}

/// The rest of the log's folder may be there: what counts is the log.
#[test]
fn a_log_that_was_deleted_alone_is_a_lost_log() {
    let mut bed = Bed::started(3);
    bed.settle();
    bed.kill(N2);
    delete_log_and_state(&bed, N2);
    bed.start(N2);
    bed.until("it is told", |bed| bed.was_told(N2, "log lost").then_some(()));
}

fn delete_log_and_state(bed: &Bed, id: NodeId) {
    let (disk, wal) = (bed.disk(id), Path::new("/data/wal"));
    for name in disk.list(wal).expect("it is there") {
        disk.remove_file(&wal.join(name)).expect("the disk is well");
    }
    disk.remove_dir_all(Path::new("/data/adder-1")).expect("the disk is well");
}

/// T89. n1 began alone: with its first configuration it would elect itself, and acknowledge.
#[test]
fn who_began_alone_and_lost_its_log_begins_no_second_group() {
    let mut bed = Bed::started(1);
    for id in [N2, N3] {
        bed.change(N1, vec![MemberChange::AddLearner(id)]);
        bed.start(id);
        bed.until("it holds the log", |bed| {
            (bed.group(id).applied_index() == bed.group(N1).applied_index()).then_some(())
        });
        bed.change(N1, vec![MemberChange::Promote(id)]);
    }
    bed.settle();
    assert_eq!(bed.add(N1, 5).sum, 5);
    bed.kill(N1);
    delete_log_and_state(&bed, N1);
    bed.net.isolate(N1.0);
    bed.start(N1);
    bed.run_for(Duration::from_secs(5));
    assert_eq!(bed.group(N1).status().leader_id, None, "it knows nobody, not even itself");
    bed.net.heal_all();
    bed.until("it is told", |bed| bed.was_told(N1, "log lost").then_some(()));
    let leader = bed.elect();
    assert_eq!(bed.add(leader, 0).sum, 5);
    // Not even when it is started once more: the log that it has by now is not the one it lost.
    bed.kill(N1);
    bed.start(N1);
    bed.run_for(Duration::from_secs(5));
    assert_ne!(bed.group(N1).status().leader_id, Some(N1));
}

/// The number is written behind the first configuration: a start that was cut short between the
/// two has lost nothing.
#[test]
fn a_first_start_that_was_cut_short_begins_again() {
    let mut bed = Bed::new(1, 1, Box::new(|_| {}));
    bed.start(N1);
    bed.kill(N1);
    bed.disk(N1).remove_file(Path::new("/data/incarnation")).expect("it was written");
    bed.start(N1);
    bed.elect();
    assert_eq!(bed.add(N1, 5).sum, 5);
}

/// A folder of a version that drew no numbers.
#[test]
fn a_log_without_a_number_gets_one_and_loses_nothing() {
    let mut bed = Bed::new(1, 1, Box::new(|_| {}));
    bed.write_log(N1, 3);
    bed.start(N1);
    let number = bed.group(N1).incarnation();
    assert!(number.is_known());
    bed.elect();
    assert_eq!(bed.node(N1).id_at(LogIndex(3)), Some(EntryId::new(1, 3)));
    assert_eq!(bed.add(N1, 5).sum, 5);
    bed.kill(N1);
    bed.start(N1);
    bed.elect();
    assert_eq!(bed.group(N1).incarnation(), number);
    assert_eq!(bed.add(N1, 0).sum, 5);
}

/// Both votes that the survivors would need are there, and one of them is of a voter that forgot.
#[test]
fn who_lost_its_log_elects_nobody_who_lacks_what_was_acknowledged() {
    let mut bed = Bed::started(3);
    bed.settle();
    let leader = bed.elect();
    let (keeper, behind) = match leader {
        N1 => (N2, N3),
        N2 => (N1, N3),
        _ => (N1, N2),
    };
    // One voter is cut off and lacks what the two others acknowledge.
    bed.net.isolate(behind.0);
    let acknowledged = bed.add(leader, 5);
    bed.kill(leader);
    bed.kill(keeper);
    bed.wipe(keeper);
    bed.net.heal_all();
    bed.start(keeper);
    bed.run_for(SOON);
    for id in [keeper, behind] {
        let status = bed.group(id).status();
        assert_eq!(status.leader_id, None, "{id} of {status:?}");
    }
    // With the log that has it, all is well again.
    bed.start(leader);
    bed.run_for(Duration::from_secs(5));
    assert_eq!(bed.add(behind, 0).sum, acknowledged.sum);
    assert!(bed.was_told(keeper, "log lost"));
}

/// The way back: without a vote it vouches for nothing, so that its new log may be put on record.
#[test]
fn a_voter_that_lost_its_log_comes_back_as_a_learner() {
    let mut bed = Bed::started(3);
    bed.settle();
    let leader = bed.elect();
    let lost = if leader == N2 { N3 } else { N2 };
    bed.kill(lost);
    bed.wipe(lost);
    bed.change(leader, vec![MemberChange::Demote(lost)]);
    bed.start(lost);
    let number = bed.group(lost).incarnation();
    bed.until("its new log is on record", |bed| {
        let known = bed.group(leader).configuration();
        (known.configuration.incarnations.get(&lost) == Some(&number)).then_some(())
    });
    bed.until("it holds the log", |bed| {
        (bed.group(lost).applied_index() == bed.group(leader).applied_index()).then_some(())
    });
    bed.change(leader, vec![MemberChange::Promote(lost)]);
    bed.run_for(SOON);
    assert!(!bed.was_told(lost, "log lost"));
    assert!(bed.settle().members.iter().all(|member| member.counts));
}

/// With a founder that was never up, no quorum can be sure to have the records: shown, not refused.
#[test]
fn a_founder_that_was_never_up_is_shown_and_the_group_is_used_meanwhile() {
    let mut bed = Bed::new(3, 1, Box::new(|_| {}));
    bed.start(N1);
    bed.start(N2);
    let leader = bed.elect();
    assert_eq!(bed.add(leader, 5).sum, 5);
    bed.run_for(Duration::from_secs(2));
    assert_eq!(bed.report(leader).unguarded, [N1, N2, N3]);
    bed.start(N3);
    assert!(bed.settle().unguarded.is_empty());
}
