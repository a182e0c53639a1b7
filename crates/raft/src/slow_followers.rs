//! Notice of followers that are slow: what counts as slow is said in
//! [`slowness`](crate::progress::slowness).

use core::fmt;

use crate::role::RoleState;
use crate::seeded::{Bug, bug};
use crate::{Event, Node, SlowFollower};

impl fmt::Display for SlowFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, is_slow, match_index } = self;
        let what = if *is_slow { "slow" } else { "keeps up" };
        write!(f, "{what} follower=n{node} match={match_index}")
    }
}

impl Node {
    /// With each heartbeat.
    pub(crate) fn notice_slow_followers(&mut self) {
        let (own, now, commit_index) = (self.options.id, self.now, self.commit_index);
        let ticks = if bug(Bug::SlownessFlaps) { 0 } else { self.options.slow_follower_ticks };
        let before = self.output.slow_followers.len();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let due = core::mem::replace(&mut leader.commit_at_heartbeat, commit_index);
        for member in leader.members.iter_mut().filter(|member| member.id != own) {
            let (node, match_index) = (member.id, member.match_index);
            if let Some(is_slow) = member.slowness.observe(match_index < due, now, ticks) {
                let news = SlowFollower { node, is_slow, match_index };
                self.output.slow_followers.push(news);
            }
        }
        for place in before..self.output.slow_followers.len() {
            let notice = self.output.slow_followers[place];
            self.record(|| Event::FollowerNoticed(notice));
        }
    }
}
