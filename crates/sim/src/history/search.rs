//! A second opinion: looks for an order of the operations by trying, without a word of revisions.
//!
//! Wing and Gong's search with Lowe's memory of configurations that led nowhere: the operations
//! that may come next are those that began before any other that is left has ended. Each key is
//! searched by itself where operations touch one key only; what touches several keeps its keys
//! together. It knows nothing of revisions or watchers, so it says less than [`History::check`] and
//! can be fooled in other ways: the two are held against each other.

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

type State = BTreeMap<String, Option<Value>>;

/// Looks for an order of all operations, in at most so many steps for each set of keys.
#[must_use]
pub fn search(history: &History, steps_max: usize) -> Found {
    let mut found = Found::Order;
    for part in partition(history) {
        let mut search = Search { operations: part, steps: 0, steps_max, dead: BTreeSet::new() };
        let left: BTreeSet<usize> = (0..search.operations.len()).collect();
        match search.explore(&left, &State::new()) {
            Some(true) => {}
            Some(false) => return Found::None,
            None => found = Found::Undecided,
        }
    }
    found
}

fn keys_of(operation: &Operation) -> Vec<&str> {
    match &operation.request {
        Request::Put { keys, .. } | Request::Revoke { keys, .. } => {
            keys.iter().map(String::as_str).collect()
        }
        Request::Swap { key, .. } | Request::Delete { key } | Request::Get { key } => vec![key],
    }
}

/// Operations that share keys, directly or by others, stay together.
fn partition(history: &History) -> Vec<Vec<&Operation>> {
    let mut parts: Vec<(BTreeSet<&str>, Vec<&Operation>)> = Vec::new();
    for operation in &history.operations {
        if operation.outcome == Outcome::Failed {
            continue;
        }
        let mut keys: BTreeSet<&str> = keys_of(operation).into_iter().collect();
        let mut together = vec![operation];
        for (its_keys, its) in std::mem::take(&mut parts) {
            if its_keys.is_disjoint(&keys) {
                parts.push((its_keys, its));
            } else {
                keys.extend(its_keys);
                together.extend(its);
            }
        }
        parts.push((keys, together));
    }
    parts.into_iter().map(|(_, operations)| operations).collect()
}

struct Search<'a> {
    operations: Vec<&'a Operation>,
    steps: usize,
    steps_max: usize,
    /// What was left, and the state then, where nothing led on.
    dead: BTreeSet<(Vec<usize>, State)>,
}

impl Search<'_> {
    /// Whether what is left can follow on this state; `None` if the steps are used up.
    fn explore(&mut self, left: &BTreeSet<usize>, state: &State) -> Option<bool> {
        // What nobody knows the outcome of may never be done.
        if left.iter().all(|place| self.operations[*place].outcome == Outcome::Unknown) {
            return Some(true);
        }
        let config = (left.iter().copied().collect::<Vec<_>>(), state.clone());
        if self.dead.contains(&config) {
            return Some(false);
        }
        self.steps += 1;
        if self.steps > self.steps_max {
            return None;
        }
        let ends = |place: &usize| match self.operations[*place].outcome {
            Outcome::Unknown => u64::MAX,
            Outcome::Failed | Outcome::Done { .. } => self.operations[*place].returned,
        };
        let first_end = left.iter().map(ends).min().unwrap_or(u64::MAX);
        let next: Vec<usize> = left
            .iter()
            .copied()
            .filter(|place| self.operations[*place].invoked <= first_end)
            .collect();
        for place in next {
            let Some(after) = follow(self.operations[place], state) else { continue };
            let mut rest = left.clone();
            rest.remove(&place);
            if self.explore(&rest, &after)? {
                return Some(true);
            }
        }
        self.dead.insert(config);
        Some(false)
    }
}

/// The state after an operation, if it may be done now with the answer that it had. An operation
/// whose outcome is unknown may do what it would do.
fn follow(operation: &Operation, state: &State) -> Option<State> {
    let held = |key: &str| state.get(key).copied().flatten();
    let reply = match &operation.outcome {
        Outcome::Failed => return None,
        Outcome::Unknown => None,
        Outcome::Done { reply, .. } => Some(reply),
    };
    let with = |keys: &[String], value: Option<Value>| {
        let mut after = state.clone();
        after.extend(keys.iter().map(|key| (key.clone(), value)));
        after
    };
    match (&operation.request, reply) {
        (Request::Put { keys, value, .. }, None | Some(Reply::Done)) => {
            Some(with(keys, Some(*value)))
        }
        (Request::Swap { key, expected, value }, None) => {
            let swaps = held(key) == *expected;
            Some(if swaps { with(std::slice::from_ref(key), Some(*value)) } else { state.clone() })
        }
        (Request::Swap { key, expected, value }, Some(Reply::Done)) => {
            let swaps = held(key) == *expected;
            swaps.then(|| with(std::slice::from_ref(key), Some(*value)))
        }
        (Request::Swap { key, expected, .. }, Some(Reply::Holds(it))) => {
            (held(key) == *it && it != expected).then(|| state.clone())
        }
        (Request::Delete { key }, None) => Some(with(std::slice::from_ref(key), None)),
        (Request::Delete { key }, Some(Reply::Deleted(count))) => {
            let is_right = (held(key).is_some()) == (*count > 0);
            is_right.then(|| with(std::slice::from_ref(key), None))
        }
        (Request::Revoke { keys, .. }, None | Some(Reply::Done)) => Some(with(keys, None)),
        (Request::Get { .. }, None) => Some(state.clone()),
        (Request::Get { key }, Some(Reply::Holds(it))) => (held(key) == *it).then(|| state.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
