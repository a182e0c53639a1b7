//! Random histories against a naive store that keeps a whole map per revision, with crashes,
//! checkpoints, compaction, snapshots and watchers in between.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "small numbers, and an oracle that is read from top to bottom"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use env::SplitMix;
use env::mem::MemDisk;
use host::{CommittedEntry, StateMachine};
use proptest::prelude::*;
use raft::EntryId;
use store::*;

type Map = BTreeMap<Bytes, KeyValue>;

/// The oracle: every revision in full.
#[derive(Default)]
struct Oracle {
    /// By revision, from 1.
    maps: Vec<Map>,
    events: Vec<(i64, EventKind, KeyValue)>,
    leases: BTreeSet<LeaseId>,
    compact_revision: i64,
}

impl Oracle {
    fn new() -> Self {
        Self { maps: vec![Map::new()], compact_revision: -1, ..Self::default() }
    }

    fn revision(&self) -> i64 {
        self.maps.len() as i64
    }

    fn at(&self, revision: i64) -> &Map {
        &self.maps[revision as usize - 1]
    }

    fn now(&self) -> &Map {
        self.at(self.revision())
    }

    fn put(map: &mut Map, put: &PutRequest, revision: i64) -> KeyValue {
        let before = map.get(&put.key);
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            value: match before {
                Some(kv) if put.ignore_value => kv.value.clone(),
                _ => put.value.clone(),
            },
            lease: match before {
                Some(kv) if put.ignore_lease => kv.lease,
                _ => put.lease,
            },
        };
        map.insert(put.key.clone(), kv.clone());
        kv
    }

    fn in_range(map: &Map, key: &Bytes, end: &Bytes) -> Vec<KeyValue> {
        let inside = |k: &Bytes| match end.as_ref() {
            [] => k == key,
            [0] => k >= key,
            _ => k >= key && k < end,
        };
        map.values().filter(|kv| inside(&kv.key)).cloned().collect()
    }

    fn commit(&mut self, map: Map, events: Vec<(EventKind, KeyValue)>) {
        if !events.is_empty() {
            self.maps.push(map);
            let revision = self.revision();
            self.events.extend(events.into_iter().map(|(kind, kv)| (revision, kind, kv)));
        }
    }

    fn apply(&mut self, command: &Command) -> Result<(i64, bool), RequestError> {
        let mut map = self.now().clone();
        let revision = self.revision() + 1;
        let mut events = Vec::new();
        let mut succeeded = true;
        let tombstone = |key: &Bytes| KeyValue {
            key: key.clone(),
            mod_revision: revision,
            ..KeyValue::default()
        };
        let delete = |map: &mut Map, events: &mut Vec<_>, key: &Bytes, end: &Bytes| {
            for kv in Self::in_range(map, key, end) {
                map.remove(&kv.key);
                events.push((EventKind::Delete, tombstone(&kv.key)));
            }
        };
        let check_lease = |leases: &BTreeSet<LeaseId>, put: &PutRequest| {
            let is_there = put.lease.is_none() || leases.contains(&put.lease);
            is_there.then_some(()).ok_or(RequestError::LeaseNotFound)
        };
        let check_key = |map: &Map, put: &PutRequest| {
            let is_needed = put.ignore_lease || put.ignore_value;
            let is_there = !is_needed || map.contains_key(&put.key);
            is_there.then_some(()).ok_or(RequestError::KeyNotFound)
        };
        match command {
            Command::Put(put) => {
                check_lease(&self.leases, put).and_then(|()| check_key(&map, put))?;
                events.push((EventKind::Put, Self::put(&mut map, put, revision)));
            }
            Command::DeleteRange(d) => delete(&mut map, &mut events, &d.key, &d.range_end),
            Command::Txn(txn) => {
                check_txn(txn, 128)?;
                for compare in &txn.compare {
                    let at = map.get(&compare.key).map_or(0, |kv| kv.mod_revision);
                    let CompareTarget::Mod(given) = compare.target else { unreachable!() };
                    succeeded &= at > given;
                }
                let ops = if succeeded { &txn.success } else { &txn.failure };
                for op in ops {
                    if let RequestOp::Put(put) = op {
                        check_key(self.now(), put)?;
                        check_lease(&self.leases, put)?;
                    }
                }
                for op in ops {
                    match op {
                        RequestOp::Put(put) => {
                            events.push((EventKind::Put, Self::put(&mut map, put, revision)));
                        }
                        RequestOp::DeleteRange(d) => {
                            delete(&mut map, &mut events, &d.key, &d.range_end);
                        }
                        RequestOp::Range(_) | RequestOp::Txn(_) => {}
                    }
                }
            }
            Command::Compact(CompactRequest { revision, .. }) => {
                if *revision <= self.compact_revision {
                    return Err(RequestError::Compacted);
                }
                if *revision > self.revision() {
                    return Err(RequestError::FutureRevision);
                }
                self.compact_revision = *revision;
            }
            Command::LeaseGrant { id, .. } => {
                if !self.leases.insert(*id) {
                    return Err(RequestError::LeaseExists);
                }
            }
            Command::LeaseRevoke { id } => {
                if !self.leases.remove(id) {
                    return Err(RequestError::LeaseNotFound);
                }
                let attached: Vec<Bytes> =
                    map.values().filter(|kv| kv.lease == *id).map(|kv| kv.key.clone()).collect();
                for key in attached {
                    delete(&mut map, &mut events, &key, &Bytes::new());
                }
            }
            other => unreachable!("{other:?}"),
        }
        self.commit(map, events);
        Ok((self.revision(), succeeded))
    }
}

