//! Users, roles and what they permit, as apply and the read handle see them.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::Harness;
use env::Moment;
use host::{CommittedEntry, StateMachine};
use raft::EntryId;
use store::*;

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn user(name: &str, auth_revision: u64) -> Principal {
    Principal::User { name: name.to_owned(), auth_revision }
}

fn add_user(name: &str) -> AuthCommand {
    let password_hash = Some(PasswordHash(format!("hash of {name}")));
    AuthCommand::UserAdd { name: name.to_owned(), password_hash }
}

fn grant_role(user: &str, role: &str) -> AuthCommand {
    AuthCommand::UserGrantRole { user: user.to_owned(), role: role.to_owned() }
}

fn permit(role: &str, access: Access, key: &str, range_end: &str) -> AuthCommand {
    let permission = Permission { access, key: b(key), range_end: b(range_end) };
    AuthCommand::RoleGrantPermission { role: role.to_owned(), permission }
}

trait Propose {
    fn propose(
        &mut self,
        who: Option<&Principal>,
        command: Command,
    ) -> Result<Response, RequestError>;
    fn now(&mut self, name: &str, command: Command) -> Result<Response, RequestError>;
    fn auth(&mut self, command: AuthCommand) -> Result<Response, RequestError>;
}

impl Propose for Harness {
    fn propose(
        &mut self,
        who: Option<&Principal>,
        command: Command,
    ) -> Result<Response, RequestError> {
        self.index += 1;
        let command = match who {
            Some(who) => command.encode_as(who),
            None => command.encode(),
        };
        let entry = CommittedEntry { id: EntryId::new(1, self.index), command: Some(command) };
        let mut responses = Vec::new();
        self.machine.apply(&[entry], &mut responses).expect("the disk works");
        responses.pop().expect("one command, one response")
    }

    /// As a user that was admitted a moment ago.
    fn now(&mut self, name: &str, command: Command) -> Result<Response, RequestError> {
        let revision = self.store.auth_status().revision;
        self.propose(Some(&user(name, revision)), command)
    }

    fn auth(&mut self, command: AuthCommand) -> Result<Response, RequestError> {
        self.now(ROOT, Command::Auth(command))
    }
}

/// Authentication is on: root, alice who reads and writes `a…`, bob who reads `b`, eve with
/// nothing.
fn harness() -> Harness {
    let mut h = Harness::new();
    for command in [
        add_user("root"),
        grant_role("root", "root"),
        add_user("alice"),
        add_user("bob"),
        add_user("eve"),
        AuthCommand::RoleAdd { name: "a".to_owned() },
        AuthCommand::RoleAdd { name: "b".to_owned() },
        permit("a", Access::ReadWrite, "a", "b"),
        permit("b", Access::Read, "b", ""),
        grant_role("alice", "a"),
        grant_role("bob", "b"),
        AuthCommand::Enable,
    ] {
        h.propose(None, Command::Auth(command)).expect("it is done");
    }
    h
}

fn put(key: &str) -> PutRequest {
    PutRequest { key: b(key), value: b("v"), ..PutRequest::default() }
}

fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: b(key), range_end: b(range_end), prev_kv: false }
}

fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest { key: b(key), range_end: b(range_end), ..RangeRequest::default() }
}

fn compare(key: &str) -> Compare {
    let target = CompareTarget::Version(0);
    Compare { key: b(key), range_end: Bytes::new(), result: CompareResult::Equal, target }
}

const DENIED: RequestError = RequestError::PermissionDenied;

