//! A second opinion: looks for an order of the operations by trying.
//!
//! Wing and Gong's search with Lowe's memory of configurations that led nowhere: the operations
//! that may come next are those that began before any other that is left has ended. Each key is
//! searched by itself where operations touch one key only; what touches several keeps its keys
//! together. Revisions and what watchers saw are a hint where to look first, and nothing more: an
//! order is one whether they are right or not. So it says less than [`History::check`] and can be
//! fooled in other ways: the two are held against each other. With the hint an honest history is
//! explained at the first try. Should the hint be wrong, three rules keep the search short, and
//! none of them loses an order:
//!
//! - What only looks is done as soon as it can be. It changes nothing, so an order in which it
//!   comes later is one as well if it comes now.
//! - What nobody knows the outcome of is not done where it would do nothing: it may be left out, or
//!   done later.
//! - A value stays while somebody has still to find it and nobody could write it again.
//!
//! One that none explains may still end with the steps.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Outcome, Reply, Request, Value};
use steps::{Step, partition};

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An order that explains every answer.
    Order,
    /// No order does.
    None,
    /// The search was given up; that is no answer, and whoever asked must take it for a failure.
    Undecided,
}

/// Looks for an order of all operations, in at most so many steps for each set of keys.
#[must_use]
pub fn search(history: &History, steps_max: usize) -> Found {
    let mut found = Found::Order;
    for part in partition(history) {
        match Search::of(part).explore(steps_max) {
            Some(true) => {}
            Some(false) => return Found::None,
            None => found = Found::Undecided,
        }
    }
    found
}

type State = BTreeMap<usize, Value>;

/// What was not done yet, as bits.
type Left = Vec<u64>;

/// A place on the way: what was done last, and what was not tried yet behind it.
struct Place {
    /// `None` at the beginning.
    done: Option<usize>,
    state: State,
    /// The first that was not tried.
    next: usize,
    /// All that end before this one, by the end, are done.
    ended: usize,
}

struct Search<'a> {
    /// Those come first that should be tried first.
    steps: Vec<Step<'a>>,
    /// Places of the steps, by their ends.
    by_end: Vec<usize>,
    left: Left,
    /// How many are left that must have been done.
    must: usize,
    /// How many of those must find this value in this key, where nobody could write it again.
    wanted: BTreeMap<(usize, Value), usize>,
    /// What was left, and the state then, where nothing led on.
    dead: BTreeSet<(Left, State)>,
}

impl<'a> Search<'a> {
    fn of(mut steps: Vec<Step<'a>>) -> Self {
        steps.sort_by_key(|step| step.hint);
        let mut by_end: Vec<usize> = (0..steps.len()).collect();
        by_end.sort_by_key(|place| steps[*place].ends());
        let left = vec![u64::MAX; steps.len().div_ceil(64)];
        let must = steps.iter().filter(|step| !step.is_unknown()).count();
        let mut writers: BTreeMap<Value, usize> = BTreeMap::new();
        for value in steps.iter().filter_map(Step::writes) {
            *writers.entry(value).or_default() += 1;
        }
        let mut wanted = BTreeMap::new();
        for (key, value) in steps.iter().flat_map(Step::finds) {
            if writers.get(&value) == Some(&1) {
                *wanted.entry((key, value)).or_default() += 1;
            }
        }
        Self { steps, by_end, left, must, wanted, dead: BTreeSet::new() }
    }

    fn is_left(&self, step: usize) -> bool {
        self.left[step / 64] & (1 << (step % 64)) != 0
    }

    /// Does it, or takes it back.
    fn turn(&mut self, step: usize) {
        self.left[step / 64] ^= 1 << (step % 64);
        let is_left = self.is_left(step);
        let by = usize::from(!self.steps[step].is_unknown());
        self.must = if is_left { self.must + by } else { self.must - by };
        for found in self.steps[step].finds() {
            if let Some(count) = self.wanted.get_mut(&found) {
                *count = if is_left { *count + 1 } else { *count - 1 };
            }
        }
    }

