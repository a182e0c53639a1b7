//! Every safety property by name: of one state, of one step, of a message, of a cluster.
//!
//! The idea is LogCabin's (`RaftConsensusInvariants`): a checker that knows nothing of how the core
//! works catches the forgotten call. Tests and simulators run all of it after every step.
//!
//! `docs/invariants.md` is the catalogue: each property with its source and a sentence.

mod cluster;
mod decided;
mod due;
pub mod timeless;

pub use cluster::Cluster;
pub use decided::{Decided, InForce};
pub use due::sizes;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::configuration::is_sound;
use crate::configuration::one_step::is_one_step;
use crate::progress::ProgressState;
use crate::role::RoleState;
use crate::{
    AppendOutcome, Body, Configuration, Entry, EntryId, HardState, LogIndex, Message, Node, NodeId,
    Payload, Role, Term,
};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// The property.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

fn require(
    holds: bool,
    property: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { property, detail: detail() }) }
}

/// What holds in every state of a node.
///
/// # Errors
/// The first property that does not hold.
pub fn check_state(node: &Node) -> Result<(), Violation> {
    let (mark, last) = (node.log.mark(), node.log.last());
    let (commit, durable) = (node.commit_index, node.persister.durable_index());
    let (applied, handed_out) = (node.apply.applied(), node.apply.handed_out());
    let order = || {
        format!(
            "mark {mark} applied {applied} handed out {handed_out} commit {commit} last {last} \
             durable {durable}"
        )
    };
    require(mark.index <= commit, "mark <= commit", order)?;
    require(commit <= last.index, "commit <= last", order)?;
    require(durable <= last.index, "durable <= last", order)?;
    require(handed_out <= commit, "handed out <= commit", order)?;
    require(node.apply.is_installing() || handed_out <= durable, "handed out <= durable", order)?;
    require(applied <= handed_out, "applied <= handed out", order)?;
    require(node.apply.is_installing() || mark.index <= applied, "mark <= applied", order)?;
    require(last.term <= node.term(), "last term <= current term", || {
        format!("last {last}, current term {}", node.term())
    })?;
    check_cache(node)?;
    due::check(node)?;
    for (index, configuration) in node.configurations.iter() {
        let is_sound = index.0 == 0 || is_sound(configuration);
        require(is_sound, "nobody has two roles", || format!("{configuration} of {index}"))?;
    }
    check_change(node)?;
    check_witness(node)?;
    let rests_rightly = !node.is_resting || node.leader_id().is_some();
    require(rests_rightly, "only who knows its leader rests", order)?;
    if let RoleState::Leader(leader) = &node.role {
        for member in &leader.members {
            let books = || format!("member {} of leader {}: {member:?}", member.id, node.id());
            require(member.match_index < member.next_index, "match < next", books)?;
            require(member.match_index <= last.index, "match <= last", books)?;
            let is_read_for = member.reads_from.is_none_or(|at| node.fetching.contains(&at));
            require(is_read_for, "who waits for a read is read for", books)?;
            if let ProgressState::Replicate(inflights) = &member.state {
                let (count, bytes) = inflights.counters();
                let is_empty = member.next_index == member.match_index.next();
                require(!is_empty || (count, bytes) == (0, 0), "inflights do not leak", books)?;
                require((count == 0) == (bytes == 0), "inflights agree", books)?;
                let options = &node.options;
                let one = options.append_batch_bytes_max.max(inflights.largest());
                let has_end = count <= options.window_messages_max
                    && bytes < options.window_bytes_max.saturating_add(one);
                require(has_end, "the window has an end", books)?;
            }
        }
        let waits = leader.guard.deferral.is_some();
        let keeps_waiting = !waits || commit < leader.first_index;
        require(
            keeps_waiting,
            "LeaseGuard: nothing is committed while an older lease runs",
            order,
        )?;
        require(leader.first_index <= last.index, "a leader has an entry of its term", order)?;
        require(last.term == node.term(), "a leader's last entry is its own", order)?;
        require(node.hard_state.voted_for == Some(node.id()), "a leader voted for itself", order)?;
    }
    if let RoleState::Candidate { .. } = &node.role {
        require(
            node.hard_state.voted_for == Some(node.id()),
            "a candidate voted for itself",
            order,
        )?;
    }
    Ok(())
}

