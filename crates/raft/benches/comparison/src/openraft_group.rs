//! Three nodes of the crate `openraft`, whose tasks share one thread. Storage is a `BTreeMap` of
//! entries (its `openraft-memstore` keeps JSON, which would measure serde), the state machine
//! counts, and the network hands each follower the leader's stream of AppendEntries as it is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine,
};
use openraft::{AnyError, Config, EntryPayload, Raft, SnapshotPolicy};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::load::{APPEND_BYTES_MAX, CUT_EVERY, Group, KEPT, Load};

/// A command: its bytes are shared, never copied.
#[derive(Clone, Debug)]
pub(crate) struct Command(Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    pub(crate) Types: D = Command, R = (), Node = ()
);

#[derive(Default)]
struct LogCells {
    entries: RefCell<BTreeMap<u64, EntryOf<Types>>>,
    purged: Cell<Option<LogIdOf<Types>>>,
    vote: Cell<Option<VoteOf<Types>>>,
}

#[derive(Clone, Default)]
struct MemoryLog(Rc<LogCells>);

impl RaftLogReader<Types> for MemoryLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + fmt::Debug>(
        &mut self,
        range: R,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let bounds: (Bound<u64>, Bound<u64>) =
            (range.start_bound().cloned(), range.end_bound().cloned());
        let entries = self.0.entries.borrow();
        Ok(entries.range(bounds).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.0.vote.get())
    }
}

impl RaftLogStorage<Types> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let last = self.0.entries.borrow().last_key_value().map(|(_, entry)| entry.log_id());
        let last_purged_log_id = self.0.purged.get();
        Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.0.vote.set(Some(*vote));
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>>,
    {
        self.0.entries.borrow_mut().extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        done.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index + 1);
        drop(self.0.entries.borrow_mut().split_off(&from));
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        self.0.purged.set(Some(upto));
        let mut entries = self.0.entries.borrow_mut();
        let kept = entries.split_off(&(upto.index + 1));
        *entries = kept;
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    entries: u64,
    bytes: u64,
    last: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

#[derive(Clone, Default)]
struct Counter(Rc<RefCell<Counts>>);

impl RaftSnapshotBuilder<Types> for Counter {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        let counts = self.0.borrow();
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: counts.last,
            last_membership: counts.membership.clone(),
        };
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Counter {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let counts = self.0.borrow();
        Ok((counts.last, counts.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut counts = self.0.borrow_mut();
            counts.last = Some(entry.log_id());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => {
                    counts.entries += 1;
                    counts.bytes += command.0.len() as u64;
                }
                EntryPayload::Membership(members) => {
                    counts.membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), members);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMetaOf<Types>,
        (): (),
    ) -> Result<(), io::Error> {
        Err(io::Error::other("nobody falls so far behind here"))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(None)
    }
}

type Node = Raft<Types, Counter>;
type Nodes = Rc<RefCell<BTreeMap<u64, Node>>>;

#[derive(Clone)]
struct Network {
    nodes: Nodes,
    target: u64,
}

impl Network {
    fn target(&self) -> Result<Node, Unreachable<Types>> {
        let node = self.nodes.borrow().get(&self.target).cloned();
        node.ok_or_else(|| Unreachable::new(&AnyError::error("not there yet")))
    }
}

fn unreachable(error: &impl fmt::Display) -> Unreachable<Types> {
    Unreachable::new(&AnyError::error(error.to_string()))
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Self;

    async fn new_client(&mut self, target: u64, (): &()) -> Self {
        Self { target, ..self.clone() }
    }
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let target = self.target()?;
        target.append_entries(request).await.map_err(|error| unreachable(&error).into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Unpin + 'static,
    {
        let target = self.target();
        Box::pin(async move {
            let answers = target?.stream_append(input);
            let answers = answers.map(|answer| answer.map_err(|error| unreachable(&error).into()));
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let target = self.target()?;
        target.vote(request).await.map_err(|error| unreachable(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(unreachable(&"nobody falls so far behind here").into())
    }
}

pub(crate) struct Openraft {
    runtime: Runtime,
    tasks: LocalSet,
    leader: Node,
    _nodes: Nodes,
}

/// The settings of each node; the number of entries in a message stands for their bytes.
fn config(payload_bytes: usize) -> Arc<Config> {
    let config = Config {
        heartbeat_interval: 500,
        election_timeout_min: 5000,
        election_timeout_max: 10_000,
        max_payload_entries: (APPEND_BYTES_MAX / payload_bytes).clamp(1, 4096) as u64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(CUT_EVERY),
        max_in_snapshot_log_to_keep: KEPT,
        ..Config::default()
    };
    Arc::new(config.validate().expect("the options are sound"))
}

async fn begin(nodes: Nodes, payload_bytes: usize) -> Node {
    for id in 1..=3 {
        let network = Network { nodes: nodes.clone(), target: id };
        let node =
            Raft::new(id, config(payload_bytes), network, MemoryLog::default(), Counter::default());
        let node = node.await.expect("it begins");
        nodes.borrow_mut().insert(id, node);
    }
    let leader = nodes.borrow()[&1].clone();
    let members: BTreeMap<u64, ()> = (1..=3).map(|id| (id, ())).collect();
    leader.initialize(members).await.expect("it is new");
    while leader.current_leader().await != Some(1) {
        tokio::task::yield_now().await;
    }
    leader
}

impl Openraft {
    pub(crate) fn with(payload_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let tasks = LocalSet::new();
        let nodes = Nodes::default();
        let leader = tasks.block_on(&runtime, begin(nodes.clone(), payload_bytes));
        Self { runtime, tasks, leader, _nodes: nodes }
    }
}

impl Group for Openraft {
    fn new() -> Self {
        Self::with(1024)
    }

    fn run(&mut self, load: &mut Load, entries: u64) {
        let batch = load.batch;
        let rounds = entries / batch as u64;
        let load = RefCell::new(load);
        let left = Cell::new(rounds);
        let client = async || {
            while left.get() > 0 {
                left.set(left.get() - 1);
                if batch == 1 {
                    let command = Command(load.borrow_mut().command());
                    self.leader.client_write(command).await.expect("a leader takes commands");
                    continue;
                }
                let commands: Vec<Command> =
                    (0..batch).map(|_| Command(load.borrow_mut().command())).collect();
                let answers = self.leader.client_write_many(commands).await;
                let mut answers = answers.expect("a leader takes commands");
                while let Some(answer) = answers.try_next().await.expect("it lives") {
                    answer.expect("it is applied");
                }
            }
        };
        let window = load.borrow().window;
        let clients = futures_util::future::join_all((0..window).map(|_| client()));
        self.tasks.block_on(&self.runtime, clients);
    }
}
