//! How long a frame takes: a range, and how times are spread over it.

use std::time::Duration;

use super::MemNet;
use crate::SplitMix;

/// A long tail has this many steps, each with half the longest time of the one before.
const TAIL_STEPS: u64 = 8;

/// How times are spread over their range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Every time as often.
    #[default]
    Uniform,
    /// Most are short, and each longer one is rarer.
    LongTail,
    /// Two ways of different length: seven of eight frames take the short one.
    TwoHumps,
    /// Nearly as long each time: the longest.
    Steady,
}

impl Shape {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::LongTail, Self::TwoHumps, Self::Steady];
}

/// How long a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// At least so long.
    pub min: Duration,
    /// At most so long.
    pub max: Duration,
    /// How the times between are spread.
    pub shape: Shape,
}

impl Latency {
    /// Every time of a range as often.
    #[must_use]
    pub fn uniform(min: Duration, max: Duration) -> Self {
        assert!(min <= max, "a delay from {min:?} to {max:?} is no range");
        Self { min, max, shape: Shape::Uniform }
    }

    /// The time that one frame takes.
    pub fn draw(&self, dice: &mut SplitMix) -> Duration {
        let range = self.max.saturating_sub(self.min);
        let range = u64::try_from(range.as_nanos()).unwrap_or(u64::MAX - 1);
        let (from, width) = match self.shape {
            Shape::Uniform => (0, range),
            Shape::LongTail => (0, range >> dice.below(TAIL_STEPS)),
            Shape::TwoHumps if dice.below(8) > 0 => (0, range / 8),
            Shape::TwoHumps | Shape::Steady => (range - range / 8, range / 8),
        };
        self.min + Duration::from_nanos(from + dice.below(width + 1))
    }
}

/// What became of frames, by what was done to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounts {
    /// Lost by chance.
    pub lost: u64,
    /// Lost since the wire was cut.
    pub cut: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Old ones that came again.
    pub replayed: u64,
    /// Those that a later one came before.
    pub overtaken: u64,
    /// Held back by a clog, longer than they would have taken.
    pub held_back: u64,
}

impl MemNet {
    /// How long a frame takes on every wire.
    pub fn set_latency(&self, latency: Latency) {
        self.state.lock().latency = latency;
    }

    /// What `from` sends to `to` takes at least so long, as long as the network exists: it is a
    /// long way, and nothing that could be mended.
    pub fn set_long_way(&self, from: u64, to: u64, latency: Latency) {
        self.state.lock().long_ways.insert((from, to), latency);
    }

    /// What became of frames so far.
    #[must_use]
    pub fn counts(&self) -> NetCounts {
        self.state.lock().counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a thousand times, how many are in each quarter of the range.
    fn quarters(shape: Shape) -> [u64; 4] {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(50));
        let latency = Latency { shape, ..Latency::uniform(min, max) };
        let mut dice = SplitMix::new(7);
        let mut counts = [0; 4];
        for _ in 0..1000 {
            let time = latency.draw(&mut dice);
            assert!((min..=max).contains(&time), "{shape:?} gives {time:?}");
            let place = (time - min).as_micros().min(39_999) / 10_000;
            counts[usize::try_from(place).expect("small")] += 1;
        }
        counts
    }

    #[test]
    fn times_stay_in_their_range_and_are_spread_as_the_shape_says() {
        assert!(quarters(Shape::Uniform).iter().all(|count| (200..300).contains(count)));
        let [short, more, rare, rarest] = quarters(Shape::LongTail);
        assert!(short > 700 && more > rare && rarest > 10, "{:?}", quarters(Shape::LongTail));
        let humps = quarters(Shape::TwoHumps);
        assert!(humps[0] > 800 && humps[1] + humps[2] == 0 && humps[3] > 80, "{humps:?}");
        assert_eq!(quarters(Shape::Steady), [0, 0, 0, 1000]);
    }
}
