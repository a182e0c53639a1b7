//! Three hosts with real threads, disks and sockets in one process.

mod common;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use common::{Adder, State};
use env::os::{OsClock, OsDisk, OsEntropy};
use env::{Clock, Disk};
use host::transport::{PeerListener, TcpNet};
use host::{
    CallTarget, GroupHandle, GroupId, GroupSetup, Host, HostOptions, ProposeError, Stages,
    TransferError, World,
};
use raft::{Configuration, NodeId, Term};
use wal::{Wal, WalOptions};

const CLUSTER: u64 = 0xadd;
const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    host: Host<State>,
    _listener: PeerListener,
}

type Addresses = BTreeMap<NodeId, Vec<String>>;

fn start(id: NodeId, listener: TcpListener, addresses: &Addresses, folder: &Path) -> Node {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    let data_dir = folder.join(id.0.to_string());
    let options = WalOptions { segment_bytes: 1 << 20, ..WalOptions::default() };
    let (wal, recovered) =
        Wal::open(Arc::clone(&disk), &data_dir.join("wal"), options).expect("the log opens");
    let machine = Adder::open(Arc::clone(&disk), data_dir.join("adder")).expect("it opens");
    let net = TcpNet::start(CLUSTER, id, addresses, None).expect("threads");
    let world =
        World { disk, clock, net: net.clone(), bulk_net: net, entropy: Arc::new(OsEntropy) };
    let options = HostOptions {
        election_timeout_ms: 300,
        heartbeat_interval_ms: 30,
        call_handler: Arc::new(move |context, request, reply| {
            let answer = format!("{} to {}: {}", id, context.from, request.len());
            reply(Bytes::from(answer));
        }),
        ..HostOptions::new(id, CLUSTER, data_dir)
    };
    let bootstrap = Configuration::of_voters(addresses.keys().copied());
    let groups = vec![GroupSetup { id: GROUP, machine, bootstrap }];
    let stages =
        Stages::build(options, world, wal, recovered.groups, groups).expect("all fits together");
    let host = Host::start(stages).expect("threads");
    let listener = PeerListener::start(listener, host.receiver(), None).expect("a thread");
    Node { host, _listener: listener }
}

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    addresses: Addresses,
    folder: tempfile::TempDir,
}

fn cluster() -> Cluster {
    let folder = tempfile::tempdir().expect("a folder");
    let listeners: Vec<(NodeId, TcpListener)> = (1..=3)
        .map(|id| (NodeId(id), TcpListener::bind("127.0.0.1:0").expect("a port is free")))
        .collect();
    let addresses: Addresses = listeners
        .iter()
        .map(|(id, listener)| (*id, vec![listener.local_addr().expect("bound").to_string()]))
        .collect();
    let nodes = listeners
        .into_iter()
        .map(|(id, listener)| (id, start(id, listener, &addresses, folder.path())))
        .collect();
    Cluster { nodes, addresses, folder }
}

impl Cluster {
    fn group(&self, id: u64) -> GroupHandle<State> {
        self.nodes[&NodeId(id)].host.group(GROUP).expect("it has the group")
    }

    /// Adds a number at a node and waits for its answer.
    fn add(&self, id: u64, number: u64) -> Result<State, ProposeError> {
        let (sender, receiver) = mpsc::channel();
        self.group(id).propose(&number.to_le_bytes(), move |result| {
            sender.send(result).expect("the test waits");
        });
        receiver.recv_timeout(PATIENCE).expect("every client is answered")
    }

    /// A linearizable read's index at a node.
    fn read(&self, id: u64) -> u64 {
        let (sender, receiver) = mpsc::channel();
        self.group(id).read_index(move |result| sender.send(result).expect("the test waits"));
        receiver.recv_timeout(PATIENCE).expect("answered").expect("a leader confirms").0
    }

    fn leader(&self) -> NodeId {
        // An acknowledged write proves that there is a leader and that node 1 knows it.
        self.add(1, 0).expect("a leader is found in time");
        self.group(1).status().leader_id.expect("it took a write")
    }
}

#[test]
fn every_node_takes_writes_and_reads_what_was_acknowledged() {
    let cluster = cluster();
    let mut sum = 0;
    for round in 0..30 {
        sum += round;
        let state = cluster.add(round % 3 + 1, round).expect("acknowledged");
        assert_eq!((state.sum, state.count), (sum, round + 1));
        let index = cluster.read((round + 1) % 3 + 1);
        assert!(index >= state.applied.index.0, "a read sees what was acknowledged before it");
    }
}

/// A library's user may keep a handle for longer than the host; its peers must not take the node
/// for one that is there.
#[test]
fn a_host_that_ends_calls_nobody_any_more() {
    let mut cluster = cluster();
    cluster.leader();
    let calls = |cluster: &Cluster| {
        cluster.group(1).peers().iter().any(|peer| peer.node == NodeId(3) && peer.is_active)
    };
    let within = |what: &str, done: &dyn Fn() -> bool| {
        let clock = OsClock::new();
        let end = clock.now().after(PATIENCE);
        while !done() {
            assert!(clock.now() < end, "waited {PATIENCE:?} for {what}");
            std::thread::yield_now();
        }
    };
    within("the third to call", &|| calls(&cluster));
    let kept = cluster.group(3);
    drop(cluster.nodes.remove(&NodeId(3)));
    within("its call to end", &|| !calls(&cluster));
    drop(kept);
}

