use std::collections::BTreeMap;

use env::SplitMix;

use super::*;

/// Revisions of each key, and whether it lived.
type Map = BTreeMap<Vec<u8>, Vec<(i64, bool)>>;

fn version(mod_revision: i64, live: bool) -> Version {
    let number = i64::from(live);
    let location = Location { segment: 1, offset: 0, len_bytes: 0 };
    Version { mod_revision, create_revision: number, version: number, sub: 0, location }
}

/// Inserts, deletes, compacts; after every thousand steps the index must say what a map says.
fn check_against_a_map(seed: u64, key_count: u64, in_order: bool) {
    let digits = |number: u64| format!("{number:08}").into_bytes();
    check_keys_against_a_map(seed, key_count, in_order, &digits);
}

/// Keys that are awkward for heads: beginnings of each other, with and without zero bytes behind
/// them, alike for long, in several families, and the whole range of bytes.
fn awkward_key(number: u64) -> Vec<u8> {
    let mut dice = SplitMix::new(number);
    let family: &[u8] = match dice.below(5) {
        0 => b"",
        1 => b"/registry/pods/kube-system/",
        2 => b"/registry/pods/kube-system",
        3 => b"/registry/leases/",
        _ => &[0xff; 40],
    };
    let mut key = family.to_vec();
    for _ in 0..dice.below(20) {
        key.push([0, 0, 1, b'a', 0xff][usize::try_from(dice.below(5)).unwrap()]);
    }
    if key.is_empty() { vec![0] } else { key }
}

#[test]
fn agrees_with_a_map_whatever_the_keys_look_like() {
    for seed in 0..6 {
        check_keys_against_a_map(seed, 6_000, false, &awkward_key);
        check_keys_against_a_map(seed, 900, false, &awkward_key);
    }
}

fn check_keys_against_a_map(
    seed: u64,
    key_count: u64,
    in_order: bool,
    key_of: &dyn Fn(u64) -> Vec<u8>,
) {
    let mut dice = SplitMix::new(seed);
    let mut index = Index::default();
    let mut map: Map = BTreeMap::new();
    for revision in 1..=6_000_u32 {
        let number = if in_order { u64::from(revision) } else { dice.below(key_count) };
        let key = key_of(number);
        let live = dice.below(4) > 0;
        // Where another key is must do no harm.
        let place = index.find(&key_of(dice.below(key_count.max(1)))).map(|(place, ..)| place);
        let own = index.find(&key).map(|(place, ..)| place);
        let place = if dice.below(2) == 0 { place } else { own };
        index.push(&key, version(revision.into(), live), LeaseId::NONE, None, place);
        map.entry(key).or_default().push((revision.into(), live));
        if revision % 1000 == 0 {
            if dice.below(2) == 0 {
                compact(&mut index, &mut map, i64::from(revision) - 500);
            }
            compare(&index, &map, &mut dice, key_of);
        }
    }
}

fn compact(index: &mut Index, map: &mut Map, revision: i64) {
    let mut after = None;
    let mut first = true;
    while first || after.is_some() {
        first = false;
        after = index.compact_chunk(after.as_deref(), revision, |_| {});
    }
    map.retain(|_, versions| {
        let newest = versions.iter().rposition(|(at, _)| *at <= revision);
        if let Some(newest) = newest {
            let keep_from = newest + usize::from(!versions[newest].1);
            versions.drain(..keep_from);
        }
        !versions.is_empty()
    });
}

fn compare(index: &Index, map: &Map, dice: &mut SplitMix, key_of: &dyn Fn(u64) -> Vec<u8>) {
    let everything = KeyRange::new(&Bytes::from_static(b"\0"), &Bytes::from_static(b"\0"));
    let got: Vec<_> = index
        .range(&everything)
        .map(|(key, versions)| {
            let all = versions.all();
            let all = all.map(|v| (v.version.mod_revision, !v.version.is_tombstone()));
            (key.to_vec(), all.collect::<Vec<_>>())
        })
        .collect();
    let expect: Vec<_> = map.iter().map(|(key, all)| (key.clone(), all.clone())).collect();
    assert!(got == expect, "all keys with all versions, in order");
    let mut walked = 0;
    let mut after: Option<Box<[u8]>> = None;
    while let Some(mut some) = index.some_after(after.as_deref()) {
        walked += some.clone().count();
        after = some.next_back().map(|(key, _)| key.into());
    }
    assert_eq!(walked, map.len());
    for _ in 0..20 {
        let mut bound = || Bytes::from(key_of(dice.below(7_000)));
        let range = KeyRange::new(&bound(), &bound());
        let inside = map.iter().filter(|(key, _)| range.contains(key));
        let live = inside.filter(|(_, all)| all.last().is_some_and(|(_, live)| *live)).count();
        assert_eq!(index.count(&range), live, "{range:?}");
        let found = index.range(&range).filter(|(_, v)| !v.latest.is_tombstone()).count();
        assert_eq!(found, live, "{range:?}");
    }
    for number in 0..7_000 {
        let key = key_of(number);
        let latest = index.get(&key).map(|versions| versions.latest.mod_revision);
        let expect = map.get(&key).and_then(|versions| versions.last());
        assert_eq!(latest, expect.map(|(at, _)| *at), "{key:?}");
    }
    assert_eq!(
        index.live_count(),
        map.values().filter(|all| all.last().is_some_and(|(_, live)| *live)).count()
    );
}

#[test]
fn agrees_with_a_map() {
    for seed in 0..3 {
        check_against_a_map(seed, 6_000, false);
        check_against_a_map(seed, 900, false);
    }
    check_against_a_map(7, 0, true);
}
