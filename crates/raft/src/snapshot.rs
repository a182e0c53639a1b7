//! Snapshots, both sides (Raft §7), and the cutting of the log behind them.
//!
//! The bytes are the hosts' business. The core says who needs a snapshot, and when one has arrived
//! it decides whether it is news, begins the log anew behind it, and has the state machine
//! replaced.
//!
//! Scripts: `testdata/snapshot/`.

use alloc::boxed::Box;

use crate::configuration::{ConfigurationHistory, is_sound};
use crate::progress::ProgressState;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Body, Event, LogIndex, MarkWrite, Node, NodeId, PeerFault, SnapshotMark};

impl Node {
    /// Cuts the log behind the host's snapshot, but for the tail that the options keep.
    pub(crate) fn compact(&mut self, upto: LogIndex) {
        assert!(
            upto <= self.apply.applied(),
            "the log up to {upto} was to go, but only {} is applied",
            self.apply.applied()
        );
        let index = LogIndex(upto.0.saturating_sub(self.options.log_tail_kept));
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
