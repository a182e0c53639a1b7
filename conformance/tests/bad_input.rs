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
