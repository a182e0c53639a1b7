//! A small replicated service: a sum and how many numbers went into it, in one file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use env::{Disk, OpenMode};
use host::{CommittedEntry, SnapshotSource, StateMachine};
use raft::EntryId;

/// What the service knows: where it is in the log, the sum, and the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) applied: EntryId,
    pub(crate) sum: u64,
    pub(crate) count: u64,
}

const STATE_BYTES: usize = 32;

impl State {
    fn to_bytes(self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        let numbers = [self.applied.term.0, self.applied.index.0, self.sum, self.count];
        for (chunk, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            chunk.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; STATE_BYTES]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            u64::from_le_bytes(number)
        };
        Self { applied: EntryId::new(number(0), number(1)), sum: number(2), count: number(3) }
    }
}

/// The service. A command is a number; the response is the state behind it.
pub(crate) struct Adder {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    state: State,
}

impl Adder {
    /// Opens what the last flush left.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&folder)?;
        let path = folder.join("state");
        let mut state = State::default();
        if disk.exists(&path)? {
            let mut bytes = [0; STATE_BYTES];
            disk.open(&path, OpenMode::ReadOnly)?.read_exact_at(&mut bytes, 0)?;
            state = State::from_bytes(&bytes);
        }
        Ok(Self { disk, folder, state })
    }
}

impl StateMachine for Adder {
    type Response = State;

    fn applied(&self) -> EntryId {
        self.state.applied
    }

    fn apply(&mut self, entries: &[CommittedEntry], responses: &mut Vec<State>) -> io::Result<()> {
        for entry in entries {
            self.state.applied = entry.id;
            if let Some(command) = &entry.command {
                let number = <[u8; 8]>::try_from(&command[..]).map_or(0, u64::from_le_bytes);
                self.state.sum = self.state.sum.wrapping_add(number);
                self.state.count += 1;
                responses.push(self.state);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<EntryId> {
        let (new, path) = (self.folder.join("new"), self.folder.join("state"));
        if self.disk.exists(&new)? {
            self.disk.remove_file(&new)?;
        }
        let file = self.disk.open(&new, OpenMode::CreateNew)?;
        file.write_all_at(&self.state.to_bytes(), 0)?;
        file.sync_data()?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_dir(&self.folder)?;
        Ok(self.state.applied)
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn SnapshotSource>> {
        Ok(Box::new(Pinned(self.state)))
    }

    fn restore(&mut self, last: EntryId, source: &mut dyn SnapshotSource) -> io::Result<()> {
        let mut bytes = [0; STATE_BYTES];
        source.read_exact_at(0, &mut bytes)?;
        self.state = State::from_bytes(&bytes);
        assert_eq!(self.state.applied, last);
        self.flush().map(|_| ())
    }
}

#[derive(Debug)]
struct Pinned(State);

impl SnapshotSource for Pinned {
    fn last(&self) -> EntryId {
        self.0.applied
    }

    fn len_bytes(&self) -> u64 {
        STATE_BYTES as u64
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        buffer.copy_from_slice(&self.0.to_bytes()[offset..offset + buffer.len()]);
        Ok(())
    }
}
