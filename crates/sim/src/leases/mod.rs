//! Leases under faults (scenarios R11, W10): granted, kept alive, revoked and left to expire, with
//! the deadlines kept by whoever leads.
//!
//! | property | what it means |
//! | --- | --- |
//! | not early | a lease lives for its time from when it was asked for, or kept alive |
//! | known | a lease that was granted is kept alive, unless it was revoked or its time was over |
//! | gone | a lease that was revoked is not kept alive afterwards |
//! | not for ever | once the cluster is well, what nobody keeps alive expires |

mod keeper;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::{Clock, Moment, SplitMix};
use host::{GroupId, ProposeError};
use raft::NodeId;
use store::{Command, LeaseId, RequestError, Response, Store, StoreMachine};

use crate::chaos::pick;
use crate::{Failure, World};
use keeper::{Keeper, Renewed, Slot};

type Proposed = Result<Result<Response, RequestError>, ProposeError>;

/// Ids of these leases; other clients have smaller ones.
const FIRST_ID: i64 = 1 << 40;
/// Seconds.
const TTL_MAX: i64 = 4;
/// Within this time behind its end a lease is gone, where nothing goes wrong.
const LATE_MAX: Duration = Duration::from_secs(3);
/// Leases at a time in each group.
const LEASES_MAX: usize = 4;

const EARLY: &str = "lease: not early";
const KNOWN: &str = "lease: known";
const GONE: &str = "lease: gone";
const ENDS: &str = "lease: not for ever";

/// All leases of a world.
#[derive(Debug)]
pub(crate) struct Leases {
    keepers: BTreeMap<(NodeId, GroupId), Keeper>,
    tenants: Vec<Tenant>,
    next_id: i64,
    /// Whether all clocks of this world go as they should: a promise about time is as good as they.
    clocks_are_true: bool,
    pub(crate) renewed_count: u64,
    pub(crate) expired_count: u64,
}

/// A lease, and who has it.
#[derive(Debug)]
struct Tenant {
    id: i64,
    group: GroupId,
    ttl: i64,
    /// It lives at least until then; not known before it is granted.
    lives_until: Option<Moment>,
    /// When somebody asked for its end, and when it was certainly revoked.
    revoke_asked: Option<Moment>,
    revoked: Option<Moment>,
    /// Where it was seen, by node and life.
    seen: BTreeSet<(NodeId, u64)>,
    is_gone: bool,
    asked: Option<Asked>,
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    at: (NodeId, u64),
    since: Moment,
    what: What,
}

#[derive(Debug)]
enum What {
    Grant(Slot<Proposed>),
    Renew(Slot<Renewed>),
    Revoke(Slot<Proposed>),
}

impl Leases {
    pub(crate) fn new(clocks_are_true: bool) -> Self {
        Self {
            keepers: BTreeMap::new(),
            tenants: Vec::new(),
            next_id: FIRST_ID,
            clocks_are_true,
            renewed_count: 0,
            expired_count: 0,
        }
    }

