//! Members come and go on a running cluster: by etcd's own client, and under load.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::process::Command;
use std::time::Duration;

use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::{MemberAddRequest, MemberListRequest, MemberRemoveRequest};
use conformance::load::{Load, lazy};
use conformance::{Cluster, ClusterPlan, Etcdctl, audit, eventually, pause, skip};
use tokio::runtime::Runtime;

const CLIENTS: u64 = 16;
const VALUE_BYTES: usize = 128;
const WITHIN: Duration = Duration::from_secs(60);
/// Between two changes, so that the clients meet each of them.
const BETWEEN: Duration = Duration::from_millis(300);
const EXIT_DATA_LOST: i32 = 19;
const EXIT_REMOVED: i32 = 22;

/// A cluster and the members of it that are there.
struct Bed {
    cluster: Cluster,
    present: Vec<usize>,
    runtime: Runtime,
}

impl Bed {
    fn start() -> Self {
        Self::start_plan(&ClusterPlan::default())
    }

    fn start_plan(plan: &ClusterPlan) -> Self {
        let runtime = Runtime::new().unwrap();
        Self { cluster: Cluster::start_plan(plan), present: vec![0, 1, 2], runtime }
    }

    fn endpoints(&self) -> Vec<String> {
        self.present.iter().map(|number| self.cluster.endpoint(*number)).collect()
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = self.cluster.target().ctl();
        command.arg("--endpoints").arg(self.endpoints().join(",")).args(arguments);
        let output = command.output().expect("the binary can be started");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "ctl {arguments:?}: {text}\n{}", self.cluster.logs());
        text
    }

    /// Adds a member by a command, starts it, and waits until it has caught up.
    fn join(&mut self, how: &[&str]) -> usize {
        let number = self.cluster.lay_joiner();
        let (name, url) = (self.cluster.name(number).to_owned(), self.cluster.peer_url(number));
        let mut words = vec!["member"];
        words.extend(how.iter().map(|word| if *word == "NAME" { name.as_str() } else { word }));
        words.extend(["--peer-urls", &url]);
        self.ctl(&words);
        let newest = self.runtime.block_on(audit::revision(&self.endpoints()[0]));
        self.cluster.spawn(number);
        let own = self.cluster.endpoint(number);
        eventually("the new member has the data", WITHIN, || {
            let at = self.runtime.block_on(audit::serializable_revision(&own));
            (at >= newest).then_some(())
        });
        self.present.push(number);
        number
    }

    fn members(&self) -> String {
        self.ctl(&["member", "list"])
    }

    fn wait_voter(&self, number: usize) {
        let name = self.cluster.name(number).to_owned();
        eventually("the new member votes", WITHIN, || {
            let own = self.cluster.endpoint(number);
            let status = self.runtime.block_on(audit::status(&own)).ok()?;
            (!status.is_learner && self.members().contains(&name)).then_some(())
        });
    }

    fn leader(&self) -> usize {
        let endpoints = self.endpoints();
        eventually("somebody leads", WITHIN, || {
            let at = self.runtime.block_on(audit::leader(&endpoints))?;
            Some(self.present[at])
        })
    }

    fn remove(&mut self, number: usize) {
        let name = self.cluster.name(number).to_owned();
        self.present.retain(|present| *present != number);
        self.ctl(&["member", "remove", &name]);
        assert_eq!(self.cluster.wait_exit(number), EXIT_REMOVED, "{}", self.cluster.logs());
    }
}

