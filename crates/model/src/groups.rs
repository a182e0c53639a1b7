//! The groups that are explored.

use raft::{MemberChange, NodeId, ReadMode, Transition};

use crate::begin::Begin;
use crate::bounds::Bounds;

type Changes = &'static [&'static [MemberChange]];

const NOTHING: Changes = &[];
/// Of two voters the first is replaced: C_old and C_new share one voter only.
const REPLACE: Changes = &[&[MemberChange::AddVoter(NodeId(3)), MemberChange::Remove(NodeId(1))]];
/// A third voter beside two.
const ADD: Changes = &[&[MemberChange::AddVoter(NodeId(3))]];
/// That, and then the first of the two goes: two leaders may begin one each (Ongaro, raft-dev
/// 2015).
const ADD_AND_REMOVE: Changes =
    &[&[MemberChange::AddVoter(NodeId(3))], &[MemberChange::Remove(NodeId(1))]];
/// Of three voters the third is replaced.
const REPLACE_THIRD: Changes =
    &[&[MemberChange::AddVoter(NodeId(4)), MemberChange::Remove(NodeId(3))]];

/// Three voters, two of which campaign, in two terms; nothing is asked of them.
const THREE: Bounds = Bounds {
    name: "three nodes",
    nodes: 3,
    voters: 3,
    candidates: 2,
    term_max: 2,
    entries_max: 2,
    proposals: 0,
    crashes: 0,
    transfers: 0,
    beats: 0,
    changes: NOTHING,
    transition: Transition::Joint,
    pre_vote: false,
    slow_disks: false,
    compactions: 0,
    reads: 0,
    read_mode: ReadMode::ReadIndex,
    has_witness: false,
    may_rest: false,
    passes: 0,
    begin: Begin::Nothing,
};

/// The same from where the first of them leads and has committed something.
const LED: Bounds = Bounds { begin: Begin::Led, ..THREE };

const GUARD: ReadMode = ReadMode::LeaseGuard { checks_limbo: false };

/// One of two voters is replaced by a third node.
const CHANGE: Bounds = Bounds { voters: 2, changes: REPLACE, entries_max: 4, ..THREE };

/// A third voter joins two in one step.
const STEP: Bounds =
    Bounds { changes: ADD, transition: Transition::OneStep, entries_max: 3, ..CHANGE };

/// Twenty seconds, all together.
pub(crate) fn short() -> Vec<Bounds> {
    vec![
        Bounds { name: "three candidates", candidates: 3, ..THREE },
        Bounds { name: "elections and a crash", crashes: 1, ..THREE },
        Bounds {
            name: "two nodes with slow disks and a crash",
            nodes: 2,
            voters: 2,
            candidates: 1,
            term_max: 1,
            slow_disks: true,
            crashes: 1,
            ..THREE
        },
        Bounds { name: "a command and a crash", proposals: 1, crashes: 1, candidates: 1, ..THREE },
        Bounds { name: "a change of members", ..CHANGE },
        Bounds { name: "a change in one step", ..STEP },
        Bounds {
            name: "two leaders change members in one step",
            changes: ADD_AND_REMOVE,
            entries_max: 4,
            candidates: 3,
            term_max: 3,
            crashes: 1,
            begin: Begin::LostChange,
            ..STEP
        },
        Bounds { name: "pre-vote and check-quorum", pre_vote: true, ..THREE },
        Bounds { name: "a transfer", transfers: 1, candidates: 1, ..THREE },
        Bounds { name: "a heartbeat", beats: 1, ..LED },
        Bounds { name: "a snapshot", compactions: 1, ..LED },
        Bounds { name: "a read by a round", reads: 1, ..LED },
        Bounds { name: "a read on the log", reads: 1, read_mode: GUARD, passes: 2, ..LED },
        Bounds {
            name: "two nodes that rest",
            nodes: 2,
            voters: 2,
            may_rest: true,
            beats: 1,
            reads: 1,
            ..THREE
        },
        Bounds {
            name: "a witness and a command",
            candidates: 3,
            has_witness: true,
            proposals: 1,
            ..LED
        },
    ]
}

/// Most of them half a minute each; some take an hour and more.
pub(crate) fn long() -> Vec<Bounds> {
    vec![
        Bounds { name: "three terms", term_max: 3, ..THREE },
        Bounds { name: "a command", proposals: 1, ..THREE },
        Bounds { name: "three candidates and a crash", candidates: 3, crashes: 1, ..THREE },
        Bounds { name: "slow disks", slow_disks: true, ..THREE },
        Bounds { name: "a change of members and a crash", crashes: 1, ..CHANGE },
        Bounds { name: "a change in one step and a crash", crashes: 1, ..STEP },
        Bounds {
            name: "a change of one in three and a crash",
            nodes: 4,
            voters: 3,
            changes: REPLACE_THIRD,
            crashes: 1,
            begin: Begin::Led,
            ..CHANGE
        },
        Bounds { name: "pre-vote and a crash", pre_vote: true, crashes: 1, ..THREE },
        Bounds { name: "a transfer between candidates", transfers: 1, ..THREE },
        Bounds { name: "a heartbeat from the beginning", beats: 1, ..THREE },
        Bounds { name: "a snapshot from the beginning", compactions: 1, ..THREE },
        Bounds { name: "reads by rounds", reads: 2, ..LED },
        Bounds {
            name: "a read on a lease",
            reads: 1,
            read_mode: ReadMode::Lease,
            passes: 2,
            ..LED
        },
        Bounds { name: "three nodes that rest", may_rest: true, beats: 1, reads: 1, ..LED },
        Bounds {
            name: "a witness, a command and a crash",
            has_witness: true,
            candidates: 3,
            proposals: 1,
            crashes: 1,
            ..LED
        },
    ]
}
