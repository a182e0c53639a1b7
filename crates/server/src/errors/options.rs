//! What can be wrong with an option.

use std::fmt;

use crate::url::UrlFault;

/// An option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError {
    /// A number out of its bounds.
    OutOfBounds {
        /// The flag.
        option: &'static str,
        /// What it says.
        value: u64,
        /// The least it may say.
        min: u64,
        /// The most it may say.
        max: u64,
    },
    /// A text that is no address.
    Url {
        /// The flag.
        option: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        fault: UrlFault,
    },
    /// A list that must not be empty.
    Empty {
        /// The flag.
        option: &'static str,
    },
    /// A member's name with letters that no file or log line should have.
    Name {
        /// The name.
        name: String,
    },
    /// A part of `initial-cluster` that is not `name=url`.
    ClusterEntry {
        /// The part.
        entry: String,
    },
    /// An address that `initial-cluster` gives to two members.
    SharedPeerUrl {
        /// The address.
        url: String,
    },
    /// `initial-cluster` does not have this member.
    NotInCluster {
        /// The member's name.
        name: String,
        /// The names it has.
        cluster: Vec<String>,
    },
    /// `initial-cluster` and `initial-advertise-peer-urls` disagree about this member.
    PeerUrlsDiffer {
        /// The member's name.
        name: String,
        /// What `initial-cluster` says.
        in_cluster: Vec<String>,
        /// What `initial-advertise-peer-urls` says.
        advertised: Vec<String>,
    },
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { option, value, min, max } => {
                write!(f, "--{option}={value} is out of bounds: choose from {min} to {max}")
            }
            Self::Url { option, value, fault } => write!(f, "--{option}: '{value}': {fault}"),
            Self::Empty { option } => write!(f, "--{option} is empty: give at least one value"),
            Self::Name { name } => write!(
                f,
                "--name={name:?} has control characters: choose letters, digits, '-' and '_'"
            ),
            Self::ClusterEntry { entry } => write!(
                f,
                "--initial-cluster: '{entry}' is no member: write name=http://host:port,…"
            ),
            Self::SharedPeerUrl { url } => write!(
                f,
                "--initial-cluster gives {url} to two members: each needs an address of its own"
            ),
            Self::NotInCluster { name, cluster } => write!(
                f,
                "--name={name} is not in --initial-cluster, which has {}: start with one of these \
                 names, or add {name}=http://host:port",
                cluster.join(", ")
            ),
            Self::PeerUrlsDiffer { name, in_cluster, advertised } => write!(
                f,
                "--initial-cluster says that {name} is at {}, --initial-advertise-peer-urls says \
                 {}: make them equal",
                in_cluster.join(","),
                advertised.join(",")
            ),
        }
    }
}

impl std::error::Error for OptionsError {}
