//! Encodings: byte for byte, there and back, and against hostile input.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use proptest::prelude::*;
use raft::QuorumRule;
use raft::quorum::hierarchy::{DEPTH_MAX, Part};

use raft::{ClockInterval, ConflictKeys, Incarnation, KeyedCommand, LeaseTerms};

use super::*;
use crate::record::{Kind, Record};

fn full_record() -> Record {
    Record {
        is_first: false,
        cut_from: 9,
        mark: Some(MarkWrite { mark: mark_of(2, 8).into(), reset: true }),
        hard_state: Some(HardState { current_term: Term(3), voted_for: Some(NodeId(2)) }),
        entries: vec![
            Entry { id: EntryId::new(3, 9), payload: Payload::Noop },
            Entry {
                id: EntryId::new(3, 10),
                payload: Payload::Command(Bytes::from_static(b"x=1")),
            },
            Entry {
                id: EntryId::new(3, 11),
                payload: Payload::Configuration(
                    Configuration {
                        voters: [NodeId(1), NodeId(2)].into(),
                        outgoing: [NodeId(1)].into(),
                        learners: [NodeId(7)].into(),
                        ..Configuration::default()
                    }
                    .into(),
                ),
            },
        ],
        ..Record::of(Kind::Persist, GroupId(5))
    }
}

const GOLDEN: [&str; 13] = [
    "01011e00050000000000000009000000",
    "00000000020000000000000008000000",
    "00000000030000000100000000000000",
    "02000000000000000b00000000000000",
    "00000000000000000300000000000000",
    "01020000000000000003000000030000",
    "00000000000900000000000000000000",
    "000003000000000000000a0000000000",
    "00000103000000783d31030000000000",
    "00000b00000000000000022c00000002",
    "00000001000000000000000200000000",
    "00000001000000010000000000000001",
    "0000000700000000000000",
];

/// A configuration with extensions, byte for byte.
#[test]
fn golden_extensions() {
    let configuration = Configuration {
        attributes: [(NodeId(2), Bytes::from_static(b"ab"))].into(),
        witnesses: [NodeId(2)].into(),
        removed: vec![NodeId(9), NodeId(4)],
        incarnations: [(NodeId(1), Incarnation(7))].into(),
        lease: Some(LeaseTerms::monotonic(3, 5)),
        ..Configuration::of_voters([NodeId(1), NodeId(2)])
    };
    let mut out = BytesMut::new();
    codec::put_configuration(&mut out, &configuration);
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = concat!(
        "02000080",
        "0100000000000000",
        "0200000000000000",
        "00000000",
        "00000000",
        "5c000000",
        "010e000000",
        "0200000000000000",
        "020000006162",
        "0208000000",
        "0200000000000000",
        "0310000000",
        "0900000000000000",
        "0400000000000000",
        "0410000000",
        "0100000000000000",
        "0700000000000000",
        "060d000000",
        "0300000000000000",
        "0500000000"
    );
    assert_eq!(hex, golden);
    let mut bytes = out.to_vec();
    bytes[28] = 200;
    assert_eq!(codec::take_configuration(&mut bytes.into()), None, "an extension of the future");
}

/// A lease that says when it was appended, and terms of such leases, byte for byte.
#[test]
fn golden_lease_by_clock() {
    let at = ClockInterval { earliest_us: 3, latest_us: 4 };
    let mut out = BytesMut::new();
    codec::put_entry(&mut out, &Entry { id: EntryId::new(1, 2), payload: Payload::Lease(at) });
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = "01000000000000000200000000000000041000000003000000000000000400000000000000";
    assert_eq!(hex, golden);
    let mut backwards = out.to_vec();
    backwards[21] = 5;
    assert_eq!(codec::take_entry(&mut backwards.into()), None, "later than its latest");

    let lease = Some(LeaseTerms::declared(9, 5, 4));
    let configuration = Configuration { lease, ..Configuration::of_voters([NodeId(1)]) };
    let mut out = BytesMut::new();
    codec::put_configuration(&mut out, &configuration);
    let hex: String = out[24..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, concat!("0611000000", "0900000000000000", "05000000", "01", "04000000"));
    assert_eq!(codec::take_configuration(&mut out.clone().freeze()), Some(configuration));
    let mut another = out.to_vec();
    another[41] = 2;
    assert_eq!(codec::take_configuration(&mut another.into()), None, "a clock of the future");
}

