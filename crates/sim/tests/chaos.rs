//! The first seeds of the worlds that `flotilla sim` runs, and what they must have met.
//!
//! `FLOTILLA_SEEDS=from..to` runs others.

mod common;

use common::seeds;
use sim::Census;
use sim::chaos::Plan;
use sim::runner::{Job, Level};

/// Seeds of the short form: `cargo xtask ci` runs a minute of others.
const SHORT_HOST_SEEDS: u64 = 6;
const SHORT_CORE_SEEDS: u64 = 10;

fn run_all(level: Level, count: u64) -> Census {
    run_these(level, seeds(count))
}

fn run_these(level: Level, seeds: impl Iterator<Item = u64>) -> Census {
    let mut census = Census::default();
    for seed in seeds {
        let job = Job { level, seed, events: None };
        let verdict = job.run();
        if let Some(failure) = &verdict.failure {
            let lines = verdict.newest.join("\n");
            panic!("{failure}\n{lines}\nto see it again: {} --trace", job.command());
        }
        census.merge(&verdict.census);
    }
    census
}

#[test]
fn anything_may_break_and_nothing_wrong_is_seen_and_all_gets_well() {
    let met = run_all(Level::Hosts, SHORT_HOST_SEEDS);
    if std::env::var("FLOTILLA_SEEDS").is_err() {
        let count = |name: &str| met.count(&format!("sometimes: {name}"));
        assert!(count("an operation is done") > 500, "{met:?}");
        assert!(count("an operation has definitely failed") > 10, "{met:?}");
        assert!(count("an outcome is unknown") > 10, "{met:?}");
        // About half of them go by the etcd API.
        assert!(count("a call of the API is answered") > 250, "{met:?}");
        assert!(count("the outcome of a call of the API is unknown") > 5, "{met:?}");
    }
}

#[test]
fn nodes_are_upgraded_and_set_back_while_anything_may_break() {
    let has_many = |seed: &u64| {
        let plan = Plan::of(*seed);
        plan.has_upgrades && plan.options.node_count > 1 && plan.events.len() > 80
    };
    let met = run_these(Level::Hosts, (0..).filter(has_many).take(5));
    let crossed = [
        "sometimes: a leader of the version before replicates to an upgraded one",
        "sometimes: a leader replicates to a follower of the version before",
    ];
    assert!(met.count("upgrade") > 0 && met.count("downgrade") > 0, "{met:?}");
    assert!(crossed.iter().any(|name| met.count(name) > 0), "{met:?}");
}

#[test]
fn groups_of_the_protocol_alone_keep_every_invariant_and_come_to_rest() {
    let met = run_all(Level::Core, SHORT_CORE_SEEDS);
    if std::env::var("FLOTILLA_SEEDS").is_err() {
        for name in ["two candidates in one term", "a conflicting suffix is dropped"] {
            assert!(met.count(&format!("sometimes: {name}")) > 0, "{name}: {met:?}");
        }
    }
}

#[test]
fn chaos_is_a_function_of_its_seed() {
    for level in [Level::Core, Level::Hosts] {
        let trace = |seed| Job { level, seed, events: None }.run().trace_hash;
        assert_eq!(trace(5), trace(5), "{level}");
        assert_ne!(trace(5), trace(3), "{level}");
    }
}

#[test]
fn an_event_that_is_left_out_leaves_the_plan_as_it_was() {
    let all = Level::Core.events(7);
    let job = Job { level: Level::Core, seed: 7, events: Some(vec![0, 3]) };
    let verdict = job.run();
    assert_eq!(verdict.failure, None);
    assert_eq!(verdict.events_planned, 2.min(all.len()));
    assert_eq!(job.command(), "flotilla sim --world core --seed 7 --events 0,3");
}
