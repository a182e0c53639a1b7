mod accidents;
mod bytes_on_disk;
mod folder;
mod model;
mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use env::mem::MemDisk;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use raft::{
    Configuration, Entry, EntryId, HardState, LogIndex, MarkWrite, NodeId, Payload, PersistNumber,
    SnapshotMark, Term,
};

use std::io;

use super::*;

const DIR: &str = "/wal";

fn small() -> WalOptions {
    WalOptions {
        segment_bytes: 2048,
        spare_segments_max: 4,
        segments_max: 3,
        identity: 7,
        recent_bytes_max: 300,
    }
}

fn open(disk: &MemDisk) -> (Wal, Recovered) {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), small()).unwrap()
}

fn segment_path(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

fn empty_persist() -> Persist {
    Persist {
        number: PersistNumber(1),
        mark: None,
        hard_state: None,
        entries: raft::Entries::new(),
    }
}

fn entry(term: u64, index: u64) -> Entry {
    let command = Bytes::from(format!("command {index} of term {term}"));
    Entry { id: EntryId::new(term, index), payload: Payload::Command(command) }
}

/// Entries `from..to` of one term.
fn entries(group: u64, term: u64, from: u64, to: u64) -> WalWrite {
    let entries = (from..to).map(|index| entry(term, index)).collect();
    WalWrite { group: GroupId(group), persist: Persist { entries, ..empty_persist() } }
}

fn vote(group: u64, term: u64, node: u64) -> WalWrite {
    let hard_state = Some(HardState { current_term: Term(term), voted_for: Some(NodeId(node)) });
    WalWrite { group: GroupId(group), persist: Persist { hard_state, ..empty_persist() } }
}

fn mark_of(term: u64, index: u64) -> SnapshotMark {
    let configuration = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(index + 3)]);
    SnapshotMark { last: EntryId::new(term, index), configuration }
}

fn mark(group: u64, term: u64, index: u64, reset: bool) -> WalWrite {
    let mark = Some(MarkWrite { mark: mark_of(term, index).into(), reset });
    WalWrite { group: GroupId(group), persist: Persist { mark, ..empty_persist() } }
}

fn ids(reader: &WalReader, group: u64, from: u64, to: u64) -> Vec<String> {
    let entries = reader.entries(GroupId(group), LogIndex(from), LogIndex(to), usize::MAX).unwrap();
    entries.iter().map(|entry| entry.id.to_string()).collect()
}

/// The same random cases in every run.
fn random(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(1);
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

#[test]
fn groups_come_back_with_all_that_a_node_needs() {
    let disk = MemDisk::new();
    let (mut wal, recovered) = open(&disk);
    assert_eq!(recovered, Recovered::default());
    let configuration = Configuration::of_voters([NodeId(4)]);
    let change = Entry {
        id: EntryId::new(3, 6),
        payload: Payload::Configuration(configuration.clone().into()),
    };
    let mut last = entries(1, 3, 5, 6);
    last.persist.entries = last.persist.entries.into_iter().chain([change.clone()]).collect();
    wal.append(&[mark(1, 1, 2, true), entries(1, 1, 3, 5), vote(1, 3, 2), entries(2, 1, 1, 2)])
        .unwrap();
    wal.append(&[last]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    disk.crash_all_lost();
    let (wal, recovered) = open(&disk);
    let expected = RecoveredGroup {
        hard_state: HardState { current_term: Term(3), voted_for: Some(NodeId(2)) },
        mark: mark_of(1, 2),
        entries: vec![entry(1, 3), entry(1, 4), entry(3, 5), change],
        term_runs: vec![(LogIndex(3), Term(1)), (LogIndex(5), Term(3))],
        last: EntryId::new(3, 6),
        configurations: vec![(LogIndex(6), configuration)],
    };
    assert_eq!(recovered.groups[&GroupId(1)], expected);
    assert_eq!(recovered.groups[&GroupId(1)].first_index(), LogIndex(3));
    assert_eq!(recovered.groups[&GroupId(2)].entries, [entry(1, 1)]);
    assert_eq!(ids(&wal.reader(), 1, 3, 7), ["3@1", "4@1", "5@3", "6@3"]);
    assert_eq!(ids(&wal.reader(), 1, 4, 6), ["4@1", "5@3"]);
}

#[test]
fn fetch_keeps_to_its_budget_and_gives_at_least_one() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[entries(1, 1, 1, 40)]).unwrap();
    let reader = wal.reader();
    let size = entry(1, 1).size_bytes();
    let fetch = |from, to, bytes| {
        let entries = reader.entries(GroupId(1), LogIndex(from), LogIndex(to), bytes).unwrap();
        entries.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>()
    };
    assert_eq!(fetch(1, 40, 0), [1]);
    assert_eq!(fetch(1, 40, 3 * size), [1, 2, 3]);
    assert_eq!(fetch(30, 60, usize::MAX), (30..40).collect::<Vec<_>>());
    assert_eq!(fetch(40, 60, usize::MAX), []);
    assert_eq!(fetch(5, 5, usize::MAX), []);
    assert!(reader.entries(GroupId(9), LogIndex(1), LogIndex(2), 9).unwrap().is_empty());
    wal.append(&[mark(1, 1, 9, false)]).unwrap();
    assert_eq!(fetch(9, 60, usize::MAX), [], "what the mark covers is gone");
    assert_eq!(fetch(10, 12, usize::MAX), [10, 11]);
}

