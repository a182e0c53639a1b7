//! What the binary answers to a bad command line or a port in use: a line that names the value and
//! the remedy, and the documented exit code. And `dev`, from start to end and again.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use conformance::{Target, eventually};
use env::Clock;
use env::os::OsClock;

/// The binary under test; nothing if that is etcd, which answers in its own words.
fn binary() -> Option<std::path::PathBuf> {
    match Target::from_environment() {
        Target::Flotilla(binary) => Some(binary),
        Target::Etcd(_) => None,
    }
}

/// Runs to the end and compares the exit code; all words must be in what was said.
#[track_caller]
fn check(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn an_unknown_flag_and_a_bad_value_end_with_2() {
    let Some(binary) = binary() else { return };
    check(Command::new(&binary).args(["serve", "--no-such"]), 2, &["--no-such"]);
    check(Command::new(&binary).args(["serve", "--snapshot-count", "many"]), 2, &["many"]);
    check(Command::new(&binary).env("ETCD_SNAPSHOT_COUNT", "lots").arg("serve"), 2, &["lots"]);
    check(Command::new(&binary).arg("sail"), 2, &["sail"]);
    check(Command::new(&binary).arg("--version"), 0, &["etcd Version: 3.", "Flotilla Version:"]);
}

#[test]
fn an_option_that_makes_no_sense_ends_with_10() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let serve = |flags: &[&str]| {
        let mut command = Command::new(&binary);
        command.arg("serve").arg("--data-dir").arg(folder.path().join("d")).args(flags);
        command
    };
    check(&mut serve(&["--election-timeout", "1"]), 10, &["--election-timeout=1"]);
    check(
        &mut serve(&["--listen-client-urls", "localhost"]),
        10,
        &["localhost", "http://host:port"],
    );
    check(&mut serve(&["--initial-cluster", "other=http://127.0.0.1:1"]), 10, &["other"]);
    assert!(!folder.path().join("d").exists(), "a refused start leaves nothing behind");
}

#[test]
fn a_port_in_use_ends_with_13_and_leaves_nothing() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(&binary);
    command.arg("serve").arg("--data-dir").arg(folder.path().join("d"));
    command.args(["--listen-client-urls", &format!("http://{address}")]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:0"]);
    check(&mut command, 13, &[&address, "--listen-client-urls"]);
    assert!(!folder.path().join("d").exists(), "a refused start leaves nothing behind");
}

/// A member alone on free ports, in `folder`.
fn alone(binary: &Path, folder: &Path, name: &str, token: &str) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--name").arg(name).arg("--data-dir").arg(folder);
    command.args(["--initial-cluster-token", token]);
    command.arg("--initial-cluster").arg(format!("{name}=http://127.0.0.1:0"));
    for flag in ["--listen-client-urls", "--listen-peer-urls", "--initial-advertise-peer-urls"] {
        command.args([flag, "http://127.0.0.1:0"]);
    }
    command
}

