//! From options to a server that runs.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use env::os::{OsClock, OsDisk, OsEntropy, is_open_to_others};
use env::{Clock, Disk, Entropy};
use host::transport::{PeerListener, TcpNet};
use host::{
    GroupId, GroupSetup, Host, HostOptions, PeerAddresses, ReadMode, Receiver, Stages, World,
};
use parking_lot::RwLock;
use raft::{Configuration, NodeId};
use store::{Store, StoreMachine, StoreOptions};
use tokio::runtime::Handle;
use tokio::sync::watch;
use wal::{DataFolder, FolderError, Wal, WalOptions};

use crate::errors::{ExitReason, StartError};
use crate::identity::{Claim, Identity};
use crate::join::Newcomer;
use crate::jwt;
use crate::leadership::Leadership;
use crate::lessor_task::Answerer;
use crate::member::{Applied, Grounds, Limits, Member};
use crate::options::{ClusterState, LinearizableReads, ServerOptions};
use crate::peering::Peering;
use crate::plan::{Cluster, Plan, Seed};
use crate::running::{Parts, RunningServer};
use crate::serving::Serving;
use crate::sockets::{Sockets, advertised};
use crate::upkeep::{Ending, Upkeep, end};
use crate::url::HttpUrl;

/// The one group that a server opens, for now.
pub(crate) const GROUP: GroupId = GroupId(1);
/// What a command has beside what its client sent: kind, lengths and flags.
const COMMAND_OVERHEAD_BYTES: usize = 64 << 10;
/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// What the disk gave.
struct Opened {
    host: Host<Applied>,
    store: Store,
    peer_listeners: Vec<PeerListener>,
    judge: Arc<OnceLock<Receiver>>,
    folder: DataFolder,
}

/// What the host and the services share before either is there.
struct Links {
    leadership: Arc<Leadership>,
    answerer: Arc<Answerer>,
    ending: Ending,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Server {
    /// Starts a member and returns when it listens; [`RunningServer::wait_ready`] tells when it has
    /// found its leader. The services run on the runtime that this is called on.
    ///
    /// # Errors
    /// Why not, with what to do about it.
    pub async fn start(mut options: ServerOptions) -> Result<RunningServer, StartError> {
        let plan = Plan::new(&options)?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let serving = Serving::new(&options, &plan, &disk)?;
        let peering = Peering::new(&options, &plan, &disk)?;
        let jwt = jwt::open(&options.auth_token, &*disk)?;
        let sockets = Sockets::open(&mut options, &plan)?;
        let (identity, is_new) =
            settle_identity(&*disk, &options, &plan, &sockets, &peering).await?;
        let folder = claim_folder(&*disk, &options.data_dir, &identity)?;
        warn_of_open_folder(&options.data_dir);
        if is_new {
            identity.write(&*disk, &options.data_dir)?;
        }
        let links = Links::new(identity.member_id);
        let client_urls = advertised(
            &plan.advertise_client_urls,
            &plan.listen_client_urls,
            &sockets.client_addresses,
            serving.has_tls(),
        );
        let Sockets { client, client_addresses, peer, peer_addresses, metrics, metrics_addresses } =
            sockets;
        let (limits, upkeep) = (Limits::of(&options), Upkeep::new(&options, &serving, &peering));
        let data_dir = options.data_dir.clone();
        let files = Arc::clone(&disk);
        let opening = Opening { options, identity: identity.clone(), disk, peer, folder, peering };
        // Reading a large log and store takes a while, and is no work for the runtime's threads.
        let opened = {
            let links = links.clone_for_host();
            aside(move || opening.open(&links)).await?
        };
        let Opened { host, store, peer_listeners, judge, folder } = opened;
        let group = host.group(GROUP).expect("the host was started with this group");
        let ending = links.ending.subscribe();
        let member = Arc::new(Member::new(Grounds {
            identity,
            client_urls,
            group,
            store,
            leadership: links.leadership,
            limits,
            clock: links.clock,
            entropy: links.entropy,
            disk: files,
            data_dir,
            jwt,
        }));
        *links.answerer.member.write() = Arc::downgrade(&member);
        let serving = serving.start(client, metrics, &member)?;
        let tasks = upkeep.start(&member, &links.ending);
        let parts = Some(Parts { host, peer_listeners, _judge: judge, serving, tasks, folder });
        Ok(RunningServer {
            member,
            client_addresses,
            peer_addresses,
            metrics_addresses,
            ending,
            parts,
        })
    }
}

impl Links {
    fn new(member_id: NodeId) -> Self {
        let (runtime, member) = (Handle::current(), RwLock::new(Weak::new()));
        Self {
            leadership: Arc::new(Leadership::new(member_id)),
            answerer: Arc::new(Answerer { runtime, member }),
            ending: Arc::new(watch::Sender::new(None)),
            clock: Arc::new(OsClock::new()),
            entropy: Arc::new(OsEntropy),
        }
    }