/// As many recent entries are handed over as fit, and not one more.
#[test]
fn recovery_hands_over_recent_entries_within_its_budget() {
    for records_of in [1, 3, 40] {
        let disk = MemDisk::new();
        let (mut wal, _) = open(&disk);
        for first in (1_u64..=40).step_by(records_of) {
            let end = (first + records_of as u64).min(41);
            wal.append(&[entries(1, 1, first, end)]).unwrap();
        }
        wal.sync().unwrap();
        drop(wal);
        let size = entry(1, 40).size_bytes();
        let (_, recovered) = open(&disk);
        let found = &recovered.groups[&GroupId(1)].entries;
        assert_eq!(found.len(), small().recent_bytes_max / size, "records of {records_of}");
        assert_eq!(found.last(), Some(&entry(1, 40)));
    }
}

/// D6: a record that rots while the node runs is reported to the reader that comes across it.
#[test]
fn d6_rotten_record_is_reported_to_its_reader() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[entries(1, 1, 1, 3), entries(1, 1, 3, 5)]).unwrap();
    let reader = wal.reader();
    disk.corrupt(&segment_path(1), 140, 1);
    let error = reader.entries(GroupId(1), LogIndex(1), LogIndex(5), usize::MAX).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let text = error.to_string();
    assert!(text.contains("0000000000000001.seg is damaged at byte 64"), "{text}");
    assert_eq!(ids(&reader, 1, 3, 5), ["3@1", "4@1"]);
}

#[test]
fn removed_group_is_gone_and_its_id_begins_anew() {
    let disk = MemDisk::new();
    let (mut wal, _) = open(&disk);
    wal.append(&[entries(1, 1, 1, 9), vote(1, 5, 1), entries(2, 1, 1, 3)]).unwrap();
    wal.remove_group(GroupId(1)).unwrap();
    wal.sync().unwrap();
    assert!(ids(&wal.reader(), 1, 1, 9).is_empty());
    disk.crash_all_lost();
    let (mut wal, recovered) = open(&disk);
    assert_eq!(recovered.groups.keys().collect::<Vec<_>>(), [&GroupId(2)]);
    wal.append(&[entries(1, 7, 1, 2)]).unwrap();
    wal.sync().unwrap();
    disk.crash_all_lost();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.groups[&GroupId(1)].last, EntryId::new(7, 1));
    assert_eq!(recovered.groups[&GroupId(1)].hard_state, HardState::default());
}

#[test]
#[should_panic(expected = "does not follow a log that goes from 0 to 4")]
fn hole_in_a_log_is_refused_before_it_is_written() {
    let (mut wal, _) = open(&MemDisk::new());
    wal.append(&[entries(1, 1, 1, 5)]).unwrap();
    let _ = wal.append(&[entries(1, 1, 6, 7)]);
}

#[test]
fn log_is_opened_once() {
    let disk = MemDisk::new();
    let (wal, _) = open(&disk);
    let again = Wal::open(Arc::new(disk.clone()), Path::new(DIR), small());
    assert!(matches!(again, Err(WalOpenError::Locked)));
    drop(wal);
    open(&disk);
}
