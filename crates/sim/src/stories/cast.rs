//! What stories are told with.

use std::time::Duration;

use raft::{EntryId, NodeId, Role};

use crate::Failure;
use crate::core::{CoreOptions, CoreWorld};

/// Longer than any election in a story.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn n(id: u64) -> NodeId {
    NodeId(id)
}

pub(super) fn three() -> CoreOptions {
    CoreOptions::new(3, 3)
}

pub(super) fn four() -> CoreOptions {
    CoreOptions::new(4, 4)
}

pub(super) fn five() -> CoreOptions {
    CoreOptions::new(5, 5)
}

/// Neither pre-vote nor check-quorum: the protocol of the paper's Figure 2 and no more.
pub(super) fn plain(mut options: CoreOptions) -> CoreOptions {
    options.node_options.pre_vote = false;
    options.node_options.check_quorum = false;
    options
}

/// The story goes as it should, or ends here.
pub(super) fn expect(holds: bool, what: &str) {
    if !holds {
        std::panic::panic_any(Failure::new("the story goes as it should", what));
    }
}

pub(super) fn wait(world: &mut CoreWorld, what: &str, done: impl FnMut(&CoreWorld) -> bool) {
    expect(world.run_until(PATIENCE, done), what);
}

pub(super) fn leads(world: &CoreWorld, id: NodeId) -> bool {
    world.node(id).is_some_and(|node| node.role() == Role::Leader)
}

pub(super) fn role_of(world: &CoreWorld, id: NodeId) -> Option<Role> {
    world.node(id).map(raft::Node::role)
}

pub(super) fn last_of(world: &CoreWorld, id: NodeId) -> EntryId {
    world.node(id).map(raft::Node::last).unwrap_or_default()
}

pub(super) fn commit_of(world: &CoreWorld, id: NodeId) -> u64 {
    world.node(id).map_or(0, |node| node.commit_index().0)
}

/// This node's timeout is over first, as often as it takes, and it wins.
pub(super) fn elect(world: &mut CoreWorld, id: NodeId) {
    for _ in 0..5 {
        world.time_out(id);
        if world.run_until(Duration::from_millis(90), |world| leads(world, id)) {
            return;
        }
    }
    expect(false, "it is elected");
}

/// All nodes start, and this one is elected.
pub(super) fn begin(world: &mut CoreWorld, leader: NodeId) {
    world.start_all();
    world.run_ms(20);
    elect(world, leader);
    wait(world, "its first entry is committed", |world| commit_of(world, leader) > 0);
    world.run_ms(60);
}

/// A client's command that is applied where it was proposed.
pub(super) fn commit(world: &mut CoreWorld, leader: NodeId, command: &str) -> EntryId {
    let entry = world.propose(leader, command);
    let Ok(entry) = entry else {
        std::panic::panic_any(Failure::new("the story goes as it should", "a leader proposes"));
    };
    wait(world, "it is applied", |world| world.applied(leader) >= entry.index);
    entry
}

pub(super) fn cut(world: &mut CoreWorld, a: NodeId, b: NodeId) {
    world.net().cut(a.0, b.0);
    world.net().cut(b.0, a.0);
}

pub(super) fn isolate(world: &mut CoreWorld, id: NodeId) {
    for other in world.nodes().into_iter().filter(|other| *other != id) {
        cut(world, id, other);
    }
    world.shade(id, "cut off");
}

pub(super) fn heal(world: &mut CoreWorld) {
    world.net().heal_all();
    world.light_net();
    for node in world.nodes() {
        world.light(node, "");
    }
}

/// Waits until another node leads. Returns which.
pub(super) fn another_leads(world: &mut CoreWorld, before: NodeId) -> NodeId {
    let other =
        |world: &CoreWorld| world.nodes().into_iter().find(|id| *id != before && leads(world, *id));
    wait(world, "another node leads", |world| other(world).is_some());
    other(world).unwrap_or(before)
}
