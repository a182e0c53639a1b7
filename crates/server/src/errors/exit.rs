//! Why a server ends.

use std::fmt;

use super::start::is_full;
use crate::join::{DATA_LOST_EXIT_CODE, write_data_lost};

/// Why a server that ran has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was asked to.
    Shutdown,
    /// The member was removed from the cluster.
    Removed,
    /// The cluster knows this member by a data folder that it has no more.
    DataLost {
        /// The member's name.
        name: String,
        /// The member.
        member_id: u64,
    },
    /// The member's keys are not those of the others, at this revision, so that it must not serve.
    Corrupt {
        /// The revision.
        revision: i64,
    },
    /// The machine failed in a way after which nothing may be acknowledged.
    Fatal(host::Fatal),
}

impl ExitReason {
    /// The code that the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Shutdown => 0,
            Self::Removed => 22,
            Self::DataLost { .. } => DATA_LOST_EXIT_CODE,
            Self::Corrupt { .. } => 24,
            Self::Fatal(host::Fatal::LogWrite { .. }) => 20,
            Self::Fatal(_) => 21,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shut down"),
            Self::Removed => f.write_str(
                "this member was removed from the cluster: delete its data folder; to have it back, \
                 add it again as a new member",
            ),
            Self::DataLost { name, member_id } => write_data_lost(f, name, *member_id),
            Self::Corrupt { revision } => write!(
                f,
                "the keys of this member are not those of the others at revision {revision}: it does not \
                 serve; keep its folder to look at, and replace it: flotilla ctl member replace; \
                 see docs/operating/alarms.md"
            ),
            Self::Fatal(fatal) => {
                let what_to_do = if is_full(fatal.kind()) {
                    "free space on this disk"
                } else {
                    "look at the disk and the kernel's log"
                };
                write!(
                    f,
                    "{fatal}: this member stops, since it can no longer promise what it \
                     acknowledges; {what_to_do} and start it again: it reads what is really there \
                     and fetches the rest from the other members"
                )
            }
        }
    }
}
