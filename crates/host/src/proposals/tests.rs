//! Commands that gather, are handed on, and are refused.

use raft::{Configuration, Input, Options, Restored};

use super::*;
use crate::envelope::RequestId;

/// The client of this number has its answer.
const ANSWERED: u64 = 99;

/// Clients that wait for ever but one, and what those that failed were told.
#[derive(Default)]
struct Listeners(parking_lot::Mutex<Vec<(u64, ProposeError)>>);

impl Clients for Listeners {
    fn fail(&self, number: u64, error: ProposeError) {
        self.0.lock().push((number, error));
    }
    fn is_waiting(&self, number: u64) -> bool {
        number != ANSWERED
    }
    fn first_waiting(&self) -> u64 {
        0
    }
    fn fail_expired(&self, _: Moment) -> usize {
        0
    }
    fn close(&self) {}
}

fn command(number: u64) -> Proposal {
    Proposal {
        number,
        sealed: envelope::seal(RequestId { origin: NodeId(1), number }, b"put"),
        leader_term: None,
        deadline: Moment(u64::MAX),
    }
}

/// The leader of a group of one.
fn leader() -> Node {
    let restored = Restored::bootstrap(Configuration::of_voters([NodeId(1)]));
    let mut node = Node::new(Options::new(NodeId(1), 1), restored).expect("good options");
    for tick in 1..5_000 {
        node.handle(Tick(tick), Input::Tick);
        for persist in node.take_output().persists {
            node.handle(Tick(tick), Input::Persisted(persist.number));
        }
        if node.role() == Role::Leader {
            return node;
        }
    }
    panic!("a group of one elects itself");
}

#[test]
fn commands_gather_until_as_many_wait_as_went_before_or_time_is_up() {
    let (mut node, mut sends) = (leader(), Sends::new());
    let mut proposals = Proposals::new(Arc::new(Listeners::default()));
    let mut hand_on = |proposals: &mut Proposals, now, count| {
        proposals.waiting.extend((0..count).map(command));
        proposals.hand_on((now, Tick(5_000)), &mut node, false, &mut sends);
    };
    let (sent, soon) = (Moment(1_000_000_000), Moment(1_000_100_000));
    hand_on(&mut proposals, sent, 4);
    proposals.waiting.push(command(0));
    assert_eq!(proposals.gathers_until(soon, Role::Leader), None, "few are not waited for");
    hand_on(&mut proposals, sent, 5);
    proposals.waiting.push(command(0));
    let until = Some(sent.after(GATHER_MAX));
    assert_eq!(proposals.missing_count(), 5);
    assert_eq!(proposals.gathers_until(soon, Role::Leader), until);
    assert_eq!(proposals.gathers_until(sent.after(GATHER_MAX), Role::Leader), None);
    let until = Some(sent.after(FORWARD_GATHER_MAX));
    assert_eq!(proposals.gathers_until(soon, Role::Follower), until);
    // A peer's batch counts as the commands in it.
    let commands = vec![Bytes::new(); 5];
    proposals.forwarded.push(Forwarded { from: NodeId(2), term: Term(1), commands });
    assert_eq!(proposals.gathers_until(soon, Role::Leader), None, "as many as went before");
}

/// What is committed and not yet applied is bounded: who writes faster than it is applied is told,
/// certain that nothing was written.
#[test]
fn with_too_much_to_apply_commands_are_refused_and_not_appended() {
    let (mut node, mut sends) = (leader(), Sends::new());
    let (last, term) = (node.last(), node.term());
    let told = Arc::new(Listeners::default());
    let clients: Arc<dyn Clients> = Arc::<Listeners>::clone(&told);
    let mut proposals = Proposals::new(clients);
    proposals.waiting.extend([command(1), command(2)]);
    let id = RequestId { origin: NodeId(2), number: 7 };
    let commands = vec![envelope::seal(id, b"put")];
    proposals.forwarded.push(Forwarded { from: NodeId(2), term, commands });
    proposals.hand_on((Moment(0), Tick(5_000)), &mut node, true, &mut sends);
    assert_eq!(node.last(), last, "nothing is appended");
    let refused = [1, 2].map(|number| (number, ProposeError::Overloaded));
    assert_eq!(*told.0.lock(), refused, "clients of this node");
    let refusal = Body::ForwardRefused { term, overloaded: true, numbers: vec![7] };
    assert_eq!(sends, vec![(NodeId(2), refusal)], "clients of a peer");
    // The peer passes that on.
    let mut peers = Proposals::new(Arc::<Listeners>::clone(&told) as Arc<dyn Clients>);
    peers.note_in_flight(term, vec![command(7), command(8)]);
    peers.take_refused(term, true, &[7]);
    assert_eq!(told.0.lock().last(), Some(&(7, ProposeError::Overloaded)));
    assert_eq!(told.0.lock().len(), 3, "the other is on its way");
}

