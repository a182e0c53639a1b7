//! New clusters from backups: of our own, and of a real etcd's.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::{Path, PathBuf};
use std::process::Output;

use conformance::{Cluster, ClusterPlan, Etcdctl, Target, skip};
use serde_json::Value;

/// `flotilla ctl`, as it ends.
fn ctl(arguments: &[&str]) -> Output {
    Target::flotilla().ctl().args(arguments).output().expect("the binary is built")
}

#[track_caller]
fn ctl_json(arguments: &[&str]) -> Value {
    let output = ctl(&[arguments, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// Three members of a new cluster that are made from a backup.
fn restored(file: &str, more: &[&str]) -> Cluster {
    let plan =
        ClusterPlan { started: 0, target: Some(Target::flotilla()), ..ClusterPlan::default() };
    let mut cluster = Cluster::start_plan(&plan);
    let entry = |at: usize| format!("{}={}", cluster.name(at), cluster.peer_url(at));
    let members = [0, 1, 2].map(entry).join(",");
    for at in 0..3 {
        let dir: PathBuf = cluster.data_dir(at);
        let (dir, url) = (dir.to_str().unwrap(), cluster.peer_url(at));
        let arguments = [
            &["snapshot", "restore", file, "--name", cluster.name(at), "--data-dir", dir][..],
            &["--initial-cluster", &members, "--initial-advertise-peer-urls", &url],
            more,
        ];
        ctl_json(&arguments.concat());
    }
    (0..3).for_each(|at| cluster.spawn(at));
    (0..3).for_each(|at| cluster.wait_healthy(at));
    cluster
}

/// All keys without the header, which names the cluster, as of a revision.
fn keys(etcdctl: &Etcdctl, revision: i64) -> Value {
    let revision = revision.to_string();
    let text = etcdctl.run(&["get", "", "--from-key", "--rev", &revision, "-w", "json"]);
    serde_json::from_str::<Value>(&text).expect("JSON was asked for")["kvs"].clone()
}

fn revision(etcdctl: &Etcdctl) -> i64 {
    let text = etcdctl.run(&["get", "none", "-w", "json"]);
    let answer: Value = serde_json::from_str(&text).expect("JSON was asked for");
    answer["header"]["revision"].as_i64().expect("a revision")
}

/// Keys with history of which some is compacted, a lease, a user with a role.
fn live(etcdctl: &Etcdctl) {
    for number in 0..40 {
        etcdctl.check(&["put", &format!("k{}", number % 13), &"v".repeat(number * 90)], "OK\n");
    }
    etcdctl.check(&["del", "k7"], "1\n");
    etcdctl.check(&["del", "k1", "k12"], "3\n");
    let lease = etcdctl.run(&["lease", "grant", "900"]);
    let lease = lease.split(' ').nth(1).expect("a lease has an id").to_owned();
    etcdctl.check(&["put", "leased", "x", &format!("--lease={lease}")], "OK\n");
    let compacted = etcdctl.run(&["compact", "30"]);
    assert!(compacted.contains("30"), "{compacted}");
    etcdctl.check(&["put", "k1", "again"], "OK\n");
    let _added = etcdctl.run(&["user", "add", "root:pw"]);
    let _added = etcdctl.run(&["user", "add", "reader:pw"]);
    let _added = etcdctl.run(&["role", "add", "r"]);
    let _granted = etcdctl.run(&["role", "grant-permission", "r", "read", "k1"]);
    let _granted = etcdctl.run(&["user", "grant-role", "reader", "r"]);
    let _granted = etcdctl.run(&["user", "grant-role", "root", "root"]);
    let _enabled = etcdctl.run(&["auth", "enable"]);
}

/// What `live` left is there.
fn is_as_before(cluster: &Cluster, file: &str, before: &[(i64, Value)], last: i64) {
    let one = Etcdctl::new(&cluster.endpoint(0)).expect("it was there before");
    let denied = one.try_run(&["get", "k1"], "");
    assert!(denied.text.contains("user name is empty"), "auth is on: {}", denied.text);
    let reader = ["--user", "reader:pw"];
    let read = one.run(&[&reader[..], &["get", "k1", "--print-value-only"]].concat());
    assert_eq!(read, "again\n");
    let refused = one.try_run(&[&reader[..], &["put", "k1", "x"]].concat(), "");
    assert!(refused.text.contains("permission denied"), "{}", refused.text);
    let _off = one.run(&["--user", "root:pw", "auth", "disable"]);
    for (revision, keys_then) in before {
        assert_eq!(&keys(&one, *revision), keys_then, "at {revision}");
    }
    let compacted = one.try_run(&["get", "k1", "--rev", "12"], "");
    assert!(compacted.text.contains("compacted"), "{}", compacted.text);
    let leases = one.run(&["lease", "list"]);
    assert!(leases.contains("found 1 leases"), "{leases}");
    one.check(&["put", "after", "x"], "OK\n");
    assert_eq!(revision(&one), last + 1);
    let hash = ctl(&["hash", "--endpoints", &cluster.endpoints_joined()]);
    assert!(hash.status.success(), "members differ: {hash:?}");
    let again = ctl(&["snapshot", "restore", file, "--data-dir", path(&cluster.data_dir(0))]);
    assert_eq!(again.status.code(), Some(2), "a folder with data is left alone");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a test's folder has a plain name")
}

fn goes_through(test: &str, target: Target) {
    let Some(etcdctl) = Etcdctl::new("") else { return skip(test, "etcdctl") };
    let plan = ClusterPlan { size: 1, started: 1, target: Some(target), ..ClusterPlan::default() };
    let mut old = Cluster::start_plan(&plan);
    let etcdctl = etcdctl.at(&old.endpoint(0));
    live(&etcdctl);
    let root = ["--user", "root:pw"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let file = path(&file);
    let _saved = etcdctl.run(&[&root[..], &["snapshot", "save", file]].concat());
    let _off = etcdctl.run(&[&root[..], &["auth", "disable"]].concat());
    let last = revision(&etcdctl);
    let before: Vec<(i64, Value)> =
        [30, 35, last].into_iter().map(|at| (at, keys(&etcdctl, at))).collect();
    // Both tools say the same of it.
    let theirs = etcdctl.run(&["snapshot", "status", file, "-w", "json"]);
    let theirs: Value = serde_json::from_str(theirs.lines().last().unwrap()).unwrap();
    let ours = ctl_json(&["snapshot", "status", file]);
    for field in ["hash", "revision", "totalKey"] {
        assert_eq!(ours[field], theirs[field], "{field}: {ours} {theirs}");
    }
    old.kill(0);
    let new = restored(file, &[]);
    is_as_before(&new, file, &before, last);

    let mut damaged = std::fs::read(file).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let bad = folder.path().join("damaged.db");
    std::fs::write(&bad, damaged).unwrap();
    let nowhere = folder.path().join("nowhere");
    let refused = ctl(&["snapshot", "restore", path(&bad), "--data-dir", path(&nowhere)]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("SHA-256"), "{said}");
    assert!(!nowhere.exists(), "nothing is left of it");
}

#[test]
fn a_cluster_from_our_own_backup() {
    goes_through("a_cluster_from_our_own_backup", Target::flotilla());
}

#[test]
fn a_cluster_from_a_backup_of_etcd() {
    let test = "a_cluster_from_a_backup_of_etcd";
    let Some(etcd) = Target::etcd() else { return skip(test, "etcd") };
    goes_through(test, etcd);
}

/// Watches of the old cluster's clients must not take a new revision for one that they know.
#[test]
fn revisions_go_on_where_no_client_has_been() {
    let test = "revisions_go_on_where_no_client_has_been";
    let Some(etcdctl) = Etcdctl::new("") else { return skip(test, "etcdctl") };
    let plan = ClusterPlan { size: 1, started: 1, ..ClusterPlan::default() };
    let old = Cluster::start_plan(&plan);
    let etcdctl = etcdctl.at(&old.endpoint(0));
    etcdctl.check(&["put", "k", "v"], "OK\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let saved = ctl(&["--endpoints", &old.endpoint(0), "snapshot", "save", path(&file)]);
    assert!(saved.status.success(), "{saved:?}");
    let last = revision(&etcdctl);
    let half = ctl(&["snapshot", "restore", path(&file), "--mark-compacted"]);
    assert_eq!(half.status.code(), Some(2));
    let new = restored(path(&file), &["--bump-revision", "1000000", "--mark-compacted"]);
    let etcdctl = etcdctl.at(&new.endpoint(1));
    assert_eq!(revision(&etcdctl), last + 1_000_000);
    etcdctl.check(&["get", "k"], "k\nv\n");
    let watch = etcdctl.try_run(&["watch", "k", "--rev", &(last + 1).to_string()], "");
    assert!(watch.text.contains("compacted"), "{}", watch.text);
    etcdctl.check(&["put", "k", "w"], "OK\n");
    assert_eq!(revision(&etcdctl), last + 1_000_001);
}
