//! How a node looks, in lines of a script.

use raft::*;

use super::words::Words;
use crate::cluster::Cluster;

/// How a node looks.
pub(super) fn run_look_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "status" => {
            let nodes: Vec<u64> = cluster.members.keys().copied().collect();
            for node in nodes {
                let line = cluster.status_line(node);
                cluster.lines.push(line);
            }
        }
        "configuration" => {
            let status = cluster.status(words.number(0));
            let place = if status.configuration_index > status.commit_index { "?" } else { "" };
            cluster.lines.push(format!(
                "n{} {} of={}{place}",
                words.number(0),
                status.configuration,
                status.configuration_index
            ));
        }
        "deadline" => {
            let node = words.number(0);
            let now = cluster.members[&node].now;
            let line = match cluster.node(node).next_deadline() {
                Some(at) => format!("n{node} waits {} ticks", at.0 - now.0),
                None => format!("n{node} waits for others"),
            };
            cluster.lines.push(line);
        }
        "quorum" => {
            let line = quorum_line(&cluster.status(words.number(0)));
            cluster.lines.push(format!("n{} {line}", words.number(0)));
        }
        "payloads" => {
            let line = payloads_line(&cluster.members[&words.number(0)].disk.entries);
            cluster.lines.push(format!("n{} {line}", words.number(0)));
        }
        "disks" => {
            let line = disks_line(&cluster.status(words.number(0)));
            cluster.lines.push(line);
        }
        "log" => {
            let disk = &cluster.members[&words.number(0)].disk;
            let entries = disk.entries.iter().map(|entry| entry.id.to_string());
            let line = format!("n{} {}", words.number(0), entries.collect::<Vec<_>>().join(" "));
            cluster.lines.push(line);
        }
        // The log does not answer, or takes up again; or what it was asked for.
        "fetch" if words.plain(1) == Some("show") => {
            let node = words.number(0);
            let asked = cluster.members[&node].fetches.iter().map(|fetch| fetch.from.to_string());
            let line = format!("n{node} reads from {}", asked.collect::<Vec<_>>().join(" "));
            cluster.lines.push(line);
        }
        "fetch" => {
            let node = words.number(0);
            cluster.member(node).fetch_is_instant = words.plain(1) == Some("go");
            while cluster.members[&node].fetch_is_instant && cluster.fetch_one(node) {}
        }
        // The state machine takes its time, or takes up again.
        "apply" => {
            let node = words.number(0);
            cluster.member(node).apply_is_instant = words.plain(1) == Some("go");
            while cluster.members[&node].apply_is_instant && cluster.report_applied(node) {}
        }
        "applied" => {
            let line = cluster.applied_commands(words.number(0)).join(" ");
            cluster.lines.push(format!("n{} {line}", words.number(0)));
        }
        _ => return false,
    }
    true
}

/// Which voters of each half a leader hears.
fn quorum_line(status: &Status) -> String {
    let Some(QuorumStatus { incoming, outgoing }) = status.quorum else {
        return "does not lead".to_owned();
    };
    let half = |HalfStatus { alive, voters, decides }| {
        let quorum = if decides { "" } else { " (no quorum)" };
        format!("{alive}/{voters}{quorum}")
    };
    format!("hears {} of C_new, {} of C_old", half(incoming), half(outgoing))
}

/// What the entries of a disk say.
fn payloads_line(entries: &[Entry]) -> String {
    let kinds = entries.iter().map(|entry| match &entry.payload {
        Payload::Noop => "noop".to_owned(),
        Payload::Lease(at) => format!("lease[{},{}]", at.earliest_us, at.latest_us),
        Payload::Command(command) => String::from_utf8_lossy(command).into_owned(),
        Payload::Keyed(keyed) => String::from_utf8_lossy(&keyed.command).into_owned(),
        Payload::Withheld => "withheld".to_owned(),
        Payload::Configuration(_) => "configuration".to_owned(),
    });
    kinds.collect::<Vec<_>>().join(" ")
}

/// Which disks are on record, who is not guarded by that, and whose word does not count.
fn disks_line(status: &Status) -> String {
    let list = |nodes: Vec<String>| if nodes.is_empty() { "-".into() } else { nodes.join(",") };
    let recorded = status.configuration.incarnations.iter();
    let recorded = recorded.map(|(node, disk)| format!("n{node}:{}", disk.0)).collect();
    let unguarded = status.unguarded.iter().map(|node| format!("n{node}")).collect();
    let silent = status.followers.iter().filter(|follower| !follower.counts);
    let silent = silent.map(|follower| format!("n{}<{}", follower.id, follower.frontier)).collect();
    let stranger = if status.is_stranger { " stranger" } else { "" };
    let (recorded, unguarded, silent) = (list(recorded), list(unguarded), list(silent));
    format!("n{}{stranger} disks={recorded} unguarded={unguarded} silent={silent}", status.id)
}
