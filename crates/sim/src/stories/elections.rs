//! Stories of elections.

use std::time::Duration;

use raft::Role;

use super::Story;
use super::cast::{
    another_leads, begin, commit, cut, elect, expect, five, four, heal, isolate, last_of, leads, n,
    plain, role_of, three, wait,
};
use crate::core::{CoreOptions, CoreWorld};

pub(super) const FIRST_ELECTION: Story = Story {
    name: "first-election",
    title: "The first election",
    about: &[
        "Three nodes begin as followers; the one whose timeout ends first asks whether it could \
         win (pre-vote), then asks for votes, and leads once a majority has given one.",
        "It appends an empty entry of its term, and from then on what a client asks for is \
         committed as soon as a majority has it on disk.",
    ],
    options: three,
    tell: |world| {
        world.start_all();
        world.say("Three followers, each with a timeout of its own.");
        world.run_ms(40);
        elect(world, n(2));
        world.say("A majority has voted: node 2 leads.");
        wait(world, "the first entry is committed", |world| world.applied(n(2)).0 == 1);
        world.run_ms(30);
        commit(world, n(2), "x=1");
        world.run_ms(160);
        expect(last_of(world, n(1)) == last_of(world, n(2)), "all have the command");
    },
};

pub(super) const SPLIT_VOTE: Story = Story {
    name: "split-vote",
    title: "A split vote",
    about: &[
        "Two of four nodes time out together; each votes for itself and gets one more vote, and two \
         of four are no majority.",
        "Their next timeouts are random, so they do not end together again: one asks first in a \
         later term and wins (Raft §5.2).",
    ],
    options: || plain(four()),
    tell: |world| {
        world.start_all();
        world.run_ms(20);
        // Who hears whom decides the vote: 2 hears 1 first, 3 hears 4 first.
        world.net().cut(1, 3);
        world.net().cut(4, 2);
        world.time_out(n(1));
        world.time_out(n(4));
        world.run_ms(45);
        let campaign = |id| role_of(world, n(id)) == Some(Role::Candidate);
        expect(campaign(1) && campaign(4), "both campaign in one term");
        world.say("Two candidates, two votes each: nobody wins this term.");
        heal(world);
        let elected = |world: &CoreWorld| world.leader().is_some();
        wait(world, "one wins in the end", elected);
        world.say("A random timeout ended first: a later term has a leader.");
        world.run_ms(100);
    },
};

pub(super) const LEADER_CRASH: Story = Story {
    name: "leader-crash",
    title: "A leader crashes",
    about: &[
        "The leader loses its power; after an election timeout without heartbeats another node is \
         elected, and what was committed is there.",
        "The old leader comes back as a follower of the new term and receives what it missed.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        world.run_ms(60);
        world.crash(n(1));
        let next = another_leads(world, n(1));
        commit(world, next, "x=2");
        world.run_ms(50);
        world.start(n(1));
        wait(world, "it catches up", |world| world.applied(n(1)) == world.applied(next));
        world.run_ms(60);
        expect(last_of(world, n(1)) == last_of(world, next), "the logs are equal");
    },
};

/// A node that was away for long, and came back.
fn come_back(world: &mut CoreWorld) -> u64 {
    begin(world, n(1));
    isolate(world, n(3));
    world.run_ms(900);
    let term = world.node(n(3)).map_or(0, |node| node.term().0);
    heal(world);
    term
}

pub(super) const DISRUPTIVE_SERVER: Story = Story {
    name: "disruptive-server",
    title: "A disruptive server",
    about: &[
        "Without pre-vote and check-quorum a node that is cut off campaigns again and again, and \
         its term grows.",
        "When it comes back, its high term makes a healthy leader step down, although it can never \
         win with its old log (thesis §4.2.3).",
    ],
    options: || plain(three()),
    tell: |world| {
        begin(world, n(1));
        isolate(world, n(3));
        world.run_ms(400);
        commit(world, n(1), "x=1");
        world.run_ms(500);
        let term = world.node(n(3)).map_or(0, |node| node.term().0);
        expect(term > 2, "its term has grown");
        heal(world);
        world.say("Node 3 is back, with a term that nobody led.");
        wait(world, "the leader is deposed", |world| !leads(world, n(1)));
        wait(world, "somebody is elected again", |world| world.leader().is_some());
        world.run_ms(300);
        expect(world.leader() != Some(n(3)), "not the one that was away");
    },
};

