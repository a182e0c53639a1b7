//! Golden scripts: see `script/mod.rs` for the form and `testdata/` for the stories.
#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod cluster;
mod script;

macro_rules! folders {
    ($($folder:ident at least $count:literal),* $(,)?) => {$(
        #[test]
        fn $folder() {
            let count = script::run_folder(stringify!($folder));
            assert!(count >= $count, "{count} scripts, where {} were: none gets lost", $count);
        }
    )*};
}

folders! {
    election at least 16,
    replication at least 23,
    commit at least 7,
    leadership at least 14,
    lease at least 9,
    lease_guard at least 18,
    quiesce at least 6,
    read at least 17,
    snapshot at least 16,
    membership at least 40,
    incarnation at least 12,
    recovery at least 3,
    feeding at least 10,
    witness at least 11,
    transfer at least 4,
    durability at least 10,
    quorum at least 8,
}
