//! The same random requests to Flotilla and to the `etcd` of this machine, one after the other:
//! every answer, revision, error and event is equal, but for ids and for what
//! `docs/differences.md` has.
//!
//! `DIFFERENTIAL_SEED` and `DIFFERENTIAL_REQUESTS` repeat a run: `cargo xtask differential`. With
//! `DIFFERENTIAL_PAIRS` as many pairs of servers are asked at a time, each by a seed of its own.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]
#![expect(clippy::print_stdout, reason = "how far a long run is, is for who waits for it")]

mod administration;
mod asks;
mod settle;
mod side;

use std::time::Duration;

use administration::{AboutMembers, AboutUsers, Administration};
use api::authpb;
use api::etcdserverpb::{self as pb};
use asks::{Ask, Chooser};
use bytes::Bytes;
use conformance::{Target, skip};
use env::SplitMix;
use side::Side;

/// Of those that there are; the first may cause the others.
const DIFFERENCES_SHOWN: usize = 8;
/// What is left of a lease may differ by as many seconds: each server asks its own clock, at its
/// own moment.
const LEFT_SECS_APART_MAX: i64 = 2;
/// Events are compared after so many requests.
const REQUESTS_BETWEEN_LOOKS: u64 = 100;
/// A request that waits longer waits for ever.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// And revisions after so many: what was refused must not have been done.
const REQUESTS_BETWEEN_REVISIONS: u64 = 4;
/// How far a long run is, is told after so many requests.
const REQUESTS_BETWEEN_REPORTS: u64 = 20_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

/// Whether ours refuses who asks, and etcd what is asked: see "who asks, and what" in
/// `docs/differences.md`.
fn are_both_refused(our: &str, their: &str) -> bool {
    let who = ["user name is empty", "invalid auth token", "permission denied"];
    let what = [
        "key is not provided",
        "value is provided",
        "lease is provided",
        "key not found",
        "duplicate key given",
        "invalid sort option",
    ];
    who.iter().any(|text| our.ends_with(text)) && what.iter().any(|text| their.contains(text))
}

/// Both servers, and what they answered otherwise.
struct Pair {
    ours: Side,
    theirs: Side,
    differences: Vec<String>,
    /// Up to where events were compared.
    compared: i64,
}

impl Pair {
    async fn start(etcd: &Target) -> Self {
        let (ours, theirs) = (Side::start(&Target::flotilla()).await, Side::start(etcd).await);
        Self { ours, theirs, differences: Vec::new(), compared: 1 }
    }

    /// Sends it to both; what ours answered.
    async fn send(&mut self, count: u64, ask: &Ask, user: &str) -> String {
        let (ours, theirs) = tokio::join!(
            tokio::time::timeout(ANSWERED_WITHIN, self.ours.send(ask.clone(), user)),
            tokio::time::timeout(ANSWERED_WITHIN, self.theirs.send(ask.clone(), user)),
        );
        // Who hangs is what one wants to know.
        let hangs = |by: &str| panic!("{by} does not answer request {count} of {user:?}: {ask:?}");
        let (our, our_left) = ours.unwrap_or_else(|_late| hangs("Flotilla"));
        let (their, their_left) = theirs.unwrap_or_else(|_late| hangs("etcd"));
        let apart = our_left.zip(their_left).map_or(0, |(our, their)| (our - their).abs());
        let differs = our != their && !are_both_refused(&our, &their);
        if differs || apart > LEFT_SECS_APART_MAX {
            self.differences.push(format!(
                "request {count} of {user:?}: {ask:?}\n  ours   {our} {our_left:?}\n  etcd's {their} {their_left:?}\n"
            ));
        }
        our
    }

    /// The revision of both.
    async fn revision(&self, seed: u64, last: &[String]) -> i64 {
        let (ours, theirs) = tokio::join!(self.ours.revision(), self.theirs.revision());
        let differences = &self.differences;
        assert_eq!(
            ours, theirs,
            "seed {seed}: the revision after {last:#?}; before: {differences:?}"
        );
        ours
    }

    /// Compares the events since the last look that are not compacted.
    async fn look(&mut self, compacted: i64, revision: i64) {
        let from = self.compared.max(compacted) + 1;
        if from <= revision {
            let both = (self.ours.events(from, revision), self.theirs.events(from, revision));
            let (ours, theirs) = tokio::join!(both.0, both.1);
            assert_eq!(ours, theirs, "events from {from}");
        }
        self.compared = revision;
    }

    fn end(&self, requests: u64, seed: u64) {
        let first: String =
            self.differences.iter().take(DIFFERENCES_SHOWN).map(String::as_str).collect();
        assert!(
            self.differences.is_empty(),
            "seed {seed}: {} of {requests} are answered otherwise, the first of them:\n{first}",
            self.differences.len()
        );
    }
}

