//! Snapshots, both sides (Raft §7), and the cutting of the log behind them.
//!
//! The bytes are the hosts' business. The core says who needs a snapshot, and when one has arrived
//! it decides whether it is news, begins the log anew behind it, and has the state machine
//! replaced.
//!
//! Scripts: `testdata/snapshot/`.

use alloc::boxed::Box;

use crate::configuration::{ConfigurationHistory, is_sound};
use crate::progress::{Progress, ProgressState};
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, Event, LogIndex, MarkWrite, Node, NodeId, PeerFault, SnapshotMark};

impl Node {
    /// Cuts the log behind the host's snapshot, but for what the options keep.
    pub(crate) fn compact(&mut self, upto: LogIndex) {
        assert!(
            upto <= self.apply.applied(),
            "the log up to {upto} was to go, but only {} is applied",
            self.apply.applied()
        );
        let tail = LogIndex(upto.0.saturating_sub(self.options.log_tail_kept));
        let index = tail.min(self.held_by_slowest(upto));
        if index <= self.log.mark().index || self.apply.is_installing() {
            return;
        }
        let configuration = self.configurations.at(index).clone();
        // This node got the log from its beginning, and is not yet where it was made a member. With
        // the first entries gone it could lead and have nothing to send: neither them, nor a
        // snapshot that says who was a member.
        if configuration.voters.is_empty() && !bug(Bug::CutsBeforeItsMembership) {
            return;
        }
        let mark = self.log.compact(index);
        self.configurations.compact(index);
        let mark_write =
            MarkWrite { mark: SnapshotMark { last: mark, configuration }.into(), reset: false };
        self.persister.write_mark(mark_write, index);
        self.record(|| Event::Compacted { mark });
    }

    /// What every member holds that a leader waits for, but for no more than so many entries behind
    /// it.
    fn held_by_slowest(&self, upto: LogIndex) -> LogIndex {
        let kept_max = self.options.log_kept_for_slowest_max;
        let RoleState::Leader(leader) = &self.role else { return upto };
        if kept_max == 0 {
            return upto;
        }
        let own = self.options.id;
        let patience = self.options.slow_follower_ticks;
        let is_awaited = |member: &&Progress| {
            let is_silent = member.silent_since.after(patience) <= self.now;
            member.id != own && !member.is_witness && (!is_silent || bug(Bug::KeepsForTheSilent))
        };
        let held = leader.members.iter().filter(is_awaited).map(|member| member.match_index).min();
        held.unwrap_or(upto).max(LogIndex(upto.0.saturating_sub(kept_max)))
    }

