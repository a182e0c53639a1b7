//! A real process on a real disk, killed with SIGKILL at moments of its own choosing and not ours.
//!
//! The test runs itself again as a child that writes, syncs and then acknowledges each write on
//! its standard output. The parent kills it after some acknowledgements and reads on to the end of
//! the pipe: whatever was acknowledged must be found. How far the child came does not change the
//! verdict.

#![expect(clippy::unwrap_used, reason = "a test, and its child process which is part of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use env::SplitMix;
use env::os::OsDisk;
use raft::{
    Configuration, Entry, EntryId, HardState, LogIndex, MarkWrite, NodeId, Payload, Persist,
    PersistNumber, SnapshotMark, Term,
};
use wal::{GroupId, Recovered, Wal, WalOptions, WalWrite};

const CHILD_VARIABLE: &str = "WAL_KILL_TEST_CHILD";
const GROUPS: u64 = 3;
/// The log of each group is cut to this many entries now and then.
const KEPT: u64 = 30;

fn options() -> WalOptions {
    WalOptions { segment_bytes: 64 << 10, segments_max: 3, ..WalOptions::default() }
}

fn open(dir: &Path) -> (Wal, Recovered) {
    Wal::open(Arc::new(OsDisk), dir, options()).unwrap()
}

/// The command at an index is known to both processes.
fn command(group: u64, index: u64) -> Bytes {
    let mut dice = SplitMix::new(group << 32 | index);
    let len = dice.below(400);
    (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
}

fn write_of(group: u64, index: u64) -> WalWrite {
    let id = EntryId::new(index / 10 + 1, index);
    let entry = Entry { id, payload: Payload::Command(command(group, index)) };
    // The vote says the index, so that both are seen to be of one write.
    let hard_state = HardState { current_term: id.term, voted_for: Some(NodeId(index)) };
    let mark = index.is_multiple_of(KEPT).then(|| {
        let last = EntryId::new((index - KEPT / 2) / 10 + 1, index - KEPT / 2);
        let mark = SnapshotMark { last, configuration: Configuration::default() };
        MarkWrite { mark: mark.into(), reset: false }
    });
    let number = PersistNumber(index);
    let persist =
        Persist { number, mark, hard_state: Some(hard_state), entries: vec![entry].into() };
    WalWrite { group: GroupId(group), persist }
}

/// Checks all groups and says how far each is.
fn check(dir: &Path) -> Vec<u64> {
    let (wal, recovered) = open(dir);
    let reader = wal.reader();
    (0..GROUPS)
        .map(|id| {
            let Some(group) = recovered.groups.get(&GroupId(id)) else { return 0 };
            let last = group.last.index.0;
            let voted_for = group.hard_state.voted_for;
            assert_eq!(voted_for, Some(NodeId(last)), "entry and vote are one write");
            let first = group.first_index();
            let entries =
                reader.entries(GroupId(id), first, LogIndex(last + 1), usize::MAX).unwrap();
            assert_eq!(entries.len() as u64, last + 1 - first.0, "the log has no hole");
            for entry in entries {
                let expected = Payload::Command(command(id, entry.id.index.0));
                assert_eq!(entry.payload, expected, "group {id}, entry {}", entry.id);
            }
            assert_eq!(group.hard_state.current_term, Term(last / 10 + 1));
            last
        })
        .collect()
}

/// Writes until it is killed.
fn child(dir: &Path) -> ! {
    let (mut wal, recovered) = open(dir);
    let last = |id| recovered.groups.get(&GroupId(id)).map_or(0, |group| group.last.index.0);
    let mut next: Vec<u64> = (0..GROUPS).map(|id| last(id) + 1).collect();
    let mut dice = SplitMix::new(next.iter().sum());
    let mut stdout = std::io::stdout();
    loop {
        let mut batch = Vec::new();
        let mut acks = String::new();
        for _ in 0..=dice.below(6) {
            let id = dice.below(GROUPS);
            let index = &mut next[usize::try_from(id).unwrap()];
            batch.push(write_of(id, *index));
            acks.push_str(&format!("ack {id} {index}\n"));
            *index += 1;
        }
        wal.append(&batch).unwrap();
        wal.sync().unwrap();
        stdout.write_all(acks.as_bytes()).unwrap();
        stdout.flush().unwrap();
    }
}

/// Starts the child, kills it after `count` acknowledgements, and gives the last one of each group.
fn run_and_kill(dir: &Path, count: u64, acked: &mut [u64]) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_minus_nine_loses_nothing_acknowledged", "--nocapture"])
        .env(CHILD_VARIABLE, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = 0;
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test runner's own lines come first. The last line may be torn.
        let words: Vec<&str> = line.split(' ').collect();
        let ["ack", id, index] = words[..] else { continue };
        let (Ok(id), Ok(index)) = (id.parse::<usize>(), index.parse::<u64>()) else { continue };
        acked[id] = acked[id].max(index);
        seen += 1;
        if seen == count {
            process.kill().unwrap();
        }
    }
    assert!(seen >= count, "the child ended by itself after {seen} acknowledgements");
    assert!(!process.wait().unwrap().success());
}

#[test]
fn kill_minus_nine_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD_VARIABLE) {
        child(Path::new(&dir));
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("wal");
    let mut dice = SplitMix::new(1);
    let mut acked = vec![0; usize::try_from(GROUPS).unwrap()];
    for round in 0..12 {
        run_and_kill(&dir, 1 + dice.below(300), &mut acked);
        let found = check(&dir);
        for (id, (found, acked)) in found.iter().zip(&acked).enumerate() {
            assert!(
                found >= acked,
                "round {round}, group {id}: {acked} was acknowledged, {found} is left"
            );
        }
    }
    let total: u64 = acked.iter().sum();
    assert!(total > 300, "the child did some work: {total}");
}
