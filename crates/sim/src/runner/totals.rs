//! What all seeds of a run came to, for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::{LONG_RUN_WORLDS, WORLDS_PER_EXCUSE_MIN};
use super::{Job, Level, Shrunk, Verdict};
use crate::Census;

/// Virtual seconds in which there is a fault, on average, or it is no chaos.
const SECONDS_PER_FAULT_MAX: u64 = 2;
/// Worlds behind which it is told that they were slow: the first ones are no measure.
const MEASURED_WORLDS: u64 = 100;

impl Level {
    /// How many times as fast as real time such worlds are to run on one core, with all checks on,
    /// as a release is built. It is told when they are slower, and no failure: a machine that is
    /// busy, or a build without optimization of the whole program, is a third slower or more.
    #[must_use]
    pub fn aim(self) -> u64 {
        match self {
            Self::Core => 1000,
            Self::Hosts => 100,
        }
    }
}

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
    /// The smallest and the largest.
    seeds: Option<(u64, u64)>,
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
        // One that was run twice is no slower for it.
        let processor_time = processor_time / verdict.runs.max(1);
        let (first, last) = self.seeds.unwrap_or((seed, seed));
        self.seeds = Some((first.min(seed), last.max(seed)));
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

    fn faults(&self, level: Level) -> u64 {
        level.faults().iter().map(|kind| self.census.count(kind.name())).sum()
    }

    fn is_slow(&self, level: Level) -> bool {
        self.worlds >= MEASURED_WORLDS && self.speed() < level.aim() as f64
    }

    /// All of these with their counts, those that never happened too.
    fn counts(&self, names: impl Iterator<Item = &'static str>) -> Value {
        let count = |name: &'static str| (name.to_owned(), json!(self.census.count(name)));
        names.map(count).collect::<serde_json::Map<_, _>>().into()
    }

    fn json(&self, level: Level) -> Value {
        let kinds = level.faults().iter().map(|kind| kind.name());
        json!({
            "worlds": self.worlds,
            "first_seed": self.seeds.map(|(first, _)| first),
            "last_seed": self.seeds.map(|(_, last)| last),
            "virtual_seconds": self.virtual_time.as_secs_f64(),
            "cpu_seconds": self.processor_time.as_secs_f64(),
            "times_real_time": self.speed(),
            "times_real_time_aim": level.aim(),
            "is_slow": self.is_slow(level),
            "faults": self.faults(level),
            "operations_checked": self.operations,
            "steps_checked": self.steps,
            "slowest_seed": self.slowest.1,
            "slowest_seconds": self.slowest.0.as_secs_f64(),
            "faults_by_kind": self.counts(kinds),
            "sometimes": self.counts(level.sometimes().iter().copied()),
            "effects": self.counts(level.effects().iter().copied()),
            "excused": self.counts(level.excuses().iter().copied()),
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

    fn parts(&self) -> [(Level, &Part); 2] {
        [(Level::Core, &self.core), (Level::Hosts, &self.hosts)]
    }

    /// What a run as long as this one should have met and has not, of the levels that were run, and
    /// levels in which faults are rare or worlds are excused too often.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (level, part) in self.parts() {
            let names = level.missing(&part.census, part.worlds);
            missing.extend(names.into_iter().map(|name| format!("{level}: {name}")));
            let are_rare = part.faults(level) * SECONDS_PER_FAULT_MAX < part.virtual_time.as_secs();
            if are_rare && part.worlds >= LONG_RUN_WORLDS {
                missing.push(format!("{level}: a fault in every {SECONDS_PER_FAULT_MAX} s"));
            }
            if level.is_excused_too_often(&part.census, part.worlds) {
                let least = WORLDS_PER_EXCUSE_MIN;
                missing.push(format!("{level}: {least} worlds for each that is excused"));
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
            "core": self.core.json(Level::Core),
            "hosts": self.hosts.json(Level::Hosts),
            "never_happened": self.missing(),
            "failures": broken.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, part) in self.parts() {
            if part.worlds == 0 {
                continue;
            }
            let seconds = part.virtual_time.as_secs_f64();
            let faults = part.faults(level);
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
            if part.is_slow(level) {
                writeln!(f, "       slower than the aim of {} times real time", level.aim())?;
            }
            let width = part.census.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, count) in part.census.iter() {
                writeln!(f, "       {name:<width$} {count:>8}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_seeds_every_name_and_the_time_of_one_run() {
        let mut totals = Totals::default();
        let of = |seed| Job { level: Level::Core, seed, events: Some(Vec::new()) };
        let verdict = of(1).run();
        let twice = Verdict { runs: 2, ..verdict.clone() };
        totals.add(&of(7), &verdict, Duration::from_secs(6));
        totals.add(&of(4), &twice, Duration::from_secs(10));
        let core = &totals.json()["core"];
        assert_eq!((&core["first_seed"], &core["last_seed"]), (&json!(4), &json!(7)));
        assert_eq!((&core["slowest_seed"], &core["slowest_seconds"]), (&json!(7), &json!(6.0)));
        assert_eq!(core["cpu_seconds"], json!(11.0));
        assert_eq!(core["faults_by_kind"]["crash"], json!(0));
        let count = |part: &str| core[part].as_object().expect("an object").len();
        let all = count("faults_by_kind") + count("sometimes") + count("effects");
        assert_eq!(all, Level::Core.names().count());
        assert_eq!(count("excused"), Level::Core.excuses().len());
        assert_eq!(core["is_slow"], json!(false), "two worlds are no measure");
        for seed in 10..200 {
            totals.add(&of(seed), &verdict, Duration::from_secs(100));
        }
        assert_eq!(totals.json()["core"]["is_slow"], json!(true));
        assert!(totals.to_string().contains("slower than the aim of 1000"), "{totals}");
    }
}
