//! Three nodes of the crate `raft` (tikv), with its own `MemStorage`. The loop is the one of its
//! documentation: what a leader says leaves before its entries are stored, what a follower says
//! after.

use std::collections::VecDeque;

use bytes::Bytes;
use slog::{Discard, Logger, o};
use tikv_raft::eraftpb::{Entry, EntryType, Message, MessageType};
use tikv_raft::storage::MemStorage;
use tikv_raft::{Config, RawNode, StateRole};

use crate::load::{
    APPEND_BYTES_MAX, APPENDS_IN_FLIGHT_MAX, CUT_EVERY, Group, KEPT, Load, place_of,
};

struct Host {
    node: RawNode<MemStorage>,
    applied_entries: u64,
    applied_bytes: u64,
    cut_at: u64,
}

/// The messages go as between ours: a list for each node.
pub(crate) struct Tikv {
    hosts: Vec<Host>,
    inboxes: [VecDeque<Message>; 3],
}

fn deliver(messages: Vec<Message>, inboxes: &mut [VecDeque<Message>; 3]) {
    for message in messages {
        inboxes[place_of(message.to)].push_back(message);
    }
}

impl Host {
    fn new(id: u64) -> Self {
        let config = Config {
            id,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: APPEND_BYTES_MAX as u64,
            max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
        let node = RawNode::new(&config, storage, &Logger::root(Discard, o!()));
        Self {
            node: node.expect("the options are sound"),
            applied_entries: 0,
            applied_bytes: 0,
            cut_at: CUT_EVERY,
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if !entry.data.is_empty() && entry.get_entry_type() == EntryType::EntryNormal {
                self.applied_entries += 1;
                self.applied_bytes += entry.data.len() as u64;
            }
            if entry.index >= self.cut_at {
                self.cut_at = entry.index + CUT_EVERY;
                self.node.store().wl().compact(entry.index - KEPT).expect("it is in the log");
            }
        }
    }

    fn settle(&mut self, place: usize, inboxes: &mut [VecDeque<Message>; 3]) {
        while let Some(message) = inboxes[place].pop_front() {
            self.node.step(message).expect("an honest peer's message is taken");
        }
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            deliver(ready.take_messages(), inboxes);
            let committed = ready.take_committed_entries();
            self.apply(committed);
            let store = self.node.store().clone();
            store.wl().append(ready.entries()).expect("memory takes everything");
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            deliver(ready.take_persisted_messages(), inboxes);
            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                store.wl().mut_hard_state().set_commit(commit);
            }
            deliver(light.take_messages(), inboxes);
            let committed = light.take_committed_entries();
            self.apply(committed);
            self.node.advance_apply();
        }
    }
}

impl Tikv {
    fn turn(&mut self) {
        [1, 2, 0].into_iter().for_each(|place| self.settle(place));
    }

    fn settle(&mut self, place: usize) {
        self.hosts[place].settle(place, &mut self.inboxes);
    }
}

fn proposal(commands: impl Iterator<Item = Bytes>) -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgPropose);
    message.from = 1;
    message.entries =
        commands.map(|data| Entry { data, ..Entry::default() }).collect::<Vec<_>>().into();
    message
}

impl Group for Tikv {
    fn new() -> Self {
        let hosts = (1..=3).map(Host::new).collect();
        let mut group = Self { hosts, inboxes: Default::default() };
        group.hosts[0].node.campaign().expect("it may campaign");
        for _ in 0..8 {
            group.settle(0);
            group.turn();
        }
        assert_eq!(group.hosts[0].node.raft.state, StateRole::Leader);
        group
    }

    fn run(&mut self, load: &mut Load, entries: u64) {
        let batch = load.batch as u64;
        let window = batch * load.window as u64;
        let begin = self.hosts[0].applied_entries;
        let mut proposed = 0;
        loop {
            let applied = self.hosts[0].applied_entries - begin;
            if applied >= entries {
                break;
            }
            while proposed < entries && proposed - applied + batch <= window {
                let commands = (0..load.batch).map(|_| load.command());
                self.hosts[0].node.step(proposal(commands)).expect("a leader takes commands");
                proposed += batch;
            }
            self.settle(0);
            self.turn();
        }
    }
}
