//! A second opinion: looks for an order of the operations by trying.
//!
//! Wing and Gong's search with Lowe's memory of configurations that led nowhere: the operations
//! that may come next are those that began before any other that is left has ended. Each key is
//! searched by itself where operations touch one key only; what touches several keeps its keys
//! together. Revisions and what watchers saw are a hint where to look first, and nothing more: an
//! order is one whether they are right or not. So it says less than [`History::check`] and can be
//! fooled in other ways: the two are held against each other. With the hint an honest history is
//! explained at the first try, and one that none explains ends with the steps.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Operation, Outcome, Reply, Request, Value};

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

fn keys_of(operation: &Operation) -> &[String] {
    match &operation.request {
        Request::Put { keys, .. }
        | Request::Revoke { keys, .. }
        | Request::Scan { keys, at: None } => keys,
        // What was once says nothing of the order now.
        Request::Scan { at: Some(_), .. } => &[],
        Request::Swap { key, .. } | Request::Delete { key } | Request::Get { key } => {
            std::slice::from_ref(key)
        }
    }
}

/// An operation, the places of its keys in a state, and where it may stand in the order.
struct Step<'a> {
    operation: &'a Operation,
    keys: Vec<usize>,
    hint: (i64, bool, u64),
}

impl Step<'_> {
    fn is_unknown(&self) -> bool {
        self.operation.outcome == Outcome::Unknown
    }

    fn ends(&self) -> u64 {
        if self.is_unknown() { u64::MAX } else { self.operation.returned }
    }
}

/// Operations that share keys, directly or by others, stay together.
fn partition(history: &History) -> Vec<Vec<Step<'_>>> {
    let hints = hints(history);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut with: Vec<usize> = Vec::new();
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (operation, hint) in history.operations.iter().zip(hints) {
        if operation.outcome == Outcome::Failed || keys_of(operation).is_empty() {
            continue;
        }
        let place = |key| {
            let place = *names.entry(key).or_insert(with.len());
            if place == with.len() {
                with.push(place);
            }
            place
        };
        let keys: Vec<usize> = keys_of(operation).iter().map(String::as_str).map(place).collect();
        for key in &keys[1..] {
            let (one, other) = (root(&with, keys[0]), root(&with, *key));
            with[one] = other;
        }
        steps.push(Step { operation, keys, hint });
    }
    let mut parts: BTreeMap<usize, Vec<Step<'_>>> = BTreeMap::new();
    for step in steps {
        parts.entry(root(&with, step.keys[0])).or_default().push(step);
    }
    parts.into_values().collect()
}

fn root(with: &[usize], mut key: usize) -> usize {
    while with[key] != key {
        key = with[key];
    }
    key
}

/// Where each operation may stand: at its revision, the one that changes something before those
/// that saw it. What may never have been done comes last.
fn hints(history: &History) -> Vec<(i64, bool, u64)> {
    let mut written: BTreeMap<Value, i64> = BTreeMap::new();
    let mut deleted: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for (revision, change) in
        history.changes.iter().flat_map(|(at, all)| all.iter().map(|it| (*at, it)))
    {
        match change.value {
            Some(value) => drop(written.insert(value, revision)),
            None => drop(deleted.entry(&change.key).or_default().insert(revision)),
        }
    }
    for operation in &history.operations {
        let Outcome::Done { revision, reply } = &operation.outcome else { continue };
        let deletes = match &operation.request {
            Request::Delete { .. } => *reply != Reply::Deleted(0),
            Request::Revoke { .. } => true,
            // Who sees that a key is gone may name the revision at which it went.
            Request::Put { .. }
            | Request::Swap { .. }
            | Request::Get { .. }
            | Request::Scan { .. } => false,
        };
        for key in keys_of(operation).iter().filter(|_| deletes) {
            deleted.get_mut(key.as_str()).map(|at| at.remove(revision));
        }
    }
    let mut open: Vec<(usize, &Operation)> = history.operations.iter().enumerate().collect();
    open.sort_by_key(|(_, operation)| operation.invoked);
    let mut hints = vec![(i64::MAX, false, 0); open.len()];
    for (place, operation) in open {
        let revision = match (&operation.outcome, &operation.request) {
            (Outcome::Done { revision, .. }, _) => Some(*revision),
            (_, Request::Put { value, .. } | Request::Swap { value, .. }) => {
                written.get(value).copied()
            }
            // Whoever began first is taken for the one that did it. What has failed did not.
            (Outcome::Unknown, Request::Delete { key }) => {
                deleted.get_mut(key.as_str()).and_then(BTreeSet::pop_first)
            }
            _ => None,
        };
        let looks = matches!(
            (&operation.request, &operation.outcome),
            (Request::Get { .. } | Request::Scan { .. }, _)
                | (_, Outcome::Done { reply: Reply::Holds(_) | Reply::Deleted(0), .. })
        );
        hints[place] = (revision.unwrap_or(i64::MAX), looks, operation.invoked);
    }
    hints
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
        Self { steps, by_end, left, must, dead: BTreeSet::new() }
    }

    fn is_left(&self, step: usize) -> bool {
        self.left[step / 64] & (1 << (step % 64)) != 0
    }

    /// Does it, or takes it back.
    fn turn(&mut self, step: usize) {
        self.left[step / 64] ^= 1 << (step % 64);
        let by = usize::from(!self.steps[step].is_unknown());
        self.must = if self.is_left(step) { self.must + by } else { self.must - by };
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
            let is_new =
                self.dead.is_empty() || !self.dead.contains(&(self.left.clone(), state.clone()));
            if is_new {
                return Some(Place { done: Some(step), state, next: 0, ended: place.ended });
            }
            self.turn(step);
        }
        None
    }
}

/// The state after an operation, if it may be done now with the answer that it had. An operation
/// whose outcome is unknown may do what it would do.
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
        (Request::Swap { .. } | Request::Get { .. } | Request::Scan { .. }, None) => same(true),
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
        (Request::Delete { .. }, None) => with(None),
        (Request::Revoke { .. }, None | Some(Reply::Done)) => with(None),
        (Request::Get { .. }, Some(Reply::Holds(it))) => same(held == *it),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