/// A watcher on the store under test and what it has been given.
struct Watcher {
    stream: WatchStream,
    request: WatchCreateRequest,
    /// Revision from which it must see everything.
    from: i64,
    got: Vec<String>,
    compacted: Option<i64>,
    last_revision: i64,
}

fn show(revision: i64, kind: EventKind, kv: &KeyValue, prev: Option<&KeyValue>) -> String {
    format!("{revision} {kind:?} {kv:?} {prev:?}")
}

impl Watcher {
    fn poll(&mut self, count: usize) {
        for _ in 0..count {
            match self.stream.poll().unwrap() {
                None => {}
                Some(WatchMessage::Events { revision, events, .. }) => {
                    assert!(revision >= self.last_revision, "revisions do not go back");
                    self.last_revision = revision;
                    for event in events.iter() {
                        assert!(event.kv.mod_revision <= revision);
                        self.got.push(show(
                            event.kv.mod_revision,
                            event.kind,
                            event.kv,
                            event.prev_kv,
                        ));
                    }
                }
                Some(WatchMessage::Compacted { compact_revision, .. }) => {
                    self.compacted = Some(compact_revision);
                }
                Some(WatchMessage::Created { .. }) => {}
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    fn check(&mut self, oracle: &Oracle) {
        self.poll(200);
        let end = &self.request.range_end;
        let expect: Vec<String> = oracle
            .events
            .iter()
            .filter(|(revision, _, kv)| {
                let map = Map::from([(kv.key.clone(), kv.clone())]);
                *revision >= self.from && !Oracle::in_range(&map, &self.request.key, end).is_empty()
            })
            .map(|(revision, kind, kv)| show(*revision, *kind, kv, None))
            .collect();
        match self.compacted {
            None => assert_eq!(self.got, expect),
            Some(compacted) => {
                assert!(compacted <= oracle.compact_revision);
                assert_eq!(self.got[..], expect[..self.got.len()], "a prefix");
                // All that it was not given lies in part below the compaction.
                let needed = self.got.last().map_or(self.from, |_| self.last_revision);
                assert!(needed.min(self.from) < compacted || needed < compacted);
            }
        }
    }
}

#[derive(Clone)]
enum Step {
    Apply(Vec<Command>),
    CheckRange { revision_back: i64, key: usize, end: usize, limit: i64 },
    Watch { back: i64, key: usize, end: usize },
    PollWatchers(usize),
    Compact { back: i64 },
    Maintain,
    Flush,
    Checkpoint,
    Crash(u64),
    Leave,
    ReturnBySnapshot,
}

/// Short, so that a failure can be read.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Apply(commands) => {
                for command in commands {
                    match command {
                        Command::Put(put) => {
                            let (len, lease) = (put.value.len(), put.lease.0);
                            write!(f, "put({:?},{len}B,{lease}) ", put.key)?;
                        }
                        Command::DeleteRange(d) => {
                            write!(f, "delete({:?},{:?}) ", d.key, d.range_end)?;
                        }
                        Command::Txn(txn) => {
                            write!(f, "txn({}/{}) ", txn.success.len(), txn.failure.len())?;
                        }
                        other => write!(f, "{other:?} ")?,
                    }
                }
                Ok(())
            }
            Self::CheckRange { revision_back, .. } => write!(f, "range(-{revision_back})"),
            Self::Watch { back, key, end } => write!(f, "watch(-{back},{key},{end})"),
            Self::PollWatchers(count) => write!(f, "poll({count})"),
            Self::Compact { back } => write!(f, "compact(-{back})"),
            Self::Maintain => f.write_str("maintain"),
            Self::Flush => f.write_str("flush"),
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Crash(seed) => write!(f, "crash({seed})"),
            Self::Leave => f.write_str("leave"),
            Self::ReturnBySnapshot => f.write_str("return"),
        }
    }
}

