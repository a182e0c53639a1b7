//! The bytes of errands and their answers.
//!
//! ```text
//! errand        0 change: members: count u32 │ (kind u8 │ node u64) …
//!                         attributes: count u32 │ (node u64, ascending │ length u32 │ bytes) …
//!                         expected u8 │ [configuration] │ allow stall u8
//!                         terms u8: 1 a rule, 2 leases, 4 no leases any more
//!                         [configuration of nobody that has the rule and the leases]
//!                         feeders: count u32 │ (node u64, ascending │ has one u8 │ node u64) …
//!               1 report
//! answer        0 not the leader
//!               1 changed: group configuration
//!               2 refused: code u8 │ u64 │ u64; code 7 has the kind of change before them
//!               3 report: leader u64 │ term u64 │ last u64 │ committed u64 │ group configuration
//!                         count u32 │ (node u64 │ match u64 │ silent ms u64, all ones for never
//!                         │ needs snapshot u8 │ slow u8 │ counts u8) …
//!                         count u32 │ unguarded node u64 …
//! group configuration  index u64 │ committed u8 │ configuration
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{
    ChangeError, Configuration, ConfigurationChange, LeaseChange, LogIndex, MemberChange, NodeId,
    QuorumRule, RuleFault, Term,
};
use wal::codec;

use super::pieces::{put_bytes, put_length, take_bool, take_bytes, take_count, take_index};
use crate::errands::{Errand, ErrandAnswer, GroupReport, MemberReport};
use crate::peers::GroupConfiguration;

const CHANGE: u8 = 0;
const REPORT: u8 = 1;

const ANSWER_NOT_LEADER: u8 = 0;
const ANSWER_CHANGED: u8 = 1;
const ANSWER_REFUSED: u8 = 2;
const ANSWER_REPORT: u8 = 3;

const FEEDER_BYTES: usize = 8 + 1 + 8;
const MEMBER_CHANGE_BYTES: usize = 1 + 8;
const ATTRIBUTES_BYTES_MIN: usize = 8 + 4;
const MEMBER_REPORT_BYTES: usize = 3 * 8 + 3;
const NEVER: u64 = u64::MAX;

const RULE: u8 = 1;
const LEASE_SET: u8 = 2;
const LEASE_END: u8 = 4;

pub(super) fn put_errand(out: &mut BytesMut, errand: &Errand) {
    let change = match errand {
        Errand::Report => return out.put_u8(REPORT),
        Errand::Change(change) => change,
    };
    out.put_u8(CHANGE);
    put_length(out, change.members.len());
    change.members.iter().for_each(|change| put_member_change(out, *change));
    put_length(out, change.attributes.len());
    for (node, attributes) in &change.attributes {
        out.put_u64_le(node.0);
        put_bytes(out, attributes);
    }
    out.put_u8(u8::from(change.expected.is_some()));
    if let Some(expected) = &change.expected {
        codec::put_configuration(out, expected);
    }
    out.put_u8(u8::from(change.allow_stall));
    put_terms(out, change);
    put_length(out, change.feeders.len());
    for (learner, feeder) in &change.feeders {
        out.put_u64_le(learner.0);
        out.put_u8(u8::from(feeder.is_some()));
        out.put_u64_le(feeder.map_or(0, |feeder| feeder.0));
    }
}

fn take_feeders(input: &mut Bytes) -> Option<BTreeMap<NodeId, Option<NodeId>>> {
    let mut feeders: BTreeMap<NodeId, Option<NodeId>> = BTreeMap::new();
    for _ in 0..take_count(input, FEEDER_BYTES)? {
        let learner = NodeId(input.try_get_u64_le().ok()?);
        let feeder = match (take_bool(input)?, NodeId(input.try_get_u64_le().ok()?)) {
            (true, feeder) => Some(feeder),
            (false, NodeId(0)) => None,
            (false, _) => return None,
        };
        if feeders.last_key_value().is_some_and(|(last, _)| *last >= learner) {
            return None;
        }
        feeders.insert(learner, feeder);
    }
    Some(feeders)
}

