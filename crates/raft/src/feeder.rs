//! What a leader sends one member next: entries, a question, the news of a commit, or nothing.

use crate::outbox::Outbox;
use crate::progress::{Progress, ProgressState};
use crate::seeded::{Bug, bug};
use crate::witness::withhold;
use crate::{Body, Entries, Entry, EntryId, Fetch, LogIndex, Message, Term};

/// What feeding one follower came to.
pub(crate) enum Feed {
    /// Nothing to say now.
    Quiet,
    /// It is in the outbox.
    Sent,
    Fetch(Fetch),
    NeedsSnapshot,
}

/// What is needed to write an AppendEntries, borrowed apart from the books. It is written where it
/// leaves: a message is large to be handed on.
pub(crate) struct Feeder<'a> {
    pub(crate) options: &'a crate::Options,
    pub(crate) log: &'a crate::log::Log,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) term: Term,
    pub(crate) commit_index: LogIndex,
    /// Witnesses are told no entry behind it.
    pub(crate) witness_limit: LogIndex,
    /// Nor is one that leaves told any behind this.
    pub(crate) last_word: Option<LogIndex>,
}

impl Feeder<'_> {
    pub(crate) fn feed(&mut self, member: &mut Progress) -> Feed {
        if member.fed.is_left_alone {
            let is_here = member.next_index > self.log.mark().index;
            let asks = member.wants_nudge && is_here;
            return if asks { self.nudge(member) } else { Feed::Quiet };
        }
        let is_told = self.last_word.is_some_and(|last_word| member.next_index > last_word);
        if member.is_paused(self.options) && !is_told {
            return if member.wants_nudge { self.nudge(member) } else { Feed::Quiet };
        }
        if member.next_index <= self.log.mark().index {
            return Feed::NeedsSnapshot;
        }
        let last = self.log.last().index;
        let hears_late = member.is_witness && !bug(Bug::WitnessHearsTooEarly);
        let last = if hears_late { self.witness_limit } else { last };
        let last = self.last_word.map_or(last, |last_word| last.min(last_word));
        if member.next_index > last {
            let is_probe = matches!(member.state, ProgressState::Probe { .. });
            if is_probe || member.wants_nudge {
                return self.nudge(member);
            }
            let told = self.commit_index.min(member.next_index.previous());
            return if told > member.commit_sent { self.tell_commit(member) } else { Feed::Quiet };
        }
        let from = member.next_index;
        let bytes_max = self.options.append_batch_bytes_max;
        match self.log.read(from, last, bytes_max) {
            Some(entries) => match self.append(member, entries) {
                true => Feed::Sent,
                false => Feed::Quiet,
            },
            None => Feed::Fetch(Fetch { from, to: last.next(), bytes_max }),
        }
    }

    /// An AppendEntries without entries: it asks, and tells the commit index as well. If the log
    /// was cut up to where this follower stands, and what was on its way got lost, only a snapshot
    /// helps.
    fn nudge(&mut self, member: &mut Progress) -> Feed {
        if self.append(member, Entries::new()) { Feed::Sent } else { Feed::NeedsSnapshot }
    }

    /// There is nothing to ask: what was sent is on its way or acknowledged.
    fn tell_commit(&mut self, member: &mut Progress) -> Feed {
        let Some(prev) = self.log.id_at(member.next_index.previous()) else {
            return Feed::NeedsSnapshot;
        };
        member.commit_sent = self.commit_index.min(prev.index);
        let (commit_index, session) = (self.commit_index, member.session);
        self.send(member, Body::CommitIndex { prev, commit_index, session });
        Feed::Sent
    }

    /// What a leader says of its log leaves at once, while its own disk is still writing: the
    /// entry counts nowhere before it is durable there.
    #[inline]
    fn send(&mut self, member: &Progress, body: Body) {
        let (from, incarnation) = (self.options.id, self.options.incarnation);
        self.outbox.send(Message { from, to: member.id, term: self.term, incarnation, body });
    }

    /// Writes the message and books it; `false` if the log no longer has the place before it.
    pub(crate) fn append(&mut self, member: &mut Progress, mut entries: Entries) -> bool {
        if member.is_witness {
            entries = withhold(&entries, self.witness_limit);
        }
        let prev = match self.log.id_at(member.next_index.previous()) {
            Some(prev) => prev,
            None if bug(Bug::PlaceBeforeTheLogIsZero) => EntryId::default(),
            None => return false,
        };
        let last = entries.last().map_or(prev.index, |entry| entry.id.index);
        if !entries.is_empty() {
            member.told_index = member.told_index.max(last);
        }
        match &mut member.state {
            ProgressState::Probe { is_waiting } => *is_waiting = true,
            ProgressState::Replicate(inflights) => {
                if !entries.is_empty() {
                    inflights.add(last, entries.iter().map(Entry::size_bytes).sum());
                }
                member.next_index = last.next();
            }
            ProgressState::Snapshot { .. } => return false,
        }
        member.wants_nudge = false;
        member.commit_sent = member.commit_sent.max(self.commit_index.min(last));
        let (commit_index, session) = (self.commit_index, member.session);
        self.send(member, Body::AppendEntries { prev, commit_index, session, entries });
        true
    }
}

impl Progress {
    /// Whether there is nothing to feed, which is seen at once: it was sent all entries and told
    /// the commit, and is asked nothing.
    #[inline]
    pub(crate) fn was_told_all(&self, last: LogIndex, commit_index: LogIndex) -> bool {
        self.next_index > last
            && self.commit_sent >= commit_index
            && !self.wants_nudge
            && matches!(self.state, ProgressState::Replicate(_))
    }

    /// Whether nothing with entries may go to this member now.
    pub(crate) fn is_paused(&self, options: &crate::Options) -> bool {
        match &self.state {
            ProgressState::Probe { is_waiting } => *is_waiting,
            ProgressState::Replicate(inflights) => inflights.is_full(options),
            ProgressState::Snapshot { .. } => true,
        }
    }
}
