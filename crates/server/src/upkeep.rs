//! What runs for a member beside its answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::compactor::{self, AutoCompaction};
use crate::corruption::{self, Finding};
use crate::errors::ExitReason;
use crate::lessor_task;
use crate::member::Member;
use crate::options::{LinearizableReads, ServerOptions};
use crate::peer_probe;
use crate::peering::Peering;
use crate::ready;
use crate::segment_task;
use crate::serving::Serving;
use crate::tls::{self, Reload};

/// Why the process has to end, once it has to.
pub(crate) type Ending = Arc<watch::Sender<Option<ExitReason>>>;

/// What a member does beside answering.
pub(crate) struct Upkeep {
    auto_compaction: Option<AutoCompaction>,
    checks_at_start: bool,
    check_interval: Option<Duration>,
    linearizable_reads: Option<LinearizableReads>,
    /// What is read again when it changes.
    files: Vec<Arc<dyn Reload>>,
}

impl Upkeep {
    pub(crate) fn new(options: &ServerOptions, serving: &Serving, peering: &Peering) -> Self {
        let check_interval = Duration::from_millis(options.corrupt_check_time_ms);
        Self {
            auto_compaction: options.auto_compaction,
            checks_at_start: options.initial_corrupt_check,
            linearizable_reads: options.linearizable_reads,
            check_interval: (!check_interval.is_zero()).then_some(check_interval),
            files: serving.credentials().into_iter().chain(peering.credentials()).collect(),
        }
    }

    pub(crate) fn start(self, member: &Arc<Member>, ending: &Ending) -> Vec<JoinHandle<()>> {
        let mut tasks = vec![
            tokio::spawn(lessor_task::run(Arc::clone(member))),
            tokio::spawn(segment_task::run(Arc::clone(member))),
            tokio::spawn(peer_probe::run(Arc::clone(member))),
        ];
        let (starting, ending) = (Arc::clone(member), Arc::clone(ending));
        tasks.push(tokio::spawn(async move {
            if self.checks_at_start
                && let Finding::Differs { revision } = corruption::check_at_start(&starting).await
            {
                return end(&ending, ExitReason::Corrupt { revision });
            }
            ready::get_ready(starting, self.linearizable_reads).await;
        }));
        let compacting = self.auto_compaction.map(|keep| compactor::run(Arc::clone(member), keep));
        tasks.extend(compacting.map(tokio::spawn));
        let checking = self.check_interval.map(|every| corruption::run(Arc::clone(member), every));
        tasks.extend(checking.map(tokio::spawn));
        let reloading = self.files.into_iter();
        let reloading = reloading.map(|files| tls::keep_fresh(files, Arc::clone(member)));
        tasks.extend(reloading.map(tokio::spawn));
        tasks
    }
}

/// The process has to end. A fault of the machine outweighs all else.
pub(crate) fn end(ending: &watch::Sender<Option<ExitReason>>, reason: ExitReason) {
    ending.send_if_modified(|known| {
        let is_news = known.is_none() || matches!(reason, ExitReason::Fatal(_));
        if is_news {
            *known = Some(reason);
        }
        is_news
    });
}
