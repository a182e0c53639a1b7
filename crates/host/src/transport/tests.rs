//! Two nodes over loopback.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use env::Net;
use raft::{Body as Rpc, Message, NodeId, Term};
use wal::GroupId;

use super::{PeerListener, PeerTls, TcpNet, ask_members};
use crate::frame::{FrameBuilder, FrameHeader};
use crate::mailbox::Mailbox;
use crate::messages::WorkerEvent;
use crate::peers::Peers;
use crate::records;
use crate::status::Counters;
use crate::{FRAME_VERSION, PeerAddresses, Receiver};

pub(super) const CLUSTER: u64 = 0xc1;
pub(super) const ONE: NodeId = NodeId(1);
pub(super) const TWO: NodeId = NodeId(2);

pub(super) struct Node {
    listener: Option<PeerListener>,
    pub(super) address: String,
    pub(super) inbox: Arc<Mailbox<WorkerEvent>>,
    counters: Arc<Counters>,
}

fn node(cluster_id: u64, address: &str) -> Node {
    let peers = Arc::new(Peers::new(TWO, Vec::new(), PeerAddresses::new()));
    node_with(cluster_id, address, peers, None)
}

pub(super) fn node_with(
    cluster_id: u64,
    address: &str,
    peers: Arc<Peers>,
    tls: Option<Arc<PeerTls>>,
) -> Node {
    let listener = TcpListener::bind(address).expect("a port is free");
    let (inbox, counters) = (Arc::<Mailbox<_>>::default(), Arc::<Counters>::default());
    let workers = vec![Arc::clone(&inbox)];
    let receiver = Receiver::new(cluster_id, workers, Arc::default(), Arc::clone(&counters), peers);
    let listener = PeerListener::start(listener, receiver, tls).expect("a thread");
    Node { address: listener.address().to_string(), listener: Some(listener), inbox, counters }
}

fn net_to(node: &Node) -> Arc<TcpNet> {
    let peers = [(TWO, vec![node.address.clone()])].into();
    TcpNet::start(CLUSTER, ONE, &peers, None).expect("a thread")
}

pub(super) fn frame(cluster_id: u64, sequence: u64) -> Bytes {
    frame_of_life(5, cluster_id, sequence)
}

fn frame_of_life(life: u64, cluster_id: u64, sequence: u64) -> Bytes {
    build(FRAME_VERSION, 1, life, cluster_id, sequence)
}

/// A frame of a good length, with the same message over and over.
pub(super) fn frame_of_messages(count: usize, sequence: u64) -> Bytes {
    build(FRAME_VERSION, count, 5, CLUSTER, sequence)
}

fn build(version: u8, count: usize, life: u64, cluster_id: u64, sequence: u64) -> Bytes {
    let mut builder = FrameBuilder::default();
    let message = Message::new(ONE, TWO, Term(sequence), Rpc::TimeoutNow { lease_ended: false });
    for _ in 0..count {
        records::encode_message(builder.records(), version, GroupId(1), &message);
    }
    let (from, to) = (ONE, TWO);
    builder.finish(FrameHeader { version, stream: 0, cluster_id, from, to, life, sequence })
}

/// Sends frames until one is taken; a frame before the connection stands is dropped by contract.
pub(super) fn send_until_taken(net: &TcpNet, sequence: &mut u64) {
    let pause = Mailbox::<()>::default();
    for _ in 0..2_000 {
        *sequence += 1;
        if net.send(TWO.0, frame(CLUSTER, *sequence)) {
            return;
        }
        pause.wait(Some(Duration::from_millis(5)), None);
    }
    panic!("the peer was never reached");
}

/// The terms of the messages that come, until one is at least `upto`.
pub(super) fn receive_upto(node: &Node, upto: u64) -> Vec<u64> {
    let mut terms = Vec::new();
    for _ in 0..1_000 {
        node.inbox.wait(Some(Duration::from_millis(10)), None);
        let mut events = Vec::new();
        node.inbox.take_all(&mut events);
        for event in events {
            let WorkerEvent::Records { from, records } = event else {
                panic!("only frames come in");
            };
            assert_eq!(from, ONE);
            for record in records {
                let records::Body::Raft(message) = record.body else {
                    panic!("only messages were sent");
                };
                terms.push(message.term.0);
            }
        }
        if terms.last().is_some_and(|term| *term >= upto) {
            return terms;
        }
    }
    panic!("frame {upto} never came; these did: {terms:?}");
}

