//! The doors of a [`Node`]: what goes in, what comes out, and nothing of how it is decided.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::apply::ApplyQueue;
use crate::configuration::ConfigurationHistory;
use crate::fault::PeerFaults;
use crate::jitter::Jitter;
use crate::leadership::Campaigns;
use crate::lease_clock::LeaseTimes;
use crate::log::Log;
use crate::outbox::Outbox;
use crate::persist::Persister;
use crate::preference::HandOvers;
use crate::read_index::ForwardedReads;
use crate::read_local::AwaitedWrites;
use crate::removal::Removal;
use crate::reorder::Reordered;
use crate::role::{Role, RoleState};
use crate::{
    CampaignError, ChangeError, Configuration, ConfigurationChange, EntryId, Event, HardState,
    Incarnation, Input, KeyedCommand, LogIndex, NodeId, Options, OptionsError, Output, PeerFault,
    ProposeError, ReadRequest, Restored, SnapshotMark, Term, Tick, Timeouts, TransferError,
};

/// One member of one group. See the [crate's manual](crate).
#[derive(Clone, Debug, Hash)]
pub struct Node {
    pub(crate) options: Options,
    pub(crate) hard_state: HardState,
    pub(crate) role: RoleState,
    pub(crate) log: Log,
    pub(crate) configurations: ConfigurationHistory,
    /// Invariant: never falls; at or behind the mark, at or before the last entry.
    pub(crate) commit_index: LogIndex,
    pub(crate) apply: ApplyQueue,
    pub(crate) persister: Persister,
    pub(crate) outbox: Outbox,
    /// Everything for the next output but persists and messages.
    pub(crate) output: Output,
    /// First indexes of the fetches that are not answered.
    pub(crate) fetching: Vec<LogIndex>,
    pub(crate) forwarded: ForwardedReads,
    pub(crate) awaited: AwaitedWrites,
    /// When the log last grew in this life, or when this life began.
    pub(crate) log_grew_at: Tick,
    /// The leader before has given its lease up for this term.
    pub(crate) lease_ended_for: Option<Term>,
    pub(crate) lease_times: LeaseTimes,
    pub(crate) reordered: Reordered,
    /// The largest commit index that a leader of this term has spoken of, here or not.
    pub(crate) claimed_commit_index: LogIndex,
    /// The log is the one of the leader of this term up to here, as this life has seen. What an
    /// earlier life acknowledged is not proved by it: the disk may be an old copy.
    pub(crate) proven_index: LogIndex,
    pub(crate) faults: PeerFaults,
    pub(crate) jitter: Jitter,
    pub(crate) now: Tick,
    /// When a follower or candidate campaigns; `None` until the first input tells the time.
    pub(crate) campaign_at: Option<Tick>,
    pub(crate) campaigns: Campaigns,
    pub(crate) hand_overs: HandOvers,
    /// Nothing ticks until something happens. Invariant: only of leaders, and of followers that
    /// know their leader.
    pub(crate) is_resting: bool,
    /// When this group was last asked for anything.
    pub(crate) active_at: Tick,
    /// The operator wants no campaigns of this node; it votes, and leads if it does.
    pub(crate) elections_are_paused: bool,
    /// When a leader of the current term was last heard from.
    pub(crate) leader_heard_at: Option<Tick>,
    pub(crate) removal: Removal,
    /// Who pulls old entries, and behind which: they are being read.
    pub(crate) questions: Vec<(NodeId, EntryId)>,
    /// The largest commit index that a leader named, and the term in which it did. Not remembered
    /// over a restart.
    pub(crate) group_commit: EntryId,
}

impl Node {
    /// Builds a node from what survived.
    ///
    /// # Errors
    /// Options that contradict each other, or a restored state that contradicts itself.
    pub fn new(options: Options, restored: Restored) -> Result<Self, OptionsError> {
        options.validate()?;
        Self::restore(options, &restored).map_err(OptionsError::Restored)
    }