pub(super) const PRE_VOTE: Story = Story {
    name: "pre-vote",
    title: "The same with pre-vote",
    about: &[
        "A node that is cut off asks whether it could win before it begins a term, and gets no \
         answer: its term stays.",
        "When it comes back the others refuse, since they hear their leader; nothing is disturbed \
         (thesis §9.6).",
    ],
    options: three,
    tell: |world| {
        let term = come_back(world);
        expect(term == 1, "its term has not grown");
        world.run_ms(400);
        expect(leads(world, n(1)), "the leader still leads");
        expect(world.node(n(1)).map(|node| node.term().0) == Some(1), "in its first term");
    },
};

pub(super) const LEADERSHIP_TRANSFER: Story = Story {
    name: "leadership-transfer",
    title: "Leadership is handed over",
    about: &[
        "The leader stops taking commands, brings the chosen follower's log up to date and tells it \
         to campaign at once (thesis §3.10).",
        "The election takes one round of votes instead of a timeout.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        let begun = world.transfer(n(1), Some(n(3)));
        expect(begun.is_ok(), "the transfer begins");
        wait(world, "node 3 leads", |world| leads(world, n(3)));
        commit(world, n(3), "x=2");
        world.run_ms(100);
        expect(!leads(world, n(1)), "the old one follows");
    },
};

pub(super) const VOTE_WAITS_FOR_THE_DISK: Story = Story {
    name: "vote-waits-for-the-disk",
    title: "A vote that is not on disk is not given",
    about: &[
        "Node 2 decides to vote for node 1 while its disk hangs, so its answer does not leave; then \
         it crashes and forgets the vote.",
        "In the same term it votes for node 3: had the first answer been sent before it was \
         durable, one term could have had two leaders.",
    ],
    options: || plain(three()),
    tell: |world| {
        world.start_all();
        world.run_ms(20);
        world.hang_disk(n(2));
        cut(world, n(1), n(3));
        world.time_out(n(1));
        world.run_ms(60);
        expect(role_of(world, n(1)) == Some(Role::Candidate), "no answer has come");
        world.say("The grant waits for the disk, and dies with the process.");
        world.crash(n(2));
        world.light(n(2), "");
        world.run_ms(5);
        world.start(n(2));
        cut(world, n(1), n(2));
        world.time_out(n(3));
        wait(world, "node 3 wins the same term", |world| leads(world, n(3)));
        expect(!leads(world, n(1)), "and node 1 does not");
        heal(world);
        world.run_ms(150);
    },
};

pub(super) const HUNG_DISK: Story = Story {
    name: "hung-disk",
    title: "The leader's disk hangs",
    about: &[
        "The leader's disk stops answering; the others acknowledge, so commands still commit, but \
         the leader could not vouch for anything.",
        "After a bound it gives up leadership, and does not campaign until its disk answers again.",
    ],
    options: || {
        let mut options: CoreOptions = five();
        options.node_options.write_stall_ticks_max = 300;
        options
    },
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        world.hang_disk(n(1));
        expect(world.propose(n(1), "x=2").is_ok(), "it still leads");
        let next = another_leads(world, n(1));
        commit(world, next, "x=3");
        world.run_ms(100);
        world.mend_disk(n(1));
        world.run_ms(250);
        expect(last_of(world, n(1)) == last_of(world, next), "it has what the others have");
    },
};

pub(super) const CLOCK_STOPS: Story = Story {
    name: "clock-stops",
    title: "The leader's clock stands still",
    about: &[
        "The leader's clock stops, so it sends no heartbeats and does not notice; the others elect a \
         leader of a later term.",
        "It still believes that it leads, and can do no harm: nobody accepts its term any more.",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        world.clock_of(n(1)).set_rate_ppm(0);
        world.clock_was_set(n(1));
        world.shade(n(1), "its clock stands still");
        let next = another_leads(world, n(1));
        commit(world, next, "x=1");
        world.run_ms(100);
        world.clock_of(n(1)).mend();
        world.clock_was_set(n(1));
        world.light(n(1), "");
        wait(world, "it follows", |world| role_of(world, n(1)) == Some(Role::Follower));
        let caught_up = |world: &CoreWorld| world.applied(n(1)) == world.applied(next);
        expect(world.run_until(Duration::from_secs(1), caught_up), "it has what the others have");
        world.run_ms(60);
    },
};
