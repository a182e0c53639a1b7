//! The fuzz target's body, from a corpus and from dice, so that every run of the tests has some of
//! it. `cargo +nightly fuzz run hostile_peers` has more.

mod cluster;
mod hostile;

use proptest::prelude::*;

/// Inputs that found something once, and some that reach far.
#[test]
fn the_corpus_does_no_harm() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/hostile_peers");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        hostile::run(&std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 3, "{count} inputs");
}

/// A question over and over while the disk hangs: the answers that wait have an end.
#[test]
fn a_flood_has_an_end() {
    // A campaign that is not on disk, and then the same thing from two thousand nodes. 228 is a
    // zero and a no, 229 a one and a yes, and both are a lot as a count.
    for (kind, fill) in (0..16).flat_map(|kind| [(kind, 228), (kind, 229)]) {
        for settings in [0, 1] {
            let flood = |term| [16, term, kind, fill, fill, fill, fill, fill, fill, fill, fill];
            let mut data = vec![settings, 17, 23, 17, 23];
            data.extend((0..3).flat_map(flood));
            hostile::run(&data);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn hostile_peers_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        hostile::run(&data);
    }
}