/// A command that says what it touches, byte for byte.
#[test]
fn golden_command_with_keys() {
    let keys = ConflictKeys::of([8, 7]).expect("few");
    let payload = Payload::Keyed(KeyedCommand { keys, command: "ab".into() }.into());
    let mut out = BytesMut::new();
    codec::put_entry(&mut out, &Entry { id: EntryId::new(1, 2), payload });
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = concat!(
        "0100000000000000",
        "0200000000000000",
        "05",
        "16000000",
        "02000000",
        "0700000000000000",
        "0800000000000000",
        "6162"
    );
    assert_eq!(hex, golden);
    for (place, byte) in [(21, 3), (24, 1), (33, 7)] {
        let mut wrong = out.to_vec();
        wrong[place] = byte;
        assert_eq!(codec::take_entry(&mut wrong.into()), None, "byte {place} is {byte}");
    }
}

/// Who is fed by whom, byte for byte: the value of extension 7. Learners ascend, each named once.
#[test]
fn golden_feeders() {
    let configuration = Configuration {
        learners: [NodeId(2), NodeId(3)].into(),
        feeders: [(NodeId(2), NodeId(1)), (NodeId(3), NodeId(2))].into(),
        ..Configuration::of_voters([NodeId(1)])
    };
    let mut out = BytesMut::new();
    codec::put_configuration(&mut out, &configuration);
    let number = |number: u8| format!("{number:02x}00000000000000");
    let (one, two, three) = (number(1), number(2), number(3));
    let head = format!("01000080{one}0000000002000000{two}{three}250000000720000000");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&out), format!("{head}{two}{one}{three}{two}"));
    let behind = out.len() - 16;
    let mut doubled = out.clone();
    doubled[behind] = 2;
    assert_eq!(codec::take_configuration(&mut doubled.freeze()), None, "node 2 is named twice");
    assert_eq!(codec::take_configuration(&mut out.freeze()), Some(configuration));
}

/// Who is preferred, byte for byte: the value of extension 8. Nodes ascend, and none has nothing.
/// Who knows of no such extension refuses it: for a reader of before that was every tag above 7.
#[test]
fn golden_priorities() {
    let configuration = Configuration {
        priorities: [(NodeId(1), 9), (NodeId(2), 258)].into(),
        ..Configuration::of_voters([NodeId(1), NodeId(2)])
    };
    let mut out = BytesMut::new();
    codec::put_configuration(&mut out, &configuration);
    let number = |number: u8| format!("{number:02x}00000000000000");
    let (one, two) = (number(1), number(2));
    let head = format!("02000080{one}{two}00000000000000001d0000000818000000");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&out), format!("{head}{one}09000000{two}02010000"));
    let value = out.len() - 24;
    for (place, byte, why) in [
        (value - 5, 9, "there is no extension 9"),
        (value + 8, 0, "0 is not written"),
        (value + 12, 1, "node 1 is named twice"),
    ] {
        let mut wrong = out.clone();
        wrong[place] = byte;
        assert_eq!(codec::take_configuration(&mut wrong.freeze()), None, "{why}");
    }
    assert_eq!(codec::take_configuration(&mut out.freeze()), Some(configuration));
}

/// Every quorum rule, byte for byte: the value of extension 5.
#[test]
fn golden_quorum_rules() {
    let check = |rule: QuorumRule, outgoing_rule: QuorumRule, golden: &str| {
        let configuration = Configuration {
            outgoing: [NodeId(1)].into(),
            rule,
            outgoing_rule,
            ..Configuration::of_voters([NodeId(1)])
        };
        let mut out = BytesMut::new();
        codec::put_configuration(&mut out, &configuration);
        let hex: String = out[28..].iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = golden.len() / 2;
        assert_eq!(hex, format!("{:02x}00000005{bytes:02x}000000{golden}", bytes + 5));
        assert_eq!(codec::take_configuration(&mut out.freeze()), Some(configuration));
    };
    let flexible = QuorumRule::Flexible { election: 3, commit: 2 };
    let golden = "020300000002000000";
    check(flexible.clone(), QuorumRule::Majority, &format!("{golden}00"));
    check(QuorumRule::Majority, flexible, &format!("00{golden}"));
    let even = QuorumRule::EvenSet { extra: [NodeId(7)].into() };
    check(even.clone(), even, &"01010000000700000000000000".repeat(2));
    let mut parts = vec![Part::Voter { node: NodeId(2), weight: 9 }];
    let golden = "03010000000900000000020000000000000000";
    check(QuorumRule::Hierarchy(parts.clone()), QuorumRule::Majority, golden);
    parts.push(Part::Group { parts: parts.clone(), weight: 1 });
    let golden = concat!(
        "0302000000",
        "09000000000200000000000000",
        "010000000101000000",
        "09000000000200000000000000",
        "00"
    );
    check(QuorumRule::Hierarchy(parts), QuorumRule::Majority, golden);
}

