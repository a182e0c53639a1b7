//! What is checked of a node after each of its steps, beyond the invariants of its state.

use raft::invariants::{Cluster as Checker, Decided, Violation, sizes};
use raft::{
    EntryId, Event, FollowerStatus, LogIndex, Node, NodeId, Output, Persist, Role, SendSnapshot,
    Term,
};

use super::CoreWorld;
use super::happening::Happening;
use crate::Failure;

/// How often a node may be due at one moment.
const WAKES_MAX: u32 = 1000;

/// More messages, and other things to come, than any honest world has at a time.
const TO_COME_MAX: usize = 20_000;

/// As the core names it.
const TOO_EARLY: &str = "bytes that came too early";

impl CoreWorld {
    /// A node that is woken does what was due, and is not due again at the same moment for ever.
    pub(super) fn check_progress(&mut self, id: NodeId) {
        let now = self.now();
        let (at, times) = &mut self.member(id).woken;
        *times = if *at == now { *times + 1 } else { 0 };
        *at = now;
        if *times > WAKES_MAX {
            let detail = format!("node {id} is due at {now:?} and stays so");
            self.fail(id, Failure::new("what is due is done", detail));
        }
    }

    /// An answer that calls for a message, which calls for the same answer, goes on for as long as
    /// the network carries it; and where that repeats messages there are ever more of them.
    pub(super) fn check_queue(&mut self, next: &Happening) {
        let count = self.queue.len();
        if count > TO_COME_MAX {
            let detail = format!("{count} wait; the next is {next:?}");
            self.fail(next.whom().0, Failure::new("messages do not multiply", detail));
        }
    }

    /// A log that is cut begins with the members of the group (M8). Who cut it before it knew them
    /// could lead one day, and have nothing to say of them.
    pub(super) fn check_mark(&mut self, id: NodeId, persist: &Persist) {
        let Some(write) = &persist.mark else { return };
        if write.mark.configuration.voters.is_empty() {
            let detail = format!("node {id} begins at {:?}", write.mark);
            self.fail(id, Failure::new("a mark says who is a member", detail));
        }
    }

    /// A log that is to be cut is kept for those that its leader waits for, and not for a member
    /// that was silent for long.
    pub(super) fn check_cut(&mut self, id: NodeId, upto: LogIndex) {
        let member = &self.members[&id];
        let Some(node) = member.node.as_ref().filter(|node| node.role() == Role::Leader) else {
            return;
        };
        let options = &member.options;
        let is_made = member.configurations().first().is_some_and(|(_, at)| at.is_voter(id));
        // A change that was given up in the same step has dropped whom the log was kept for.
        let has_changed = member.seen.calm_since >= member.tick();
        if options.log_kept_for_slowest_max == 0 || member.seen.installs || !is_made || has_changed
        {
            return;
        }
        let status = node.status();
        let is_awaited = |its: &&FollowerStatus| {
            let is_full = !status.configuration.witnesses.contains(&its.id);
            is_full && its.silent_ticks < options.slow_follower_ticks
        };
        let held = status.followers.iter().filter(is_awaited).map(|its| its.match_index).min();
        let kept_from = upto.0.saturating_sub(options.log_kept_for_slowest_max);
        let tail_from = upto.0.saturating_sub(options.log_tail_kept);
        let due = held.unwrap_or(upto).0.max(kept_from).min(tail_from);
        let mark = node.mark().index;
        if mark.0 < due {
            let detail = format!("leader {id} keeps its log from {mark}, not {due}: {status:?}");
            self.fail(id, Failure::new("a log is kept for nobody who was silent for long", detail));
        }
    }

    /// A snapshot that is asked for reaches to where the log of its leader begins (S15).
    pub(super) fn check_wanted(&mut self, id: NodeId, wanted: &SendSnapshot) {
        let Some(mark) = self.node(id).map(|node| node.mark().index) else { return };
        if wanted.at_least < mark {
            let detail = format!("leader {id} asks for {wanted:?}, and its log begins at {mark}");
            self.fail(id, Failure::new("a snapshot reaches where the log begins", detail));
        }
    }

    /// What a leader decided in its last step, in order.
    pub(super) fn check_commits(&mut self, node: &Node, all: &[Decided]) -> Result<(), Violation> {
        self.committed_max = self.committed_max.max(node.commit_index());
        all.iter().try_for_each(|decided| self.check_commit(node, decided))
    }

    fn check_commit(&self, node: &Node, decided: &Decided) -> Result<(), Violation> {
        let Decided { entry, term, by } = decided;
        // Raft §5.4.2, by the one who may not count otherwise.
        if entry.term != *term {
            return Err(Violation {
                property: "a leader counts entries of its own term",
                detail: format!("leader {} of {term} commits {entry}", node.id()),
            });
        }
        let holds = |voter: NodeId, entry: EntryId| {
            // Who was removed has taken its disk along, since what it held is held elsewhere.
            let Some(member) = self.members.get(&voter) else {
                return self.names.get(&entry.index) == Some(&entry);
            };
            // What another disk than the one on record holds does not count.
            let own = member.options.incarnation;
            let is_on_record = by.incarnations.get(&voter).is_none_or(|recorded| *recorded == own);
            let held_before = entry.index <= member.lost_upto;
            held_before || is_on_record && member.disk.durable().holds(entry)
        };
        // Witnesses that are a quorum by themselves would commit what no data is kept of (M16).
        let mut full = by.voters.difference(&by.witnesses);
        if !by.witnesses.is_empty() && !full.any(|voter| holds(*voter, *entry)) {
            return Err(Violation {
                property: "witnesses alone commit nothing",
                detail: format!("leader {} commits {entry} of {by}", node.id()),
            });
        }
        Checker::observe_commit(node, decided, holds)
    }
}

/// Whatever others send, it finds room, or is refused; and what was kept for a leader's sake goes
/// with its term.
pub(super) fn check_sizes(node: &Node, kept_in: Option<Term>) -> Result<(), Violation> {
    let sizes = sizes(node);
    let keeps = sizes.iter().any(|(what, size, _)| *what == TOO_EARLY && *size > 0);
    if keeps && kept_in.is_some_and(|term| term < node.term()) {
        let detail = format!("node {} keeps what {kept_in:?} left", node.id());
        return Err(Violation { property: "what came too early goes with its term", detail });
    }
    let too_large = sizes.into_iter().find(|(_, size, max)| size > max);
    let Some((what, size, max)) = too_large else { return Ok(()) };
    let detail = format!("node {} keeps {size} {what}, more than {max}", node.id());
    Err(Violation { property: "nothing grows without end", detail })
}

/// A leader gives up in its own term only for one of the reasons there are, and goes out by its own
/// removal only once that is committed (M10).
pub(super) fn check_leadership(
    node: &Node,
    led: Option<Term>,
    output: &Output,
) -> Result<(), Violation> {
    if led != Some(node.term()) || node.role() == Role::Leader {
        return Ok(());
    }
    let is_reason = |event: &Event| {
        matches!(
            event,
            Event::QuorumLost { .. }
                | Event::SteppedDown { .. }
                | Event::WriteStalled { .. }
                | Event::RemovedFromGroup { .. }
        )
    };
    let is_over = node.commit_index() >= node.configuration_index();
    let was_removed = output.events.iter().any(|event| matches!(event, Event::Removed { .. }));
    if output.events.iter().any(is_reason) || was_removed && is_over {
        return Ok(());
    }
    let detail = format!("node {} gave up term {:?}: {:?}", node.id(), led, output.events);
    Err(Violation { property: "a leader gives up for a reason", detail })
}
