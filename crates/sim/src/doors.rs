//! The etcd API of every node: the handlers as a server runs them, without sockets and without a
//! runtime, on the node's own clock and disk. A door is of one life of its node.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use env::SplitMix;
use env::mem::SeededEntropy;
use host::{GroupId, Observer};
use raft::NodeId;
use server::{InProcess, Leadership, MemberParts, ServerOptions};
use store::{Store, StoreMachine};

use crate::World;
use crate::world::CLUSTER_ID;

type Place = (NodeId, GroupId);

/// Who leads, as each replica's host has told in its present life.
type Told = Rc<RefCell<BTreeMap<Place, Arc<Leadership>>>>;

/// The doors of a world.
#[derive(Default)]
pub(crate) struct Doors {
    seed: u64,
    told: Told,
    open: RefCell<BTreeMap<Place, (u64, InProcess)>>,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Doors {
    /// The doors of a world that begins, which is made to tell who leads in these groups.
    pub(crate) fn of(world: &mut World<StoreMachine>, seed: u64, groups: &[GroupId]) -> Self {
        let doors = Self { seed, ..Self::default() };
        let (told, groups) = (Rc::clone(&doors.told), groups.to_vec());
        world.observe(Box::new(move |node| observer(&told, node, &groups)));
        doors
    }

    /// The door to a replica of a node that is on.
    pub(crate) fn door(
        &self,
        world: &World<StoreMachine>,
        (node, group): Place,
        store: Store,
    ) -> InProcess {
        let life = world.life_count(node);
        let mut open = self.open.borrow_mut();
        let known = open.get(&(node, group));
        if let Some((_, door)) = known.filter(|(of, _)| *of == life) {
            return door.clone();
        }
        let mut dice = SplitMix::new(self.seed ^ (node.0 << 48) ^ (group.0 << 32) ^ life);
        let parts = MemberParts {
            cluster_id: CLUSTER_ID,
            member_id: node,
            group: world.group(node, group).expect("the node is on"),
            store,
            leadership: Arc::clone(&self.told.borrow()[&(node, group)]),
            clock: Arc::new(world.clock(node).clone()),
            entropy: Arc::new(SeededEntropy::new(dice.next_u64())),
            disk: Arc::new(world.disk(node).clone()),
        };
        let options = ServerOptions { name: format!("n{node}"), ..ServerOptions::default() };
        let door = InProcess::new(&options, parts);
        open.insert((node, group), (life, door.clone()));
        door
    }
}

/// Hears for a node's new life who leads.
fn observer(told: &Told, node: NodeId, groups: &[GroupId]) -> Observer {
    let fresh = |group: &GroupId| (*group, Arc::new(Leadership::new(node)));
    let hears: BTreeMap<GroupId, Arc<Leadership>> = groups.iter().map(fresh).collect();
    let places = hears.iter().map(|(group, leads)| ((node, *group), Arc::clone(leads)));
    told.borrow_mut().extend(places);
    Arc::new(move |group, status| {
        if let Some(leadership) = hears.get(&group) {
            leadership.update(status);
        }
    })
}
