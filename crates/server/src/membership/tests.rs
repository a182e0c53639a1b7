//! What etcd allows and refuses, by the state of the members.

use host::MemberReport;
use raft::{LogIndex, Term};

use super::*;

/// A member in a test: its id, whether it has started, how long it was silent, and its goal if it
/// is a learner.
#[derive(Clone, Copy)]
struct Is(u64, bool, Option<u64>, Option<Goal>);

const UP: Option<u64> = Some(10);
const DOWN: Option<u64> = Some(5_000);

fn voter(id: u64, silent_ms: Option<u64>) -> Is {
    Is(id, true, silent_ms, None)
}

fn url(id: u64) -> String {
    format!("http://h:{id}")
}

fn report(members: &[Is]) -> GroupReport {
    let mut configuration = Configuration::default();
    let mut reports = Vec::new();
    for Is(id, is_started, silent_ms, goal) in members.iter().copied() {
        let node = NodeId(id);
        let set =
            if goal.is_some() { &mut configuration.learners } else { &mut configuration.voters };
        set.insert(node);
        let attributes = MemberAttributes {
            goal: goal.unwrap_or_default(),
            name: if is_started { format!("n{id}") } else { String::new() },
            peer_urls: vec![url(id)],
            client_urls: Vec::new(),
        };
        configuration.attributes.insert(node, attributes.encode());
        let match_index = LogIndex(9);
        let report = MemberReport {
            id: node,
            match_index,
            silent_ms,
            needs_snapshot: false,
            is_slow: false,
            counts: true,
        };
        reports.push(report);
    }
    GroupReport {
        leader_id: NodeId(1),
        term: Term(1),
        last_index: LogIndex(9),
        commit_index: LogIndex(9),
        configuration: GroupConfiguration { index: LogIndex(3), is_committed: true, configuration },
        members: reports,
        unguarded: Vec::new(),
    }
}

fn checks(report: &GroupReport, is_strict: bool) -> Checks<'_> {
    let roster = Roster::new(&report.configuration.configuration);
    Checks { report, roster, silence_max: Duration::from_secs(1), is_strict }
}

#[track_caller]
fn check(members: &[Is], op: &MemberOp, expect: Result<&[MemberChange], ApiError>) {
    let change = checks(&report(members), true).change(op);
    assert_eq!(change.map(|change| change.members), expect.map(<[MemberChange]>::to_vec));
}

fn add(id: u64, goal: Goal) -> MemberOp {
    MemberOp::Add { id: NodeId(id), peer_urls: vec![url(id)], goal }
}

fn remove(id: u64) -> MemberOp {
    MemberOp::Remove(NodeId(id))
}

fn learn(id: u64) -> [MemberChange; 1] {
    [MemberChange::AddLearner(NodeId(id))]
}

#[test]
fn a_member_is_added_to_a_cluster_that_is_well() {
    let three = [voter(1, UP), voter(2, UP), voter(3, UP)];
    check(&three, &add(4, Goal::Vote), Ok(&learn(4)));
    check(&three, &add(4, Goal::Learn), Ok(&learn(4)));
    check(&[voter(1, UP)], &add(2, Goal::Vote), Ok(&learn(2)));
    let one_down = [voter(1, UP), voter(2, UP), voter(3, DOWN)];
    check(&one_down, &add(4, Goal::Vote), Err(ApiError::Unhealthy));
    check(&one_down, &add(4, Goal::Learn), Err(ApiError::Unhealthy));
    let never_heard = [voter(1, UP), voter(2, UP), voter(3, None)];
    check(&never_heard, &add(4, Goal::Vote), Err(ApiError::Unhealthy));
}

#[test]
fn the_second_member_must_start_before_a_third_is_added() {
    let waiting = Is(2, false, None, Some(Goal::Vote));
    check(&[voter(1, UP), waiting], &add(3, Goal::Vote), Err(ApiError::NotEnoughStarted));
    // Without a vote it changes no majority; but not all members are there.
    check(&[voter(1, UP), waiting], &add(3, Goal::Learn), Err(ApiError::Unhealthy));
}

#[test]
fn an_address_belongs_to_one_member() {
    let three = [voter(1, UP), voter(2, UP), voter(3, UP)];
    let op = MemberOp::Add { id: NodeId(4), peer_urls: vec![url(4), url(2)], goal: Goal::Vote };
    check(&three, &op, Err(ApiError::PeerUrlExists));
    let update = |id, at| MemberOp::Update { id: NodeId(id), peer_urls: vec![url(at)] };
    check(&three, &update(2, 3), Err(ApiError::PeerUrlExists));
    check(&three, &update(2, 2), Ok(&[]));
    check(&three, &update(2, 7), Ok(&[]));
    check(&three, &update(9, 7), Err(ApiError::MemberNotFound));
}

#[test]
fn an_update_of_addresses_keeps_all_else_and_promotes_nobody() {
    let members = [voter(1, UP), Is(2, true, UP, Some(Goal::Learn))];
    let report = report(&members);
    let op = MemberOp::Update { id: NodeId(2), peer_urls: vec![url(7)] };
    let change = checks(&report, true).change(&op).unwrap();
    assert!(change.members.is_empty());
    let known = MemberAttributes::decode(&change.attributes[&NodeId(2)]).unwrap();
    assert_eq!((known.name.as_str(), known.goal), ("n2", Goal::Learn));
    assert_eq!(known.peer_urls, [url(7)]);
}

