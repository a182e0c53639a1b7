//! The host in a process: a thread for each stage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use env::{Clock, Moment};
use wal::GroupId;

use crate::applier::Applier;
use crate::bulk::Bulk;
use crate::mailbox::Mailbox;
use crate::messages::{ApplyItem, BulkItem, LogBatch, WorkerEvent};
use crate::status::Counters;
use crate::wal_writer::WalWriter;
use crate::worker::Worker;
use crate::{
    CountersView, Fatal, GroupHandle, HostOptions, Receiver, Stages, StartError, StateMachine,
};

/// A running host.
pub struct Host<R> {
    handles: BTreeMap<GroupId, GroupHandle<R>>,
    receiver: Receiver,
    counters: Arc<Counters>,
    workers: Vec<Arc<Mailbox<WorkerEvent>>>,
    log: Arc<Mailbox<LogBatch>>,
    applier: Arc<Mailbox<ApplyItem>>,
    bulk: Arc<Mailbox<BulkItem>>,
    threads: Threads,
}

#[derive(Default)]
struct Threads {
    workers: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

impl<R> fmt::Debug for Host<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

/// Tells of the first fault, once, and ends the node's right to acknowledge anything.
#[derive(Clone)]
struct Doom {
    told: Arc<AtomicBool>,
    options: Arc<HostOptions>,
}

impl Doom {
    fn befalls(&self, fatal: Fatal) {
        if !self.told.swap(true, Ordering::AcqRel) {
            tracing::error!(%fatal, "this node stops and acknowledges nothing any more");
            (self.options.on_fatal)(fatal);
        }
    }

    fn has_come(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Lets a stage run so that its panic ends the node as well: the other stages would go on
    /// acknowledging for one that is not there any more.
    fn watch(
        &self,
        stage: &'static str,
        run: impl FnOnce(&Self) + Send + 'static,
    ) -> impl FnOnce() + Send + 'static {
        let doom = self.clone();
        move || {
            let sentinel = Sentinel { doom, stage };
            run(&sentinel.doom);
        }
    }
}

/// Sees a stage end in a panic.
struct Sentinel {
    doom: Doom,
    stage: &'static str,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.doom.befalls(Fatal::Panic { stage: self.stage });
        }
    }
}

impl<R: Send + 'static> Host<R> {
    /// Gives each stage its thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start<S: StateMachine<Response = R>>(stages: Stages<S>) -> Result<Self, StartError> {
        let doom = Doom { told: Arc::default(), options: Arc::clone(&stages.options) };
        let mut host = Self {
            receiver: stages.receiver(),
            handles: stages.handles,
            counters: stages.counters,
            workers: stages.workers.iter().map(|worker| Arc::clone(&worker.mailbox)).collect(),
            log: Arc::clone(&stages.log_writer.mailbox),
            applier: Arc::clone(&stages.applier.mailbox),
            bulk: Arc::clone(&stages.bulk.mailbox),
            threads: Threads::default(),
        };
        let threads = &mut host.threads;
        for mut worker in stages.workers {
            let name = format!("worker-{}", worker.number);
            let run = doom.watch("worker", move |doom| run_worker(&mut worker, doom));
            threads.workers.push(spawn(name, run)?);
        }
        let (mut log, mut applier, mut bulk) = (stages.log_writer, stages.applier, stages.bulk);
        let run = doom.watch("log", move |doom| run_log(&mut log, doom));
        threads.others.push(spawn("log".into(), run)?);
        let run = doom.watch("apply", move |doom| run_applier(&mut applier, doom));
        threads.others.push(spawn("apply".into(), run)?);
        let run = doom.watch("bulk", move |doom| run_bulk(&mut bulk, doom));
        threads.others.push(spawn("bulk".into(), run)?);
        Ok(host)
    }

    /// The door to a group, or `None` if this host does not have it.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<GroupHandle<R>> {
        self.handles.get(&id).cloned()
    }

    /// Where frames from peers go in.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        self.receiver.clone()
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> CountersView {
        self.counters.view()
    }

    /// Ends all threads: clients that wait are told, what was handed to the log is written, and the
    /// state machines are flushed so that the next start is quick. Dropping does the same.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl<R> Drop for Host<R> {
    fn drop(&mut self) {
        self.workers.iter().for_each(|mailbox| mailbox.close());
        join(&mut self.threads.workers);
        self.log.close();
        self.applier.close();
        self.bulk.close();
        join(&mut self.threads.others);
        self.receiver.peers().close();
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    Ok(Builder::new().name(name).spawn(run)?)
}

fn join(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        if thread.join().is_err() {
            tracing::error!("a thread of the host panicked");
        }
    }
}

fn until(clock: &dyn Clock, deadline: Moment) -> Duration {
    deadline.since(clock.now())
}

fn run_worker(worker: &mut Worker, doom: &Doom) {
    worker.step();
    while !worker.mailbox.is_closed() {
        let timeout = until(&*worker.clock, worker.next_deadline());
        if worker.touched.is_empty() {
            worker.mailbox.wait(Some(timeout), worker.patience());
        }
        // After a fault nothing may be acknowledged, and a worker has nothing else to do.
        if !doom.has_come() {
            worker.step();
        } else if !worker.mailbox.is_closed() {
            worker.mailbox.close();
        }
    }
    worker.close();
}

/// The log is idle once nothing has come for this long.
const LOG_IDLE_AFTER: Duration = Duration::from_millis(100);

fn run_log(writer: &mut WalWriter, doom: &Doom) {
    let mut idle = false;
    loop {
        writer.mailbox.wait((!idle).then_some(LOG_IDLE_AFTER), None);
        idle = writer.mailbox.is_empty();
        // A log without work notes that all of it is durable: then damage to its last records is
        // told from a torn tail.
        let done = if idle { writer.idle() } else { writer.step() };
        if let Err(fatal) = done {
            return doom.befalls(fatal);
        }
        if writer.mailbox.is_closed() && writer.mailbox.is_empty() {
            return;
        }
    }
}

fn run_applier<S: StateMachine>(applier: &mut Applier<S>, doom: &Doom) {
    loop {
        if applier.to_maintain.is_empty() {
            applier.mailbox.wait(None, None);
        }
        if doom.has_come() {
            return;
        }
        if let Err(fatal) = applier.step() {
            return doom.befalls(fatal);
        }
        if applier.mailbox.is_closed() && applier.mailbox.is_empty() {
            break;
        }
    }
    if let Err(fatal) = applier.shutdown() {
        doom.befalls(fatal);
    }
}

fn run_bulk(bulk: &mut Bulk, doom: &Doom) {
    while !bulk.mailbox.is_closed() && !doom.has_come() {
        let timeout = bulk.next_deadline().map(|deadline| until(&*bulk.clock, deadline));
        bulk.mailbox.wait(timeout, None);
        if let Err(fatal) = bulk.step() {
            return doom.befalls(fatal);
        }
    }
}