    /// One thing has happened, at `now`. Never blocks, and never panics on what a peer sent.
    pub fn handle(&mut self, now: Tick, input: Input) {
        self.tell_time(now);
        match input {
            Input::Tick => {}
            Input::PeerLost(peer) => self.wake_by(Some(peer)),
            Input::Clock(interval) => self.hear_clock(interval),
            Input::Message(message) => self.step(message),
            // The refusal is for callers of the doors below; here nobody waits for it.
            Input::Propose(commands) => drop(self.propose_commands(commands)),
            Input::ProposeKeyed(commands) => drop(self.propose_keyed_commands(commands)),
            Input::Read(request) => self.queue_read(request),
            Input::Replied(index) => self.note_replied(index),
            Input::Persisted(number) => self.handle_persisted(number),
            Input::Applied(index) => self.handle_applied(index),
            Input::Fetched { from, entries } => self.handle_fetched(from, entries),
            Input::Compact { upto } => self.compact(upto),
            Input::SnapshotSent { to, delivered } => self.handle_snapshot_sent(to, delivered),
            Input::SnapshotInstalled(mark) => self.handle_snapshot_installed(&mark),
            Input::TransferLeadership { to } => drop(self.begin_transfer_in_time(to)),
            Input::StepDown => drop(self.begin_rest()),
            Input::Campaign => drop(self.begin_campaign()),
            Input::SetTimeouts(timeouts) => drop(self.change_timeouts(timeouts)),
            Input::PauseElections(are_paused) => self.set_elections_paused(are_paused),
            Input::ChangeConfiguration(change) => drop(self.begin_change(&change)),
            Input::AbandonChange => drop(self.abandon()),
        }
        self.handle_time();
    }

    /// Proposes commands in order, as one append. Returns the name of the first entry; the others
    /// follow it. An entry with that very name, once committed, is the command.
    ///
    /// # Errors
    /// The commands are in no log and never will be.
    pub fn propose(
        &mut self,
        now: Tick,
        commands: impl IntoIterator<Item = Bytes, IntoIter: ExactSizeIterator>,
    ) -> Result<EntryId, ProposeError> {
        self.tell_time(now);
        self.propose_commands(commands)
    }

    /// As [`propose`](Self::propose), of commands that say what they touch
    /// ([`waves`](crate::waves)).
    ///
    /// # Errors
    /// The commands are in no log and never will be.
    pub fn propose_keyed(
        &mut self,
        now: Tick,
        commands: Vec<KeyedCommand>,
    ) -> Result<EntryId, ProposeError> {
        self.tell_time(now);
        self.propose_keyed_commands(commands)
    }

    /// Asks for a read on this node, leader or not; the answer comes in [`Output::reads`]. All
    /// reads asked for between two outputs share one round, where one is needed.
    pub fn read(&mut self, now: Tick, request: ReadRequest) {
        self.tell_time(now);
        self.queue_read(request);
    }

    /// Hands leadership to `to`, or to the most up-to-date voter.
    ///
    /// # Errors
    /// The transfer did not begin.
    pub fn transfer_leadership(
        &mut self,
        now: Tick,
        to: Option<NodeId>,
    ) -> Result<(), TransferError> {
        self.tell_time(now);
        self.begin_transfer_in_time(to)
    }

    /// Gives leadership up, to whoever wins the next election; this node keeps out of it for two
    /// election timeouts. To name the next leader is quicker:
    /// [`transfer_leadership`](Self::transfer_leadership).
    ///
    /// # Errors
    /// This node does not lead, or nobody else could.
    pub fn step_down(&mut self, now: Tick) -> Result<(), TransferError> {
        self.tell_time(now);
        self.begin_rest()
    }

    /// Campaigns at once, as if the election timeout were over. Who hears a leader votes for nobody
    /// else; to take over from one that lives, ask it to hand over.
    ///
    /// # Errors
    /// The node does not campaign.
    pub fn campaign_now(&mut self, now: Tick) -> Result<(), CampaignError> {
        self.tell_time(now);
        self.begin_campaign()
    }

    /// Goes by other timeouts from now on. Not remembered over a restart. Nodes of a group should
    /// have the same; while they differ, safety is not touched.
    ///
    /// # Errors
    /// The timeouts are not sound, or leases rest on the old one. Nothing has changed.
    pub fn set_timeouts(&mut self, now: Tick, timeouts: Timeouts) -> Result<(), OptionsError> {
        self.tell_time(now);
        self.change_timeouts(timeouts)
    }

    /// Keeps this node from campaigning, or lets it campaign again. It votes all the while, and a
    /// leader goes on leading. Not remembered over a restart.
    pub fn pause_elections(&mut self, now: Tick, are_paused: bool) {
        self.tell_time(now);
        self.set_elections_paused(are_paused);
    }

    /// Changes the members of the group, all at once whatever the change holds. Returns the name of
    /// the first entry. If that is a joint configuration, the leader of the day leaves it by itself
    /// once it is committed: the change is over when the next configuration is committed.
    ///
    /// # Errors
    /// The change did not begin.
    pub fn propose_configuration_change(
        &mut self,
        now: Tick,
        change: &ConfigurationChange,
    ) -> Result<EntryId, ChangeError> {
        self.tell_time(now);
        self.begin_change(change)
    }

