//! One question that every queue here is asked: "is the oldest done?"

use alloc::collections::VecDeque;

/// Takes the oldest if it is done.
pub(crate) fn pop_front_if<T>(
    queue: &mut VecDeque<T>,
    is_done: impl FnOnce(&T) -> bool,
) -> Option<T> {
    if queue.front().is_some_and(is_done) { queue.pop_front() } else { None }
}
