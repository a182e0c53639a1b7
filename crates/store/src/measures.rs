//! What the store counts of its work, and how long it takes. Nothing that is replicated depends on
//! it; and without a clock, as in a simulation, no time is taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use env::{Clock, Moment};
use host::{DISK_BOUNDS_US, Histogram, REQUEST_BOUNDS_US, doubled};

use crate::auth::AuthCommand;
use crate::request::Command;

/// What takes longer, applied or read, is slow: etcd's bound.
pub const SLOW: Duration = Duration::from_millis(100);

static PAUSE_BOUNDS_US: [u64; 13] = doubled(1_000);
static COMPACTION_BOUNDS_US: [u64; 14] = doubled(100_000);

/// How many kinds of commands there are.
const KINDS: usize = 24;

/// Kinds of commands, in etcd's words where it has the same ones.
const KIND_NAMES: [&str; KINDS] = [
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "LeaseCheckpoint",
    "Alarm",
    "DowngradeInfoSet",
    "ClusterMemberAttrSet",
    "ClusterMemberRemove",
    "AuthEnable",
    "AuthDisable",
    "AuthUserAdd",
    "AuthUserDelete",
    "AuthUserChangePassword",
    "AuthUserGrantRole",
    "AuthUserRevokeRole",
    "AuthRoleAdd",
    "AuthRoleDelete",
    "AuthRoleGrantPermission",
    "AuthRoleRevokePermission",
    "Authenticate",
    "Unknown",
];

/// A command that this version cannot read.
pub(crate) const UNKNOWN: usize = 23;

/// The place of a command in [`KIND_NAMES`].
pub(crate) fn kind(command: &Command) -> usize {
    match command {
        Command::Put(_) => 0,
        Command::DeleteRange(_) => 1,
        Command::Txn(_) => 2,
        Command::Compact(_) => 3,
        Command::LeaseGrant { .. } => 4,
        Command::LeaseRevoke { .. } => 5,
        Command::LeaseCheckpoint { .. } => 6,
        Command::Alarm(_) => 7,
        Command::Downgrade { .. } => 8,
        Command::MemberAttributes(_) => 9,
        Command::MemberRemove { .. } => 10,
        Command::Auth(command) => match command {
            AuthCommand::Enable => 11,
            AuthCommand::Disable => 12,
            AuthCommand::UserAdd { .. } => 13,
            AuthCommand::UserDelete { .. } => 14,
            AuthCommand::UserChangePassword { .. } => 15,
            AuthCommand::UserGrantRole { .. } => 16,
            AuthCommand::UserRevokeRole { .. } => 17,
            AuthCommand::RoleAdd { .. } => 18,
            AuthCommand::RoleDelete { .. } => 19,
            AuthCommand::RoleGrantPermission { .. } => 20,
            AuthCommand::RoleRevokePermission { .. } => 21,
            AuthCommand::Authenticate { .. } => 22,
        },
    }
}

/// Operations on keys of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations {
    pub(crate) ranges: u64,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
}

/// Something that is done well or is refused, and how long each took.
#[derive(Debug)]
pub struct Outcomes {
    /// Well.
    pub succeeded: Histogram,
    /// Refused.
    pub failed: Histogram,
}

impl Outcomes {
    /// None yet.
    #[must_use]
    pub const fn new(bounds_us: &'static [u64]) -> Self {
        Self { succeeded: Histogram::new(bounds_us), failed: Histogram::new(bounds_us) }
    }

    /// Counts one more.
    pub fn add(&self, is_success: bool, nanos: u64) {
        if is_success { &self.succeeded } else { &self.failed }.add(nanos);
    }
}

/// Counts and times since the store was opened.
#[derive(Debug)]
pub struct Measures {
    clock: OnceLock<Arc<dyn Clock>>,
    /// Ranges, in transactions or by themselves.
    pub ranges: AtomicU64,
    /// Puts that were applied.
    pub puts: AtomicU64,
    /// Deletions of a range that were applied.
    pub deletes: AtomicU64,
    /// Requests of more than one operation on keys, a put that tells what was there before among
    /// them: as in etcd.
    pub txns: AtomicU64,
    applied: [Outcomes; KINDS],
    /// What was applied or read and took longer than [`SLOW`].
    pub slow: AtomicU64,
    /// Ranges by themselves.
    pub range_times: Outcomes,
    /// Making what was applied durable, so that the Raft log can be cut.
    pub commit_times: Histogram,
    /// Versions of keys that compactions dropped.
    pub compacted_versions: AtomicU64,
    /// How long writers waited for one step of a compaction.
    pub compaction_pauses: Histogram,
    /// From the first step of a compaction to its last.
    pub compaction_times: Histogram,
    /// When the last one ended, in milliseconds since 1970; 0 if there was none.
    pub compacted_at_ms: AtomicU64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            clock: OnceLock::new(),
            ranges: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            txns: AtomicU64::new(0),
            applied: [const { Outcomes::new(&REQUEST_BOUNDS_US) }; KINDS],
            slow: AtomicU64::new(0),
            range_times: Outcomes::new(&REQUEST_BOUNDS_US),
            commit_times: Histogram::new(&DISK_BOUNDS_US),
            compacted_versions: AtomicU64::new(0),
            compaction_pauses: Histogram::new(&PAUSE_BOUNDS_US),
            compaction_times: Histogram::new(&COMPACTION_BOUNDS_US),
            compacted_at_ms: AtomicU64::new(0),
        }
    }
}

