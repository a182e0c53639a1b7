//! Three of our nodes. The host around each is the least that keeps the contract: an entry is in
//! an in-memory log before the node hears that it is durable, and the state machine counts.

use std::collections::VecDeque;

use raft::{
    Configuration, Entries, Input, Message, Node, NodeId, Options, Output, Payload, Restored, Role,
};
use raft::{LogIndex, Tick};

use crate::load::{
    APPEND_BYTES_MAX, APPENDS_IN_FLIGHT_MAX, CUT_EVERY, Group, KEPT, Load, place_of,
};

struct Host {
    node: Node,
    log: VecDeque<Entries>,
    applied_entries: u64,
    applied_bytes: u64,
    cut_at: u64,
    output: Output,
}

/// Three nodes, their hosts, and the messages between them: a list for each node, into which the
/// others put what they say to it.
pub(crate) struct Flotilla {
    hosts: Vec<Host>,
    inboxes: [VecDeque<Message>; 3],
    now: Tick,
}

impl Host {
    fn new(id: u64, voters: &Configuration) -> Self {
        let options = Options {
            append_batch_bytes_max: APPEND_BYTES_MAX,
            window_messages_max: APPENDS_IN_FLIGHT_MAX,
            log_tail_kept: KEPT,
            ..Options::new(NodeId(id), id)
        };
        let node = Node::new(options, Restored::bootstrap(voters.clone()));
        Self {
            node: node.expect("the options are sound"),
            log: VecDeque::new(),
            applied_entries: 0,
            applied_bytes: 0,
            cut_at: CUT_EVERY,
            output: Output::default(),
        }
    }

    /// Takes in what has come, and does all that follows, until nothing does.
    fn settle(&mut self, now: Tick, place: usize, inboxes: &mut [VecDeque<Message>; 3]) {
        while let Some(message) = inboxes[place].pop_front() {
            self.node.receive(now, message);
        }
        loop {
            let output = &mut self.output;
            self.node.take_output_into(output);
            if !output.messages.is_empty() {
                for message in output.messages.drain(..) {
                    inboxes[place_of(message.to.0)].push_back(message);
                }
            }
            let persisted = output.persists.last().map(|persist| persist.number);
            for persist in &mut output.persists {
                if let Some(write) = &persist.mark {
                    let last = write.mark.last.index;
                    let is_gone =
                        |run: &&Entries| run.last().is_some_and(|end| end.id.index <= last);
                    let gone = self.log.iter().take_while(is_gone).count();
                    self.log.drain(..gone);
                }
                if !persist.entries.is_empty() {
                    self.log.push_back(std::mem::take(&mut persist.entries));
                }
            }
            let applied = output.committed.last().map(|entry| entry.id.index);
            for entry in &output.committed {
                if let Payload::Command(command) = &entry.payload {
                    self.applied_entries += 1;
                    self.applied_bytes += u64::try_from(command.len()).unwrap_or(0);
                }
            }
            if let Some(number) = persisted {
                self.node.persisted(now, number);
            }
            if let Some(index) = applied {
                self.node.applied(now, index);
                self.cut(now, index);
            }
            if persisted.is_none() && applied.is_none() {
                return;
            }
        }
    }

    fn cut(&mut self, now: Tick, applied: LogIndex) {
        if applied.0 >= self.cut_at {
            self.cut_at = applied.0 + CUT_EVERY;
            self.node.handle(now, Input::Compact { upto: applied });
        }
    }
}

impl Flotilla {
    /// One turn of every node: the followers answer what the leader said, and the leader goes on.
    fn turn(&mut self) {
        // The leader last: it hears both followers at once.
        [1, 2, 0].into_iter().for_each(|place| self.settle(place));
    }

    /// What one node has to do, and what it has to say to the others.
    fn settle(&mut self, place: usize) {
        self.hosts[place].settle(self.now, place, &mut self.inboxes);
    }
}

impl Group for Flotilla {
    fn new() -> Self {
        let voters = Configuration::of_voters((1..=3).map(NodeId));
        let hosts = (1..=3).map(|id| Host::new(id, &voters)).collect();
        let mut group = Self { hosts, inboxes: Default::default(), now: Tick(0) };
        group.hosts[0].node.handle(Tick(0), Input::Tick);
        while group.hosts[0].node.role() != Role::Leader {
            let first = &mut group.hosts[0].node;
            group.now = first.next_deadline().unwrap_or(group.now).max(group.now);
            first.handle(group.now, Input::Tick);
            for _ in 0..4 {
                group.turn();
            }
        }
        group
    }

    fn run(&mut self, load: &mut Load, entries: u64) {
        let batch = u64::try_from(load.batch).unwrap_or(1);
        let window = batch * u64::try_from(load.window).unwrap_or(1);
        let begin = self.hosts[0].applied_entries;
        let mut proposed = 0;
        loop {
            let applied = self.hosts[0].applied_entries - begin;
            if applied >= entries {
                break;
            }
            while proposed < entries && proposed - applied + batch <= window {
                let commands = (0..load.batch).map(|_| load.command());
                let refused = self.hosts[0].node.propose(self.now, commands).err();
                assert_eq!(refused, None, "a leader takes commands");
                proposed += batch;
            }
            // What was proposed leaves, and then everybody has a turn.
            self.settle(0);
            self.turn();
        }
    }
}