fn key(n: usize) -> Bytes {
    Bytes::from(format!("k{n}"))
}

fn end(n: usize) -> Bytes {
    match n {
        0..=3 => Bytes::new(),
        4 => Bytes::from_static(b"\0"),
        n => key(n),
    }
}

fn put_strategy() -> impl Strategy<Value = PutRequest> {
    (0..9_usize, 0..4_u8, 0..12_i64, 0..12_u8, 0..3_usize).prop_map(
        |(k, byte, lease, flags, size)| PutRequest {
            key: key(k),
            value: if flags == 1 { Bytes::new() } else { vec![byte; [1, 300, 5000][size]].into() },
            lease: LeaseId(if flags == 2 || lease > 3 { 0 } else { lease }),
            prev_kv: flags % 2 == 0,
            ignore_value: flags == 1,
            ignore_lease: flags == 2,
        },
    )
}

fn delete_strategy() -> impl Strategy<Value = DeleteRangeRequest> {
    (0..9_usize, 0..9_usize).prop_map(|(k, e)| DeleteRangeRequest {
        key: key(k),
        range_end: end(e),
        prev_kv: e % 2 == 0,
    })
}

fn op_strategy() -> impl Strategy<Value = RequestOp> {
    prop_oneof![
        3 => put_strategy().prop_map(RequestOp::Put),
        1 => delete_strategy().prop_map(RequestOp::DeleteRange),
        1 => (0..9_usize, 0..9_usize).prop_map(|(k, e)| RequestOp::Range(RangeRequest {
            key: key(k), range_end: end(e), ..RangeRequest::default()
        })),
    ]
}

fn command_strategy() -> impl Strategy<Value = Command> {
    let ops = || proptest::collection::vec(op_strategy(), 0..4);
    prop_oneof![
        6 => put_strategy().prop_map(Command::Put),
        2 => delete_strategy().prop_map(Command::DeleteRange),
        2 => (0..9_usize, 0..30_i64, ops(), ops()).prop_map(|(k, m, success, failure)| {
            let compare = vec![Compare {
                key: key(k),
                range_end: Bytes::new(),
                result: CompareResult::Greater,
                target: CompareTarget::Mod(m),
            }];
            Command::Txn(TxnRequest { compare, success, failure })
        }),
        1 => (1..4_i64).prop_map(|id| Command::LeaseGrant { id: LeaseId(id), ttl: 5 }),
        1 => (1..4_i64).prop_map(|id| Command::LeaseRevoke { id: LeaseId(id) }),
    ]
}