#[test]
fn every_operation_is_checked_also_in_branches_that_are_not_taken() {
    let mut h = harness();
    let denied = |h: &mut Harness, who: &str, command: Command| {
        let before = h.store.revision();
        assert_eq!(h.now(who, command.clone()), Err(DENIED), "{who}: {command:?}");
        assert_eq!(h.store.revision(), before, "a refused command changes nothing");
    };
    h.now("alice", Command::Put(put("a1"))).unwrap();
    h.now("root", Command::Put(put("zz"))).unwrap();
    denied(&mut h, "bob", Command::Put(put("b")));
    denied(&mut h, "eve", Command::Put(put("a1")));
    denied(&mut h, "nobody", Command::Put(put("a1")));
    denied(&mut h, "alice", Command::DeleteRange(delete("a", "c")));
    denied(&mut h, "alice", Command::DeleteRange(delete("a", "\0")));
    h.now("alice", Command::DeleteRange(delete("a", "b"))).unwrap();
    let forbidden: Vec<RequestOp> = vec![
        RequestOp::Put(put("b")),
        RequestOp::DeleteRange(delete("a", "\0")),
        RequestOp::Range(range("b", "")),
        RequestOp::Txn(TxnRequest { compare: vec![compare("b")], ..TxnRequest::default() }),
        RequestOp::Txn(TxnRequest {
            failure: vec![RequestOp::Put(put("b"))],
            ..TxnRequest::default()
        }),
    ];
    for op in forbidden {
        let success = TxnRequest { success: vec![op.clone()], ..TxnRequest::default() };
        denied(&mut h, "alice", Command::Txn(success));
        let failure = TxnRequest { failure: vec![op.clone()], ..TxnRequest::default() };
        denied(&mut h, "alice", Command::Txn(failure.clone()));
        let nested = TxnRequest {
            success: vec![RequestOp::Put(put("a2")), RequestOp::Txn(failure)],
            ..TxnRequest::default()
        };
        denied(&mut h, "alice", Command::Txn(nested));
    }
    let compared = TxnRequest { compare: vec![compare("b")], ..TxnRequest::default() };
    denied(&mut h, "alice", Command::Txn(compared));
    let may = TxnRequest {
        compare: vec![compare("a")],
        success: vec![RequestOp::Put(put("a3")), RequestOp::Range(range("a", "b"))],
        failure: vec![RequestOp::DeleteRange(delete("a", "b"))],
    };
    h.now("alice", Command::Txn(may)).unwrap();
}

#[test]
fn what_was_there_before_is_a_read() {
    let mut h = harness();
    h.auth(permit("b", Access::Write, "w", "")).unwrap();
    h.now("bob", Command::Put(put("w"))).unwrap();
    let prev = Command::Put(PutRequest { prev_kv: true, ..put("w") });
    assert_eq!(h.now("bob", prev), Err(DENIED));
    let prev = DeleteRangeRequest { prev_kv: true, ..delete("w", "") };
    assert_eq!(h.now("bob", Command::DeleteRange(prev.clone())), Err(DENIED));
    let txn = TxnRequest { success: vec![RequestOp::DeleteRange(prev)], ..TxnRequest::default() };
    assert_eq!(h.now("bob", Command::Txn(txn)), Err(DENIED));
    h.now("bob", Command::DeleteRange(delete("w", ""))).unwrap();
}

/// What stays as it was is not told: who may only write may keep value and lease.
#[test]
fn who_may_only_write_may_keep_what_is_there() {
    let mut h = harness();
    h.auth(permit("b", Access::Write, "w", "")).unwrap();
    let keeps_value = PutRequest { key: b("w"), ignore_value: true, ..PutRequest::default() };
    let keeps_lease = PutRequest { ignore_lease: true, ..put("w") };
    for put in [&keeps_value, &keeps_lease] {
        let early = h.now("bob", Command::Put(put.clone()));
        assert_eq!(early, Err(RequestError::KeyNotFound), "there is nothing to keep");
    }
    h.now("bob", Command::Put(put("w"))).unwrap();
    for put in [keeps_value, keeps_lease] {
        h.now("bob", Command::Put(put.clone())).unwrap();
        let txn =
            TxnRequest { success: vec![RequestOp::Put(put.clone())], ..TxnRequest::default() };
        h.now("bob", Command::Txn(txn)).unwrap();
        let told = PutRequest { prev_kv: true, ..put.clone() };
        assert_eq!(h.now("bob", Command::Put(told)), Err(DENIED));
        let elsewhere = PutRequest { key: b("x"), ..put };
        assert_eq!(h.now("bob", Command::Put(elsewhere)), Err(DENIED), "denied before it is found");
    }
}

#[test]
fn a_lease_takes_leave_for_all_that_is_attached_to_it() {
    let mut h = harness();
    h.now("eve", Command::LeaseGrant { id: LeaseId(7), ttl: 60 }).unwrap();
    h.now("alice", Command::Put(PutRequest { lease: LeaseId(7), ..put("a1") })).unwrap();
    assert_eq!(h.now("eve", Command::LeaseRevoke { id: LeaseId(7) }), Err(DENIED));
    h.auth(permit("b", Access::Write, "w", "")).unwrap();
    let attach = Command::Put(PutRequest { lease: LeaseId(7), ..put("w") });
    assert_eq!(h.now("bob", attach.clone()), Err(DENIED), "bob may not touch a1");
    let nested = TxnRequest {
        failure: vec![RequestOp::Put(PutRequest { lease: LeaseId(7), ..put("w") })],
        ..TxnRequest::default()
    };
    assert_eq!(h.now("bob", Command::Txn(nested)), Err(DENIED));
    let alice = user("alice", 1);
    assert_eq!(h.store.require_lease(Some(&alice), LeaseId(7), Access::Write), Ok(()));
    let bob = user("bob", 1);
    assert_eq!(h.store.require_lease(Some(&bob), LeaseId(7), Access::Read), Err(DENIED));
    h.propose(Some(&Principal::Server), Command::LeaseRevoke { id: LeaseId(7) }).unwrap();
}