#[test]
fn frames_arrive_in_order() {
    let node = node(CLUSTER, "127.0.0.1:0");
    let net = net_to(&node);
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    let first = sequence;
    for _ in 0..500 {
        sequence += 1;
        assert!(net.send(TWO.0, frame(CLUSTER, sequence)), "connected and the queue is short");
    }
    let expected: Vec<u64> = (first..=sequence).collect();
    assert_eq!(receive_upto(&node, sequence), expected);
}

#[test]
fn a_peer_that_comes_back_is_reached_again() {
    let mut node = node(CLUSTER, "127.0.0.1:0");
    let net = net_to(&node);
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    receive_upto(&node, sequence);
    node.listener = None;
    let node = self::node(CLUSTER, &node.address);
    // Frames are lost until the sender has noticed; from then on they come.
    let mut last_sent = sequence;
    for _ in 0..2_000 {
        send_until_taken(&net, &mut sequence);
        last_sent = sequence;
        node.inbox.wait(Some(Duration::from_millis(5)), None);
        if !node.inbox.is_empty() {
            break;
        }
    }
    assert!(receive_upto(&node, 1).last().is_some_and(|term| *term <= last_sent));
}

/// Where a node was told that others are.
#[derive(Debug, Default)]
struct Told(Mailbox<Vec<String>>);

impl Net for Told {
    fn send(&self, _: u64, _: Bytes) -> bool {
        false
    }
    fn set_peer(&self, to: u64, addresses: &[String]) {
        assert_eq!(to, ONE.0, "nobody else calls");
        self.0.push(addresses.to_vec()).expect("it is never closed");
    }
}

impl Told {
    #[track_caller]
    fn hears(&self, address: &str) {
        for _ in 0..1_000 {
            self.0.wait(Some(Duration::from_millis(10)), None);
            let mut told = Vec::new();
            self.0.take_all(&mut told);
            if told.last().is_some_and(|addresses| addresses.as_slice() == [address]) {
                return;
            }
        }
        panic!("it never heard of {address}");
    }
}

/// T120: a member that joins calls the others before it has the configuration that says where it is
/// reached. Whoever lacks that configuration answers it where it says, as soon as it leads.
#[test]
fn a_peer_that_is_called_already_hears_where_the_caller_is_reached_since() {
    let told = Arc::<Told>::default();
    let peers = Peers::new(TWO, vec![Arc::<Told>::clone(&told)], PeerAddresses::new());
    let node = node_with(CLUSTER, "127.0.0.1:0", Arc::new(peers), None);
    let net = net_to(&node);
    let mut sequence = 0;
    send_until_taken(&net, &mut sequence);
    receive_upto(&node, sequence);
    for address in ["one:1", "moved:1"] {
        net.set_own_addresses(&[address.to_owned()]);
        told.hears(address);
    }
    send_until_taken(&net, &mut sequence);
    receive_upto(&node, sequence);
}

/// A node whose newest version is this one.
fn node_of_version(version: u8, address: &str) -> Node {
    let mut peers = Peers::new(TWO, Vec::new(), PeerAddresses::new());
    peers.speak_up_to(version);
    node_with(CLUSTER, address, Arc::new(peers), None)
}

/// Sends frames of the version that the peer takes, and one above it, until one is taken; returns
/// the version that it was taken in. What is too new for the peer is never taken.
fn taken_in(net: &TcpNet, sequence: &mut u64) -> u8 {
    let (pause, takes) = (Mailbox::<()>::default(), net.version_of(TWO.0));
    for _ in 0..2_000 {
        let version = takes.load(Ordering::Relaxed).min(FRAME_VERSION);
        for version in (version..=FRAME_VERSION).rev() {
            *sequence += 1;
            if net.send(TWO.0, build(version, 1, 5, CLUSTER, *sequence)) {
                return version;
            }
        }
        pause.wait(Some(Duration::from_millis(5)), None);
    }
    panic!("the peer was never reached");
}