/// What a change says of the rule and of leases.
fn put_terms(out: &mut BytesMut, change: &ConfigurationChange) {
    let (lease, lease_flag) = match change.lease {
        LeaseChange::Keep => (None, 0),
        LeaseChange::Set(terms) => (Some(terms), LEASE_SET),
        LeaseChange::End => (None, LEASE_END),
    };
    let rule_flag = if change.rule.is_some() { RULE } else { 0 };
    out.put_u8(rule_flag | lease_flag);
    if change.rule.is_some() || lease.is_some() {
        let rule = change.rule.clone().unwrap_or_default();
        codec::put_configuration(out, &Configuration { rule, lease, ..Configuration::default() });
    }
}

fn take_terms(input: &mut Bytes) -> Option<(Option<QuorumRule>, LeaseChange)> {
    let flags = input.try_get_u8().ok()?;
    let (has_rule, lease_flags) = (flags & RULE != 0, flags & !RULE);
    let carried = if has_rule || lease_flags == LEASE_SET {
        codec::take_configuration(input)?
    } else {
        Configuration::default()
    };
    let lease = match (lease_flags, carried.lease) {
        (0, None) => LeaseChange::Keep,
        (LEASE_SET, Some(terms)) => LeaseChange::Set(terms),
        (LEASE_END, None) => LeaseChange::End,
        _ => return None,
    };
    let rule = has_rule.then(|| carried.rule.clone());
    // Nothing else may be hidden in it.
    let plain = Configuration {
        rule: rule.clone().unwrap_or_default(),
        lease: carried.lease,
        ..Configuration::default()
    };
    (carried == plain).then_some((rule, lease))
}

pub(super) fn take_errand(input: &mut Bytes) -> Option<Errand> {
    match input.try_get_u8().ok()? {
        CHANGE => {}
        REPORT => return Some(Errand::Report),
        _ => return None,
    }
    let count = take_count(input, MEMBER_CHANGE_BYTES)?;
    let members = (0..count).map(|_| take_member_change(input)).collect::<Option<_>>()?;
    let count = take_count(input, ATTRIBUTES_BYTES_MIN)?;
    let mut attributes: BTreeMap<NodeId, Bytes> = BTreeMap::new();
    for _ in 0..count {
        let node = NodeId(input.try_get_u64_le().ok()?);
        if attributes.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return None;
        }
        attributes.insert(node, take_bytes(input)?);
    }
    let expected = if take_bool(input)? { Some(codec::take_configuration(input)?) } else { None };
    let allow_stall = take_bool(input)?;
    let (rule, lease) = take_terms(input)?;
    let feeders = take_feeders(input)?;
    Some(Errand::Change(Box::new(ConfigurationChange {
        members,
        attributes,
        lease,
        rule,
        feeders,
        expected,
        allow_stall,
        ..ConfigurationChange::default()
    })))
}

fn put_member_change(out: &mut BytesMut, change: MemberChange) {
    out.put_u8(match change {
        MemberChange::AddVoter(_) => 0,
        MemberChange::AddLearner(_) => 1,
        MemberChange::Promote(_) => 2,
        MemberChange::Demote(_) => 3,
        MemberChange::Remove(_) => 4,
        MemberChange::AddWitness(_) => 5,
    });
    out.put_u64_le(change.node().0);
}

fn take_member_change(input: &mut Bytes) -> Option<MemberChange> {
    let kind = input.try_get_u8().ok()?;
    member_change(kind, NodeId(input.try_get_u64_le().ok()?))
}

fn member_change(kind: u8, node: NodeId) -> Option<MemberChange> {
    Some(match kind {
        0 => MemberChange::AddVoter(node),
        1 => MemberChange::AddLearner(node),
        2 => MemberChange::Promote(node),
        3 => MemberChange::Demote(node),
        4 => MemberChange::Remove(node),
        5 => MemberChange::AddWitness(node),
        _ => return None,
    })
}

pub(super) fn put_answer(out: &mut BytesMut, answer: &ErrandAnswer) {
    match answer {
        ErrandAnswer::NotLeader => out.put_u8(ANSWER_NOT_LEADER),
        ErrandAnswer::Changed(led_to) => {
            out.put_u8(ANSWER_CHANGED);
            put_group_configuration(out, led_to);
        }
        ErrandAnswer::Refused(refusal) => {
            out.put_u8(ANSWER_REFUSED);
            put_refusal(out, refusal);
        }
        ErrandAnswer::Report(report) => {
            out.put_u8(ANSWER_REPORT);
            put_report(out, report);
        }
    }
}