/// "A witness never stands in for data": it holds none, and does not lead.
fn check_witness(node: &Node) -> Result<(), Violation> {
    let is_witness = node.is_witness();
    let here = || format!("node {} is a witness: {is_witness}", node.id());
    let follows = matches!(node.role, RoleState::Follower { .. });
    require(!is_witness || follows, "a witness does not stand for election", here)?;
    for entry in node.log.cache().iter() {
        let fits = match entry.payload {
            Payload::Command(_) | Payload::Keyed(_) => !is_witness,
            Payload::Withheld => is_witness,
            Payload::Noop | Payload::Lease(_) | Payload::Configuration(_) => true,
        };
        require(fits, "commands are withheld from witnesses and nobody else", here)?;
    }
    Ok(())
}

/// A leader and its changes of configuration: nothing that is due is forgotten.
fn check_change(node: &Node) -> Result<(), Violation> {
    let RoleState::Leader(leader) = &node.role else { return Ok(()) };
    let (configuration, index) = (node.configurations.current(), node.configurations.index());
    let change = || {
        format!(
            "leader {} at commit {} has {configuration} of {index}: {:?}",
            node.id(),
            node.commit_index,
            leader.transfer
        )
    };
    let books = leader.members.iter().map(|member| member.id);
    require(books.eq(configuration.members()), "a leader keeps one book per member", change)?;
    let target_votes =
        leader.transfer.is_none_or(|transfer| configuration.voters.contains(&transfer.to));
    require(target_votes, "the target of a transfer stays a voter", change)?;
    if node.commit_index < leader.first_index {
        let own = node.configurations.iter().filter(|(at, _)| *at >= leader.first_index);
        // In a group with witnesses the operator may order it (`witness.rs`).
        let is_early =
            own.into_iter().any(|(at, _)| node.configurations.at(*at).witnesses.is_empty());
        let waits = !is_early || !node.configurations.at(leader.first_index).witnesses.is_empty();
        return require(waits, "a leader changes members behind an entry of its own", change);
    }
    let open = node.configurations.iter().filter(|(at, _)| *at > node.commit_index);
    let open: Vec<_> = open.collect();
    let is_back = is_way_back(node, &open);
    let open: Vec<bool> = open.iter().map(|(_, open)| open.is_joint()).collect();
    // A joint configuration and the way back from it are one change. In a group with witnesses the
    // operator may order one behind others that leave the voters as they are, or were given up
    // (`witness.rs`).
    let may_wait = node.configurations.iter().any(|(_, at)| !at.witnesses.is_empty());
    let is_one_by_one = open.windows(2).all(|pair| pair != [true, true]);
    let is_way_back = is_back || open == [true, false];
    let is_one = open.len() <= 1 || is_way_back || may_wait && is_one_by_one;
    require(is_one, "One Change at a Time", change)?;
    if index > node.commit_index {
        return Ok(());
    }
    // The target of a transfer was promised a log that stands still: only then is the change gone
    // on with, and only with its end does a leader go that votes in neither half (T220).
    let waits = configuration.is_joint() && leader.transfer.is_some();
    let is_left = !configuration.is_joint() || waits;
    require(is_left, "a committed joint configuration is left at once", change)?;
    let is_voter = configuration.is_voter(node.id());
    require(is_voter || waits, "a leader outside C_new steps down", change)
}

/// A step of one voter, and behind it the voters that were before.
fn is_way_back(node: &Node, open: &[&(LogIndex, Configuration)]) -> bool {
    let [(at, step), (_, back)] = open else { return false };
    let before = node.configurations.at(at.previous());
    is_one_step(before, step) && back.voters == before.voters && back.rule == before.rule
}

