//! A property that did not hold, and how a panic becomes one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use raft::invariants::Violation;
use serde::Serialize;

/// What a checker found, or what an assert of the code under test said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The property that should hold.
    pub property: String,
    /// What was seen.
    pub detail: String,
}

impl Failure {
    /// A property that does not hold.
    pub fn new(property: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { property: property.into(), detail: detail.into() }
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
#[expect(clippy::print_stderr, reason = "of a test that fails nothing else would say why")]
pub(crate) fn throw(failure: Failure) -> ! {
    if !IS_CATCHING.get() {
        eprintln!("{failure}");
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
    fn a_failure_that_is_thrown_stays_what_it_is() {
        let thrown = Failure::new("Election Safety", "two leaders");
        let caught = caught::<()>(|| panic::panic_any(thrown.clone()));
        assert_eq!(caught, Err(thrown));
    }
}