/// Groups within groups without an end are no way to make a reader recurse.
#[test]
fn rules_that_are_too_deep_are_refused() {
    let nested = |depth: usize| {
        (1..depth).fold(vec![Part::Voter { node: NodeId(1), weight: 1 }], |parts, _| {
            vec![Part::Group { parts, weight: 1 }]
        })
    };
    let accepted = |depth| {
        let rule = QuorumRule::Hierarchy(nested(depth));
        let mut out = BytesMut::new();
        let configuration = Configuration { rule, ..Configuration::of_voters([NodeId(1)]) };
        codec::put_configuration(&mut out, &configuration);
        codec::take_configuration(&mut out.freeze()) == Some(configuration)
    };
    assert!(accepted(DEPTH_MAX));
    assert!(!accepted(DEPTH_MAX + 1));
    assert!(!accepted(500));
}

fn encoded(record: &Record) -> Bytes {
    let mut out = BytesMut::new();
    record.encode(&mut out);
    out.freeze()
}

/// Record format 1, byte for byte. A change of this test is a change of the format.
#[test]
fn golden_record() {
    let hex = |record: &Record| {
        encoded(record)
            .chunks(16)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect::<Vec<String>>()
    };
    assert_eq!(hex(&full_record()), GOLDEN);
    assert_eq!(
        hex(&Record::of(Kind::State, GroupId(1))),
        ["01020300010000000000000000000000", "0000000000000000"]
    );
    let kinds = [Kind::Persist, Kind::State, Kind::Copy, Kind::Remove];
    assert_eq!(kinds.map(|kind| encoded(&Record::of(kind, GroupId(1)))[1]), [1, 2, 3, 4]);
}