#[test]
fn reads_are_checked_over_their_whole_range() {
    let h = harness();
    let revision = h.store.auth_status().revision;
    let read = |name: &str, key, end| {
        h.store.range_as(Some(&user(name, revision)), &range(key, end)).map(drop)
    };
    assert_eq!(read("alice", "a", "b"), Ok(()));
    assert_eq!(read("alice", "a", "c"), Err(DENIED));
    assert_eq!(read("alice", "a", "\0"), Err(DENIED));
    assert_eq!(read("bob", "b", ""), Ok(()));
    assert_eq!(read("bob", "b", "\0"), Err(DENIED));
    assert_eq!(read("eve", "b", ""), Err(DENIED));
    assert_eq!(h.store.range_as(None, &range("b", "")), Err(RequestError::UserEmpty));
    let old = user("alice", revision - 1);
    assert_eq!(h.store.range_as(Some(&old), &range("a", "")), Err(RequestError::AuthOldRevision));
    let txn =
        TxnRequest { failure: vec![RequestOp::Range(range("b", "c"))], ..TxnRequest::default() };
    assert_eq!(h.store.read_txn_as(Some(&user("bob", revision)), &txn), Err(DENIED));
    assert!(h.store.range(&range("\0", "\0")).is_ok(), "the server itself reads all");
}

#[test]
fn without_a_user_only_the_servers_own_work_goes_on() {
    let mut h = harness();
    let empty = Err(RequestError::UserEmpty);
    assert_eq!(h.propose(None, Command::Put(put("a1"))), empty);
    assert_eq!(h.propose(None, Command::LeaseGrant { id: LeaseId(1), ttl: 9 }), empty);
    assert_eq!(h.propose(None, Command::Auth(AuthCommand::Disable)), empty);
    let compact = Command::Compact(CompactRequest { revision: 1, physical: false });
    assert_eq!(h.propose(None, compact.clone()), empty);
    assert_eq!(h.now("alice", compact), Err(DENIED));
    let old = user("alice", h.store.auth_status().revision - 1);
    let refused = h.propose(Some(&old), Command::Put(put("a1")));
    assert_eq!(refused, Err(RequestError::AuthOldRevision));
    h.propose(None, Command::LeaseCheckpoint { remaining: Vec::new() }).unwrap();
    h.propose(None, Command::MemberAttributes(MemberAttributes::default())).unwrap();
}

/// etcd PR #22386: with an alarm on, the check was swapped away with what the alarm swaps.
#[test]
fn alarms_do_not_open_anything() {
    for alarm in [AlarmKind::NoSpace, AlarmKind::Corrupt] {
        let mut h = harness();
        let raise = Command::Alarm(AlarmCommand::Activate(AlarmMember { member_id: 1, alarm }));
        assert_eq!(h.now("alice", raise.clone()), Err(DENIED));
        h.propose(Some(&Principal::Server), raise).unwrap();
        let disable = Command::Auth(AuthCommand::Disable);
        assert_eq!(h.now("alice", disable.clone()), Err(DENIED));
        assert_eq!(h.propose(None, disable), Err(RequestError::UserEmpty));
        assert_eq!(h.now("bob", Command::Put(put("a"))), Err(DENIED));
        let bob = user("bob", h.store.auth_status().revision);
        assert_eq!(h.store.range_as(Some(&bob), &range("a", "")), Err(DENIED));
    }
}

