//! The network between the nodes of a core world: messages as values, each with a time to arrive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use env::mem::{Latency, NetCounts, Shape};
use env::{Moment, SplitMix};
use raft::{Body, Entry, Message};

use super::CoreOptions;

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
    /// What a later message of its wire may overtake arrives then.
    late: BTreeMap<(u64, u64), Moment>,
    shape: Shape,
    long_ways: BTreeMap<(u64, u64), Latency>,
    pub(super) counts: NetCounts,
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
            late: BTreeMap::new(),
            shape: Shape::Uniform,
            long_ways: BTreeMap::new(),
            counts: NetCounts::default(),
            delay,
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            replay_permille: 0,
            only_votes: false,
            shorten_permille: 0,
        }
    }

    /// As a world is made.
    pub(super) fn of(options: &CoreOptions) -> Self {
        let CoreOptions { shape, long_ways, .. } = options.clone();
        Self { shape, long_ways, ..Self::new(options.delay) }
    }

    /// Every way is as short as any, and takes a time of this range, each as often.
    pub(super) fn take_short_ways(&mut self, delay: (Duration, Duration)) {
        (self.delay, self.shape) = (delay, Shape::Uniform);
        self.long_ways.clear();
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

    /// Whether the wire is cut.
    #[must_use]
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn happens(permille: u64, dice: &mut SplitMix) -> bool {
        permille > 0 && dice.below(1000) < permille
    }

    fn take_time(&self, route: (u64, u64), dice: &mut SplitMix) -> Duration {
        let (min, max) = self.delay;
        let time = Latency { min, max, shape: self.shape }.draw(dice);
        let long_way = self.long_ways.get(&route);
        long_way.map_or(time, |way| way.draw(dice).max(time))
    }

    /// What becomes of a message that is sent now.
    pub(super) fn send(&mut self, now: Moment, message: &Message, dice: &mut SplitMix) -> Arrivals {
        let route = (message.from.0, message.to.0);
        let lost = Self::happens(self.loss_permille, dice);
        let late = now.after(self.take_time(route, dice));
        let is_held_up = self.only_votes && !is_of_election(&message.body);
        let is_cut = self.cuts.contains(&route);
        self.counts.lost += u64::from(lost);
        self.counts.cut += u64::from(is_cut && !lost);
        if lost || is_held_up || is_cut {
            return Arrivals::new();
        }
        let clogged = self.clogs.get(&route).copied().unwrap_or_default();
        let last = self.last.get(&route).copied().unwrap_or_default();
        let in_order = late.max(last).max(clogged);
        self.counts.held_back += u64::from(clogged > late.max(last));
        let mut arrivals = Arrivals::new();
        if Self::happens(self.duplicate_permille, dice) {
            self.counts.doubled += 1;
            arrivals.push(in_order.after(self.take_time(route, dice)));
        }
        if Self::happens(self.reorder_permille, dice) {
            let late = in_order.after(self.take_time(route, dice) * 3);
            self.late.insert(route, late);
            arrivals.push(late);
        } else {
            self.last.insert(route, in_order);
            arrivals.push(in_order);
            if self.late.get(&route).is_some_and(|late| *late > in_order) {
                self.late.remove(&route);
                self.counts.overtaken += 1;
            }
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
        self.counts.replayed += u64::from(again.is_some());
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
    #[test]
    fn what_becomes_of_messages_is_counted() {
        let options = CoreOptions::new(1, 3);
        let mut net = CoreNet::of(&options);
        let mut dice = SplitMix::new(1);
        let body = Body::Heartbeat { commit_index: LogIndex(0), round: 0 };
        let message = Message::new(NodeId(1), NodeId(2), Term(1), body);
        (net.loss_permille, net.duplicate_permille) = (100, 100);
        (net.reorder_permille, net.replay_permille) = (100, 100);
        let (mut arrived, mut again) = (0, 0);
        for ms in 0..300 {
            let now = Moment(ms * 1_000_000);
            again += u64::from(net.replay(&message, &mut dice).is_some());
            arrived += net.send(now, &message, &mut dice).len() as u64;
        }
        let counts = net.counts;
        assert_eq!((arrived, again), (300 + counts.doubled - counts.lost, counts.replayed));
        assert!(counts.lost > 9 && counts.doubled > 9 && counts.replayed > 9, "{counts:?}");
        assert!(counts.overtaken > 9 && counts.held_back == 0, "{counts:?}");
        net.clog(1, 2, Moment(90_000_000_000));
        net.cut(1, 3);
        while net.send(Moment(400_000_000), &message, &mut dice).is_empty() {}
        let other = Message { to: NodeId(3), ..message };
        (net.loss_permille, net.duplicate_permille) = (0, 0);
        assert!(net.send(Moment(400_000_000), &other, &mut dice).is_empty());
        assert_eq!((net.counts.held_back, net.counts.cut), (1, 1));
    }

    #[test]
    fn a_long_way_is_long_until_all_are_short() {
        let ms = Duration::from_millis;
        let long_ways = BTreeMap::from([((1, 2), Latency::uniform(ms(40), ms(50)))]);
        let mut net = CoreNet::of(&CoreOptions { long_ways, ..CoreOptions::new(1, 2) });
        let mut dice = SplitMix::new(1);
        assert!(net.take_time((1, 2), &mut dice) >= ms(40));
        assert!(net.take_time((2, 1), &mut dice) <= ms(12));
        net.take_short_ways((ms(1), ms(2)));
        assert!(net.take_time((1, 2), &mut dice) <= ms(2));
    }
}
