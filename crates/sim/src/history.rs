//! Is what clients saw explained by one order of revisions?
//!
//! Every change of the store has a revision, and every answer names one. So the order in which the
//! store claims to have done things is known, and nothing has to be searched: the changes, as a
//! watcher saw them, are replayed, and each answer is held against the state at its revision. What
//! is left to check is that this order respects real time: what ended before something began comes
//! before it. Together that is strict serializability, for any number of keys, in linear time.

mod deleters;
mod search;

use std::collections::BTreeMap;
use std::fmt;

use deleters::Deleters;
pub use search::{Found, search};

/// What an operation wrote; each operation writes another one, so that a value names its writer.
pub type Value = u64;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Sets all of these keys, at one revision, attached to a lease (0 for none).
    Put {
        /// The keys.
        keys: Vec<String>,
        /// The value.
        value: Value,
        /// The lease.
        lease: i64,
    },
    /// Sets a key if it holds `expected` (`None`: if it does not exist).
    Swap {
        /// The key.
        key: String,
        /// What must be there.
        expected: Option<Value>,
        /// What is then put there.
        value: Value,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Ends a lease that keys may be attached to.
    Revoke {
        /// The lease.
        lease: i64,
        /// All keys that were ever attached to it.
        keys: Vec<String>,
    },
    /// A linearizable read.
    Get {
        /// The key.
        key: String,
    },
    /// A linearizable read of several keys, as they are or as they were.
    Scan {
        /// All keys that may be in the range, in order.
        keys: Vec<String>,
        /// As of this revision, if not the newest.
        at: Option<i64>,
    },
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has certainly failed, and must have no effect, ever.
    Failed,
    /// It may be done, now or later, or never.
    Unknown,
    /// It is done, as of this revision.
    Done {
        /// The revision.
        revision: i64,
        /// The answer.
        reply: Reply,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The keys are set, or the lease is revoked.
    Done,
    /// This many keys were deleted.
    Deleted(i64),
    /// The key holds this; of a read, or of a swap that did not happen.
    Holds(Option<Value>),
    /// The keys hold these; of a read of several.
    HoldAll(Vec<Option<Value>>),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was asked for.
    pub request: Request,
    /// When, in nanoseconds.
    pub invoked: u64,
    /// When the outcome was known.
    pub returned: u64,
    /// The outcome.
    pub outcome: Outcome,
}

/// A change of one key; `None` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it holds now.
    pub value: Option<Value>,
}

/// What all clients did, and what a watcher of everything saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In any order.
    pub operations: Vec<Operation>,
    /// All changes, by revision.
    pub changes: BTreeMap<i64, Vec<Change>>,
}

/// Something that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    /// What should hold.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
    /// When the operation had its outcome that nothing explains, if it is one operation.
    pub at: Option<u64>,
}

impl Unexplained {
    fn of(self, operation: &Operation) -> Self {
        Self { at: Some(operation.returned), ..self }
    }
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

fn require(
    holds: bool,
    property: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), Unexplained> {
    if holds { Ok(()) } else { Err(Unexplained { property, detail: detail(), at: None }) }
}

/// The states of each key, by the revision since which they hold.
struct States<'a> {
    keys: BTreeMap<&'a str, BTreeMap<i64, Option<Value>>>,
}

impl<'a> States<'a> {
    fn of(changes: &'a BTreeMap<i64, Vec<Change>>) -> Self {
        let mut keys: BTreeMap<&str, BTreeMap<i64, Option<Value>>> = BTreeMap::new();
        for (revision, changes) in changes {
            for change in changes {
                keys.entry(&change.key).or_default().insert(*revision, change.value);
            }
        }
        Self { keys }
    }

    fn at(&self, key: &str, revision: i64) -> Option<Value> {
        let states = self.keys.get(key)?;
        states.range(..=revision).next_back().and_then(|(_, value)| *value)
    }

    fn changed_at(&self, key: &str, revision: i64) -> bool {
        self.keys.get(key).is_some_and(|states| states.contains_key(&revision))
    }
}

