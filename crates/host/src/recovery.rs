//! The last way out of a lost majority, on a log that nobody runs: see
//! [`Restored::force_survivors`](raft::Restored::force_survivors) for what it costs.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use env::Entropy;
use raft::{Configuration, EntryId, NodeId, Payload, RecoveryError, Restored};
use wal::{GroupId, RecoveredGroup, Wal, WalWrite};

/// What forcing survivors leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForcedSurvivors {
    /// Where this node's log ended. Whatever the lost members had beyond it is gone.
    pub last: EntryId,
    /// The members before.
    pub before: Configuration,
    /// The members from now on.
    pub after: Configuration,
}

/// Why it was not done.
#[derive(Debug)]
#[non_exhaustive]
pub enum ForceError {
    /// The group is in no state to be recovered in this way.
    Refused(RecoveryError),
    /// The disk.
    Io(io::Error),
}

impl fmt::Display for ForceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Io(error) => write!(f, "writing the Raft log: {error}"),
        }
    }
}

impl std::error::Error for ForceError {}

/// Makes `survivors` the only members of a group, in the log of a node that is stopped; nothing is
/// written unless `write`. **All that only the others had is lost**, and if some of them live and
/// have a majority, there are two groups from then on.
///
/// # Errors
/// Nothing was changed, or the disk failed in the middle; the log then has all of it or nothing.
pub fn force_survivors(
    (wal, group): (&mut Wal, GroupId),
    recovered: RecoveredGroup,
    (own, survivors): (NodeId, &BTreeSet<NodeId>),
    entropy: &dyn Entropy,
    write: bool,
) -> Result<ForcedSurvivors, ForceError> {
    let newest = recovered.configurations.last().map(|(_, configuration)| configuration.clone());
    let before = newest.unwrap_or_else(|| recovered.mark.configuration.clone());
    let last = recovered.last;
    let restored = Restored {
        hard_state: recovered.hard_state,
        applied: recovered.mark.last.index,
        mark: recovered.mark,
        entries: recovered.entries,
        term_runs: recovered.term_runs,
        last,
        configurations: recovered.configurations,
    };
    // The lower half, which is as random as the upper.
    let nonce = u32::try_from(entropy.next_u64() & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let persist = restored.force_survivors(own, survivors, nonce).map_err(ForceError::Refused)?;
    let forced = persist.entries.iter().find_map(|entry| match &entry.payload {
        Payload::Configuration(configuration) => Some(configuration.as_ref().clone()),
        Payload::Noop
        | Payload::Lease(_)
        | Payload::Command(_)
        | Payload::Keyed(_)
        | Payload::Withheld => None,
    });
    let after = forced.expect("the one entry of a recovery is a configuration");
    if write {
        let written = wal.append(&[WalWrite { group, persist }]).and_then(|()| wal.sync());
        written.map_err(ForceError::Io)?;
    }
    Ok(ForcedSurvivors { last, before, after })
}