    /// The host has delivered a snapshot to a follower, or has given up.
    pub(crate) fn handle_snapshot_sent(
        &mut self,
        to: NodeId,
        delivered: Option<Box<SnapshotMark>>,
    ) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(member) = leader.member(to) else { return };
        let is_forgotten = delivered.is_none() && bug(Bug::FailedSnapshotIsForgotten);
        if !matches!(member.state, ProgressState::Snapshot { .. }) || is_forgotten {
            return;
        }
        // Either way the next move waits for a sign of life: the follower's answer to the
        // snapshot, or to a heartbeat. A follower that is gone is not sent snapshots in a circle.
        if delivered.is_none() {
            member.standstill.snapshot_failed();
        }
        let next = delivered.map_or(member.next_index, |mark| mark.last.index.next());
        member.probe_from(next, true);
    }

    pub(crate) fn handle_install_snapshot_response(&mut self, from: NodeId, match_index: LogIndex) {
        if match_index > self.log.last().index {
            return self.fault(from, PeerFault::AcknowledgedUnsent);
        }
        // This answer has no session (L11), so it moves no match index. It says where the next
        // probe has a good chance, and the answer to that one counts.
        let Some(member) = self.answering_member(from) else { return };
        match member.state {
            ProgressState::Snapshot { .. } | ProgressState::Probe { .. } => {
                member.probe_from(match_index.next(), false);
            }
            ProgressState::Replicate(_) => {}
        }
    }

    /// Figure 13, receiver, after the host has the whole snapshot.
    pub(crate) fn handle_install_snapshot(&mut self, from: NodeId, mark: SnapshotMark) {
        let last = mark.last;
        if last.term > self.current_term() || last.index.0 == 0 || !is_sound(&mark.configuration) {
            return self.fault(from, PeerFault::MalformedSnapshot);
        }
        // The mark of a snapshot that is being installed is the newest this node may hold.
        if self.apply.is_installing() {
            return self.record(|| Event::SnapshotIgnored { last });
        }
        if last.index <= self.commit_index {
            let conflicts = self.log.id_at(last.index).is_some_and(|here| here != last);
            if conflicts && !bug(Bug::ConflictingSnapshotIsTaken) {
                return self.fault(from, PeerFault::ConflictsWithCommitted); // S4
            }
            self.record(|| Event::SnapshotIgnored { last });
        } else if self.log.contains(last) {
            // Step 6: "if existing log entry has same index and term as snapshot's last included
            // entry, retain log entries following it". The entries before it are here as well, so
            // the state machine can take the shorter way, and only learns that they are committed.
            self.record(|| Event::SnapshotIgnored { last });
            self.learn_commit_index(last.index);
        } else {
            self.begin_anew(mark);
        }
        let body = Body::InstallSnapshotResponse { match_index: last.index };
        self.answer_when_durable(from, last.index, body);
    }

    /// Step 7: "discard the entire log".
    fn begin_anew(&mut self, mut mark: SnapshotMark) {
        let last = mark.last;
        let kept = self.commit_index;
        self.log.reset(last);
        self.reordered.clear();
        if !bug(Bug::TimesOutliveTheirLog) {
            self.lease_times.clear();
        }
        if !bug(Bug::WaitIsLostWithItsEntry) {
            self.note_growth(last.index);
        }
        if bug(Bug::SnapshotLosesTheOldHalf) {
            mark.configuration.outgoing.clear();
        }
        self.configurations = ConfigurationHistory::new(&mark);
        let reset = !bug(Bug::SnapshotKeepsTheTail);
        self.persister.write_mark(MarkWrite { mark: mark.clone().into(), reset }, kept);
        self.commit_index = last.index;
        self.apply.begin_installation(mark);
        self.record(|| Event::SnapshotAccepted { last });
        self.adopt_configuration();
        self.notice_removal();
    }

    /// The mark is durable: now the state machine may be replaced. In the other order a crash
    /// would leave a state that is ahead of its log (S1).
    pub(crate) fn announce_installation(&mut self) {
        let Some(mark) = self.apply.installing() else { return };
        let is_durable = self.persister.durable_index() >= mark.last.index;
        if (is_durable || bug(Bug::InstallsBeforeTheMark)) && !self.apply.is_announced() {
            let mark = mark.clone();
            self.apply.announce();
            if self.is_witness() {
                return self.handle_snapshot_installed(&mark);
            }
            self.output.install_snapshot = Some(mark.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Configuration, Entry, EntryId, Input, Message, Options, Payload, PersistNumber, Restored,
        Role, Term, Tick,
    };

    const LAST: u64 = 5;

    /// Node 1 leads 2, the learner 3 and the witness 4, alone so far, and has applied five entries.
    fn leader(kept_max: u64, tail: u64) -> Node {
        let options = Options {
            pre_vote: false,
            log_kept_for_slowest_max: kept_max,
            log_tail_kept: tail,
            slow_follower_ticks: 100,
            ..Options::new(NodeId(1), 1)
        };
        let learners = core::iter::once(NodeId(3)).collect();
        let witnesses = core::iter::once(NodeId(4)).collect();
        let voters = Configuration::of_voters([1, 2, 4].map(NodeId));
        let members = Configuration { learners, witnesses, ..voters };
        let mut node = Node::new(options, Restored::bootstrap(members)).expect("sound options");
        let now = Tick(9999);
        node.handle(Tick(0), Input::Tick);
        node.handle(now, Input::Tick);
        drop(node.take_output());
        node.handle(now, Input::Persisted(PersistNumber(1)));
        let vote = Body::RequestVoteResponse { granted: true };
        node.handle(now, Input::Message(Message::new(NodeId(2), NodeId(1), Term(1), vote)));
        let noop = |index| Entry { id: EntryId::new(1, index), payload: Payload::Noop };
        node.append((2..=LAST).map(noop).collect::<alloc::vec::Vec<_>>().into());
        drop(node.take_output());
        node.handle(now, Input::Persisted(PersistNumber(2)));
        let outcome = crate::AppendOutcome::Accepted { session: 0, match_index: LogIndex(LAST) };
        let accepted = Body::AppendEntriesResponse(outcome);
        node.handle(now, Input::Message(Message::new(NodeId(2), NodeId(1), Term(1), accepted)));
        drop(node.take_output());
        node.handle(now, Input::Applied(LogIndex(LAST)));
        assert_eq!((node.role(), node.apply.applied()), (Role::Leader, LogIndex(LAST)));
        node
    }

    /// Every small case beside the dumbest way to say it: an entry stays if it is of the tail, or
    /// if somebody lacks it who was heard, and it is not too far back.
    #[test]
    fn what_is_kept_is_what_somebody_lacks() {
        let of_members = (0..=LAST).flat_map(|two| (0..=LAST).map(move |three| [two, three]));
        for held in of_members {
            for silent in [[false, false], [true, false], [false, true], [true, true]] {
                for (kept_max, tail) in [(0, 0), (0, 2), (1, 0), (1, 2), (3, 0), (3, 1), (9, 1)] {
                    check(held, silent, kept_max, tail);
                }
            }
        }
    }

    fn check(held: [u64; 2], silent: [bool; 2], kept_max: u64, tail: u64) {
        let mut node = leader(kept_max, tail);
        let now = node.now;
        let RoleState::Leader(books) = &mut node.role else { panic!("it leads") };
        for (place, member) in [2, 3].into_iter().enumerate() {
            let book = books.member(NodeId(member)).expect("a member");
            book.match_index = LogIndex(held[place]);
            book.silent_since = if silent[place] { Tick(now.0 - 100) } else { now };
        }
        let stays = |index: u64| {
            let is_lacking = (0..2).any(|place| !silent[place] && held[place] < index);
            index > LAST - tail || is_lacking && index > LAST.saturating_sub(kept_max)
        };
        let mut expected = 0;
        while expected < LAST && !stays(expected + 1) {
            expected += 1;
        }
        node.compact(LogIndex(LAST));
        let case = (kept_max, tail, held, silent);
        assert_eq!(node.log.mark().index, LogIndex(expected), "{case:?}");
    }

    /// Followers keep the tail alone.
    #[test]
    fn who_does_not_lead_keeps_the_tail() {
        let mut node = leader(9, 1);
        node.become_follower(Term(2), None);
        node.compact(LogIndex(LAST));
        assert_eq!(node.log.mark().index, LogIndex(LAST - 1));
    }
}
