//! The bulk stage: what is long and must hold up nobody. It reads old entries for the protocol,
//! sends pinned snapshots, and stages those that come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use env::{Clock, Moment, Net};
use raft::{Fetch, NodeId, SnapshotMark};
use wal::{GroupId, Spares, WalReader};

use crate::Fatal;
use crate::frame::{FrameBuilder, FrameHeader};
use crate::incoming::{Incoming, Progress};
use crate::mailbox::Mailbox;
use crate::messages::{BulkItem, OutgoingSnapshot, Staged, WorkerEvent};
use crate::outgoing::Outgoing;
use crate::records::{self, Body, SnapshotAck, SnapshotChunk};
use crate::staging::Staging;
use crate::status::Counters;
use crate::worker::worker_of;

/// The stream of bulk frames, apart from those of the workers.
const BULK_STREAM: u16 = u16::MAX;

/// The stage.
pub(crate) struct Bulk {
    pub(crate) node_id: NodeId,
    pub(crate) cluster_id: u64,
    /// The newest version that this node speaks.
    pub(crate) version_max: u8,
    pub(crate) life: u64,
    pub(crate) sequence: u64,
    pub(crate) mailbox: Arc<Mailbox<BulkItem>>,
    pub(crate) workers: Vec<Arc<Mailbox<WorkerEvent>>>,
    pub(crate) net: Arc<dyn Net>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) log: WalReader,
    pub(crate) spares: Spares,
    pub(crate) staging: Staging,
    pub(crate) counters: Arc<Counters>,
    pub(crate) next_transfer: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) outgoing: BTreeMap<(GroupId, NodeId), Outgoing>,
    pub(crate) incoming: BTreeMap<GroupId, Incoming>,
}

impl Bulk {
    /// Does all that waits and what is due.
    ///
    /// # Errors
    /// When the log cannot be read: it is damaged or the disk is ill.
    pub(crate) fn step(&mut self) -> Result<(), Fatal> {
        let mut items = Vec::new();
        self.mailbox.take_all(&mut items);
        // All of them had come by then: see `Proposals::take_snapshot`.
        let now = self.clock.now();
        for item in items {
            match item {
                BulkItem::PrepareSpare => self.prepare_spare(),
                BulkItem::Fetch { group, fetch } => self.fetch(group, fetch)?,
                BulkItem::Send(snapshot) => self.begin(now, *snapshot),
                BulkItem::Chunk { from, group, chunk } => {
                    self.take_chunk((now, from), group, chunk);
                }
                BulkItem::Ack { from, group, ack } => self.take_ack(now, from, group, ack),
                BulkItem::Discard { group, last, transfer } => {
                    let incoming = self.incoming.entry(group).or_default();
                    let is_others =
                        transfer.is_some_and(|transfer| incoming.has_again(transfer, last));
                    if !is_others {
                        self.staging.discard(group, last);
                    }
                }
            }
        }
        let due: Vec<_> = self.outgoing.keys().copied().collect();
        for (group, to) in due {
            self.push_on(now, group, to);
        }
        Ok(())
    }