/// Hands the command with number 7 of node 2's to this node, which has led in the term `led`.
fn forward(node: &mut Node, led: Term, term: Term) -> Sends {
    let id = RequestId { origin: NodeId(2), number: 7 };
    let commands = vec![envelope::seal(id, b"put")];
    let mut proposals = Proposals::new(Arc::new(Listeners::default()));
    proposals.note_leads(led);
    proposals.forwarded.push(Forwarded { from: NodeId(2), term, commands });
    let mut sends = Sends::new();
    proposals.hand_on((Moment(0), Tick(5_000)), node, false, &mut sends);
    sends
}

#[test]
fn a_command_forwarded_for_another_term_is_refused_and_not_appended() {
    let mut node = leader();
    let (last, term) = (node.last(), node.term());
    for other in [Term(term.0 - 1), term.next()] {
        let refusal = Body::ForwardRefused { term: other, overloaded: false, numbers: vec![7] };
        assert_eq!(forward(&mut node, other, other), vec![(NodeId(2), refusal)]);
        assert_eq!(node.last(), last, "what its origin may hand on again is in no log");
    }
    assert_eq!(forward(&mut node, term, term), Sends::new());
    assert_eq!(node.last().index, last.index.next());
}

/// T126: an earlier life may have led in that term, and have appended what comes again now.
#[test]
fn who_did_not_lead_in_a_term_since_it_began_vouches_for_nothing_of_it() {
    let mut node = leader();
    let (last, term) = (node.last(), node.term());
    for other in [Term(term.0 - 1), term.next()] {
        assert_eq!(forward(&mut node, term, other), Sends::new());
    }
    assert_eq!(node.last(), last, "nor is it appended");
}

#[test]
fn what_was_answered_is_not_handed_on_again() {
    let (mut node, mut sends) = (leader(), Sends::new());
    let (last, term) = (node.last(), node.term());
    let mut proposals = Proposals::new(Arc::new(Listeners::default()));
    proposals.note_in_flight(term, vec![command(ANSWERED), command(7)]);
    proposals.take_refused(term, false, &[ANSWERED, 7]);
    proposals.release_held();
    proposals.hand_on((Moment(0), Tick(5_000)), &mut node, false, &mut sends);
    assert_eq!(node.last().index, last.index.next(), "one of two");
}

/// T212. Nodes 2 and 3 commit what node 1 handed on, cut their log, and node 1 is given a snapshot:
/// it never applies its own command, and so never learns of it.
#[test]
fn what_may_be_in_a_snapshot_is_told_of_as_unknown_at_once_and_the_rest_comes_in_the_log() {
    let mut node = leader();
    let told = Arc::new(Listeners::default());
    let mut proposals = Proposals::new(Arc::<Listeners>::clone(&told) as Arc<dyn Clients>);
    for (at, numbers) in [(10, vec![ANSWERED, 1]), (20, vec![2]), (21, vec![3])] {
        proposals.waiting.extend(numbers.into_iter().map(command));
        proposals.hand_on((Moment(at), Tick(5_000)), &mut node, false, &mut Sends::new());
    }
    // T218: one that was handed on in the same moment, since the clock stands still.
    assert_eq!(proposals.take_snapshot(Moment(20)), 2);
    let unknown = [1, 2].map(|number| (number, ProposeError::OutcomeUnknown));
    assert_eq!(*told.0.lock(), unknown, "who has its answer is told nothing");
    // What a leader that came later does not have is still taken back.
    let id = EntryId::new(node.term().0 + 1, 100);
    let begins = Entry { id, payload: raft::Payload::Noop };
    proposals.note_committed(&[begins]);
    proposals.take_back_lost(LogIndex(100));
    let waiting: Vec<u64> = proposals.waiting.iter().map(|proposal| proposal.number).collect();
    assert_eq!(waiting, [3]);
}
