//! What is asked of every exploration: that nothing breaks, and that it has met what it is for.

use raft::*;
use stateright::Property;

use crate::bounds::Bounds;
use crate::state::State;

type Properties = Vec<Property<Bounds>>;

pub(crate) fn of(bounds: &Bounds) -> Properties {
    let mut all = vec![
        Property::always("every invariant holds", |_, state: &State| state.violation.is_none()),
        Property::sometimes("a leader leads", |_, state: &State| {
            state.nodes().any(|node| node.role() == Role::Leader)
        }),
        Property::sometimes("something is committed", |_, state: &State| {
            state.nodes().any(|node| node.commit_index().0 > 0)
        }),
    ];
    if bounds.candidates > 1 && bounds.voters > 2 && bounds.term_max > 1 {
        all.push(Property::sometimes("two lead at once, in two terms", |_, state: &State| {
            state.nodes().filter(|node| node.role() == Role::Leader).count() == 2
        }));
    }
    of_members(bounds, &mut all);
    of_reads(bounds, &mut all);
    all
}

fn of_members(bounds: &Bounds, all: &mut Properties) {
    if !bounds.changes.is_empty() {
        all.push(Property::sometimes(
            "a change of members is over",
            |bounds: &Bounds, state: &State| {
                let first = bounds.configuration();
                state.nodes().any(|node| {
                    let now = node.configuration();
                    !now.voters.is_empty()
                        && now.voters != first.voters
                        && !now.is_joint()
                        && node.configuration_index() <= node.commit_index()
                })
            },
        ));
    }
    if bounds.transfers > 0 {
        all.push(Property::sometimes("leadership is handed over", |_, state: &State| {
            state.messages.values().any(|message| {
                matches!(message.body, Body::RequestVote { leadership_transfer: true, .. })
            })
        }));
    }
    if bounds.compactions > 0 {
        all.push(Property::sometimes("a snapshot takes the place of a log", |_, state: &State| {
            state.messages.values().any(|message| {
                let Body::InstallSnapshot { mark } = &message.body else { return false };
                let follower = state.nodes().find(|node| node.id() == message.to);
                follower.is_some_and(|follower| follower.mark() == mark.last)
            })
        }));
    }
    if bounds.has_witness {
        all.push(Property::sometimes("a witness makes up a quorum", |_, state: &State| {
            let mut nodes = state.nodes();
            nodes.any(|node| {
                node.configuration().witnesses.contains(&node.id()) && node.commit_index().0 > 0
            })
        }));
    }
    if bounds.may_rest {
        all.push(Property::sometimes("all rest", |_, state: &State| {
            state.nodes().all(|node| node.is_resting())
        }));
    }
}

fn of_reads(bounds: &Bounds, all: &mut Properties) {
    if bounds.reads == 0 {
        return;
    }
    all.push(Property::sometimes("a read is answered", |_, state: &State| state.answered.0 > 0));
    if bounds.passes > 0 {
        all.push(Property::sometimes("a read needs no round", |_, state: &State| {
            state.answered.1 > 0
        }));
    }
}
