//! What a node is built from: all that survived the last crash.

use alloc::vec::Vec;

use crate::{Configuration, Entry, EntryId, HardState, LogIndex, SnapshotMark, Term};

/// The durable state as recovered, or [`Restored::bootstrap`] for a node that begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// Term and vote.
    pub hard_state: HardState,
    /// Where the log begins.
    pub mark: SnapshotMark,
    /// The recent tail of the log, ending at `last`; may begin later than behind the mark, may be
    /// empty. The node fetches what is missing.
    pub entries: Vec<Entry>,
    /// The terms of the log behind the mark: where each term begins, in order.
    pub term_runs: Vec<(LogIndex, Term)>,
    /// The last entry of the log; the mark's if the log is empty.
    pub last: EntryId,
    /// How far the state machine's durable state goes. Below the mark after a crash in the middle
    /// of installing a snapshot: then the node asks for the installation again.
    pub applied: LogIndex,
    /// Every configuration entry behind the mark, in order.
    pub configurations: Vec<(LogIndex, Configuration)>,
}

impl Restored {
    /// A node of a new group whose first members are known to all of them; with an empty
    /// configuration, a node that waits to be added to a group.
    #[must_use]
    pub fn bootstrap(configuration: Configuration) -> Self {
        Self { mark: SnapshotMark { last: EntryId::default(), configuration }, ..Self::default() }
    }
}