    fn clone_for_host(&self) -> Self {
        Self {
            leadership: Arc::clone(&self.leadership),
            answerer: Arc::clone(&self.answerer),
            ending: Arc::clone(&self.ending),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        }
    }
}

/// Files are made for their owner alone; a folder that was there before is somebody's choice, and
/// worth a word.
fn warn_of_open_folder(dir: &Path) {
    if is_open_to_others(dir).unwrap_or(false) {
        tracing::warn!(dir = %dir.display(), "others may look into the data folder: chmod 700");
    }
}

/// Takes the folder for this process, and for this member for ever.
pub(crate) fn claim_folder(
    disk: &dyn Disk,
    dir: &Path,
    identity: &Identity,
) -> Result<DataFolder, StartError> {
    let expected = wal::Identity { cluster_id: identity.cluster.id, node_id: identity.member_id.0 };
    let damaged = |file, reason: &str| StartError::IdentityDamaged { file, reason: reason.into() };
    DataFolder::open(disk, dir, expected).map_err(|error| match error {
        FolderError::Locked { path } => StartError::DataDirInUse { dir: path },
        FolderError::Foreign { path, expected, found }
            if expected.cluster_id != found.cluster_id =>
        {
            StartError::DataOfAnotherCluster {
                dir: path,
                found: found.cluster_id,
                wanted: expected.cluster_id,
            }
        }
        FolderError::Foreign { path, found, .. } => StartError::DataOfAnotherMember {
            dir: path,
            found: format!("{:x}", found.node_id),
            wanted: identity.name.clone(),
        },
        FolderError::Damaged { path } => damaged(path, "its bytes are not what was written"),
        FolderError::Io(error) => StartError::Disk { doing: "opening", path: dir.into(), error },
        other @ (FolderError::Version { .. } | _) => damaged(dir.into(), &other.to_string()),
    })
}

/// Who starts, and whether it is for the first time.
async fn settle_identity(
    disk: &dyn Disk,
    options: &ServerOptions,
    plan: &Plan,
    sockets: &Sockets,
    peering: &Peering,
) -> Result<(Identity, bool), StartError> {
    let dir = options.data_dir.clone();
    let found = Identity::read(disk, &dir)?;
    let described = plan.cluster.clone();
    let exists = options.initial_cluster_state == ClusterState::Existing;
    let claim = Claim { dir, name: &options.name, described: described.clone(), exists, found };
    if let Some(identity) = claim.settle()? {
        return Ok((identity, false));
    }
    let newcomer = |cluster: &Cluster| {
        Newcomer::new(&options.name, GROUP, plan.member_id, cluster, peering.tls())
    };
    let cluster = match described {
        Some(cluster) if exists => {
            let newcomer = newcomer(&cluster);
            return Ok((aside(move || newcomer.join()).await?, true));
        }
        Some(cluster) => {
            let newcomer = newcomer(&cluster);
            let (member_id, cluster_id) = (plan.member_id, cluster.id);
            aside(move || newcomer.check_unknown(member_id, cluster_id)).await?;
            cluster
        }
        None if exists => return Err(StartError::ExistingWithoutCluster),
        None => alone(options, plan, &sockets.peer_addresses, peering.is_secure()),
    };
    let (member_id, name) = (plan.member_id, options.name.clone());
    Ok((Identity { member_id, name, joined: false, cluster }, true))
}

/// Does what blocks, on no thread that the runtime needs.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// A cluster of this member.
fn alone(options: &ServerOptions, plan: &Plan, bound: &[SocketAddr], is_tls: bool) -> Cluster {
    let urls = advertised(&plan.advertise_peer_urls, &plan.listen_peer_urls, bound, is_tls);
    let peer_urls = urls.iter().filter_map(|url| HttpUrl::parse(url).ok()).collect();
    let seed = Seed { name: options.name.clone(), peer_urls };
    Cluster::new(&options.initial_cluster_token, vec![seed])
}

/// Everything that opening the disk needs.
struct Opening {
    options: ServerOptions,
    identity: Identity,
    disk: Arc<dyn Disk>,
    peer: Vec<TcpListener>,
    folder: DataFolder,
    peering: Peering,
}

impl Opening {
    fn open(self, links: &Links) -> Result<Opened, StartError> {
        let (wal, recovered) = self.open_log()?;
        let (machine, store) = self.open_store()?;
        // One that joins knows nobody until its leader tells it.
        let bootstrap = if self.identity.joined {
            Configuration::default()
        } else {
            self.identity.cluster.configuration()
        };
        let setup = GroupSetup { id: GROUP, machine, bootstrap };
        // Peers may refuse this member before the host that judges their word is there.
        let judge = Arc::new(OnceLock::new());
        let world = self.world(links, &judge)?;
        let stages =
            Stages::build(self.host_options(links), world, wal, recovered.groups, vec![setup])
                .map_err(StartError::Host)?;
        let host = Host::start(stages).map_err(StartError::Host)?;
        let _only_set_here = judge.set(host.receiver());
        let peer_listeners = self.peering.listen(self.peer, &host.receiver())?;
        Ok(Opened { host, store, peer_listeners, judge, folder: self.folder })
    }