#[test]
fn users_and_roles_are_changed_by_etcds_rules() {
    let mut h = Harness::new();
    let named = |name: &str| name.to_owned();
    let mut check = |command: AuthCommand, expect: Result<(), RequestError>, revision: u64| {
        let answer = h.propose(None, Command::Auth(command.clone())).map(drop);
        assert_eq!(answer, expect, "{command:?}");
        assert_eq!(h.store.auth_status().revision, revision, "after {command:?}");
    };
    check(AuthCommand::Enable, Err(RequestError::RootUserNotExist), 1);
    check(add_user(""), Err(RequestError::UserEmpty), 1);
    check(add_user("root"), Ok(()), 2);
    check(add_user("root"), Err(RequestError::UserExists), 2);
    check(AuthCommand::Enable, Err(RequestError::RootRoleNotExist), 2);
    check(grant_role("root", "none"), Err(RequestError::RoleNotFound), 2);
    check(grant_role("none", "root"), Err(RequestError::UserNotFound), 2);
    check(grant_role("root", "root"), Ok(()), 3);
    check(grant_role("root", "root"), Ok(()), 3);
    check(AuthCommand::RoleAdd { name: named("") }, Err(RequestError::RoleEmpty), 3);
    check(AuthCommand::RoleAdd { name: named("r") }, Ok(()), 4);
    check(AuthCommand::RoleAdd { name: named("r") }, Err(RequestError::RoleExists), 4);
    let permission = permit("r", Access::Read, "k", "");
    check(permit("none", Access::Read, "k", ""), Err(RequestError::RoleNotFound), 4);
    check(permit("r", Access::Read, "k", "a"), Err(RequestError::InvalidAuthManagement), 4);
    check(permit("r", Access::Read, "", ""), Err(RequestError::InvalidAuthManagement), 4);
    check(permission, Ok(()), 5);
    let revoke = |key: &str| AuthCommand::RoleRevokePermission {
        role: named("r"),
        key: b(key),
        range_end: Bytes::new(),
    };
    check(revoke("x"), Err(RequestError::PermissionNotGranted), 5);
    check(revoke("k"), Ok(()), 6);
    let revoke_role = |user: &str, role: &str| AuthCommand::UserRevokeRole {
        user: named(user),
        role: named(role),
    };
    check(revoke_role("root", "r"), Err(RequestError::RoleNotGranted), 6);
    check(AuthCommand::Disable, Ok(()), 6);
    check(AuthCommand::Enable, Ok(()), 6);
    let root = user("root", 6);
    let mut check = |command: AuthCommand, expect: Result<(), RequestError>| {
        let answer = h.propose(Some(&root), Command::Auth(command.clone())).map(drop);
        assert_eq!(answer, expect, "{command:?}");
    };
    let locked = Err(RequestError::InvalidAuthManagement);
    check(AuthCommand::UserDelete { name: named("root") }, locked);
    check(AuthCommand::RoleDelete { name: named("root") }, locked);
    check(revoke_role("root", "root"), locked);
    check(AuthCommand::RoleDelete { name: named("none") }, Err(RequestError::RoleNotFound));
    check(AuthCommand::UserDelete { name: named("none") }, Err(RequestError::UserNotFound));
    check(AuthCommand::RoleDelete { name: named("r") }, Ok(()));
    check(AuthCommand::Disable, Ok(()));
    assert_eq!(h.store.auth_status(), AuthStatus { enabled: false, revision: 8 });
    assert_eq!(h.store.users(), ["root"]);
    assert_eq!(h.store.roles(), Vec::<String>::new());
}

#[test]
fn a_deleted_role_is_taken_from_its_users() {
    let mut h = harness();
    h.auth(AuthCommand::RoleDelete { name: "a".to_owned() }).unwrap();
    assert_eq!(h.store.user_roles("alice"), Some(Vec::new()));
    assert_eq!(h.now("alice", Command::Put(put("a1"))), Err(DENIED));
    h.auth(AuthCommand::RoleAdd { name: "a".to_owned() }).unwrap();
    assert_eq!(h.now("alice", Command::Put(put("a1"))), Err(DENIED), "a new role, not hers");
}

