use super::*;

fn disk_with_dir() -> (MemDisk, PathBuf) {
    let disk = MemDisk::new();
    let dir = PathBuf::from("/data");
    disk.create_dir_all(&dir).unwrap();
    (disk, dir)
}

/// A file of `len` bytes of `fill`, durable with its name.
fn durable_file(disk: &MemDisk, path: &Path, fill: u8, len: usize) -> Box<dyn File> {
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_all_at(&vec![fill; len], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
    file
}

#[test]
fn crash_loses_what_was_not_synced() {
    let (disk, dir) = disk_with_dir();
    let path = dir.join("a");
    let file = durable_file(&disk, &path, 1, 1000);
    file.write_all_at(&[2; 2000], 500).unwrap();
    assert_eq!(disk.contents(&path).unwrap().len(), 2500);
    disk.crash_all_lost();
    assert_eq!(disk.contents(&path).unwrap(), vec![1; 1000]);
    assert!(file.len_bytes().is_err(), "the file of the dead process must not work");
}

#[test]
fn crash_keeps_or_loses_each_sector_by_the_dice() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..64 {
        let (disk, dir) = disk_with_dir();
        let path = dir.join("a");
        let file = durable_file(&disk, &path, 1, 1536);
        file.write_all_at(&[2; 1024], 512).unwrap();
        disk.crash(&mut SplitMix::new(seed));
        let bytes = disk.contents(&path).unwrap();
        assert_eq!(bytes.len(), 1536);
        assert!(bytes[..512].iter().all(|byte| *byte == 1));
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is written whole");
        }
        outcomes.insert((bytes[512], bytes[1024]));
    }
    assert_eq!(outcomes.len(), 4, "every combination of kept and lost happens");
}

#[test]
fn d8_names_that_were_not_synced_are_lost() {
    let (disk, dir) = disk_with_dir();
    durable_file(&disk, &dir.join("old"), 1, 10);
    let file = disk.open(&dir.join("new"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(&dir.join("old"), &dir.join("renamed")).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["new", "renamed"]);
    let kept = disk.fork();
    disk.crash_all_lost();
    assert_eq!(disk.list(&dir).unwrap(), ["old"]);
    kept.crash_all_lost();
    assert_eq!(kept.list(&dir).unwrap(), ["new", "renamed"], "a fork is durable");
    disk.rename(&dir.join("old"), &dir.join("renamed")).unwrap();
    disk.sync_dir(&dir).unwrap();
    disk.crash_all_lost();
    assert_eq!(disk.list(&dir).unwrap(), ["renamed"]);
}

#[test]
fn d3_a_sync_after_a_failed_one_makes_nothing_durable() {
    let (disk, dir) = disk_with_dir();
    let path = dir.join("a");
    let file = durable_file(&disk, &path, 1, 512);
    file.write_all_at(&[2; 512], 0).unwrap();
    disk.fail(Operation::Sync, 1, io::ErrorKind::Other);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.contents(&path).unwrap(), vec![2; 512], "reads still see it");
    disk.crash(&mut SplitMix::new(0));
    assert_eq!(disk.contents(&path).unwrap(), vec![1; 512]);
}

#[test]
fn space_faults_and_rot() {
    let (disk, dir) = disk_with_dir();
    let path = dir.join("a");
    let file = durable_file(&disk, &path, 0, 100);
    disk.limit_space(Some(150));
    assert_eq!(disk.free_bytes(&dir).unwrap(), 50);
    let error = file.allocate(151).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.allocate(150).unwrap();
    file.write_all_at(&[1; 150], 0).unwrap();
    disk.fail(Operation::Write, 2, io::ErrorKind::Other);
    file.write_all_at(&[2; 4], 0).unwrap();
    assert!(file.write_all_at(&[3; 4], 0).is_err());
    assert_eq!(disk.contents(&path).unwrap()[..5], [3, 3, 2, 2, 1], "a failed write is torn");
    disk.corrupt(&path, 4, 0x80);
    assert_eq!(disk.contents(&path).unwrap()[4], 0x81);
    let held = disk.lock(&dir).unwrap();
    assert_eq!(disk.lock(&dir).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    let _held = disk.lock(&dir).unwrap();
    disk.kill();
    disk.lock(&dir).unwrap();
}

#[test]
fn d6_rot_is_seen_by_reads_until_it_is_written_over_or_mended() {
    let (disk, dir) = disk_with_dir();
    let path = dir.join("a");
    let file = durable_file(&disk, &path, 1, 100);
    let read = || {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 8).unwrap();
        bytes
    };
    assert!(disk.rot(&path, 9, 0x80));
    assert!(!disk.rot(&path, 100, 0x80), "there is no such byte");
    assert_eq!(read(), [1, 0x81, 1, 1]);
    file.write_all_at(&[7], 9).unwrap();
    assert_eq!(read(), [1, 7, 1, 1]);
    assert!(disk.rot(&path, 10, 1));
    disk.mend_rot();
    assert_eq!(read(), [1, 7, 1, 1]);
}

#[test]
fn d12_a_misdirected_read_gets_the_bytes_of_another_place_once() {
    let (disk, dir) = disk_with_dir();
    let path = dir.join("a");
    let file = durable_file(&disk, &path, 1, 1024);
    file.write_all_at(&[2; 512], 512).unwrap();
    let read = || {
        let mut bytes = [0; 2];
        file.read_exact_at(&mut bytes, 600).unwrap();
        bytes[0]
    };
    disk.misdirect_read(Path::new("/elsewhere"), 1);
    assert_eq!(read(), 2, "another folder's files are not concerned");
    disk.misdirect_read(&dir, 2);
    assert_eq!([read(), read(), read()], [2, 1, 2]);
}

#[test]
fn d12_a_misdirected_write_goes_to_another_place_once_and_for_good() {
    let (disk, dir) = disk_with_dir();
    let path = dir.join("a");
    let file = durable_file(&disk, &path, 1, 2048);
    disk.misdirect_write(&dir, 2);
    file.write_all_at(&[2; 4], 1024).unwrap();
    file.write_all_at(&[3; 4], 1024).unwrap();
    file.write_all_at(&[4; 4], 1536).unwrap();
    file.sync_data().unwrap();
    disk.crash_all_lost();
    let bytes = disk.contents(&path).expect("it is there");
    assert_eq!([bytes[512], bytes[1024], bytes[1536]], [3, 2, 4]);
    assert_eq!(disk.counts().misdirected_writes, 1);
    disk.misdirect_write(&dir, 1);
    disk.clear_faults();
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[5; 4], 1024).unwrap();
    assert_eq!(disk.contents(&path).expect("it is there")[1024], 5, "it was taken back");
}