    /// Gives up a change whose first configuration is not committed, since one half or C_new has no
    /// majority that is alive ([`Status::quorum`](crate::Status::quorum)): the members are to be
    /// what they were before. Returns the name of the entry; the change is off when that is
    /// committed. With check-quorum a leader does the same by itself, if those that answer could
    /// commit commands under the old configuration, and cannot under the new one, or do not for
    /// [long](crate::Options::slow_follower_ticks).
    ///
    /// # Errors
    /// There is no such change, or it began under another leader, or it is committed, or it removes
    /// a voter [in one step](crate::Transition::OneStep).
    pub fn abandon_change(&mut self, now: Tick) -> Result<EntryId, ChangeError> {
        self.tell_time(now);
        self.abandon()
    }

    /// When [`Input::Tick`] is needed next; `None` while only other inputs can change anything. Ask
    /// again after every input.
    /// Before the first input it is [`Tick`] zero: the node does not know the time yet.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let read = [self.forwarded.next_deadline(), self.awaited.next_deadline()];
        let read = read.into_iter().flatten().min();
        if self.is_resting {
            return read;
        }
        let election = match &self.role {
            RoleState::Leader(leader) => {
                let transfer = leader.transfer.map(|transfer| transfer.abort_at);
                let staged = leader.staged.iter().map(|staged| staged.give_up_at).min();
                let beat = leader.heartbeat_at.min(leader.quorum_check_at);
                let stall = if self.is_sole_voter() { None } else { self.write_stall_at() };
                let deferral = leader.guard.next_deadline(self.now);
                return transfer
                    .into_iter()
                    .chain(staged)
                    .chain(deferral)
                    .chain(stall)
                    .chain(read)
                    .chain([beat])
                    .min();
            }
            RoleState::Follower { .. }
            | RoleState::PreCandidate(_)
            | RoleState::Candidate { .. } => match self.campaign_at {
                None => Some(Tick(0)),
                Some(at) => self.may_campaign().then_some(at),
            },
        };
        election.into_iter().chain(self.reordered.give_up_at).chain(read).min()
    }

    /// What must be done now. Call it after every input, or after as many as were waiting: what
    /// they asked for together goes out in larger pieces.
    pub fn take_output(&mut self) -> Output {
        let mut output = Output::default();
        self.take_output_into(&mut output);
        output
    }

    /// As [`take_output`](Self::take_output), in the place of an output that was carried out. Lists
    /// change places with the node's, so that a host which goes on with the same output allocates
    /// none.
    pub fn take_output_into(&mut self, output: &mut Output) {
        self.answer_awaited();
        self.begin_read_round();
        self.forward_reads();
        self.record_disks(false);
        if let Some(from) = self.persister.pending_from() {
            self.log.gather(from);
        }
        self.replicate();
        self.hand_out_committed();
        output.refill(&mut self.output);
        output.persists.clear();
        self.take_persist_into(&mut output.persists);
        self.outbox.take_into(&mut output.messages);
    }

    /// The mark for a snapshot of the state as of `index`, with the configuration in force there.
    /// `None` if `index` is before the log's mark, not yet applied, or before the entry that made
    /// this node a member, so that the configuration there is not known here.
    #[must_use]
    pub fn snapshot_mark(&self, index: LogIndex) -> Option<SnapshotMark> {
        if index > self.apply.applied() || self.is_witness() {
            return None;
        }
        let last = self.log.id_at(index)?;
        let configuration = self.configurations.at(index);
        (!configuration.voters.is_empty())
            .then(|| SnapshotMark { last, configuration: configuration.clone() })
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// The disk of this node: [`Options::incarnation`].
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.options.incarnation
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard_state.current_term
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower { .. } => Role::Follower,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// The leader of the current term, as far as known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader_id()
    }

    /// Known to be committed up to here.
    #[must_use]
    pub fn commit_index(&self) -> LogIndex {
        self.commit_index
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// Where the log begins.
    #[must_use]
    pub fn mark(&self) -> EntryId {
        self.log.mark()
    }

    /// The configuration in force.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.configurations.current()
    }

    /// Where the configuration in force stands; it is committed unless above the commit index.
    #[must_use]
    pub fn configuration_index(&self) -> LogIndex {
        self.configurations.index()
    }

    /// The entry at an index; `None` if it is under the mark, or not there yet.
    #[must_use]
    pub fn id_at(&self, index: LogIndex) -> Option<EntryId> {
        self.log.id_at(index)
    }

    pub(crate) fn record(&mut self, event: impl FnOnce() -> Event) {
        if self.options.record_events {
            self.output.events.push(event());
        }
    }

    pub(crate) fn fault(&mut self, from: NodeId, fault: PeerFault) {
        self.faults.add(fault);
        self.record(|| Event::PeerFault { from, fault });
    }
}
