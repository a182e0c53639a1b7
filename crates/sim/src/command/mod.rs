//! `flotilla sim`: seeds that are run, a failure that is made short, and pictures.

mod campaign;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::picture::page;
use crate::runner::{Job, Level, Shrunk, Verdict};
use crate::stories;
use campaign::Campaign;

/// Seeds of a run that says nothing else.
const SEEDS: u64 = 20;

/// Which worlds are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Worlds {
    /// The protocol alone.
    Core,
    /// Whole hosts with their logs and stores.
    Hosts,
    /// One of each for every seed.
    Both,
}

impl Worlds {
    fn levels(self) -> &'static [Level] {
        match self {
            Self::Core => &[Level::Core],
            Self::Hosts => &[Level::Hosts],
            Self::Both => &[Level::Core, Level::Hosts],
        }
    }
}

/// What to run, and what to show of it.
#[derive(Clone, Debug, Args)]
pub struct SimOptions {
    /// The seed, or the first of several.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds [default: 20, or 1 with --seed].
    #[arg(long, conflicts_with = "minutes")]
    seeds: Option<u64>,
    /// Run seeds for so many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Which worlds.
    #[arg(long, value_enum, default_value_t = Worlds::Both)]
    world: Worlds,
    /// Only these events of the seed's plan, by number: what a failure prints.
    #[arg(long, value_delimiter = ',', requires = "seed", num_args = 0..)]
    events: Option<Vec<usize>>,
    /// Print the events of the seed's plan and its whole trace.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Write a page with a picture of the seed or the story; it needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Tell a classic story; --list names them.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seeds", "minutes", "events"])]
    scenario: Option<String>,
    /// Name the stories.
    #[arg(long)]
    list: bool,
    /// End with the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Leave a failing list of events as long as it is.
    #[arg(long)]
    no_shrink: bool,
    /// Worlds at the same time [default: one per core].
    #[arg(long)]
    jobs: Option<usize>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Why the command ends badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimError {
    message: String,
    exit_code: u8,
}

/// A property did not hold.
const EXIT_BROKEN: u8 = 1;
/// A mistake on the command line.
const EXIT_USAGE: u8 = 2;
/// A long run in which something never happened.
const EXIT_MISSING: u8 = 3;

impl SimError {
    fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code }
    }

    /// The code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SimError {}

impl From<io::Error> for SimError {
    fn from(error: io::Error) -> Self {
        Self::new(EXIT_BROKEN, error.to_string())
    }
}

/// Runs the command.
///
/// # Errors
/// A property that did not hold, a mistake in the options, an output that could not be written.
pub fn run(options: &SimOptions, out: &mut dyn Write) -> Result<(), SimError> {
    if options.list {
        return list(options, out);
    }
    if let Some(name) = &options.scenario {
        return tell(options, name, out);
    }
    let one = options.seed.filter(|_| options.seeds.is_none() && options.minutes.is_none());
    match one {
        Some(seed) => one_seed(options, seed, out),
        None => many_seeds(options, out),
    }
}

fn list(options: &SimOptions, out: &mut dyn Write) -> Result<(), SimError> {
    if options.json {
        let all =
            stories::ALL.iter().map(|story| json!({ "name": story.name, "about": story.about }));
        writeln!(out, "{}", all.collect::<serde_json::Value>())?;
        return Ok(());
    }
    let width = stories::ALL.iter().map(|story| story.name.len()).max().unwrap_or(0);
    for story in stories::ALL {
        writeln!(out, "{:<width$}  {}", story.name, story.title)?;
    }
    writeln!(out, "\nflotilla sim --scenario NAME --html page.html draws one")?;
    Ok(())
}

fn tell(options: &SimOptions, name: &str, out: &mut dyn Write) -> Result<(), SimError> {
    let story = stories::find(name).ok_or_else(|| {
        let names: Vec<&str> = stories::ALL.iter().map(|story| story.name).collect();
        SimError::new(
            EXIT_USAGE,
            format!("no story is called {name:?}; there are: {}", names.join(", ")),
        )
    })?;
    let told = story.tell();
    if options.json {
        let told = json!({
            "name": story.name,
            "title": story.title,
            "about": story.about,
            "virtual_seconds": told.virtual_time.as_secs_f64(),
            "failure": told.failure.as_ref().map(ToString::to_string),
        });
        writeln!(out, "{told}")?;
    } else {
        writeln!(out, "{}\n", story.title)?;
        for sentence in story.about {
            writeln!(out, "{sentence}")?;
        }
    }
    write_page(options, &told.recording, out)?;
    match told.failure {
        None => Ok(()),
        Some(failure) => Err(SimError::new(EXIT_BROKEN, format!("{name}: {failure}"))),
    }
}

fn write_page(
    options: &SimOptions,
    recording: &crate::picture::Recording,
    out: &mut dyn Write,
) -> Result<(), SimError> {
    let Some(path) = &options.html else { return Ok(()) };
    write_to(path, &page(recording))?;
    if !options.json {
        writeln!(out, "\nThe picture is in {}", path.display())?;
    }
    Ok(())
}

fn write_to(path: &Path, text: &str) -> Result<(), SimError> {
    fs::write(path, text).map_err(|error| {
        let message = format!("cannot write {}: {error}", path.display());
        SimError::new(EXIT_BROKEN, message)
    })
}

/// One seed, with all there is to say about it.
fn one_seed(options: &SimOptions, seed: u64, out: &mut dyn Write) -> Result<(), SimError> {
    let mut campaign = Campaign::new(options);
    let levels = options.world.levels();
    for level in levels {
        let job = Job { level: *level, seed, events: options.events.clone() };
        if options.trace && !options.json {
            for (number, name) in level.events(seed) {
                writeln!(out, "{number:>4}  {name}")?;
            }
        }
        // A picture is of one world: of the hosts, if both are run.
        let verdict = if options.html.is_some() && Some(level) == levels.last() {
            let (verdict, recording) = job.draw();
            write_page(options, &recording, out)?;
            verdict
        } else if options.trace {
            job.trace()
        } else {
            job.run_and_doubt()
        };
        if options.trace && !options.json {
            verdict.newest.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        campaign.take(&job, verdict);
    }
    campaign.report(out)
}

fn many_seeds(options: &SimOptions, out: &mut dyn Write) -> Result<(), SimError> {
    let mut campaign = Campaign::new(options);
    campaign.run();
    campaign.report(out)
}

/// What is printed of a failing world.
fn failure_lines(job: &Job, verdict: &Verdict, shrunk: Option<&Shrunk>) -> Vec<String> {
    let mut lines = Vec::new();
    let failure = verdict.failure.as_ref().map(ToString::to_string).unwrap_or_default();
    lines.push(format!("FAILED: {} world, seed {}", job.level, job.seed));
    lines.push(failure);
    let short = shrunk.map_or(job, |shrunk| &shrunk.job);
    if let Some(shrunk) = shrunk {
        let kept = shrunk.lines();
        let (count, runs) = (kept.len(), shrunk.runs);
        lines.push(format!("{count} events are enough (found in {runs} runs):"));
        lines.extend(kept);
    }
    lines.push(format!("to see it again: {} --trace", short.command()));
    lines.push(format!("to look at it:   {} --html failure.html", short.command()));
    lines
}