/// M10, M16: nothing that was acknowledged is lost while the members change, whoever leads.
#[test]
fn members_change_under_load_and_no_acknowledged_write_is_lost() {
    let mut bed = Bed::start();
    let endpoints = bed.endpoints();
    let load = bed.runtime.block_on(async { Load::start(&endpoints, CLIENTS, VALUE_BYTES, 7) });

    let learner = bed.join(&["add", "NAME", "--learner"]);
    let name = bed.cluster.name(learner).to_owned();
    eventually("the learner is in sync", WITHIN, || {
        let mut command = bed.cluster.target().ctl();
        command.arg("--endpoints").arg(endpoints.join(",")).args(["member", "promote", &name]);
        command.output().unwrap().status.success().then_some(())
    });
    bed.wait_voter(learner);
    pause(BETWEEN);
    bed.ctl(&["leader", "transfer", &name]);
    pause(BETWEEN);

    // The leader itself, and then another that leads after it.
    let leader = bed.leader();
    bed.remove(leader);
    pause(BETWEEN);
    let voter = bed.join(&["add", "NAME"]);
    bed.wait_voter(voter);
    pause(BETWEEN);
    bed.ctl(&["leader", "step-down"]);

    // A member that is gone for good gets its place taken in one step.
    let leader = bed.leader();
    let lost = *bed.present.iter().find(|number| **number != leader).unwrap();
    bed.cluster.kill(lost);
    bed.present.retain(|number| *number != lost);
    let old = bed.cluster.name(lost).to_owned();
    let newcomer = bed.join(&["replace", &old, "--no-wait", "--with", "NAME"]);
    bed.wait_voter(newcomer);
    eventually("the lost member has left", WITHIN, || {
        (!bed.members().contains(&format!(" {old} "))).then_some(())
    });
    pause(BETWEEN);

    let before = load.acknowledged();
    eventually("writes go on", WITHIN, || (load.acknowledged() > before + 50).then_some(()));
    let histories = bed.runtime.block_on(load.stop());
    bed.runtime.block_on(audit::audit(&bed.endpoints(), &histories)).unwrap();
    let acknowledged: usize = histories.iter().map(|history| history.acknowledged.len()).sum();
    let unknown: u64 = histories.iter().map(|history| history.unknown).sum();
    println!("{acknowledged} acknowledged, {unknown} not; in the end:\n{}", bed.members());
}

/// T57: a member answers for a change that the leader has made, and then tells of it.
#[test]
fn a_member_sees_the_change_that_it_has_answered() {
    const ROUNDS: usize = 30;
    let bed = Bed::start();
    let leader = bed.leader();
    let follower = bed.cluster.endpoint((leader + 1) % 3);
    bed.runtime.block_on(async {
        let mut cluster = ClusterClient::new(lazy(&follower));
        for round in 0..ROUNDS {
            let peer_ur_ls = vec![format!("http://127.0.0.1:{}", 1 + round)];
            let request = MemberAddRequest { peer_ur_ls, is_learner: true };
            let added = cluster.member_add(request).await.unwrap().into_inner();
            let id = added.member.unwrap().id;
            let list = MemberListRequest { linearizable: false };
            let listed = cluster.member_list(list).await.unwrap().into_inner().members;
            assert!(listed.iter().any(|member| member.id == id), "round {round}: {listed:?}");
            cluster.member_remove(MemberRemoveRequest { id }).await.unwrap();
            let listed = cluster.member_list(list).await.unwrap().into_inner().members;
            assert!(!listed.iter().any(|member| member.id == id), "round {round}: {listed:?}");
        }
    });
}

/// A member whose folder is gone would vote and acknowledge without its past.
#[test]
fn a_member_that_lost_its_disk_is_refused_and_comes_back_in_its_own_place() {
    let mut bed = Bed::start();
    bed.ctl(&["put", "k", "v"]);
    bed.cluster.kill(1);
    bed.cluster.wipe(1);
    bed.cluster.spawn(1);
    assert_eq!(bed.cluster.wait_exit(1), EXIT_DATA_LOST, "{}", bed.cluster.logs());
    bed.present = vec![0, 2];
    let newcomer = bed.join(&["replace", "n2", "--no-wait", "--with", "NAME"]);
    bed.wait_voter(newcomer);
    bed.ctl(&["put", "k", "w"]);
    let own = bed.cluster.endpoint(newcomer);
    let newest = bed.runtime.block_on(audit::revision(&own));
    bed.runtime.block_on(audit::compare_hashes(&bed.endpoints(), newest)).unwrap();
}

/// It finds nobody to ask, so it begins; the others find it out once they are there again.
#[test]
fn a_member_that_lost_its_disk_while_nobody_answered_ends_when_the_others_are_there() {
    let mut bed = Bed::start();
    bed.ctl(&["put", "k", "v"]);
    for number in 0..3 {
        bed.cluster.kill(number);
    }
    bed.cluster.wipe(1);
    bed.cluster.spawn(1);
    eventually("it runs, since nobody answers", WITHIN, || {
        bed.cluster.http_get(1, "/livez").filter(|page| page.contains("ok"))
    });
    bed.cluster.spawn(0);
    bed.cluster.spawn(2);
    assert_eq!(bed.cluster.wait_exit(1), EXIT_DATA_LOST, "{}", bed.cluster.logs());
    let log = bed.cluster.log(1);
    assert!(log.contains("member replace"), "it says what to do: {log}");
    bed.cluster.wait_healthy(0);
    bed.present = vec![0, 2];
    assert!(bed.ctl(&["get", "k"]).contains('v'));
    // Its folder is not empty now, and it is no better for it.
    bed.cluster.spawn(1);
    assert_eq!(bed.cluster.wait_exit(1), EXIT_DATA_LOST, "{}", bed.cluster.logs());
}

