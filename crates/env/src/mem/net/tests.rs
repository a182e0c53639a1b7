use super::*;

fn frames(net: &MemNet, now: Moment) -> Vec<(u64, u64, u8)> {
    net.due(now).into_iter().map(|d| (d.from, d.to, d.frame[0])).collect()
}

fn run(seed: u64) -> Vec<(Moment, u64, u64, u8)> {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock.clone(), seed);
    net.set_loss_permille(200);
    let ends = [net.endpoint(1), net.endpoint(2), net.endpoint(3)];
    for n in 0..60_u8 {
        for to in 1..=3 {
            assert!(ends[usize::from(n % 3)].send(to, Bytes::from(vec![n])));
        }
        clock.advance(Duration::from_micros(50));
    }
    let mut seen = Vec::new();
    while let Some(at) = net.next_due() {
        seen.extend(frames(&net, at).into_iter().map(|(from, to, n)| (at, from, to, n)));
    }
    seen
}

#[test]
fn same_seed_same_deliveries_in_order_per_pair() {
    let seen = run(7);
    assert_eq!(seen, run(7));
    assert_ne!(seen, run(8));
    assert!(seen.len() < 180 && seen.len() > 100, "about a fifth is lost: {}", seen.len());
    let mut last = BTreeMap::new();
    for (_, from, to, n) in seen {
        assert!(last.insert((from, to), n).is_none_or(|before| before < n), "frames overtook");
    }
}

#[test]
fn cut_takes_what_is_under_way_and_heal_lets_new_frames_pass() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock.clone(), 1);
    let (one, two) = (net.endpoint(1), net.endpoint(2));
    assert!(!one.send(9, Bytes::from_static(b"x")), "an unknown peer is refused");
    one.send(2, Bytes::from_static(b"a"));
    net.isolate(2);
    two.send(1, Bytes::from_static(b"b"));
    let later = Moment(10_000_000);
    assert_eq!(frames(&net, later), []);
    net.heal_all();
    clock.set(later);
    one.send(2, Bytes::from_static(b"c"));
    assert_eq!(frames(&net, Moment(20_000_000)), [(1, 2, b'c')]);
    one.send(2, Bytes::from_static(b"d"));
    net.drop_frames_of(2);
    assert_eq!(net.next_due(), None);
}

#[test]
fn a_clogged_wire_gives_everything_at_once_and_in_order() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock.clone(), 1);
    let (one, _two) = (net.endpoint(1), net.endpoint(2));
    net.clog(1, 2, Duration::from_millis(50));
    for n in 0..5_u8 {
        assert!(one.send(2, Bytes::from(vec![n])));
    }
    assert_eq!(net.next_due(), Some(Moment(50_000_000)));
    let seen: Vec<u8> = frames(&net, Moment(50_000_000)).iter().map(|(_, _, n)| *n).collect();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn n13_an_old_frame_comes_again_and_each_frame_is_accounted_for() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock.clone(), 5);
    let (one, _two) = (net.endpoint(1), net.endpoint(2));
    net.keep_events();
    net.set_replay_permille(500);
    net.set_loss_permille(100);
    for n in 0..100_u8 {
        assert!(one.send(2, Bytes::from(vec![n])));
        clock.advance(Duration::from_millis(2));
    }
    let seen = frames(&net, Moment(u64::MAX - 1));
    let again = seen.windows(2).filter(|pair| pair[1].2 < pair[0].2).count();
    assert!(again > 20, "old frames came again: {again}");
    let events = net.take_events();
    let arrived = |event: &&NetEvent| matches!(event, NetEvent::Sent { arrives: Some(_), .. });
    assert_eq!(events.iter().filter(arrived).count(), seen.len());
    let lost = |event: &&NetEvent| matches!(event, NetEvent::Sent { arrives: None, .. });
    assert!(events.iter().filter(lost).count() > 3);
}

#[test]
fn a_node_with_a_place_is_reached_by_whom_was_told_of_it_and_nobody_else() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock.clone(), 1);
    let (one, two) = (net.endpoint(1), net.endpoint(2));
    net.place(1, "n1:1");
    net.place(2, "n2:1");
    let send = |from: &MemEndpoint, to| from.send(to, Bytes::from_static(b"x"));
    assert!(!send(&one, 2), "it was told of nobody");
    one.set_peer(2, &["elsewhere:1".to_owned(), "n2:1".to_owned()]);
    assert!(send(&one, 2));
    assert!(!send(&two, 1), "who is called was not told who calls");
    net.place(2, "n2:2");
    assert!(!send(&one, 2), "it has moved");
    one.set_peer(2, &["n2:2".to_owned()]);
    assert!(send(&one, 2));
    one.remove_peer(2);
    assert!(!send(&one, 2), "it was told to speak to it no more");
    one.set_peer(2, &["n2:2".to_owned()]);
    let again = net.endpoint(1);
    assert!(!send(&again, 2), "a process that begins knows nobody");
}

#[test]
fn what_becomes_of_frames_is_counted_and_not_what_was_asked_for() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock.clone(), 3);
    let (one, _two) = (net.endpoint(1), net.endpoint(2));
    net.set_loss_permille(100);
    net.set_duplicate_permille(100);
    net.set_replay_permille(100);
    net.set_reorder_permille(100);
    net.clog(1, 2, Duration::from_millis(3));
    assert_eq!(net.counts(), NetCounts::default());
    let mut seen = Vec::new();
    for n in 0..200_u8 {
        assert!(one.send(2, Bytes::from(vec![n])));
        clock.advance(Duration::from_micros(500));
        seen.extend(frames(&net, clock.now()));
    }
    seen.extend(frames(&net, Moment(u64::MAX - 1)));
    let counts = net.counts();
    let more = counts.doubled + counts.replayed;
    assert_eq!(seen.len() as u64, 200 + more - counts.lost, "{counts:?}");
    assert!(counts.lost > 5 && counts.doubled > 5 && counts.replayed > 5, "{counts:?}");
    assert!(counts.overtaken > 5 && counts.held_back > 0 && counts.cut == 0, "{counts:?}");
    net.cut(1, 2);
    assert!(one.send(2, Bytes::from_static(b"x")));
    assert_eq!(net.counts().cut + net.counts().lost, counts.lost + 1);
}

#[test]
fn a_long_way_takes_longer_in_one_direction() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock, 1);
    let (one, two) = (net.endpoint(1), net.endpoint(2));
    let ms = Duration::from_millis;
    net.set_long_way(1, 2, Latency::uniform(ms(20), ms(30)));
    net.heal_all();
    assert!(one.send(2, Bytes::from_static(b"x")) && two.send(1, Bytes::from_static(b"y")));
    assert_eq!(frames(&net, Moment(2_000_000)), [(2, 1, b'y')]);
    assert_eq!(frames(&net, Moment(30_000_000)), [(1, 2, b'x')]);
}

#[test]
fn the_second_way_of_a_node_has_an_order_and_versions_of_its_own() {
    let clock = VirtualClock::new();
    let net = MemNet::new(clock, 1);
    let (one, _two) = (net.endpoint(1), net.endpoint(2));
    let bulk = one.second();
    net.clog(1, 2, Duration::from_millis(50));
    assert!(bulk.send(2, Bytes::from_static(b"b")));
    net.heal_all();
    assert!(one.send(2, Bytes::from_static(b"a")));
    assert_eq!(frames(&net, Moment(40_000_000)), [(1, 2, b'a')], "it waits for no other way");
    net.set_version(1, 2, true, 2);
    let takes = |end: &MemEndpoint| end.version_of(2).load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((takes(&one), takes(&bulk)), (u8::MAX, 2));
}
