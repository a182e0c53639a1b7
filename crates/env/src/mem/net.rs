//! A network in memory: frames take a while, in order per pair, and some never come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use self::reach::Reach;
use self::versions::Versions;
use super::VirtualClock;
use crate::{Clock, Moment, Net, SplitMix};

mod event;
mod latency;
mod on_the_way;
mod reach;
mod versions;

pub use self::event::{Delivery, NetEvent};
pub use self::latency::{Latency, NetCounts, Shape};

/// Frames that may wait between two nodes; more are dropped, as a full queue would.
const QUEUE_FRAMES_MAX: usize = 4096;

/// The network. Clones are handles of the same one.
#[derive(Clone)]
pub struct MemNet {
    clock: VirtualClock,
    state: Arc<Mutex<State>>,
}

/// One node's way to send.
#[derive(Clone, Debug)]
pub struct MemEndpoint {
    net: MemNet,
    node: u64,
    is_second: bool,
}

/// From whom, to whom, and whether by the sender's second way. Frames of one route keep their
/// order, as those of one connection do.
type Route = (u64, u64, bool);

struct State {
    dice: SplitMix,
    nodes: BTreeSet<u64>,
    /// By arrival, then by order of sending.
    in_flight: BTreeMap<(Moment, u64), Delivery>,
    sent: u64,
    /// The arrival of the last frame between two nodes, which the next must not overtake, and how
    /// many wait.
    pairs: BTreeMap<Route, Pair>,
    cuts: BTreeSet<(u64, u64)>,
    loss_permille: u64,
    duplicate_permille: u64,
    reorder_permille: u64,
    replay_permille: u64,
    /// The newest frames of each pair, while frames may come again.
    past: BTreeMap<Route, VecDeque<Bytes>>,
    /// Nothing arrives between two nodes before this moment.
    clogs: BTreeMap<(u64, u64), Moment>,
    latency: Latency,
    /// Wires that take longer than the others, for good.
    long_ways: BTreeMap<(u64, u64), Latency>,
    counts: NetCounts,
    versions: Versions,
    /// Who reaches whom; `None` if everybody reaches everybody.
    reach: Option<Reach>,
    /// What happened, if somebody wants to know.
    events: Option<Vec<NetEvent>>,
}

#[derive(Clone, Copy, Default)]
struct Pair {
    last: Moment,
    waiting: usize,
    /// A frame that a later one may overtake arrives then.
    late: Moment,
}

