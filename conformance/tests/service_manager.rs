//! What a service manager and an operator's journal hear of a member: when it is ready, who changed
//! what, and what is open that should not be.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use conformance::{Cluster, Etcdctl, Target, skip};

const SECRET: &str = "swordfish-7";
const WITHIN: Duration = Duration::from_secs(60);

/// A member alone, on free ports, that tells a service manager when it is ready.
fn start(folder: &Path, socket: &Path) -> Option<Child> {
    let Target::Flotilla(binary) = Target::from_environment() else { return None };
    let mut command = Command::new(binary);
    command.arg("serve").arg("--data-dir").arg(folder).arg("--name=n1");
    command.arg("--initial-cluster=n1=http://127.0.0.1:0");
    for flag in ["--listen-client-urls", "--listen-peer-urls", "--initial-advertise-peer-urls"] {
        command.args([flag, "http://127.0.0.1:0"]);
    }
    command.env("NOTIFY_SOCKET", socket).stdin(Stdio::null()).stderr(Stdio::piped());
    Some(command.spawn().unwrap())
}

#[test]
fn a_service_manager_is_told_when_the_member_is_ready() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, socket) = (parent.path().join("d"), parent.path().join("notify"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(WITHIN)).unwrap();
    let Some(mut member) = start(&folder, &socket) else { return };
    let mut word = [0; 64];
    let length = manager.recv(&mut word);
    member.kill().unwrap();
    let log = String::from_utf8(member.wait_with_output().unwrap().stderr).unwrap();
    assert_eq!(&word[..length.unwrap()], b"READY=1\n", "{log}");
    assert!(log.contains("ready to serve"), "{log}");
    assert!(log.contains("chmod 700"), "a folder that others may look into is told: {log}");
}

/// The password is in no log and in no file of a member.
fn nothing_secret_is_written(cluster: &Cluster) {
    let mut folders: Vec<PathBuf> = (0..3).map(|number| cluster.data_dir(number)).collect();
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let is_in = bytes.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
            assert!(!is_in, "the password is in {}", path.display());
            files += 1;
        }
    }
    assert!(files > 9, "{files} files are no three members");
    assert!(!cluster.logs().contains(SECRET), "the password is in a log");
}

#[test]
fn changes_of_the_cluster_are_in_the_log_with_who_asked() {
    let cluster = Cluster::start();
    let Some(etcdctl) = Etcdctl::new(&cluster.endpoint(0)) else {
        return skip("changes_of_the_cluster_are_in_the_log_with_who_asked", "etcdctl");
    };
    etcdctl.check(&["user", "add", "root:swordfish-7"], "User root created\n");
    etcdctl.check(&["user", "grant-role", "root", "root"], "Role root is granted to user root\n");
    etcdctl.check(&["auth", "enable"], "Authentication Enabled\n");
    let root = etcdctl.as_user(&format!("root:{SECRET}"));
    let list = root.run(&["member", "list"]);
    let id = list.split(',').next().unwrap();
    let added = root.run(&["member", "add", "n9", "--learner", "--peer-urls=http://127.0.0.1:1"]);
    let learner = added.split_whitespace().nth(1).unwrap();
    let removed = root.run(&["member", "remove", learner]);
    assert!(removed.contains("removed from cluster"), "{removed}");
    let refused = etcdctl.try_run(&["member", "remove", id], "");
    assert!(!refused.succeeded, "{}", refused.text);
    let unknown = root.try_run(&["member", "remove", "9"], "");
    assert!(!unknown.succeeded, "{}", unknown.text);

    etcdctl.as_user(&format!("root:{SECRET}")).check(&["put", "k", "v"], "OK\n");
    nothing_secret_is_written(&cluster);
    let log = cluster.log(0);
    for line in [
        format!("learner {learner} added at http://127.0.0.1:1 by=\"root\""),
        format!("member {learner} removed by=\"root\""),
        "refused: member 9 removed by=\"root\"".to_owned(),
    ] {
        assert!(log.contains(&line), "{line} is not in {log}");
    }
}
