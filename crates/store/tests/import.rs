//! A store from a backup is the store that the backup was taken of.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use env::mem::MemDisk;
use host::StateMachine;
use raft::EntryId;
use store::*;

/// Everything that a backup has.
fn exported(store: &Store) -> (ExportedTables, Vec<ExportedVersion>) {
    let tables = store.export_tables();
    let mut versions = Vec::new();
    let each = |version| {
        versions.push(version);
        Ok::<(), RequestError>(())
    };
    store.export_versions(&tables, each).expect("nothing is compacted meanwhile");
    (tables, versions)
}

fn imported(tables: &ExportedTables, versions: Vec<ExportedVersion>) -> Harness {
    let disk = MemDisk::new();
    let versions = versions.into_iter().map(Ok);
    let arc = Arc::new(disk.clone());
    let machine = StoreMachine::import(arc, Path::new(DIR), small_options(), tables, versions);
    drop(machine.expect("a good backup"));
    // What counts is what the disk has.
    Harness::on(disk, small_options())
}

/// Keys that come and go, with history of which some is compacted, leases, users and roles.
fn lived_in(compact: bool) -> Harness {
    let mut store = Harness::new();
    store.grant(7).expect("granted");
    for round in 0..60 {
        for key in ["a", "b", "c", "d/1", "d/2"] {
            store.put(key, &format!("{round} {}", "x".repeat(round * 20)));
        }
        if round % 3 == 0 {
            store.delete("d/", "d0");
        }
    }
    store.apply(put_with_lease("leased", 7)).expect("a lease");
    let role = AuthCommand::RoleAdd { name: "r".to_owned() };
    let permission = Permission { access: Access::Read, key: b("a"), range_end: b("b") };
    let grant = AuthCommand::RoleGrantPermission { role: "r".to_owned(), permission };
    let password_hash = Some(PasswordHash("hash".to_owned()));
    let user = AuthCommand::UserAdd { name: "u".to_owned(), password_hash };
    let give = AuthCommand::UserGrantRole { user: "u".to_owned(), role: "r".to_owned() };
    for command in [role, grant, user, give] {
        store.apply(Command::Auth(command)).expect("nobody forbids it");
    }
    if compact {
        store.compact(200).expect("it has that revision");
        while store.store.maintain() {}
    }
    store.put("last", "1");
    store
}

#[test]
fn what_was_exported_is_there_again() {
    for compact in [false, true] {
        let before = lived_in(compact);
        let (tables, versions) = exported(&before.store);
        let mut after = imported(&tables, versions.clone());
        assert_eq!(exported(&after.store), (tables.clone(), versions));
        let hash = |store: &Store| store.hash_kv(0).expect("a hash").hash;
        assert_eq!(hash(&after.store), hash(&before.store));
        // History is readable from the compaction on, and no further.
        let past = |store: &Store, revision| {
            store.range(&RangeRequest { revision, ..range("a", "") }).map(|answer| answer.kvs)
        };
        for revision in [150, 200, 250] {
            assert_eq!(past(&after.store, revision), past(&before.store, revision), "{revision}");
        }
        // Life goes on at the next revision.
        assert_eq!(after.put("a", "next"), tables.revision + 1);
        let again = after.reopen();
        assert_eq!(again.get("last").map(|kv| kv.mod_revision), Some(tables.revision));
    }
}

/// T100: a step of an export asked for one value that was on disk alone at a time, and gave up
/// after a few.
#[test]
fn every_version_of_a_key_is_exported_wherever_its_value_is() {
    let mut store = Harness::new();
    for round in 0..300 {
        store.put("a", &format!("{round} {}", "x".repeat(200)));
    }
    let (_, versions) = exported(&store.store);
    assert_eq!(versions.len(), 300);
}

#[test]
fn a_lease_has_its_keys_again() {
    let (tables, versions) = exported(&lived_in(true).store);
    let mut after = imported(&tables, versions);
    after.apply(Command::LeaseRevoke { id: LeaseId(7) }).expect("the lease is there");
    assert!(after.get("leased").is_none());
}

#[test]
fn revisions_may_go_on_later() {
    let (mut tables, versions) = exported(&lived_in(true).store);
    let latest = tables.revision;
    tables.revision += 1_000_000;
    tables.compact_revision = tables.revision;
    let mut after = imported(&tables, versions);
    let past = RangeRequest { revision: latest, ..range("a", "") };
    assert_eq!(after.store.range(&past).unwrap_err(), RequestError::Compacted);
    assert_eq!(after.get("last").map(|kv| kv.mod_revision), Some(latest));
    assert_eq!(after.put("a", "next"), latest + 1_000_001);
    after.machine.flush().expect("the disk works");
    let again = after.reopen();
    assert_eq!(again.get("a").map(|kv| kv.value), Some(b("next")));
}

#[test]
fn an_empty_backup_is_an_empty_store() {
    let (tables, versions) = exported(&Harness::new().store);
    assert!(versions.is_empty());
    let tables = ExportedTables { applied: EntryId::new(1, 1), ..tables };
    let mut after = imported(&tables, versions);
    assert_eq!(after.machine.applied(), EntryId::new(1, 1));
    assert_eq!(after.put("a", "1"), 2);
}

#[test]
fn a_backup_that_contradicts_itself_is_refused() {
    let (tables, versions) = exported(&lived_in(false).store);
    let refused = |tables: &ExportedTables, versions: Vec<ExportedVersion>| {
        let disk = Arc::new(MemDisk::new());
        let versions = versions.into_iter().map(Ok);
        let import = StoreMachine::import(disk, Path::new(DIR), small_options(), tables, versions);
        import.map(|_| ()).unwrap_err().kind()
    };
    let mut turned = versions.clone();
    turned.reverse();
    assert_eq!(refused(&tables, turned), std::io::ErrorKind::InvalidData);
    let earlier = ExportedTables { revision: 3, ..tables.clone() };
    assert_eq!(refused(&earlier, versions.clone()), std::io::ErrorKind::InvalidData);
    let mut nowhere = versions;
    nowhere[0].kv.mod_revision = -1;
    assert_eq!(refused(&tables, nowhere), std::io::ErrorKind::InvalidData);
}
