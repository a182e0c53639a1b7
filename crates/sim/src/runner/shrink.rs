//! A failing list of events is made short: what can be left out is no part of the cause.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002): whole pieces are left out, large ones first, as
//! long as the same property still breaks. A world with fewer events takes other turns as well, so
//! the shortest list found is not the shortest there is; it is short enough to be read.

use super::{Job, Level, Verdict};

/// Runs that may be spent on one failure.
const RUNS_MAX: usize = 150;

/// The shortest failing list that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The world with those events alone.
    pub job: Job,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Runs that it took.
    pub runs: usize,
}

/// Leaves events out of a failing world while the same property breaks.
#[must_use]
pub fn shrink(job: &Job, verdict: &Verdict) -> Shrunk {
    let property = verdict.failure.as_ref().map(|failure| failure.property.clone());
    let all: Vec<usize> = match &job.events {
        Some(events) => events.clone(),
        None => job.level.events(job.seed).into_iter().map(|(number, _)| number).collect(),
    };
    let mut best = Shrunk { job: job.clone(), verdict: verdict.clone(), runs: 0 };
    let mut runs = 0;
    let short = minimize(all, RUNS_MAX, |events| {
        runs += 1;
        let (level, seed) = (job.level, job.seed);
        let candidate = Job { level, seed, events: Some(events.to_vec()) };
        let verdict = candidate.run();
        let same = verdict.failure.as_ref().map(|failure| failure.property.clone()) == property;
        if same {
            best = Shrunk { job: candidate, verdict, runs: 0 };
        }
        same
    });
    debug_assert!(best.job.events.is_none() || best.job.events.as_ref() == Some(&short));
    best.runs = runs;
    best
}

/// The shortest list found for which `fails` is true, in at most so many calls.
fn minimize(
    mut list: Vec<usize>,
    calls_max: usize,
    mut fails: impl FnMut(&[usize]) -> bool,
) -> Vec<usize> {
    let mut calls = 0;
    let mut pieces = 2;
    while !list.is_empty() && calls < calls_max {
        let size = list.len().div_ceil(pieces);
        let mut at = 0;
        let mut was_shortened = false;
        while at < list.len() && calls < calls_max {
            let end = (at + size).min(list.len());
            let without: Vec<usize> = [&list[..at], &list[end..]].concat();
            calls += 1;
            if fails(&without) {
                list = without;
                was_shortened = true;
            } else {
                at = end;
            }
        }
        if size == 1 && !was_shortened {
            break;
        }
        pieces = if was_shortened { pieces.max(2) } else { pieces * 2 };
        pieces = pieces.min(list.len().max(1));
    }
    list
}

impl Shrunk {
    /// The events that are left, by name.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Some(kept) = &self.job.events else { return Vec::new() };
        let level: Level = self.job.level;
        let all = level.events(self.job.seed).into_iter();
        all.filter(|(number, _)| kept.contains(number))
            .map(|(number, name)| format!("{number:>4}  {name}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let needed = [3, 17, 40];
        let short = minimize((0..60).collect(), 1000, |list| {
            needed.iter().all(|number| list.contains(number))
        });
        assert_eq!(short, needed);
    }

    #[test]
    fn what_fails_without_any_event_is_left_with_none() {
        assert_eq!(minimize((0..60).collect(), 1000, |_| true), Vec::<usize>::new());
    }

    #[test]
    fn it_ends_when_the_calls_are_used_up() {
        let mut calls = 0;
        let short = minimize((0..1000).collect(), 10, |list| {
            calls += 1;
            list.contains(&999)
        });
        assert!(calls <= 10 && short.contains(&999));
    }
}
