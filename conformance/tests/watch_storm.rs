//! A thousand watchers, compactions, leader kills and disconnects; the nine properties of a watch
//! hold. The long form goes on for ten million events.

use std::time::Duration;

use conformance::storm::{Storm, StormPlan};
use conformance::{Cluster, audit, long_form, pause};
use env::Entropy;
use env::os::OsEntropy;

const KILLS_MIN: u32 = 2;
const BETWEEN_KILLS: Duration = Duration::from_millis(1500);
const STAYS_DEAD: Duration = Duration::from_millis(700);

#[test]
fn the_nine_properties_of_a_watch_hold_in_a_storm() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse().ok());
    let seed = number("STORM_SEED").unwrap_or_else(|| OsEntropy.next_u64() % 1_000_000);
    let goal = if long_form() { 10_000_000 } else { 50_000 };
    let goal = number("STORM_EVENTS").unwrap_or(goal);
    println!("seed {seed}, {goal} events");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut cluster = Cluster::start();
    let endpoints = cluster.endpoints();
    let plan = StormPlan { watchers: 1000, streams: 20, writers: 6, seed };
    let storm = runtime.block_on(Storm::start(&endpoints, plan));
    let mut kills = 0;
    while kills < KILLS_MIN || storm.deliveries() < goal {
        pause(BETWEEN_KILLS);
        let leader = runtime.block_on(audit::leader(&endpoints)).unwrap_or(0);
        cluster.kill(leader);
        kills += 1;
        pause(STAYS_DEAD);
        cluster.restart(leader);
    }
    let report = runtime.block_on(storm.end()).unwrap();
    println!("{kills} leaders killed; {report:?}");
    assert!(report.resumed > 0 && report.bookmarks > 0, "nothing was tested: {report:?}");
}
