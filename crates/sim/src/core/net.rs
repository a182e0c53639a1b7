//! The network between the nodes of a core world: messages as values, each with a time to arrive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use env::{Moment, SplitMix};
use raft::{Body, Entry, Message};

/// Messages between two nodes that are remembered, so that they can come again.
const REPLAY_MAX: usize = 16;

/// When a message arrives, once or more often; not at all if it is lost.
pub(super) type Arrivals = Vec<Moment>;

/// How messages travel.
#[derive(Debug)]
pub struct CoreNet {
    cuts: BTreeSet<(u64, u64)>,
    clogs: BTreeMap<(u64, u64), Moment>,
    last: BTreeMap<(u64, u64), Moment>,
    past: BTreeMap<(u64, u64), VecDeque<Message>>,
    /// How long a message takes.
    pub delay: (Duration, Duration),
    /// Of a thousand messages, how many are lost.
    pub loss_permille: u64,
    /// How many come twice.
    pub duplicate_permille: u64,
    /// How many are overtaken.
    pub reorder_permille: u64,
    /// With how many an old one comes again.
    pub replay_permille: u64,
    /// Nothing but elections gets through.
    pub only_votes: bool,
    /// Of a thousand that carry entries, before how many comes one with fewer of them.
    pub shorten_permille: u64,
}

impl CoreNet {
    pub(super) fn new(delay: (Duration, Duration)) -> Self {
        Self {
            cuts: BTreeSet::new(),
            clogs: BTreeMap::new(),
            last: BTreeMap::new(),
            past: BTreeMap::new(),
            delay,
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            replay_permille: 0,
            only_votes: false,
            shorten_permille: 0,
        }
    }

    /// Cuts what `from` sends to `to`.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cuts.insert((from, to));
    }

    /// Mends one direction.
    pub fn heal(&mut self, from: u64, to: u64) {
        self.cuts.remove(&(from, to));
    }

    /// Mends every wire.
    pub fn heal_all(&mut self) {
        self.cuts.clear();
        self.clogs.clear();
    }

    /// Holds back what `from` sends to `to` until then.
    pub fn clog(&mut self, from: u64, to: u64, until: Moment) {
        self.clogs.insert((from, to), until);
    }

    /// Whether messages suffer anything by chance.
    pub(super) fn is_disturbed(&self) -> bool {
        let by_order = self.reorder_permille + self.replay_permille + self.duplicate_permille;
        self.loss_permille + self.shorten_permille + by_order > 0
    }

    /// When the last of what is under way now will have arrived, but for what is overtaken.
    pub(super) fn under_way_until(&self) -> Moment {
        self.last.values().copied().max().unwrap_or_default()
    }

    /// Whether the wire is cut.
    #[must_use]
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn happens(permille: u64, dice: &mut SplitMix) -> bool {
        permille > 0 && dice.below(1000) < permille
    }

    fn take_time(&self, dice: &mut SplitMix) -> Duration {
        let (min, max) = self.delay;
        let range = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX - 1);
        min + Duration::from_nanos(dice.below(range + 1))
    }

    /// What becomes of a message that is sent now.
    pub(super) fn send(&mut self, now: Moment, message: &Message, dice: &mut SplitMix) -> Arrivals {
        let route = (message.from.0, message.to.0);
        let lost = Self::happens(self.loss_permille, dice);
        let late = now.after(self.take_time(dice));
        let is_held_up = self.only_votes && !is_of_election(&message.body);
        if lost || is_held_up || self.cuts.contains(&route) {
            return Arrivals::new();
        }
        let clogged = self.clogs.get(&route).copied().unwrap_or_default();
        let last = self.last.get(&route).copied().unwrap_or_default();
        let in_order = late.max(last).max(clogged);
        let mut arrivals = Arrivals::new();
        if Self::happens(self.duplicate_permille, dice) {
            arrivals.push(in_order.after(self.take_time(dice)));
        }
        if Self::happens(self.reorder_permille, dice) {
            arrivals.push(in_order.after(self.take_time(dice) * 3));
        } else {
            self.last.insert(route, in_order);
            arrivals.push(in_order);
        }
        arrivals
    }

    /// The same message with fewer entries, or none, which comes before it. A leader may send what
    /// it likes of its log, and this one sends as much as it can; others do not.
    pub(super) fn shorten(&mut self, message: &Message, dice: &mut SplitMix) -> Option<Message> {
        if !Self::happens(self.shorten_permille, dice) {
            return None;
        }
        Self::beginning_of(message, dice)
    }

    /// The same message with fewer entries, or none.
    pub(super) fn beginning_of(message: &Message, dice: &mut SplitMix) -> Option<Message> {
        let Body::AppendEntries { prev, commit_index, session, entries } = &message.body else {
            return None;
        };
        if entries.is_empty() {
            return None;
        }
        let kept = usize::try_from(dice.below(entries.len() as u64)).expect("small");
        let entries: Vec<Entry> = entries.iter().take(kept).cloned().collect();
        let (prev, commit_index, session) = (*prev, *commit_index, *session);
        let body = Body::AppendEntries { prev, commit_index, session, entries: entries.into() };
        Some(Message { body, ..message.clone() })
    }

    /// An old message that comes again with this one.
    pub(super) fn replay(&mut self, message: &Message, dice: &mut SplitMix) -> Option<Message> {
        if self.replay_permille == 0 {
            return None;
        }
        let past = self.past.entry((message.from.0, message.to.0)).or_default();
        let again = (!past.is_empty() && Self::happens(self.replay_permille, dice)).then(|| {
            let place = usize::try_from(dice.below(past.len() as u64)).expect("small");
            past[place].clone()
        });
        past.push_back(message.clone());
        if past.len() > REPLAY_MAX {
            past.pop_front();
        }
        again
    }
}