impl History {
    /// Looks for an order that explains everything.
    ///
    /// # Errors
    /// What no order explains.
    pub fn check(&self) -> Result<(), Unexplained> {
        let states = States::of(&self.changes);
        let written = self.check_writers()?;
        for operation in &self.operations {
            check_answer(&states, operation)
                .and_then(|()| check_unknown_swap(&states, operation, &written))
                .map_err(|what| what.of(operation))?;
        }
        self.check_deletes()?;
        self.check_real_time(&written)
    }

    /// Every value was written by the operation that it names, once, and whole. Returns the
    /// revision of each value.
    fn check_writers(&self) -> Result<BTreeMap<Value, i64>, Unexplained> {
        let mut writers: BTreeMap<Value, (&Operation, Vec<&str>)> = BTreeMap::new();
        for operation in &self.operations {
            match &operation.request {
                Request::Put { keys, value, .. } => {
                    let keys = keys.iter().map(String::as_str).collect();
                    writers.insert(*value, (operation, keys));
                }
                Request::Swap { key, value, .. } => {
                    writers.insert(*value, (operation, vec![key]));
                }
                Request::Delete { .. }
                | Request::Revoke { .. }
                | Request::Get { .. }
                | Request::Scan { .. } => {}
            }
        }
        let mut written = BTreeMap::new();
        for (revision, changes) in &self.changes {
            let mut here: BTreeMap<Value, Vec<&str>> = BTreeMap::new();
            for change in changes {
                if let Some(value) = change.value {
                    here.entry(value).or_default().push(&change.key);
                }
            }
            for (value, mut keys) in here {
                let writer = writers.get(&value);
                let (operation, wanted) = writer.ok_or_else(|| Unexplained {
                    property: "nothing is written that nobody asked for",
                    detail: format!("{value} in {keys:?} at revision {revision}"),
                    at: None,
                })?;
                require(operation.outcome != Outcome::Failed, "what failed has no effect", || {
                    format!("{operation:?} took effect at revision {revision}")
                })?;
                let mut wanted = wanted.clone();
                wanted.sort_unstable();
                keys.sort_unstable();
                require(wanted == keys, "an operation is done whole", || {
                    format!("{operation:?} changed {keys:?} at revision {revision}")
                })?;
                let before = written.insert(value, *revision);
                require(before.is_none(), "an operation is done once", || {
                    format!("{operation:?} was done at {before:?} and at {revision}")
                })?;
            }
        }
        Ok(written)
    }

    /// Every deletion was asked for by an operation of its own.
    fn check_deletes(&self) -> Result<(), Unexplained> {
        let mut deleters = Deleters::default();
        self.operations.iter().try_for_each(|operation| deleters.take(operation))?;
        for (revision, changes) in &self.changes {
            for change in changes.iter().filter(|change| change.value.is_none()) {
                require(
                    deleters.explain(&change.key, *revision),
                    "nothing is deleted that nobody asked for",
                    || format!("{} at revision {revision}", change.key),
                )?;
            }
        }
        Ok(())
    }

    /// What ended before an operation began comes before it.
    fn check_real_time(&self, written: &BTreeMap<Value, i64>) -> Result<(), Unexplained> {
        let mut ends: Vec<(u64, i64, &Operation)> = self
            .operations
            .iter()
            .filter_map(|operation| match operation.outcome {
                Outcome::Done { revision, .. } => Some((operation.returned, revision, operation)),
                Outcome::Failed | Outcome::Unknown => None,
            })
            .collect();
        ends.sort_by_key(|(returned, revision, _)| (*returned, *revision));
        let mut begins: Vec<&Operation> = self.operations.iter().collect();
        begins.sort_by_key(|operation| operation.invoked);
        let mut ends = ends.into_iter().peekable();
        let mut newest: Option<(i64, &Operation)> = None;
        for operation in begins {
            while let Some((_, revision, ended)) =
                ends.next_if(|(returned, _, _)| *returned < operation.invoked)
            {
                if newest.is_none_or(|(before, _)| before < revision) {
                    newest = Some((revision, ended));
                }
            }
            let (Some((floor, ended)), Some(point)) = (newest, point_of(operation, written)) else {
                continue;
            };
            let changed = match &operation.request {
                Request::Put { .. } => true,
                Request::Swap { value, .. } => written.contains_key(value),
                Request::Delete { .. } => {
                    matches!(operation.outcome, Outcome::Done { reply: Reply::Deleted(1..), .. })
                }
                Request::Revoke { .. } | Request::Get { .. } | Request::Scan { .. } => false,
            };
            let in_order = if changed { floor < point } else { floor <= point };
            require(in_order, "what ended before comes before", || {
                format!("{operation:?} is at {point}, but {ended:?} at {floor} had ended")
            })
            .map_err(|what| what.of(operation))?;
        }
        Ok(())
    }
}

