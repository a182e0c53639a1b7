//! Seeds, one after the other: each in its worlds, and what they met.

mod shrink;
mod table;
mod totals;

use std::fmt;
use std::time::Duration;

use env::Moment;
use serde::Serialize;

use crate::chaos::{Chaos, Plan};
use crate::core::{CoreChaos, CorePlan};
use crate::picture::Recording;
use crate::{Census, Failure, Trace, caught};

pub use shrink::{Shrunk, shrink};
pub use totals::{Broken, Totals};

/// One seed in so many is run twice, to see that it gives the same trace.
const TWICE_EVERY: u64 = 100;
/// Lines of a whole trace: more than any world has, and a bound for the memory of one that does
/// not end (about 100 bytes each).
const TRACE_LINES_MAX: usize = 1_000_000;

/// What a world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The protocol alone.
    Core,
    /// Whole hosts with their logs and stores.
    Hosts,
}

impl Level {
    /// As the command line names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Hosts => "hosts",
        }
    }

    /// The events of a seed's plan: their numbers and names.
    #[must_use]
    pub fn events(self, seed: u64) -> Vec<(usize, String)> {
        match self {
            Self::Core => {
                let events = CorePlan::of(seed).events.into_iter();
                let name = |ms: u64, name: &str| format!("{:>7.2} s  {name}", ms as f64 / 1000.0);
                events.map(|event| (event.number, name(event.at_ms, event.name()))).collect()
            }
            Self::Hosts => {
                let events = Plan::of(seed).events.into_iter();
                let name = |turn: u64, name: &str| format!("turn {turn:>3}  {name}");
                events.map(|event| (event.number, name(event.turn, event.deed.name()))).collect()
            }
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One world to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is made of.
    pub level: Level,
    /// Its seed.
    pub seed: u64,
    /// Only these events of its plan, if that is wanted.
    pub events: Option<Vec<usize>>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What did not hold.
    pub failure: Option<Failure>,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// The trace, as a number.
    pub trace_hash: u64,
    /// The newest lines of the trace; all of them if the world was run for its trace.
    pub newest: Vec<String>,
    /// How often the world was run for this.
    pub runs: u32,
    /// What was met.
    pub census: Census,
    /// Faults that were planned.
    pub events_planned: usize,
    /// Operations and changes whose order was checked.
    pub operations: u64,
    /// Steps of nodes with every invariant checked behind them; of core worlds.
    pub steps: u64,
}

impl Job {
    /// Runs the world to its end, or to its failure.
    #[must_use]
    pub fn run(&self) -> Verdict {
        self.run_with(None, None).0
    }

    /// The same, with the whole trace as text.
    #[must_use]
    pub fn trace(&self) -> Verdict {
        self.run_with(None, Some(TRACE_LINES_MAX)).0
    }

    /// The same, and what a picture is drawn from.
    #[must_use]
    pub fn draw(&self) -> (Verdict, Recording) {
        let mut recording = Recording::default();
        let title = format!("Seed {} ({})", self.seed, self.level);
        let about = match self.level {
            Level::Core => "A group of the protocol's nodes, alone, under the faults of its seed.",
            Level::Hosts => "Whole hosts with their stores, under the faults of their seed.",
        };
        recording.entitle(&title, &[about], &self.command());
        let (verdict, drawn) = self.run_with(Some(recording), None);
        (verdict, drawn.unwrap_or_default())
    }

    /// The one command that does it again.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!("flotilla sim --world {} --seed {}", self.level, self.seed);
        if let Some(events) = &self.events {
            let numbers: Vec<String> = events.iter().map(ToString::to_string).collect();
            command.push_str(&format!(" --events {}", numbers.join(",")));
        }
        command
    }

    fn run_with(
        &self,
        recording: Option<Recording>,
        lines_max: Option<usize>,
    ) -> (Verdict, Option<Recording>) {
        let (verdict, recording) = match self.level {
            Level::Core => self.run_core(recording, lines_max),
            Level::Hosts => self.run_hosts(recording, lines_max),
        };
        self.level.check_names(&verdict.census);
        (verdict, recording)
    }

    fn run_core(
        &self,
        recording: Option<Recording>,
        lines_max: Option<usize>,
    ) -> (Verdict, Option<Recording>) {
        let mut plan = CorePlan::of(self.seed);
        if let Some(events) = &self.events {
            plan = plan.with_events(events);
        }
        plan.options.trace_lines_max = lines_max.unwrap_or(plan.options.trace_lines_max);
        let events_planned = plan.events.len();
        let mut chaos = CoreChaos::new(plan);
        if let Some(recording) = recording {
            chaos.record(recording);
        }
        let failure = caught(|| chaos.run()).err();
        let world = chaos.world();
        world.count_effects();
        let drawn = world.recording().map(std::mem::take);
        let drawn = drawn.map(|drawn| ended(drawn, world.now(), failure.as_ref()));
        let verdict = Verdict {
            failure,
            virtual_time: world.now().since(Moment(0)),
            trace_hash: world.trace().hash(),
            newest: lines_of(world.trace(), lines_max),
            runs: 1,
            census: world.census().clone(),
            events_planned,
            operations: world.answered(),
            steps: world.steps(),
        };
        (verdict, drawn)
    }

    fn run_hosts(
        &self,
        recording: Option<Recording>,
        lines_max: Option<usize>,
    ) -> (Verdict, Option<Recording>) {
        let mut plan = Plan::of(self.seed);
        if let Some(events) = &self.events {
            plan = plan.with_events(events);
        }
        plan.options.trace_lines_max = lines_max.unwrap_or(plan.options.trace_lines_max);
        let events_planned = plan.events.len();
        let mut chaos = Chaos::new(plan);
        if let Some(recording) = recording {
            chaos.cluster().world.record(recording);
        }
        let failure = caught(|| chaos.run()).err();
        chaos.count_effects();
        let world = &mut chaos.cluster().world;
        let now = world.now();
        let drawn = world.recording().map(std::mem::take);
        let drawn = drawn.map(|drawn| ended(drawn, now, failure.as_ref()));
        let verdict = Verdict {
            failure,
            virtual_time: now.since(Moment(0)),
            trace_hash: chaos.trace().hash(),
            newest: lines_of(chaos.trace(), lines_max),
            runs: 1,
            census: chaos.census().clone(),
            events_planned,
            operations: chaos.checked_count(),
            steps: 0,
        };
        (verdict, drawn)
    }

    /// Runs it, and one in a hundred seeds twice: whatever is not the same is a failure.
    #[must_use]
    pub fn run_and_doubt(&self) -> Verdict {
        let verdict = self.run();
        if !self.seed.is_multiple_of(TWICE_EVERY) {
            return verdict;
        }
        let again = self.run();
        doubted(self.seed, verdict, &again)
    }
}

