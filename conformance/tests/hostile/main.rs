//! Hostile clients: whatever they send, the cluster keeps its leader, honest clients are served,
//! and the member that is attacked stays inside a stated amount of memory.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]
#![expect(clippy::print_stdout, reason = "what was measured is for who reads the test's output")]

mod frames;
mod held;
mod plain;
mod streams;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api::etcdserverpb::PutRequest;
use api::etcdserverpb::kv_client::KvClient;
use conformance::load::lazy_within;
use conformance::{Cluster, ClusterPlan, audit, long_form, pause};
use env::Clock;
use env::os::OsClock;
use tokio::runtime::Runtime;

/// What a member may grow by, whoever attacks it. A debug build is measured here.
const MEMORY_BUDGET_BYTES: u64 = 512 << 20;
/// Of an attack by bytes; each is repeated by several at a time as long as this.
const ATTACKERS: usize = 4;
/// An honest put waits no longer than this while the member is attacked.
const PUT_WITHIN: Duration = Duration::from_secs(5);

/// The cluster under attack.
struct Arena {
    cluster: Cluster,
    runtime: Runtime,
    /// What each member took before the first attack.
    before_bytes: Vec<u64>,
}

impl Arena {
    fn new() -> Self {
        // Attackers and members share the processors of this machine, perhaps with other tests.
        let flags =
            vec!["--election-timeout=2000".to_owned(), "--heartbeat-interval=100".to_owned()];
        let cluster = Cluster::start_plan(&ClusterPlan { flags, ..ClusterPlan::default() });
        let runtime = Runtime::new().unwrap();
        let mut arena = Self { cluster, runtime, before_bytes: Vec::new() };
        arena.before_bytes = (0..3).map(|member| arena.memory_bytes(member)).collect();
        arena
    }

    fn leader(&self) -> (usize, u64) {
        let endpoints = self.cluster.endpoints();
        self.runtime.block_on(async {
            let leader = audit::leader(&endpoints).await.expect("a cluster has a leader");
            (leader, audit::status(&endpoints[leader]).await.unwrap().raft_term)
        })
    }

