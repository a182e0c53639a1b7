//! Every record survives the wire, and nothing that is no record does harm.

use bytes::{Bytes, BytesMut};
use env::SplitMix;
use raft::{
    AppendOutcome, Body as Rpc, ChangeError, Configuration, ConfigurationChange, Entry, EntryId,
    Incarnation, LeaseChange, LeaseTerms, LogIndex, MemberChange, Message, NodeId, Payload,
    QuorumRule, RuleFault, SnapshotMark, Term,
};
use wal::GroupId;

use crate::errands::{Errand, ErrandAnswer, GroupReport, MemberReport};
use crate::frame::{FRAME_VERSION, FrameHeader};
use crate::peers::GroupConfiguration;

use super::{Body, Record, SnapshotAck, SnapshotChunk, decode, encode};

const FROM: NodeId = NodeId(1);
const TO: NodeId = NodeId(2);

fn mark() -> SnapshotMark {
    let configuration = Configuration {
        voters: [FROM, TO].into(),
        outgoing: [TO, NodeId(3)].into(),
        learners: [NodeId(9)].into(),
        ..Configuration::default()
    };
    SnapshotMark { last: EntryId::new(4, 70), configuration }
}

fn entries() -> Vec<Entry> {
    let payloads = [
        Payload::Noop,
        Payload::Withheld,
        Payload::Command(Bytes::from_static(b"put a b")),
        Payload::Command(Bytes::new()),
        Payload::Configuration(mark().configuration.into()),
    ];
    let entry = |(at, payload)| Entry { id: EntryId::new(5, 71 + at), payload };
    (0_u64..).zip(payloads).map(entry).collect()
}

fn rpcs() -> Vec<Rpc> {
    let last = EntryId::new(3, 12);
    vec![
        Rpc::PreVote { last },
        Rpc::PreVoteResponse { granted: true },
        Rpc::RequestVote { last, leadership_transfer: true },
        Rpc::RequestVoteResponse { granted: false },
        Rpc::AppendEntries {
            prev: mark().last,
            commit_index: LogIndex(69),
            session: 6,
            entries: entries().into(),
        },
        Rpc::AppendEntries {
            prev: last,
            commit_index: LogIndex(0),
            session: 0,
            entries: raft::Entries::new(),
        },
        Rpc::AppendEntriesResponse(AppendOutcome::Accepted {
            session: 6,
            match_index: LogIndex(8),
        }),
        Rpc::AppendEntriesResponse(AppendOutcome::Rejected {
            session: 7,
            prev_index: LogIndex(9),
            hint: last,
        }),
        Rpc::CommitIndex { prev: last, commit_index: LogIndex(7), session: 9 },
        Rpc::Heartbeat { commit_index: LogIndex(7), round: 3 },
        Rpc::HeartbeatResponse { round: 3, last_index: LogIndex(11) },
        Rpc::InstallSnapshot { mark: mark().into() },
        Rpc::InstallSnapshotResponse { match_index: LogIndex(70) },
        Rpc::Quiesce { last, commit_index: LogIndex(9) },
        Rpc::TimeoutNow { lease_ended: false },
        Rpc::TimeoutNow { lease_ended: true },
        Rpc::ReadIndex { context: u64::MAX, replied: false },
        Rpc::ReadIndex { context: 1, replied: true },
        Rpc::ReadIndexResponse { context: 1, index: Some(LogIndex(5)) },
        Rpc::ReadIndexResponse { context: 1, index: None },
        Rpc::Pull { prev: last },
        Rpc::PullResponse { prev: last, commit_index: LogIndex(9), entries: raft::Entries::new() },
        Rpc::Removed { by: mark().into(), incarnation: Incarnation(3) },
    ]
}

fn records() -> Vec<Body> {
    let term = Term(6);
    let mut all: Vec<Body> = rpcs()
        .into_iter()
        .map(|body| {
            Body::Raft(Message {
                incarnation: Incarnation(77),
                ..Message::new(FROM, TO, term, body)
            })
        })
        .collect();
    let commands = vec![Bytes::from_static(b"one"), Bytes::new()];
    all.extend([
        Body::Forward { term, commands },
        Body::ForwardRefused { term, overloaded: true, numbers: vec![1, u64::MAX] },
        Body::Call { number: 8, request: Bytes::from_static(b"?") },
        Body::CallAnswer { number: 8, answer: Bytes::from_static(b"!") },
        Body::SnapshotChunk(SnapshotChunk {
            term,
            transfer: 2,
            mark: mark().into(),
            total_bytes: 1 << 40,
            checksum_so_far: 0xdead_beef,
            offset: 1 << 30,
            bytes: Bytes::from_static(b"piece"),
        }),
        Body::SnapshotAck(SnapshotAck { transfer: 2, next_offset: 5, complete: true }),
    ]);
    let errand = |errand| Body::Errand { term: Some(Term(2)), number: 4, errand };
    let rule = Some(QuorumRule::Majority);
    let ruled = ConfigurationChange { rule, ..ConfigurationChange::default() };
    all.push(errand(Errand::Change(Box::new(ruled))));
    let lease = LeaseChange::Set(LeaseTerms::monotonic(900_000, 100));
    let leased = ConfigurationChange { lease, ..ConfigurationChange::default() };
    all.push(errand(Errand::Change(Box::new(leased))));
    all.extend([errand(Errand::Report), errand(Errand::Change(Box::new(change())))]);
    all.extend(
        answers().into_iter().map(|answer| Body::ErrandAnswer { number: 4, answer: answer.into() }),
    );
    all
}

