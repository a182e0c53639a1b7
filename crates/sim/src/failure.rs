//! A property that did not hold, and how a panic becomes one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use env::Moment;
use host::GroupId;
use raft::NodeId;
use raft::invariants::Violation;
use serde::Serialize;

/// What a checker found, or what an assert of the code under test said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The property that should hold.
    pub property: String,
    /// What was seen.
    pub detail: String,
    /// Where, as far as it is known.
    #[serde(skip)]
    pub place: Place,
}

/// A replica and a moment, for pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The node, if it was one.
    pub node: Option<NodeId>,
    /// The group, or 0.
    pub group: u64,
    /// When it was seen, if that was before it was found.
    pub at: Option<Moment>,
}

impl Failure {
    /// A property that does not hold.
    pub fn new(property: impl Into<String>, detail: impl Into<String>) -> Self {
        let (property, detail) = (property.into(), detail.into());
        Self { property, detail, place: Place::default() }
    }

    /// It was seen at this node.
    #[must_use]
    pub fn of(mut self, node: NodeId, group: GroupId) -> Self {
        (self.place.node, self.place.group) = (Some(node), group.0);
        self
    }

    /// It was seen before, by a client of this group.
    #[must_use]
    pub fn seen_at(mut self, group: GroupId, at: Option<Moment>) -> Self {
        (self.place.group, self.place.at) = (group.0, at);
        self
    }

    /// `Ok` if the property holds.
    ///
    /// # Errors
    /// The failure, if it does not.
    pub fn unless(
        holds: bool,
        property: &'static str,
        detail: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(property, detail())) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

impl std::error::Error for Failure {}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::new(violation.property, violation.detail)
    }
}

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `act`, and takes a panic in it for a failure: the code under test asserts what it relies
/// on, and an assert that fires is what a simulator looks for.
///
/// # Errors
/// The failure.
pub fn caught<T>(act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_CATCHING.get() {
                SAID.set(Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
    let outer = IS_CATCHING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    IS_CATCHING.set(outer);
    result.unwrap_or_else(|payload| Err(of_panic(payload.as_ref(), SAID.take())))
}

/// Stops at a failure, which [`caught`] hands on as it is. A test that does not catch it would only
/// be told `Box<dyn Any>`, so it is said before.
pub(crate) fn throw(failure: Failure) -> ! {
    if !IS_CATCHING.get() {
        // Nobody can be told that this cannot be said.
        let _ = writeln!(io::stderr(), "{failure}");
    }
    panic::panic_any(failure)
}

/// A failure that was thrown as it is, or the words of an assert and their place.
fn of_panic(payload: &(dyn Any + Send), said: Option<String>) -> Failure {
    if let Some(failure) = payload.downcast_ref::<Failure>() {
        return failure.clone();
    }
    Failure::new("an assert of the code holds", said.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_with_its_words_and_its_place() {
        let failure = caught::<()>(|| panic!("seven is not eight")).expect_err("it panics");
        assert!(failure.detail.contains("seven is not eight"), "{failure}");
        assert!(failure.detail.contains("failure.rs"), "{failure}");
        assert_eq!(caught(|| Ok(7)), Ok(7));
    }

    #[test]
    fn a_failure_tells_where_it_was_seen() {
        let failure = Failure::new("watch: ordered", "7 after 8").of(NodeId(2), GroupId(3));
        let seen = Place { node: Some(NodeId(2)), group: 3, at: None };
        assert_eq!(failure.place, seen);
        let at = Some(Moment(5));
        assert_eq!(failure.seen_at(GroupId(4), at).place, Place { group: 4, at, ..seen });
    }

    #[test]
    fn a_failure_that_is_thrown_stays_what_it_is() {
        let thrown = Failure::new("Election Safety", "two leaders");
        let caught = caught::<()>(|| panic::panic_any(thrown.clone()));
        assert_eq!(caught, Err(thrown));
    }
}
