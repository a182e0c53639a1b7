//! What ends a host.

mod common;

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Adder, State};
use env::Disk;
use env::mem::{MemDisk, MemNet, VirtualClock};
use env::os::{OsClock, OsEntropy};
use host::{
    CommittedEntry, Fatal, GroupId, GroupSetup, Host, HostOptions, SnapshotSource, Stages,
    StateMachine, World,
};
use raft::{Configuration, EntryId, NodeId};
use wal::{Wal, WalOptions};

const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// A service with a bug: its first command makes it panic.
struct Panicking(Adder);

impl StateMachine for Panicking {
    type Response = State;

    fn applied(&self) -> EntryId {
        self.0.applied()
    }

    fn apply(&mut self, entries: &[CommittedEntry], responses: &mut Vec<State>) -> io::Result<()> {
        assert!(entries.iter().all(|entry| entry.command.is_none()), "the bug");
        self.0.apply(entries, responses)
    }

    fn flush(&mut self) -> io::Result<EntryId> {
        self.0.flush()
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn SnapshotSource>> {
        self.0.snapshot()
    }

    fn restore(&mut self, last: EntryId, source: &mut dyn SnapshotSource) -> io::Result<()> {
        self.0.restore(last, source)
    }
}

/// C9: an entry whose apply panics ends the node; it does not go on without its applier.
#[test]
fn c9_a_panic_in_one_stage_ends_the_node() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (wal, recovered) =
        Wal::open(Arc::clone(&disk), Path::new("/data/wal"), WalOptions::default()).expect("empty");
    let machine = Panicking(Adder::open(Arc::clone(&disk), "/data/adder".into()).expect("empty"));
    let net = Arc::new(MemNet::new(VirtualClock::new(), 1).endpoint(1));
    let world = World {
        disk,
        clock: Arc::new(OsClock::new()),
        net: net.clone(),
        bulk_net: net,
        entropy: Arc::new(OsEntropy),
    };
    let (tell, told) = mpsc::channel();
    let options = HostOptions {
        on_fatal: Arc::new(move |fatal| tell.send(fatal).expect("the test waits")),
        ..HostOptions::new(NodeId(1), 7, "/data".into())
    };
    let bootstrap = Configuration::of_voters([NodeId(1)]);
    let groups = vec![GroupSetup { id: GROUP, machine, bootstrap }];
    let stages = Stages::build(options, world, wal, recovered.groups, groups).expect("it fits");
    let host = Host::start(stages).expect("threads");
    let (answer, answered) = mpsc::channel();
    host.group(GROUP).expect("its group").propose(&1_u64.to_le_bytes(), move |result| {
        answer.send(result).expect("the test waits");
    });
    let fatal = told.recv_timeout(PATIENCE).expect("the host is told");
    assert_eq!(fatal, Fatal::Panic { stage: "apply" });
    let result = answered.recv_timeout(PATIENCE).expect("the client is told");
    assert!(result.is_err_and(|error| !error.definitely_failed()));
}
