//! The runner of golden scripts: stories of a group in text files.
//!
//! A script is comments, commands, and behind `----` what the commands led to, up to an empty
//! line. The output is made of typed events and messages alone. `REWRITE=1` writes it anew; look
//! at the difference before you keep it.

mod rule;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use raft::*;

use crate::cluster::words::message_line;
use crate::cluster::{Cluster, command, id};

/// Runs every script of a folder; returns how many there were.
pub(crate) fn run_folder(folder: &str) -> usize {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let differing: Vec<String> = files.iter().filter_map(|file| run_file(file).err()).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
    files.len()
}

fn run_file(file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).unwrap();
    let actual = run_script(&file.display().to_string(), &text);
    if std::env::var_os("REWRITE").is_some() {
        fs::write(file, actual).unwrap();
        return Ok(());
    }
    let place = text.lines().zip(actual.lines()).position(|(expected, actual)| expected != actual);
    if text == actual {
        return Ok(());
    }
    let place = place.unwrap_or_else(|| text.lines().count().min(actual.lines().count()));
    Err(format!(
        "{}:{}\n  expected: {}\n  actual:   {}\nREWRITE=1 cargo test -p raft --test scripts rewrites it",
        file.display(),
        place + 1,
        text.lines().nth(place).unwrap_or("end of file"),
        actual.lines().nth(place).unwrap_or("end of file"),
    ))
}

fn run_script(name: &str, text: &str) -> String {
    let mut story = Story { cluster: None, name, line: 0 };
    let mut written = String::new();
    let mut output: Option<Vec<String>> = None;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        story.line = number + 1;
        let is_command = !line.is_empty() && !line.starts_with('#') && line != "----";
        if is_command {
            let said = story.run(line);
            let output = output.get_or_insert_default();
            if line == "silent" {
                output.clear(); // What the preparation of a story leads to is not part of it.
            }
            output.extend(said);
        }
        if line != "----" {
            written.push_str(line);
            written.push('\n');
        }
        // The commands end at their output, at an empty line, or with the file.
        let ends = line == "----" || lines.peek().is_none_or(|(_, next)| next.is_empty());
        if let Some(said) = output.take_if(|_| ends && (is_command || line == "----")) {
            let said = if said.is_empty() { vec!["ok".to_owned()] } else { said };
            written.push_str("----\n");
            said.iter().for_each(|line| written.push_str(&format!("{line}\n")));
            while lines.next_if(|(_, next)| !next.is_empty()).is_some() {}
        }
    }
    written
}

struct Story<'a> {
    cluster: Option<Cluster>,
    name: &'a str,
    line: usize,
}

/// The words of a command: the plain ones in order, and those with `=`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn plain(&self, place: usize) -> Option<&'a str> {
        self.0.iter().filter(|word| !word.contains('=')).nth(place).copied()
    }

    fn number(&self, place: usize) -> u64 {
        let word = self.plain(place).unwrap_or_else(|| panic!("word {place} is missing"));
        word.parse().unwrap_or_else(|_| panic!("{word} is not a number"))
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn named_number(&self, name: &str) -> Option<u64> {
        self.named(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
    }

    fn need(&self, name: &str) -> u64 {
        self.named_number(name).unwrap_or_else(|| panic!("{name}= is missing"))
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        let value = self.named(name).unwrap_or("");
        value.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
    }

    fn entry(&self, name: &str) -> EntryId {
        parse_entry(self.named(name).unwrap_or_else(|| panic!("{name}= is missing")))
    }
}

fn parse_entry(text: &str) -> EntryId {
    let (index, term) = text.split_once('@').unwrap_or_else(|| panic!("{text} is not index@term"));
    EntryId::new(term.parse().unwrap(), index.parse().unwrap())
}

impl Story<'_> {
    fn run(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let words = Words(words.collect());
        if verb == "cluster" {
            self.cluster = Some(new_cluster(&words));
        }
        let at = format!("{}:{} {line}", self.name, self.line);
        let cluster = self.cluster.as_mut().unwrap_or_else(|| panic!("{at}: no cluster yet"));
        let known = run_verb(cluster, verb, &words)
            || run_leadership_verb(cluster, verb, &words)
            || run_world_verb(cluster, verb, &words)
            || run_look_verb(cluster, verb, &words)
            || run_network_verb(cluster, verb, &words);
        assert!(known, "{at}: unknown command");
        cluster.take_lines()
    }
}