/// Runs each of some pairs in a thread of its own, with its share of the requests.
fn by_pairs(requests: u64, one: impl Fn(u64, u64) + Sync) {
    let (pairs, first_seed) = (number("DIFFERENTIAL_PAIRS", 1), number("DIFFERENTIAL_SEED", 1));
    std::thread::scope(|scope| {
        let one = &one;
        let seeds = first_seed..first_seed + pairs;
        let all: Vec<_> =
            seeds.map(|seed| scope.spawn(move || one(requests / pairs, seed))).collect();
        for pair in all {
            pair.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn random_requests_are_answered_as_etcd_answers_them() {
    let Some(etcd) = Target::etcd() else {
        return skip("random_requests_are_answered_as_etcd_answers_them", "etcd");
    };
    by_pairs(number("DIFFERENTIAL_REQUESTS", 2000), |requests, seed| {
        runtime().block_on(random_requests(&etcd, requests, seed));
    });
}

async fn random_requests(etcd: &Target, requests: u64, seed: u64) {
    let mut pair = Pair::start(etcd).await;
    let dice = SplitMix::new(seed);
    let mut chooser = Chooser { dice, revision: 1, compacted: 0, depth: 2, alarmed: false };
    let mut last = Vec::new();
    for count in 0..requests {
        let ask = chooser.ask();
        if let Ask::Compact(_) = ask {
            chooser.revision = pair.revision(seed, &last).await;
            pair.look(chooser.compacted, chooser.revision).await;
        }
        let our = pair.send(count, &ask, "").await;
        if let (Ask::Compact(compact), true) = (&ask, our.starts_with("Compaction")) {
            chooser.compacted = compact.revision;
        }
        if let Ask::Administer(Administration::Members(AboutMembers::Alarm(alarm))) = &ask
            && alarm.action != 0
        {
            chooser.alarmed = alarm.action == 1;
        }
        last.push(format!("{count}: {ask:?}, answered {our}"));
        if count % REQUESTS_BETWEEN_REVISIONS == 0 {
            chooser.revision = pair.revision(seed, &last).await;
            last.clear();
        }
        if count % REQUESTS_BETWEEN_LOOKS == 0 {
            pair.look(chooser.compacted, chooser.revision).await;
        }
        if count % REQUESTS_BETWEEN_REPORTS == REQUESTS_BETWEEN_REPORTS - 1 {
            println!("seed {seed}: {} requests, {} differences", count + 1, pair.differences.len());
        }
    }
    let revision = pair.revision(seed, &last).await;
    pair.look(chooser.compacted, revision).await;
    pair.end(requests, seed);
}

/// Makes users and roles on both, and turns authentication on.
async fn turn_authentication_on(pair: &mut Pair) {
    let role = |name: &str| AboutUsers::RoleAdd(pb::AuthRoleAddRequest { name: name.into() });
    let user = |name: &str| {
        let (name, password) = (name.into(), "secret".into());
        AboutUsers::UserAdd(pb::AuthUserAddRequest { name, password, ..Default::default() })
    };
    let give = |user: &str, role: &str| {
        let (user, role) = (user.into(), role.into());
        AboutUsers::UserGrant(pb::AuthUserGrantRoleRequest { user, role })
    };
    let allow = |role: &str, perm_type: i32, key: &'static str, end: &'static str| {
        let (key, range_end) = (Bytes::from_static(key.as_bytes()), end.as_bytes().into());
        let perm = Some(authpb::Permission { perm_type, key, range_end });
        let name = role.into();
        AboutUsers::RoleGrant(pb::AuthRoleGrantPermissionRequest { name, perm })
    };
    // 0 is to read, 1 to write, 2 both.
    let asks = [
        role("root"),
        role("reads"),
        role("writes"),
        allow("reads", 0, "a", "c"),
        allow("reads", 2, "d", ""),
        allow("writes", 2, "b", "z"),
        allow("writes", 1, "a", "b"),
        user("root"),
        user("reader"),
        user("author"),
        user("idle"),
        give("root", "root"),
        give("reader", "reads"),
        give("author", "writes"),
        AboutUsers::Enable,
    ];
    for ask in asks {
        // etcd 3.4 does not know the role root before it is made.
        let ask = Ask::Administer(Administration::Users(ask));
        pair.send(0, &ask, "").await;
    }
    pair.differences.clear();
    for name in ["root", "reader", "author", "idle"] {
        pair.ours.sign_in(name, "secret").await;
        pair.theirs.sign_in(name, "secret").await;
    }
}

#[test]
fn requests_of_users_are_answered_as_etcd_answers_them() {
    let Some(etcd) = Target::etcd() else {
        return skip("requests_of_users_are_answered_as_etcd_answers_them", "etcd");
    };
    by_pairs(number("DIFFERENTIAL_REQUESTS", 2000) / 2, |requests, seed| {
        runtime().block_on(requests_of_users(&etcd, requests, seed));
    });
}

async fn requests_of_users(etcd: &Target, requests: u64, seed: u64) {
    let mut pair = Pair::start(etcd).await;
    turn_authentication_on(&mut pair).await;
    let dice = SplitMix::new(seed);
    // One transaction, as etcd 3.4 does not look into those inside.
    let mut chooser = Chooser { dice, revision: 1, compacted: 0, depth: 0, alarmed: false };
    for count in 0..requests {
        let users = ["root", "reader", "reader", "author", "author", "idle", "stranger", ""];
        let user = chooser.pick(&users);
        let ask = match chooser.below(8) {
            // Nobody at all is, to etcd 3.4, the user without a name.
            0 if !user.is_empty() => Ask::Administer(Administration::Users(chooser.about_users())),
            _ => chooser.ask_of_a_user(),
        };
        pair.send(count, &ask, user).await;
    }
    pair.end(requests, seed);
}