impl MemNet {
    /// A network without nodes, where a frame takes between 0.1 and 1 ms and none is lost.
    #[must_use]
    pub fn new(clock: VirtualClock, seed: u64) -> Self {
        let state = State {
            dice: SplitMix::new(seed),
            nodes: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            pairs: BTreeMap::new(),
            cuts: BTreeSet::new(),
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            replay_permille: 0,
            past: BTreeMap::new(),
            clogs: BTreeMap::new(),
            versions: Versions::default(),
            reach: None,
            events: None,
            latency: Latency::uniform(Duration::from_micros(100), Duration::from_millis(1)),
            long_ways: BTreeMap::new(),
            counts: NetCounts::default(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Makes `node` known and gives it its way to send. It was told of nobody yet.
    #[must_use]
    pub fn endpoint(&self, node: u64) -> MemEndpoint {
        let mut state = self.state.lock();
        state.nodes.insert(node);
        state.versions.forget(node);
        if let Some(reach) = &mut state.reach {
            reach.forget(node);
        }
        drop(state);
        MemEndpoint { net: self.clone(), node, is_second: false }
    }

    /// Takes the frames that have arrived by `now`, in order of arrival.
    #[must_use]
    pub fn due(&self, now: Moment) -> Vec<Delivery> {
        let mut state = self.state.lock();
        if state.in_flight.first_key_value().is_none_or(|((at, _), _)| *at > now) {
            return Vec::new();
        }
        let later = state.in_flight.split_off(&(Moment(now.0.saturating_add(1)), 0));
        let arrived = std::mem::replace(&mut state.in_flight, later);
        let mut deliveries = Vec::with_capacity(arrived.len());
        for ((_, number), delivery) in arrived {
            if let Some(pair) = state.pairs.get_mut(&delivery.route()) {
                pair.waiting -= 1;
            }
            // A cut also takes what was under way.
            if state.cuts.contains(&(delivery.from, delivery.to)) {
                state.counts.cut += 1;
                state.note(|| NetEvent::Dropped { number, at: now });
            } else {
                deliveries.push(delivery);
            }
        }
        deliveries
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.state.lock().in_flight.keys().next().map(|(at, _)| *at)
    }

    /// Cuts the wire between two nodes, both ways.
    pub fn cut(&self, a: u64, b: u64) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts what `from` sends to `to`.
    pub fn cut_one_way(&self, from: u64, to: u64) {
        self.state.lock().cuts.insert((from, to));
    }

    /// Whether what `from` sends to `to` is cut.
    #[must_use]
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.state.lock().cuts.contains(&(from, to))
    }

    /// Cuts `node` off from all nodes known so far, both ways.
    pub fn isolate(&self, node: u64) {
        let others: Vec<u64> = self.state.lock().nodes.iter().copied().collect();
        for other in others.into_iter().filter(|other| *other != node) {
            self.cut(node, other);
        }
    }

    /// Mends the wire between two nodes, both ways.
    pub fn heal(&self, a: u64, b: u64) {
        let mut state = self.state.lock();
        state.cuts.remove(&(a, b));
        state.cuts.remove(&(b, a));
    }

    /// Mends everything.
    pub fn heal_all(&self) {
        let mut state = self.state.lock();
        state.cuts.clear();
        state.clogs.clear();
    }

    /// Holds back all that `from` sends to `to` for so long from now on; then it all comes at once.
    pub fn clog(&self, from: u64, to: u64, duration: Duration) {
        let until = self.clock.now().after(duration);
        self.state.lock().clogs.insert((from, to), until);
    }

    /// With this many of a thousand frames an old one comes again, perhaps of an earlier life of
    /// its sender.
    pub fn set_replay_permille(&self, permille: u64) {
        self.state.lock().replay_permille = permille;
    }

    /// Keeps what becomes of each frame from now on.
    pub fn keep_events(&self) {
        self.state.lock().events = Some(Vec::new());
    }

    /// Takes what was kept.
    #[must_use]
    pub fn take_events(&self) -> Vec<NetEvent> {
        self.state.lock().events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Loses this many of a thousand frames.
    pub fn set_loss_permille(&self, permille: u64) {
        self.state.lock().loss_permille = permille;
    }

    /// Delivers this many of a thousand frames twice.
    pub fn set_duplicate_permille(&self, permille: u64) {
        self.state.lock().duplicate_permille = permille;
    }

    /// Lets this many of a thousand frames be overtaken by later ones, as happens when a connection
    /// is replaced by another.
    pub fn set_reorder_permille(&self, permille: u64) {
        self.state.lock().reorder_permille = permille;
    }

    /// How long a frame takes.
    pub fn set_delay(&self, min: Duration, max: Duration) {
        self.set_latency(Latency::uniform(min, max));
    }

    /// Forgets what is under way to and from `node`: it has crashed.
    pub fn drop_frames_of(&self, node: u64) {
        let mut state = self.state.lock();
        let (now, events) = (self.clock.now(), state.events.is_some());
        let is_its = |delivery: &Delivery| delivery.from == node || delivery.to == node;
        let its = state.in_flight.iter().filter(|(_, delivery)| events && is_its(delivery));
        let its: Vec<u64> = its.map(|((_, number), _)| *number).collect();
        for number in its {
            state.note(|| NetEvent::Dropped { number, at: now });
        }
        state.in_flight.retain(|_, delivery| !is_its(delivery));
        state.pairs.retain(|(from, to, _), _| *from != node && *to != node);
    }
}

impl MemEndpoint {
    /// Another way of the same node, with connections of its own: what goes by it neither waits for
    /// the frames of the first nor keeps an order with them, and what a peer takes by it is told to
    /// it alone.
    #[must_use]
    pub fn second(&self) -> Self {
        Self { is_second: true, ..self.clone() }
    }
}

impl Net for MemEndpoint {
    fn send(&self, to: u64, frame: Bytes) -> bool {
        let now = self.net.clock.now();
        let mut state = self.net.state.lock();
        let is_told = state.reach.as_ref().is_none_or(|reach| reach.reaches(self.node, to));
        if !state.nodes.contains(&to) || !is_told {
            return false;
        }
        let route = (self.node, to, self.is_second);
        let wire = (self.node, to);
        let pair = state.pairs.get(&route).copied().unwrap_or_default();
        if pair.waiting >= QUEUE_FRAMES_MAX {
            return false;
        }
        // The dice are thrown for every frame, so that a cut does not change what follows.
        let lost = state.dice.below(1000) < state.loss_permille;
        let clogged_until = state.clogs.get(&wire).copied().unwrap_or_default();
        let by_itself = now.after(state.delay(route)).max(pair.last);
        let in_order = by_itself.max(clogged_until);
        let delivery = Delivery { from: self.node, to, is_second: self.is_second, frame };
        if lost || state.cuts.contains(&wire) {
            state.sent += 1;
            let (number, arrives, is_replay) = (state.sent, None, false);
            let count = if lost { &mut state.counts.lost } else { &mut state.counts.cut };
            *count += 1;
            state.note(|| NetEvent::Sent { number, at: now, arrives, delivery, is_replay });
            return true;
        }
        state.counts.held_back += u64::from(clogged_until > by_itself);
        state.replay(now, &delivery.frame, route);
        let (duplicate, reorder) = (state.duplicate_permille, state.reorder_permille);
        if state.happens(duplicate) {
            let again = in_order.after(state.delay(route));
            state.counts.doubled += 1;
            state.put(now, again, delivery.clone(), false);
        }
        if state.happens(reorder) {
            let late = in_order.after(state.delay(route) * 3);
            state.put(now, late, delivery, false);
            state.pairs.entry(route).or_default().late = late;
        } else {
            state.put_in_order(now, in_order, delivery);
        }
        true
    }

    fn set_peer(&self, to: u64, addresses: &[String]) {
        if let Some(reach) = &mut self.net.state.lock().reach {
            reach.tell(self.node, to, addresses);
        }
    }

    fn set_own_addresses(&self, addresses: &[String]) {
        if let Some(reach) = &mut self.net.state.lock().reach {
            reach.tell_own(self.node, addresses);
        }
    }

    fn remove_peer(&self, to: u64) {
        if let Some(reach) = &mut self.net.state.lock().reach {
            reach.untell(self.node, to);
        }
    }

    fn version_of(&self, to: u64) -> Arc<AtomicU8> {
        Arc::clone(self.net.state.lock().versions.of((self.node, to, self.is_second)))
    }
}

impl fmt::Debug for MemNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemNet").field("in_flight", &self.state.lock().in_flight.len()).finish()
    }
}

#[cfg(test)]
mod tests;