fn new_cluster(words: &Words<'_>) -> Cluster {
    let nodes = words.number(0);
    let voters = words.numbers("voters");
    let voters = if voters.is_empty() { (1..=nodes).collect() } else { voters };
    let configuration = Configuration {
        voters: voters.into_iter().map(NodeId).collect(),
        outgoing: words.numbers("outgoing").into_iter().map(NodeId).collect(),
        learners: words.numbers("learners").into_iter().map(NodeId).collect(),
        lease: words.named_number("guard").map(|ticks| lease_of(ticks, words)),
        witnesses: words.numbers("witnesses").into_iter().map(NodeId).collect(),
        rule: words.named("rule").map(rule::parse).unwrap_or_default(),
        ..Configuration::default()
    };
    let size = |name| words.named_number(name).map(|bytes| usize::try_from(bytes).unwrap());
    Cluster::with(nodes, &configuration, |options| {
        options.pre_vote = words.named("pre-vote") != Some("off");
        options.check_quorum = words.named("check-quorum") != Some("off");
        let or = |given: Option<usize>, default| given.unwrap_or(default);
        options.append_batch_bytes_max = or(size("batch-bytes"), options.append_batch_bytes_max);
        options.window_messages_max = or(size("window-messages"), options.window_messages_max);
        options.window_bytes_max = or(size("window-bytes"), options.window_bytes_max);
        options.cache_bytes_max = or(size("cache-bytes"), options.cache_bytes_max);
        options.reorder_bytes_max = or(size("reorder-bytes"), options.reorder_bytes_max);
        options.uncommitted_bytes_max = or(size("uncommitted"), options.uncommitted_bytes_max);
        options.promotion_lag_bytes_max = or(size("lag"), options.promotion_lag_bytes_max);
        let ticks = |name| words.named_number(name);
        options.write_stall_ticks_max = ticks("stall").unwrap_or(options.write_stall_ticks_max);
        options.slow_follower_ticks = ticks("slow").unwrap_or(options.slow_follower_ticks);
        options.reelection_wait_ticks = ticks("wait").unwrap_or(0);
        options.first_election_ticks = ticks("first").map(|first| (first, first));
        options.lease_drift_ppm = ticks("drift").map(|ppm| u32::try_from(ppm).unwrap());
        options.quiesce_after_ticks = ticks("quiesce");
        options.pending_reads_max = or(size("pending-reads"), options.pending_reads_max);
        if ticks("low") == Some(options.id.0) {
            options.campaign_delay_ticks = 40;
        }
        if words.named("disks") == Some("known") {
            options.incarnation = Incarnation(options.id.0);
        }
        options.is_witness |= ticks("waiting-witness") == Some(options.id.0);
        options.log_tail_kept = words.named_number("tail").unwrap_or(0);
    })
}

/// A lease in the log, of so many ticks; `clock=2` is one by clocks that are certain within 2.
fn lease_of(ticks: u64, words: &Words<'_>) -> LeaseTerms {
    match words.named_number("clock") {
        None => LeaseTerms::monotonic(ticks * 1000, 0),
        Some(within) => {
            LeaseTerms::declared(ticks * 1000, 0, u32::try_from(within * 1000).unwrap())
        }
    }
}

