//! §6, and one server at a time (thesis §4.1).

use super::*;

fn changed(cluster: &mut Cluster, node: u64, change: MemberChange) -> Result<EntryId, ChangeError> {
    cluster.change(node, &ConfigurationChange::of([change]))
}

/// "A server always uses the latest configuration in its log, regardless of whether the entry is
/// committed."
#[test]
fn s6_the_latest_configuration_in_the_log_is_in_force() {
    let mut cluster = elected(3);
    cluster.isolated.extend([2, 3]);
    changed(&mut cluster, 1, MemberChange::Remove(id(3))).unwrap();
    let status = cluster.status(1);
    assert!(status.configuration_index > status.commit_index);
    assert_eq!(status.configuration.voters, [id(1), id(2)].into_iter().collect());
}

/// "Log entries are replicated to all servers in both configurations. Any server from either
/// configuration may serve as leader."
#[test]
fn s6_any_server_of_either_configuration_may_lead() {
    let configuration = Configuration {
        outgoing: [id(3), id(4), id(5)].into_iter().collect(),
        ..Configuration::of_voters([id(1), id(2), id(3)])
    };
    for leader in 1..=5 {
        let mut cluster = Cluster::with(5, &configuration, |_| {});
        cluster.timeout(leader);
        cluster.stabilize();
        for node in 1..=5 {
            assert!(cluster.status(node).last >= EntryId::new(1, 1), "led by {leader}: {node}");
        }
        let has_gone = cluster.status(leader).role == Role::Follower;
        assert_eq!(has_gone, leader > 3, "a leader outside C_new has stepped down");
    }
}

/// "Agreement (for elections and entry commitment) requires separate majorities from both the old
/// and new configurations."
#[test]
fn s6_agreement_takes_both_majorities() {
    let mut cluster = elected(3);
    let add = [4, 5, 6].map(|node| MemberChange::AddVoter(id(node)));
    let change = ConfigurationChange { allow_stall: true, ..ConfigurationChange::of(add) };
    let first = cluster.change(1, &change).unwrap();
    cluster.stabilize();
    // All of C_old has the entry, and half of C_new.
    assert_eq!(cluster.status(3).last, first);
    assert!(cluster.status(1).commit_index < first.index);
}

/// "Once C_old,new has been committed … it is now safe for the leader to create a log entry
/// describing C_new and replicate it to the cluster."
#[test]
fn s6_c_new_follows_when_the_joint_configuration_is_committed() {
    let mut cluster = elected(3);
    let first = changed(&mut cluster, 1, MemberChange::Remove(id(3))).unwrap();
    assert!(cluster.status(1).configuration.is_joint());
    let second = changed(&mut cluster, 1, MemberChange::Remove(id(2)));
    assert_eq!(second, Err(ChangeError::InProgress { index: first.index }));
    cluster.stabilize();
    let status = cluster.status(1);
    assert_eq!(status.configuration.to_string(), "voters=1,2 removed=3");
    assert_eq!(status.configuration_index, first.index.next());
    assert_eq!(status.commit_index, first.index.next());
}

/// "In this case, the leader steps down (returns to follower state) once it has committed the C_new
/// log entry."
#[test]
fn s6_a_leader_outside_c_new_steps_down_when_that_is_committed() {
    let mut cluster = elected(3);
    changed(&mut cluster, 1, MemberChange::Remove(id(1))).unwrap();
    assert_eq!(cluster.status(1).role, Role::Leader);
    cluster.stabilize();
    let status = cluster.status(1);
    assert_eq!((status.role, status.commit_index), (Role::Follower, LogIndex(3)));
    assert!(!status.configuration.contains(id(1)));
}

fn stepped(cluster: &mut Cluster, node: u64, change: MemberChange) -> Result<EntryId, ChangeError> {
    let change = ConfigurationChange::of([change]);
    cluster.change(node, &ConfigurationChange { transition: Transition::OneStep, ..change })
}

/// "When adding a server … any majority of the old cluster overlaps with any majority of the new
/// cluster": one entry, in force at once, and the next change waits for it.
#[test]
fn thesis_4_1_one_server_is_added_by_one_entry() {
    let mut cluster = Cluster::with(4, &Configuration::of_voters([1, 2, 3].map(id)), |_| {});
    cluster.elect(1);
    cluster.isolated.extend([2, 4]);
    let added = stepped(&mut cluster, 1, MemberChange::AddVoter(id(4))).unwrap();
    assert_eq!(cluster.status(1).configuration, Configuration::of_voters([1, 2, 3, 4].map(id)));
    let next = stepped(&mut cluster, 1, MemberChange::Remove(id(3)));
    assert_eq!(next, Err(ChangeError::InProgress { index: added.index }));
    cluster.stabilize();
    assert!(cluster.status(1).commit_index < added.index, "two of four are no majority");
    cluster.isolated.clear();
    for _ in 0..4 {
        cluster.tick(1, 2);
        cluster.stabilize();
    }
    assert_eq!(cluster.status(1).commit_index, added.index);
    assert_eq!(cluster.status(1).last, added, "nothing else was needed");
}

/// The erratum to §4.1 (raft-dev, 2015): "a leader may not append a new configuration until it has
/// committed an entry from its current term." One rule for both ways.
#[test]
fn thesis_4_1_no_change_before_an_entry_of_the_term_is_committed() {
    for transition in [Transition::Joint, Transition::OneStep] {
        let mut cluster = plain(3);
        cluster.timeout(1);
        cluster.isolated.insert(3);
        while cluster.status(1).role != Role::Leader {
            let message = cluster.network.remove(0);
            cluster.deliver(message);
        }
        let remove = ConfigurationChange::of([MemberChange::Remove(id(3))]);
        let change = ConfigurationChange { transition, ..remove };
        assert_eq!(cluster.change(1, &change), Err(ChangeError::TermNotCommitted));
        cluster.stabilize();
        assert!(cluster.change(1, &change).is_ok());
    }
}

/// M13: "rejected at construction".
#[test]
fn a_node_in_two_roles_is_no_state_to_begin_from() {
    let learners = [id(2)].into_iter().collect();
    let both = Configuration { learners, ..Configuration::of_voters([id(1), id(2)]) };
    let error = Node::new(Options::new(id(1), 1), Restored::bootstrap(both)).err();
    assert_eq!(error, Some(OptionsError::Restored(RestoredFault::Configurations)));
}
