//! The same random requests to Flotilla and to the `etcd` of this machine, one after the other:
//! every answer, revision, error and event is equal, but for ids and for what
//! `docs/differences.md` has.
//!
//! `DIFFERENTIAL_SEED` and `DIFFERENTIAL_REQUESTS` repeat a run: `cargo xtask differential`.

#![expect(clippy::unwrap_used, reason = "in a test's helper it fails the test")]

mod administration;
mod asks;
mod settle;
mod side;

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
        let (our, our_left) = self.ours.send(ask.clone(), user).await;
        let (their, their_left) = self.theirs.send(ask.clone(), user).await;
        let apart = our_left.zip(their_left).map_or(0, |(our, their)| (our - their).abs());
        let differs = our != their && !are_both_refused(&our, &their);
        if differs || apart > LEFT_SECS_APART_MAX {
            self.differences.push(format!(
                "request {count} of {user:?}: {ask:?}\n  ours   {our} {our_left:?}\n  etcd's {their} {their_left:?}\n"
            ));
        }
        our
    }

    /// Compares the events since the last look that are not compacted.
    async fn look(&mut self, compacted: i64, revision: i64) {
        let from = self.compared.max(compacted) + 1;
        if from <= revision {
            let ours = self.ours.events(from, revision).await;
            assert_eq!(ours, self.theirs.events(from, revision).await, "events from {from}");
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

#[test]
fn random_requests_are_answered_as_etcd_answers_them() {
    let Some(etcd) = Target::etcd() else {
        return skip("random_requests_are_answered_as_etcd_answers_them", "etcd");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (requests, seed) = (number("DIFFERENTIAL_REQUESTS", 2000), number("DIFFERENTIAL_SEED", 1));
    runtime.block_on(async {
        let mut pair = Pair::start(&etcd).await;
        let dice = SplitMix::new(seed);
        let mut chooser = Chooser { dice, revision: 1, compacted: 0, depth: 2, alarmed: false };
        for count in 0..requests {
            let ask = chooser.ask();
            if let Ask::Compact(_) = ask {
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
            let revision = pair.ours.revision().await;
            // Also of what was refused: it must not have been done.
            assert_eq!(
                revision,
                pair.theirs.revision().await,
                "the revision after request {count} of seed {seed}: {ask:?}, answered {our}; before: \
                 {:?}",
                pair.differences
            );
            chooser.revision = revision;
            if count % REQUESTS_BETWEEN_LOOKS == 0 {
                pair.look(chooser.compacted, revision).await;
            }
        }
        pair.look(chooser.compacted, chooser.revision).await;
        pair.end(requests, seed);
    });
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (requests, seed) = (number("DIFFERENTIAL_REQUESTS", 2000), number("DIFFERENTIAL_SEED", 1));
    let requests = requests / 2;
    runtime.block_on(async {
        let mut pair = Pair::start(&etcd).await;
        turn_authentication_on(&mut pair).await;
        let dice = SplitMix::new(seed);
        // One transaction, as etcd 3.4 does not look into those inside.
        let mut chooser = Chooser { dice, revision: 1, compacted: 0, depth: 0, alarmed: false };
        for count in 0..requests {
            let users = ["root", "reader", "reader", "author", "author", "idle", "stranger", ""];
            let user = chooser.pick(&users);
            let ask = match chooser.below(8) {
                // Nobody at all is, to etcd 3.4, the user without a name.
                0 if !user.is_empty() => {
                    Ask::Administer(Administration::Users(chooser.about_users()))
                }
                _ => chooser.ask_of_a_user(),
            };
            pair.send(count, &ask, user).await;
        }
        pair.end(requests, seed);
    });
}