/// Where an operation stands in the order, if that is known.
fn point_of(operation: &Operation, written: &BTreeMap<Value, i64>) -> Option<i64> {
    match (&operation.outcome, &operation.request) {
        (Outcome::Done { revision, .. }, _) => Some(*revision),
        (_, Request::Put { value, .. } | Request::Swap { value, .. }) => {
            written.get(value).copied()
        }
        _ => None,
    }
}

/// The answer is what the state at its revision says.
fn check_answer(states: &States<'_>, operation: &Operation) -> Result<(), Unexplained> {
    let Outcome::Done { revision, reply } = &operation.outcome else {
        return Ok(());
    };
    let revision = *revision;
    let holds = match (&operation.request, reply) {
        (Request::Put { keys, value, .. }, Reply::Done) => keys.iter().all(|key| {
            states.changed_at(key, revision) && states.at(key, revision) == Some(*value)
        }),
        (Request::Swap { key, expected, value }, Reply::Done) => {
            states.changed_at(key, revision)
                && states.at(key, revision) == Some(*value)
                && states.at(key, revision - 1) == *expected
        }
        (Request::Swap { key, expected, .. }, Reply::Holds(held)) => {
            states.at(key, revision) == *held && held != expected
        }
        (Request::Delete { key }, Reply::Deleted(count)) => {
            // One that found nothing names the newest revision, which may be that of another
            // deletion of the same key.
            let changed = *count == 0 || states.changed_at(key, revision);
            states.at(key, revision).is_none() && changed
        }
        // That no key is attached to it any more is checked on the final state.
        (Request::Revoke { .. }, Reply::Done) => true,
        (Request::Get { key }, Reply::Holds(held)) => states.at(key, revision) == *held,
        (Request::Scan { keys, at }, Reply::HoldAll(held)) => {
            let at = at.unwrap_or(revision);
            let were = keys.iter().map(|key| states.at(key, at));
            at <= revision && were.eq(held.iter().copied())
        }
        _ => false,
    };
    require(holds, "an answer is what the state at its revision says", || {
        let key = match &operation.request {
            Request::Put { keys, .. }
            | Request::Revoke { keys, .. }
            | Request::Scan { keys, .. } => keys.first(),
            Request::Swap { key, .. } | Request::Delete { key } | Request::Get { key } => Some(key),
        };
        let states = key.map(|key| (states.at(key, revision - 1), states.at(key, revision)));
        format!("{operation:?}, but the key held {states:?} before and at that revision")
    })
}

/// A swap that nobody knows the outcome of, and that wrote, found what it expected: its client
/// never hears of it, and all others see a value that is whole and written once.
fn check_unknown_swap(
    states: &States<'_>,
    operation: &Operation,
    written: &BTreeMap<Value, i64>,
) -> Result<(), Unexplained> {
    let (Outcome::Unknown, Request::Swap { key, expected, value }) =
        (&operation.outcome, &operation.request)
    else {
        return Ok(());
    };
    let Some(revision) = written.get(value) else { return Ok(()) };
    let held = states.at(key, revision - 1);
    require(held == *expected, "a swap replaces what it expects", || {
        format!("{operation:?} was done at {revision}, where the key held {held:?} before")
    })
}

#[cfg(test)]
mod tests;