fn step_strategy() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(command_strategy(), 1..12).prop_map(Step::Apply),
        4 => (-1..20_i64, 0..9_usize, 0..9_usize, 0..4_i64).prop_map(
            |(revision_back, key, end, limit)| Step::CheckRange { revision_back, key, end, limit }),
        2 => (-3..20_i64, 0..9_usize, 0..9_usize)
            .prop_map(|(back, key, end)| Step::Watch { back, key, end }),
        3 => (0..4_usize).prop_map(Step::PollWatchers),
        2 => (0..10_i64).prop_map(|back| Step::Compact { back }),
        2 => Just(Step::Maintain),
        2 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Leave),
        1 => Just(Step::ReturnBySnapshot),
    ]
}

/// The store under test, one that nothing ever happens to, and the oracle.
struct World {
    tested: Harness,
    reference: Harness,
    oracle: Oracle,
    log: Vec<CommittedEntry>,
    watchers: Vec<Watcher>,
    away: bool,
}

impl World {
    fn new(options: StoreOptions) -> Self {
        Self {
            tested: Harness::with(options),
            reference: Harness::new(),
            oracle: Oracle::new(),
            log: Vec::new(),
            watchers: Vec::new(),
            away: false,
        }
    }

    fn apply(&mut self, commands: Vec<Command>) {
        let first = self.log.len();
        for command in &commands {
            let id = EntryId::new(1, self.log.len() as u64 + 1);
            self.log.push(CommittedEntry { id, command: Some(command.encode()) });
        }
        let entries = &self.log[first..];
        let mut expected = Vec::new();
        self.reference.machine.apply(entries, &mut expected).unwrap();
        for (command, response) in commands.iter().zip(&expected) {
            let oracle = self.oracle.apply(command);
            match (response, oracle) {
                (Ok(Response::Put(r)), Ok((at, _))) => assert_eq!(r.revision, at),
                (Ok(Response::DeleteRange(r)), Ok((at, _))) => assert_eq!(r.revision, at),
                (Ok(Response::Txn(r)), Ok((at, took))) => {
                    assert_eq!((r.revision, r.succeeded), (at, took));
                }
                (Ok(_), Ok(_)) => {}
                (response, oracle) => {
                    assert_eq!(response.as_ref().err(), oracle.as_ref().err(), "{command:?}");
                }
            }
        }
        if !self.away {
            let mut responses = Vec::new();
            self.tested.machine.apply(entries, &mut responses).unwrap();
            assert_eq!(responses, expected);
        }
    }

    fn catch_up(&mut self) {
        let applied = self.tested.machine.applied().index.0 as usize;
        let mut responses = Vec::new();
        for entries in self.log[applied..].chunks(7) {
            self.tested.machine.apply(entries, &mut responses).unwrap();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Apply(commands) => self.apply(commands),
            Step::CheckRange { revision_back, key: k, end: e, limit } => {
                if !self.away {
                    self.check_range(revision_back, &key(k), &end(e), limit);
                }
            }
            Step::Watch { back, key: k, end: e } => self.watch(back, k, e),
            Step::PollWatchers(count) => {
                self.watchers.iter_mut().for_each(|watcher| watcher.poll(count));
            }
            Step::Compact { back } => {
                let revision = self.oracle.revision() - back;
                let compact = CompactRequest { revision, physical: false };
                self.apply(vec![Command::Compact(compact)]);
            }
            Step::Maintain => {
                self.tested.store.maintain();
            }
            Step::Flush => {
                let applied = self.tested.machine.flush().unwrap();
                assert_eq!(applied, self.tested.machine.applied());
            }
            Step::Checkpoint => self.tested.machine.checkpoint().unwrap(),
            Step::Crash(seed) => self.crash(seed),
            Step::Leave => self.away = true,
            Step::ReturnBySnapshot => {
                if self.away {
                    self.restore();
                    self.away = false;
                }
            }
        }
    }