    /// Whether what the step has just changed was a value that somebody has still to find.
    fn is_missed(&self, step: usize, before: &State, after: &State) -> bool {
        self.steps[step].keys.iter().any(|key| {
            let held = before.get(key).filter(|held| after.get(key) != Some(held));
            let wanted = held.and_then(|value| self.wanted.get(&(*key, *value)));
            wanted.is_some_and(|count| *count > 0)
        })
    }

    /// Whether there is an order; `None` if the steps are used up.
    fn explore(&mut self, steps_max: usize) -> Option<bool> {
        let begin = Place { done: None, state: State::new(), next: 0, ended: 0 };
        let mut way = vec![begin];
        let mut steps = 0;
        while let Some(mut place) = way.pop() {
            // What nobody knows the outcome of may never be done.
            if self.must == 0 {
                return Some(true);
            }
            steps += usize::from(place.next == 0);
            if steps > steps_max {
                return None;
            }
            match self.go_on(&mut place) {
                Some(after) => way.extend([place, after]),
                None => {
                    self.dead.insert((self.left.clone(), place.state));
                    place.done.into_iter().for_each(|step| self.turn(step));
                }
            }
        }
        Some(false)
    }

    /// The next that can follow here, and what leads on as far as is known.
    fn go_on(&mut self, place: &mut Place) -> Option<Place> {
        while self.by_end.get(place.ended).is_some_and(|step| !self.is_left(*step)) {
            place.ended += 1;
        }
        let first_end =
            self.by_end.get(place.ended).map_or(u64::MAX, |step| self.steps[*step].ends());
        while place.next < self.steps.len() {
            let step = place.next;
            place.next += 1;
            if !self.is_left(step) || self.steps[step].operation.invoked > first_end {
                continue;
            }
            let Some(state) = follow(&self.steps[step], &place.state) else { continue };
            self.turn(step);
            if self.steps[step].looks() {
                // Nothing else has to be tried here, should this lead nowhere.
                place.next = self.steps.len();
            }
            let is_dead =
                !self.dead.is_empty() && self.dead.contains(&(self.left.clone(), state.clone()));
            if !is_dead && !self.is_missed(step, &place.state, &state) {
                return Some(Place { done: Some(step), state, next: 0, ended: place.ended });
            }
            self.turn(step);
        }
        None
    }
}

/// The state after an operation, if it may be done now with the answer that it had. An operation
/// whose outcome is unknown may do what it would do, if that is something.
fn follow(step: &Step<'_>, state: &State) -> Option<State> {
    let held = state.get(&step.keys[0]).copied();
    let reply = match &step.operation.outcome {
        Outcome::Failed => return None,
        Outcome::Unknown => None,
        Outcome::Done { reply, .. } => Some(reply),
    };
    let with = |value: Option<Value>| {
        let mut after = state.clone();
        for key in &step.keys {
            match value {
                Some(value) => after.insert(*key, value),
                None => after.remove(key),
            };
        }
        Some(after)
    };
    let same = |holds: bool| holds.then(|| state.clone());
    match (&step.operation.request, reply) {
        (Request::Put { value, .. }, None | Some(Reply::Done)) => with(Some(*value)),
        (Request::Swap { expected, value, .. }, None) if held == *expected => with(Some(*value)),
        (Request::Scan { .. }, Some(Reply::HoldAll(all))) => {
            let held = step.keys.iter().map(|key| state.get(key).copied());
            same(held.eq(all.iter().copied()))
        }
        (Request::Swap { expected, value, .. }, Some(Reply::Done)) if held == *expected => {
            with(Some(*value))
        }
        (Request::Swap { expected, .. }, Some(Reply::Holds(it))) => {
            same(held == *it && it != expected)
        }
        (Request::Delete { .. }, Some(Reply::Deleted(count))) if held.is_some() == (*count > 0) => {
            with(None)
        }
        (Request::Delete { .. } | Request::Revoke { .. }, None) => {
            let is_something = step.keys.iter().any(|key| state.contains_key(key));
            if is_something { with(None) } else { None }
        }
        (Request::Revoke { .. }, Some(Reply::Done)) => with(None),
        (Request::Get { .. }, Some(Reply::Holds(it))) => same(held == *it),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
