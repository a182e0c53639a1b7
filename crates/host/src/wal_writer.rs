//! The writer of the log: one thread, one fdatasync for all groups and workers.

use std::sync::Arc;

use env::Clock;
use wal::{Spares, Wal, WalWrite};

use crate::Fatal;
use crate::mailbox::Mailbox;
use crate::messages::{BulkItem, LogBatch, WorkerEvent};
use crate::status::Counters;

/// The stage between a worker that wants something durable and the disk.
pub(crate) struct WalWriter {
    pub(crate) wal: Wal,
    pub(crate) mailbox: Arc<Mailbox<LogBatch>>,
    pub(crate) workers: Vec<Arc<Mailbox<WorkerEvent>>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) batches: Vec<LogBatch>,
    pub(crate) bulk: Arc<Mailbox<BulkItem>>,
    pub(crate) spares: Spares,
    /// The bulk stage was asked for a spare segment and has not made it yet.
    pub(crate) spare_asked: bool,
}

impl WalWriter {
    /// Writes all that waits, syncs once, and tells the workers.
    ///
    /// # Errors
    /// The first failure is final: nothing that was in the batch, or comes later, is acknowledged.
    /// After a failed fsync the kernel may have dropped the pages and call the next one good, so
    /// there is no second try (Rebello et al., USENIX ATC 2020).
    pub(crate) fn step(&mut self) -> Result<(), Fatal> {
        debug_assert!(self.batches.is_empty(), "a step leaves no batch behind");
        self.mailbox.take_all(&mut self.batches);
        if self.batches.is_empty() {
            return Ok(());
        }
        let begun = self.clock.now();
        let (mut write_count, bytes_before) = (0, self.wal.appended_bytes());
        for batch in &self.batches {
            write_count += batch.writes.len() as u64;
            self.wal.append(&batch.writes).map_err(|error| Fatal::log_write(&error))?;
        }
        self.wal.sync().map_err(|error| Fatal::log_write(&error))?;
        let nanos = u64::try_from(self.clock.now().since(begun).as_nanos()).unwrap_or(u64::MAX);
        Counters::add(&self.counters.log_syncs, 1);
        self.counters.log_sync_times.add(nanos);
        Counters::add(&self.counters.log_writes, write_count);
        Counters::add(&self.counters.log_bytes, self.wal.appended_bytes() - bytes_before);
        for batch in self.batches.drain(..) {
            let durable = batch.writes.iter().map(number_of).collect();
            // A worker whose mailbox is closed has stopped and needs to know nothing.
            let _ = self.workers[batch.worker].push(WorkerEvent::Persisted(durable));
        }
        self.keep_a_spare();
        Ok(())
    }

    /// Nothing has come for a while.
    pub(crate) fn idle(&mut self) -> Result<(), Fatal> {
        self.wal.idle().map_err(|error| Fatal::log_write(&error))
    }

    /// Has the next segment made ahead of need: writing its zeros takes longer than many batches.
    fn keep_a_spare(&mut self) {
        let is_there = self.spares.ready_count() > 0;
        if !is_there && !self.spare_asked {
            // A closed mailbox means that the node is stopping.
            let _ = self.bulk.push(BulkItem::PrepareSpare);
        }
        self.spare_asked = !is_there;
    }
}

fn number_of(write: &WalWrite) -> (wal::GroupId, raft::PersistNumber) {
    (write.group, write.persist.number)
}