/// A record that is cut anywhere, or has a byte too many, is refused.
#[test]
fn cut_and_extended_records_are_refused() {
    let bytes = encoded(&full_record());
    for len in 0..bytes.len() {
        assert_eq!(Record::decode(bytes.slice(..len)), None, "cut to {len}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(Record::decode(longer.into()), None);
}

/// Indexes that no log reaches, and entries that are not in a row.
#[test]
fn impossible_indexes_are_refused() {
    let entry = |index| Entry { id: EntryId::new(1, index), payload: Payload::Noop };
    let decode = |entries: Vec<Entry>, mark: u64| {
        let mark = Some(MarkWrite { mark: mark_of(1, 0).into(), reset: false }).map(|mut write| {
            write.mark.last.index = LogIndex(mark);
            write
        });
        let record = Record { entries, mark, ..Record::of(Kind::Persist, GroupId(1)) };
        Record::decode(encoded(&record)) == Some(record)
    };
    assert!(decode(vec![entry(1), entry(2)], u64::MAX - 1));
    assert!(!decode(vec![entry(1), entry(3)], 1));
    assert!(!decode(vec![entry(0)], 1));
    assert!(!decode(vec![entry(u64::MAX)], 1));
    assert!(!decode(vec![], u64::MAX));
}

/// Counts that promise more than there is are refused before anything is allocated for them.
#[test]
fn counts_beyond_the_bytes_are_refused() {
    let mut bytes = encoded(&Record::of(Kind::Copy, GroupId(1))).to_vec();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Record::decode(bytes.into()), None);
    let mut nodes = Bytes::from(vec![0xff; 20]);
    assert_eq!(codec::take_configuration(&mut nodes), None);
    let mut command = BytesMut::new();
    codec::put_entry(&mut command, &entry(1, 1));
    command[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(codec::take_entry(&mut command.freeze()), None);
}

fn rule(number: usize, voters: &BTreeSet<NodeId>) -> QuorumRule {
    match number {
        0 | 1 => QuorumRule::Majority,
        2 => QuorumRule::EvenSet { extra: voters.clone() },
        3 => QuorumRule::Flexible { election: 3, commit: u32::MAX },
        _ => QuorumRule::grouped([voters.clone(), voters.clone()]),
    }
}

/// Every fifth voter is preferred.
fn preferred(plain: &Configuration) -> BTreeMap<NodeId, u32> {
    plain.voters.iter().filter(|node| node.0 % 5 == 0).map(|node| (*node, 7)).collect()
}

fn configurations() -> impl Strategy<Value = Configuration> {
    let nodes = || prop::collection::btree_set((1_u64..20).prop_map(NodeId), 0..5);
    (nodes(), nodes(), nodes()).prop_map(|(voters, outgoing, learners)| {
        let learners: BTreeSet<NodeId> = learners.difference(&voters).copied().collect();
        // Every other node has attributes, so that both forms are written.
        let attributes = voters.iter().filter(|node| node.0 % 2 == 0);
        let bytes = |node: &NodeId| vec![1; usize::try_from(node.0).expect("few nodes") - 2];
        let attributes = attributes.map(|node| (*node, Bytes::from(bytes(node))));
        let attributes: BTreeMap<NodeId, Bytes> = attributes.collect();
        let incarnations = voters.iter().filter(|node| node.0 % 3 == 0);
        let incarnations = incarnations.map(|node| (*node, Incarnation(node.0))).collect();
        let (rule, outgoing_rule) = (rule(learners.len(), &voters), rule(outgoing.len(), &voters));
        let plain = Configuration { voters, outgoing, learners, ..Configuration::default() };
        // In order of removal, which is no order of ids.
        let removed = (4..12).rev().step_by(4).map(NodeId);
        let removed = removed.filter(|node| !plain.contains(*node)).collect();
        // Each of the four lists of nodes is of a few, so this is as good as a die.
        let lease = match attributes.len() % 3 {
            0 => None,
            1 => Some(LeaseTerms::monotonic(1_000_000, 500)),
            _ => Some(LeaseTerms::declared(1_000_000, 500, 7000)),
        };
        let witnesses = plain.voters.iter().copied().filter(|node| node.0 % 4 == 0).collect();
        let feeders = plain.learners.iter().map(|node| (*node, NodeId(node.0 + 1))).collect();
        let priorities = preferred(&plain);
        let plain = Configuration { rule, outgoing_rule, feeders, priorities, ..plain };
        Configuration { attributes, witnesses, removed, incarnations, lease, ..plain }
    })
}

fn payloads() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Noop),
        Just(Payload::Withheld),
        (any::<u64>(), any::<u64>()).prop_map(|(one, other)| {
            let (earliest_us, latest_us) = (one.min(other), one.max(other));
            Payload::Lease(ClockInterval { earliest_us, latest_us })
        }),
        prop::collection::vec(any::<u8>(), 0..100)
            .prop_map(|bytes| Payload::Command(Bytes::from(bytes))),
        (prop::collection::vec(any::<u64>(), 0..5), prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(keys, command)| {
                let keys = ConflictKeys::of(keys).expect("few");
                Payload::Keyed(KeyedCommand { keys, command: command.into() }.into())
            }),
        configurations().prop_map(|configuration| Payload::Configuration(configuration.into())),
    ]
}

proptest! {
    #![proptest_config(random(256))]

    #[test]
    fn entry_there_and_back(term: u64, index: u64, payload in payloads(), rest: Vec<u8>) {
        let entry = Entry { id: EntryId::new(term, index), payload };
        let mut out = BytesMut::new();
        codec::put_entry(&mut out, &entry);
        prop_assert_eq!(out.len(), codec::entry_bytes(&entry));
        out.extend_from_slice(&rest);
        let mut input = out.freeze();
        prop_assert_eq!(codec::take_entry(&mut input), Some(entry));
        prop_assert_eq!(input.as_ref(), rest.as_slice());
    }

    #[test]
    fn mark_and_hard_state_there_and_back(
        term: u64, index: u64, configuration in configurations(), vote: Option<u64>,
    ) {
        let mark = SnapshotMark { last: EntryId::new(term, index), configuration };
        let state = HardState { current_term: Term(term), voted_for: vote.map(NodeId) };
        let mut out = BytesMut::new();
        codec::put_mark(&mut out, &mark);
        codec::put_hard_state(&mut out, state);
        let mut input = out.freeze();
        prop_assert_eq!(codec::take_mark(&mut input), Some(mark));
        prop_assert_eq!(codec::take_hard_state(&mut input), Some(state));
        prop_assert!(input.is_empty());
    }

    /// Whatever is accepted is exactly what would have been written.
    #[test]
    fn hostile_bytes_are_refused_or_canonical(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        from_real: bool,
    ) {
        if from_real {
            bytes = encoded(&full_record()).to_vec();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        if let Some(record) = Record::decode(Bytes::from(bytes.clone())) {
            prop_assert_eq!(encoded(&record), bytes);
        }
    }
}
