//! What one node answers to one message, for every small case, against the dumbest way to say the
//! rule: who is voted for, who is followed, what ends a reign, and when a leader steps down. The
//! scripts tell the stories; this has the cases that no story is about.

mod cluster;

use cluster::{Cluster, id, options};
use raft::*;

const TERM: u64 = 3;

/// A node as a question finds it: node 2 of three, in term 3.
#[derive(Clone, Copy, Debug)]
struct State {
    voted_for: Option<u64>,
    /// Up to two entries, by their terms.
    log: &'static [u64],
    heard: Heard,
    /// Pre-vote and check-quorum: who hears a leader votes for nobody.
    is_sticky: bool,
}

/// Whether node 3 leads the term, as far as node 2 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nobody,
    Now,
    LongAgo,
}

#[derive(Clone, Copy, Debug)]
enum Question {
    PreVote,
    Vote,
    VoteInTransfer,
}

/// Term and answer that node 1 gets, if any, and what node 2's term and vote are then.
type Outcome = (Option<(u64, bool)>, u64, Option<u64>);

/// Raft §5.1, §5.2 and §5.4.1, and thesis §4.2.3 and §9.6, one sentence after the other.
fn oracle(state: State, question: Question, term: u64, last: EntryId) -> Outcome {
    let own = EntryId::new(state.log.last().copied().unwrap_or(0), state.log.len() as u64);
    let is_up_to_date = last.term > own.term || last.term == own.term && last.index >= own.index;
    let hears = state.is_sticky && state.heard == Heard::Now;
    let before = (TERM, state.voted_for);
    let outcome = |answer, (term, vote)| (answer, term, vote);
    if term < TERM {
        return outcome(Some((TERM, false)), before);
    }
    match question {
        Question::PreVote if term > TERM && !hears && is_up_to_date => {
            outcome(Some((term, true)), before)
        }
        Question::PreVote => outcome(Some((TERM, false)), before),
        Question::Vote if term > TERM && hears => outcome(None, before),
        Question::Vote | Question::VoteInTransfer => {
            let vote = if term > TERM { None } else { state.voted_for };
            let has_leader = term == TERM && state.heard != Heard::Nobody;
            let is_free = vote == Some(1) || vote.is_none() && !has_leader;
            if is_free && is_up_to_date {
                outcome(Some((term, true)), (term, Some(1)))
            } else {
                outcome(Some((term, false)), (term, vote))
            }
        }
    }
}

fn node_in(state: State) -> Cluster {
    let voters = Configuration::of_voters((1..=3).map(NodeId));
    let mut cluster = Cluster::with(3, &voters, |options| {
        (options.pre_vote, options.check_quorum) = (state.is_sticky, state.is_sticky);
        // It does not campaign by itself meanwhile.
        options.campaign_delay_ticks = 1000;
    });
    let voted_for = state.voted_for.map(NodeId);
    cluster.load(2, TERM, state.log);
    cluster.member(2).disk.hard_state = HardState { current_term: Term(TERM), voted_for };
    cluster.crash(2);
    cluster.restart(2);
    if state.heard != Heard::Nobody {
        let body = Body::Heartbeat { commit_index: LogIndex(0), round: 0 };
        cluster.deliver(Message::new(id(3), id(2), Term(TERM), body));
    }
    if state.heard == Heard::LongAgo {
        cluster.tick(2, options(2).election_timeout_ticks);
    }
    cluster.network.clear();
    cluster
}

fn ask(state: State, question: Question, term: u64, last: EntryId) -> Outcome {
    let mut cluster = node_in(state);
    let body = match question {
        Question::PreVote => Body::PreVote { last },
        Question::Vote => Body::RequestVote { last, leadership_transfer: false },
        Question::VoteInTransfer => Body::RequestVote { last, leadership_transfer: true },
    };
    cluster.deliver(Message::new(id(1), id(2), Term(term), body));
    let answer = cluster.network.iter().find_map(|message| {
        let (Body::PreVoteResponse { granted } | Body::RequestVoteResponse { granted }) =
            message.body
        else {
            return None;
        };
        Some((message.term.0, granted))
    });
    let HardState { current_term, voted_for } = cluster.status(2).hard_state;
    (answer, current_term.0, voted_for.map(|node| node.0))
}

const LOGS: [&[u64]; 10] =
    [&[], &[1], &[2], &[3], &[1, 1], &[1, 2], &[1, 3], &[2, 2], &[2, 3], &[3, 3]];

fn all_states() -> Vec<State> {
    let mut all = Vec::new();
    for log in LOGS {
        for voted_for in [None, Some(1), Some(3)] {
            for heard in [Heard::Nobody, Heard::Now, Heard::LongAgo] {
                let state = |is_sticky| State { voted_for, log, heard, is_sticky };
                all.extend([false, true].map(state));
            }
        }
    }
    all
}

