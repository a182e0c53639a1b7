//! The programs of ours for foreign clients, which `conformance/clients/install.sh` installs, and
//! the table of what each of them was seen doing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::secured::{ROOT, ROOT_PASSWORD};
use crate::{Cluster, python};

/// A foreign client for which there is a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignClient {
    /// `go.etcd.io/etcd/client/v3`.
    Go,
    /// `io.etcd:jetcd-core`.
    Java,
    /// npm's `etcd3`.
    Node,
    /// PyPI's `etcd3`.
    Python,
}

impl ForeignClient {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "Go clientv3",
            Self::Java => "Java jetcd",
            Self::Node => "node etcd3",
            Self::Python => "Python etcd3",
        }
    }

    /// Its program, if it is installed; the cluster's address is to follow.
    #[must_use]
    pub fn command(self) -> Option<Command> {
        let there = |path: PathBuf| path.exists().then_some(path);
        let source = |name: &str| clients_folder().join(name);
        let installed = installed_folder();
        match self {
            Self::Go => Some(Command::new(there(installed.join("clientv3"))?)),
            Self::Java => {
                let jars = there(installed.join("jars"))?;
                let mut command = Command::new("java");
                // It lives for seconds: the optimising compiler would only take the processors.
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
                command.arg(format!("{0}:{0}/*", jars.display())).arg("JetcdProgram");
                there(jars.join("JetcdProgram.class")).map(|_| command)
            }
            Self::Node => {
                let mut command = Command::new("node");
                command.arg(source("node/etcd3_program.js"));
                command.env("CONFORMANCE_NODE_MODULES", installed.join("node"));
                there(installed.join("node/node_modules/etcd3")).map(|_| command)
            }
            Self::Python => {
                let mut command = Command::new(python()?);
                command.arg(source("python/etcd3_script.py"));
                // The generated code of etcd3 0.12 needs the old way in some builds of protobuf.
                command.env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python");
                Some(command)
            }
        }
    }

    /// Runs the program against a cluster; the features that it told.
    ///
    /// # Panics
    /// It fails; the message is what it said.
    #[must_use]
    pub fn run(self, mut command: Command, cluster: &Cluster) -> Vec<String> {
        command.arg(cluster.endpoints_joined());
        if let Some(ca) = cluster.ca_file() {
            command.arg(ca).args([ROOT, ROOT_PASSWORD]);
        }
        let output = command.output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let name = self.name();
        let of = if cluster.ca_file().is_some() { "with TLS and authentication" } else { "plain" };
        assert!(output.status.success(), "{name}, {of}: {}\n{told}{errors}", output.status);
        let features = told.lines().filter_map(|line| line.strip_prefix("ok "));
        features.map(str::to_owned).collect()
    }
}

/// Writes a line of the table that `cargo xtask conformance` prints at its end: this client was
/// seen doing this, on a cluster with TLS and authentication or on one without.
///
/// # Panics
/// The file that the environment names cannot be written.
pub fn record(client: &str, secured: bool, feature: &str) {
    let Some(file) = std::env::var_os("CONFORMANCE_TABLE") else { return };
    let kind = if secured { "secured" } else { "plain" };
    let opened = OpenOptions::new().create(true).append(true).open(file);
    let mut file = opened.expect("the file of the table can be opened");
    let line = format!("{client}\t{kind}\t{feature}\n");
    file.write_all(line.as_bytes()).expect("the file of the table can be written");
}

/// Where the programs lie.
fn clients_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where the script puts what it installs.
pub(crate) fn installed_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance-clients")
}
