//! Crashes, restarts, and what happens to disks.

use raft::invariants::Cluster as Checker;
use raft::*;

use super::{Cluster, Disk, Member, command, id};

impl Cluster {
    pub(crate) fn restart(&mut self, node: u64) {
        self.restart_with_tail(node, usize::MAX);
    }

    pub(crate) fn restart_with_tail(&mut self, node: u64, tail: usize) {
        self.checker.restarted(id(node));
        self.claims.remove(&node);
        let member = self.member(node);
        member.lives += 1;
        let seed = member.options.seed.wrapping_add(member.lives << 16);
        let options = Options { seed, ..member.options.clone() };
        member.node = Some(Node::new(options, member.disk.restored(tail)).unwrap());
        let now = member.now;
        self.input(node, now, Input::Tick);
    }

    /// Everything that is not on disk is gone.
    pub(crate) fn crash(&mut self, node: u64) {
        let member = self.member(node);
        member.node = None;
        member.in_flight.clear();
        member.fetches.clear();
        member.unreported = None;
        member.snapshots_wanted.clear();
        member.applied.clear();
    }

    /// The disk breaks; the node begins again as on its first day, with a new one.
    pub(crate) fn lose_disk(&mut self, node: u64) {
        self.crash(node);
        self.disks_were_lost = true;
        let member = self.member(node);
        member.is_forgetful = true;
        member.disk = member.birth.clone();
        member.copy = None;
        // Alone it would begin another group; such a node must be told to wait.
        if member.birth.mark.configuration.voters.len() == 1 {
            member.disk = Disk::default();
        }
        if member.options.incarnation.is_known() {
            member.options.incarnation.0 += 100;
        }
        self.restart(node);
    }

    /// The node begins again from a copy of its disk.
    pub(crate) fn set_disk_back(&mut self, node: u64) {
        self.crash(node);
        self.disks_were_lost = true;
        let member = self.member(node);
        member.is_forgetful = true;
        member.disk = member.copy.clone().expect("a copy was made");
        self.restart(node);
    }

    /// The operator gives up everybody but the survivors, on one of them. What the group was is no
    /// measure for what it is now.
    pub(crate) fn force_survivors(
        &mut self,
        node: u64,
        survivors: &[u64],
    ) -> Result<(), RecoveryError> {
        self.crash(node);
        let survivors = survivors.iter().copied().map(NodeId).collect();
        let restored = self.members[&node].disk.restored(usize::MAX);
        let persist = restored.force_survivors(id(node), &survivors, 5)?;
        self.member(node).disk.write(persist);
        self.checker = Checker::default();
        self.disks_were_lost = true;
        self.committed_max = LogIndex(0);
        self.read_floors.clear();
        self.restart(node);
        Ok(())
    }

    /// Gives a node the disk of a story and starts it anew: terms of the entries behind the mark.
    pub(crate) fn load(&mut self, node: u64, term: u64, terms: &[u64]) {
        let member = self.member(node);
        let first = member.disk.mark.last.index.0 + 1;
        member.disk.entries = terms
            .iter()
            .zip(first..)
            .map(|(term, index)| Entry {
                id: EntryId::new(*term, index),
                payload: Payload::Command(command(&format!("{index}@{term}"))),
            })
            .collect();
        member.disk.hard_state = HardState { current_term: Term(term), voted_for: None };
        self.crash(node);
        self.restart(node);
    }

    /// The host ends a node that was removed; another one, with an id of its own and an empty disk,
    /// waits in its place.
    pub(crate) fn replace(&mut self, node: u64, by: u64) {
        let old = self.members.remove(&node).unwrap();
        let options = Options { id: id(by), ..old.options };
        let member = Member { now: old.now, ..Member::new(options, Configuration::default()) };
        self.members.insert(by, member);
        self.restart(by);
    }
}
