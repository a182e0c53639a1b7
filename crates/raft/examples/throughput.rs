//! How many entries a second the core moves through three nodes in one thread, when disks, network
//! and state machine cost nothing: `cargo run --release -p raft --example throughput [batch]
//! [bytes]`.
#![expect(clippy::print_stdout, reason = "the number is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock; the core has none")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft::{
    Configuration, Input, Message, Node, NodeId, Options, OptionsError, Restored, Role, Tick,
};

struct Group {
    nodes: Vec<Node>,
    network: VecDeque<Message>,
    applied: u64,
}

impl Group {
    fn new(count: u64) -> Result<Self, OptionsError> {
        let voters = Configuration::of_voters((1..=count).map(NodeId));
        let nodes = (1..=count)
            .map(|id| Node::new(Options::new(NodeId(id), id), Restored::bootstrap(voters.clone())))
            .collect::<Result<_, _>>()?;
        Ok(Self { nodes, network: VecDeque::new(), applied: 0 })
    }

    /// Does all that a node wants done, until it wants nothing.
    fn settle(&mut self, place: usize, now: Tick) {
        loop {
            let node = &mut self.nodes[place];
            let output = node.take_output();
            self.network.extend(output.messages);
            let persisted = output.persists.last().map(|persist| persist.number);
            let applied = output.committed.last().map(|entry| entry.id.index);
            if place == 0 {
                self.applied += u64::try_from(output.committed.len()).unwrap_or(0);
            }
            if let Some(number) = persisted {
                node.handle(now, Input::Persisted(number));
            }
            if let Some(index) = applied {
                node.handle(now, Input::Applied(index));
                if index.0 % 1024 == 0 {
                    node.handle(now, Input::Compact { upto: index });
                }
            }
            if persisted.is_none() && applied.is_none() {
                return;
            }
        }
    }

    fn deliver_all(&mut self, now: Tick) {
        while let Some(message) = self.network.pop_front() {
            let place = usize::try_from(message.to.0 - 1).unwrap_or(0);
            self.nodes[place].handle(now, Input::Message(message));
            self.settle(place, now);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let batch = arguments.next().transpose()?.unwrap_or(64);
    let command = Bytes::from(vec![7; arguments.next().transpose()?.unwrap_or(256)]);
    let mut group = Group::new(3)?;
    let mut now = Tick(0);
    group.nodes[0].handle(now, Input::Tick);
    while group.nodes[0].role() != Role::Leader {
        now = group.nodes[0].next_deadline().unwrap_or(now).max(now);
        group.nodes[0].handle(now, Input::Tick);
        group.settle(0, now);
        group.deliver_all(now);
    }
    let begin = Instant::now();
    let before = group.applied;
    while begin.elapsed() < Duration::from_secs(3) {
        group.nodes[0].propose(now, vec![command.clone(); batch])?;
        group.settle(0, now);
        group.deliver_all(now);
    }
    let per_second = (group.applied - before) as f64 / begin.elapsed().as_secs_f64();
    println!("{per_second:.0} entries/s, batches of {batch}, {} bytes each", command.len());
    Ok(())
}
