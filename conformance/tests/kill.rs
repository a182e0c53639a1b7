//! Three processes, sixteen clients that write without pause, and a SIGKILL every two seconds.

use std::time::Duration;

use conformance::load::Load;
use conformance::{Cluster, audit, long_form, pause};
use env::os::{OsClock, OsEntropy};
use env::{Clock, Entropy, SplitMix};

const CLIENTS: u64 = 16;
const VALUE_BYTES: usize = 128;
const BETWEEN_KILLS: Duration = Duration::from_secs(2);
const STAYS_DEAD: Duration = Duration::from_millis(700);

#[test]
fn no_acknowledged_write_is_lost_when_nodes_are_killed() {
    let seed = OsEntropy.next_u64() % 1_000_000;
    let secs = if long_form() { 60 } else { 10 };
    println!("seed {seed}, {secs} s");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut cluster = Cluster::start();
    let endpoints = cluster.endpoints();
    let load = runtime.block_on(async { Load::start(&endpoints, CLIENTS, VALUE_BYTES, seed) });

    let mut dice = SplitMix::new(seed);
    let clock = OsClock::new();
    let begun = clock.now();
    let end = begun.after(Duration::from_secs(secs));
    let (mut kills, mut leaders_killed, mut before) = (0, 0, 0);
    while clock.now() < end {
        // A member that is back early does not make the next kill early.
        pause(begun.after(BETWEEN_KILLS * (kills + 1)).since(clock.now()));
        let leader = runtime.block_on(audit::leader(&endpoints));
        // Every second victim is the leader, so that a short run kills one for certain.
        let victim = match leader {
            Some(leader) if kills % 2 == 0 => leader,
            _ => usize::try_from(dice.below(3)).unwrap(),
        };
        leaders_killed += u32::from(leader == Some(victim));
        cluster.kill(victim);
        kills += 1;
        pause(STAYS_DEAD);
        cluster.restart(victim);
        let acknowledged = load.acknowledged();
        assert!(acknowledged > before, "no write was acknowledged around kill {kills}");
        before = acknowledged;
    }

    let histories = runtime.block_on(load.stop());
    (0..cluster.size()).for_each(|number| cluster.wait_healthy(number));
    runtime.block_on(audit::audit(&endpoints, &histories)).unwrap();
    let acknowledged: usize = histories.iter().map(|history| history.acknowledged.len()).sum();
    let unknown: u64 = histories.iter().map(|history| history.unknown).sum();
    assert!(leaders_killed > 0, "the leader was never killed");
    println!(
        "{kills} kills, {leaders_killed} of the leader; {acknowledged} acknowledged, {unknown} not"
    );
}
