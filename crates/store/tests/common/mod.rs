//! A store on a disk in memory, driven as the applier drives it.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::mem::MemDisk;
use host::{CommittedEntry, StateMachine};
use raft::EntryId;
use store::*;

pub(crate) fn small_options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 64 << 10,
        memory_budget_bytes: 1 << 30,
        quota_bytes: 0,
        checkpoint_bytes_min: 32 << 10,
    }
}

pub(crate) struct Harness {
    pub(crate) disk: MemDisk,
    pub(crate) options: StoreOptions,
    pub(crate) machine: StoreMachine,
    pub(crate) store: Store,
    pub(crate) index: u64,
}

pub(crate) const DIR: &str = "/store";

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(small_options())
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        Self::on(MemDisk::new(), options)
    }

    pub(crate) fn on(disk: MemDisk, options: StoreOptions) -> Self {
        let (machine, store) =
            StoreMachine::open(Arc::new(disk.clone()), Path::new(DIR), options.clone())
                .expect("the store opens");
        let index = machine.applied().index.0;
        Self { disk, options, machine, store, index }
    }

    /// Forgets the machine without a flush and opens what the disk has.
    pub(crate) fn reopen(self) -> Self {
        let Self { disk, options, .. } = self;
        Self::on(disk, options)
    }

    pub(crate) fn apply_all(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
    ) -> Vec<Result<Response, RequestError>> {
        let entries: Vec<CommittedEntry> = commands
            .into_iter()
            .map(|command| {
                self.index += 1;
                CommittedEntry { id: EntryId::new(1, self.index), command: Some(command.encode()) }
            })
            .collect();
        let mut responses = Vec::new();
        self.machine.apply(&entries, &mut responses).expect("the disk works");
        assert_eq!(responses.len(), entries.len());
        responses
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Response, RequestError> {
        self.apply_all([command]).pop().expect("one command, one response")
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        match self.apply(put(key, value)) {
            Ok(Response::Put(response)) => response.revision,
            other => panic!("put {key}: {other:?}"),
        }
    }

    pub(crate) fn delete(&mut self, key: &str, range_end: &str) -> DeleteRangeResponse {
        match self.apply(delete(key, range_end)) {
            Ok(Response::DeleteRange(response)) => response,
            other => panic!("delete {key}: {other:?}"),
        }
    }

    pub(crate) fn txn(&mut self, txn: TxnRequest) -> Result<TxnResponse, RequestError> {
        let response = self.apply(Command::Txn(txn))?;
        let Response::Txn(response) = response else { panic!("{response:?}") };
        Ok(response)
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<Response, RequestError> {
        self.apply(Command::Compact(CompactRequest { revision, physical: false }))
    }

    pub(crate) fn grant(&mut self, id: i64) -> Result<Response, RequestError> {
        self.apply(Command::LeaseGrant { id: LeaseId(id), ttl: 10 })
    }

    pub(crate) fn get(&self, key: &str) -> Option<KeyValue> {
        self.store.range(&range(key, "")).expect("a get").kvs.pop()
    }

    pub(crate) fn state_hash(&self) -> u64 {
        self.store.state_hash().expect("the disk works")
    }
}

pub(crate) fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: b(key), value: b(value), ..PutRequest::default() }
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Put(put_request(key, value))
}

pub(crate) fn put_with_lease(key: &str, lease: i64) -> Command {
    Command::Put(PutRequest { lease: LeaseId(lease), ..put_request(key, "v") })
}

pub(crate) fn delete_request(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: b(key), range_end: b(range_end), prev_kv: false }
}

pub(crate) fn delete(key: &str, range_end: &str) -> Command {
    Command::DeleteRange(delete_request(key, range_end))
}

pub(crate) fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest { key: b(key), range_end: b(range_end), ..RangeRequest::default() }
}

pub(crate) fn keys(response: &RangeResponse) -> Vec<String> {
    response.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

/// All messages that wait in a stream, history included.
pub(crate) fn drain(stream: &WatchStream) -> Vec<WatchMessage> {
    let mut messages = Vec::new();
    let mut idle = 0;
    // A poll that read history without a hit gives nothing and asks to be called again.
    while idle < 3 {
        match stream.poll().expect("the disk works") {
            Some(message) => {
                messages.push(message);
                idle = 0;
            }
            None => idle += 1,
        }
    }
    messages
}

pub(crate) fn stream(store: &Store) -> WatchStream {
    store.watch_stream(Arc::new(|| {}))
}

pub(crate) fn events(messages: &[WatchMessage]) -> Vec<String> {
    let mut all = Vec::new();
    for message in messages {
        match message {
            WatchMessage::Created { watch_id, .. } => all.push(format!("{watch_id} created")),
            WatchMessage::Rejected { reason, .. } => all.push(format!("rejected {reason}")),
            WatchMessage::Canceled { watch_id, .. } => all.push(format!("{watch_id} canceled")),
            WatchMessage::Compacted { watch_id, compact_revision } => {
                all.push(format!("{watch_id} compacted {compact_revision}"));
            }
            WatchMessage::Denied { watch_id, reason, .. } => {
                all.push(format!("{watch_id} {reason}"));
            }
            WatchMessage::Progress { watch_id, revision } => {
                all.push(format!("{watch_id} progress {revision}"));
            }
            WatchMessage::Events { watch_id, revision, events } => {
                for event in events.iter() {
                    assert!(event.kv.mod_revision <= *revision);
                    let kind = match event.kind {
                        EventKind::Put => "put",
                        EventKind::Delete => "delete",
                    };
                    let key = String::from_utf8_lossy(&event.kv.key);
                    let value = String::from_utf8_lossy(&event.kv.value);
                    let prev = event.prev_kv.map_or(String::new(), |prev| {
                        format!(" before {}", String::from_utf8_lossy(&prev.value))
                    });
                    let at = event.kv.mod_revision;
                    all.push(format!("{watch_id} {kind} {key}={value} @{at}{prev}"));
                }
            }
        }
    }
    all
}
