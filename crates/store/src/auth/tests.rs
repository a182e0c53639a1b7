//! The bytes, and the rules that need no machine; `tests/auth.rs` of the crate applies commands.

use bytes::Bytes;

use super::*;
use crate::codec::{Decoder, Encoder, Malformed};

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn state() -> AuthState {
    let mut auth = AuthState::default();
    let role = Role {
        permissions: [
            ((b("a"), b("c")), Access::Read),
            ((b("k"), b("")), Access::ReadWrite),
            ((b("x"), b("\0")), Access::Write),
        ]
        .into(),
    };
    let hash = PasswordHash("$2a$04$hash".to_owned());
    let user = |password_hash, roles: &[&str]| User {
        password_hash,
        roles: roles.iter().map(ToString::to_string).collect(),
    };
    let root = user(Some(hash), &["root"]);
    let alice = user(None, &["reader"]);
    for op in [
        AuthOp::Role { name: "reader".to_owned(), role: Some(role) },
        AuthOp::User { name: "root".to_owned(), user: Some(root) },
        AuthOp::User { name: "alice".to_owned(), user: Some(alice) },
        AuthOp::Enabled(true),
        AuthOp::Revision(300),
    ] {
        auth.commit(&op);
    }
    auth
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checkpoints with these bytes exist on disks: they may be added to, and never change.
#[test]
fn the_block_in_a_checkpoint_is_golden() {
    let mut e = Encoder::default();
    encode_state(&mut e, &state());
    let golden = include_str!("../../testdata/auth_state_v1.hex");
    assert_eq!(hex(&e.bytes), golden.trim());
    let decoded = decode_state(&mut Decoder::new(e.bytes.clone().into())).unwrap();
    assert_eq!(format!("{decoded:?}"), format!("{:?}", state()));
    for at in 0..e.bytes.len() {
        let cut = Bytes::copy_from_slice(&e.bytes[..at]);
        assert_eq!(decode_state(&mut Decoder::new(cut)).err(), Some(Malformed), "cut at {at}");
    }
}

#[test]
fn nothing_shows_a_password_hash() {
    let shown = format!("{:?}", state());
    assert!(!shown.contains("$2a$"), "{shown}");
}

fn user(name: &str, auth_revision: u64) -> Principal {
    Principal::User { name: name.to_owned(), auth_revision }
}

#[test]
fn standing_is_by_user_and_revision() {
    let auth = state();
    let standing = |who: Option<&Principal>| auth.standing(who);
    assert_eq!(standing(None), Err(RequestError::UserEmpty));
    assert_eq!(standing(Some(&Principal::Server)), Ok(Standing::Everything));
    assert_eq!(standing(Some(&user("root", 300))), Ok(Standing::Everything));
    assert_eq!(standing(Some(&user("root", 299))), Err(RequestError::AuthOldRevision));
    assert_eq!(standing(Some(&user("bob", 300))), Err(RequestError::PermissionDenied));
    let alice = standing(Some(&user("alice", 300))).unwrap();
    let may = |access, key, end| alice.require(access, &b(key), &b(end)).is_ok();
    assert!(
        may(Access::Read, "a", "c") && may(Access::Read, "k", "") && may(Access::Write, "k", "")
    );
    assert!(may(Access::Write, "x", "\0") && may(Access::Write, "xy", "\0"));
    assert!(!may(Access::Write, "a", "") && !may(Access::Read, "a", "d"));
    assert!(!may(Access::Read, "x", "") && !may(Access::Read, "a", "\0"));
    assert_eq!(auth.require_root(Some(&user("alice", 300))), Err(RequestError::PermissionDenied));
    assert_eq!(auth.require_root(Some(&user("root", 1))), Ok(()));
    assert_eq!(auth.require_root(None), Err(RequestError::UserEmpty));
}

#[test]
fn a_role_that_goes_takes_its_keys_along() {
    let mut auth = state();
    auth.commit(&AuthOp::Role { name: "reader".to_owned(), role: None });
    let alice = auth.standing(Some(&user("alice", 300))).unwrap();
    assert!(alice.require(Access::Read, &b("a"), &b("")).is_err());
}