fn is_of_election(body: &Body) -> bool {
    matches!(
        body,
        Body::PreVote { .. }
            | Body::PreVoteResponse { .. }
            | Body::RequestVote { .. }
            | Body::RequestVoteResponse { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{EntryId, LogIndex, NodeId, Payload, Term};

    fn entries_of(message: &Message) -> &[Entry] {
        let Body::AppendEntries { entries, .. } = &message.body else { return &[] };
        entries
    }

    #[test]
    fn what_comes_first_is_a_beginning_of_what_comes_then() {
        let entry = |index| Entry { id: EntryId::new(1, index), payload: Payload::Noop };
        let body = Body::AppendEntries {
            prev: EntryId::new(1, 3),
            commit_index: LogIndex(5),
            session: 0,
            entries: vec![entry(4), entry(5)].into(),
        };
        let message = Message::new(NodeId(1), NodeId(2), Term(1), body);
        let mut net = CoreNet::new((Duration::ZERO, Duration::ZERO));
        let mut dice = SplitMix::new(1);
        assert!(net.shorten(&message, &mut dice).is_none(), "not unless it is wanted");
        net.shorten_permille = 1000;
        for _ in 0..20 {
            let first = net.shorten(&message, &mut dice).expect("always");
            assert!(entries_of(&first).len() < 2);
            assert!(entries_of(&message).starts_with(entries_of(&first)));
        }
    }

    #[test]
    fn only_votes_get_through() {
        let mut net = CoreNet::new((Duration::ZERO, Duration::ZERO));
        let mut dice = SplitMix::new(1);
        net.only_votes = true;
        let last = EntryId::new(1, 1);
        let of = |body| Message::new(NodeId(1), NodeId(2), Term(1), body);
        let vote = of(Body::RequestVote { last, leadership_transfer: false });
        let beat = of(Body::Heartbeat { commit_index: LogIndex(0), round: 0 });
        assert_eq!(net.send(Moment(0), &vote, &mut dice).len(), 1);
        assert_eq!(net.send(Moment(0), &beat, &mut dice).len(), 0);
    }
}