/// Starts a member, waits until it serves, and kills it.
fn live_and_die(mut command: Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let is_ready = lines.map_while(Result::ok).any(|line| line.contains("ready to serve"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_ready, "the member never served");
}

#[test]
fn the_folder_of_another_member_or_cluster_ends_with_11_and_stays_as_it_was() {
    let Some(binary) = binary() else { return };
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("d");
    live_and_die(alone(&binary, &folder, "one", "mine"));
    check(&mut alone(&binary, &folder, "two", "mine"), 11, &["'one'", "--name=one"]);
    check(&mut alone(&binary, &folder, "one", "other"), 11, &["--initial-cluster-token"]);
    live_and_die(alone(&binary, &folder, "one", "mine"));
}

#[test]
fn a_folder_that_another_process_has_ends_with_12() {
    let Some(binary) = binary() else { return };
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("d");
    let mut first = alone(&binary, &folder, "one", "t").stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready to serve")));
    check(&mut alone(&binary, &folder, "one", "t"), 12, &[folder.to_str().unwrap()]);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_damaged_log_ends_with_14_and_names_the_file() {
    let Some(binary) = binary() else { return };
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("d");
    // Two lives, so that the first one's records are known to have been durable.
    live_and_die(alone(&binary, &folder, "one", "t"));
    live_and_die(alone(&binary, &folder, "one", "t"));
    let segment = std::fs::read_dir(folder.join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // Behind the segment's header, in the first records.
    bytes[100] ^= 0x40;
    std::fs::write(&segment, &bytes).unwrap();
    check(&mut alone(&binary, &folder, "one", "t"), 14, &[segment.to_str().unwrap()]);
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "damage is left for a person to see");
}

#[test]
fn a_full_disk_at_start_ends_with_16() {
    let Some(binary) = binary() else { return };
    let mount_point = tempfile::tempdir().unwrap();
    let path = mount_point.path();
    let mount = ["-t", "tmpfs", "-o", "size=1m", "none"];
    let mounted = Command::new("mount").args(mount).arg(path).stderr(Stdio::null()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED a full disk at start: this user may not mount a small one");
        return;
    }
    let mut command = alone(&binary, &path.join("d"), "one", "t");
    let output = command.output().unwrap();
    let unmounted = Command::new("umount").arg(path).status().unwrap();
    assert!(unmounted.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(16), "{said}");
    assert!(said.contains("free space"), "{said}");
}

#[test]
fn commands_without_a_server_end_with_3() {
    let Some(binary) = binary() else { return };
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ctl = ["ctl", "get", "x", "--endpoints", &unused];
    check(Command::new(&binary).args(ctl), 3, &[&unused, "--endpoints"]);
    let bench = ["bench", "put", "--secs", "1", "--endpoints", &unused];
    check(Command::new(&binary).args(bench), 3, &[&unused]);
    let ctl = ["ctl", "get", "x", "--endpoints", "nowhere"];
    check(Command::new(&binary).args(ctl), 2, &["nowhere", "host:port"]);
}

/// A `dev` that runs, and the lines that it prints.
struct Dev {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Dev {
    fn start(binary: &Path, port: u16, folder: &Path) -> Self {
        let mut command = Command::new(binary);
        command.args(["dev", "--port", &port.to_string(), "--data-dir"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("dev prints a line").unwrap()
    }

    /// Ctrl-C, and the end with code 0.
    fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let ended = eventually("dev ends after Ctrl-C", Duration::from_secs(10), || {
            self.child.try_wait().unwrap()
        });
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

#[test]
fn dev_starts_quickly_ends_cleanly_and_starts_again_with_its_data() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let port = conformance::free_ports_in_a_row(6);
    let endpoint = format!("127.0.0.1:{}", port + 1);
    let ctl = |words: &[&str], expect: &str| {
        let mut command = Command::new(&binary);
        check(command.arg("ctl").args(words).args(["--endpoints", &endpoint]), 0, &[expect]);
    };
    let clock = OsClock::new();
    let begun = clock.now();
    let mut dev = Dev::start(&binary, port, folder.path());
    let nodes: Vec<String> = (0..3).map(|_| dev.line()).collect();
    // The goal is two seconds; a debug build on a busy machine gets more before it is a failure.
    assert!(clock.now().since(begun) < Duration::from_secs(6), "dev took too long");
    assert_eq!(nodes.iter().filter(|line| line.contains("leader")).count(), 1, "{nodes:?}");
    assert!(
        nodes[2].starts_with("n3 ") && nodes[2].contains(&format!(":{}", port + 2)),
        "{nodes:?}"
    );
    assert!(dev.line().contains(&folder.path().display().to_string()));
    assert!(dev.line().contains("etcdctl --endpoints="));
    ctl(&["put", "kept", "value"], "OK");
    dev.end();

    let mut dev = Dev::start(&binary, port, folder.path());
    dev.line();
    ctl(&["get", "kept"], "value");
    dev.end();
}
