//! `flotilla ctl` over TLS, with the flags and variables of `etcdctl`, and a server that is told
//! everything by a file.

use std::process::{Output, Stdio};

use conformance::{Cluster, ClusterPlan, ROOT, ROOT_PASSWORD};

fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn ctl_speaks_tls_as_etcdctl_does() {
    let plan = ClusterPlan { secured: true, ..ClusterPlan::default() };
    let cluster = Cluster::start_plan(&plan);
    let ca = cluster.ca_file().expect("it has certificates").to_str().expect("a plain name");
    let user = format!("{ROOT}:{ROOT_PASSWORD}");
    let endpoints = cluster.endpoints_joined();
    let ctl = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = cluster.target().ctl();
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
        command.output().expect("the binary is built")
    };
    let done = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = ctl(arguments, variables);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    // A scheme is not needed where a CA is given.
    let flags = ["--endpoints", &endpoints, "--cacert", ca, "--user", &user];
    done(&[&flags[..], &["put", "k", "v"]].concat(), &[]);
    let secure = format!("https://{}", cluster.endpoint(1));
    let variables =
        [("ETCDCTL_ENDPOINTS", &*secure), ("ETCDCTL_CACERT", ca), ("ETCDCTL_USER", &*user)];
    assert!(done(&["get", "k"], &variables).contains('v'));
    let without_check = ["--endpoints", &secure, "--insecure-skip-tls-verify", "--user", &user];
    assert!(done(&[&without_check[..], &["get", "k"]].concat(), &[]).contains('v'));
    let status = done(&[&flags[..], &["status"]].concat(), &[]);
    assert_eq!(status.matches("127.0.0.1:").count(), 3, "{status}");

    let bench = |arguments: &[&str]| {
        let mut command = cluster.target().bench();
        command.args(arguments).args(["--secs", "1", "--warmup-secs", "0", "--clients", "2"]);
        command.args(["--keys", "10", "--watchers", "2"]).stdin(Stdio::null());
        command.output().expect("the binary is built")
    };
    for workload in ["mixed", "watch"] {
        let output = bench(&[&flags[..], &[workload, "--json"]].concat());
        assert!(output.status.success(), "{workload}: {}", text(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(report["operations"].as_u64() > Some(0), "{report}");
        assert_eq!(report["failures"].as_u64(), Some(0), "{report}");
    }
    let nobody = bench(&["--endpoints", &endpoints, "--cacert", ca, "put"]);
    assert!(text(&nobody).contains("user name is empty"), "{}", text(&nobody));

    // Nobody is spoken to who is not who it should be.
    let stranger = ctl(&["--endpoints", &secure, "--user", &user, "get", "k"], &[]);
    assert!(matches!(stranger.status.code(), Some(2 | 3)), "{}", text(&stranger));
    let nothing = ctl(&["--endpoints", &secure, "--cacert", "/no/such", "get", "k"], &[]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing));
    assert!(text(&nothing).contains("/no/such"));
}

#[test]
fn a_member_is_told_everything_by_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = conformance::free_ports_in_a_row(2);
    let (client, peer) =
        (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", port + 1));
    let data = folder.path().join("data");
    let file = folder.path().join("etcd.yml");
    let write = |more: &str| {
        let text = format!(
            "name: from-a-file\ndata-dir: {}\nlisten-client-urls: {client}\n\
             advertise-client-urls: {client}\nlisten-peer-urls: {peer}\n\
             initial-advertise-peer-urls: {peer}\ninitial-cluster: from-a-file={peer}\n\
             heartbeat-interval: 50\nelection-timeout: 500\nlogger: zap\n\
             auto-compaction-retention: \"1\"\n{more}",
            data.display()
        );
        std::fs::write(&file, text).expect("a file");
    };
    let target = conformance::Target::flotilla();
    let serve = || {
        let mut command = target.command();
        // What the file does not say, the variable must not either.
        command.arg("--config-file").arg(&file).env("ETCD_NAME", "from-the-environment");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    write("no-such-key: 1\n");
    let refused = serve().output().expect("it ends");
    assert_eq!(refused.status.code(), Some(10), "{}", text(&refused));
    assert!(text(&refused).contains("no-such-key"));
    write("");
    let mut member = serve().spawn().expect("it starts");
    let endpoint = format!("127.0.0.1:{port}");
    let members = conformance::eventually("the member serves", READY, || {
        let output = target.ctl().args(["--endpoints", &endpoint, "members"]).output().ok()?;
        let text = text(&output);
        (output.status.success() && text.contains("started")).then_some(text)
    });
    assert!(members.contains("from-a-file"), "{members}");
    member.kill().expect("a child of ours");
    member.wait().expect("a child of ours");
}

const READY: std::time::Duration = std::time::Duration::from_secs(30);
