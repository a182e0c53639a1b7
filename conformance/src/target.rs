//! Which server is under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools::find_in_path;

/// The server under test and its binary.
#[derive(Clone, Debug)]
pub enum Target {
    /// `flotilla serve`.
    Flotilla(PathBuf),
    /// The `etcd` of this machine.
    Etcd(PathBuf),
}

impl Target {
    /// What the environment asks for; Flotilla unless `CONFORMANCE_TARGET` says etcd.
    ///
    /// # Panics
    /// The binary is not there; the message says how to make it.
    #[must_use]
    pub fn from_environment() -> Self {
        let chosen = std::env::var_os("CONFORMANCE_BINARY").map(PathBuf::from);
        match std::env::var("CONFORMANCE_TARGET").as_deref() {
            Ok("etcd") => {
                let found = chosen.or_else(|| find_in_path("etcd"));
                Self::Etcd(
                    found.expect("CONFORMANCE_TARGET=etcd needs Debian's package etcd-server"),
                )
            }
            Ok("flotilla") | Err(_) => Self::Flotilla(chosen.unwrap_or_else(built_binary)),
            Ok(other) => panic!("CONFORMANCE_TARGET={other:?}: write flotilla or etcd"),
        }
    }

    /// The `flotilla` of this build.
    ///
    /// # Panics
    /// It is not built; the message says how to.
    #[must_use]
    pub fn flotilla() -> Self {
        Self::Flotilla(built_binary())
    }

    /// The `etcd` of this machine, if there is one.
    #[must_use]
    pub fn etcd() -> Option<Self> {
        find_in_path("etcd").map(Self::Etcd)
    }

    /// The program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        match self {
            Self::Flotilla(binary) | Self::Etcd(binary) => binary,
        }
    }

    /// Whether it is etcd.
    #[must_use]
    pub fn is_etcd(&self) -> bool {
        matches!(self, Self::Etcd(_))
    }

    /// A command that starts a member; flags are to follow.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Flotilla(binary) => {
                let mut command = Command::new(binary);
                command.arg("serve");
                command
            }
            Self::Etcd(binary) => Command::new(binary),
        }
    }

    /// `flotilla ctl`; arguments are to follow. It works against both.
    ///
    /// # Panics
    /// It is not built.
    #[must_use]
    pub fn ctl(&self) -> Command {
        let mut command = self.tools();
        command.arg("ctl");
        command
    }

    /// `flotilla bench`.
    #[must_use]
    pub fn bench(&self) -> Command {
        let mut command = self.tools();
        command.arg("bench");
        command
    }

    fn tools(&self) -> Command {
        Command::new(match self {
            Self::Flotilla(binary) => binary.clone(),
            Self::Etcd(_) => built_binary(),
        })
    }
}

/// The `flotilla` of the profile that this test was built in: test programs lie in
/// `target/<profile>/deps`, the binary one folder up.
fn built_binary() -> PathBuf {
    let own = std::env::current_exe().expect("a process can name its own program");
    let profile = own.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default();
    let binary = profile.join("flotilla");
    assert!(
        binary.exists(),
        "{} is not built: run `cargo xtask conformance`, which builds it first",
        binary.display()
    );
    binary
}