fn change() -> ConfigurationChange {
    ConfigurationChange {
        members: vec![
            MemberChange::AddVoter(NodeId(7)),
            MemberChange::AddLearner(NodeId(8)),
            MemberChange::Promote(NodeId(9)),
            MemberChange::Demote(TO),
            MemberChange::Remove(FROM),
            MemberChange::AddWitness(NodeId(10)),
        ],
        attributes: [(NodeId(7), Bytes::from_static(b"at h"))].into(),
        expected: Some(mark().configuration),
        allow_stall: true,
        lease: LeaseChange::End,
        rule: Some(QuorumRule::Flexible { election: 3, commit: 2 }),
        feeders: [(FROM, None), (TO, Some(FROM))].into(),
        ..ConfigurationChange::default()
    }
}

fn answers() -> Vec<ErrandAnswer> {
    let refusals = [
        ChangeError::NothingToAbandon,
        ChangeError::OnlyWitnesses,
        ChangeError::CannotFeed { learner: TO, feeder: FROM },
        ChangeError::LeaseOutOfBounds { duration_us: 1 },
        ChangeError::Rule { fault: RuleFault::NotNamed { node: TO } },
        ChangeError::Rule { fault: RuleFault::QuorumsApart { voters: 4 } },
        ChangeError::NotLeader { leader_id: None },
        ChangeError::NotLeader { leader_id: Some(TO) },
        ChangeError::TransferInProgress { to: TO },
        ChangeError::TermNotCommitted,
        ChangeError::InProgress { index: LogIndex(3) },
        ChangeError::Unexpected { index: LogIndex(3) },
        ChangeError::Empty,
        ChangeError::NamedTwice { node: TO },
        ChangeError::DoesNotFit { change: MemberChange::Promote(TO) },
        ChangeError::NoMember { node: TO },
        ChangeError::NoVoters,
        ChangeError::LearnerLags { learner: TO, match_index: LogIndex(4) },
        ChangeError::WouldStall { holding: 1, voters: 3 },
        ChangeError::WasRemoved { node: TO },
    ];
    let configuration = GroupConfiguration {
        index: LogIndex(9),
        is_committed: true,
        configuration: mark().configuration,
    };
    let member = |silent_ms| MemberReport {
        id: TO,
        match_index: LogIndex(5),
        silent_ms,
        needs_snapshot: silent_ms.is_none(),
        is_slow: silent_ms.is_some(),
        counts: silent_ms.is_some(),
    };
    let report = GroupReport {
        leader_id: FROM,
        term: Term(3),
        last_index: LogIndex(8),
        commit_index: LogIndex(7),
        configuration: configuration.clone(),
        members: vec![member(Some(20)), member(None)],
        unguarded: vec![FROM, TO],
    };
    let mut all: Vec<_> = refusals.into_iter().map(ErrandAnswer::Refused).collect();
    all.extend([
        ErrandAnswer::NotLeader,
        ErrandAnswer::Changed(configuration),
        ErrandAnswer::Report(report),
    ]);
    all
}

fn encoded(version: u8, bodies: &[Body]) -> Bytes {
    let mut out = BytesMut::new();
    bodies.iter().for_each(|body| encode(&mut out, version, GroupId(3), body));
    out.freeze()
}

fn decoded(version: u8, input: &mut Bytes) -> Option<Record> {
    let (stream, cluster_id, life, sequence) = (0, 1, 1, 1);
    let (from, to) = (FROM, TO);
    decode(&FrameHeader { version, stream, cluster_id, from, to, life, sequence }, input)
}

/// What whoever speaks version 2 makes of a record.
fn in_version_2(mut body: Body) -> Body {
    if let Body::Errand { term, .. } = &mut body {
        *term = None;
    } else if let Body::Raft(message) = &mut body
        && let Rpc::CommitIndex { prev, commit_index, session } = message.body
    {
        let entries = raft::Entries::new();
        message.body = Rpc::AppendEntries { prev, commit_index, session, entries };
    }
    body
}

#[test]
fn every_record_comes_back_as_it_was() {
    let all = records();
    let mut input = encoded(FRAME_VERSION, &all);
    for body in all {
        let record = decoded(FRAME_VERSION, &mut input).expect("a whole record");
        assert_eq!(record, Record { group: GroupId(3), body });
    }
    assert!(input.is_empty());
}

#[test]
fn every_record_comes_through_version_2_as_that_can_say_it() {
    let all = records();
    let mut input = encoded(2, &all);
    for body in all {
        let record = decoded(2, &mut input).expect("a whole record");
        assert_eq!(record, Record { group: GroupId(3), body: in_version_2(body) });
    }
    assert!(input.is_empty());
}

