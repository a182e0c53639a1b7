//! Whether a follower is slow, with hysteresis: one that is slow every now and then is either, not
//! both by turns.
//!
//! Looked at with each heartbeat. A follower lags that lacks what was committed one heartbeat
//! before; so one that is merely behind what is under way to it does not, however busy the group
//! is.
//!
//! ```text
//!   lags      ──────────┐   ┌────────────────┐        ┌───
//!   does not            └───┘                └────────┘
//!   slow                            ├────────────────┤
//!                           └ whole ┘        └ half ─┘      of `slow_follower_ticks`
//! ```
//!
//! Scripts: `testdata/replication/slow_follower_is_noticed.txt`.

use crate::Tick;

/// What was seen of one follower.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Slowness {
    is_slow: bool,
    /// Since when it has looked otherwise than it is said to be.
    otherwise_since: Option<Tick>,
}

impl Slowness {
    pub(crate) fn is_slow(self) -> bool {
        self.is_slow
    }

    /// Looks at the follower; says what it is from now on, if that is news.
    pub(crate) fn observe(&mut self, lags: bool, now: Tick, ticks: u64) -> Option<bool> {
        if lags == self.is_slow {
            self.otherwise_since = None;
            return None;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        let patience = if lags { ticks } else { ticks / 2 };
        if now < since.after(patience) {
            return None;
        }
        *self = Self { is_slow: lags, otherwise_since: None };
        Some(lags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_its_time_in_both_directions() {
        let mut slowness = Slowness::default();
        let lags = "-####-#######-#---#----";
        let news: alloc::vec::Vec<(u64, bool)> = lags
            .chars()
            .zip(0..)
            .filter_map(|(lags, at)| Some((at, slowness.observe(lags == '#', Tick(at), 6)?)))
            .collect();
        assert_eq!(news, [(12, true), (22, false)]);
    }
}
