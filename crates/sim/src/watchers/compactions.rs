//! Which compactions of a group may have been done: a watcher is told of no other.

use std::fmt;
use std::sync::{Arc, Mutex};

use host::{GroupHandle, ProposeError};
use store::{Command, CompactRequest, RequestError, Response};

type Compacted = Result<Result<Response, RequestError>, ProposeError>;

/// The compactions of a group that were asked for, and what came of each as far as it is known.
#[derive(Default)]
pub(crate) struct Compactions(Vec<(i64, Arc<Mutex<Option<Compacted>>>)>);

impl fmt::Debug for Compactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.possible()).finish()
    }
}

impl Compactions {
    /// Asks a member for one.
    pub(crate) fn ask(
        &mut self,
        handle: &GroupHandle<Result<Response, RequestError>>,
        revision: i64,
    ) {
        let command = Command::Compact(CompactRequest { revision, physical: false });
        let slot = Arc::default();
        self.0.push((revision, Arc::clone(&slot)));
        handle.propose(&command.encode(), move |result| {
            *slot.lock().expect("one thread") = Some(result);
        });
    }

    /// All but those that were certainly not done. What has no answer may have been done.
    fn possible(&self) -> impl Iterator<Item = i64> {
        let may_be = |(revision, slot): &(i64, Arc<Mutex<Option<Compacted>>>)| {
            let is_refused = match &*slot.lock().expect("one thread") {
                Some(Ok(done)) => done.is_err(),
                Some(Err(error)) => error.definitely_failed(),
                None => false,
            };
            (!is_refused).then_some(*revision)
        };
        self.0.iter().filter_map(may_be)
    }

    /// How many were done, as their answers say.
    pub(crate) fn done(&self) -> u64 {
        let is_done = |(_, slot): &&(i64, Arc<Mutex<Option<Compacted>>>)| {
            matches!(&*slot.lock().expect("one thread"), Some(Ok(Ok(_))))
        };
        u64::try_from(self.0.iter().filter(is_done).count()).unwrap_or(u64::MAX)
    }

    /// Whether a watcher may be told of this one.
    pub(super) fn may_be(&self, revision: i64) -> bool {
        self.possible().any(|possible| possible == revision)
    }

    /// What is at this revision or before it may be gone; 0 if nothing was compacted.
    pub(crate) fn newest(&self) -> i64 {
        self.possible().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_was_not_done() {
        let done = Ok(Ok(Response::Compact { revision: 9 }));
        let refused = Ok(Err(RequestError::Compacted));
        let failed = Err(ProposeError::NoLeader);
        let unknown = Err(ProposeError::OutcomeUnknown);
        let all = [(4, Some(done)), (5, Some(refused)), (6, Some(failed)), (3, Some(unknown))];
        let all = all.into_iter().chain([(2, None)]);
        let all = all.map(|(revision, result)| (revision, Arc::new(Mutex::new(result))));
        let compactions = Compactions(all.collect());
        let possible: Vec<i64> = (1..8).filter(|revision| compactions.may_be(*revision)).collect();
        assert_eq!((possible, compactions.newest()), (vec![2, 3, 4], 4));
    }
}
