//! The foreign clients: where they are, and how to call them.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::clients::installed_folder;
use crate::{Cluster, ROOT, ROOT_PASSWORD, in_ci};

/// Says loudly that a test does not run because a tool is missing.
///
/// # Panics
/// In CI, where nothing may be missing.
pub fn skip(test: &str, missing: &str) {
    assert!(
        !in_ci(),
        "{test}: {missing} is missing, and in CI nothing may be; .ci/run installs it"
    );
    let line = format!("SKIPPED {test}: {missing} is missing; .ci/run says how to install it\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error can be written");
}

/// A program of this name in `PATH`.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists())
}

/// A Python that has etcd3: `CONFORMANCE_PYTHON`, the one that `.ci/run` makes, or the machine's.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [
        std::env::var_os("CONFORMANCE_PYTHON").map(PathBuf::from),
        Some(workspace.join("target/conformance-venv/bin/python")),
        find_in_path("python3"),
    ];
    candidates.into_iter().flatten().find(|python| {
        let tried = Command::new(python).args(["-c", "import etcd3"]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// Real `etcdctl`, for given endpoints.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    binary: PathBuf,
    endpoints: String,
    /// For every call.
    flags: Vec<String>,
    /// Versions before this one's became the default need to be told which API to speak.
    names_api: bool,
}

/// How a call of `etcdctl` ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether its exit code was 0.
    pub succeeded: bool,
    /// What it said, on both of its outputs.
    pub text: String,
}

impl Etcdctl {
    /// `etcdctl` for these endpoints, if it is installed.
    #[must_use]
    pub fn new(endpoints: &str) -> Option<Self> {
        let (endpoints, flags) = (endpoints.to_owned(), Vec::new());
        Some(Self { binary: find_in_path("etcdctl")?, endpoints, flags, names_api: true })
    }

    /// That of a minor version, if it is installed: the machine's, or one that
    /// `conformance/clients/install.sh` has built. It reaches nothing yet.
    #[must_use]
    pub fn of_version(version: &str) -> Option<Self> {
        let built = installed_folder().join(format!("etcdctl-{version}"));
        if built.exists() {
            let (endpoints, flags) = (String::new(), Vec::new());
            return Some(Self { binary: built, endpoints, flags, names_api: version == "3.5" });
        }
        let found = Self::new("")?;
        found.try_run(&["version"], "").text.contains(&format!(": {version}.")).then_some(found)
    }

    /// The same for a whole cluster, as root if that has users.
    #[must_use]
    pub fn to_reach(&self, cluster: &Cluster) -> Self {
        let mut flags = Vec::new();
        if let Some(ca) = cluster.ca_file() {
            flags.push(format!("--cacert={}", ca.display()));
            flags.push(format!("--user={ROOT}:{ROOT_PASSWORD}"));
        }
        Self { endpoints: cluster.endpoints_joined(), flags, ..self.clone() }
    }

    /// The same as another user, given as `name:password`.
    #[must_use]
    pub fn as_user(&self, user: &str) -> Self {
        let mut flags = self.flags.clone();
        flags.retain(|flag| !flag.starts_with("--user="));
        flags.push(format!("--user={user}"));
        Self { flags, ..self.clone() }
    }

    /// The same for other endpoints.
    #[must_use]
    pub fn at(&self, endpoints: &str) -> Self {
        Self { endpoints: endpoints.to_owned(), ..self.clone() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        if self.names_api {
            command.env("ETCDCTL_API", "3");
        }
        command.arg("--endpoints").arg(&self.endpoints).args(&self.flags).args(arguments);
        command
    }

    /// Calls it and takes any end.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn try_run(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcdctl was found and can be started");
        let mut stdin = child.stdin.take().expect("the input was asked to be a pipe");
        // etcdctl may end without reading its input.
        let _written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("a child can be waited for");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        Outcome { succeeded: output.status.success(), text: format!("{stdout}{stderr}") }
    }

    /// Calls it; it must succeed.
    ///
    /// # Panics
    /// It fails; the message is what it said.
    #[must_use]
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let outcome = self.try_run(arguments, "");
        assert!(outcome.succeeded, "etcdctl {arguments:?} failed: {}", outcome.text);
        outcome.text
    }

    /// Calls it and compares all that it said.
    ///
    /// # Panics
    /// It said something else.
    #[track_caller]
    pub fn check(&self, arguments: &[&str], expect: &str) {
        assert_eq!(self.run(arguments), expect, "etcdctl {arguments:?}");
    }

    /// Starts it and reads its lines as they come.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("etcdctl was found and can be started");
        let stdout = child.stdout.take().expect("the output was asked to be a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let read = BufReader::new(stdout).lines().map_while(Result::ok);
            // The receiver goes when the test ends, and then so does this thread.
            read.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Following { child, lines }
    }
}

/// A running `etcdctl`.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    /// The next lines, as many as are expected.
    ///
    /// # Panics
    /// They are other ones, or do not come within ten seconds.
    #[track_caller]
    pub fn expect_lines(&self, expect: &[&str]) {
        for line in expect {
            let got = self.lines.recv_timeout(Duration::from_secs(10));
            assert_eq!(got.as_deref(), Ok(*line), "of {expect:?}");
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}
