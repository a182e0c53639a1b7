//! Calls of one connection in a second, where the options bound them.

use std::sync::Arc;
use std::time::Duration;

use env::Moment;
use parking_lot::Mutex;

/// What is left of the second that is counted. What was not used within it is lost.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    /// When that second began, and the calls left.
    second: Mutex<(Moment, u32)>,
}

impl Rate {
    /// Of a server whose connections may make so many calls; nothing for any number.
    pub(crate) fn of_server(per_second: u32) -> Option<Arc<Self>> {
        (per_second > 0).then(|| Arc::new(Self::new(per_second)))
    }

    fn new(per_second: u32) -> Self {
        Self { per_second, second: Mutex::new((Moment::default(), per_second)) }
    }

    /// Of another connection.
    pub(crate) fn of_connection(&self) -> Self {
        Self::new(self.per_second)
    }

    /// Whether one more call may be made.
    pub(crate) fn take(&self, now: Moment) -> bool {
        let mut second = self.second.lock();
        if now.since(second.0) >= Duration::from_secs(1) {
            *second = (now, self.per_second);
        }
        let is_left = second.1 > 0;
        second.1 = second.1.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_its_calls_of_each_second() {
        let at = |ms| Moment::default().after(Duration::from_millis(ms));
        let server = Rate::of_server(2).unwrap();
        let (one, other) = (server.of_connection(), server.of_connection());
        assert_eq!([0, 10, 20].map(|ms| one.take(at(ms))), [true, true, false]);
        assert!(other.take(at(20)), "another connection has its own");
        assert_eq!([1_100, 1_110, 1_120].map(|ms| one.take(at(ms))), [true, true, false]);
        assert!(Rate::of_server(0).is_none());
    }
}
