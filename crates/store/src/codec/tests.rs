use env::SplitMix;

use super::*;
use crate::auth::{Access, AuthCommand, PasswordHash, Permission, Principal};
use crate::request::*;

fn everything() -> Vec<Command> {
    let b = Bytes::from_static;
    let put = PutRequest {
        key: b(b"k"),
        value: b(b"value"),
        lease: LeaseId(-3),
        prev_kv: true,
        ignore_value: false,
        ignore_lease: true,
    };
    let delete = DeleteRangeRequest { key: b(b"k"), range_end: b(b"l"), prev_kv: true };
    let range = RangeRequest {
        key: b(b"a"),
        range_end: b(b"\0"),
        limit: 3,
        revision: 300,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        serializable: true,
        keys_only: false,
        count_only: true,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: -4,
    };
    let compare = |target| Compare {
        key: b(b"c"),
        range_end: b(b""),
        result: CompareResult::NotEqual,
        target,
    };
    let txn = TxnRequest {
        compare: vec![
            compare(CompareTarget::Version(1)),
            compare(CompareTarget::Create(2)),
            compare(CompareTarget::Mod(3)),
            compare(CompareTarget::Value(b(b"v"))),
            compare(CompareTarget::Lease(LeaseId(4))),
        ],
        success: vec![RequestOp::Range(range), RequestOp::Put(put.clone())],
        failure: vec![
            RequestOp::DeleteRange(delete.clone()),
            RequestOp::Txn(TxnRequest::default()),
        ],
    };
    let alarm = |alarm| AlarmMember { member_id: u64::MAX, alarm };
    vec![
        Command::Put(put),
        Command::DeleteRange(delete),
        Command::Txn(txn),
        Command::Compact(CompactRequest { revision: 128, physical: true }),
        Command::LeaseGrant { id: LeaseId(i64::MAX), ttl: 60 },
        Command::LeaseRevoke { id: LeaseId(i64::MIN) },
        Command::LeaseCheckpoint { remaining: vec![(LeaseId(1), 2), (LeaseId(3), 4)] },
        Command::Alarm(AlarmCommand::Activate(alarm(AlarmKind::NoSpace))),
        Command::Alarm(AlarmCommand::Deactivate(alarm(AlarmKind::Corrupt))),
        Command::MemberAttributes(MemberAttributes {
            id: 7,
            name: "n1".into(),
            peer_urls: vec!["http://p:2380".into()],
            client_urls: vec![],
        }),
        Command::MemberRemove { id: 7 },
        Command::Downgrade { target: Some(ClusterVersion { major: 3, minor: 300 }) },
        Command::Downgrade { target: None },
    ]
}

/// Those of users and roles, each as a user proposes it.
fn guarded() -> Vec<(Option<Principal>, Command)> {
    let b = Bytes::from_static;
    let (user, role) = ("alice".to_owned(), "reader".to_owned());
    let hash = || PasswordHash("$2a$04$x".to_owned());
    let permission = |access| Permission { access, key: b(b"k"), range_end: b(b"\0") };
    let grant = |access| AuthCommand::RoleGrantPermission {
        role: role.clone(),
        permission: permission(access),
    };
    let commands = vec![
        AuthCommand::Enable,
        AuthCommand::Disable,
        AuthCommand::UserAdd { name: user.clone(), password_hash: Some(hash()) },
        AuthCommand::UserAdd { name: user.clone(), password_hash: None },
        AuthCommand::UserDelete { name: user.clone() },
        AuthCommand::UserChangePassword { name: user.clone(), password_hash: hash() },
        AuthCommand::UserGrantRole { user: user.clone(), role: role.clone() },
        AuthCommand::UserRevokeRole { user: user.clone(), role: role.clone() },
        AuthCommand::RoleAdd { name: role.clone() },
        AuthCommand::RoleDelete { name: role.clone() },
        grant(Access::Read),
        grant(Access::Write),
        grant(Access::ReadWrite),
        AuthCommand::RoleRevokePermission { role: role.clone(), key: b(b"k"), range_end: b(b"") },
        AuthCommand::Authenticate { user, token_digest: [7; 32], auth_revision: 300 },
    ];
    let who = Principal::User { name: "root".to_owned(), auth_revision: 128 };
    let mut all: Vec<_> =
        commands.into_iter().map(|command| (Some(who.clone()), Command::Auth(command))).collect();
    all.push((Some(Principal::Server), Command::LeaseRevoke { id: LeaseId(7) }));
    all.push((None, Command::Auth(AuthCommand::Enable)));
    all
}

