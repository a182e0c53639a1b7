//! The first moment of a node: from [`Restored`] to a follower.

use alloc::vec::Vec;

use crate::apply::ApplyQueue;
use crate::configuration::ConfigurationHistory;
use crate::fault::PeerFaults;
use crate::jitter::Jitter;
use crate::leadership::Campaigns;
use crate::lease_clock::LeaseTimes;
use crate::log::Log;
use crate::outbox::Outbox;
use crate::persist::Persister;
use crate::preference::HandOvers;
use crate::read_index::ForwardedReads;
use crate::read_local::AwaitedWrites;
use crate::removal::Removal;
use crate::reorder::Reordered;
use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{EntryId, LogIndex, Node, Options, Output, Payload, Restored, RestoredFault, Tick};

impl Node {
    pub(crate) fn restore(options: Options, restored: &Restored) -> Result<Self, RestoredFault> {
        let log = Log::restore(restored)?;
        if restored.hard_state.current_term < log.last().term {
            return Err(RestoredFault::TermBelowLog);
        }
        if restored.applied > log.last().index {
            return Err(RestoredFault::AppliedBeyondLog);
        }
        let configurations = restore_configurations(restored)?;
        let mark = restored.mark.last.index;
        let mut jitter = Jitter::new(options.seed ^ options.id.0.rotate_left(32));
        let forwarded = ForwardedReads::new(jitter.next());
        let mut known = mark.max(restored.applied);
        if bug(Bug::BeginsUncommitted) {
            known = mark;
        }
        let mut node = Self {
            options,
            hard_state: restored.hard_state,
            role: RoleState::Follower { leader_id: None },
            configurations,
            // What is applied or under a snapshot was committed (R10); more is not known yet.
            commit_index: known,
            apply: ApplyQueue::new(mark.max(restored.applied)),
            persister: Persister::new(log.last().index),
            log,
            outbox: Outbox::default(),
            output: Output::default(),
            fetching: Vec::new(),
            forwarded,
            awaited: AwaitedWrites::default(),
            log_grew_at: Tick(0),
            lease_ended_for: None,
            lease_times: LeaseTimes::default(),
            reordered: Reordered::default(),
            claimed_commit_index: LogIndex::default(),
            proven_index: LogIndex::default(),
            faults: PeerFaults::default(),
            jitter,
            now: Tick(0),
            campaign_at: None,
            campaigns: Campaigns::default(),
            hand_overs: HandOvers::default(),
            is_resting: false,
            active_at: Tick(0),
            elections_are_paused: false,
            leader_heard_at: None,
            removal: Removal::default(),
            questions: Vec::new(),
            group_commit: EntryId::default(),
        };
        // The tail of the log: the newest lease, if there is any in it.
        node.lease_times.note(&restored.entries);
        node.notice_removal();
        // A crash came between the durable mark and the state machine's new state.
        if restored.applied < mark && !node.is_witness() {
            node.apply.begin_installation(restored.mark.clone());
            node.apply.announce();
            node.output.install_snapshot = Some(restored.mark.clone().into());
        }
        Ok(node)
    }
}

/// The configurations as given, and those among the entries that were not given apart.
pub(crate) fn restore_configurations(
    restored: &Restored,
) -> Result<ConfigurationHistory, RestoredFault> {
    let mut behind = restored.configurations.clone();
    if bug(Bug::ConfigurationIsLostInACrash) {
        return ConfigurationHistory::restore(&restored.mark, &[], restored.last.index);
    }
    let known = behind.last().map(|(index, _)| *index);
    for entry in &restored.entries {
        if let Payload::Configuration(configuration) = &entry.payload
            && known.is_none_or(|known| entry.id.index > known)
        {
            behind.push((entry.id.index, configuration.as_ref().clone()));
        }
    }
    ConfigurationHistory::restore(&restored.mark, &behind, restored.last.index)
}
