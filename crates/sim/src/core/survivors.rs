//! A majority of the voters is lost for good, and the survivors are forced to go on
//! (`raft::recovery`). One of the lost lives, and has committed what none of the survivors has: it
//! must believe that the group has gone on without it.
//!
//! From then on there are two truths, so the world forgets what it knew of the log behind the
//! survivors', and does not hold the lost one's against it.

use std::collections::BTreeSet;

use raft::{LogIndex, NodeId, QuorumRule};

use super::chaos::CoreChaos;
use super::sometimes::SURVIVORS_ARE_FORCED;
use super::{CoreWorld, member::Member};
use crate::Failure;

/// Commands that the survivors have not heard of.
const COMMANDS: u64 = 4;
/// So many members must tell one of its removal.
const VOICES: usize = 2;
/// The lost one commits within so many milliseconds, in a network that is well.
const COMMITS_WITHIN_MS: u64 = 2_000;

impl CoreChaos {
    /// The end of a group, and of its world.
    pub(super) fn force_survivors(&mut self) -> Result<(), Failure> {
        let leader = self.leader_at_rest()?;
        let configuration = self.newest_configuration();
        let is_plain = configuration.rule == QuorumRule::Majority
            && configuration.witnesses.is_empty()
            && !configuration.is_joint();
        let voters = &configuration.voters;
        let followers = voters.iter().copied().filter(|voter| *voter != leader);
        let survivors: BTreeSet<NodeId> = followers.take((voters.len() - 1) / 2).collect();
        if !is_plain || survivors.len() < VOICES || self.dice.below(2) == 0 {
            return Ok(());
        }
        self.world.let_clients_rest(true);
        for survivor in &survivors {
            self.world.cut_off(*survivor);
        }
        if !self.commit_without(leader) {
            return Ok(());
        }
        for node in self.world.nodes().into_iter().filter(|node| *node != leader) {
            if self.world.is_on(node) {
                self.world.crash(node);
            }
        }
        self.world.cut_off(leader);
        if !self.world.force(&survivors, leader) {
            return Ok(());
        }
        self.world.meet(SURVIVORS_ARE_FORCED);
        for one in &survivors {
            survivors.iter().for_each(|other| self.world.net().heal(one.0, other.0));
        }
        survivors.iter().for_each(|survivor| self.world.start(*survivor));
        self.wait_for_rest("survivors that are forced come to rest")?;
        self.mend_net();
        let mut waited_ms = 0;
        while !self.world.has_heard_of_removal(leader) {
            if waited_ms > self.mended_within_ms() {
                let why = format!("n{leader} is lost, and goes on beside {survivors:?}");
                return Err(self.failure("who is lost believes the survivors", &why));
            }
            self.world.run_ms(20);
            waited_ms += 20;
        }
        Ok(())
    }

    /// The others go on for a while, and this one has applied it all.
    fn commit_without(&mut self, leader: NodeId) -> bool {
        for _ in 0..COMMANDS {
            let _refused = self.world.propose(leader, "for nobody who is left");
            self.world.run_ms(5);
        }
        for _ in 0..COMMITS_WITHIN_MS / 20 {
            let node = self.world.node(leader);
            let last = node.map_or(LogIndex(0), |node| node.last().index);
            if self.world.leader() == Some(leader) && self.world.applied(leader) == last {
                return true;
            }
            self.world.run_ms(20);
        }
        false
    }
}

impl CoreWorld {
    /// Nothing gets to a node, or from it.
    fn cut_off(&mut self, id: NodeId) {
        for other in self.nodes().into_iter().filter(|other| *other != id) {
            self.net.cut(id.0, other.0);
            self.net.cut(other.0, id.0);
        }
    }

    /// The survivor with the newest log is forced, off as all of them are. What others had behind
    /// its log is forgotten, and `lost` is nobody's business any more.
    fn force(&mut self, survivors: &BTreeSet<NodeId>, lost: NodeId) -> bool {
        let last = |id: &NodeId| self.members[id].disk.last();
        let Some(newest) = survivors.iter().copied().max_by_key(last) else { return false };
        let nonce = u32::try_from(self.dice.below(1 << 20)).expect("small");
        let upto = last(&newest).index;
        let has_committed = self.node(lost).is_some_and(|node| node.commit_index() > upto);
        if !has_committed || !self.member(newest).is_forced(survivors, nonce) {
            return false;
        }
        self.checker.forced_behind(upto);
        self.committed_max = LogIndex(0);
        self.acknowledged_max = LogIndex(0);
        drop(self.names.split_off(&upto.next()));
        drop(self.states.split_off(&upto.next()));
        drop(self.lease_ids.split_off(&upto.next()));
        self.claims.clear();
        self.proposed.clear();
        self.lost.insert(lost);
        // Whatever it says is of a group that is over.
        self.forgetful.insert(lost);
        true
    }
}

impl Member {
    /// An operator makes its group one of the survivors.
    fn is_forced(&mut self, survivors: &BTreeSet<NodeId>, nonce: u32) -> bool {
        let restored = self.disk.restored(usize::MAX);
        match restored.force_survivors(self.id(), survivors, nonce) {
            Ok(persist) => {
                self.disk.write(persist);
                true
            }
            Err(_) => false,
        }
    }
}
