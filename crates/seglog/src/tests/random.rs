//! Files of any content, and logs under any order of appends, syncs and deaths.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Write,
    Sync,
    Mark,
    Roll,
    Release,
    Die(Death),
}

#[derive(Clone, Debug)]
enum Death {
    Crash(u64),
    Lose,
    Kill,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..200_usize).prop_map(Act::Append),
        2 => Just(Act::Write),
        4 => Just(Act::Sync),
        1 => Just(Act::Mark),
        1 => Just(Act::Roll),
        1 => Just(Act::Release),
        2 => any::<u64>().prop_map(|seed| Act::Die(Death::Crash(seed))),
        1 => Just(Act::Die(Death::Lose)),
        1 => Just(Act::Die(Death::Kill)),
    ];
    prop::collection::vec(act, 1..120)
}

/// The same cases in every run.
fn random(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(1);
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(random(400))]

    /// Whatever is in the files, opening says so or gives some of what was written; it never
    /// panics and never makes anything up.
    #[test]
    fn hostile_files_are_refused_or_give_a_prefix(
        changes in prop::collection::vec((1..4_u64, 0..1024_u64, any::<u8>()), 1..8),
        zero_from in prop::option::of(0..1024_usize),
    ) {
        let disk = MemDisk::new();
        let (mut log, _) = open(&disk);
        let records: Records = (0..40).map(|n| append(&mut log, n)).collect();
        log.sync().unwrap();
        prop_assert_eq!(log.segments().len(), 3);
        disk.kill();
        for (segment, offset, mask) in changes {
            disk.corrupt(&path(segment), offset, mask);
        }
        if let Some(from) = zero_from {
            let file = env::Disk::open(&disk, &path(3), env::OpenMode::ReadWrite).unwrap();
            file.write_all_at(&vec![0; 1024 - from], from as u64).unwrap();
        }
        match open_with(&disk, small(), None) {
            Ok((_, found, _)) => prop_assert!(records.starts_with(&found)),
            Err(OpenError::Damage(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Whatever happens: everything synced survives, in order, and what else survives is what was
    /// appended behind it, without a hole.
    #[test]
    fn synced_survives_and_nothing_else_appears(acts in acts()) {
        let disk = MemDisk::new();
        let (mut log, _) = open(&disk);
        let mut records = Records::new();
        let mut synced = 0;
        let mut released = 0;
        for (n, act) in acts.into_iter().enumerate() {
            match act {
                Act::Append(len) => {
                    // Few different bytes, so that stale records would pass for new ones.
                    let bytes = vec![u8::try_from(n % 2).unwrap(); len];
                    records.push((log.append(&[&bytes]).unwrap(), bytes));
                }
                Act::Write => log.write().unwrap(),
                Act::Sync => {
                    log.sync().unwrap();
                    synced = records.len();
                }
                Act::Mark => log.mark_durable().unwrap(),
                Act::Roll => {
                    log.roll().unwrap();
                    synced = records.len();
                }
                Act::Release => {
                    let first = log.segments()[0];
                    if first.sealed {
                        log.release(first.number).unwrap();
                        released = first.number;
                        let before = records.len();
                        records.retain(|(position, _)| position.segment > released);
                        synced = synced.saturating_sub(before - records.len());
                    }
                }
                Act::Die(death) => {
                    match death {
                        Death::Crash(seed) => disk.crash(&mut env::SplitMix::new(seed)),
                        Death::Lose => disk.crash_all_lost(),
                        Death::Kill => disk.kill(),
                    }
                    let (reopened, found) = open(&disk);
                    log = reopened;
                    prop_assert!(found.len() >= synced, "{} of {synced} are left", found.len());
                    prop_assert!(records.starts_with(&found), "something else appeared");
                    records.truncate(found.len());
                    synced = found.len();
                    prop_assert!(records.iter().all(|(position, _)| position.segment > released));
                }
            }
        }
        log.write().unwrap();
        let scanned: Records = log
            .reader()
            .scan(None)
            .map(|record| record.unwrap())
            .map(|(position, bytes)| (position, bytes.to_vec()))
            .collect();
        prop_assert!(scanned == records);
    }
}
