//! What is due and was forgotten: the call that nobody made leaves a state behind in which
//! something may happen that has not. And what may grow, with how large it is.

use alloc::format;
use alloc::vec::Vec;

use super::{Violation, require};
use crate::progress::Progress;
use crate::quorum::{Decision, Quorum};
use crate::role::{Leader, RoleState};
use crate::{LogIndex, Node, Payload};

pub(super) fn check(node: &Node) -> Result<(), Violation> {
    let waits = node.outbox.held_count(node.persister.durable());
    require(waits == 0, "what may leave has left", || {
        format!("node {} holds {waits} messages that wait for nothing", node.id())
    })?;
    let (first, last) = (node.reordered.first(), node.log.last().index);
    require(
        first.is_none_or(|first| first > last),
        "what the log has come up to is in it",
        || format!("node {} keeps what follows {first:?}, and has {last}", node.id()),
    )?;
    check_configurations(node)?;
    check_campaign(node)?;
    let RoleState::Leader(leader) = &node.role else { return Ok(()) };
    let vote = node.persister.of_hard_state();
    require(vote <= node.persister.durable(), "who leads has its vote on disk", || {
        format!("node {} leads term {} and has not written {vote:?}", node.id(), node.term())
    })?;
    let durable = node.persister.durable_index();
    let own = leader.members.iter().find(|member| member.id == node.id());
    let counted = own.map_or_else(LogIndex::default, |own| own.match_index);
    require(counted <= durable, "a leader counts what it has on disk", || {
        format!("leader {} counts {counted} of {durable}", node.id())
    })?;
    if node.is_deferring() {
        return Ok(());
    }
    // With witnesses the commands must be somewhere whole as well.
    let has_witnesses = !node.configurations.current().witnesses.is_empty();
    let whole = if has_witnesses { leader.clone().payloads_held() } else { u64::MAX };
    let agreed = agreed(node, leader).min(LogIndex(whole));
    let is_own = node.log.id_at(agreed).is_some_and(|id| id.term == node.term());
    require(!is_own || agreed <= node.commit_index, "what a quorum holds is committed", || {
        format!("leader {} commits {}, and {agreed} is held", node.id(), node.commit_index)
    })
}

/// Who asks for votes has one, in what it knows to be committed or in something behind it.
fn check_campaign(node: &Node) -> Result<(), Violation> {
    let campaigns = matches!(node.role, RoleState::PreCandidate(_) | RoleState::Candidate { .. });
    let mut since = node.configurations.since(node.commit_index);
    let is_voter = !campaigns || since.any(|configuration| configuration.is_voter(node.id()));
    require(is_voter, "only voters campaign", || {
        format!("node {} campaigns under {}", node.id(), node.configurations.current())
    })
}

/// What the books say that a quorum holds.
fn agreed(node: &Node, leader: &Leader) -> LogIndex {
    let held = |voter| {
        let book = leader.members.iter().find(|member| member.id == voter);
        book.map_or(0, Progress::counted_index)
    };
    let configuration = node.configurations.current();
    let mut values: Vec<u64> = configuration.members().map(held).collect();
    values.sort_unstable();
    LogIndex(configuration.quorum_value(Decision::Commit, &values, &held))
}

/// The history of configurations is what the log says, and nothing else (thesis §4.1).
fn check_configurations(node: &Node) -> Result<(), Violation> {
    let last = node.log.last().index;
    let ends = node.configurations.iter().all(|(index, _)| *index <= last);
    require(ends, "a configuration ends with its entry", || {
        format!("{:?} behind {last} on node {}", node.configurations, node.id())
    })?;
    let first = node.log.cache().iter().next().map_or(last, |entry| entry.id.index);
    let mark = node.log.mark().index;
    for (index, _) in node.configurations.iter().filter(|(index, _)| *index > mark) {
        let place = index.0.checked_sub(first.0).and_then(|place| usize::try_from(place).ok());
        let entry = place.and_then(|place| node.log.cache().iter().nth(place));
        let is_one = |entry: &crate::Entry| matches!(entry.payload, Payload::Configuration(_));
        require(entry.is_none_or(is_one), "a configuration ends with its entry", || {
            format!("{entry:?} is none on node {}", node.id())
        })?;
    }
    for entry in node.log.cache().iter() {
        let Payload::Configuration(configuration) = &entry.payload else { continue };
        let known = node.configurations.iter().find(|(index, _)| *index == entry.id.index);
        require(
            known.is_some_and(|(_, known)| *known == **configuration),
            "a configuration is in force with its entry",
            || format!("{configuration} of {} on node {}", entry.id, node.id()),
        )?;
    }
    Ok(())
}

/// How much there is of what others can make grow, and how much there may be, whatever they send.
#[must_use]
pub fn sizes(node: &Node) -> [(&'static str, usize, usize); 6] {
    let ballots = match &node.role {
        RoleState::PreCandidate(ballots) | RoleState::Candidate { ballots, .. } => ballots.count(),
        RoleState::Follower { .. } | RoleState::Leader(_) => 0,
    };
    let held = node.outbox.held_count(crate::PersistNumber(u64::MAX));
    [
        ("answers that wait for the disk", held, crate::outbox::HELD_MAX),
        // Voters may have come and gone since the campaign began; a term has few of them.
        ("ballots", ballots, 64),
        ("fetches", node.fetching.len(), 64),
        ("bytes that came too early", node.reordered.size_bytes(), node.options.reorder_bytes_max),
        ("reads", node.pending_reads(), node.options.pending_reads_max),
        ("questions of learners", node.questions.len(), crate::feeding::QUESTIONS_MAX),
    ]
}