pub(super) fn take_answer(input: &mut Bytes) -> Option<ErrandAnswer> {
    Some(match input.try_get_u8().ok()? {
        ANSWER_NOT_LEADER => ErrandAnswer::NotLeader,
        ANSWER_CHANGED => ErrandAnswer::Changed(take_group_configuration(input)?),
        ANSWER_REFUSED => ErrandAnswer::Refused(take_refusal(input)?),
        ANSWER_REPORT => ErrandAnswer::Report(take_report(input)?),
        _ => return None,
    })
}

pub(crate) fn put_group_configuration(out: &mut BytesMut, configuration: &GroupConfiguration) {
    out.put_u64_le(configuration.index.0);
    out.put_u8(u8::from(configuration.is_committed));
    codec::put_configuration(out, &configuration.configuration);
}

pub(crate) fn take_group_configuration(input: &mut Bytes) -> Option<GroupConfiguration> {
    Some(GroupConfiguration {
        index: take_index(input)?,
        is_committed: take_bool(input)?,
        configuration: codec::take_configuration(input)?,
    })
}

/// Code and two numbers; what a refusal does not need is 0.
fn put_refusal(out: &mut BytesMut, refusal: &ChangeError) {
    let (code, first, second) = match *refusal {
        ChangeError::NotLeader { leader_id } => (0, leader_id.map_or(0, |id| id.0), 0),
        ChangeError::TransferInProgress { to } => (1, to.0, 0),
        ChangeError::TermNotCommitted => (2, 0, 0),
        ChangeError::InProgress { index } => (3, index.0, 0),
        ChangeError::Unexpected { index } => (4, index.0, 0),
        ChangeError::Empty => (5, 0, 0),
        ChangeError::NamedTwice { node } => (6, node.0, 0),
        ChangeError::DoesNotFit { change } => {
            out.put_u8(7);
            put_member_change(out, change);
            return out.put_u64_le(0);
        }
        ChangeError::NoMember { node } => (8, node.0, 0),
        ChangeError::NoVoters => (9, 0, 0),
        ChangeError::LearnerLags { learner, match_index } => (10, learner.0, match_index.0),
        ChangeError::WouldStall { holding, voters } => (11, holding as u64, voters as u64),
        ChangeError::WasRemoved { node } => (12, node.0, 0),
        ChangeError::NothingToAbandon => (13, 0, 0),
        ChangeError::LeaseOutOfBounds { duration_us } => (14, duration_us, 0),
        ChangeError::Rule { fault } => rule_fault_code(fault),
        ChangeError::OnlyWitnesses => (16, 0, 0),
        ChangeError::CannotFeed { learner, feeder } => (17, learner.0, feeder.0),
        // No errand asks for a change in one step.
        ChangeError::NotInOneStep { .. } => (0, 0, 0),
        // One that has no code here yet: the receiver learns that it was refused, not why.
        _ => (0, 0, 0),
    };
    out.put_u8(code);
    out.put_u64_le(first);
    out.put_u64_le(second);
}

fn rule_fault_code(fault: RuleFault) -> (u8, u64, u64) {
    let (kind, number) = match fault {
        RuleFault::QuorumsApart { voters } => (0, voters as u64),
        RuleFault::OutOfReach { voters } => (1, voters as u64),
        RuleFault::NoVoter { node } => (2, node.0),
        RuleFault::NotNamed { node } => (3, node.0),
        RuleFault::NamedTwice { node } => (4, node.0),
        RuleFault::NoWeight => (5, 0),
        RuleFault::EmptyGroup => (6, 0),
        RuleFault::TooDeep => (7, 0),
        // As above.
        _ => return (0, 0, 0),
    };
    (15, kind, number)
}

