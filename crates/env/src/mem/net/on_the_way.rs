//! Frames that are on their way: when they arrive, once, twice or again.

use std::time::Duration;

use bytes::Bytes;

use super::{Delivery, NetEvent, Route, State};
use crate::Moment;

/// Frames between two nodes that are remembered, so that they can come again.
const REPLAY_FRAMES_MAX: usize = 32;

impl State {
    /// Whether it happens to this frame. The dice rest while it cannot happen at all.
    pub(super) fn happens(&mut self, permille: u64) -> bool {
        permille > 0 && self.dice.below(1000) < permille
    }

    pub(super) fn note(&mut self, event: impl FnOnce() -> NetEvent) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    /// Puts a frame on its way at `now`; it arrives at `at`.
    pub(super) fn put(&mut self, now: Moment, at: Moment, delivery: Delivery, is_replay: bool) {
        self.sent += 1;
        let number = self.sent;
        let (arrives, copy) = (Some(at), delivery.clone());
        self.note(|| NetEvent::Sent { number, at: now, arrives, delivery: copy, is_replay });
        self.pairs.entry(delivery.route()).or_default().waiting += 1;
        let key = (at, self.sent);
        self.in_flight.insert(key, delivery);
    }

    /// Remembers a frame, and may let an older one come again.
    pub(super) fn replay(&mut self, now: Moment, frame: &Bytes, route: Route) {
        if self.replay_permille == 0 {
            return;
        }
        let past = self.past.entry(route).or_default();
        let again = (self.dice.below(1000) < self.replay_permille && !past.is_empty()).then(|| {
            let place = self.dice.below(past.len() as u64);
            past[usize::try_from(place).unwrap_or(0)].clone()
        });
        past.push_back(frame.clone());
        if past.len() > REPLAY_FRAMES_MAX {
            past.pop_front();
        }
        if let Some(frame) = again {
            let at = now.after(self.delay(route));
            let (from, to, is_second) = route;
            self.counts.replayed += 1;
            self.put(now, at, Delivery { from, to, is_second, frame }, true);
        }
    }

    pub(super) fn delay(&mut self, (from, to, _): Route) -> Duration {
        let time = self.latency.draw(&mut self.dice);
        let long_way = self.long_ways.get(&(from, to)).copied();
        long_way.map_or(time, |way| way.draw(&mut self.dice).max(time))
    }

    /// Puts a frame on its way that no later one of its route arrives before.
    pub(super) fn put_in_order(&mut self, now: Moment, at: Moment, delivery: Delivery) {
        let route = delivery.route();
        self.put(now, at, delivery, false);
        let pair = self.pairs.entry(route).or_default();
        pair.last = at;
        let overtakes = pair.late > at;
        if overtakes {
            pair.late = Moment::default();
        }
        self.counts.overtaken += u64::from(overtakes);
    }
}
