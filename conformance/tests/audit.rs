//! The audit itself turns red: on a lost write, on a write told at another revision, on a bad read.

use conformance::load::{Acknowledged, History, Load};
use conformance::{Cluster, audit};
use tokio::runtime::Runtime;

#[test]
fn the_audit_turns_red() {
    let runtime = Runtime::new().unwrap();
    let cluster = Cluster::start();
    let endpoints = cluster.endpoints();
    let load = runtime.block_on(async { Load::start(&endpoints, 2, 16, 1) });
    conformance::eventually("some writes", std::time::Duration::from_secs(10), || {
        (load.acknowledged() > 20).then_some(())
    });
    let histories = runtime.block_on(load.stop());
    let is_red =
        |histories: &[History]| runtime.block_on(audit::audit(&endpoints, histories)).is_err();
    assert!(!is_red(&histories), "all is well");

    let with = |change: &dyn Fn(&mut History)| {
        let mut changed = histories.clone();
        change(&mut changed[0]);
        changed
    };
    let never_written = Acknowledged { key: "load/never".to_owned(), revision: 2 };
    assert!(is_red(&with(&|history| history.acknowledged.push(never_written.clone()))));
    assert!(is_red(&with(&|history| history.acknowledged[0].revision += 1)));
    assert!(is_red(&with(&|history| history.violations.push("a bad read".to_owned()))));
}
