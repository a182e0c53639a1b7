//! Users, roles, locks and elections with real `etcdctl`, which also runs unchanged against etcd:
//! `cargo xtask conformance --etcd etcdctl_auth`.

use std::time::Duration;

use conformance::{Cluster, ClusterPlan, Etcdctl, eventually, skip};

fn start(test: &str) -> Option<(Cluster, Etcdctl)> {
    if Etcdctl::new("").is_none() {
        skip(test, "etcdctl");
        return None;
    }
    // etcd 3.4 has the flag as well.
    let flags = vec!["--bcrypt-cost=4".to_owned()];
    let cluster = Cluster::start_plan(&ClusterPlan { flags, ..ClusterPlan::default() });
    let etcdctl = Etcdctl::new(&cluster.endpoints_joined())?;
    Some((cluster, etcdctl))
}

#[track_caller]
fn refused(etcdctl: &Etcdctl, arguments: &[&str], text: &str) {
    let outcome = etcdctl.try_run(arguments, "");
    assert!(!outcome.succeeded, "{arguments:?} succeeded: {}", outcome.text);
    assert!(outcome.text.contains(text), "{arguments:?}: {}", outcome.text);
}

#[test]
fn users_and_roles_are_kept_and_asked_for() {
    let Some((mut cluster, etcdctl)) = start("users_and_roles_are_kept_and_asked_for") else {
        return;
    };
    refused(&etcdctl, &["auth", "enable"], "root user does not exist");
    etcdctl.check(&["user", "add", "root:secret"], "User root created\n");
    refused(&etcdctl, &["user", "add", "root:secret"], "user name already exists");
    etcdctl.check(&["user", "grant-role", "root", "root"], "Role root is granted to user root\n");
    etcdctl.check(&["user", "add", "alice:hers"], "User alice created\n");
    etcdctl.check(&["role", "add", "reader"], "Role reader created\n");
    let grant = ["role", "grant-permission", "reader", "--prefix", "read", "a/"];
    etcdctl.check(&grant, "Role reader updated\n");
    etcdctl
        .check(&["role", "grant-permission", "reader", "readwrite", "b"], "Role reader updated\n");
    let role = etcdctl.run(&["role", "get", "reader"]);
    assert!(role.contains("[a/, a0) (prefix a/)") && role.contains("KV Write:\n\tb"), "{role}");
    etcdctl.check(
        &["user", "grant-role", "alice", "reader"],
        "Role reader is granted to user alice\n",
    );
    etcdctl.check(&["user", "list"], "alice\nroot\n");
    etcdctl.check(&["role", "list"], "reader\n");
    etcdctl.check(&["auth", "enable"], "Authentication Enabled\n");

    refused(&etcdctl, &["put", "b", "1"], "user name is empty");
    let as_user = |user: &str, words: &[&str]| -> Vec<String> {
        let flag = format!("--user={user}");
        std::iter::once(flag).chain(words.iter().map(|word| (*word).to_owned())).collect()
    };
    let check = |user: &str, words: &[&str], expect: &str| {
        let words = as_user(user, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        etcdctl.check(&words, expect);
    };
    let refuse = |user: &str, words: &[&str], text: &str| {
        let words = as_user(user, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        refused(&etcdctl, &words, text);
    };
    refuse("alice:wrong", &["put", "b", "1"], "authentication failed, invalid user ID or password");
    check("alice:hers", &["put", "b", "1"], "OK\n");
    refuse("alice:hers", &["put", "a/1", "1"], "permission denied");
    refuse("alice:hers", &["get", "", "--from-key"], "permission denied");
    refuse("alice:hers", &["user", "list"], "permission denied");
    refuse("alice:hers", &["compaction", "1"], "permission denied");
    check("root:secret", &["put", "a/1", "one"], "OK\n");
    check("alice:hers", &["get", "a/", "--prefix"], "a/1\none\n");
    check("alice:hers", &["user", "get", "alice"], "User: alice\nRoles: reader\n");
    refuse("root:secret", &["user", "delete", "root"], "invalid auth management");

    // Another member, after it has started again.
    cluster.kill(1);
    cluster.restart(1);
    let endpoint = cluster.endpoint(1);
    let there = etcdctl.at(&endpoint);
    there.check(&["--user=alice:hers", "get", "b"], "b\n1\n");
    check(
        "root:secret",
        &["user", "revoke-role", "alice", "reader"],
        "Role reader is revoked from user alice\n",
    );
    refuse("alice:hers", &["get", "b"], "permission denied");
    check("root:secret", &["auth", "disable"], "Authentication Disabled\n");
    etcdctl.check(&["get", "b"], "b\n1\n");
}

#[test]
fn a_lock_and_an_election_pass_on() {
    let Some((_cluster, etcdctl)) = start("a_lock_and_an_election_pass_on") else { return };
    let holder = etcdctl.follow(&["lock", "l"]);
    let held = eventually("the lock is held", Duration::from_secs(10), || {
        let keys = etcdctl.run(&["get", "l/", "--prefix", "--keys-only"]);
        (!keys.trim().is_empty()).then(|| keys.trim().to_owned())
    });
    holder.expect_lines(&[held.as_str()]);
    drop(holder);
    // The holder was killed: its lease ends, and the lock with it.
    let output = etcdctl.run(&["lock", "l", "echo", "mine"]);
    assert_eq!(output, "mine\n");

    let leader = etcdctl.follow(&["elect", "e", "first"]);
    let key = eventually("somebody leads", Duration::from_secs(10), || {
        let keys = etcdctl.run(&["get", "e/", "--prefix", "--keys-only"]);
        (!keys.trim().is_empty()).then(|| keys.trim().to_owned())
    });
    leader.expect_lines(&[key.as_str(), "first"]);
    let observer = etcdctl.follow(&["elect", "--listen", "e"]);
    observer.expect_lines(&[key.as_str(), "first"]);
}