    /// Lets the keepers work, and looks at every lease.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub(crate) fn look(
        &mut self,
        world: &World<StoreMachine>,
        groups: &[GroupId],
        store: impl Fn(NodeId, GroupId) -> Store,
    ) -> Result<(), Failure> {
        for node in world.nodes().into_iter().filter(|node| world.is_on(*node)) {
            if world.is_paused(node) {
                continue;
            }
            let (life, now) = (world.life_count(node), world.clock(node).now());
            for group in groups {
                let Some(handle) = world.group(node, *group) else { continue };
                let keeper = self.keepers.entry((node, *group));
                let keeper = keeper.or_insert_with(|| Keeper::new(life));
                if keeper.life != life {
                    *keeper = Keeper::new(life);
                }
                keeper.work(now, &handle, &store(node, *group));
            }
        }
        for place in 0..self.tenants.len() {
            self.hear(place, world)?;
            self.look_at(place, world, &store)?;
        }
        self.tenants.retain(|tenant| !tenant.is_gone || tenant.asked.is_some());
        Ok(())
    }

    /// Lets somebody ask for something.
    pub(crate) fn ask(
        &mut self,
        world: &World<StoreMachine>,
        dice: &mut SplitMix,
        groups: &[GroupId],
    ) {
        let on: Vec<NodeId> = world.nodes().into_iter().filter(|id| world.is_on(*id)).collect();
        if on.is_empty() || dice.below(6) > 0 {
            return;
        }
        let group = pick(dice, groups);
        let mine: Vec<usize> =
            (0..self.tenants.len()).filter(|place| self.tenants[*place].group == group).collect();
        if mine.len() < LEASES_MAX && dice.below(3) == 0 {
            let node = pick(dice, &on);
            self.grant(world, dice, node, group);
        } else if !mine.is_empty() {
            let place = pick(dice, &mine);
            self.ask_for(place, world, dice, &on);
        }
    }

    fn grant(
        &mut self,
        world: &World<StoreMachine>,
        dice: &mut SplitMix,
        node: NodeId,
        group: GroupId,
    ) {
        self.next_id += 1;
        let (id, ttl) = (self.next_id, 1 + i64::try_from(dice.below(4)).unwrap_or(0));
        assert!(ttl <= TTL_MAX, "the end waits for the longest");
        let slot = propose(world, node, group, &Command::LeaseGrant { id: LeaseId(id), ttl });
        let at = (node, world.life_count(node));
        let asked = Some(Asked { at, since: world.now(), what: What::Grant(slot) });
        self.tenants.push(Tenant {
            id,
            group,
            ttl,
            lives_until: None,
            revoke_asked: None,
            revoked: None,
            seen: BTreeSet::new(),
            is_gone: false,
            asked,
        });
    }

    fn ask_for(
        &mut self,
        place: usize,
        world: &World<StoreMachine>,
        dice: &mut SplitMix,
        on: &[NodeId],
    ) {
        let tenant = &mut self.tenants[place];
        if tenant.asked.is_some() || tenant.lives_until.is_none() {
            return;
        }
        let since = world.now();
        if dice.below(12) == 0 {
            let node = pick(dice, on);
            let command = Command::LeaseRevoke { id: LeaseId(tenant.id) };
            let what = What::Revoke(propose(world, node, tenant.group, &command));
            tenant.revoke_asked.get_or_insert(since);
            tenant.asked = Some(Asked { at: (node, world.life_count(node)), since, what });
            return;
        }
        let Some(node) = world.leader(tenant.group) else { return };
        let Some(keeper) = self.keepers.get_mut(&(node, tenant.group)) else { return };
        let what = What::Renew(keeper.renew(tenant.id));
        tenant.asked = Some(Asked { at: (node, world.life_count(node)), since, what });
    }

    /// Takes an answer that has come.
    fn hear(&mut self, place: usize, world: &World<StoreMachine>) -> Result<(), Failure> {
        let tenant = &mut self.tenants[place];
        let Some(Asked { at: (node, life), since, what }) = tenant.asked.take() else {
            return Ok(());
        };
        let lives = world.is_on(node) && world.life_count(node) == life;
        let time = Duration::from_secs(u64::try_from(tenant.ttl).unwrap_or(0));
        let taken = match &what {
            What::Grant(slot) => {
                let told = slot.lock().expect("one thread").take();
                let is_there = told.is_some();
                match told {
                    Some(Ok(Ok(_))) => tenant.lives_until = Some(since.after(time)),
                    // Nobody knows, or there is none: not a lease to say anything of.
                    Some(_) => tenant.is_gone = true,
                    None if !lives => tenant.is_gone = true,
                    None => {}
                }
                is_there
            }
            What::Revoke(slot) => {
                let told = slot.lock().expect("one thread").take();
                if let Some(Ok(Ok(_))) = told {
                    tenant.revoked = Some(world.now());
                }
                told.is_some()
            }
            What::Renew(slot) => {
                let told = slot.lock().expect("one thread").take();
                if let Some(renewed) = told {
                    self.renewed_count += u64::from(matches!(renewed, Renewed::Alive(_)));
                    let judged = tenant.judge(renewed, (since, world.now()), self.clocks_are_true);
                    judged.map_err(|what| what.of(node, tenant.group))?;
                }
                told.is_some()
            }
        };
        if !taken && lives {
            tenant.asked = Some(Asked { at: (node, life), since, what });
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        place: usize,
        world: &World<StoreMachine>,
        store: &impl Fn(NodeId, GroupId) -> Store,
    ) -> Result<(), Failure> {
        let tenant = &mut self.tenants[place];
        let Some(lives_until) = tenant.lives_until else { return Ok(()) };
        for node in world.nodes().into_iter().filter(|node| world.is_on(*node)) {
            let key = (node, world.life_count(node));
            let is_there = store(node, tenant.group).lease(LeaseId(tenant.id)).is_some();
            if is_there {
                tenant.seen.insert(key);
                continue;
            }
            if !tenant.seen.contains(&key) {
                continue;
            }
            let is_early = tenant.revoke_asked.is_none() && world.now() < lives_until;
            Failure::unless(!is_early || !self.clocks_are_true, EARLY, || {
                format!("n{node} at {:?}: {tenant:?}", world.now())
            })
            .map_err(|what| what.of(node, tenant.group))?;
            self.expired_count += u64::from(!tenant.is_gone && tenant.revoke_asked.is_none());
            tenant.is_gone = true;
        }
        Ok(())
    }

    /// How long to wait until all that is left has expired; `None` if there is nothing.
    pub(crate) fn end_takes(&self) -> Option<Duration> {
        let longest = Duration::from_secs(u64::try_from(TTL_MAX).unwrap_or(0));
        (!self.tenants.is_empty()).then_some(longest + LATE_MAX)
    }

    /// Nobody keeps anything alive any more, and the time of all is over.
    ///
    /// # Errors
    /// A lease that is still there.
    pub(crate) fn check_end(
        &self,
        nodes: &[NodeId],
        store: impl Fn(NodeId, GroupId) -> Store,
    ) -> Result<(), Failure> {
        for tenant in &self.tenants {
            for node in nodes {
                let is_there = store(*node, tenant.group).lease(LeaseId(tenant.id)).is_some();
                Failure::unless(!is_there, ENDS, || format!("n{node}: {tenant:?}"))
                    .map_err(|what| what.of(*node, tenant.group))?;
            }
        }
        Ok(())
    }
}

