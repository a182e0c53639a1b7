//! What a picture is drawn from.

use std::collections::BTreeMap;

use env::Moment;
use raft::invariants::term_runs;
use raft::{Node, NodeId, Role};
use serde::Serialize;

use super::words::Kind;
use crate::Failure;

/// Rows of one kind that are kept; a page with more would be of no use to anybody.
const ROWS_MAX: usize = 120_000;

/// A replica as a picture shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    role: &'static str,
    term: u64,
    vote: Option<u64>,
    leader: Option<u64>,
    /// The last entry that only a snapshot has.
    mark: u64,
    last: u64,
    durable: u64,
    commit: u64,
    applied: u64,
    /// Where each term begins in the log.
    runs: Vec<(u64, u64)>,
    members: String,
}

impl View {
    /// A node that runs.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let status = node.status();
        Self {
            role: match status.role {
                Role::Follower if status.configuration.learners.contains(&node.id()) => "learner",
                Role::Follower if !status.configuration.is_voter(node.id()) => "outside",
                Role::Follower => "follower",
                Role::PreCandidate => "pre-candidate",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            },
            term: status.hard_state.current_term.0,
            vote: status.hard_state.voted_for.map(|node| node.0),
            leader: status.leader_id.map(|node| node.0),
            mark: status.mark.index.0,
            last: status.last.index.0,
            durable: status.durable_index.0,
            commit: status.commit_index.0,
            applied: status.applied_index.0,
            runs: term_runs(node).into_iter().map(|(index, term)| (index.0, term.0)).collect(),
            members: status.configuration.to_string(),
        }
    }

    /// A node that does not run.
    #[must_use]
    pub fn off() -> Self {
        Self {
            role: "off",
            term: 0,
            vote: None,
            leader: None,
            mark: 0,
            last: 0,
            durable: 0,
            commit: 0,
            applied: 0,
            runs: Vec::new(),
            members: String::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct State {
    at: u64,
    node: u64,
    group: u64,
    view: View,
}

#[derive(Clone, Debug, Serialize)]
struct Wire {
    sent: u64,
    /// When it arrives, or is lost.
    ends: u64,
    from: u64,
    to: u64,
    group: u64,
    kind: &'static str,
    lost: bool,
    text: String,
}

#[derive(Clone, Debug, Serialize)]
struct Note {
    at: u64,
    node: u64,
    group: u64,
    kind: &'static str,
    text: String,
}

#[derive(Clone, Debug, Serialize)]
struct Shade {
    from: u64,
    to: Option<u64>,
    /// Empty: the whole network.
    nodes: Vec<u64>,
    text: String,
}

#[derive(Clone, Debug, Serialize)]
struct Broken {
    at: u64,
    node: u64,
    group: u64,
    property: String,
    detail: String,
}

/// Everything that a picture shows. Times are in microseconds; node and group 0 stand for none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recording {
    title: String,
    about: Vec<String>,
    replay: String,
    nodes: Vec<u64>,
    groups: Vec<u64>,
    states: Vec<State>,
    messages: Vec<Wire>,
    notes: Vec<Note>,
    shades: Vec<Shade>,
    broken: Option<Broken>,
    end: u64,
    /// Something was left out.
    is_cut: bool,
    #[serde(skip)]
    newest: BTreeMap<(u64, u64), View>,
    #[serde(skip)]
    under_way: BTreeMap<u64, Vec<usize>>,
    #[serde(skip)]
    shading: BTreeMap<String, usize>,
}

fn micros(at: Moment) -> u64 {
    at.0 / 1000
}

impl Recording {
    /// Names the picture, and says how to see it again.
    pub fn entitle(&mut self, title: &str, about: &[&str], replay: &str) {
        title.clone_into(&mut self.title);
        self.about = about.iter().map(|&line| line.to_owned()).collect();
        replay.clone_into(&mut self.replay);
    }

    /// The picture's name.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// A node is there, with these groups.
    pub fn introduce(&mut self, node: NodeId, groups: impl IntoIterator<Item = u64>) {
        if !self.nodes.contains(&node.0) {
            self.nodes.push(node.0);
            self.nodes.sort_unstable();
        }
        for group in groups {
            if !self.groups.contains(&group) {
                self.groups.push(group);
                self.groups.sort_unstable();
            }
        }
    }

    /// How far the picture reaches.
    pub fn end_at(&mut self, at: Moment) {
        self.end = self.end.max(micros(at));
    }

    /// A replica may have changed. Returns whether it has.
    pub fn state(&mut self, at: Moment, node: NodeId, group: u64, view: View) -> bool {
        let key = (node.0, group);
        if self.newest.get(&key) == Some(&view) || self.is_full(self.states.len()) {
            return false;
        }
        self.newest.insert(key, view.clone());
        self.states.push(State { at: micros(at), node: node.0, group, view });
        true
    }

    /// The replica as it was noted last.
    #[must_use]
    pub fn newest(&self, node: NodeId, group: u64) -> Option<&View> {
        self.newest.get(&(node.0, group))
    }

    /// A message is sent; `arrives` is when, or `None` if it is lost. `number` names it.
    pub fn sent(
        &mut self,
        number: u64,
        (at, arrives): (Moment, Option<Moment>),
        (from, to): (u64, u64),
        group: u64,
        (kind, text): (Kind, String),
    ) {
        if self.is_full(self.messages.len()) {
            return;
        }
        self.under_way.entry(number).or_default().push(self.messages.len());
        self.messages.push(Wire {
            sent: micros(at),
            ends: micros(arrives.unwrap_or(at)),
            from,
            to,
            group,
            kind: kind.name(),
            lost: arrives.is_none(),
            text,
        });
    }

    /// A message was taken under way.
    pub fn lost(&mut self, number: u64, at: Moment) {
        for place in self.under_way.remove(&number).unwrap_or_default() {
            self.messages[place].lost = true;
            self.messages[place].ends = micros(at).max(self.messages[place].sent);
        }
    }

    /// Something happened on a node.
    pub fn note(
        &mut self,
        at: Moment,
        (node, group): (NodeId, u64),
        kind: Kind,
        text: impl Into<String>,
    ) {
        if !self.is_full(self.notes.len()) {
            let (at, node, text) = (micros(at), node.0, text.into());
            self.notes.push(Note { at, node, group, kind: kind.name(), text });
        }
    }

    /// From now on something is wrong with these nodes, or with the network if there are none.
    pub fn shade(&mut self, at: Moment, key: &str, nodes: &[NodeId], text: &str) {
        self.light(at, key);
        self.shading.insert(key.to_owned(), self.shades.len());
        let nodes = nodes.iter().map(|node| node.0).collect();
        self.shades.push(Shade { from: micros(at), to: None, nodes, text: text.to_owned() });
    }

    /// What was shaded under this key is well again.
    pub fn light(&mut self, at: Moment, key: &str) {
        if let Some(place) = self.shading.remove(key) {
            self.shades[place].to = Some(micros(at));
        }
    }

    /// Everything that is shaded under a key with this beginning is well again.
    pub fn light_all(&mut self, at: Moment, beginning: &str) {
        let keys = self.shading.keys().filter(|key| key.starts_with(beginning)).cloned();
        for key in keys.collect::<Vec<_>>() {
            self.light(at, &key);
        }
    }

    /// This is the place where a property broke.
    pub fn broken(&mut self, at: Moment, (node, group): (NodeId, u64), failure: &Failure) {
        if self.broken.is_none() {
            self.broken = Some(Broken {
                at: micros(at),
                node: node.0,
                group,
                property: failure.property.clone(),
                detail: failure.detail.clone(),
            });
        }
    }

    /// Whether a property broke.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    fn is_full(&mut self, rows: usize) -> bool {
        self.is_cut |= rows >= ROWS_MAX;
        rows >= ROWS_MAX
    }
}
