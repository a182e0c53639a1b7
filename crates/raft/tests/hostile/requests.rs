//! What an honest host may ask of its node, as often and as foolishly as it likes.

use raft::*;

use super::Host;
use super::source::Source;

impl Host {
    pub(super) fn ask(&mut self, source: &mut Source<'_>) {
        match source.below(16) {
            0 => self.input(Input::PeerLost(source.node())),
            1 => {
                let earliest_us = self.now.0.saturating_mul(1000);
                let latest_us = earliest_us.saturating_add(source.number());
                self.input(Input::Clock(ClockInterval { earliest_us, latest_us }));
            }
            2 => self.report_snapshot(source.flag()),
            3 => self.input(Input::StepDown),
            4 => self.input(Input::Campaign),
            5 => self.input(Input::SetTimeouts(Timeouts {
                election_timeout_ticks: source.number(),
                heartbeat_interval_ticks: source.number(),
            })),
            6 => self.input(Input::PauseElections(source.flag())),
            7 => self.input(Input::AbandonChange),
            8 => self.input(Input::ProposeKeyed(vec![source.keyed()])),
            9 => self.input(Input::Replied(self.node.commit_index())),
            10 => self.input(Input::TransferLeadership { to: Some(source.node()) }),
            11 => {
                let (learner, within) = (source.node(), source.number() % 100);
                let _refused = self.node.promote_when_ready(self.now, learner, within);
                self.input(Input::Tick);
            }
            12 => {
                let mode = read_mode(source);
                self.reads += 1;
                self.input(Input::Read(ReadRequest { context: self.reads, mode }));
            }
            _ => self.input(Input::ChangeConfiguration(change(source).into())),
        }
    }

    /// The oldest snapshot that was asked for has been delivered, as of what is applied now.
    fn report_snapshot(&mut self, is_delivered: bool) {
        let Some(SendSnapshot { to, at_least, .. }) = self.snapshots.pop_front() else { return };
        let applied = self.node.applied_index();
        let mark = self.node.snapshot_mark(applied).filter(|mark| mark.last.index >= at_least);
        let delivered = mark.filter(|_| is_delivered).map(Into::into);
        self.input(Input::SnapshotSent { to, delivered });
    }
}

fn read_mode(source: &mut Source<'_>) -> ReadMode {
    match source.below(7) {
        0 => ReadMode::ReadIndex,
        1 => ReadMode::Lease,
        2 => ReadMode::Replied,
        3 => {
            let term = source.flag().then(|| Term(source.number()));
            ReadMode::AfterWrite { index: source.index(), term }
        }
        4 => ReadMode::LeaseGuard { checks_limbo: source.flag() },
        5 => ReadMode::Stale(Staleness {
            at_least: source.index(),
            lag_entries_max: source.flag().then(|| source.number()),
            silence_ticks_max: source.flag().then(|| source.number()),
        }),
        _ => ReadMode::Stale(Staleness::default()),
    }
}

fn change(source: &mut Source<'_>) -> ConfigurationChange {
    let members = (0..source.below(3)).map(|_| {
        let node = source.node();
        match source.below(6) {
            0 => MemberChange::AddVoter(node),
            1 => MemberChange::AddLearner(node),
            2 => MemberChange::AddWitness(node),
            3 => MemberChange::Promote(node),
            4 => MemberChange::Demote(node),
            _ => MemberChange::Remove(node),
        }
    });
    let mut change = ConfigurationChange::of(members.collect::<Vec<_>>());
    let what = source.byte();
    if what & 1 == 1 {
        change.lease = LeaseChange::Set(source.lease_terms());
    }
    if what & 2 == 2 {
        change.rule = Some(source.rule());
    }
    if what & 4 == 4 {
        change.feeders.insert(source.node(), source.flag().then(|| source.node()));
    }
    if what & 8 == 8 {
        change.priorities.insert(source.node(), u32::from(source.byte()));
    }
    if what & 16 == 16 {
        change.transition = Transition::OneStep;
    }
    if what & 32 == 32 {
        change.expected = Some(source.configuration());
    }
    change.allow_stall = what & 64 == 64;
    change
}