#[test]
fn signing_in_is_known_by_the_entry_and_forgotten_with_the_password() {
    let mut h = harness();
    let ttl = Duration::from_secs(300);
    let sign_in = |h: &mut Harness, name: &str, auth_revision| {
        let user = name.to_owned();
        let command = AuthCommand::Authenticate { user, token_digest: [9; 32], auth_revision };
        match h.propose(None, Command::Auth(command)) {
            Ok(Response::Authenticate { index, .. }) => Ok(index),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    let (hash, revision) = h.store.password_hash("alice").unwrap();
    assert_eq!(hash, PasswordHash("hash of alice".to_owned()));
    let index = sign_in(&mut h, "alice", revision).unwrap();
    assert_eq!(index, h.index);
    let whose = |h: &Harness| h.store.token_user(index, &[9; 32], Moment(0), ttl);
    assert_eq!(whose(&h).as_deref(), Some("alice"));
    assert_eq!(h.store.token_user(index, &[8; 32], Moment(0), ttl), None);
    assert_eq!(sign_in(&mut h, "nobody", revision), Err(RequestError::AuthFailed));
    let password_hash = PasswordHash("other".to_owned());
    h.auth(AuthCommand::UserChangePassword { name: "bob".to_owned(), password_hash }).unwrap();
    assert_eq!(whose(&h).as_deref(), Some("alice"), "bob's password is not hers");
    // The password was checked before it was changed: it may be the old one.
    assert_eq!(sign_in(&mut h, "bob", revision), Err(RequestError::AuthOldRevision));
    h.auth(AuthCommand::UserDelete { name: "alice".to_owned() }).unwrap();
    assert_eq!(whose(&h), None);
    h.auth(AuthCommand::UserAdd { name: "cert".to_owned(), password_hash: None }).unwrap();
    assert_eq!(h.store.password_hash("cert"), Err(RequestError::NoPasswordUser));
    assert_eq!(h.store.password_hash("alice"), Err(RequestError::AuthFailed));
    h.auth(AuthCommand::Disable).unwrap();
    assert_eq!(h.store.password_hash("bob"), Err(RequestError::AuthNotEnabled));
    assert_eq!(sign_in(&mut h, "bob", revision), Err(RequestError::AuthNotEnabled));
}

/// By records alone, by a checkpoint with records behind it, and by a snapshot.
#[test]
fn users_and_roles_outlive_restarts_and_travel_in_snapshots() {
    let mut h = harness();
    let shown = |h: &Harness| {
        let store = &h.store;
        let roles: Vec<_> = store.roles().iter().map(|role| store.role_permissions(role)).collect();
        let users: Vec<_> = store.users().iter().map(|user| store.user_roles(user)).collect();
        (store.auth_status(), store.users(), users, store.roles(), roles)
    };
    let hash = |h: &Harness| h.store.state_hash().unwrap();
    let (before, hash_before) = (shown(&h), hash(&h));
    h.machine.flush().unwrap();
    let mut h = h.reopen();
    assert_eq!((shown(&h), hash(&h)), (before, hash_before), "by records");
    h.machine.checkpoint().unwrap();
    h.auth(grant_role("eve", "b")).unwrap();
    h.machine.flush().unwrap();
    let (before, hash_before) = (shown(&h), hash(&h));
    let mut h = h.reopen();
    assert_eq!((shown(&h), hash(&h)), (before.clone(), hash_before), "by a checkpoint");
    let mut source = h.machine.snapshot().unwrap();
    let mut other = Harness::new();
    let last = h.machine.applied();
    other.machine.restore(last, &mut *source).unwrap();
    other.index = last.index.0;
    assert_eq!((shown(&other), hash(&other)), (before, hash_before), "by a snapshot");
    assert_eq!(other.now("eve", Command::Put(put("a1"))), Err(DENIED));
}

#[test]
fn a_watcher_ends_when_its_permission_goes() {
    let mut h = harness();
    let stream = h.store.watch_stream(Arc::new(|| {}));
    let watch = |key: &str, range_end: &str, watch_id| WatchCreateRequest {
        key: b(key),
        range_end: b(range_end),
        watch_id,
        ..WatchCreateRequest::default()
    };
    stream.create(watch("a", "b", 1)).unwrap();
    stream.create(watch("a1", "", 2)).unwrap();
    let alice = user("alice", 1);
    let enforce = |h: &Harness| stream.enforce(&h.store.standing(Some(&alice)));
    enforce(&h);
    h.auth(permit("b", Access::Read, "a1", "")).unwrap();
    h.auth(grant_role("alice", "b")).unwrap();
    h.now("alice", Command::Put(put("a1"))).unwrap();
    let role = "a".to_owned();
    h.auth(AuthCommand::RoleRevokePermission { role, key: b("a"), range_end: b("b") }).unwrap();
    h.now("root", Command::Put(put("a2"))).unwrap();
    enforce(&h);
    let mut heard = Vec::new();
    while let Some(message) = stream.poll().unwrap() {
        heard.push(match message {
            WatchMessage::Created { watch_id, .. } => format!("{watch_id} created"),
            WatchMessage::Events { watch_id, events, .. } => format!("{watch_id} {}", events.len()),
            WatchMessage::Denied { watch_id, reason, .. } => format!("{watch_id} {reason}"),
            other @ (WatchMessage::Rejected { .. }
            | WatchMessage::Canceled { .. }
            | WatchMessage::Compacted { .. }
            | WatchMessage::Progress { .. }) => format!("{other:?}"),
        });
    }
    let denied = "1 etcdserver: permission denied";
    assert_eq!(heard, ["1 created", "2 created", "2 1", denied], "nothing of a2 is told");
    h.auth(AuthCommand::UserDelete { name: "alice".to_owned() }).unwrap();
    enforce(&h);
    let message = stream.poll().unwrap();
    assert!(matches!(message, Some(WatchMessage::Denied { watch_id: 2, .. })), "{message:?}");
}
