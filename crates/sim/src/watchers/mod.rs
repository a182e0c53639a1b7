//! Watchers on every node, which resume where they stopped after each of the node's lives
//! (scenarios W1, W2, W4), and are held against one ledger of all changes. In every other of these
//! lives a watcher goes by the etcd API, so that it goes on by the one where it stopped by the
//! other.
//!
//! The nine properties that etcd's robustness tests demand, and two more:
//!
//! | property | what it means |
//! | --- | --- |
//! | ordered | revisions never fall |
//! | unique | no change comes twice |
//! | atomic | all changes of a revision come together |
//! | reliable | no change is left out |
//! | resumable | nothing before the revision that was asked for comes, and all behind it does |
//! | bookmarkable | after a progress message for a revision nothing up to it comes |
//! | filtered | nothing comes that was not asked for |
//! | previous values | a change tells what was there before |
//! | creations | a creation is told from a change |
//! | complete or compacted | a watcher that misses something is told that it was compacted |
//! | awake | whoever waits for a change is woken for it |

mod compactions;
mod ledger;
mod streams;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};

use env::SplitMix;
use host::GroupId;
use raft::NodeId;
use store::StoreMachine;

use crate::history::History;
use crate::stores::Cluster;
use crate::{Failure, World};
use ledger::Ledger;
use watcher::{Filter, Truth, Watcher, Who};

pub(crate) use compactions::Compactions;

/// All watchers of a world.
#[derive(Default)]
pub(crate) struct Watchers {
    watchers: BTreeMap<(NodeId, GroupId, Part), Watcher>,
    ledgers: BTreeMap<GroupId, Ledger>,
    /// The compactions that were asked for, by group.
    pub(crate) compactions: BTreeMap<GroupId, Compactions>,
    /// How often a watcher was told that what it wanted is gone.
    pub(crate) compactions_seen: u64,
    /// Progress messages that came.
    pub(crate) bookmarks_seen: u64,
    /// Messages that the API brought.
    pub(crate) by_api: u64,
    /// Changes that were held against the ledger.
    pub(crate) changes_checked: u64,
}

/// A watcher of everything, whose reports make the ledger, and one that wants a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Everything,
    Some,
}

impl Watchers {
    /// Lets every watcher read some of what waits for it, and holds it against what others saw.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub(crate) fn look(
        &mut self,
        cluster: &Cluster,
        dice: &mut SplitMix,
        histories: &mut BTreeMap<GroupId, History>,
        ill: &BTreeSet<NodeId>,
    ) -> Result<(), Failure> {
        let world = &cluster.world;
        // No handler of a process that is stopped runs.
        let runs = |id: &NodeId| world.is_on(*id) && !world.is_paused(*id);
        let nodes = world.nodes().into_iter().filter(runs);
        let nodes: Vec<NodeId> = nodes.collect();
        for (group, history) in histories {
            for node in &nodes {
                for part in [Part::Everything, Part::Some] {
                    let key = (*node, *group, part);
                    self.watcher(key, dice).live(world.life_count(*node));
                    let truth = truth_of(cluster, (*node, *group), ill);
                    self.look_once((key, truth), dice, history, cluster)?;
                }
            }
        }
        Ok(())
    }

    fn watcher(&mut self, key: (NodeId, GroupId, Part), dice: &mut SplitMix) -> &mut Watcher {
        self.watchers.entry(key).or_insert_with(|| {
            Watcher::new(match key.2 {
                Part::Everything => Filter::Everything,
                Part::Some => Filter::chosen(dice),
            })
        })
    }

    fn look_once(
        &mut self,
        ((node, group, part), truth): ((NodeId, GroupId, Part), Truth),
        dice: &mut SplitMix,
        history: &mut History,
        cluster: &Cluster,
    ) -> Result<(), Failure> {
        // Some clients are slow.
        if dice.below(4) == 0 {
            return Ok(());
        }
        let compactions = self.compactions.entry(group).or_default();
        let Some(watcher) = self.watchers.get_mut(&(node, group, part)) else { return Ok(()) };
        let seen = watcher.read(cluster, dice, compactions, ((node, group), truth))?;
        self.compactions_seen += u64::from(seen.was_compacted);
        self.bookmarks_seen += seen.bookmarks;
        self.by_api += seen.by_api;
        let ledger = self.ledgers.entry(group).or_default();
        self.changes_checked += watcher.check(ledger, history, (node, group))?;
        Ok(())
    }

    /// Whether the watchers of all nodes that are on have seen everything.
    pub(crate) fn have_seen_all(
        &self,
        world: &World<StoreMachine>,
        group: GroupId,
        revision: i64,
    ) -> bool {
        world.nodes().into_iter().filter(|id| world.is_on(*id)).all(|node| {
            let watcher = self.watchers.get(&(node, group, Part::Everything));
            watcher.is_some_and(|watcher| watcher.has_seen(revision))
        })
    }

    /// Nobody watches any other node from now on.
    pub(crate) fn keep(&mut self, nodes: &[NodeId]) {
        self.watchers.retain(|(node, ..), _| nodes.contains(node));
    }

    /// Nothing more will happen: what a watcher has not been told by now, it was not told.
    ///
    /// # Errors
    /// A change that was left out.
    pub(crate) fn check_end(
        &mut self,
        dice: &mut SplitMix,
        histories: &mut BTreeMap<GroupId, History>,
        cluster: &Cluster,
        ill: &BTreeSet<NodeId>,
    ) -> Result<(), Failure> {
        for ((node, group, _), watcher) in &mut self.watchers {
            let who = (*node, *group);
            let truth = truth_of(cluster, who, ill);
            let ledger = self.ledgers.entry(*group).or_default();
            let history = histories.get_mut(group).expect("a group of this world");
            let compactions = self.compactions.entry(*group).or_default();
            // One that was told of a compaction begins again.
            while watcher.read(cluster, dice, compactions, (who, truth))?.was_compacted {}
            watcher.check_silence(who, truth)?;
            self.changes_checked += watcher.check(ledger, history, who)?;
            watcher.check_end(ledger, who)?;
        }
        Ok(())
    }
}

fn truth_of(cluster: &Cluster, (node, group): Who, ill: &BTreeSet<NodeId>) -> Truth {
    Truth { votes: cluster.world.has_vote(node, group), is_ill: ill.contains(&node) }
}
