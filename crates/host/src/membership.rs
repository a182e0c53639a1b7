//! A group's members, on its worker: the network follows the configuration in force, and learners
//! come to their goals.

use raft::{EntryId, LogIndex, Node, Role, Term, Tick};
use wal::GroupId;

use crate::errands::configuration_of;
use crate::members::next_goal;
use crate::peers::{GroupConfiguration, Peers};

/// What was last told of the configuration in force.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// The configuration's entry, and where the newest stood that was known to be committed.
    told: Option<(EntryId, LogIndex)>,
    /// Under which leader and configuration the log of every voter was found to be on record.
    all_guarded: Option<(Term, LogIndex)>,
    unguarded_voters: usize,
}

impl Membership {
    /// Tells the network of another configuration.
    pub(crate) fn follow(&mut self, group: GroupId, node: &Node, peers: &Peers) {
        let index = node.configuration_index();
        let id = node.id_at(index).unwrap_or_default();
        let told = Some((id, node.committed_configuration_index()));
        if self.told != told {
            self.told = told;
            peers.follow(group, configuration_of(node), committed_of(node));
        }
    }

    /// Counts the voters whose lost log nobody might notice.
    pub(crate) fn count_unguarded(&mut self, node: &Node) {
        let at = Some((node.term(), node.configuration_index()));
        let configuration = node.configuration();
        let is_alone = configuration.voters.len() == 1 && !configuration.is_joint();
        self.unguarded_voters = if node.role() != Role::Leader || is_alone || self.all_guarded == at
        {
            0
        } else {
            node.unguarded().len()
        };
        if self.unguarded_voters == 0 && node.role() == Role::Leader {
            self.all_guarded = at;
        }
    }

    /// As last counted by a node that leads.
    pub(crate) fn unguarded_voters(&self, node: &Node) -> usize {
        if node.role() == Role::Leader { self.unguarded_voters } else { 0 }
    }

    /// Makes a learner what it is to become, if this node leads and one holds the log. Whether a
    /// change has begun.
    pub(crate) fn pursue_goals(tick: Tick, node: &mut Node) -> bool {
        if node.role() != Role::Leader || node.configuration().learners.is_empty() {
            return false;
        }
        let mut skipped = 0;
        while let Some(change) = next_goal(node.configuration(), skipped) {
            // Refused: it does not hold the log yet, or another change is under way.
            if node.propose_configuration_change(tick, &change).is_ok() {
                return true;
            }
            skipped += 1;
        }
        false
    }
}

/// The newest configuration that is known to be committed: not the one in force while a change is
/// under way.
fn committed_of(node: &Node) -> GroupConfiguration {
    let configuration = node.committed_configuration().clone();
    let index = node.committed_configuration_index();
    GroupConfiguration { index, is_committed: true, configuration }
}
