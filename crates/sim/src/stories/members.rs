//! Stories of members that come and go.

use raft::{ChangeError, Configuration, ConfigurationChange, MemberChange};

use super::Story;
use super::cast::{
    another_leads, begin, commit, expect, heal, isolate, last_of, leads, n, three, wait,
};
use crate::core::{CoreOptions, CoreWorld};

/// Nodes of which the first are members.
fn of(nodes: u64, members: u64) -> CoreOptions {
    let members = Configuration::of_voters((1..=members).map(n));
    CoreOptions { members, ..CoreOptions::new(nodes, nodes) }
}

fn voters(world: &CoreWorld, node: u64) -> Vec<u64> {
    let Some(node) = world.node(n(node)) else { return Vec::new() };
    let configuration = node.configuration();
    if configuration.is_joint() {
        return Vec::new();
    }
    configuration.voters.iter().map(|voter| voter.0).collect()
}

pub(super) const JOINT_CONSENSUS: Story = Story {
    name: "joint-consensus",
    title: "All but one of the members change in one step",
    about: &[
        "Nodes 4 and 5 take the places of 1 and 2: in between a joint configuration is in force, in \
         which a majority of the old and one of the new voters must agree (thesis §4.3).",
        "At no time can two majorities decide beside each other; the leader is not in the new \
         configuration, and steps down when it is committed.",
    ],
    options: || of(5, 3),
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        let change = ConfigurationChange {
            allow_stall: true,
            ..ConfigurationChange::of([
                MemberChange::AddVoter(n(4)),
                MemberChange::AddVoter(n(5)),
                MemberChange::Remove(n(1)),
                MemberChange::Remove(n(2)),
            ])
        };
        expect(world.change(n(1), &change).is_ok(), "the change begins");
        world.say("The joint configuration is in force as soon as it is in a log.");
        wait(world, "the new configuration is everywhere", |world| {
            [3, 4, 5].iter().all(|node| voters(world, *node) == [3, 4, 5])
        });
        wait(world, "the old leader steps down", |world| !leads(world, n(1)));
        let leader = another_leads(world, n(1));
        expect(leader.0 >= 3, "one of the new voters leads");
        commit(world, leader, "x=2");
        world.run_ms(100);
    },
};

pub(super) const SINGLE_SERVER_CHANGE: Story = Story {
    name: "single-server-change-bug",
    title: "The bug of single-server changes",
    about: &[
        "A leader of term 1 appends a change that reaches nobody; a leader of term 2 is asked for \
         another one at once. Each alone would be safe, and both together are not: their \
         majorities need not meet (Ongaro, raft-dev, 2015).",
        "So a leader changes nothing before an entry of its own term is committed; by then the change \
         of term 1 can no longer come back.",
    ],
    options: || of(5, 4),
    tell: |world| {
        begin(world, n(1));
        isolate(world, n(1));
        let add = ConfigurationChange {
            allow_stall: true,
            ..ConfigurationChange::of([MemberChange::AddVoter(n(5))])
        };
        expect(world.change(n(1), &add).is_ok(), "node 1 appends a change that reaches nobody");
        // At the very moment when another leads.
        let next = another_leads(world, n(1));
        let remove = ConfigurationChange::of([MemberChange::Remove(n(1))]);
        let refused = world.change(next, &remove);
        expect(refused == Err(ChangeError::TermNotCommitted), "refused before the no-op commits");
        world.say("Refused: no entry of term 2 is committed yet.");
        wait(world, "the no-op is committed", |world| {
            world.applied(next) == last_of(world, next).index
        });
        expect(world.change(next, &remove).is_ok(), "now it may begin");
        wait(world, "it is done", |world| voters(world, next.0) == [2, 3, 4]);
        heal(world);
        world.run_ms(300);
        expect(voters(world, 3) == [2, 3, 4], "the change of term 1 never comes back");
    },
};

pub(super) const REMOVED_LEADER: Story = Story {
    name: "removed-leader",
    title: "A leader removes itself",
    about: &[
        "The leader is asked to remove itself: it goes on leading until the configuration without it \
         is committed, without counting itself.",
        "Then it steps down, and one of the others is elected (thesis §4.2.2).",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        let change = ConfigurationChange::of([MemberChange::Remove(n(1))]);
        expect(world.change(n(1), &change).is_ok(), "the change begins");
        wait(world, "it steps down", |world| !leads(world, n(1)));
        let next = another_leads(world, n(1));
        commit(world, next, "x=1");
        world.run_ms(400);
        expect(voters(world, 2) == [2, 3], "two are left");
        expect(leads(world, next), "and nobody disturbs them");
    },
};

pub(super) const REMOVED_NODE: Story = Story {
    name: "removed-node",
    title: "A removed node that never heard of it",
    about: &[
        "Node 3 is removed while it is cut off, so it still believes to be a member, and campaigns \
         when it hears no leader.",
        "The others hear theirs and refuse: a node that was removed disturbs nobody (thesis §4.2.3).",
    ],
    options: three,
    tell: |world| {
        begin(world, n(1));
        isolate(world, n(3));
        let change = ConfigurationChange::of([MemberChange::Remove(n(3))]);
        expect(world.change(n(1), &change).is_ok(), "the change begins");
        wait(world, "it is removed", |world| voters(world, 1) == [1, 2]);
        heal(world);
        world.say("Node 3 is back, and nobody writes to it any more.");
        world.run_ms(700);
        commit(world, n(1), "x=1");
        world.run_ms(60);
        expect(leads(world, n(1)), "the leader stays");
        expect(world.node(n(1)).map(|node| node.term().0) == Some(1), "in its term");
    },
};

pub(super) const LEARNER: Story = Story {
    name: "learner",
    title: "A learner becomes a voter",
    about: &[
        "A new node is added as a learner: it receives the log and does not vote, so it cannot slow \
         the group down.",
        "Once it has the log it is promoted, and counts from then on (thesis §4.2.1).",
    ],
    options: || of(4, 3),
    tell: |world| {
        begin(world, n(1));
        commit(world, n(1), "x=1");
        let add = ConfigurationChange::of([MemberChange::AddLearner(n(4))]);
        expect(world.change(n(1), &add).is_ok(), "it is added");
        wait(world, "it has the log", |world| world.applied(n(4)) == world.applied(n(1)));
        world.run_ms(60);
        let promote = ConfigurationChange::of([MemberChange::Promote(n(4))]);
        expect(world.change(n(1), &promote).is_ok(), "it is promoted");
        wait(world, "it votes", |world| voters(world, 4) == [1, 2, 3, 4]);
        commit(world, n(1), "x=2");
        world.run_ms(100);
    },
};