fn rule_fault(kind: u64, number: u64) -> Option<RuleFault> {
    let node = NodeId(number);
    let voters = usize::try_from(number).ok()?;
    Some(match kind {
        0 => RuleFault::QuorumsApart { voters },
        1 => RuleFault::OutOfReach { voters },
        2 => RuleFault::NoVoter { node },
        3 => RuleFault::NotNamed { node },
        4 => RuleFault::NamedTwice { node },
        5 => RuleFault::NoWeight,
        6 => RuleFault::EmptyGroup,
        7 => RuleFault::TooDeep,
        _ => return None,
    })
}

fn take_refusal(input: &mut Bytes) -> Option<ChangeError> {
    let code = input.try_get_u8().ok()?;
    if code == 7 {
        let change = take_member_change(input)?;
        input.try_get_u64_le().ok()?;
        return Some(ChangeError::DoesNotFit { change });
    }
    let (first, second) = (input.try_get_u64_le().ok()?, input.try_get_u64_le().ok()?);
    let (node, index) = (NodeId(first), LogIndex(first));
    Some(match code {
        0 => ChangeError::NotLeader { leader_id: (first != 0).then_some(node) },
        1 => ChangeError::TransferInProgress { to: node },
        2 => ChangeError::TermNotCommitted,
        3 => ChangeError::InProgress { index },
        4 => ChangeError::Unexpected { index },
        5 => ChangeError::Empty,
        6 => ChangeError::NamedTwice { node },
        8 => ChangeError::NoMember { node },
        9 => ChangeError::NoVoters,
        10 => ChangeError::LearnerLags { learner: node, match_index: LogIndex(second) },
        12 => ChangeError::WasRemoved { node },
        13 => ChangeError::NothingToAbandon,
        14 => ChangeError::LeaseOutOfBounds { duration_us: first },
        15 => ChangeError::Rule { fault: rule_fault(first, second)? },
        16 => ChangeError::OnlyWitnesses,
        17 => ChangeError::CannotFeed { learner: node, feeder: NodeId(second) },
        11 => ChangeError::WouldStall {
            holding: usize::try_from(first).ok()?,
            voters: usize::try_from(second).ok()?,
        },
        _ => return None,
    })
}

fn put_report(out: &mut BytesMut, report: &GroupReport) {
    out.put_u64_le(report.leader_id.0);
    out.put_u64_le(report.term.0);
    out.put_u64_le(report.last_index.0);
    out.put_u64_le(report.commit_index.0);
    put_group_configuration(out, &report.configuration);
    put_length(out, report.members.len());
    for member in &report.members {
        out.put_u64_le(member.id.0);
        out.put_u64_le(member.match_index.0);
        out.put_u64_le(member.silent_ms.unwrap_or(NEVER));
        for flag in [member.needs_snapshot, member.is_slow, member.counts] {
            out.put_u8(u8::from(flag));
        }
    }
    put_length(out, report.unguarded.len());
    report.unguarded.iter().for_each(|node| out.put_u64_le(node.0));
}

fn take_report(input: &mut Bytes) -> Option<GroupReport> {
    let leader_id = NodeId(input.try_get_u64_le().ok()?);
    let term = Term(input.try_get_u64_le().ok()?);
    let (last_index, commit_index) = (take_index(input)?, take_index(input)?);
    let configuration = take_group_configuration(input)?;
    let count = take_count(input, MEMBER_REPORT_BYTES)?;
    let members = (0..count).map(|_| take_member_report(input)).collect::<Option<_>>()?;
    let count = take_count(input, 8)?;
    let unguarded: Option<_> =
        (0..count).map(|_| input.try_get_u64_le().ok().map(NodeId)).collect();
    Some(GroupReport {
        leader_id,
        term,
        last_index,
        commit_index,
        configuration,
        members,
        unguarded: unguarded?,
    })
}

fn take_member_report(input: &mut Bytes) -> Option<MemberReport> {
    let (id, match_index) = (NodeId(input.try_get_u64_le().ok()?), take_index(input)?);
    let silent_ms = input.try_get_u64_le().ok()?;
    let silent_ms = (silent_ms != NEVER).then_some(silent_ms);
    Some(MemberReport {
        id,
        match_index,
        silent_ms,
        needs_snapshot: take_bool(input)?,
        is_slow: take_bool(input)?,
        counts: take_bool(input)?,
    })
}
