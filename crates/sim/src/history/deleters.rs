//! Who may have deleted what: a deletion carries no value that would name its operation.

use std::collections::{BTreeMap, BTreeSet};

use super::{Operation, Outcome, Reply, Request, Unexplained, require};

/// Who may have deleted what.
#[derive(Default)]
pub(super) struct Deleters<'a> {
    /// When operations began that may have deleted a key, and whose outcome nobody knows.
    unknown: BTreeMap<&'a str, Vec<u64>>,
    /// Deletions that an operation says to have done.
    claimed: BTreeMap<(&'a str, i64), &'a Operation>,
    /// Deletions that the end of a lease may have done.
    revoked: BTreeSet<(&'a str, i64)>,
    /// When the first answer of each revision had come.
    ends: BTreeMap<i64, u64>,
}

impl<'a> Deleters<'a> {
    pub(super) fn take(&mut self, operation: &'a Operation) -> Result<(), Unexplained> {
        if let Outcome::Done { revision, .. } = operation.outcome {
            let end = self.ends.entry(revision).or_insert(u64::MAX);
            *end = operation.returned.min(*end);
        }
        match &operation.request {
            Request::Delete { key } => self.take_key(operation, key),
            Request::Revoke { keys, .. } => {
                keys.iter().try_for_each(|key| self.take_key(operation, key))
            }
            Request::Put { .. }
            | Request::Swap { .. }
            | Request::Get { .. }
            | Request::Scan { .. } => Ok(()),
        }
    }

    fn take_key(&mut self, operation: &'a Operation, key: &'a str) -> Result<(), Unexplained> {
        match &operation.outcome {
            // One that found nothing names the newest revision, which says nothing.
            Outcome::Failed | Outcome::Done { reply: Reply::Deleted(0), .. } => Ok(()),
            Outcome::Unknown => {
                self.unknown.entry(key).or_default().push(operation.invoked);
                Ok(())
            }
            Outcome::Done { revision, reply: Reply::Deleted(_) } => {
                let other = self.claimed.insert((key, *revision), operation);
                require(other.is_none(), "a deletion is done by one", || {
                    format!("{operation:?} and {other:?}")
                })
            }
            Outcome::Done { revision, .. } => {
                self.revoked.insert((key, *revision));
                Ok(())
            }
        }
    }

    /// Whether somebody may have deleted the key at this revision. Revisions are asked for in
    /// order.
    pub(super) fn explain(&mut self, key: &str, revision: i64) -> bool {
        if self.claimed.contains_key(&(key, revision)) || self.revoked.contains(&(key, revision)) {
            return true;
        }
        // Who was asked only after somebody had seen the deletion did not do it. Later revisions
        // are seen later, so whoever fits here would fit there as well.
        let seen_by = self.ends.range(revision..).map(|(_, end)| *end).min().unwrap_or(u64::MAX);
        let Some(began) = self.unknown.get_mut(key) else { return false };
        let Some(place) = began.iter().position(|began| *began <= seen_by) else { return false };
        began.swap_remove(place);
        true
    }
}