#[test]
fn version_2_has_no_news_of_a_commit() {
    let body = Rpc::CommitIndex { prev: mark().last, commit_index: LogIndex(1), session: 2 };
    let news = Body::Raft(Message::new(FROM, TO, Term(2), body));
    let mut input = encoded(FRAME_VERSION, &[news]);
    assert_eq!(decoded(2, &mut input), None);
}

#[test]
fn golden_bytes_of_versions_2_and_3() {
    let message = |body| {
        let message = Message::new(FROM, TO, Term(2), body);
        Body::Raft(Message { incarnation: Incarnation(5), ..message })
    };
    let check_in = |version, body: &Body, expect: &str| {
        let bytes = encoded(version, std::slice::from_ref(body));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expect, "version {version}");
    };
    let check = |body: Body, expect: &str| [2, 3].iter().for_each(|v| check_in(*v, &body, expect));
    let head = "010300000000000000";
    let (one, two) = ("0100000000000000", "0200000000000000");
    let five = "0500000000000000";
    let last = EntryId::new(2, 1);
    check(
        message(Rpc::RequestVote { last, leadership_transfer: false }),
        &format!("{head}03{two}{five}{two}{one}00"),
    );
    check(
        message(Rpc::AppendEntries {
            prev: last,
            commit_index: LogIndex(1),
            session: 2,
            entries: raft::Entries::new(),
        }),
        &format!("{head}05{two}{five}{two}{one}{one}{two}00000000"),
    );
    let accepted = AppendOutcome::Accepted { session: 2, match_index: LogIndex(1) };
    check(message(Rpc::AppendEntriesResponse(accepted)), &format!("{head}06{two}{five}{two}{one}"));
    let rejected = AppendOutcome::Rejected { session: 2, prev_index: LogIndex(1), hint: last };
    check(
        message(Rpc::AppendEntriesResponse(rejected)),
        &format!("{head}07{two}{five}{two}{one}{two}{one}"),
    );
    check(
        message(Rpc::Quiesce { last, commit_index: LogIndex(1) }),
        &format!("{head}0f{two}{five}{two}{one}{one}"),
    );
    let news = message(Rpc::CommitIndex { prev: last, commit_index: LogIndex(1), session: 2 });
    check_in(3, &news, &format!("{head}15{two}{five}{two}{one}{one}{two}"));
    check_in(2, &news, &format!("{head}05{two}{five}{two}{one}{one}{two}00000000"));
    let entries = raft::Entries::new();
    check(
        message(Rpc::PullResponse { prev: last, commit_index: LogIndex(1), entries }),
        &format!("{head}14{two}{five}{two}{one}{one}00000000"),
    );
    check(message(Rpc::Pull { prev: last }), &format!("{head}13{two}{five}{two}{one}"));
    check(
        message(Rpc::Heartbeat { commit_index: LogIndex(1), round: 2 }),
        &format!("{head}08{two}{five}{one}{two}"),
    );
    check(message(Rpc::TimeoutNow { lease_ended: false }), &format!("{head}0c{two}{five}"));
    check(message(Rpc::TimeoutNow { lease_ended: true }), &format!("{head}12{two}{five}"));
    for (replied, kind) in [(false, "0d"), (true, "11")] {
        let read = message(Rpc::ReadIndex { context: 1, replied });
        check(read, &format!("{head}{kind}{two}{five}{one}"));
    }
    let members = vec![MemberChange::Promote(TO)];
    let change = ConfigurationChange { members, ..ConfigurationChange::default() };
    let errand = Errand::Change(Box::new(change));
    let errand = Body::Errand { term: Some(Term(2)), number: 1, errand };
    let said = format!("{one}000100000002{two}0000000000000000000000");
    check_in(3, &errand, &format!("080300000000000000{two}{said}"));
    check_in(2, &errand, &format!("080300000000000000{said}"));
    let lags = ChangeError::LearnerLags { learner: TO, match_index: LogIndex(1) };
    check(
        Body::ErrandAnswer { number: 1, answer: ErrandAnswer::Refused(lags).into() },
        &format!("090300000000000000{one}020a{two}{one}"),
    );
}

#[test]
fn a_record_that_is_cut_short_is_refused() {
    for body in records() {
        for version in [2, 3] {
            let whole = encoded(version, std::slice::from_ref(&body));
            for length in 0..whole.len() {
                let mut input = whole.slice(..length);
                assert_eq!(decoded(version, &mut input), None, "{body:?} cut to {length} bytes");
            }
        }
    }
}

#[test]
fn damaged_records_do_no_harm() {
    // The checksum of a frame keeps damage out. What a hostile peer writes has a good checksum:
    // it may decode to something else, and must not panic or allocate beyond what it sent.
    let whole = encoded(FRAME_VERSION, &records());
    let mut dice = SplitMix::new(1);
    for _ in 0..20_000 {
        let mut bytes = whole.to_vec();
        for _ in 0..=dice.below(4) {
            let at = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
            bytes[at] = dice.next_u64().to_le_bytes()[0];
        }
        let mut input = Bytes::from(bytes);
        while decoded(FRAME_VERSION, &mut input).is_some() && !input.is_empty() {}
    }
}
