//! What all seeds of a run came to, for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Job, Level, Shrunk, Verdict};
use crate::Census;
use crate::chaos::{CORE_FAULTS, HOST_FAULTS, HOST_SOMETIMES};
use crate::core::CORE_SOMETIMES;

/// Virtual seconds in which there is a fault, on average, or it is no chaos.
const SECONDS_PER_FAULT_MAX: u64 = 2;

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The world as it was run.
    pub job: Job,
    /// What did not hold.
    pub verdict: Verdict,
    /// The same with fewer events, if that was looked for.
    pub shrunk: Option<Shrunk>,
}

/// One kind of world.
#[derive(Clone, Debug, Default)]
struct Part {
    worlds: u64,
    virtual_time: Duration,
    processor_time: Duration,
    census: Census,
    operations: u64,
    steps: u64,
    slowest: (Duration, u64),
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    core: Part,
    hosts: Part,
    /// The seeds that failed.
    pub broken: Vec<Broken>,
}

impl Part {
    fn add(&mut self, seed: u64, verdict: &Verdict, processor_time: Duration) {
        self.worlds += 1;
        self.virtual_time += verdict.virtual_time;
        self.processor_time += processor_time;
        self.census.merge(&verdict.census);
        self.operations += verdict.operations;
        self.steps += verdict.steps;
        self.slowest = self.slowest.max((processor_time, seed));
    }

    /// Virtual time by the time of one core.
    fn speed(&self) -> f64 {
        self.virtual_time.as_secs_f64() / self.processor_time.as_secs_f64().max(1e-9)
    }

    fn faults(&self, kinds: &[crate::chaos::FaultKind]) -> u64 {
        kinds.iter().map(|kind| self.census.count(kind.name())).sum()
    }

    fn json(&self, kinds: &[crate::chaos::FaultKind]) -> Value {
        let counts: serde_json::Map<String, Value> =
            self.census.iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
        json!({
            "worlds": self.worlds,
            "virtual_seconds": self.virtual_time.as_secs_f64(),
            "cpu_seconds": self.processor_time.as_secs_f64(),
            "times_real_time": self.speed(),
            "faults": self.faults(kinds),
            "operations_checked": self.operations,
            "steps_checked": self.steps,
            "slowest_seed": self.slowest.1,
            "slowest_seconds": self.slowest.0.as_secs_f64(),
            "met": counts,
        })
    }
}

impl Totals {
    /// Adds a world that was run.
    pub fn add(&mut self, job: &Job, verdict: &Verdict, processor_time: Duration) {
        let part = match job.level {
            Level::Core => &mut self.core,
            Level::Hosts => &mut self.hosts,
        };
        part.add(job.seed, verdict, processor_time);
    }

    /// Worlds so far.
    #[must_use]
    pub fn worlds(&self) -> u64 {
        self.core.worlds + self.hosts.worlds
    }

    /// Virtual time so far.
    #[must_use]
    pub fn virtual_time(&self) -> Duration {
        self.core.virtual_time + self.hosts.virtual_time
    }

    /// Kinds of faults and meetings that never happened, of the levels that were run, and levels in
    /// which faults are rare.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let parts = [
            (Level::Core, &self.core, &*CORE_FAULTS, CORE_SOMETIMES),
            (Level::Hosts, &self.hosts, &*HOST_FAULTS, HOST_SOMETIMES),
        ];
        let mut missing = Vec::new();
        for (level, part, kinds, sometimes) in parts {
            if part.worlds == 0 {
                continue;
            }
            let faults = kinds;
            let kinds: Vec<&'static str> = kinds.iter().map(|kind| kind.name()).collect();
            let names = part.census.missing(kinds.iter().chain(sometimes));
            missing.extend(names.into_iter().map(|name| format!("{level}: {name}")));
            if (part.faults(faults) * SECONDS_PER_FAULT_MAX) < part.virtual_time.as_secs() {
                missing.push(format!("{level}: a fault in every {SECONDS_PER_FAULT_MAX} s"));
            }
        }
        missing
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let broken = self.broken.iter().map(|broken| {
            let failure = broken.verdict.failure.as_ref();
            let short = broken.shrunk.as_ref().map_or(&broken.job, |shrunk| &shrunk.job);
            json!({
                "world": broken.job.level,
                "seed": broken.job.seed,
                "property": failure.map(|failure| failure.property.clone()),
                "detail": failure.map(|failure| failure.detail.clone()),
                "replay": short.command(),
                "events": broken.shrunk.as_ref().map(Shrunk::lines),
            })
        });
        json!({
            "worlds": self.worlds(),
            "virtual_seconds": self.virtual_time().as_secs_f64(),
            "core": self.core.json(&CORE_FAULTS),
            "hosts": self.hosts.json(&HOST_FAULTS),
            "never_happened": self.missing(),
            "failures": broken.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [(Level::Core, &self.core, &*CORE_FAULTS), (Level::Hosts, &self.hosts, &*HOST_FAULTS)];
        for (level, part, kinds) in parts {
            if part.worlds == 0 {
                continue;
            }
            let seconds = part.virtual_time.as_secs_f64();
            let faults = part.faults(kinds);
            writeln!(
                f,
                "{level:<6} {} worlds, {:.1} virtual minutes at {:.0} times real time per core; {} \
                 faults, one in {:.1} virtual seconds; {} operations checked; slowest seed {} \
                 ({:.2} s)",
                part.worlds,
                seconds / 60.0,
                part.speed(),
                faults,
                seconds / (faults.max(1) as f64),
                part.operations,
                part.slowest.1,
                part.slowest.0.as_secs_f64(),
            )?;
            let width = part.census.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, count) in part.census.iter() {
                writeln!(f, "       {name:<width$} {count:>8}")?;
            }
        }
        Ok(())
    }
}
