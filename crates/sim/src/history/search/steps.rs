//! The operations that a search puts in order, and where to try each first.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{History, Operation, Outcome, Reply, Request, Value};

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

/// What has certainly failed did nothing, and a read without an answer says nothing either.
fn says_nothing(operation: &Operation) -> bool {
    match operation.outcome {
        Outcome::Failed => true,
        Outcome::Unknown => {
            matches!(operation.request, Request::Get { .. } | Request::Scan { .. })
        }
        Outcome::Done { .. } => false,
    }
}

fn looks(operation: &Operation) -> bool {
    matches!(
        (&operation.request, &operation.outcome),
        (Request::Get { .. } | Request::Scan { .. }, _)
            | (_, Outcome::Done { reply: Reply::Holds(_) | Reply::Deleted(0), .. })
    )
}

/// An operation, the places of its keys in a state, and where it may stand in the order.
pub(super) struct Step<'a> {
    pub(super) operation: &'a Operation,
    pub(super) keys: Vec<usize>,
    pub(super) hint: (i64, bool, u64),
}

impl Step<'_> {
    pub(super) fn is_unknown(&self) -> bool {
        self.operation.outcome == Outcome::Unknown
    }

    pub(super) fn ends(&self) -> u64 {
        if self.is_unknown() { u64::MAX } else { self.operation.returned }
    }

    /// Whether it changes nothing, whatever the state is.
    pub(super) fn looks(&self) -> bool {
        looks(self.operation)
    }

    /// The values that must be there when it is done, and their keys.
    pub(super) fn finds(&self) -> Vec<(usize, Value)> {
        let Outcome::Done { reply, .. } = &self.operation.outcome else { return Vec::new() };
        let held: &[Option<Value>] = match (reply, &self.operation.request) {
            (Reply::Holds(held), _) => std::slice::from_ref(held),
            (Reply::HoldAll(all), _) => all,
            (Reply::Done, Request::Swap { expected, .. }) => std::slice::from_ref(expected),
            _ => &[],
        };
        let keys = self.keys.iter().zip(held);
        keys.filter_map(|(key, held)| held.map(|value| (*key, value))).collect()
    }

    /// The value that it may write.
    pub(super) fn writes(&self) -> Option<Value> {
        match self.operation.request {
            Request::Put { value, .. } | Request::Swap { value, .. } => Some(value),
            Request::Delete { .. }
            | Request::Revoke { .. }
            | Request::Get { .. }
            | Request::Scan { .. } => None,
        }
    }
}

/// Operations that share keys, directly or by others, stay together.
pub(super) fn partition(history: &History) -> Vec<Vec<Step<'_>>> {
    let hints = hints(history);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut with: Vec<usize> = Vec::new();
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (operation, hint) in history.operations.iter().zip(hints) {
        if says_nothing(operation) || keys_of(operation).is_empty() {
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
        hints[place] = (revision.unwrap_or(i64::MAX), looks(operation), operation.invoked);
    }
    hints
}
