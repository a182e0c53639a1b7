use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn file_reads_back_what_was_written_and_allocated_space_is_zero() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let file = OsDisk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(b"hello", 3).unwrap();
    file.allocate(3 << 20).unwrap();
    assert_eq!(file.len_bytes().unwrap(), 3 << 20, "allocate sets the length");
    let mut bytes = [9_u8; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"\0\0\0hello\0\0", "what was in the file stays");
    file.sync_data().unwrap();
    file.allocate(4).unwrap();
    assert_eq!(file.len_bytes().unwrap(), 4, "allocate cuts as well");
    let error = file.read_exact_at(&mut bytes, 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let again = OsDisk.open(&path, OpenMode::CreateNew).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn files_and_folders_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("x/y");
    OsDisk.create_dir_all(&folder).unwrap();
    OsDisk.create_dir_all(&folder).unwrap();
    OsDisk.open(&folder.join("f"), OpenMode::CreateNew).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("x")), 0o700);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("f")), 0o600);
    assert_eq!(OsDisk.list(&folder).unwrap(), ["f"]);
}

#[test]
fn lock_is_exclusive_until_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let held = OsDisk.lock(dir.path()).unwrap();
    let error = OsDisk.lock(dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    OsDisk.lock(dir.path()).unwrap();
}

#[test]
fn free_bytes_and_entropy_and_clock_answer() {
    let dir = tempfile::tempdir().unwrap();
    assert!(OsDisk.free_bytes(dir.path()).unwrap() > 0);
    assert_ne!(OsEntropy.next_u64(), OsEntropy.next_u64());
    let clock = OsClock::new();
    let earlier = clock.now();
    assert!(clock.now() >= earlier);
    assert!(clock.wall_ms() > 1_600_000_000_000, "a wall clock after 2020");
}

/// T10: the zeros of a fresh segment once lay in the page cache as folios of 1 MiB, and each sync
/// of some hundred bytes wrote a whole one.
#[cfg(target_os = "linux")]
#[test]
fn a_small_overwrite_of_allocated_space_writes_pages_and_not_folios() {
    /// What this thread has sent to disks, or will have once they are synced.
    fn written_bytes() -> u64 {
        let io =
            std::fs::read_to_string("/proc/thread-self/io").expect("a thread may read its own");
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.expect("the line is always there").parse().expect("it is a number")
    }
    let dir = tempfile::tempdir().unwrap();
    let file = OsDisk.open(&dir.path().join("segment"), OpenMode::CreateNew).unwrap();
    file.allocate(8 << 20).unwrap();
    let before = written_bytes();
    for at in 0..64 {
        file.write_all_at(&[7; 300], at * 300).unwrap();
        file.sync_data().unwrap();
    }
    let written = written_bytes() - before;
    // Each write touches one page or two. In a file system that is in memory nothing is written.
    assert!(written <= 64 * (16 << 10), "{written} bytes were written by 64 syncs of 300 bytes");
}

#[test]
fn descriptors_are_raised_once() {
    let most = raise_descriptors();
    assert!(most > 0);
    assert_eq!(raise_descriptors(), most);
}

#[test]
fn processor_time_is_the_askers_own() {
    let before = processor_time();
    let others = std::thread::spawn(|| {
        while processor_time() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        processor_time()
    });
    let others = others.join().unwrap();
    let own = processor_time().checked_sub(before).unwrap();
    assert!(others >= Duration::from_millis(20));
    assert!(own < others, "waiting is not computing: {own:?}");
    assert!(processor_time() > before);
}

#[test]
fn a_folder_of_ours_is_not_open_to_others_and_another_one_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    OsDisk.create_dir_all(&own).unwrap();
    assert!(!is_open_to_others(&own).unwrap());
    for mode in [0o750, 0o701] {
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(is_open_to_others(&own).unwrap());
    }
    assert!(is_open_to_others(&dir.path().join("none")).is_err());
}
