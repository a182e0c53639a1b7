//! How a node's log begins: the first configuration of each group and the log's number, in an order
//! that tells a log that was lost from one that is new.
//!
//! ```text
//! new     configuration durable, then the number    a number is beside a log, or nowhere
//! lost    the number again, then no configuration   the old number must not get the new log
//! ```
//!
//! The first members count once. A voter that begins with them again behind a lost log elects as on
//! the first day: with two others that is harmless, since no quorum takes its word, but n1 that
//! began alone and has n2 and n3 by now is a quorum of its own first configuration, leads it, and
//! acknowledges writes to an empty state. So a log that was lost begins knowing nobody, and its
//! node waits until its group finds it (`docs/adr/0008`).

use std::collections::BTreeMap;

use env::{Disk, Entropy};
use raft::{Configuration, Incarnation, MarkWrite, Persist, SnapshotMark};
use wal::{GroupId, RecoveredGroup, Wal, WalWrite};

use crate::incarnation::{self, Log};
use crate::{HostOptions, StartError};

/// Sees that the log has all groups, and has a number.
///
/// # Errors
/// The disk; or the number is missing or damaged beside a log that was known by it.
pub(crate) fn begin(
    options: &HostOptions,
    (disk, entropy): (&dyn Disk, &dyn Entropy),
    wal: &mut Wal,
    recovered: &mut BTreeMap<GroupId, RecoveredGroup>,
    first: BTreeMap<GroupId, Configuration>,
) -> Result<Incarnation, StartError> {
    let folder = &options.data_dir;
    let log = Log::of(options.node_id, recovered);
    if log == Log::Empty && incarnation::is_drawn(disk, folder)? {
        tracing::error!(
            folder = %folder.display(),
            "the log of this member is gone; it waits for the other members, which know that it \
             had one. If there are none, what it held is lost: restore a backup, or begin again \
             with an empty folder"
        );
        let number = incarnation::settle(disk, folder, entropy, log)?;
        let nobody = first.into_keys().map(|group| (group, Configuration::default())).collect();
        bootstrap(wal, recovered, nobody)?;
        return Ok(number);
    }
    bootstrap(wal, recovered, first)?;
    incarnation::settle(disk, folder, entropy, log)
}

/// Writes the first configuration of each group that the log does not know, so that a later start
/// with other flags finds what the group really began with.
fn bootstrap(
    wal: &mut Wal,
    recovered: &mut BTreeMap<GroupId, RecoveredGroup>,
    first: BTreeMap<GroupId, Configuration>,
) -> Result<(), StartError> {
    let mut writes = Vec::new();
    for (group, configuration) in first {
        if recovered.contains_key(&group) {
            continue;
        }
        let mark = SnapshotMark { configuration, ..SnapshotMark::default() };
        writes.push(WalWrite {
            group,
            persist: Persist {
                number: raft::PersistNumber(0),
                mark: Some(MarkWrite { mark: mark.clone().into(), reset: false }),
                hard_state: None,
                entries: raft::Entries::new(),
            },
        });
        recovered.insert(group, RecoveredGroup { mark, ..RecoveredGroup::default() });
    }
    if !writes.is_empty() {
        wal.append(&writes)?;
        wal.sync()?;
    }
    Ok(())
}
