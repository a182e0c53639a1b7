//! A snapshot transfer over a network that loses, doubles, reorders and damages (scenario S5).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use env::mem::MemDisk;
use env::{Moment, SplitMix};
use raft::{Configuration, EntryId, NodeId, SnapshotMark, Term};
use wal::GroupId;

use crate::SnapshotSource;
use crate::incoming::{Incoming, Progress};
use crate::messages::OutgoingSnapshot;
use crate::outgoing::Outgoing;
use crate::records::{SnapshotAck, SnapshotChunk};
use crate::staging::Staging;

const GROUP: GroupId = GroupId(4);
const LEADER: NodeId = NodeId(1);
const FOLLOWER: NodeId = NodeId(2);

#[derive(Debug)]
struct InMemory(Vec<u8>);

fn last() -> EntryId {
    EntryId::new(3, 900)
}

impl SnapshotSource for InMemory {
    fn last(&self) -> EntryId {
        last()
    }
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        buffer.copy_from_slice(&self.0[offset..offset + buffer.len()]);
        Ok(())
    }
}

fn outgoing(bytes: &[u8]) -> Outgoing {
    let configuration = Configuration::of_voters([LEADER, FOLLOWER]);
    Outgoing::new(
        Moment(0),
        77,
        256 << 10,
        OutgoingSnapshot {
            group: GROUP,
            to: FOLLOWER,
            term: Term(3),
            mark: SnapshotMark { last: last(), configuration },
            source: Box::new(InMemory(bytes.to_vec())),
        },
    )
}

fn staging() -> Staging {
    let folder = PathBuf::from("/staging");
    Staging::open_folder(Arc::new(MemDisk::new()), folder, |_| false).expect("an empty disk")
}

fn ack_of(progress: Progress) -> Option<SnapshotAck> {
    let (next_offset, complete) = match progress {
        Progress::Stale => return None,
        Progress::Upto(offset) => (offset, false),
        Progress::JustCompleted(offset) | Progress::Complete(offset) => (offset, true),
    };
    Some(SnapshotAck { transfer: 77, next_offset, complete })
}

/// Runs a transfer; `mangle` decides what arrives for each piece. Returns what was staged.
fn transfer(bytes: &[u8], mut mangle: impl FnMut(SnapshotChunk) -> Vec<SnapshotChunk>) -> Vec<u8> {
    let (mut sender, mut receiver, staging) = (outgoing(bytes), Incoming::default(), staging());
    let mut now = Moment(0);
    let mut completions = 0;
    for _ in 0..10_000 {
        now = now.after(Duration::from_millis(300));
        let mut arrived = Vec::new();
        while let Some(chunk) = sender.next_chunk(now).expect("memory can be read") {
            arrived.extend(mangle(chunk));
        }
        let mut done = false;
        for chunk in arrived {
            let progress =
                receiver.take(&staging, (Moment(0), LEADER), GROUP, chunk).expect("room enough");
            completions += u32::from(matches!(progress, Progress::JustCompleted(_)));
            done |= ack_of(progress).is_some_and(|ack| sender.acknowledge(now, ack));
        }
        if done {
            assert_eq!(completions, 1, "a snapshot is staged once");
            let mut staged = staging.open(GROUP, last()).expect("it is whole");
            let mut read = vec![0; usize::try_from(staged.len_bytes()).expect("small")];
            staged.read_exact_at(0, &mut read).expect("it is whole");
            return read;
        }
    }
    panic!("the transfer never ended");
}

fn some_bytes(count: usize) -> Vec<u8> {
    let mut dice = SplitMix::new(count as u64);
    (0..count).map(|_| dice.next_u64().to_le_bytes()[0]).collect()
}

#[test]
fn a_clean_network_delivers_every_length() {
    for count in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3_000_000] {
        let bytes = some_bytes(count);
        assert_eq!(transfer(&bytes, |chunk| vec![chunk]), bytes);
    }
}

