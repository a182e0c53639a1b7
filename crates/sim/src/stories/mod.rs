//! Classic stories of the protocol by name, each told by a small world of its own.

mod cast;
mod elections;
mod logs;
mod members;
mod networks;

use std::time::Duration;

use crate::core::{CoreOptions, CoreWorld};
use crate::picture::Recording;
use crate::{Failure, caught};

/// A story.
pub struct Story {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What happens, in two sentences.
    pub about: &'static [&'static str],
    /// How the world is made.
    options: fn() -> CoreOptions,
    /// Tells it. What must be seen in the end is asserted.
    tell: fn(&mut CoreWorld),
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Story").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A story that was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What a picture is drawn from.
    pub recording: Recording,
    /// How long it took in the story.
    pub virtual_time: Duration,
    /// What did not happen as it should.
    pub failure: Option<Failure>,
}

impl Story {
    /// Tells the story.
    #[must_use]
    pub fn tell(&self) -> Told {
        let mut world = CoreWorld::new(&(self.options)());
        let mut recording = Recording::default();
        let replay = format!("flotilla sim --scenario {} --html {0}.html", self.name);
        recording.entitle(self.title, self.about, &replay);
        world.record(recording);
        let failure = caught(|| {
            (self.tell)(&mut world);
            Ok(())
        });
        let now = world.now();
        let mut recording = world.recording().map(std::mem::take).unwrap_or_default();
        recording.end_at(now);
        if let Err(failure) = &failure {
            recording.broken(now, (raft::NodeId(0), crate::core::GROUP), failure);
        }
        Told { recording, virtual_time: now.since(env::Moment(0)), failure: failure.err() }
    }
}

/// The story of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Story> {
    ALL.iter().find(|story| story.name == name)
}

/// All stories.
pub const ALL: &[Story] = &[
    elections::FIRST_ELECTION,
    elections::SPLIT_VOTE,
    elections::LEADER_CRASH,
    logs::OVERWRITTEN_ENTRY,
    logs::FIGURE_8,
    logs::FIGURE_8_COMMITTED,
    logs::POWER_LOSS,
    logs::SNAPSHOT_CATCH_UP,
    elections::VOTE_WAITS_FOR_THE_DISK,
    elections::DISRUPTIVE_SERVER,
    elections::PRE_VOTE,
    elections::LEADERSHIP_TRANSFER,
    elections::HUNG_DISK,
    elections::CLOCK_STOPS,
    networks::MINORITY_LEADER,
    networks::ASYMMETRIC_PARTITION,
    networks::CHAINED_LINKS,
    networks::QUORUM_LOSS,
    networks::FLAPPING_LINK,
    networks::STALE_READ,
    networks::LEASE_READ,
    members::JOINT_CONSENSUS,
    members::SINGLE_SERVER_CHANGE,
    members::REMOVED_LEADER,
    members::REMOVED_NODE,
    members::LEARNER,
];
