//! What these tests share: the seeds that are asked for, and who is to lead.

#![allow(dead_code, reason = "each test file uses a part of this")]

use raft::NodeId;
use sim::stores::{Cluster, GROUP, SOON};

/// The seeds of `FLOTILLA_SEEDS`, as `from..to` or as a count, or the first few.
pub(crate) fn seeds(default_count: u64) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("FLOTILLA_SEEDS") else { return 0..default_count };
    let number = |text: &str| text.parse().expect("FLOTILLA_SEEDS is a count, or from..to");
    match wanted.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&wanted),
    }
}

/// Has this member lead the first group.
#[track_caller]
pub(crate) fn lead(cluster: &mut Cluster, id: NodeId) {
    let leader = cluster.elect();
    let handle = cluster.world.group(leader, GROUP).expect("it leads");
    handle.transfer_leadership(Some(id), |_| {});
    assert!(cluster.world.run_until(SOON, |world| world.leader(GROUP) == Some(id)));
}