impl Measures {
    /// Every kind of command by name, and how long applying it took.
    pub fn applied(&self) -> impl Iterator<Item = (&'static str, &Outcomes)> {
        KIND_NAMES.iter().copied().zip(&self.applied)
    }

    pub(crate) fn use_clock(&self, clock: Arc<dyn Clock>) {
        // The first one counts: there is one server to a store.
        let _ = self.clock.set(clock);
    }

    /// The time, if it is taken.
    pub(crate) fn now(&self) -> Option<Moment> {
        self.clock.get().map(|clock| clock.now())
    }

    pub(crate) fn count(&self, done: Operations) {
        let Operations { ranges, puts, deletes } = done;
        for (counter, count) in
            [(&self.ranges, ranges), (&self.puts, puts), (&self.deletes, deletes)]
        {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
        if ranges + puts + deletes > 1 {
            self.txns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A command has come to its end, and at the moment that is returned the next one begins.
    pub(crate) fn ended(
        &self,
        kind: usize,
        is_success: bool,
        begun: Option<Moment>,
    ) -> Option<Moment> {
        let (begun, now) = (begun?, self.now()?);
        self.note(&self.applied[kind], is_success, now.since(begun));
        Some(now)
    }

    pub(crate) fn range_ended(&self, is_success: bool, begun: Option<Moment>) {
        if let (Some(begun), Some(now)) = (begun, self.now()) {
            self.note(&self.range_times, is_success, now.since(begun));
        }
    }

    fn note(&self, outcomes: &Outcomes, is_success: bool, took: Duration) {
        outcomes.add(is_success, nanos(took));
        if took > SLOW {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds the time since `begun`, if it is taken.
    pub(crate) fn add_since(&self, begun: Option<Moment>, to: &Histogram) {
        if let (Some(begun), Some(now)) = (begun, self.now()) {
            to.add(nanos(now.since(begun)));
        }
    }

    pub(crate) fn compaction_ended(&self, begun: Option<Moment>) {
        self.add_since(begun, &self.compaction_times);
        if let Some(clock) = self.clock.get() {
            self.compacted_at_ms.store(clock.wall_ms(), Ordering::Relaxed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{CompactRequest, LeaseId};

    #[test]
    fn a_kind_has_the_name_of_its_command() {
        let compact = Command::Compact(CompactRequest { revision: 1, physical: false });
        let authenticate = AuthCommand::Authenticate {
            user: String::new(),
            token_digest: [0; 32],
            auth_revision: 0,
        };
        for (command, name) in [
            (compact, "Compaction"),
            (Command::LeaseRevoke { id: LeaseId(1) }, "LeaseRevoke"),
            (Command::Auth(AuthCommand::Enable), "AuthEnable"),
            (Command::Auth(authenticate), "Authenticate"),
        ] {
            assert_eq!(KIND_NAMES[kind(&command)], name);
        }
        assert_eq!(KIND_NAMES[UNKNOWN], "Unknown");
    }

    #[test]
    fn a_request_of_several_operations_is_a_transaction() {
        let measures = Measures::default();
        measures.count(Operations { puts: 1, ..Operations::default() });
        measures.count(Operations { puts: 1, ranges: 1, ..Operations::default() });
        let values = [&measures.puts, &measures.ranges, &measures.deletes, &measures.txns];
        assert_eq!(values.map(|it| it.load(Ordering::Relaxed)), [2, 1, 0, 1]);
    }

    /// As etcd counts them: ranges as well as what is applied, and not what takes just as long.
    #[test]
    fn what_takes_longer_than_the_bound_is_slow() {
        let measures = Measures::default();
        let clock = env::mem::VirtualClock::new();
        measures.use_clock(Arc::new(clock.clone()));
        let (begun, late) = (clock.now(), clock.now().after(SLOW));
        clock.set(late);
        assert_eq!(measures.ended(0, true, Some(begun)), Some(late));
        measures.range_ended(false, Some(begun));
        assert_eq!(measures.slow.load(Ordering::Relaxed), 0, "just in time");
        clock.set(late.after(Duration::from_nanos(1)));
        measures.ended(0, false, Some(begun));
        measures.range_ended(true, Some(begun));
        assert_eq!(measures.slow.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn no_time_is_taken_without_a_clock() {
        let measures = Measures::default();
        assert_eq!(measures.ended(0, true, measures.now()), None);
        assert!(measures.applied().all(|(_, outcomes)| outcomes.succeeded.view().count() == 0));
    }
}
