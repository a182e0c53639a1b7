//! A member that was away while the log was truncated, and one that starts empty, catch up by
//! snapshot while writes go on.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::time::Duration;

use conformance::load::{History, Load};
use conformance::{Cluster, ClusterPlan, audit, eventually, long_form};
use tokio::runtime::Runtime;

/// etcd keeps 5000 entries behind a snapshot for followers that are a little slow.
const ENTRIES_TO_TRUNCATE: u64 = 12_000;
const WITHIN: Duration = Duration::from_secs(60);
const CLIENTS: u64 = 48;
const VALUE_BYTES: usize = 512;

fn plan(started: usize) -> ClusterPlan {
    let flags = vec!["--snapshot-count".to_owned(), "1000".to_owned()];
    ClusterPlan { started, flags, ..ClusterPlan::default() }
}

/// Writes until enough is acknowledged that the log position of an absent member is gone.
fn write_until_truncated(runtime: &Runtime, endpoints: &[String], seed: u64) -> Vec<History> {
    let wanted = if long_form() { 5 * ENTRIES_TO_TRUNCATE } else { ENTRIES_TO_TRUNCATE };
    let load = runtime.block_on(async { Load::start(endpoints, CLIENTS, VALUE_BYTES, seed) });
    eventually("enough is written to truncate the log", 2 * WITHIN, || {
        (load.acknowledged() >= wanted).then_some(())
    });
    runtime.block_on(load.stop())
}

/// The member comes (back) under load, and in the end has everything.
fn comes_back(cluster: &mut Cluster, runtime: &Runtime, member: usize, before: &[History]) {
    let present: Vec<String> =
        (0..3).filter(|&number| number != member).map(|number| cluster.endpoint(number)).collect();
    let load = runtime.block_on(async { Load::start_numbered(&present, 500..508, VALUE_BYTES, 3) });
    cluster.restart(member);
    let newest = runtime.block_on(audit::revision(&present[0]));
    let own = cluster.endpoint(member);
    eventually("the member catches up under load", WITHIN, || {
        let at = runtime.block_on(audit::serializable_revision(&own));
        (at >= newest).then_some(())
    });
    let during = runtime.block_on(load.stop());
    let histories: Vec<History> = before.iter().chain(&during).cloned().collect();
    runtime.block_on(audit::audit(&cluster.endpoints(), &histories)).unwrap();
    // etcd's log has several words for it; ours has one.
    let words = if cluster.target().is_etcd() { "snapshot" } else { "installed a snapshot" };
    let told = cluster.log(member).contains(words);
    assert!(told, "it caught up without a snapshot:\n{}", cluster.logs());
}

#[test]
fn a_member_that_was_away_comes_back_by_snapshot() {
    let runtime = Runtime::new().unwrap();
    let mut cluster = Cluster::start_plan(&plan(3));
    cluster.kill(2);
    let present = [cluster.endpoint(0), cluster.endpoint(1)];
    let before = write_until_truncated(&runtime, &present, 1);
    comes_back(&mut cluster, &runtime, 2, &before);
}

#[test]
fn a_member_that_starts_empty_comes_by_snapshot() {
    let runtime = Runtime::new().unwrap();
    let mut cluster = Cluster::start_plan(&plan(2));
    let present = [cluster.endpoint(0), cluster.endpoint(1)];
    let before = write_until_truncated(&runtime, &present, 2);
    comes_back(&mut cluster, &runtime, 2, &before);
}