/// What a host asks of its node.
fn run_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "cluster" => {}
        "elect" => cluster.elect(words.number(0)),
        "campaign" | "timeout" => cluster.timeout(words.number(0)),
        "tick" => cluster.tick(words.number(0), words.number(1)),
        "propose" => {
            let commands: Vec<&str> = words.0[1..].to_vec();
            if let Err(error) = cluster.propose(words.number(0), &commands) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "lease-read" => cluster.read(words.number(0), words.number(1), ReadMode::Lease),
        "read" => cluster.read(words.number(0), words.number(1), parse_mode(words)),
        // What the clock of a node says now, in ticks: not before, and not after.
        "clock" => {
            let now = cluster.members[&words.number(0)].now;
            let (earliest_us, latest_us) = (words.number(1) * 1000, words.number(2) * 1000);
            let interval = ClockInterval { earliest_us, latest_us };
            cluster.input(words.number(0), now, Input::Clock(interval));
        }
        "replied" => {
            let now = cluster.members[&words.number(0)].now;
            cluster.input(words.number(0), now, Input::Replied(LogIndex(words.number(1))));
        }
        "transfer" => {
            let to = words.plain(1).map(|to| to.parse().unwrap());
            if let Err(error) = cluster.transfer(words.number(0), to) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "lost" => {
            let (node, peer) = (words.number(0), words.number(1));
            let now = cluster.members[&node].now;
            cluster.input(node, now, Input::PeerLost(id(peer)));
        }
        "change" => {
            if let Err(error) = cluster.change(words.number(0), &parse_change(words)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "abandon" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.abandon_change(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "compact" => cluster.compact(words.number(0)),
        "snapshot" => {
            let mark = cluster.carry_snapshot(words.number(0));
            let line = mark.map_or_else(
                || "no snapshot is wanted".to_owned(),
                |mark| format!("n{} sends the snapshot {}", words.number(0), mark.last),
            );
            cluster.lines.push(line);
        }
        "snapshot-fails" => {
            let node = words.number(0);
            let wanted = cluster.member(node).snapshots_wanted.pop().expect("one is wanted");
            let now = cluster.members[&node].now;
            cluster.input(node, now, Input::SnapshotSent { to: wanted.to, delivered: None });
        }
        _ => return false,
    }
    true
}

/// Who should lead.
fn run_leadership_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "call" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.campaign_now(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "timeouts" => {
            let now = cluster.members[&words.number(0)].now;
            let timeouts = Timeouts {
                election_timeout_ticks: words.need("election"),
                heartbeat_interval_ticks: words.need("heartbeat"),
            };
            let done = cluster.act(words.number(0), |raft| raft.set_timeouts(now, timeouts));
            if let Err(error) = done {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "step-down" => {
            let now = cluster.members[&words.number(0)].now;
            if let Err(error) = cluster.act(words.number(0), |raft| raft.step_down(now)) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "elections" => {
            let are_paused = words.plain(1) == Some("pause");
            let node = words.number(0);
            let now = cluster.members[&node].now;
            cluster.input(node, now, Input::PauseElections(are_paused));
        }
        _ => return false,
    }
    true
}

/// `read 1 7`, and behind that `lease`, `guarded` or `guarded limbo`, `replied`, `after=5` or
/// `after=5@2`, or `stale` with `at-least=5`, `lag=2`, `silence=10`.
fn parse_mode(words: &Words<'_>) -> ReadMode {
    if let Some(after) = words.named("after") {
        let index = after.split('@').next().unwrap().parse().unwrap();
        let term = after.split_once('@').map(|(_, term)| Term(term.parse().unwrap()));
        return ReadMode::AfterWrite { index: LogIndex(index), term };
    }
    match words.plain(2) {
        None => ReadMode::ReadIndex,
        Some("lease") => ReadMode::Lease,
        Some("guarded") => ReadMode::LeaseGuard { checks_limbo: words.plain(3) == Some("limbo") },
        Some("replied") => ReadMode::Replied,
        Some("stale") => ReadMode::Stale(Staleness {
            at_least: LogIndex(words.named_number("at-least").unwrap_or(0)),
            lag_entries_max: words.named_number("lag"),
            silence_ticks_max: words.named_number("silence"),
        }),
        Some(other) => panic!("no mode {other}"),
    }
}

/// `add=4 learn=5 promote=5 demote=3 remove=1,2 guard=8`, with `expected=1,2,3` voters or
/// `stall=yes`, `rule=` as a configuration is written, and `feed=4:2,5:leader`.
fn parse_change(words: &Words<'_>) -> ConfigurationChange {
    let of = |name, change: fn(NodeId) -> MemberChange| {
        words.numbers(name).into_iter().map(move |node| change(id(node)))
    };
    let members = of("add", MemberChange::AddVoter)
        .chain(of("learn", MemberChange::AddLearner))
        .chain(of("witness", MemberChange::AddWitness))
        .chain(of("promote", MemberChange::Promote))
        .chain(of("demote", MemberChange::Demote))
        .chain(of("remove", MemberChange::Remove));
    let expected = words.named("expected").map(|_| words.numbers("expected"));
    let lease = match words.named("guard") {
        None => LeaseChange::Keep,
        Some("off") => LeaseChange::End,
        Some(ticks) => LeaseChange::Set(lease_of(ticks.parse().unwrap(), words)),
    };
    ConfigurationChange {
        lease,
        expected: expected.map(|voters| Configuration::of_voters(voters.into_iter().map(id))),
        allow_stall: words.named("stall") == Some("yes"),
        rule: words.named("rule").map(rule::parse),
        feeders: words.named("feed").map(parse_feeders).unwrap_or_default(),
        ..ConfigurationChange::of(members)
    }
}

/// `4:2,5:leader`: node 4 pulls from node 2, and the leader feeds node 5.
fn parse_feeders(text: &str) -> BTreeMap<NodeId, Option<NodeId>> {
    let pairs = text.split(',').map(|pair| pair.split_once(':').expect("a pair"));
    pairs
        .map(|(learner, feeder)| {
            let number = |text: &str| id(text.parse().unwrap());
            (number(learner), (feeder != "leader").then(|| number(feeder)))
        })
        .collect()
}

/// What happens to a node.
fn run_world_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "crash" => cluster.crash(words.number(0)),
        "restart" => {
            let tail = words.named_number("tail").map_or(usize::MAX, |t| t.try_into().unwrap());
            cluster.restart_with_tail(words.number(0), tail);
        }
        // Another machine in the place of the node: its disk is empty.
        "wipe" => {
            cluster.crash(words.number(0));
            cluster.member(words.number(0)).disk = Default::default();
            cluster.restart(words.number(0));
        }
        "lose-disk" => cluster.lose_disk(words.number(0)),
        "force-survivors" => {
            let survivors = words.numbers("survivors");
            if let Err(error) = cluster.force_survivors(words.number(0), &survivors) {
                cluster.lines.push(format!("n{} refused: {error}", words.number(0)));
            }
        }
        "copy-disk" => {
            let member = cluster.member(words.number(0));
            member.copy = Some(member.disk.clone());
        }
        "set-disk-back" => cluster.set_disk_back(words.number(0)),
        // Time passes, and the node is told nothing.
        "sleep" => {
            let member = cluster.member(words.number(0));
            member.now = member.now.after(words.number(1));
        }
        "load" => cluster.load(words.number(0), words.need("term"), &words.numbers("log")),
        "disk" => {
            let node = words.number(0);
            match words.plain(1) {
                Some("hold") => cluster.member(node).disk_is_instant = false,
                Some("write") => assert!(cluster.write_one(node), "nothing is in flight"),
                Some("go") => {
                    cluster.member(node).disk_is_instant = true;
                    while cluster.write_one(node) {}
                }
                other => panic!("disk {other:?}"),
            }
        }
        "silent" => {
            cluster.stabilize();
            cluster.lines.clear();
        }
        _ => return false,
    }
    true
}

/// How a node looks.
fn run_look_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "status" => {
            let nodes: Vec<u64> = cluster.members.keys().copied().collect();
            for node in nodes {
                let line = cluster.status_line(node);
                cluster.lines.push(line);
            }
        }
        "configuration" => {
            let status = cluster.status(words.number(0));
            let place = if status.configuration_index > status.commit_index { "?" } else { "" };
            cluster.lines.push(format!(
                "n{} {} of={}{place}",
                words.number(0),
                status.configuration,
                status.configuration_index
            ));
        }
        "deadline" => {
            let node = words.number(0);
            let now = cluster.members[&node].now;
            let line = match cluster.node(node).next_deadline() {
                Some(at) => format!("n{node} waits {} ticks", at.0 - now.0),
                None => format!("n{node} waits for others"),
            };
            cluster.lines.push(line);
        }
        "quorum" => {
            let line = quorum_line(&cluster.status(words.number(0)));
            cluster.lines.push(format!("n{} {line}", words.number(0)));
        }
        "payloads" => {
            let line = payloads_line(&cluster.members[&words.number(0)].disk.entries);
            cluster.lines.push(format!("n{} {line}", words.number(0)));
        }
        "disks" => {
            let line = disks_line(&cluster.status(words.number(0)));
            cluster.lines.push(line);
        }
        "log" => {
            let disk = &cluster.members[&words.number(0)].disk;
            let entries = disk.entries.iter().map(|entry| entry.id.to_string());
            let line = format!("n{} {}", words.number(0), entries.collect::<Vec<_>>().join(" "));
            cluster.lines.push(line);
        }
        // The log does not answer, or takes up again.
        "fetch" => {
            let node = words.number(0);
            cluster.member(node).fetch_is_instant = words.plain(1) == Some("go");
            while cluster.members[&node].fetch_is_instant && cluster.fetch_one(node) {}
        }
        // The state machine takes its time, or takes up again.
        "apply" => {
            let node = words.number(0);
            cluster.member(node).apply_is_instant = words.plain(1) == Some("go");
            while cluster.members[&node].apply_is_instant && cluster.report_applied(node) {}
        }
        "applied" => {
            let line = cluster.applied_commands(words.number(0)).join(" ");
            cluster.lines.push(format!("n{} {line}", words.number(0)));
        }
        _ => return false,
    }
    true
}

/// Which voters of each half a leader hears.
fn quorum_line(status: &Status) -> String {
    let Some(QuorumStatus { incoming, outgoing }) = status.quorum else {
        return "does not lead".to_owned();
    };
    let half = |HalfStatus { alive, voters, decides }| {
        let quorum = if decides { "" } else { " (no quorum)" };
        format!("{alive}/{voters}{quorum}")
    };
    format!("hears {} of C_new, {} of C_old", half(incoming), half(outgoing))
}

/// What the entries of a disk say.
fn payloads_line(entries: &[Entry]) -> String {
    let kinds = entries.iter().map(|entry| match &entry.payload {
        Payload::Noop => "noop".to_owned(),
        Payload::Lease(at) => format!("lease[{},{}]", at.earliest_us, at.latest_us),
        Payload::Command(command) => String::from_utf8_lossy(command).into_owned(),
        Payload::Keyed(keyed) => String::from_utf8_lossy(&keyed.command).into_owned(),
        Payload::Withheld => "withheld".to_owned(),
        Payload::Configuration(_) => "configuration".to_owned(),
    });
    kinds.collect::<Vec<_>>().join(" ")
}

/// Which disks are on record, who is not guarded by that, and whose word does not count.
fn disks_line(status: &Status) -> String {
    let list = |nodes: Vec<String>| if nodes.is_empty() { "-".into() } else { nodes.join(",") };
    let recorded = status.configuration.incarnations.iter();
    let recorded = recorded.map(|(node, disk)| format!("n{node}:{}", disk.0)).collect();
    let unguarded = status.unguarded.iter().map(|node| format!("n{node}")).collect();
    let silent = status.followers.iter().filter(|follower| !follower.counts);
    let silent = silent.map(|follower| format!("n{}<{}", follower.id, follower.frontier)).collect();
    let stranger = if status.is_stranger { " stranger" } else { "" };
    let (recorded, unguarded, silent) = (list(recorded), list(unguarded), list(silent));
    format!("n{}{stranger} disks={recorded} unguarded={unguarded} silent={silent}", status.id)
}

/// What happens on the wire.
fn run_network_verb(cluster: &mut Cluster, verb: &str, words: &Words<'_>) -> bool {
    match verb {
        "stabilize" => cluster.stabilize(),
        "messages" => {
            let lines: Vec<String> = cluster.network.iter().map(message_line).collect();
            cluster.lines.extend(lines);
        }
        "deliver" | "drop" | "repeat" | "keep" => {
            let (chosen, rest): (Vec<_>, Vec<_>) =
                cluster.network.drain(..).partition(|message| matches(message, words));
            match verb {
                "keep" => cluster.network = chosen,
                "drop" => cluster.network = rest,
                "repeat" => {
                    cluster.network =
                        chosen.iter().cloned().chain(rest).chain(chosen.clone()).collect();
                }
                _ => {
                    cluster.network = rest;
                    for message in chosen {
                        cluster.lines.push(message_line(&message));
                        cluster.deliver(message);
                    }
                }
            }
        }
        "isolate" => drop(cluster.isolated.insert(words.number(0))),
        "heal" => cluster.isolated.clear(),
        "inject" => {
            let message = parse_message(words);
            cluster.lines.push(message_line(&message));
            cluster.deliver(message);
        }
        _ => return false,
    }
    true
}

fn matches(message: &Message, words: &Words<'_>) -> bool {
    words.named_number("from").is_none_or(|from| message.from.0 == from)
        && words.named_number("to").is_none_or(|to| message.to.0 == to)
        && words.named_number("term").is_none_or(|term| message.term.0 == term)
        && words.plain(0).is_none_or(|kind| {
            message_line(message).split(' ').nth(4).is_some_and(|word| word == kind)
        })
}

fn parse_pull(words: &Words<'_>) -> Body {
    let prev = words.entry("prev");
    match words.named_number("commit").map(LogIndex) {
        None => Body::Pull { prev },
        Some(commit_index) => {
            Body::PullResponse { prev, commit_index, entries: parse_entries(words).into() }
        }
    }
}

fn parse_message(words: &Words<'_>) -> Message {
    let granted = words.named("granted") == Some("true");
    let index = |name: &str| LogIndex(words.need(name));
    let session = words.named_number("session").unwrap_or(0);
    let body = match words.plain(0).expect("a kind of message") {
        "PreVote" => Body::PreVote { last: words.entry("last") },
        "PreVoteResponse" => Body::PreVoteResponse { granted },
        "RequestVote" => Body::RequestVote {
            last: words.entry("last"),
            leadership_transfer: words.named("transfer") == Some("true"),
        },
        "RequestVoteResponse" => Body::RequestVoteResponse { granted },
        "AppendEntries" => Body::AppendEntries {
            prev: words.entry("prev"),
            commit_index: LogIndex(words.named_number("commit").unwrap_or(0)),
            session,
            entries: parse_entries(words).into(),
        },
        "Accepted" => Body::AppendEntriesResponse(AppendOutcome::Accepted {
            session,
            match_index: index("match"),
        }),
        "Rejected" => Body::AppendEntriesResponse(AppendOutcome::Rejected {
            session,
            prev_index: index("prev"),
            hint: words.entry("hint"),
        }),
        "Heartbeat" => Body::Heartbeat {
            commit_index: index("commit"),
            round: words.named_number("round").unwrap_or(0),
        },
        "HeartbeatResponse" => {
            Body::HeartbeatResponse { round: words.need("round"), last_index: index("last") }
        }
        "InstallSnapshot" => {
            let voters = words.numbers("voters").into_iter().map(NodeId);
            let configuration = Configuration {
                outgoing: words.numbers("outgoing").into_iter().map(NodeId).collect(),
                lease: words.named_number("guard").map(|ticks| lease_of(ticks, words)),
                ..Configuration::of_voters(voters)
            };
            Body::InstallSnapshot {
                mark: SnapshotMark { last: words.entry("last"), configuration }.into(),
            }
        }
        "Removed" => {
            let configuration = Configuration {
                removed: words.numbers("removed").into_iter().map(NodeId).collect(),
                ..Configuration::of_voters(words.numbers("voters").into_iter().map(NodeId))
            };
            let by = SnapshotMark { last: words.entry("by"), configuration };
            let incarnation = Incarnation(words.named_number("incarnation").unwrap_or(0));
            Body::Removed { by: by.into(), incarnation }
        }
        "Pull" | "PullResponse" => parse_pull(words),
        "Quiesce" => Body::Quiesce { last: words.entry("last"), commit_index: index("commit") },
        "TimeoutNow" => Body::TimeoutNow { lease_ended: words.named("lease") == Some("ended") },
        "ReadIndex" => Body::ReadIndex {
            context: words.need("name"),
            replied: words.named("replied") == Some("true"),
        },
        "ReadIndexResponse" => Body::ReadIndexResponse {
            context: words.need("name"),
            index: words.named_number("index").map(LogIndex),
        },
        other => panic!("unknown message {other}"),
    };
    let (from, to) = (id(words.need("from")), id(words.need("to")));
    Message::new(from, to, Term(words.need("term")), body)
}

/// `3@2,4@2`, or `4@2:voters:1+2+3` for a configuration, `4@2:voters:2+3/1+2` for a joint one.
fn parse_entries(words: &Words<'_>) -> Vec<Entry> {
    let list = words.named("entries").unwrap_or("");
    let parts = list.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once(":voters:") {
            None => match part.strip_suffix(":withheld") {
                Some(entry) => Entry { id: parse_entry(entry), payload: Payload::Withheld },
                None => Entry { id: parse_entry(part), payload: Payload::Command(command(part)) },
            },
            Some((entry, voters)) => {
                let nodes = |list: &str| -> std::collections::BTreeSet<NodeId> {
                    let parts = list.split('+').filter(|part| !part.is_empty());
                    parts.map(|part| id(part.parse().unwrap())).collect()
                };
                let (voters, outgoing) = voters.split_once('/').unwrap_or((voters, ""));
                let outgoing = nodes(outgoing);
                let configuration =
                    Configuration { outgoing, ..Configuration::of_voters(nodes(voters)) };
                Entry {
                    id: parse_entry(entry),
                    payload: Payload::Configuration(configuration.into()),
                }
            }
        })
        .collect()
}
