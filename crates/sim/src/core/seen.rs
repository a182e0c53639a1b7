//! What a core world saw of a life of a node.

use std::collections::{BTreeMap, BTreeSet};

use env::Moment;
use raft::{ClockInterval, LogIndex, NodeId, Persist, Term, Tick};

use super::books::Session;
use super::clocks::lease_of;
use super::hand_overs::HandOvers;

/// What the world saw of a life, by the node's own clock. A promise that a node makes is held
/// against this, and not against what the node remembers of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whom it was to make a voter as soon as that one holds the log, in which term, until when.
    pub(super) staged: Option<(NodeId, Term, Tick)>,
    /// When it last gave up by itself: nobody answered, or its disk did not.
    pub(super) gave_up_at: Option<Tick>,
    /// When this life began, and whom it voted for last.
    pub(super) began_at: Tick,
    pub(super) voted: Option<(Term, NodeId)>,
    /// A message of its leader's was taken.
    pub(super) heard_leader: Option<Tick>,
    /// The largest commit index that such a message spoke of, in this term.
    pub(super) heard_commit: (Term, LogIndex),
    /// It leads, since then.
    pub(super) leads_since: Option<Tick>,
    /// Since then nothing has begun its timers anew.
    pub(super) calm_since: Tick,
    /// Whom it heard, and when.
    pub(super) heard: BTreeMap<NodeId, Tick>,
    /// To whom it spoke, when, and how often.
    pub(super) spoken: BTreeMap<NodeId, (Tick, u64)>,
    /// The session of the newest entries that it sent to each.
    pub(super) sessions: BTreeMap<NodeId, Session>,
    /// The newest of its heartbeats that each has answered, by when it was sent.
    pub(super) answered: BTreeMap<NodeId, Tick>,
    /// What it leads has committed an entry of its term, since then.
    pub(super) commits_since: Option<Tick>,
    /// How far each was behind an open change, and when it took its last step.
    pub(super) steps: BTreeMap<NodeId, (LogIndex, Tick)>,
    /// When each was last seen to wait for a snapshot.
    pub(super) carried: BTreeMap<NodeId, Tick>,
    /// An open change is waited for in vain, since then; and when that was looked at last.
    pub(super) in_vain: Option<(Tick, Tick)>,
    /// How far each has acknowledged, in which session.
    pub(super) held: BTreeMap<NodeId, (u64, LogIndex)>,
    /// The most that each has acknowledged to it in this leadership.
    pub(super) acknowledged: BTreeMap<NodeId, LogIndex>,
    /// Before which place each has refused entries, in which session, and has taken none since.
    pub(super) refused: BTreeMap<NodeId, (u64, LogIndex)>,
    /// What it asked its log for in the step under way, and what it has asked for again, each time
    /// as soon as it had it, and how often.
    pub(super) fetches: Vec<LogIndex>,
    pub(super) read_in_vain: (LogIndex, u32),
    /// The term in which entries were kept that had come too early.
    pub(super) kept_in: Option<Term>,
    /// The largest commit index that it has heard of.
    pub(super) group_commit: LogIndex,
    /// The name of the newest question about a read index.
    pub(super) question: Option<u64>,
    /// When each follower was called slow, or not.
    pub(super) noticed: BTreeMap<NodeId, Tick>,
    pub(super) rests: bool,
    pub(super) installs: bool,
    pub(super) elections_are_paused: bool,
    /// The entries of its log that say when they were appended. They are remembered when the log
    /// before them is cut, but not in the next life.
    pub(super) leases: BTreeMap<LogIndex, ClockInterval>,
    /// What the clock of its host said when it was last looked at.
    pub(super) clock_said: Option<ClockInterval>,
    /// When that was.
    pub(super) clock_said_at: Tick,
    /// It leads, and older leases may run until then.
    pub(super) waits_until: Option<Moment>,
    /// Terms for which the leader before has given its lease up. What was said once stays true: an
    /// older call that arrives again takes nothing back.
    pub(super) lease_ended_for: BTreeSet<Term>,
    /// It has called a successor in the term in which it leads.
    pub(super) has_called: bool,
    /// The newest term in which it led and gave its lease in the log up, for a successor.
    pub(super) gave_lease_up_in: Option<Term>,
    pub(super) hand_overs: HandOvers,
    /// The learner that was to vote before its coming was committed, and where that is.
    pub(super) promoted_meanwhile: Option<(NodeId, LogIndex)>,
    /// Campaigns that it has begun since it has learned of a leader, at least, and elections.
    pub(super) fruitless: u32,
    pub(super) stood: u32,
    /// It has tried, in this life, to hand over to a voter that is preferred.
    pub(super) has_handed_over: bool,
    /// A transfer must be over by then.
    pub(super) transfer_until: Option<Tick>,
    /// The disk has something to write since then, and nothing was written.
    pub(super) writes_since: Option<Tick>,
    pub(super) election_timeout_ticks: u64,
    pub(super) heartbeat_interval_ticks: u64,
}

impl Seen {
    /// What a node is about to write changes what it knows of leases.
    pub(super) fn note_leases(&mut self, persist: &Persist) {
        if persist.mark.as_ref().is_some_and(|mark| mark.reset) {
            self.leases.clear();
        }
        if let Some(first) = persist.entries.first() {
            drop(self.leases.split_off(&first.id.index));
            self.leases.extend(persist.entries.iter().filter_map(lease_of));
        }
    }

    /// It leads from now on, and knows nothing yet of those that it leads.
    pub(super) fn begin_to_lead(&mut self, now: Tick) {
        (self.leads_since, self.calm_since) = (Some(now), now);
        self.has_called = false;
        self.hand_overs.begin_to_lead(now, self.election_timeout_ticks);
        self.heard.clear();
        self.spoken.clear();
        self.sessions.clear();
        self.held.clear();
        self.answered.clear();
        (self.commits_since, self.in_vain) = (None, None);
        self.steps.clear();
        self.acknowledged.clear();
        self.refused.clear();
        self.noticed.clear();
    }

    /// It does not lead any more.
    pub(super) fn stop_leading(&mut self) {
        (self.leads_since, self.transfer_until, self.rests) = (None, None, false);
    }
}