    fn put(&self, member: usize, key: &str, value_bytes: usize) {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: vec![b'v'; value_bytes].into(),
            ..PutRequest::default()
        };
        let endpoint = self.cluster.endpoint(member);
        self.runtime.block_on(async {
            let mut client = KvClient::new(lazy_within(&endpoint, PUT_WITHIN));
            let put = tokio::time::timeout(PUT_WITHIN, client.put(request)).await;
            put.expect("an honest client is served in time").expect("an honest put is taken");
        });
    }

    /// Attacks the leader, and looks at what it must keep meanwhile and afterwards.
    fn attack(&self, name: &str, attack: impl FnOnce(SocketAddr)) {
        let (leader, term) = self.leader();
        // What an attack leaves behind counts for the next one as well.
        let before = self.before_bytes[leader];
        let most = AtomicU64::new(before);
        let over = AtomicBool::new(false);
        let to = self.cluster.endpoint(leader).parse().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(self.memory_bytes(leader), Ordering::Relaxed);
                    pause(Duration::from_millis(50));
                }
            });
            scope.spawn(|| {
                // A put of its own connection each time, as who comes while the attack is on.
                while !over.load(Ordering::Relaxed) {
                    self.put(leader, "honest", 10);
                    pause(Duration::from_millis(50));
                }
            });
            // Whether it panics or not, those who look on must end.
            let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attack(to)));
            over.store(true, Ordering::Relaxed);
            attacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        self.put(leader, "after", 10);
        let grown = most.load(Ordering::Relaxed).saturating_sub(before);
        println!("{name}: {} MiB more than the {} of the beginning", grown >> 20, before >> 20);
        assert!(grown <= MEMORY_BUDGET_BYTES, "{name}: the member grew by {} MiB", grown >> 20);
        assert_eq!(self.leader(), (leader, term), "{name}: the cluster lost its leader");
    }

    /// The same by several at a time, again and again.
    fn attack_by_many(&self, name: &str, attack: fn(SocketAddr)) {
        let clock = OsClock::new();
        let lasts = Duration::from_millis(if long_form() { 20_000 } else { 1_000 });
        self.attack(name, |to| {
            let end = clock.now().after(lasts);
            let again = || {
                while clock.now() < end {
                    attack(to);
                }
            };
            std::thread::scope(|scope| {
                (0..ATTACKERS).for_each(|_| drop(scope.spawn(again)));
            });
        });
    }

    fn memory_bytes(&self, member: usize) -> u64 {
        let pid = self.cluster.pids()[member];
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

#[test]
fn floods_of_frames_and_malformed_messages_do_no_harm() {
    let arena = Arena::new();
    arena.attack_by_many("rapid reset", frames::rapid_reset);
    arena.attack_by_many("rapid reset of pages", frames::rapid_reset_of_pages);
    arena.attack_by_many("a head without end", frames::continuation_flood);
    arena.attack_by_many("huge heads", frames::huge_headers);
    arena.attack_by_many("settings", frames::settings_flood);
    arena.attack_by_many("pings", frames::ping_flood);
    arena.attack_by_many("garbage", frames::garbage);
    let runtime = &arena.runtime;
    arena.attack("malformed messages", |to| runtime.block_on(streams::malformed_messages(to)));
}

#[test]
fn clients_that_do_not_read_or_do_not_end_hold_a_bounded_amount() {
    let arena = Arena::new();
    let (leader, _) = arena.leader();
    for number in 0..16 {
        arena.put(leader, &format!("large/{number}"), 1 << 20);
    }
    let runtime = &arena.runtime;
    arena.attack("unread ranges", |to| {
        runtime.block_on(async {
            let four = [0; ATTACKERS].map(|_| tokio::spawn(streams::unread_ranges(to)));
            for one in four {
                one.await.unwrap();
            }
        });
    });
    arena.attack("unfinished requests", |to| {
        runtime.block_on(async {
            let four = [0; ATTACKERS].map(|_| tokio::spawn(streams::unfinished_requests(to)));
            for one in four {
                one.await.unwrap();
            }
        });
    });
    arena.attack("unread leaders", |to| {
        runtime.block_on(async {
            held::lead(to, 1 << 20).await;
            let four = [0; ATTACKERS].map(|_| tokio::spawn(held::unread_leaders(to)));
            for one in four {
                one.await.unwrap();
            }
        });
    });
    arena.attack("a socket that is not read", |to| {
        runtime.block_on(async {
            let four = [0; ATTACKERS].map(|_| tokio::spawn(held::unread_socket(to)));
            for one in four {
                one.await.unwrap();
            }
        });
    });
    arena.attack("a flood of questions", |to| runtime.block_on(streams::progress_flood(to)));
    arena.attack("an unread watch", |to| {
        let watch = runtime.block_on(streams::unread_watch(to));
        assert!(watch.is_some());
        let rounds = if long_form() { 400 } else { 60 };
        for number in 0..rounds {
            arena.put(leader, &format!("large/{}", number % 16), 1 << 20);
        }
        drop(watch);
    });
}

/// What looks like an attack and is none: a client of many watches whose caller goes away.
#[test]
fn many_watches_that_are_canceled_at_once_are_no_attack() {
    let arena = Arena::new();
    arena.attack("canceled watches", |to| {
        for _ in 0..5 {
            frames::honest_cancels(to, 800, 200);
        }
    });
}

/// How many of the calls of all attackers together are refused.
async fn refused_of_all<F>(one: impl Fn() -> F) -> usize
where
    F: Future<Output = usize> + Send + 'static,
{
    let attackers = [0; ATTACKERS].map(|_| tokio::spawn(one()));
    let mut refused = 0;
    for attacker in attackers {
        refused += attacker.await.unwrap();
    }
    refused
}

/// What has no gRPC is bounded as what has.
#[test]
fn gateway_bodies_that_are_not_ended_are_bounded() {
    let arena = Arena::new();
    let mut refused = 0;
    arena.attack("unfinished gateway bodies", |to| {
        refused = arena.runtime.block_on(refused_of_all(|| plain::unfinished_bodies(to)));
    });
    assert!(refused > 100, "{refused} of 400 bodies were refused, with 1.2 GB of them");
}

#[test]
fn gateway_ranges_that_are_not_read_are_bounded() {
    let arena = Arena::new();
    let (leader, _) = arena.leader();
    for number in 0..16 {
        arena.put(leader, &format!("large/{number}"), 1 << 20);
    }
    let mut refused = 0;
    arena.attack("unread gateway ranges", |to| {
        refused = arena.runtime.block_on(refused_of_all(|| plain::unread_ranges(to)));
    });
    assert!(refused > 40, "{refused} of 80 ranges were refused, with 1.8 GB of answers");
}

#[test]
fn pages_that_are_not_read_are_bounded() {
    let arena = Arena::new();
    let mut refused = 0;
    arena.attack("unread /metrics over h2", |to| {
        refused = arena.runtime.block_on(plain::unread_metrics(to, 12_000));
    });
    assert!(refused > 2000, "{refused} of 12,000 pages were refused, with 125 MB of them");
}

/// Of a connection: beyond that, each further one is refused, and the connection goes on.
#[test]
fn calls_and_watchers_of_a_connection_are_counted() {
    let arena = Arena::new();
    let runtime = &arena.runtime;
    arena.attack("long heads", |to| {
        let refused = runtime.block_on(held::long_heads(to, 6000));
        assert!(refused > 1000, "{refused} of 6000 calls were refused, with 90 MB of heads");
    });
    arena.attack("open streams", |to| {
        let refused = runtime.block_on(held::open_streams(to, 6000));
        assert!(refused > 1000, "{refused} of 6000 streams were refused");
    });
    arena.attack("watchers of long keys", |to| {
        let refused = runtime.block_on(held::watchers(to, 200, 1 << 20));
        assert!(refused > 100, "{refused} of 200 watchers with 1 MiB of keys were refused");
    });
}

#[test]
fn ten_thousand_connections_do_no_harm() {
    let arena = Arena::new();
    // Some are for the test itself; where the system gives fewer, fewer attack.
    let wanted = env::os::raise_descriptors().saturating_sub(500).min(10_000);
    arena.attack("connections", |to| {
        let open = arena.runtime.block_on(async {
            let mut open = Vec::new();
            for number in 0..wanted {
                // One address may have 4,096.
                let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 4).unwrap() + 1);
                open.extend(streams::silent_connection(from, to).await);
            }
            open
        });
        println!("{} of {wanted} connections are open", open.len());
        assert_eq!(open.len(), wanted);
        pause(Duration::from_secs(1));
    });
}
