//! Where a world begins: with nothing, or some way into a story that all of its worlds share.

use std::sync::Arc;

use raft::Message;
use stateright::Model;

use crate::bounds::Bounds;
use crate::peer::Writes;
use crate::state::State;
use crate::world::Action;

/// What is behind the world when it begins. What was said until then is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Nothing,
    /// The first node leads, and has committed its first entry with the second.
    Led,
    /// After that it has begun a change, told the third node alone, and crashed before the change
    /// was on its own disk.
    ///
    /// ```text
    ///   n1  1@1          n2 may lead term 2 by the vote of n1, and begin another change of the
    ///   n2  1@1          same configuration; n3 may lead term 3 by the vote of n1, and must not
    ///   n3  1@1 C+3@1    once the other change is committed (Ongaro, raft-dev 2015).
    /// ```
    LostChange,
}

impl Bounds {
    pub(crate) fn begun(&self, state: State) -> State {
        match self.begin {
            Begin::Nothing => state,
            Begin::Led => self.led(state),
            Begin::LostChange => self.lost_change(self.led(state)),
        }
    }

    fn led(&self, state: State) -> State {
        let first = self.next_state(&state, Action::Timeout(0, Writes::Land));
        let is_led = |state: &State| state.peer(0).node.commit_index().0 > 0;
        self.between([1, 2], &[0, 1], first.unwrap_or(state), is_led)
    }

    fn lost_change(&self, state: State) -> State {
        // A disk that takes its time, for this one change.
        let slow = Self { slow_disks: true, ..self.clone() };
        let first = slow.next_state(&state, Action::Change(0, Writes::Wait)).unwrap_or(state);
        let change = first.peer(0).node.last();
        let state = slow.between([1, 3], &[2], first, |state| state.peer(2).disk.holds(change));
        let mut state = self.next_state(&state, Action::Crash(0)).unwrap_or(state);
        state.messages = Arc::default();
        state
    }

    /// Only these two talk, and the disks of these nodes write, until it is so.
    fn between(
        &self,
        pair: [u64; 2],
        disks: &[u8],
        mut state: State,
        is_so: impl Fn(&State) -> bool,
    ) -> State {
        while !is_so(&state) {
            let is_theirs = |message: &&Arc<Message>| {
                pair.contains(&message.from.0) && pair.contains(&message.to.0)
            };
            let messages: Vec<Arc<Message>> =
                state.messages.values().filter(is_theirs).cloned().collect();
            let deliveries =
                messages.into_iter().map(|message| Action::Deliver(message, Writes::Land));
            let mut steps = disks.iter().map(|node| Action::Land(*node)).chain(deliveries);
            match steps.find_map(|step| self.next_state(&state, step)) {
                Some(after) => state = after,
                None => break,
            }
        }
        state.messages = Arc::default();
        state
    }
}
