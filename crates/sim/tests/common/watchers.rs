//! A watcher of everything on each node, which resumes where it stopped after each of the node's
//! lives (scenarios W1, W2, W4).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use env::SplitMix;
use host::GroupId;
use raft::NodeId;
use sim::World;
use sim::history::{Change, History};
use store::{EventKind, Store, StoreMachine, WatchCreateRequest, WatchMessage, WatchStream};

use super::clients::value_of;

/// The revision of an empty store.
const FIRST: i64 = 1;

struct Watcher {
    life: u64,
    stream: Option<WatchStream>,
    /// The first revision that was not seen.
    next: i64,
}

/// All watchers of a world.
#[derive(Default)]
pub(crate) struct Watchers {
    watchers: BTreeMap<(NodeId, GroupId), Watcher>,
    /// The newest compaction that was asked for, by group.
    pub(crate) compacted: BTreeMap<GroupId, i64>,
    /// How often a watcher was told that what it wanted is gone.
    pub(crate) compactions_seen: u64,
}

impl Watchers {
    /// Lets every watcher read some of what waits for it, and holds it against what others saw.
    pub(crate) fn look(
        &mut self,
        world: &World<StoreMachine>,
        dice: &mut SplitMix,
        histories: &mut BTreeMap<GroupId, History>,
        store: impl Fn(NodeId, GroupId) -> Store,
    ) {
        for (group, history) in histories {
            for node in world.nodes().into_iter().filter(|id| world.is_on(*id)) {
                let watcher = self.watchers.entry((node, *group)).or_insert(Watcher {
                    life: 0,
                    stream: None,
                    next: FIRST + 1,
                });
                if watcher.life != world.life_count(node) {
                    watcher.stream = None;
                    watcher.life = world.life_count(node);
                }
                let compacted = self.compacted.get(group).copied().unwrap_or(0);
                // Some clients are slow.
                if dice.below(4) > 0 {
                    let store = store(node, *group);
                    let was_compacted = watcher.read(&store, history, compacted, (node, *group));
                    self.compactions_seen += u64::from(was_compacted);
                }
            }
        }
    }

    /// Whether the watchers of all nodes that are on have seen everything.
    pub(crate) fn have_seen_all(
        &self,
        world: &World<StoreMachine>,
        group: GroupId,
        revision: i64,
    ) -> bool {
        let on = world.nodes().into_iter().filter(|id| world.is_on(*id));
        on.into_iter().all(|node| {
            self.watchers.get(&(node, group)).is_some_and(|watcher| watcher.next == revision + 1)
        })
    }
}

impl Watcher {
    fn read(
        &mut self,
        store: &Store,
        history: &mut History,
        compacted: i64,
        who: (NodeId, GroupId),
    ) -> bool {
        if self.stream.is_none() {
            let stream = store.watch_stream(Arc::new(|| {}));
            let request = WatchCreateRequest {
                key: Bytes::from_static(b"\0"),
                range_end: Bytes::from_static(b"\0"),
                start_revision: self.next,
                ..WatchCreateRequest::default()
            };
            stream.create(request).expect("a good request");
            self.stream = Some(stream);
        }
        let mut idle = 0;
        while idle < 3 {
            let stream = self.stream.as_ref().expect("made above");
            let Ok(message) = stream.poll() else {
                // The node's disk has failed.
                self.stream = None;
                return false;
            };
            match message {
                None => idle += 1,
                Some(WatchMessage::Created { .. }) => {}
                Some(WatchMessage::Events { revision, events, .. }) => {
                    let mut by_revision: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
                    let mut before = 0;
                    for event in events.iter() {
                        let at = event.kv.mod_revision;
                        assert!(at >= before, "{who:?}: events go back from {before} to {at}");
                        before = at;
                        let key = String::from_utf8(event.kv.key.to_vec()).expect("clients' keys");
                        let value = match event.kind {
                            EventKind::Put => Some(value_of(&event.kv.value)),
                            EventKind::Delete => None,
                        };
                        by_revision.entry(at).or_default().push(Change { key, value });
                    }
                    assert!(revision >= before, "{who:?}: the header is at {revision}");
                    for (revision, changes) in by_revision {
                        self.see(history, revision, changes, who);
                    }
                }
                Some(WatchMessage::Compacted { compact_revision, .. }) => {
                    assert!(
                        compact_revision <= compacted && compact_revision > self.next,
                        "{who:?}: told of a compaction at {compact_revision}, asked for {compacted}, \
                         had seen all before {}",
                        self.next
                    );
                    self.next = compact_revision;
                    self.stream = None;
                    return true;
                }
                Some(other) => panic!("{who:?}: nobody asked for {other:?}"),
            }
        }
        false
    }

    fn see(
        &mut self,
        history: &mut History,
        revision: i64,
        mut changes: Vec<Change>,
        who: (NodeId, GroupId),
    ) {
        // Every revision changes a key, and this watcher watches all keys.
        assert_eq!(revision, self.next, "{who:?}: events are complete and in order");
        self.next = revision + 1;
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let newest = history.changes.last_key_value().map_or(FIRST, |(newest, _)| *newest);
        if revision == newest + 1 {
            history.changes.insert(revision, changes);
        } else {
            let known = history.changes.get(&revision);
            assert_eq!(
                known,
                Some(&changes),
                "{who:?}: all nodes have the same revision {revision}"
            );
        }
    }
}