    fn open_log(&self) -> Result<(Wal, wal::Recovered), StartError> {
        let dir = self.dir("wal");
        // Files of another member's log, copied into this folder, are refused by this number.
        let options = WalOptions { identity: self.identity.member_id.0, ..WalOptions::default() };
        Wal::open(Arc::clone(&self.disk), &dir, options)
            .map_err(|error| StartError::Log { dir, error })
    }

    fn open_store(&self) -> Result<(StoreMachine, Store), StartError> {
        let dir = self.dir("store");
        let quota_bytes = self.options.quota_bytes().unwrap_or(0);
        let options = StoreOptions { quota_bytes, ..StoreOptions::default() };
        StoreMachine::open(Arc::clone(&self.disk), &dir, options)
            .map_err(|error| StartError::Store { dir, error })
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.options.data_dir.join(name)
    }

    fn world(&self, links: &Links, judge: &Arc<OnceLock<Receiver>>) -> Result<World, StartError> {
        // Whom to connect to, the configuration says.
        let net = || {
            let nobody = PeerAddresses::new();
            let (cluster_id, member_id) = (self.identity.cluster.id, self.identity.member_id);
            TcpNet::start(cluster_id, member_id, &nobody, self.peering.tls())
                .map_err(|error| StartError::Host(error.into()))
        };
        let (peer_net, bulk_net) = (net()?, net()?);
        // Weak: the host that judges keeps this network.
        let (judge, tls) = (Arc::downgrade(judge), self.peering.tls());
        peer_net.on_removed(move |peer, address| {
            let judge = judge.upgrade();
            if let Some(judge) = judge.as_ref().and_then(|judge| judge.get()) {
                judge.hear_of_removal(peer, address, tls.as_deref());
            }
        });
        Ok(World {
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&links.clock),
            net: peer_net,
            bulk_net,
            entropy: Arc::clone(&links.entropy),
        })
    }

    /// Where the members are reached as the folder or the options have it.
    fn seeds(&self) -> PeerAddresses {
        let addresses = |seed: &Seed| seed.peer_urls.iter().map(HttpUrl::peer_address).collect();
        let members = &self.identity.cluster.members;
        members.iter().map(|(id, seed)| (*id, addresses(seed))).collect()
    }

    fn host_options(&self, links: &Links) -> HostOptions {
        let (leadership, answerer) = (Arc::clone(&links.leadership), Arc::clone(&links.answerer));
        let (fatal, removed) = (Arc::clone(&links.ending), Arc::clone(&links.ending));
        let lost = Arc::clone(&links.ending);
        let Identity { member_id, name, cluster, .. } = &self.identity;
        let data_lost = ExitReason::DataLost { name: name.clone(), member_id: member_id.0 };
        HostOptions {
            heartbeat_interval_ms: self.options.heartbeat_interval_ms,
            election_timeout_ms: self.options.election_timeout_ms,
            request_timeout_ms: self.options.request_timeout_ms(),
            snapshot_entry_count: self.options.snapshot_count,
            command_bytes_max: self.options.max_request_bytes + COMMAND_OVERHEAD_BYTES,
            peer_protocol_max: self.options.peer_protocol_max,
            call_handler: Arc::new(move |context, question, reply| {
                answerer.handle(context, question, reply);
            }),
            observer: Arc::new(move |_, status| leadership.update(status)),
            linearizable_reads: match self.options.linearizable_reads {
                Some(LinearizableReads::LeaseGuard) => ReadMode::LeaseGuard { checks_limbo: false },
                Some(LinearizableReads::ReadIndex) | None => ReadMode::ReadIndex,
            },
            seeds: self.seeds(),
            on_removed: Arc::new(move |_| end(&removed, ExitReason::Removed)),
            on_log_lost: Arc::new(move |_| end(&lost, data_lost.clone())),
            on_fatal: Arc::new(move |fault| end(&fatal, ExitReason::Fatal(fault))),
            ..HostOptions::new(*member_id, cluster.id, self.dir("host"))
        }
    }
}
