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
    let mut dice = SplitMix::new(seed);
    let mut index = Index::default();
    let mut map: Map = BTreeMap::new();
    for revision in 1..=6_000_u32 {
        let number = if in_order { u64::from(revision) } else { dice.below(key_count) };
        let key = format!("{number:08}").into_bytes();
        let live = dice.below(4) > 0;
        index.push(&key, version(revision.into(), live), LeaseId::NONE, None);
        map.entry(key).or_default().push((revision.into(), live));
        if revision % 1000 == 0 {
            if dice.below(2) == 0 {
                compact(&mut index, &mut map, i64::from(revision) - 500);
            }
            compare(&index, &map, &mut dice);
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

fn compare(index: &Index, map: &Map, dice: &mut SplitMix) {
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
        let mut bound = || Bytes::from(format!("{:08}", dice.below(7_000)));
        let range = KeyRange::new(&bound(), &bound());
        let inside = map.iter().filter(|(key, _)| range.contains(key));
        let live = inside.filter(|(_, all)| all.last().is_some_and(|(_, live)| *live)).count();
        assert_eq!(index.count(&range), live, "{range:?}");
        let found = index.range(&range).filter(|(_, v)| !v.latest.is_tombstone()).count();
        assert_eq!(found, live, "{range:?}");
    }
    for (key, versions) in map.iter().take(100) {
        let latest = index.get(key).map(|versions| versions.latest.mod_revision);
        assert_eq!(latest, versions.last().map(|(at, _)| *at));
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