impl Tenant {
    /// An answer to whoever keeps it alive, asked for and heard at these moments.
    fn judge(
        &mut self,
        renewed: Renewed,
        (since, heard): (Moment, Moment),
        clocks_are_true: bool,
    ) -> Result<(), Failure> {
        let what = || format!("{renewed:?} to who asked at {since:?}: {self:?}");
        match renewed {
            Renewed::Unknown => {}
            Renewed::Alive(ttl) => {
                let is_right = self.revoked.is_none_or(|revoked| revoked > since);
                Failure::unless(is_right, GONE, what)?;
                Failure::unless(ttl == self.ttl, KNOWN, what)?;
                let time = Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
                self.lives_until = self.lives_until.max(Some(since.after(time)));
            }
            Renewed::NoSuchLease => {
                let may_be_over = self.lives_until.is_none_or(|until| until <= heard);
                let is_right = may_be_over || self.revoke_asked.is_some() || !clocks_are_true;
                Failure::unless(is_right, KNOWN, what)?;
            }
        }
        Ok(())
    }
}

fn propose(
    world: &World<StoreMachine>,
    node: NodeId,
    group: GroupId,
    command: &Command,
) -> Slot<Proposed> {
    let slot: Slot<Proposed> = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&slot);
    let handle = world.group(node, group).expect("the node is on");
    handle.propose(&command.encode(), move |result| {
        *keep.lock().expect("one thread") = Some(result);
    });
    slot
}
