//! A cluster of stores in one thread, and clients whose answers are kept.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::{GroupId, ProposeError};
use raft::{LogIndex, NodeId};
use server::InProcess;
use store::{
    Command, PutRequest, RangeRequest, RequestError, Response, Store, StoreMachine, StoreOptions,
};

use crate::doors::Doors;
use crate::{World, WorldOptions};

/// The group of a world with one.
pub const GROUP: GroupId = GroupId(1);
/// Longer than an election.
pub const SOON: Duration = Duration::from_secs(10);

/// The answer to one command, once it is there.
pub type Answer = Arc<Mutex<Option<Result<Outcome, ProposeError>>>>;

/// What applying a command says.
type Outcome = Result<Response, RequestError>;

type Stores = Rc<RefCell<BTreeMap<(NodeId, GroupId), Store>>>;

/// A world of stores.
pub struct Cluster {
    /// The nodes.
    pub world: World<StoreMachine>,
    stores: Stores,
    doors: Doors,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("world", &self.world).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Nodes that are off, with this many groups.
    pub fn new(options: WorldOptions, group_count: u64) -> Self {
        let stores = Stores::default();
        let opened = Rc::clone(&stores);
        let seed = options.seed;
        let mut world = World::new(
            options,
            Box::new(move |node, disk, _clock| {
                (1..=group_count)
                    .map(|group| {
                        let dir = format!("/data/store-{group}");
                        let options =
                            StoreOptions { segment_bytes: 64 << 10, ..StoreOptions::default() };
                        let (machine, store) =
                            StoreMachine::open(Arc::clone(&disk), Path::new(&dir), options)?;
                        opened.borrow_mut().insert((node, GroupId(group)), store);
                        Ok((GroupId(group), machine))
                    })
                    .collect()
            }),
        );
        let groups: Vec<GroupId> = (1..=group_count).map(GroupId).collect();
        let doors = Doors::of(&mut world, seed, &groups);
        Self { world, stores, doors }
    }

    /// Three nodes of one group, on, with a leader.
    pub fn started(seed: u64) -> Self {
        let mut cluster = Self::new(WorldOptions::new(seed), 1);
        cluster.world.start_all().expect("empty disks recover");
        cluster.elect();
        cluster
    }

    /// Runs until a leader is known.
    pub fn elect(&mut self) -> NodeId {
        assert!(
            self.world.run_until(SOON, |world| world.leader(GROUP).is_some()),
            "no leader:\n{}",
            self.world.trace().newest().join("\n")
        );
        self.world.leader(GROUP).expect("it was there a moment ago")
    }

    /// A follower that is on.
    pub fn a_follower(&self) -> NodeId {
        let leader = self.world.leader(GROUP);
        let nodes = self.world.nodes().into_iter();
        nodes.rev().find(|id| Some(*id) != leader && self.world.is_on(*id)).expect("three nodes")
    }

    /// Sends a put to a node.
    pub fn put(&self, node: NodeId, key: &str, value: &str) -> Answer {
        self.put_in(GROUP, node, key, value)
    }

    /// Sends a put to a group on a node.
    pub fn put_in(&self, group: GroupId, node: NodeId, key: &str, value: &str) -> Answer {
        let command = Command::Put(PutRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..PutRequest::default()
        });
        let answer = Answer::default();
        let keep = Arc::clone(&answer);
        let group = self.world.group(node, group).expect("the node is on");
        group.propose(&command.encode(), move |result| {
            let before = keep.lock().expect("one thread").replace(result);
            assert!(before.is_none(), "a client is answered once");
        });
        answer
    }

    /// Puts and waits for the acknowledgement.
    pub fn put_acknowledged(&mut self, node: NodeId, key: &str, value: &str) {
        let answer = self.put(node, key, value);
        assert!(
            self.world.run_until(SOON, |_| is_acknowledged(&answer)),
            "{key} was not acknowledged: {:?}\n{}",
            answer.lock().expect("one thread"),
            self.world.trace().newest().join("\n")
        );
    }

    /// A node's store, as its last life opened it.
    pub fn store(&self, node: NodeId) -> Store {
        self.store_of(node, GROUP)
    }

    /// A node's store of a group, as its last life opened it.
    pub fn store_of(&self, node: NodeId, group: GroupId) -> Store {
        self.stores.borrow()[&(node, group)].clone()
    }

    /// The etcd API of a node that is on, for one of its groups: of the node's present life.
    pub fn door(&self, node: NodeId, group: GroupId) -> InProcess {
        self.doors.door(&self.world, (node, group), self.store_of(node, group))
    }

    /// A key as a node's own state has it.
    pub fn local_value(&self, node: NodeId, key: &str) -> Option<Bytes> {
        self.local_value_in(GROUP, node, key)
    }

    /// A key of a group as a node's own state has it.
    pub fn local_value_in(&self, group: GroupId, node: NodeId, key: &str) -> Option<Bytes> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let request = RangeRequest { key, ..RangeRequest::default() };
        let answer = self.store_of(node, group).range(&request).expect("a good request");
        answer.kvs.first().map(|kv| kv.value.clone())
    }

    /// How often a key was put since it was made, as a node's own state has it.
    pub fn version(&self, node: NodeId, key: &str) -> Option<i64> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let request = RangeRequest { key, ..RangeRequest::default() };
        let answer = self.store(node).range(&request).expect("a good request");
        answer.kvs.first().map(|kv| kv.version)
    }

    /// A linearizable read at a node.
    pub fn read(&mut self, node: NodeId, key: &str) -> Option<Bytes> {
        let confirmed: Arc<Mutex<Option<LogIndex>>> = Arc::default();
        let keep = Arc::clone(&confirmed);
        let group = self.world.group(node, GROUP).expect("the node is on");
        group.read_index(move |result| {
            *keep.lock().expect("one thread") = Some(result.expect("a leader confirms"));
        });
        let done = |_: &World<StoreMachine>| confirmed.lock().expect("one thread").is_some();
        assert!(self.world.run_until(SOON, done), "the read was not confirmed");
        self.local_value(node, key)
    }

    /// Runs until all nodes that are on have applied the same, and compares their states.
    pub fn converge(&mut self) {
        let applied = |world: &World<StoreMachine>| -> Vec<(LogIndex, LogIndex)> {
            let on = world.nodes().into_iter().filter_map(|id| world.group(id, GROUP));
            on.map(|group| (group.status().last_index, group.applied_index())).collect()
        };
        let is_done = |world: &World<StoreMachine>| {
            let all = applied(world);
            all.iter().all(|(last, applied)| last == applied && *last == all[0].0)
        };
        assert!(
            self.world.run_until(SOON, is_done),
            "the nodes do not converge: {:?}\n{}",
            applied(&self.world),
            self.world.trace().newest().join("\n")
        );
        let on: Vec<_> =
            self.world.nodes().into_iter().filter(|id| self.world.is_on(*id)).collect();
        let hashes: Vec<_> =
            on.iter().map(|id| self.store(*id).state_hash().expect("readable")).collect();
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "states differ: {hashes:?}");
    }
}

/// Whether a command was acknowledged as done.
pub fn is_acknowledged(answer: &Answer) -> bool {
    matches!(&*answer.lock().expect("one thread"), Some(Ok(Ok(Response::Put(_)))))
}
