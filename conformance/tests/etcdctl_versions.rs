//! Every command of `etcdctl`, of versions 3.4, 3.5 and 3.6, against a cluster with TLS and
//! authentication and one without.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::time::Duration;

use conformance::{Cluster, ClusterPlan, Etcdctl, eventually, long_form, record, skip};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(10);

/// One version against one cluster.
struct Run<'a> {
    etcdctl: Etcdctl,
    cluster: &'a Cluster,
    secured: bool,
}

type Feature = (&'static str, fn(&Run<'_>));

const FEATURES: [Feature; 11] = [
    ("keys and ranges", keys),
    ("transactions", transactions),
    ("compaction", compaction),
    ("watches", watches),
    ("leases", leases),
    ("locks", locks),
    ("elections", elections),
    ("members", members),
    ("maintenance", maintenance),
    ("downgrades", downgrades),
    ("users and roles", users_and_roles),
];

#[test]
fn every_version_of_etcdctl_runs_all_its_commands() {
    let test = "every_version_of_etcdctl_runs_all_its_commands";
    for version in ["3.4", "3.5", "3.6"] {
        if Etcdctl::of_version(version).is_none() {
            skip(test, &format!("etcdctl {version}"));
        }
    }
    std::thread::scope(|scope| {
        let both = [false, true].map(|secured| scope.spawn(move || check(secured)));
        for one in both {
            one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn check(secured: bool) {
    let flags = vec!["--bcrypt-cost=4".to_owned()];
    let cluster = Cluster::start_plan(&ClusterPlan { secured, flags, ..ClusterPlan::default() });
    for version in ["3.4", "3.5", "3.6"] {
        let Some(etcdctl) = Etcdctl::of_version(version) else { continue };
        let run = Run { etcdctl: etcdctl.to_reach(&cluster), cluster: &cluster, secured };
        for (feature, test) in FEATURES {
            if feature == "downgrades" && version != "3.6" {
                // It has no such command.
                continue;
            }
            test(&run);
            record(&format!("etcdctl {version}"), secured, feature);
        }
        // What an earlier version left is no matter of the next one's.
        let _deleted = run.etcdctl.run(&["del", "", "--from-key"]);
    }
}

impl Run<'_> {
    fn json(&self, words: &[&str]) -> Value {
        let text = self.etcdctl.run(&[words, &["-w", "json"]].concat());
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    fn revision(&self) -> i64 {
        self.json(&["get", "none"])["header"]["revision"].as_i64().unwrap()
    }

    #[track_caller]
    fn refused(&self, words: &[&str], text: &str) {
        let outcome = self.etcdctl.try_run(words, "");
        assert!(!outcome.succeeded, "{words:?} succeeded: {}", outcome.text);
        assert!(outcome.text.contains(text), "{words:?}: {}", outcome.text);
    }

    #[track_caller]
    fn says(&self, words: &[&str], text: &str) -> String {
        let told = self.etcdctl.run(words);
        assert!(told.contains(text), "{words:?}: {told}");
        told
    }
}

fn keys(run: &Run<'_>) {
    let etcdctl = &run.etcdctl;
    etcdctl.check(&["put", "a", "1"], "OK\n");
    etcdctl.check(&["put", "b", "2", "--prev-kv"], "OK\n");
    etcdctl.check(&["get", "", "--from-key", "--keys-only"], "a\n\nb\n\n");
    etcdctl.check(&["get", "a", "z", "--order=DESCEND", "--sort-by=VALUE"], "b\n2\na\n1\n");
    etcdctl.check(&["get", "a", "--consistency=s", "--print-value-only"], "1\n");
    run.says(&["get", "a", "-w", "fields"], "\"ModRevision\" : ");
    etcdctl.check(&["del", "a", "--prev-kv"], "1\na\n1\n");
    run.refused(&["get", "b", "--rev", "1000000000"], "future revision");
}

fn transactions(run: &Run<'_>) {
    run.etcdctl.check(&["put", "t", "1"], "OK\n");
    let text = "value(\"t\") = \"1\"\nmod(\"t\") > \"0\"\n\nput t 2\nget t\n\ndel t\n\n";
    let taken = run.etcdctl.try_run(&["txn"], text);
    assert!(taken.text.contains("SUCCESS\n\nOK\n\nt\n2\n"), "{}", taken.text);
    let other = run.etcdctl.try_run(&["txn"], text);
    assert!(other.text.contains("FAILURE\n\n1\n"), "{}", other.text);
}

fn compaction(run: &Run<'_>) {
    run.etcdctl.check(&["put", "c", "1"], "OK\n");
    let newest = run.revision().to_string();
    run.says(&["compaction", "--physical", &newest], &format!("compacted revision {newest}"));
    run.refused(&["compaction", &newest], "required revision has been compacted");
}

fn watches(run: &Run<'_>) {
    let from = (run.revision() + 1).to_string();
    let watching = run.etcdctl.follow(&["watch", "w", "--prefix", "--prev-kv", "--rev", &from]);
    run.etcdctl.check(&["put", "w/1", "one"], "OK\n");
    run.etcdctl.check(&["del", "w/1"], "1\n");
    watching.expect_lines(&["PUT", "w/1", "one", "DELETE", "w/1", "one", "w/1", ""]);
}

fn leases(run: &Run<'_>) {
    let granted = run.says(&["lease", "grant", "100"], "granted with TTL(100s)");
    let id = granted.split_whitespace().nth(1).unwrap();
    run.etcdctl.check(&["put", "l", "1", "--lease", id], "OK\n");
    run.says(&["lease", "timetolive", id, "--keys"], "attached keys([l])");
    run.says(&["lease", "keep-alive", "--once", id], "keepalived with TTL(100)");
    run.says(&["lease", "list"], id);
    run.says(&["lease", "revoke", id], "revoked");
    run.etcdctl.check(&["get", "l"], "");
    run.says(&["lease", "timetolive", id], "already expired");
}

fn locks(run: &Run<'_>) {
    run.etcdctl.check(&["lock", "lock", "echo", "held"], "held\n");
}

fn elections(run: &Run<'_>) {
    let leader = run.etcdctl.follow(&["elect", "e", "me"]);
    let key = eventually("somebody leads", WITHIN, || {
        let keys = run.etcdctl.run(&["get", "e/", "--prefix", "--keys-only"]);
        (!keys.trim().is_empty()).then(|| keys.trim().to_owned())
    });
    leader.expect_lines(&[key.as_str(), "me"]);
    run.etcdctl.follow(&["elect", "--listen", "e"]).expect_lines(&[key.as_str(), "me"]);
}

fn members(run: &Run<'_>) {
    let members = || run.json(&["member", "list"])["members"].as_array().unwrap().clone();
    assert_eq!(members().len(), 3);
    run.says(&["member", "add", "x", "--peer-urls=http://127.0.0.1:1", "--learner"], "added");
    let added = members().into_iter().find(|one| one["isLearner"] == true).unwrap();
    let id = format!("{:x}", added["ID"].as_u64().unwrap());
    run.says(&["member", "update", &id, "--peer-urls=http://127.0.0.1:2"], "updated");
    run.refused(&["member", "promote", &id], "in sync with leader");
    run.says(&["member", "remove", &id], "removed");
    assert_eq!(members().len(), 3);
}

fn maintenance(run: &Run<'_>) {
    assert_eq!(run.says(&["endpoint", "health"], "is healthy").matches("is healthy").count(), 3);
    // etcdctl 3.4 forgets who it is when it asks for the members itself.
    let all: &[&str] = if run.secured { &[] } else { &["--cluster"] };
    run.says(&[&["endpoint", "status", "-w", "table"], all].concat(), "ENDPOINT");
    eventually("all members have the newest revision", WITHIN, || {
        let hashes = run.json(&[&["endpoint", "hashkv"], all].concat());
        let hash = |member: usize| hashes[member]["HashKV"]["hash"].clone();
        (hash(0) == hash(1) && hash(1) == hash(2)).then_some(())
    });
    run.etcdctl.check(&["alarm", "list"], "");
    run.etcdctl.check(&["alarm", "disarm"], "");
    run.says(&["defrag"], "Finished defragmenting etcd member");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let one = run.etcdctl.at(&run.cluster.endpoint(0));
    let saved = one.run(&["snapshot", "save", file.to_str().unwrap()]);
    assert!(saved.contains("Snapshot saved at"), "{saved}");
    move_leader(run);
    if !run.secured {
        mirror(run);
    }
    if long_form() && !run.secured {
        run.says(&["check", "perf"], "PASS");
        run.says(&["check", "datascale", "--load=s"], "PASS");
    }
}

fn downgrades(run: &Run<'_>) {
    let version = |version: &str| format!("success, cluster version {version}");
    run.refused(&["downgrade", "validate", "3.x"], "wrong downgrade target version format");
    run.refused(&["downgrade", "enable", "3.4"], "invalid downgrade target version");
    run.refused(&["downgrade", "cancel"], "no inflight downgrade job");
    run.says(&["downgrade", "validate", "3.5"], &version("3.6"));
    run.says(&["downgrade", "enable", "3.5"], &version("3.6"));
    // On whichever member answers.
    run.refused(&["downgrade", "validate", "3.4"], "cluster has a downgrade job in progress");
    run.says(&["downgrade", "cancel"], &version("3.5"));
    run.says(&["downgrade", "validate", "3.5"], &version("3.6"));
}

fn move_leader(run: &Run<'_>) {
    let statuses = run.json(&["endpoint", "status"]);
    let status = |member: usize| &statuses[member]["Status"];
    let leader = status(0)["leader"].as_u64().unwrap();
    let id = |member: usize| status(member)["header"]["member_id"].as_u64().unwrap();
    let target = (0..3).map(id).find(|id| *id != leader).unwrap();
    run.says(&["move-leader", &format!("{target:x}")], "Leadership transferred");
}

/// A mirror of some keys in the cluster itself, under another prefix.
fn mirror(run: &Run<'_>) {
    run.etcdctl.check(&["put", "from/a", "1"], "OK\n");
    let words = ["make-mirror", "--prefix=from/", "--dest-prefix=to/"];
    let to = run.cluster.endpoint(1);
    let _mirror = run.etcdctl.follow(&[&words[..], &[&to]].concat());
    eventually("the mirror has the key", WITHIN, || {
        (run.etcdctl.run(&["get", "to/a", "--print-value-only"]) == "1\n").then_some(())
    });
    run.etcdctl.check(&["put", "from/a", "2"], "OK\n");
    eventually("the mirror follows", WITHIN, || {
        (run.etcdctl.run(&["get", "to/a", "--print-value-only"]) == "2\n").then_some(())
    });
}

fn users_and_roles(run: &Run<'_>) {
    let etcdctl = &run.etcdctl;
    etcdctl.check(&["role", "add", "r"], "Role r created\n");
    let grant = ["role", "grant-permission", "r", "--prefix", "readwrite", "r/"];
    etcdctl.check(&grant, "Role r updated\n");
    run.says(&["role", "get", "r"], "[r/, r0) (prefix r/)");
    run.says(&["role", "list"], "r\n");
    etcdctl.check(&["user", "add", "u:secret"], "User u created\n");
    etcdctl.check(&["user", "add", "n", "--no-password"], "User n created\n");
    etcdctl.check(&["user", "grant-role", "u", "r"], "Role r is granted to user u\n");
    etcdctl.check(&["user", "get", "u"], "User: u\nRoles: r\n");
    run.says(&["user", "list"], "u\n");
    let changed = etcdctl.try_run(&["user", "passwd", "u", "--interactive=false"], "other\n");
    assert!(changed.text.contains("Password updated"), "{}", changed.text);
    if run.secured {
        let user = etcdctl.as_user("u:other");
        user.check(&["put", "r/1", "1"], "OK\n");
        let outside = user.try_run(&["put", "s", "1"], "");
        assert!(outside.text.contains("permission denied"), "{}", outside.text);
        run.refused(&["user", "delete", "root"], "invalid auth management");
    }
    run.says(&["role", "revoke-permission", "r", "--prefix", "r/"], "revoked");
    run.says(&["user", "revoke-role", "u", "r"], "revoked");
    for user in ["u", "n"] {
        etcdctl.check(&["user", "delete", user], &format!("User {user} deleted\n"));
    }
    etcdctl.check(&["role", "delete", "r"], "Role r deleted\n");
}