#[test]
fn one_learner_at_a_time() {
    let with_learner = [voter(1, UP), Is(2, true, UP, Some(Goal::Learn))];
    check(&with_learner, &add(3, Goal::Learn), Err(ApiError::TooManyLearners));
    check(&with_learner, &add(3, Goal::Vote), Ok(&learn(3)));
}

#[test]
fn a_learner_is_promoted_and_nobody_else() {
    let members = [voter(1, UP), Is(2, true, UP, Some(Goal::Learn)), Is(3, true, UP, None)];
    let promote = |id| MemberOp::Promote(NodeId(id));
    check(&members, &promote(2), Ok(&[MemberChange::Promote(NodeId(2))]));
    check(&members, &promote(3), Err(ApiError::NotLearner));
    check(&members, &promote(9), Err(ApiError::MemberNotFound));
    let on_its_way = [voter(1, UP), Is(2, true, UP, Some(Goal::Vote))];
    check(&on_its_way, &promote(2), Err(ApiError::NotLearner));
    let unstarted = [voter(1, UP), Is(2, false, UP, None), Is(4, true, UP, Some(Goal::Learn))];
    check(&unstarted, &promote(4), Ok(&[MemberChange::Promote(NodeId(4))]));
}

#[test]
fn a_member_is_removed_while_the_others_agree() {
    let gone = |id| [MemberChange::Remove(NodeId(id))];
    let three = [voter(1, UP), voter(2, UP), voter(3, UP)];
    check(&three, &remove(2), Ok(&gone(2)));
    check(&three, &remove(1), Ok(&gone(1)));
    check(&three, &remove(9), Err(ApiError::MemberNotFound));
    let one_down = [voter(1, UP), voter(2, UP), voter(3, DOWN)];
    check(&one_down, &remove(3), Ok(&gone(3)));
    check(&one_down, &remove(2), Err(ApiError::Unhealthy));
    check(&[voter(1, UP)], &remove(1), Err(ApiError::NotEnoughStarted));
    let learner = [voter(1, UP), Is(2, false, None, Some(Goal::Learn))];
    check(&learner, &remove(2), Ok(&gone(2)));
    let unstarted = [voter(1, UP), Is(2, false, UP, None)];
    check(&unstarted, &remove(1), Err(ApiError::NotEnoughStarted));
}

#[test]
fn a_member_that_is_down_is_replaced() {
    let one_down = [voter(1, UP), voter(2, UP), voter(3, DOWN)];
    check(&one_down, &add(4, Goal::Replace(NodeId(3))), Ok(&learn(4)));
    check(&one_down, &add(4, Goal::Replace(NodeId(2))), Err(ApiError::Unhealthy));
    check(&one_down, &add(4, Goal::Replace(NodeId(9))), Err(ApiError::MemberNotFound));
}

/// T67: a leader of this moment has heard nobody, and that is no reason to call the cluster ill.
#[test]
fn who_was_not_heard_yet_may_be_heard_soon() {
    let may_soon = |members: &[Is]| checks(&report(members), true).may_soon_hear_all();
    assert!(may_soon(&[voter(1, UP), voter(2, UP), voter(3, None)]));
    assert!(!may_soon(&[voter(1, UP), voter(2, UP), voter(3, DOWN)]), "it was heard, and is gone");
    assert!(!may_soon(&[voter(1, UP), voter(2, None), voter(3, DOWN)]), "one is gone");
    let learner = Is(4, true, None, Some(Goal::Learn));
    assert!(may_soon(&[voter(1, UP), learner]), "it may be one that is to be promoted");
    assert!(!may_soon(&[voter(1, UP), voter(2, UP)]));
}

#[test]
fn a_repair_may_ask_for_changes_that_are_not_strict() {
    let loose = |members: &[Is], op: &MemberOp| checks(&report(members), false).change(op).is_ok();
    let one_down = [voter(1, UP), voter(2, UP), voter(3, DOWN)];
    for op in [add(4, Goal::Vote), add(4, Goal::Learn), add(4, Goal::Replace(NodeId(2)))] {
        assert!(loose(&one_down, &op), "{op:?}");
    }
    assert!(loose(&one_down, &remove(2)));
    let waiting = Is(2, false, None, Some(Goal::Vote));
    assert!(loose(&[voter(1, UP), waiting], &add(3, Goal::Vote)));
    assert!(!loose(&one_down, &remove(9)), "nobody has that name");
}

#[test]
fn addresses_of_members_are_checked_and_put_in_order() {
    let urls = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let parsed = parse_peer_urls(&urls(&["http://b:2", "http://a:1/", "http://b:2"]));
    assert_eq!(parsed, Ok(urls(&["http://a:1", "http://b:2"])));
    for bad in [&[][..], &["a:1"], &["http://a"], &["http://a:1", "nonsense"]] {
        assert_eq!(parse_peer_urls(&urls(bad)), Err(ApiError::MemberBadUrls), "{bad:?}");
    }
}