/// A member that is upgraded while this one goes on, and is set back again.
#[test]
fn the_older_of_both_newest_versions_is_spoken_and_the_newest_is_tried_again() {
    let first = node_of_version(2, "127.0.0.1:0");
    let (net, address) = (net_to(&first), first.address.clone());
    let mut sequence = 0;
    assert_eq!(taken_in(&net, &mut sequence), 2);
    receive_upto(&first, sequence);
    drop(first);
    for version in [3, 2, 3] {
        let node = node_of_version(version, &address);
        // Frames are lost until the sender has noticed.
        while node.inbox.is_empty() {
            taken_in(&net, &mut sequence);
            node.inbox.wait(Some(Duration::from_millis(5)), None);
        }
        assert_eq!(taken_in(&net, &mut sequence), version);
        receive_upto(&node, sequence);
        assert_eq!(node.counters.view().frames_refused, 0, "what is not spoken is not sent");
    }
}

/// The other way round: the caller is the one that is set back.
#[test]
fn a_node_that_speaks_no_newer_version_calls_in_that() {
    let node = node_of_version(3, "127.0.0.1:0");
    let net = net_to(&node);
    let mut sequence = 0;
    assert_eq!(taken_in(&net, &mut sequence), 3);
    receive_upto(&node, sequence);
    net.set_version_max(2);
    let takes = net.version_of(TWO.0);
    while takes.load(Ordering::Relaxed) != 2 {
        node.inbox.wait(Some(Duration::from_millis(5)), None);
    }
    assert_eq!(taken_in(&net, &mut sequence), 2);
    receive_upto(&node, sequence);
}

#[test]
fn who_asks_for_the_members_is_answered_by_a_version_before() {
    let node = node_of_version(2, "127.0.0.1:0");
    let known = ask_members(&node.address, GroupId(1), Duration::from_secs(5), None);
    assert_eq!(known.expect("an answer").node_id, TWO);
}

#[test]
fn another_cluster_is_refused_and_nothing_of_it_gets_in() {
    let node = node(CLUSTER + 1, "127.0.0.1:0");
    let net = net_to(&node);
    let pause = Mailbox::<()>::default();
    for sequence in 1..20 {
        assert!(!net.send(TWO.0, frame(CLUSTER, sequence)), "a refused peer is never connected");
        pause.wait(Some(Duration::from_millis(2)), None);
    }
    assert!(node.inbox.is_empty());
}

/// A receiver that has just begun cannot know which of two lives is the earlier one.
#[test]
fn n13_a_late_frame_of_an_earlier_life_does_not_make_deaf() {
    let node = node(CLUSTER, "127.0.0.1:0");
    let receiver = node.listener.as_ref().map(PeerListener::receiver).expect("it listens");
    let deliver =
        |life, sequence| receiver.deliver(ONE, frame_of_life(life, CLUSTER, sequence)).is_ok();
    assert!(deliver(2, 10), "the present life");
    assert!(deliver(1, 99), "a late frame of the life before");
    assert!(deliver(2, 11), "the present life goes on");
    assert!(!deliver(2, 11) && !deliver(1, 99) && !deliver(1, 98), "nothing comes twice");
    for life in 3..30 {
        assert!(deliver(life, 1) && deliver(2, 10 + life), "whatever else is late");
    }
}

#[test]
fn n13_a_replayed_frame_is_dropped() {
    let node = node(CLUSTER, "127.0.0.1:0");
    let receiver = node.listener.as_ref().map(PeerListener::receiver).expect("it listens");
    assert!(receiver.deliver(ONE, frame(CLUSTER, 4)).is_ok());
    for late in [4, 3, 1] {
        assert!(receiver.deliver(ONE, frame(CLUSTER, late)).is_err(), "frame {late} is late");
    }
    assert!(receiver.deliver(ONE, frame(CLUSTER + 1, 9)).is_err(), "another cluster's");
    assert!(receiver.deliver(TWO, frame(CLUSTER, 9)).is_err(), "another sender's");
    assert!(receiver.deliver(ONE, frame(CLUSTER, 5)).is_ok());
    assert_eq!(node.counters.view().frames_received, 2);
    assert_eq!(node.counters.view().frames_refused, 5);
}