    /// When `step` has something to do although nothing came.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.outgoing.values().map(Outgoing::deadline).min()
    }

    fn prepare_spare(&self) {
        if let Err(error) = self.spares.prepare() {
            tracing::warn!(
                %error,
                "no room for the log's next segment; free space on the data folder's disk"
            );
        }
    }

    fn fetch(&mut self, group: GroupId, fetch: Fetch) -> Result<(), Fatal> {
        let entries = self.log.entries(group, fetch.from, fetch.to, fetch.bytes_max);
        let entries = entries.map_err(|error| Fatal::log_read(&error))?;
        // Entries that were cut or overwritten since the question are gone. The protocol must hear
        // that as well: it asks for an index once, and without an answer never again.
        self.tell(group, WorkerEvent::Fetched { group, from: fetch.from, entries });
        Ok(())
    }

    fn begin(&mut self, now: Moment, snapshot: OutgoingSnapshot) {
        let (group, to) = (snapshot.group, snapshot.to);
        self.next_transfer = self.next_transfer.wrapping_add(1);
        let outgoing = Outgoing::new(now, self.next_transfer, self.chunk_bytes, snapshot);
        self.outgoing.insert((group, to), outgoing);
    }

    fn take_ack(&mut self, now: Moment, from: NodeId, group: GroupId, ack: SnapshotAck) {
        let Some(outgoing) = self.outgoing.get_mut(&(group, from)) else {
            return;
        };
        if outgoing.acknowledge(now, ack) {
            let mark = outgoing.mark().clone();
            self.end(group, from, Some(mark));
        }
    }

    /// Sends what the window allows, or gives up.
    fn push_on(&mut self, now: Moment, group: GroupId, to: NodeId) {
        let Some(outgoing) = self.outgoing.get_mut(&(group, to)) else {
            return;
        };
        if outgoing.is_hopeless(now) {
            tracing::warn!(
                group = group.0,
                to = %to,
                "a snapshot could not be delivered: the member does not answer; trying again later"
            );
            return self.end(group, to, None);
        }
        loop {
            let Some(outgoing) = self.outgoing.get_mut(&(group, to)) else {
                return;
            };
            match outgoing.next_chunk(now) {
                Ok(Some(chunk)) => self.send(to, group, &Body::SnapshotChunk(chunk)),
                Ok(None) => return,
                Err(error) => {
                    // The pinned files cannot be read. The follower gets nothing, and the group
                    // goes on: its next snapshot reads other bytes.
                    tracing::error!(group = group.0, %error, "reading a snapshot failed");
                    return self.end(group, to, None);
                }
            }
        }
    }

    fn end(&mut self, group: GroupId, to: NodeId, delivered: Option<SnapshotMark>) {
        self.outgoing.remove(&(group, to));
        if delivered.is_some() {
            Counters::add(&self.counters.snapshots_sent, 1);
        }
        self.tell(group, WorkerEvent::SnapshotSent { group, to, delivered });
    }

    fn take_chunk(&mut self, (now, from): (Moment, NodeId), group: GroupId, chunk: SnapshotChunk) {
        let (transfer, term, mark) = (chunk.transfer, chunk.term, chunk.mark.as_ref().clone());
        let incoming = self.incoming.entry(group).or_default();
        let progress = match incoming.take(&self.staging, (now, from), group, chunk) {
            Ok(progress) => progress,
            Err(error) => {
                let what = if error.kind() == std::io::ErrorKind::InvalidData {
                    "a snapshot came damaged and is not taken; look at the sender's disk"
                } else {
                    "a snapshot could not be staged; free space on the data folder's disk"
                };
                tracing::warn!(group = group.0, from = from.0, %error, "{what}");
                incoming.give_up(&self.staging, group);
                return;
            }
        };
        let (next_offset, complete) = match progress {
            Progress::Stale => return,
            Progress::Upto(next_offset) => (next_offset, false),
            Progress::JustCompleted(next_offset) => {
                let begun = incoming.begun();
                let staged = Box::new(Staged { from, term, transfer, mark, begun });
                self.tell(group, WorkerEvent::Staged { group, staged });
                (next_offset, true)
            }
            Progress::Complete(next_offset) => (next_offset, true),
        };
        let ack = SnapshotAck { transfer, next_offset, complete };
        self.send(from, group, &Body::SnapshotAck(ack));
    }

    fn send(&mut self, to: NodeId, group: GroupId, body: &Body) {
        let mut builder = FrameBuilder::default();
        let takes = self.net.version_of(to.0).load(Ordering::Relaxed);
        let version = self.version_max.min(takes);
        records::encode(builder.records(), version, group, body);
        self.sequence += 1;
        let frame = builder.finish(FrameHeader {
            version,
            stream: BULK_STREAM,
            cluster_id: self.cluster_id,
            from: self.node_id,
            to,
            life: self.life,
            sequence: self.sequence,
        });
        Counters::add(&self.counters.frames_sent, 1);
        let length = frame.len() as u64;
        Counters::add(&self.counters.frame_bytes_sent, length);
        if self.net.send(to.0, frame) {
            Counters::add(&self.counters.peers.of(to).sent, length);
        } else {
            Counters::add(&self.counters.frames_dropped, 1);
        }
    }

    fn tell(&self, group: GroupId, event: WorkerEvent) {
        // A closed mailbox means that the node is stopping.
        let _ = self.workers[worker_of(group, self.workers.len())].push(event);
    }
}
