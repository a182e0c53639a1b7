//! Quorum rules as a configuration writes them: `half+1,2`, `elect:3/commit:2`, `(1*2,2,(3,4))`.

use std::iter::Peekable;
use std::str::Chars;

use raft::quorum::hierarchy::Part;
use raft::{NodeId, QuorumRule};

pub(super) fn parse(text: &str) -> QuorumRule {
    let rule = if let Some(extra) = text.strip_prefix("half+") {
        let extra = extra.split(',').map(|node| NodeId(node.parse().unwrap())).collect();
        QuorumRule::EvenSet { extra }
    } else if let Some(sizes) = text.strip_prefix("elect:") {
        let (election, commit) = sizes.split_once("/commit:").unwrap();
        QuorumRule::Flexible {
            election: election.parse().unwrap(),
            commit: commit.parse().unwrap(),
        }
    } else if text.starts_with('(') {
        QuorumRule::Hierarchy(parse_parts(&mut text.chars().peekable()))
    } else {
        QuorumRule::Majority
    };
    assert_eq!(rule.to_string(), text, "a rule is read as it is written");
    rule
}

fn parse_parts(text: &mut Peekable<Chars<'_>>) -> Vec<Part> {
    let mut parts = Vec::new();
    while text.next_if(|next| *next != ')').is_some() {
        parts.push(if text.peek() == Some(&'(') {
            Part::Group { parts: parse_parts(text), weight: parse_weight(text) }
        } else {
            Part::Voter { node: NodeId(parse_number(text)), weight: parse_weight(text) }
        });
    }
    text.next();
    parts
}

fn parse_weight(text: &mut Peekable<Chars<'_>>) -> u32 {
    if text.next_if_eq(&'*').is_none() {
        return 1;
    }
    u32::try_from(parse_number(text)).unwrap()
}

fn parse_number(text: &mut Peekable<Chars<'_>>) -> u64 {
    let mut number = 0;
    while let Some(digit) = text.peek().and_then(|next| next.to_digit(10)) {
        number = number * 10 + u64::from(digit);
        text.next();
    }
    number
}
