//! What leaves a node of a core world: its messages, and its typed events.
#![expect(clippy::wildcard_enum_match_arm, reason = "of many messages, two are heartbeats")]

use raft::{Body, Entry, Event, Message, NodeId, Tick};

use super::happening::Happening;
use super::net::CoreNet;
use super::sometimes::SHORTENED;
use super::{CoreWorld, GROUP};
use crate::picture::{Kind, describe};

/// Answers of a life that are remembered, so that they can come again in the next.
const OLD_ANSWERS_MAX: usize = 4;

impl CoreWorld {
    pub(super) fn send(&mut self, message: Message) {
        if let Body::ReadIndexResponse { index: Some(_), .. } = message.body {
            let answers = self.old_answers.entry(message.to).or_default();
            if answers.len() < OLD_ANSWERS_MAX {
                answers.push(message.clone());
            }
        }
        if let Body::RequestVote { .. } = message.body {
            self.vote_requests.retain(|older| older.term >= message.term);
            self.vote_requests.push(message.clone());
        }
        if let Some(again) = self.net.replay(&message, &mut self.dice) {
            self.put(again, None);
        }
        let conflicts = self.will_conflict(&message);
        let first = if conflicts && self.dice.below(2) == 0 {
            CoreNet::beginning_of(&message, &mut self.dice)
        } else {
            self.net.shorten(&message, &mut self.dice)
        };
        if let Some(first) = first {
            self.census.meet(SHORTENED);
            self.put(first, None);
        }
        // What comes behind it finds other entries there (Raft §5.3): news of a commit, say.
        if conflicts && self.net.is_disturbed() && self.dice.below(3) == 0 {
            self.census.meet("sometimes: entries that would replace others are lost");
            return;
        }
        let asked_at = match message.body {
            Body::Heartbeat { .. } => Some(self.members[&message.from].tick()),
            Body::HeartbeatResponse { .. } => self.hears_heartbeat,
            _ => None,
        };
        self.put(message, asked_at);
    }

    /// Whether the receiver holds something else behind the entry that these follow. A message that
    /// ends before that place says nothing of it, and only then can it be seen who thinks it does.
    fn will_conflict(&self, message: &Message) -> bool {
        let Body::AppendEntries { prev, entries, .. } = &message.body else { return false };
        let receiver = self.members.get(&message.to);
        let Some(node) = receiver.and_then(|member| member.node.as_ref()) else { return false };
        let differs = |entry: &Entry| {
            node.id_at(entry.id.index).is_some_and(|here| here.term != entry.id.term)
        };
        node.id_at(prev.index) == Some(*prev) && entries.iter().any(differs)
    }

    fn put(&mut self, message: Message, asked_at: Option<Tick>) {
        let now = self.now();
        let arrivals = self.net.send(now, &message, &mut self.dice);
        let route = (message.from.0, message.to.0);
        if arrivals.is_empty()
            && let Some(recording) = &mut self.recording
        {
            recording.sent(0, (now, None), route, GROUP, describe(&message));
        }
        for at in arrivals {
            let number = {
                let message = message.clone();
                self.at(at, Happening::Arrival { number: 0, message, asked_at })
            };
            if let Some(Happening::Arrival { number: name, .. }) = self.queue.get_mut(&(at, number))
            {
                *name = number;
            }
            if let Some(recording) = &mut self.recording {
                recording.sent(number, (now, Some(at)), route, GROUP, describe(&message));
            }
        }
    }

    pub(super) fn note_event(&mut self, id: NodeId, event: &Event) {
        let now = self.now();
        self.trace.push(now, format_args!("n{id} {event}"));
        self.count_event(id, event);
        self.note_promise(id, event);
        self.note_hand_over(id, event);
        self.note_campaign(id, event);
        self.note_knowledge(id, event);
        self.note_change(id, event);
        self.check_clocks(id, event);
        self.watch_leases(id, event);
        self.watch_books(id, event);
        self.arrange(id, event);
        if let Some(recording) = &mut self.recording {
            recording.note(now, (id, GROUP), kind_of(event), event.to_string());
        }
    }
}

fn kind_of(event: &Event) -> Kind {
    let name = format!("{event:?}");
    let is_one_of = |names: &[&str]| names.iter().any(|beginning| name.starts_with(beginning));
    if is_one_of(&["BecameDurable"]) {
        Kind::Append
    } else if is_one_of(&["Became", "Voted", "VoteRefused", "LeaderLearned", "QuorumLost"]) {
        Kind::Election
    } else if is_one_of(&["Appended", "Truncated", "Committed"]) {
        Kind::Append
    } else if is_one_of(&["Read", "LeaseRead"]) {
        Kind::Read
    } else if is_one_of(&["Snapshot", "Compacted"]) {
        Kind::Snapshot
    } else if is_one_of(&["Transfer", "Configuration", "Remov", "SteppedDown"]) {
        Kind::Change
    } else if is_one_of(&["Rests", "Woke"]) {
        Kind::Heartbeat
    } else {
        Kind::Other
    }
}