#[test]
fn s5_lost_doubled_reordered_and_damaged_pieces_are_found_and_sent_again() {
    for seed in 0..20 {
        let bytes = some_bytes(2_500_000);
        let mut dice = SplitMix::new(seed);
        let mut late: Vec<SnapshotChunk> = Vec::new();
        let staged = transfer(&bytes, |chunk| match dice.below(6) {
            0 => Vec::new(),
            1 => vec![chunk.clone(), chunk],
            2 => {
                late.push(chunk);
                Vec::new()
            }
            3 => {
                let mut damaged = chunk.bytes.to_vec();
                damaged[0] ^= 1;
                vec![SnapshotChunk { bytes: damaged.into(), ..chunk }]
            }
            _ => std::iter::once(chunk).chain(late.drain(..)).collect(),
        });
        assert_eq!(staged, bytes, "seed {seed}");
    }
}

#[test]
fn s5_a_receiver_that_lost_everything_is_sent_everything() {
    let bytes = some_bytes(1_500_000);
    let (mut sender, staging) = (outgoing(&bytes), staging());
    let mut receiver = Incoming::default();
    let now = Moment(1);
    let first = sender.next_chunk(now).expect("readable").expect("a piece");
    let progress = receiver.take(&staging, (Moment(0), LEADER), GROUP, first).expect("room");
    sender.acknowledge(now, ack_of(progress).expect("an answer"));
    // The receiver restarts: it knows of nothing, and asks for the beginning.
    receiver = Incoming::default();
    let second = sender.next_chunk(now).expect("readable").expect("a piece");
    assert!(second.offset > 0);
    let progress = receiver.take(&staging, (Moment(0), LEADER), GROUP, second).expect("room");
    assert_eq!(progress, Progress::Upto(0));
    sender.acknowledge(now, ack_of(progress).expect("an answer"));
    let again = sender.next_chunk(now).expect("readable").expect("a piece");
    assert_eq!(again.offset, 0);
}

#[test]
fn a_transfer_without_progress_is_given_up() {
    let mut sender = outgoing(&some_bytes(10));
    assert!(sender.next_chunk(Moment(1)).expect("readable").is_some());
    assert!(!sender.is_hopeless(Moment(1)));
    assert!(sender.is_hopeless(Moment(1).after(Duration::from_secs(20))));
}

/// An empty snapshot has one piece as well, and it may be lost.
#[test]
fn a_lost_piece_of_an_empty_snapshot_is_sent_again() {
    let mut lost = 0;
    let staged = transfer(&[], |chunk| {
        lost += 1;
        if lost == 1 { Vec::new() } else { vec![chunk] }
    });
    assert_eq!((staged, lost), (Vec::new(), 2));
}

/// A deposed leader that goes on sending does not end its successor's transfer.
#[test]
fn s9_pieces_of_an_earlier_term_change_nothing() {
    const DEPOSED: NodeId = NodeId(3);
    let bytes = some_bytes(1_000_000);
    let (mut sender, mut receiver, staging) = (outgoing(&bytes), Incoming::default(), staging());
    let mut deposed = outgoing(&bytes);
    let now = Moment(1);
    let mut is_delivered = false;
    while let Some(chunk) = sender.next_chunk(now).expect("readable") {
        let progress = receiver.take(&staging, (Moment(0), LEADER), GROUP, chunk).expect("room");
        is_delivered = ack_of(progress).is_some_and(|ack| sender.acknowledge(now, ack));
        if let Some(chunk) = deposed.next_chunk(now).expect("readable") {
            let chunk = SnapshotChunk { term: Term(2), transfer: 12, ..chunk };
            let progress =
                receiver.take(&staging, (Moment(0), DEPOSED), GROUP, chunk).expect("room");
            assert_eq!(progress, Progress::Stale);
        }
    }
    assert!(is_delivered);
}

/// A file that nobody wants goes, unless another transfer has brought the same snapshot meanwhile.
#[test]
fn only_the_file_of_ones_own_transfer_is_discarded() {
    let (mut sender, mut receiver, staging) = (outgoing(&[1]), Incoming::default(), staging());
    let chunk = sender.next_chunk(Moment(1)).expect("readable").expect("a piece");
    receiver.take(&staging, (Moment(0), LEADER), GROUP, chunk.clone()).expect("room");
    assert!(!receiver.has_again(77, last()));
    receiver
        .take(&staging, (Moment(0), LEADER), GROUP, SnapshotChunk { transfer: 78, ..chunk })
        .expect("room");
    assert!(receiver.has_again(77, last()));
    assert!(!receiver.has_again(78, last()));
}
