//! A backup taken and looked at with etcd's own tools, and an etcd started from it.

use std::process::{Child, Stdio};
use std::time::Duration;

use conformance::{Cluster, Etcdctl, Target, eventually, free_ports_in_a_row, skip};
use serde_json::Value;

#[test]
fn etcds_tools_take_a_backup() {
    if Etcdctl::new("").is_none() {
        return skip("etcds_tools_take_a_backup", "etcdctl");
    }
    let cluster = Cluster::start();
    let etcdctl = Etcdctl::new(&cluster.endpoint(0)).unwrap();
    for number in 0..50 {
        etcdctl.check(&["put", &format!("k{number}"), &"v".repeat(number * 100)], "OK\n");
    }
    etcdctl.check(&["del", "k7"], "1\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let file = file.to_str().unwrap();
    let saved = etcdctl.run(&["snapshot", "save", file]);
    assert!(saved.contains("Snapshot saved"), "{saved}");
    let status = etcdctl.run(&["snapshot", "status", file, "-w", "json"]);
    let status: Value = serde_json::from_str(status.lines().last().unwrap()).unwrap();
    let answer = etcdctl.run(&["get", "none", "-w", "json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status["revision"], answer["header"]["revision"]);
    // Each version is one: 50 puts and a delete.
    assert!(status["totalKey"].as_i64().unwrap() >= 51, "{status}");
    let restored = folder.path().join("restored");
    let told =
        etcdctl.run(&["snapshot", "restore", file, "--data-dir", restored.to_str().unwrap()]);
    assert!(restored.join("member/snap/db").exists(), "{told}");
    let Some(etcd) = Target::etcd() else { return skip("an etcd from a backup", "etcd") };
    let port = free_ports_in_a_row(2);
    let address = format!("127.0.0.1:{port}");
    let (client, peer) = (format!("http://{address}"), format!("http://127.0.0.1:{}", port + 1));
    let mut command = etcd.command();
    command
        .args(["--data-dir", restored.to_str().unwrap()])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer]);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _ended_with_the_test = Ended(process);
    let theirs = etcdctl.at(&address);
    // All keys, without the header that names the cluster, now and as of an older revision.
    let keys = |etcdctl: &Etcdctl, revision: &str| {
        let outcome =
            etcdctl.try_run(&["get", "", "--from-key", "--rev", revision, "-w", "json"], "");
        let answer: Option<Value> = serde_json::from_str(&outcome.text).ok();
        outcome.succeeded.then(|| answer.map(|answer| answer["kvs"].clone())).flatten()
    };
    let within = Duration::from_secs(20);
    let restored = eventually("etcd serves what was backed up", within, || keys(&theirs, "0"));
    assert_eq!(Some(restored), keys(&etcdctl, "0"));
    assert_eq!(keys(&theirs, "20"), keys(&etcdctl, "20"));
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}