/// Question, its term, and the candidate's last entry.
fn all_questions() -> Vec<(Question, u64, EntryId)> {
    let mut all = Vec::new();
    for question in [Question::PreVote, Question::Vote, Question::VoteInTransfer] {
        for term in TERM - 1..=TERM + 1 {
            all.push((question, term, EntryId::default()));
            let lasts = (1..=3).flat_map(|last| (1..=3).map(move |index| (last, index)));
            let lasts = lasts.filter(|(last, _)| *last < term);
            all.extend(lasts.map(|(last, index)| (question, term, EntryId::new(last, index))));
        }
    }
    all
}

#[test]
fn every_question_for_a_vote_is_answered_as_the_paper_says() {
    let questions = all_questions();
    let mut granted = 0;
    for state in all_states() {
        for &(question, term, last) in &questions {
            let outcome = ask(state, question, term, last);
            let asked = format!("{state:?} is asked {question:?} {term} {last}");
            assert_eq!(outcome, oracle(state, question, term, last), "{asked}");
            granted += u32::from(outcome.0.is_some_and(|(_, granted)| granted));
        }
    }
    assert!(granted > 500, "{granted} were granted");
}

fn heartbeat(commit: u64) -> Body {
    Body::Heartbeat { commit_index: LogIndex(commit), round: 0 }
}

/// One of each kind, as harmless as it may be.
fn all_bodies() -> Vec<Body> {
    let last = EntryId::default();
    let mark = SnapshotMark {
        last: EntryId::new(1, 1),
        configuration: Configuration::of_voters((1..=3).map(NodeId)),
    };
    let session = 0;
    vec![
        Body::PreVote { last },
        Body::PreVoteResponse { granted: true },
        Body::PreVoteResponse { granted: false },
        Body::RequestVote { last, leadership_transfer: false },
        Body::RequestVote { last, leadership_transfer: true },
        Body::RequestVoteResponse { granted: true },
        Body::RequestVoteResponse { granted: false },
        Body::AppendEntries {
            prev: last,
            commit_index: LogIndex(0),
            session,
            entries: Entries::new(),
        },
        Body::CommitIndex { prev: last, commit_index: LogIndex(0), session },
        Body::AppendEntriesResponse(AppendOutcome::Accepted { session, match_index: LogIndex(0) }),
        Body::AppendEntriesResponse(AppendOutcome::Rejected {
            session,
            prev_index: LogIndex(1),
            hint: last,
        }),
        heartbeat(0),
        Body::HeartbeatResponse { round: 0, last_index: LogIndex(0) },
        Body::InstallSnapshot { mark: mark.into() },
        Body::InstallSnapshotResponse { match_index: LogIndex(0) },
        Body::Quiesce { last, commit_index: LogIndex(0) },
        Body::TimeoutNow { lease_ended: false },
        Body::ReadIndex { context: 1, replied: false },
        Body::ReadIndexResponse { context: 1, index: None },
        Body::Pull { prev: EntryId::default() },
        Body::PullResponse {
            prev: EntryId::default(),
            commit_index: LogIndex(0),
            entries: Entries::new(),
        },
    ]
}

/// Raft §5.1: "If one server's current term is smaller than the other's, then it updates its
/// current term to the larger value", and its vote in it is nobody's. But a pre-vote is about a
/// term that nobody has begun, and who hears a leader is not to be disturbed.
#[test]
fn whatever_is_of_a_higher_term_ends_a_reign() {
    for is_sticky in [false, true] {
        for body in all_bodies() {
            let voters = Configuration::of_voters((1..=3).map(NodeId));
            let mut cluster = Cluster::with(3, &voters, |options| {
                (options.pre_vote, options.check_quorum) = (is_sticky, is_sticky);
            });
            cluster.elect(1);
            let term = cluster.node(1).term().next();
            cluster.deliver(Message::new(id(2), id(1), term, body.clone()));
            let after = cluster.status(1);
            let is_of_no_term_yet =
                matches!(body, Body::PreVote { .. } | Body::PreVoteResponse { granted: true });
            let is_disturbance =
                is_sticky && matches!(body, Body::RequestVote { leadership_transfer: false, .. });
            let leads = is_of_no_term_yet || is_disturbance;
            assert_eq!(after.role == Role::Leader, leads, "{body:?} is {leads} to let it lead");
            // The target of a transfer goes one further, and who is asked may vote.
            let expected = if leads { Term(term.0 - 1) } else { term };
            let goes_further = matches!(body, Body::TimeoutNow { .. });
            assert!(after.hard_state.current_term == expected || goes_further, "{body:?}");
            let may_vote = leads || goes_further || matches!(body, Body::RequestVote { .. });
            assert!(after.hard_state.voted_for.is_none() || may_vote, "{body:?}: {after:?}");
        }
    }
}