#[test]
fn golden_with_users() {
    let encoded = guarded().into_iter().map(|(who, command)| {
        let bytes = encode_command(who.as_ref(), &command);
        for len in 0..bytes.len() {
            assert_eq!(decode_command(bytes.slice(..len)), Err(Malformed), "cut at {len}");
        }
        assert_eq!(decode_command(bytes.clone()), Ok((who, command)));
        hex(&bytes)
    });
    let lines: Vec<String> = encoded.collect();
    let golden = include_str!("../../testdata/auth_commands_v1.hex");
    assert_eq!(lines, golden.lines().collect::<Vec<_>>());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Logs with these bytes exist on disks: they may be added to, and never change.
#[test]
fn golden() {
    let lines: Vec<String> = everything().iter().map(|c| hex(&encode_command(None, c))).collect();
    let golden = include_str!("../../testdata/commands_v1.hex");
    assert_eq!(lines, golden.lines().collect::<Vec<_>>());
}

#[test]
fn golden_records() {
    let golden = include_str!("../../testdata/records_v1.hex");
    let lines: Vec<String> = records()
        .iter()
        .map(|record| {
            let mut e = Encoder::default();
            encode_record(&mut e, record, 0, usize::MAX);
            assert_eq!(decode_record(Bytes::from(e.bytes.clone())).as_ref(), Ok(record));
            hex(&e.bytes)
        })
        .collect();
    assert_eq!(lines, golden.lines().collect::<Vec<_>>());
}

fn records() -> Vec<LogRecord> {
    let b = Bytes::from_static;
    let ops = vec![
        LogOp::Put {
            key: b(b"k"),
            value: b(b"v"),
            lease: LeaseId(5),
            create_revision: 2,
            version: 3,
        },
        LogOp::Delete { key: b(b"d") },
        LogOp::Moved { key: b(b"m"), value: b(b"w"), mod_revision: 300, sub: 1 },
        LogOp::Lease { id: LeaseId(9), ttl: 10, remaining_ttl: 4 },
        LogOp::LeaseRevoke { id: LeaseId(9) },
        LogOp::Compact { revision: 70 },
        LogOp::Alarm { alarm: AlarmMember { member_id: 1, alarm: AlarmKind::Corrupt }, on: true },
        LogOp::Member(MemberAttributes { id: 2, name: "n".into(), ..Default::default() }),
        LogOp::MemberRemove { id: 2 },
    ];
    let id = raft::EntryId::new(3, 1000);
    let target = Some(ClusterVersion { major: 3, minor: 5 });
    let downgrade = vec![LogOp::Downgrade { target }, LogOp::Downgrade { target: None }];
    vec![
        LogRecord { id, revision: 400, part: Part::WHOLE, ops },
        LogRecord { id, revision: 1, part: Part::WHOLE, ops: Vec::new() },
        LogRecord { id, revision: 1, part: Part::WHOLE, ops: downgrade },
    ]
}

#[test]
fn what_was_encoded_is_decoded() {
    for command in everything() {
        assert_eq!(decode_command(encode_command(None, &command)), Ok((None, command)));
    }
}

/// Truncated, with a flipped bit, with bytes behind, and from noise: an error or some command, and
/// never a panic.
#[test]
fn hostile_bytes_are_refused() {
    let mut dice = SplitMix::new(1);
    for command in everything() {
        let bytes = encode_command(None, &command);
        for len in 0..bytes.len() {
            assert_eq!(decode_command(bytes.slice(..len)), Err(Malformed), "cut at {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode_command(longer.into()), Err(Malformed));
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[at / 8] ^= 1 << (at % 8);
            let _whatever = decode_command(flipped.clone().into());
            let _whatever = decode_record(flipped.into());
        }
    }
    for tag in 0..=255 {
        for _ in 0..50 {
            let mut noise = vec![1, tag];
            noise.extend((0..dice.below(60)).map(|_| dice.next_u64().to_le_bytes()[0]));
            let _whatever = decode_command(noise.into());
        }
    }
    // A length that no input could have.
    let huge = [1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(decode_command(Bytes::copy_from_slice(&huge)), Err(Malformed));
}

#[test]
fn numbers_at_their_edges() {
    let check = |number: i64| {
        let mut e = Encoder::default();
        e.i64(number);
        e.u64(number.cast_unsigned());
        let mut d = Decoder::new(e.bytes.into());
        assert_eq!((d.i64(), d.u64()), (Ok(number), Ok(number.cast_unsigned())));
        assert!(d.is_at_end());
    };
    for number in [0, 1, -1, 63, 64, 127, 128, i64::MAX, i64::MIN] {
        check(number);
    }
    let too_long = Bytes::from_static(&[0xff; 11]);
    assert_eq!(Decoder::new(too_long).u64(), Err(Malformed));
    let too_large =
        Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
    assert_eq!(Decoder::new(too_large).u64(), Err(Malformed));
}
