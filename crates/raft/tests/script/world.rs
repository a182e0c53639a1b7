//! How a group begins, and what happens to its nodes: crashes, disks, time.

use raft::*;

use super::rule;
use super::words::{Words, lease_of, priorities_of};
use crate::cluster::Cluster;

pub(super) fn new_cluster(words: &Words<'_>) -> Cluster {
    let nodes = words.number(0);
    let voters = words.numbers("voters");
    let voters = if voters.is_empty() { (1..=nodes).collect() } else { voters };
    let configuration = Configuration {
        voters: voters.into_iter().map(NodeId).collect(),
        outgoing: words.numbers("outgoing").into_iter().map(NodeId).collect(),
        learners: words.numbers("learners").into_iter().map(NodeId).collect(),
        lease: words.named_number("guard").map(|ticks| lease_of(ticks, words)),
        priorities: priorities_of("prefer", words),
        witnesses: words.numbers("witnesses").into_iter().map(NodeId).collect(),
        rule: words.named("rule").map(rule::parse).unwrap_or_default(),
        ..Configuration::default()
    };
    let size = |name| words.named_number(name).map(|bytes| usize::try_from(bytes).unwrap());
    Cluster::with(nodes, &configuration, |options| {
        options.pre_vote = words.named("pre-vote") != Some("off");
        options.check_quorum = words.named("check-quorum") != Some("off");
        let or = |given: Option<usize>, default| given.unwrap_or(default);
        options.append_batch_bytes_max = or(size("batch-bytes"), options.append_batch_bytes_max);
        options.window_messages_max = or(size("window-messages"), options.window_messages_max);
        options.window_bytes_max = or(size("window-bytes"), options.window_bytes_max);
        options.cache_bytes_max = or(size("cache-bytes"), options.cache_bytes_max);
        options.reorder_bytes_max = or(size("reorder-bytes"), options.reorder_bytes_max);
        options.uncommitted_bytes_max = or(size("uncommitted"), options.uncommitted_bytes_max);
        options.promotion_lag_bytes_max = or(size("lag"), options.promotion_lag_bytes_max);
        let ticks = |name| words.named_number(name);
        options.write_stall_ticks_max = ticks("stall").unwrap_or(options.write_stall_ticks_max);
        options.slow_follower_ticks = ticks("slow").unwrap_or(options.slow_follower_ticks);
        options.reelection_wait_ticks = ticks("wait").unwrap_or(0);
        options.first_election_ticks = ticks("first").map(|first| (first, first));
        options.lease_drift_ppm = ticks("drift").map(|ppm| u32::try_from(ppm).unwrap());
        options.quiesce_after_ticks = ticks("quiesce");
        options.pending_reads_max = or(size("pending-reads"), options.pending_reads_max);
        if ticks("low") == Some(options.id.0) {
            options.campaign_delay_ticks = 40;
        }
        if words.named("disks") == Some("known") {
            options.incarnation = Incarnation(options.id.0);
        }
        options.is_witness |= words.numbers("waiting-witness").contains(&options.id.0);
        options.log_kept_for_slowest_max = words.named_number("slowest").unwrap_or(0);
        options.log_tail_kept = words.named_number("tail").unwrap_or(0);
    })
}

/// What happens to a node.
pub(super) fn run_world_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "crash" => cluster.crash(words.number(0)),
        "restart" => {
            let tail = words.named_number("tail").map_or(usize::MAX, |t| t.try_into().unwrap());
            cluster.restart_with_tail(words.number(0), tail);
        }
        // Another machine in the place of the node: its disk is empty.
        "wipe" => {
            cluster.crash(words.number(0));
            cluster.member(words.number(0)).disk = Default::default();
            cluster.restart(words.number(0));
        }
        "lose-disk" => cluster.lose_disk(words.number(0)),
        "force-survivors" => {
            let survivors = words.numbers("survivors");
            if let Err(error) = cluster.force_survivors(words.number(0), &survivors) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "copy-disk" => {
            let member = cluster.member(words.number(0));
            member.copy = Some(member.disk.clone());
        }
        "set-disk-back" => cluster.set_disk_back(words.number(0)),
        // Time passes, and the node is told nothing.
        "sleep" => {
            let member = cluster.member(words.number(0));
            member.now = member.now.after(words.number(1));
        }
        "load" => cluster.load(words.number(0), words.need("term"), &words.numbers("log")),
        "disk" => {
            let node = words.number(0);
            match words.plain(1) {
                Some("hold") => cluster.member(node).disk_is_instant = false,
                Some("write") => assert!(cluster.write_one(node), "nothing is in flight"),
                Some("go") => {
                    cluster.member(node).disk_is_instant = true;
                    while cluster.write_one(node) {}
                }
                other => panic!("disk {other:?}"),
            }
        }
        "silent" => {
            cluster.stabilize();
            cluster.lines.clear();
        }
        _ => return false,
    }
    true
}