    fn check_range(&self, revision_back: i64, key: &Bytes, end: &Bytes, limit: i64) {
        let current = self.oracle.revision();
        let revision = if revision_back == 0 { 0 } else { (current - revision_back).max(1) };
        let request = RangeRequest {
            key: key.clone(),
            range_end: end.clone(),
            limit,
            revision,
            ..RangeRequest::default()
        };
        let got = self.tested.store.range(&request);
        let at = if revision == 0 { current } else { revision };
        if at > current {
            assert_eq!(got, Err(RequestError::FutureRevision));
        } else if at < self.oracle.compact_revision {
            assert_eq!(got, Err(RequestError::Compacted));
        } else {
            let mut kvs = Oracle::in_range(self.oracle.at(at), key, end);
            let count = kvs.len() as i64;
            let more = limit > 0 && count > limit;
            if more {
                kvs.truncate(limit as usize);
            }
            assert_eq!(got, Ok(RangeResponse { revision: current, kvs, more, count }));
        }
    }

    fn watch(&mut self, back: i64, k: usize, e: usize) {
        let hub_revision = self.tested.store.revision();
        let start_revision = if back == 0 { 0 } else { (hub_revision - back).max(1) };
        let request = WatchCreateRequest {
            key: key(k),
            range_end: end(e),
            start_revision,
            ..WatchCreateRequest::default()
        };
        let stream = self.tested.store.watch_stream(Arc::new(|| {}));
        if stream.create(request.clone()).is_err() {
            return;
        }
        let from = if start_revision == 0 { hub_revision + 1 } else { start_revision };
        self.watchers.push(Watcher {
            stream,
            request,
            from,
            got: Vec::new(),
            compacted: None,
            last_revision: 0,
        });
    }

    fn check_watchers(&mut self) {
        if !self.away {
            self.watchers.iter_mut().for_each(|watcher| watcher.check(&self.oracle));
        }
    }

    fn crash(&mut self, seed: u64) {
        self.check_watchers();
        self.watchers.clear();
        let disk: MemDisk = self.tested.disk.clone();
        match seed % 3 {
            0 => disk.kill(),
            1 => disk.crash_all_lost(),
            _ => disk.crash(&mut SplitMix::new(seed)),
        }
        self.tested = Harness::on(disk, self.tested.options.clone());
        // What was recovered is what the entries up to there give.
        let applied = self.tested.machine.applied().index.0 as usize;
        let mut replayed = Harness::new();
        replayed.machine.apply(&self.log[..applied], &mut Vec::new()).unwrap();
        assert_eq!(self.tested.state_hash(), replayed.state_hash(), "at {applied}");
        if !self.away {
            self.catch_up();
        }
    }

    fn restore(&mut self) {
        let mut snapshot = self.reference.machine.snapshot().unwrap();
        let last = snapshot.last();
        if last == self.tested.machine.applied() {
            return;
        }
        self.tested.machine.restore(last, &mut *snapshot).unwrap();
        assert_eq!(self.tested.machine.applied(), last);
    }

    fn finish(&mut self) {
        self.step(Step::ReturnBySnapshot);
        self.check_watchers();
        assert_eq!(self.tested.state_hash(), self.reference.state_hash());
        for back in 0..6 {
            self.check_range(back, &key(0), &Bytes::from_static(b"\0"), 0);
        }
        while self.tested.store.maintain() {}
        assert_eq!(self.tested.state_hash(), self.reference.state_hash());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn random_histories(steps in proptest::collection::vec(step_strategy(), 1..60)) {
        let mut world = World::new(small_options());
        steps.into_iter().for_each(|step| world.step(step));
        world.finish();
    }

    /// The same with so little memory that hardly a value stays in it.
    #[test]
    fn random_histories_from_disk(steps in proptest::collection::vec(step_strategy(), 1..60)) {
        let mut world = World::new(StoreOptions { memory_budget_bytes: 0, ..small_options() });
        steps.into_iter().for_each(|step| world.step(step));
        world.finish();
    }
}