/// There is one leader in a term, and what another one says in it is a fault of that one's.
#[test]
fn nobody_but_the_leader_of_the_term_is_followed() {
    let entries = vec![Entry { id: EntryId::new(1, 2), payload: Payload::Command("x".into()) }];
    let prev = EntryId::new(1, 1);
    let append = Body::AppendEntries {
        prev,
        commit_index: LogIndex(2),
        session: 0,
        entries: entries.into(),
    };
    let claims = all_bodies().into_iter().chain([append, heartbeat(1)]).filter(|body| {
        matches!(
            body,
            Body::AppendEntries { .. }
                | Body::CommitIndex { .. }
                | Body::Heartbeat { .. }
                | Body::Quiesce { .. }
                | Body::InstallSnapshot { .. }
        )
    });
    let mut met = 0;
    for body in claims {
        let mut cluster = Cluster::new(3);
        cluster.elect(1);
        let term = cluster.node(2).term();
        cluster.network.clear();
        let before = cluster.status_line(2);
        cluster.deliver(Message::new(id(3), id(2), term, body.clone()));
        let faults = cluster.status(2).peer_faults;
        assert_eq!((cluster.status_line(2), faults.total()), (before, 1), "{body:?}");
        assert_eq!(cluster.network, [], "{body:?} is not answered");
        assert_eq!(cluster.node(2).leader(), Some(id(1)));
        met += 1;
    }
    assert_eq!(met, 7);
}

/// A heartbeat's commit index is the leader's up to what this node is known to hold: once this life
/// has seen that the logs match, it is taken whole, or it is a fault (L9).
#[test]
fn a_heartbeat_commits_what_it_says_or_nothing() {
    for len in 0..=3 {
        for commit in 0..=5 {
            let mut cluster = Cluster::new(3);
            cluster.load(2, 1, &vec![1; len]);
            let prev = EntryId::new(u64::from(len > 0), len as u64);
            let probe = Body::AppendEntries {
                prev,
                commit_index: LogIndex(0),
                session: 0,
                entries: Vec::new().into(),
            };
            cluster.deliver(Message::new(id(1), id(2), Term(1), probe));
            cluster.deliver(Message::new(id(1), id(2), Term(1), heartbeat(commit)));
            let status = cluster.status(2);
            let is_there = commit <= len as u64;
            let expected = if is_there { commit } else { 0 };
            assert_eq!(status.commit_index, LogIndex(expected), "{commit} of {len}");
            assert_eq!(status.peer_faults.total() == 0, is_there, "{commit} of {len}");
        }
    }
}

/// Thesis §6.2: for every group of one to six and every set of them that the leader hears, it goes
/// on if they are a quorum, and steps down if not.
#[test]
fn a_leader_stays_exactly_with_a_quorum() {
    for nodes in 1..=6_u64 {
        for set in 0..1_u32 << (nodes - 1) {
            let mut cluster = Cluster::new(nodes);
            if nodes > 1 {
                cluster.elect(1);
            }
            let heard: Vec<u64> = (2..=nodes).filter(|node| set & 1 << (node - 2) != 0).collect();
            cluster.isolated = (2..=nodes).filter(|node| !heard.contains(node)).collect();
            for _ in 0..3 * options(1).election_timeout_ticks {
                cluster.tick(1, 1);
                cluster.stabilize();
            }
            let has_quorum = (heard.len() as u64 + 1) * 2 > nodes;
            let leads = cluster.node(1).role() == Role::Leader;
            assert_eq!(leads, has_quorum, "1 of {nodes} hears {heard:?}");
        }
    }
}

/// M12: a member that says "you were removed" may be mistaken; two are not, and neither is the only
/// other one. For every group and every set of members that say so.
#[test]
fn one_word_of_many_ends_nobody() {
    for nodes in 2..=5_u64 {
        for set in 0..1_u32 << (nodes - 1) {
            let mut cluster = Cluster::new(nodes);
            cluster.elect(2);
            // Something was committed that node 1 has not heard of.
            cluster.committed_max = LogIndex(9);
            let voters = Configuration::of_voters((2..=nodes).map(NodeId));
            let configuration = Configuration { removed: vec![id(1)], ..voters };
            let mark = SnapshotMark { last: EntryId::new(1, 9), configuration };
            let claims: Vec<u64> = (2..=nodes).filter(|node| set & 1 << (node - 2) != 0).collect();
            for claim in &claims {
                let incarnation = cluster.members[&1].options.incarnation;
                let body = Body::Removed { by: mark.clone().into(), incarnation };
                let now = cluster.members[&1].now;
                let message = Message::new(id(*claim), id(1), Term(1), body);
                cluster.act(1, |raft| raft.handle(now, Input::Message(message)));
            }
            let is_enough = claims.len() >= 2 || nodes == 2 && claims.len() == 1;
            let is_out = cluster.members[&1].removed_by.is_some();
            assert_eq!(is_out, is_enough, "{claims:?} of {nodes} say so");
        }
    }
}
