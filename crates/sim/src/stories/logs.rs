//! Stories of logs: what is committed, what is overwritten, what is cut.

use raft::{EntryId, NodeId};

use super::Story;
use super::cast::{
    another_leads, begin, commit, commit_of, cut, elect, expect, five, heal, isolate, last_of,
    leads, n, plain, three, wait,
};
use crate::core::{CoreOptions, CoreWorld};

/// The five logs of Figure 8, one entry a message.
fn figure_8() -> CoreOptions {
    let mut options = plain(five());
    options.node_options.append_batch_bytes_max = 40;
    options
}

fn match_of(world: &CoreWorld, leader: NodeId, follower: NodeId) -> u64 {
    let Some(node) = world.node(leader) else { return 0 };
    let followers = node.status().followers;
    followers.iter().find(|other| other.id == follower).map_or(0, |other| other.match_index.0)
}

/// (a) and (b) have happened; (c) node 1 leads term 4 and brings 2@2 to nodes 3 and 4.
fn until_c(world: &mut CoreWorld) {
    for (node, terms) in [(1, &[1, 2][..]), (2, &[1, 2]), (3, &[1]), (4, &[1]), (5, &[1, 3])] {
        world.load(n(node), 3, terms);
    }
    world.start_all();
    world.say(
        "(a) Node 1 led term 2 and brought 2@2 to node 2. (b) Node 5 led term 3 and has 2@3 alone.",
    );
    isolate(world, n(5));
    world.run_ms(20);
    elect(world, n(1));
    cut(world, n(1), n(2));
    wait(world, "2@2 is on nodes 3 and 4", |world| {
        match_of(world, n(1), n(3)) == 2 && match_of(world, n(1), n(4)) == 2
    });
    world.say(
        "(c) 2@2 is on a majority and node 1 knows it. It is not committed: its term is an old one.",
    );
    expect(commit_of(world, n(1)) < 2, "an entry of an old term does not commit by counting");
}

pub(super) const FIGURE_8: Story = Story {
    name: "figure-8",
    title: "Figure 8: an entry on a majority that is lost",
    about: &[
        "An entry of term 2 is on a majority of five nodes, and still a node with an entry of term 3 \
         can be elected and overwrite it (Raft Figure 8, a to d).",
        "So a leader commits by counting only entries of its own term; had it committed the old one, \
         a committed entry would be lost here.",
    ],
    options: figure_8,
    tell: |world| {
        until_c(world);
        // What it sends now, its own entry among it, reaches nobody.
        isolate(world, n(1));
        world.run_ms(20);
        world.crash(n(1));
        heal(world);
        elect(world, n(5));
        world.say("(d) Node 5 wins with votes of 2, 3 and 4: its last term is higher than theirs.");
        let overwritten = |world: &CoreWorld| {
            [2, 3, 4].iter().all(|id| {
                world.node(n(*id)).is_some_and(|node| node.last().term == last_of(world, n(5)).term)
            })
        };
        wait(world, "2@2 is overwritten", overwritten);
        world.start(n(1));
        wait(world, "node 1 too", |world| last_of(world, n(1)) == last_of(world, n(5)));
        world.run_ms(120);
        expect(commit_of(world, n(3)) >= 3, "what node 5 had is committed with its own entry");
    },
};

pub(super) const FIGURE_8_COMMITTED: Story = Story {
    name: "figure-8-committed",
    title: "Figure 8 (e): the leader's own entry commits all before it",
    about: &[
        "As in figure-8, but node 1 also brings an entry of its own term to a majority before it \
         crashes: with that entry everything before it is committed.",
        "Node 5 cannot win any more, since a majority has a last entry of a higher term.",
    ],
    options: figure_8,
    tell: |world| {
        until_c(world);
        wait(world, "3@4 is committed", |world| commit_of(world, n(1)) == 3);
        world.say("(e) 3@4 is on a majority: it is committed, and 1@1 and 2@2 with it.");
        world.run_ms(60);
        world.crash(n(1));
        heal(world);
        world.run_ms(20);
        world.time_out(n(5));
        world.run_ms(60);
        expect(!leads(world, n(5)), "nodes 3 and 4 refuse: its log is behind");
        let next = another_leads(world, n(5));
        wait(world, "everybody has it", |world| last_of(world, n(5)) == last_of(world, next));
        world.run_ms(100);
        expect(commit_of(world, n(5)) >= 3, "node 5 as well");
    },
};

pub(super) const OVERWRITTEN_ENTRY: Story = Story {
    name: "overwritten-entry",
    title: "An entry that never reached a majority",
    about: &[
        "A leader that is cut off takes a command that reaches nobody; the others elect a leader of a \
         later term and go on.",
        "When it comes back, its entry conflicts with theirs and is dropped: its client was never \
         told that it was done.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        isolate(world, n(1));
        let lost = world.propose(n(1), "x=lost").unwrap_or_default();
        let next = another_leads(world, n(1));
        commit(world, next, "x=2");
        heal(world);
        wait(world, "the logs are equal", |world| last_of(world, n(1)) == last_of(world, next));
        world.run_ms(120);
        expect(lost != EntryId::default(), "it was placed in a log");
        expect(world.applied(n(1)) == world.applied(next), "and another was applied in its place");
    },
};

pub(super) const SNAPSHOT_CATCH_UP: Story = Story {
    name: "snapshot-catch-up",
    title: "A follower that needs a snapshot",
    about: &[
        "A follower is away while the others commit, and cut from their logs what their snapshots \
         stand for.",
        "What it lacks is in no log any more, so the leader sends its state instead, and the log \
         behind it (Raft §7).",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        world.crash(n(3));
        for number in 1..=6 {
            commit(world, n(1), &format!("x={number}"));
        }
        world.run_ms(60);
        world.compact(n(1));
        world.compact(n(2));
        world.say("Nodes 1 and 2 cut their logs.");
        world.run_ms(60);
        world.start(n(3));
        commit(world, n(1), "x=7");
        wait(world, "it has the state", |world| world.applied(n(3)) == world.applied(n(1)));
        world.run_ms(100);
        expect(world.node(n(3)).is_some_and(|node| node.mark().index.0 > 0), "by a snapshot");
    },
};

pub(super) const POWER_LOSS: Story = Story {
    name: "power-loss",
    title: "Everybody loses power",
    about: &[
        "All machines lose their power right after a client was told that its command is done.",
        "It was on the disks of a majority, and any majority that meets again has it.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        let kept = commit(world, n(1), "x=kept");
        for node in world.nodes() {
            world.crash(node);
        }
        world.say("Nothing runs. What is on the disks is all there is.");
        world.run_ms(60);
        world.start(n(2));
        world.start(n(3));
        wait(world, "a majority elects", |world| world.leader().is_some());
        let leader = world.leader().unwrap_or_else(|| n(2));
        wait(world, "and applies it", |world| world.applied(leader) >= kept.index);
        world.start(n(1));
        world.run_ms(200);
        expect(world.applied(n(1)) >= kept.index, "all have it");
    },
};