fn check_cache(node: &Node) -> Result<(), Violation> {
    let cache = node.log.cache();
    let mut bytes = 0;
    let mut before: Option<EntryId> = None;
    for entry in cache.iter() {
        bytes += entry.size_bytes();
        require(node.log.contains(entry.id), "the cache is the log", || {
            format!("cached {} is not in the log of node {}", entry.id, node.id())
        })?;
        let follows = before.is_none_or(|before| before.index.next() == entry.id.index);
        require(follows, "the cache has no hole", || format!("{before:?} then {}", entry.id))?;
        before = Some(entry.id);
    }
    require(
        before.is_none_or(|before| before == node.log.last()),
        "the cache ends the log",
        || format!("{before:?} is not {}", node.log.last()),
    )?;
    require(bytes == cache.size_bytes(), "the cache counts its bytes", || {
        format!("{bytes} is not {}", cache.size_bytes())
    })
}

/// What is needed of a state to judge the next one.
#[derive(Clone, Debug, Hash)]
pub struct Before {
    hard_state: HardState,
    role: Role,
    leader_id: Option<NodeId>,
    mark: EntryId,
    last: EntryId,
    commit: LogIndex,
    applied: LogIndex,
    handed_out: LogIndex,
    committed: Vec<EntryId>,
    matches: Vec<(NodeId, u64, LogIndex)>,
}

impl Before {
    /// Looks at a node before a step.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let mark = node.log.mark();
        let recent = node.commit_index.0.saturating_sub(64).max(mark.index.0);
        Self {
            hard_state: node.hard_state,
            role: node.role(),
            leader_id: node.leader_id(),
            mark,
            last: node.log.last(),
            commit: node.commit_index,
            applied: node.apply.applied(),
            handed_out: node.apply.handed_out(),
            committed: (recent..=node.commit_index.0)
                .filter_map(|index| node.log.id_at(LogIndex(index)))
                .collect(),
            matches: matches_of(node),
        }
    }

    /// Looks at the same node after the step.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn check(&self, node: &Node) -> Result<(), Violation> {
        let after = node.hard_state;
        let change = || format!("node {}: {self:?} became {:?}", node.id(), Self::of(node));
        require(after.current_term >= self.hard_state.current_term, "terms never fall", change)?;
        if after.current_term == self.hard_state.current_term {
            let vote_stays =
                self.hard_state.voted_for.is_none() || self.hard_state.voted_for == after.voted_for;
            require(vote_stays, "within a term the vote is set at most once", change)?;
            let leaders = (self.leader_id, node.leader_id());
            let leader_stays = !matches!(leaders, (Some(one), Some(other)) if one != other);
            require(leader_stays, "within a term the leader is set at most once", change)?;
            if self.role == Role::Leader && node.role() == Role::Leader {
                let append_only = node.log.contains(self.last);
                require(append_only, "Leader Append-Only", change)?;
                for (id, session, before) in &self.matches {
                    // A new book may begin below: then the member does not count until it is back.
                    let mut now = matches_of(node).into_iter();
                    let now = now.find(|(member, of, _)| member == id && of == session);
                    let holds = now.is_none_or(|(.., now)| now >= *before);
                    require(holds, "within a leadership match indexes never fall", change)?;
                }
            }
            let elected_twice = self.role == Role::Follower
                && self.leader_id.is_some()
                && node.role() == Role::Leader;
            require(!elected_twice, "a follower of a leader does not lead its term", change)?;
        }
        require(node.commit_index >= self.commit, "the commit index never falls", change)?;
        require(node.apply.applied() >= self.applied, "the applied index never falls", change)?;
        require(node.apply.handed_out() >= self.handed_out, "entries go out once", change)?;
        require(node.log.mark().index >= self.mark.index, "the mark never goes back", change)?;
        let kept = self.committed.iter().filter(|id| id.index >= node.log.mark().index);
        for id in kept {
            require(node.log.contains(*id), "committed entries stay", change)?;
        }
        Ok(())
    }
}

