//! Many seeds on all cores, with progress, until they or the time are used up.

use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use env::os::{OsClock, processor_time};
use env::{Clock, Moment};

use super::{EXIT_BROKEN, EXIT_MISSING, SEEDS, SimError, SimOptions, failure_lines};
use crate::runner::{Broken, Job, Level, Totals, Verdict, shrink};

/// Progress is told so often.
const TOLD_EVERY: Duration = Duration::from_secs(2);
/// After so many failures there is enough to do.
const FAILURES_MAX: usize = 10;
/// Failures that are made short.
const SHRUNK_MAX: usize = 3;

/// A run of many seeds.
pub(super) struct Campaign<'a> {
    options: &'a SimOptions,
    clock: OsClock,
    begun: Moment,
    /// Of the processor, by this thread, up to the last world that it ran by itself.
    spent: Duration,
    state: Mutex<State>,
}

struct State {
    /// The next seed, and which of its worlds.
    next: (u64, usize),
    totals: Totals,
    told: Moment,
}

impl<'a> Campaign<'a> {
    pub(super) fn new(options: &'a SimOptions) -> Self {
        let clock = OsClock::new();
        let begun = clock.now();
        let state =
            State { next: (options.seed.unwrap_or(0), 0), totals: Totals::default(), told: begun };
        Self { options, clock, begun, spent: processor_time(), state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("a worker that panics ends the program")
    }

    pub(super) fn run(&mut self) {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.options.jobs.unwrap_or(cores).max(1);
        let this = &*self;
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(move || this.work());
            }
        });
    }

    /// One thread's part.
    fn work(&self) {
        while let Some(job) = self.next_job() {
            let before = processor_time();
            let verdict = job.run_and_doubt();
            self.keep(&job, verdict, processor_time().saturating_sub(before));
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        let first = self.options.seed.unwrap_or(0);
        let (seed, place) = state.next;
        let elapsed = self.clock.now().since(self.begun);
        let is_over = match self.options.minutes {
            Some(minutes) => elapsed.as_secs_f64() >= minutes * 60.0,
            None => seed - first >= self.options.seeds.unwrap_or(SEEDS),
        };
        let failures_max = if self.options.fail_fast { 1 } else { FAILURES_MAX };
        if is_over || state.totals.broken.len() >= failures_max {
            return None;
        }
        let levels = self.options.world.levels();
        state.next = if place + 1 < levels.len() { (seed, place + 1) } else { (seed + 1, 0) };
        let level: Level = levels[place];
        Some(Job { level, seed, events: None })
    }

    fn keep(&self, job: &Job, verdict: Verdict, processor_time: Duration) {
        let mut state = self.state();
        state.totals.add(job, &verdict, processor_time);
        if verdict.failure.is_some() {
            // At once: a run of hours that is cut off has told what it found.
            for line in failure_lines(job, &verdict, None).iter().take(2) {
                let _told = writeln!(io::stderr(), "sim: {line}");
            }
            state.totals.broken.push(Broken { job: job.clone(), verdict, shrunk: None });
        }
        let now = self.clock.now();
        if now.since(state.told) >= TOLD_EVERY {
            state.told = now;
            let (worlds, failures) = (state.totals.worlds(), state.totals.broken.len());
            let minutes = state.totals.virtual_time().as_secs() / 60;
            // With standard error gone there is nobody left to tell.
            let _told = writeln!(
                io::stderr(),
                "sim: {:.0} s, {worlds} worlds, {minutes} virtual minutes, {failures} failures",
                now.since(self.begun).as_secs_f64()
            );
        }
    }

    /// Takes a world that was run by itself.
    pub(super) fn take(&mut self, job: &Job, verdict: Verdict) {
        let spent = processor_time().saturating_sub(self.spent);
        self.spent = processor_time();
        self.keep(job, verdict, spent);
    }

    /// Makes failures short and prints everything.
    pub(super) fn report(self, out: &mut dyn Write) -> Result<(), SimError> {
        let state = self.state.into_inner().expect("no worker panicked");
        let mut totals = state.totals;
        totals.broken.sort_by_key(|broken| (broken.job.level, broken.job.seed));
        let shrunk_max = if self.options.no_shrink { 0 } else { SHRUNK_MAX };
        for broken in totals.broken.iter_mut().take(shrunk_max) {
            let _told = writeln!(io::stderr(), "sim: making seed {} short", broken.job.seed);
            broken.shrunk = Some(shrink(&broken.job, &broken.verdict));
        }
        if self.options.json {
            writeln!(out, "{}", totals.json())?;
        } else {
            write!(out, "{totals}")?;
            for broken in &totals.broken {
                writeln!(out)?;
                let lines = failure_lines(&broken.job, &broken.verdict, broken.shrunk.as_ref());
                lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            }
        }
        if !totals.broken.is_empty() {
            let count = totals.broken.len();
            return Err(SimError::new(EXIT_BROKEN, format!("{count} worlds failed")));
        }
        let missing = totals.missing();
        if !missing.is_empty() {
            let message = format!("these never happened: {}", missing.join("; "));
            return Err(SimError::new(EXIT_MISSING, message));
        }
        if !self.options.json {
            writeln!(out, "no property broke in {} worlds", totals.worlds())?;
        }
        Ok(())
    }
}
