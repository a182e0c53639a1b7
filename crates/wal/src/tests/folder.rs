use env::Disk;

use super::*;

const HOME: Identity = Identity { cluster_id: 0xc1, node_id: 0x42 };

fn open_folder(disk: &MemDisk, identity: Identity) -> Result<DataFolder, FolderError> {
    DataFolder::open(disk, Path::new("/data"), identity)
}

/// D8: the folder is marked durably, before anything is put into it.
#[test]
fn d8_folder_is_whose_it_was_after_a_crash() {
    for seed in 0..20 {
        let disk = MemDisk::new();
        let folder = open_folder(&disk, HOME).unwrap();
        assert!(folder.is_new());
        disk.crash(&mut env::SplitMix::new(seed));
        let folder = open_folder(&disk, HOME).unwrap();
        assert!(!folder.is_new());
        assert_eq!(folder.identity(), HOME);
    }
}

/// A crash or an error anywhere in the making leaves a folder that can be made again.
#[test]
fn folder_half_made_is_made_again() {
    use env::mem::Operation::{Open, Rename, Sync, SyncDir, Write};
    for operation in [Open, Write, Sync, Rename, SyncDir] {
        for seed in 0..10 {
            let disk = MemDisk::new();
            disk.fail(operation, 1, io::ErrorKind::StorageFull);
            match open_folder(&disk, HOME) {
                Err(FolderError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
                outcome => panic!("{operation:?} did not fail: {outcome:?}"),
            }
            disk.crash(&mut env::SplitMix::new(seed));
            let folder = open_folder(&disk, HOME).unwrap();
            assert_eq!(folder.identity(), HOME);
        }
    }
}

#[test]
fn folder_of_another_node_or_cluster_is_refused_by_name() {
    let disk = MemDisk::new();
    drop(open_folder(&disk, HOME).unwrap());
    for other in [Identity { node_id: 1, ..HOME }, Identity { cluster_id: 1, ..HOME }] {
        let error = open_folder(&disk, other).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/data belongs to node 42 of cluster c1"), "{text}");
        let FolderError::Foreign { expected, found, .. } = error else { panic!("{error}") };
        assert_eq!((expected, found), (other, HOME));
    }
    assert_eq!(DataFolder::peek(&disk, Path::new("/data")).unwrap(), Some(HOME));
    assert_eq!(DataFolder::peek(&disk, Path::new("/other")).unwrap(), None);
}

#[test]
fn folder_in_use_is_refused() {
    let disk = MemDisk::new();
    let held = open_folder(&disk, HOME).unwrap();
    let error = open_folder(&disk, HOME).unwrap_err();
    assert!(matches!(error, FolderError::Locked { .. }), "{error}");
    drop(held);
    open_folder(&disk, HOME).unwrap();
}

#[test]
fn every_flipped_bit_of_the_identity_is_noticed() {
    let disk = MemDisk::new();
    drop(open_folder(&disk, HOME).unwrap());
    let path = Path::new("/data/identity");
    for offset in 0..disk.contents(path).unwrap().len() {
        for bit in 0..8 {
            disk.corrupt(path, offset as u64, 1 << bit);
            let error = open_folder(&disk, HOME).unwrap_err();
            assert!(matches!(error, FolderError::Damaged { .. }), "byte {offset}: {error}");
            disk.corrupt(path, offset as u64, 1 << bit);
        }
    }
    let file = disk.open(path, env::OpenMode::ReadWrite).unwrap();
    file.set_len(31).unwrap();
    assert!(matches!(open_folder(&disk, HOME), Err(FolderError::Damaged { .. })));
}

/// Golden bytes of the identity file, format 1.
#[test]
fn golden_identity() {
    let disk = MemDisk::new();
    drop(open_folder(&disk, HOME).unwrap());
    let bytes = disk.contents(Path::new("/data/identity")).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "464c4f544e4f444501000000c1000000000000004200000000000000d0cbf820");
}
