//! Stories of networks that are broken in one shape or another.

use std::time::Duration;

use super::Story;
use super::cast::{
    another_leads, begin, commit, commit_of, cut, elect, expect, five, heal, isolate, leads, n,
    three, wait,
};
use crate::core::CoreWorld;

pub(super) const MINORITY_LEADER: Story = Story {
    name: "minority-leader",
    title: "A partition with the leader on the small side",
    about: &[
        "Five nodes fall apart, the leader with one follower on one side and three nodes on the \
         other: the small side commits nothing, the large side elects and goes on.",
        "When the network is whole again, the old leader learns of the higher term and follows.",
    ],
    options: five,
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        for small in [1, 2] {
            for large in [3, 4, 5] {
                cut(world, n(small), n(large));
            }
        }
        world.shade_net("1 2 | 3 4 5");
        let stuck = world.propose(n(1), "x=stuck").unwrap_or_default();
        let next = another_leads(world, n(1));
        commit(world, next, "x=2");
        expect(commit_of(world, n(1)) < stuck.index.0, "the small side commits nothing");
        heal(world);
        wait(world, "all follow", |world| world.applied(n(1)) == world.applied(next));
        world.run_ms(100);
    },
};

pub(super) const ASYMMETRIC_PARTITION: Story = Story {
    name: "asymmetric-partition",
    title: "A leader that can send and not receive",
    about: &[
        "What the leader sends arrives and no answer comes back: its heartbeats keep everybody quiet, \
         and nothing is committed.",
        "With check-quorum it notices that it hears no majority and steps down, so that another can \
         be elected (thesis §6.2).",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        world.net().cut(2, 1);
        world.net().cut(3, 1);
        world.shade(n(1), "hears nobody");
        let _placed = world.propose(n(1), "x=1");
        wait(world, "it steps down", |world| !leads(world, n(1)));
        let next = another_leads(world, n(1));
        commit(world, next, "x=2");
        world.run_ms(150);
        heal(world);
        wait(world, "all are even", |world| world.applied(n(1)) == world.applied(next));
        world.run_ms(60);
    },
};

pub(super) const CHAINED_LINKS: Story = Story {
    name: "chained-links",
    title: "Three nodes in a row",
    about: &[
        "The wire between the leader and one follower breaks; the node in the middle hears both.",
        "The lonely follower asks for pre-votes and is refused, because the middle node hears its \
         leader: there is no change of leaders back and forth (OmniPaxos, EuroSys 2023).",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        cut(world, n(1), n(3));
        world.shade_net("1 - 2 - 3");
        world.run_ms(500);
        commit(world, n(1), "x=1");
        world.run_ms(500);
        expect(leads(world, n(1)), "the leader stays");
        expect(world.node(n(1)).map(|node| node.term().0) == Some(1), "in its term");
        heal(world);
        world.run_ms(150);
    },
};

pub(super) const QUORUM_LOSS: Story = Story {
    name: "quorum-loss",
    title: "Only one node hears a majority",
    about: &[
        "All wires break but those of node 1, and node 3 leads: it hears only itself and node 1, so \
         it steps down.",
        "Only node 1 can win an election now, and it does, within a few timeouts (OmniPaxos, EuroSys \
         2023).",
    ],
    options: five,
    tell: |world| {
        begin(world, n(3));
        for a in 2..=5 {
            for b in a + 1..=5 {
                cut(world, n(a), n(b));
            }
        }
        world.shade_net("all hear only 1");
        let led = |world: &CoreWorld| leads(world, n(1));
        let within = Duration::from_millis(4 * 300);
        expect(world.run_until(within, led), "node 1 leads within four timeouts");
        commit(world, n(1), "x=1");
        world.run_ms(200);
        expect(leads(world, n(1)), "and goes on leading");
    },
};

pub(super) const FLAPPING_LINK: Story = Story {
    name: "flapping-link",
    title: "A wire that comes and goes",
    about: &[
        "The wire between the leader and a follower breaks and is mended about once in an election \
         timeout.",
        "Each time the follower is about to campaign, and each time pre-vote keeps it from \
         disturbing a leader that the others hear.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        for _ in 0..4 {
            cut(world, n(1), n(3));
            world.shade_net("1 and 3 apart");
            world.run_ms(170);
            heal(world);
            world.run_ms(90);
        }
        commit(world, n(1), "x=1");
        world.run_ms(100);
        expect(leads(world, n(1)), "one leader all along");
        expect(world.applied(n(3)) == world.applied(n(1)), "and the follower has everything");
    },
};

pub(super) const STALE_READ: Story = Story {
    name: "stale-read-index",
    title: "A deposed leader is asked to read",
    about: &[
        "A leader is cut off and does not know that another one leads; a client asks it for a \
         linearizable read.",
        "It must hear from a majority before it answers (ReadIndex, thesis §6.4), and does not: had \
         it answered by itself, the client would have missed a newer write.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        world.read(n(1), 1);
        let answered = |world: &CoreWorld| {
            world.answer_of(n(1), 1).is_some_and(|read| read.answer.flatten().is_some())
        };
        wait(world, "a healthy leader answers after one round", answered);
        isolate(world, n(1));
        world.run_ms(20);
        world.read(n(1), 2);
        let next = another_leads(world, n(1));
        commit(world, next, "x=2");
        world.run_ms(100);
        let served = world.answer_of(n(1), 2).and_then(|read| read.answer.flatten());
        expect(served.is_none(), "the deposed leader serves nothing");
        heal(world);
        world.run_ms(200);
    },
};

pub(super) const LEASE_READ: Story = Story {
    name: "lease-read",
    title: "A read on a lease",
    about: &[
        "The followers have promised not to elect anybody else for a while, so the leader answers a \
         read at once, without asking anybody (thesis §6.4.1).",
        "Cut off, it stops doing so before the promise ends: no read is served beside a new leader.",
    ],
    options: || {
        let mut options = three();
        options.node_options.lease_drift_ppm = Some(0);
        options
    },
    tell: |world| {
        world.start_all();
        world.say("A node that begins keeps its last life's promise: it votes for nobody yet.");
        world.run_ms(140);
        elect(world, n(1));
        commit(world, n(1), "x=1");
        world.run_ms(80);
        world.read_lease(n(1), 1);
        let at_once = world.answer_of(n(1), 1).and_then(|read| read.answer.flatten());
        expect(at_once.is_some(), "it is answered at once");
        isolate(world, n(1));
        world.run_ms(160);
        world.read_lease(n(1), 2);
        world.run_ms(20);
        let late = world.answer_of(n(1), 2).and_then(|read| read.answer.flatten());
        expect(late.is_none(), "the lease is over");
        let next = another_leads(world, n(1));
        commit(world, next, "x=2");
        heal(world);
        world.run_ms(200);
    },
};
