//! What a replicated service implements: [`StateMachine`].

use std::fmt::Debug;
use std::io;

use bytes::Bytes;
use raft::EntryId;

/// A committed entry on its way to the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its place in the log.
    pub id: EntryId,
    /// The command, or `None` for an entry of the protocol's own, which only moves the applied
    /// index on.
    pub command: Option<Bytes>,
}

/// A replicated service. All replicas apply the same entries in the same order, so `apply` must be
/// a pure function of the state and the entry: no clock, no dice, no state that only one replica
/// has.
pub trait StateMachine: Send + 'static {
    /// What applying one command answers to its client.
    type Response: Send + 'static;

    /// The last entry that this state includes; the default before the first.
    ///
    /// After opening it is what the disk holds: the log behind it is applied again.
    fn applied(&self) -> EntryId;

    /// Applies a batch in order and pushes one response for each entry that has a command.
    ///
    /// # Errors
    /// Only what the machine's disk does; the node then stops. A command that makes no sense has a
    /// response that says so, the same on every replica.
    fn apply(
        &mut self,
        entries: &[CommittedEntry],
        responses: &mut Vec<Self::Response>,
    ) -> io::Result<()>;

    /// Makes all that is applied durable and returns where that is. The log is cut only behind it.
    ///
    /// # Errors
    /// What the disk said; the node then stops.
    fn flush(&mut self) -> io::Result<EntryId>;

    /// Does a bounded piece of work that can wait, such as giving back space, and says whether
    /// there is more. Called while nothing waits to be applied; what it does must not change any
    /// answer.
    ///
    /// # Errors
    /// What the disk said; the node then stops.
    fn maintain(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    /// The node stops in order: whatever makes the next start quick.
    ///
    /// # Errors
    /// What the disk said.
    fn shutdown(&mut self) -> io::Result<()> {
        self.flush().map(|_| ())
    }

    /// Pins the state as of [`StateMachine::applied`]. Quick; the bytes are read later, by another
    /// thread, while apply goes on.
    ///
    /// # Errors
    /// What the disk said; the node then stops.
    fn snapshot(&mut self) -> io::Result<Box<dyn SnapshotSource>>;

    /// Reads a snapshot that another replica sent and sees that it is as it was written. Called by
    /// another thread while apply goes on, before anybody relies on the snapshot: the transfer
    /// vouches for the way, and not for the disk that the bytes were read from.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a damaged one, which is then not taken.
    fn check_snapshot(source: &mut dyn SnapshotSource) -> io::Result<()>
    where
        Self: Sized,
    {
        let _ = source;
        Ok(())
    }

    /// Replaces the state by a snapshot that another replica took at `last`, and makes it durable.
    /// A crash in the middle leaves the old state or the new one, or a state whose
    /// [`StateMachine::applied`] is below `last`: then it is called again with the same bytes.
    ///
    /// # Errors
    /// What the disk said, or [`io::ErrorKind::InvalidData`] for bytes that are no snapshot.
    fn restore(&mut self, last: EntryId, source: &mut dyn SnapshotSource) -> io::Result<()>;
}

/// The bytes of a snapshot, read in any order, so that a transfer can resume.
pub trait SnapshotSource: Send + Debug {
    /// The last entry that the snapshot includes.
    fn last(&self) -> EntryId;
    /// Its length in bytes; fixed.
    fn len_bytes(&self) -> u64;
    /// Fills `buffer` from `offset`; the caller stays within [`SnapshotSource::len_bytes`].
    ///
    /// # Errors
    /// What the disk said.
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}