/// The verdict of a world that was run twice.
fn doubted(seed: u64, mut verdict: Verdict, again: &Verdict) -> Verdict {
    let (one, other) = (verdict.trace_hash, again.trace_hash);
    let differs = if one != other {
        Some(format!("traces {one:016x} and {other:016x}"))
    } else if verdict.failure != again.failure {
        Some(format!("failures {:?} and {:?}", verdict.failure, again.failure))
    } else {
        (verdict.census != again.census).then(|| "what was met".to_owned())
    };
    verdict.runs += again.runs;
    if let Some(differs) = differs {
        let before = verdict.failure.map_or_else(String::new, |failure| format!("; {failure}"));
        let detail = format!("{differs} of seed {seed}{before}");
        verdict.failure = Some(Failure::new("a run is a function of its seed", detail));
    }
    verdict
}

fn lines_of(trace: &Trace, lines_max: Option<usize>) -> Vec<String> {
    if lines_max.is_some() { trace.all() } else { trace.newest() }
}

/// A recording ends where the world did; what broke without a place and a time broke there.
fn ended(mut drawn: Recording, now: Moment, failure: Option<&Failure>) -> Recording {
    drawn.end_at(now);
    if let Some(failure) = failure {
        let place = failure.place;
        drawn.broken(
            place.at.unwrap_or(now),
            (place.node.unwrap_or(raft::NodeId(0)), place.group),
            failure,
        );
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROPERTY: &str = "a run is a function of its seed";

    #[test]
    fn another_trace_failure_or_census_is_noticed() {
        let job = Job { level: Level::Core, seed: 3, events: Some(Vec::new()) };
        let one = job.run();
        let property = |again: &Verdict| {
            let verdict = doubted(3, one.clone(), again);
            assert_eq!(verdict.runs, 2);
            verdict.failure.map(|failure| failure.property)
        };
        assert_eq!(property(&one), None);
        let other = Verdict { trace_hash: one.trace_hash + 1, ..one.clone() };
        assert_eq!(property(&other).as_deref(), Some(PROPERTY));
        let other = Verdict { failure: Some(Failure::new("x", "y")), ..one.clone() };
        assert_eq!(property(&other).as_deref(), Some(PROPERTY));
        let mut other = one.clone();
        other.census.meet("crash");
        assert_eq!(property(&other).as_deref(), Some(PROPERTY));
    }

    #[test]
    fn a_whole_trace_begins_at_the_beginning() {
        let job = Job { level: Level::Core, seed: 3, events: None };
        let (short, whole) = (job.run(), job.trace());
        assert_eq!(short.trace_hash, whole.trace_hash);
        assert!(whole.newest.ends_with(&short.newest) && whole.newest.len() > 1000);
        assert!(whole.newest[0].contains("n1 starts"), "{}", whole.newest[0]);
    }
}