/// Whether a node has said that this entry is on its disk, or under its mark.
#[must_use]
pub fn holds_durably(node: &Node, id: EntryId) -> bool {
    let is_there = id.index <= node.log.mark().index || node.log.contains(id);
    is_there && id.index <= node.persister.durable_index()
}

/// Where each term begins in a node's log, from its mark on: for pictures.
#[must_use]
pub fn term_runs(node: &Node) -> Vec<(LogIndex, Term)> {
    let mut runs: Vec<(LogIndex, Term)> = Vec::new();
    for index in node.log.mark().index.0..=node.log.last().index.0 {
        let Some(entry) = node.log.id_at(LogIndex(index)) else { continue };
        if runs.last().is_none_or(|(_, term)| *term != entry.term) {
            runs.push((entry.index, entry.term));
        }
    }
    runs
}

fn matches_of(node: &Node) -> Vec<(NodeId, u64, LogIndex)> {
    let RoleState::Leader(leader) = &node.role else { return Vec::new() };
    let books = leader.members.iter();
    books.map(|member| (member.id, member.session, member.match_index)).collect()
}

/// What a node's disk holds, for judging what the node says.
#[derive(Debug, Hash)]
pub struct Durable<'a> {
    /// Term and vote on disk.
    pub hard_state: HardState,
    /// The mark on disk.
    pub mark: EntryId,
    /// The entries on disk, consecutive behind the mark.
    pub entries: &'a [Entry],
}

impl Durable<'_> {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.mark, |entry| entry.id)
    }

    /// Whether the entry is on this disk, or under its mark.
    #[must_use]
    pub fn holds(&self, id: EntryId) -> bool {
        id.index < self.mark.index
            || id == self.mark
            || self.entries.iter().any(|entry| entry.id == id)
    }

    /// "Durable Word": a message says nothing that its sender could forget in a crash.
    ///
    /// # Errors
    /// What it says and the disk does not hold.
    pub fn check(&self, message: &Message) -> Result<(), Violation> {
        let HardState { current_term, voted_for } = self.hard_state;
        let word = || format!("{message:?} while the disk holds {:?}", self.hard_state);
        let is_about_next_term =
            matches!(message.body, Body::PreVote { .. } | Body::PreVoteResponse { granted: true });
        // What is committed stays so whatever this node forgets.
        if matches!(message.body, Body::Removed { .. }) {
            return Ok(());
        }
        let term_is_durable = is_about_next_term || current_term >= message.term;
        require(term_is_durable, "Durable Word: the term", word)?;
        match &message.body {
            Body::RequestVote { last, .. } => {
                let voted = voted_for == Some(message.from) && current_term == message.term;
                require(voted, "Durable Word: the vote for oneself", word)?;
                require(self.last() >= *last, "Durable Word: the candidate's log", word)
            }
            Body::RequestVoteResponse { granted: true } => {
                let voted = voted_for == Some(message.to) && current_term == message.term;
                require(voted, "Durable Word: the vote", word)
            }
            Body::AppendEntriesResponse(AppendOutcome::Accepted { match_index, .. })
            | Body::InstallSnapshotResponse { match_index } => {
                let last = self.last().index;
                require(*match_index <= last, "Durable Word: the acknowledged entries", word)
            }
            Body::PreVote { .. }
            | Body::PreVoteResponse { .. }
            | Body::RequestVoteResponse { granted: false }
            | Body::AppendEntries { .. }
            | Body::CommitIndex { .. }
            | Body::AppendEntriesResponse(AppendOutcome::Rejected { .. })
            | Body::Heartbeat { .. }
            | Body::Quiesce { .. }
            | Body::HeartbeatResponse { .. }
            | Body::InstallSnapshot { .. }
            | Body::TimeoutNow { .. }
            | Body::ReadIndex { .. }
            | Body::Removed { .. }
            | Body::Pull { .. }
            | Body::PullResponse { .. }
            | Body::ReadIndexResponse { .. } => Ok(()),
        }
    }
}
