//! The bulk stage alone, on a log in memory.

use std::path::Path;
use std::sync::Arc;

use env::mem::{MemDisk, MemNet, VirtualClock};
use raft::{Fetch, LogIndex, NodeId};
use wal::{GroupId, Wal, WalOptions};

use crate::bulk::Bulk;
use crate::mailbox::Mailbox;
use crate::messages::{BulkItem, WorkerEvent};
use crate::staging::Staging;

const GROUP: GroupId = GroupId(4);

fn bulk(worker: &Arc<Mailbox<WorkerEvent>>) -> Bulk {
    let (disk, clock) = (Arc::new(MemDisk::new()), VirtualClock::new());
    let (wal, _) =
        Wal::open(disk.clone(), Path::new("/wal"), WalOptions::default()).expect("an empty disk");
    let net = MemNet::new(clock.clone(), 1);
    Bulk {
        version_max: crate::FRAME_VERSION,
        node_id: NodeId(1),
        cluster_id: 7,
        life: 1,
        sequence: 0,
        mailbox: Arc::default(),
        workers: vec![Arc::clone(worker)],
        net: Arc::new(net.endpoint(1)),
        clock: Arc::new(clock),
        log: wal.reader(),
        spares: wal.spares(),
        staging: Staging::open_folder(disk, "/staging".into(), |_| false).expect("an empty disk"),
        counters: Arc::default(),
        next_transfer: 0,
        chunk_bytes: 1024,
        outgoing: std::collections::BTreeMap::new(),
        incoming: std::collections::BTreeMap::new(),
    }
}

/// The protocol asks for an index once. When the entries were cut before the bulk stage came to
/// read them, it must be told, or it never asks for that index again, also not years later.
#[test]
fn a_fetch_that_finds_nothing_is_answered() {
    let worker: Arc<Mailbox<WorkerEvent>> = Arc::default();
    let mut bulk = bulk(&worker);
    let fetch = Fetch { from: LogIndex(5), to: LogIndex(9), bytes_max: 1000 };
    assert!(bulk.mailbox.push(BulkItem::Fetch { group: GROUP, fetch }).is_ok());
    bulk.step().expect("the disk works");
    let mut events = Vec::new();
    worker.take_all(&mut events);
    assert!(matches!(
        &events[..],
        [WorkerEvent::Fetched { group: GROUP, from: LogIndex(5), entries }] if entries.is_empty()
    ));
}