/// T55: the leader became a member behind the end of the log of one that was away, and behind the
/// first part of the log that a new one takes. Both have to answer it, or they never learn of it.
#[test]
fn a_leader_that_joined_late_is_answered_by_those_that_do_not_know_it() {
    // In all more than one AppendEntries carries.
    const VALUES: usize = 8;
    const BYTES: usize = 100_000;
    // Whether the others take the one that is gone for heard depends on who led, and on how long it
    // has been gone.
    let flags = vec!["--strict-reconfig-check=false".to_owned()];
    let mut bed = Bed::start_plan(&ClusterPlan { flags, ..ClusterPlan::default() });
    bed.cluster.kill(1);
    bed.present = vec![0, 2];
    for number in 0..VALUES {
        bed.ctl(&["put", &format!("k{number}"), &"v".repeat(BYTES)]);
    }
    let late = bed.join(&["add", "NAME"]);
    bed.wait_voter(late);
    let name = bed.cluster.name(late).to_owned();
    bed.ctl(&["leader", "transfer", &name]);
    assert_eq!(bed.leader(), late);

    let newest = bed.runtime.block_on(audit::revision(&bed.cluster.endpoint(late)));
    bed.cluster.spawn(1);
    let own = bed.cluster.endpoint(1);
    eventually("the one that was away has the data", WITHIN, || {
        (bed.runtime.block_on(audit::serializable_revision(&own)) >= newest).then_some(())
    });
    bed.present.push(1);
    bed.join(&["add", "NAME"]);
    bed.runtime.block_on(audit::compare_hashes(&bed.endpoints(), newest)).unwrap();
}

/// With two of three alone a record of their folders cannot be where every quorum finds it. That is
/// shown and no reason not to serve.
#[test]
fn a_founder_that_was_never_up_is_named_and_the_cluster_serves() {
    let plan = ClusterPlan { started: 2, ..ClusterPlan::default() };
    let mut cluster = Cluster::start_plan(&plan);
    let page = |cluster: &Cluster| cluster.http_get(0, "/readyz?verbose").unwrap_or_default();
    let ready = eventually("it is ready and says what it lacks", WITHIN, || {
        Some(page(&cluster)).filter(|page| page.contains("unguarded"))
    });
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    for name in ["n1(", "n2(", "n3("] {
        assert!(ready.contains(name), "{name}: {ready}");
    }
    cluster.spawn(2);
    cluster.wait_healthy(2);
    eventually("nothing is lacking any more", WITHIN, || {
        let page = page(&cluster);
        (page.starts_with("HTTP/1.1 200") && !page.contains("unguarded")).then_some(())
    });
}

