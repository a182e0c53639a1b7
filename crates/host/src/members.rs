//! What a configuration says of a member beside its vote: its name and where it is reached.
//!
//! The protocol carries it as bytes in [`Configuration::attributes`](raft::Configuration), so that
//! names and addresses come and go with the members themselves: there is no second list that could
//! disagree with the first (scenario M14).
//!
//! ```text
//! version u8 = 1 │ goal u8 (0 learn, 1 vote, 2 replace) │ node u64 (0 unless replace)
//!                │ name │ peer URLs │ client URLs                         little-endian
//! text           length u32 │ UTF-8
//! texts          count u32 │ text …
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{Configuration, ConfigurationChange, MemberChange, NodeId};

const VERSION: u8 = 1;

/// What a learner is to become once it holds the log. The leader sees to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// A learner, until somebody promotes it. Also of every voter: there is nothing left to do.
    #[default]
    Learn,
    /// A voter.
    Vote,
    /// A voter in the place of this member, which leaves in the same step.
    Replace(NodeId),
}

/// A member, as the configuration describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// What it becomes.
    pub goal: Goal,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where other members reach it, as URLs or as host:port.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started.
    pub client_urls: Vec<String>,
}

impl MemberAttributes {
    /// The bytes that the configuration carries.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (goal, node) = match self.goal {
            Goal::Learn => (0, NodeId(0)),
            Goal::Vote => (1, NodeId(0)),
            Goal::Replace(node) => (2, node),
        };
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u8(goal);
        out.put_u64_le(node.0);
        put_text(&mut out, &self.name);
        for urls in [&self.peer_urls, &self.client_urls] {
            out.put_u32_le(length(urls.len()));
            urls.iter().for_each(|url| put_text(&mut out, url));
        }
        out.freeze()
    }

    /// Reads them; `None` for bytes that [`encode`](Self::encode) would not have written.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut input = bytes.clone();
        if input.try_get_u8().ok()? != VERSION {
            return None;
        }
        let (goal, node) = (input.try_get_u8().ok()?, NodeId(input.try_get_u64_le().ok()?));
        let goal = match (goal, node) {
            (0, NodeId(0)) => Goal::Learn,
            (1, NodeId(0)) => Goal::Vote,
            (2, node) => Goal::Replace(node),
            _ => return None,
        };
        let name = take_text(&mut input)?;
        let (peer_urls, client_urls) = (take_texts(&mut input)?, take_texts(&mut input)?);
        input.is_empty().then_some(Self { goal, name, peer_urls, client_urls })
    }

    /// Of a member of `configuration`; empty for one that the configuration says nothing of.
    #[must_use]
    pub fn of(configuration: &Configuration, node: NodeId) -> Self {
        let known = configuration.attributes.get(&node);
        known.and_then(Self::decode).unwrap_or_default()
    }

    /// Where the transport reaches it: the peer URLs, without a scheme where it is plaintext.
    pub(crate) fn peer_addresses(&self) -> impl Iterator<Item = String> + '_ {
        self.peer_urls.iter().map(|url| {
            let address = url.strip_prefix("http://").unwrap_or(url);
            address.trim_end_matches('/').to_owned()
        })
    }
}

/// The change that brings the first learner to its goal that has one; `None` if there is none.
pub(crate) fn next_goal(configuration: &Configuration, skip: usize) -> Option<ConfigurationChange> {
    let with_goal = configuration.learners.iter().filter_map(|node| {
        let attributes = MemberAttributes::of(configuration, *node);
        (attributes.goal != Goal::Learn).then_some((*node, attributes))
    });
    let (node, attributes) = with_goal.into_iter().nth(skip)?;
    let mut members = vec![MemberChange::Promote(node)];
    if let Goal::Replace(old) = attributes.goal
        && configuration.contains(old)
    {
        members.push(MemberChange::Remove(old));
    }
    let reached = MemberAttributes { goal: Goal::Learn, ..attributes };
    Some(ConfigurationChange {
        members,
        attributes: BTreeMap::from([(node, reached.encode())]),
        ..ConfigurationChange::default()
    })
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32_le(length(text.len()));
    out.put_slice(text.as_bytes());
}

fn take_text(input: &mut Bytes) -> Option<String> {
    let length = usize::try_from(input.try_get_u32_le().ok()?).ok()?;
    let bytes = (length <= input.len()).then(|| input.split_to(length))?;
    String::from_utf8(bytes.into()).ok()
}

fn take_texts(input: &mut Bytes) -> Option<Vec<String>> {
    // The count is not believed: memory is taken for the texts that are really there.
    let count = input.try_get_u32_le().ok()?;
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(take_text(input)?);
    }
    Some(texts)
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a member's name and addresses fit a configuration entry")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> MemberAttributes {
        MemberAttributes {
            goal: Goal::Replace(NodeId(0x0102)),
            name: "n4".to_owned(),
            peer_urls: vec!["http://h:1".to_owned(), "i:2".to_owned()],
            client_urls: Vec::new(),
        }
    }

    /// They are in logs and snapshots of every member, for ever.
    #[test]
    fn the_bytes_are_golden() {
        let mut golden = vec![1, 2, 2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'n', b'4', 2, 0, 0, 0];
        golden.extend([10, 0, 0, 0]);
        golden.extend(b"http://h:1");
        golden.extend([3, 0, 0, 0, b'i', b':', b'2', 0, 0, 0, 0]);
        assert_eq!(attributes().encode(), golden);
        assert_eq!(MemberAttributes::decode(&golden.into()), Some(attributes()));
        let plain = MemberAttributes::default();
        assert_eq!(plain.encode(), [[1, 0].as_slice(), &[0; 20]].concat());
        assert_eq!(MemberAttributes::decode(&plain.encode()), Some(plain));
    }

    #[test]
    fn other_bytes_are_none_of_ours() {
        let whole = attributes().encode();
        for end in 0..whole.len() {
            assert_eq!(MemberAttributes::decode(&whole.slice(..end)), None, "{end} bytes");
        }
        for (at, value) in [(0, 2), (1, 3), (1, 0), (14, 0xff), (16, 0xff)] {
            let mut bytes = whole.to_vec();
            bytes[at] = value;
            assert_eq!(MemberAttributes::decode(&bytes.into()), None, "byte {at} as {value}");
        }
    }

    #[test]
    fn a_learner_with_a_goal_becomes_what_it_is_to_be() {
        let mut configuration = Configuration::of_voters([NodeId(1), NodeId(2)]);
        configuration.learners.extend([NodeId(3), NodeId(4)]);
        assert_eq!(next_goal(&configuration, 0), None, "nothing is known of the learners");
        let goal = Goal::Replace(NodeId(2));
        let wants = MemberAttributes { goal, ..MemberAttributes::default() };
        configuration.attributes.insert(NodeId(4), wants.encode());
        let change = next_goal(&configuration, 0).expect("4 is to take the place of 2");
        let replaced = [MemberChange::Promote(NodeId(4)), MemberChange::Remove(NodeId(2))];
        assert_eq!(change.members, replaced);
        assert_eq!(change.attributes[&NodeId(4)], MemberAttributes::default().encode());
        assert_eq!(next_goal(&configuration, 1), None);
        // Whom it should replace has gone already.
        configuration.voters.remove(&NodeId(2));
        let change = next_goal(&configuration, 0).expect("it still becomes a voter");
        assert_eq!(change.members, [MemberChange::Promote(NodeId(4))]);
    }
}