#[test]
fn many_clients_at_once_are_each_answered_once() {
    let cluster = cluster();
    cluster.leader();
    let (sender, receiver) = mpsc::channel();
    for number in 0..3_000_u64 {
        let sender = sender.clone();
        cluster.group(number % 3 + 1).propose(&1_u64.to_le_bytes(), move |result| {
            sender.send(result.expect("acknowledged").count).expect("the test waits");
        });
    }
    drop(sender);
    let mut counts: Vec<u64> = receiver.iter().collect();
    counts.sort_unstable();
    let first = counts[0];
    assert_eq!(counts, (first..first + 3_000).collect::<Vec<_>>(), "no number came twice");
}

#[test]
fn leadership_is_handed_over_on_request() {
    let cluster = cluster();
    let leader = cluster.leader();
    let target = NodeId(leader.0 % 3 + 1);
    let transfer = |from: NodeId, to: NodeId| {
        let (sender, receiver) = mpsc::channel();
        cluster.group(from.0).transfer_leadership(Some(to), move |result| {
            sender.send(result).expect("the test waits");
        });
        receiver.recv_timeout(PATIENCE).expect("answered")
    };
    assert_eq!(transfer(target, leader), Err(TransferError::NotLeader));
    assert_eq!(transfer(leader, NodeId(99)), Err(TransferError::BadTarget));
    assert_eq!(transfer(leader, target), Ok(()));
    assert_eq!(cluster.leader(), target);
}

#[test]
fn r11_what_only_a_leader_may_do_is_refused_elsewhere_and_in_another_term() {
    let cluster = cluster();
    let leader = cluster.leader();
    let follower = leader.0 % 3 + 1;
    let term = cluster.group(leader.0).status().term;
    let propose = |id: u64, term: Term| {
        let (sender, receiver) = mpsc::channel();
        cluster.group(id).propose_as_leader(term, &1_u64.to_le_bytes(), move |result| {
            sender.send(result.map(|_| ())).expect("the test waits");
        });
        receiver.recv_timeout(PATIENCE).expect("answered")
    };
    assert_eq!(propose(follower, term), Err(ProposeError::NotLeaderInTerm));
    assert_eq!(propose(leader.0, Term(term.0 - 1)), Err(ProposeError::NotLeaderInTerm));
    assert_eq!(propose(leader.0, term), Ok(()));
}

#[test]
fn servers_ask_each_other() {
    let cluster = cluster();
    cluster.leader();
    let ask = |from: u64, target: CallTarget| {
        let (sender, receiver) = mpsc::channel();
        cluster.group(from).call(target, Bytes::from_static(b"four"), move |result| {
            sender.send(result).expect("the test waits");
        });
        receiver.recv_timeout(PATIENCE).expect("answered")
    };
    for from in 1..=3 {
        let answer = ask(from, CallTarget::Node(NodeId(2))).expect("it is there");
        assert_eq!(answer, format!("2 to {from}: 4"));
        // On a busy machine somebody else may come to lead while it is asked; then ask again.
        let led_by = || {
            let status = cluster.group(from).status();
            status.leader_id.map(|leader| (leader, status.term))
        };
        loop {
            // A read waits until its node knows a leader.
            cluster.read(from);
            let before = led_by();
            let answer = ask(from, CallTarget::Leader);
            if let Some((leader, _)) = before
                && led_by() == before
            {
                assert_eq!(answer.expect("it leads"), format!("{leader} to {from}: 4"));
                break;
            }
        }
    }
}

#[test]
fn a_command_beyond_the_limit_is_refused_before_anything_is_written() {
    let cluster = cluster();
    let (sender, receiver) = mpsc::channel();
    cluster.group(1).propose(&vec![0; 3 << 20], move |result| {
        sender.send(result.map(|_| ())).expect("the test waits");
    });
    let result = receiver.recv_timeout(PATIENCE).expect("answered");
    assert_eq!(result, Err(ProposeError::TooLarge));
    assert!(ProposeError::TooLarge.definitely_failed());
}

#[test]
fn a_restarted_cluster_has_all_that_was_acknowledged() {
    let mut cluster = cluster();
    for number in 1..=100 {
        cluster.add(number % 3 + 1, number).expect("acknowledged");
    }
    cluster.nodes.clear();
    let addresses = cluster.addresses.clone();
    for (id, address) in &addresses {
        let listener = TcpListener::bind(&address[0]).expect("the port is free again");
        cluster.nodes.insert(*id, start(*id, listener, &addresses, cluster.folder.path()));
    }
    let state = cluster.add(2, 1).expect("acknowledged");
    assert_eq!((state.sum, state.count), (5051, 101));
}