/// The runbook of a majority that is gone for good (docs/operating/members.md).
#[test]
fn one_survivor_of_three_becomes_a_new_cluster() {
    const EXIT_IN_USE: Option<i32> = Some(12);
    const EXIT_NOTHING_TO_DO: Option<i32> = Some(10);
    let mut bed = Bed::start();
    bed.ctl(&["put", "k", "v"]);
    let own = bed.cluster.endpoint(0);
    let newest = bed.runtime.block_on(audit::revision(&own));
    eventually("it has the write", WITHIN, || {
        (bed.runtime.block_on(audit::serializable_revision(&own)) >= newest).then_some(())
    });
    let force = |bed: &Bed, flags: &[&str]| {
        let mut command = Command::new(bed.cluster.target().binary());
        command.arg("force-new-cluster").arg("--data-dir").arg(bed.cluster.data_dir(0)).args(flags);
        let output = command.output().expect("the binary can be started");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = force(&bed, &["--accept-data-loss"]);
    assert_eq!(code, EXIT_IN_USE, "it runs: {text}");
    for lost in [1, 2] {
        bed.cluster.kill(lost);
        bed.cluster.wipe(lost);
    }
    bed.cluster.kill(0);
    let (code, text) = force(&bed, &["--keep", "n7", "--accept-data-loss"]);
    assert_eq!(code, EXIT_NOTHING_TO_DO, "{text}");
    let (code, text) = force(&bed, &["--keep", "n2,n3", "--accept-data-loss"]);
    assert_eq!(code, EXIT_NOTHING_TO_DO, "nobody is lost: {text}");
    let (code, text) = force(&bed, &[]);
    assert!(code == Some(0) && text.contains("nothing was changed"), "{text}");
    assert!(text.contains("LOST"), "it says so loudly: {text}");
    let (code, text) = force(&bed, &["--accept-data-loss", "--json"]);
    assert!(code == Some(0) && text.starts_with("{\"done\":true"), "{text}");

    bed.cluster.restart(0);
    bed.present = vec![0];
    assert!(bed.ctl(&["get", "k"]).contains('v'));
    let members = bed.members();
    assert!(members.contains("n1") && !members.contains("n2"), "{members}");
    let newcomer = bed.join(&["add", "NAME"]);
    bed.wait_voter(newcomer);
    bed.ctl(&["put", "k", "w"]);
    let newest = bed.runtime.block_on(audit::revision(&own));
    bed.runtime.block_on(audit::compare_hashes(&bed.endpoints(), newest)).unwrap();
}

/// The mode of reads is a flag; its terms are the cluster's.
#[test]
fn reads_on_the_log_see_on_every_member_what_was_acknowledged() {
    let flags = ["--linearizable-reads", "lease-guard"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_plan(&ClusterPlan { flags, ..ClusterPlan::default() });
    let runtime = Runtime::new().unwrap();
    let bed = Bed { cluster, present: vec![0, 1, 2], runtime };
    eventually("the terms are the cluster's", WITHIN, || {
        (0..3).any(|number| bed.cluster.log(number).contains("terms of leases")).then_some(())
    });
    for number in 0..3 {
        bed.ctl(&["put", "k", &format!("v{number}")]);
        let mut command = bed.cluster.target().ctl();
        command.args(["--endpoints", &bed.cluster.endpoint(number), "get", "k"]);
        let output = command.output().expect("the binary can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("v{number}")), "a read sees what was acknowledged: {text}");
    }
}

/// etcd's runbook, with etcd's own client.
#[test]
fn etcdctl_changes_the_members() {
    let mut bed = Bed::start();
    let Some(etcdctl) = Etcdctl::new(&bed.endpoints().join(",")) else {
        return skip("etcdctl_changes_the_members", "etcdctl");
    };
    let id_of = |bed: &Bed, name: &str| {
        let list = etcdctl.run(&["member", "list"]);
        let line = list.lines().find(|line| line.contains(&format!(" {name},")));
        let line = line.unwrap_or_else(|| panic!("{name}: {list}\n{}", bed.cluster.logs()));
        line.split(',').next().unwrap().to_owned()
    };
    let number = bed.cluster.lay_joiner();
    let (name, url) = (bed.cluster.name(number).to_owned(), bed.cluster.peer_url(number));
    let peer_urls = format!("--peer-urls={url}");
    let added = etcdctl.run(&["member", "add", &name, "--learner", &peer_urls]);
    assert!(added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{added}");
    let list = etcdctl.run(&["member", "list"]);
    assert!(list.contains("unstarted"), "{list}");
    let refused = etcdctl.try_run(&["member", "add", "n9", "--learner", &peer_urls], "");
    assert!(!refused.succeeded, "{}", refused.text);

    bed.cluster.spawn(number);
    let own = bed.cluster.endpoint(number);
    let learner = etcdctl.at(&own);
    let id = eventually("the learner has told its name", WITHIN, || {
        let list = etcdctl.run(&["member", "list"]);
        let line = list.lines().find(|line| line.contains(&format!(" {name},")))?;
        line.split(',').next().map(str::to_owned)
    });
    let refused = learner.try_run(&["get", "k"], "");
    assert!(refused.text.contains("rpc not supported for learner"), "{}", refused.text);
    eventually("the learner is in sync", WITHIN, || {
        etcdctl.try_run(&["member", "promote", &id], "").succeeded.then_some(())
    });
    let refused = etcdctl.try_run(&["member", "promote", &id], "");
    assert!(refused.text.contains("can only promote a learner member"), "{}", refused.text);
    bed.present.push(number);
    bed.wait_voter(number);

    let leader = bed.leader();
    let at_leader = etcdctl.at(&bed.cluster.endpoint(leader));
    let moved = at_leader.run(&["move-leader", &id]);
    assert!(moved.contains("Leadership transferred"), "{moved}");
    let first = id_of(&bed, "n1");
    let same = format!("--peer-urls={}", bed.cluster.peer_url(0));
    let updated = etcdctl.run(&["member", "update", &first, &same]);
    assert!(updated.contains("updated in cluster"), "{updated}");
    // The leader removes itself at the wish of another.
    let removed = etcdctl.run(&["member", "remove", &id]);
    assert!(removed.contains("removed from cluster"), "{removed}");
    assert_eq!(bed.cluster.wait_exit(number), EXIT_REMOVED, "{}", bed.cluster.logs());
    let unknown = etcdctl.try_run(&["member", "remove", &id], "");
    assert!(unknown.text.contains("member not found"), "{}", unknown.text);
    etcdctl.check(&["put", "k", "v"], "OK\n");
}
