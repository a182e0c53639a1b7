//! The kinds of faults: one table, with the name of each, what it spoils, and which worlds know it.

use std::sync::LazyLock;

/// What is not as it should be while a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is over at once.
    Moment,
    /// The network.
    Net,
    /// A process or its clock, until it runs again.
    Node,
    /// A disk.
    Disk,
}

/// Which worlds know a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worlds {
    Both,
    Core,
    Hosts,
}

macro_rules! faults {
    ($($kind:ident $name:literal $reach:ident $worlds:ident $what:literal,)*) => {
        /// Something that is done to a cluster. What exactly happens is decided by the dice of the
        /// event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $(#[doc = $what] $kind,)*
        }

        const ALL: &[(FaultKind, &str, Reach, Worlds)] =
            &[$((FaultKind::$kind, $name, Reach::$reach, Worlds::$worlds),)*];
    };
}

faults! {
    Crash "crash" Moment Both "A machine loses its power, with what was not synced.",
    Kill "kill" Moment Hosts "A process dies; the machine lives.",
    CrashAll "crash of all" Moment Both "Every machine loses its power.",
    CrashInstalling "crash while a snapshot is staged" Moment Hosts
        "A node that has received a whole snapshot crashes before it is installed.",
    Isolate "isolation" Net Both "A node is cut off.",
    Cut "cut" Net Both "A wire is cut.",
    CutOneWay "one-way cut" Net Both "One direction of a wire is cut.",
    Deaf "deaf node" Net Both "A node can send and not receive.",
    Mute "mute node" Net Both "A node can receive and not send.",
    Halves "halves" Net Both "Two halves that do not hear each other.",
    Bridge "bridge" Net Both "Two halves that share one node.",
    Ring "ring" Net Both "Each node hears its two neighbours.",
    Chain "chain" Net Both "Each node hears its neighbours in a row.",
    Swizzle "swizzle" Net Both "Cut off nodes come back in another order than they went.",
    Flap "flapping wire" Net Both
        "A wire that is cut and mended again and again, about once in an election timeout.",
    Loss "loss" Net Both "Messages are lost.",
    Duplicate "duplication" Net Both "Messages come twice.",
    Reorder "reordering" Net Both "Messages overtake each other.",
    Replay "replay" Net Both "Messages of long ago come again.",
    Shorten "shortened message" Net Core
        "Entries come in two messages: first fewer of them, or none, and then all.",
    Delay "delay" Net Both "Messages take long.",
    Clog "clog" Net Both "A wire holds everything back for a while.",
    HangLog "hanging log" Node Both "The log's disk does not answer.",
    HangApplier "hanging applier" Node Both "The applier stands still.",
    HangBulk "hanging bulk" Node Both "Snapshots and old entries stand still.",
    Pause "pause" Node Both "A whole process is stopped.",
    DiskError "disk error" Disk Hosts "A call to the disk fails.",
    DiskFull "full disk" Disk Hosts "The disk is full.",
    BitRot "bit rot" Disk Hosts "Bits flip on the disk.",
    RottenStart "rot at a start" Disk Hosts
        "A node begins again from a disk with flipped bits, which are there to stay.",
    MisdirectedRead "misdirected read" Disk Hosts "A read gets the bytes of another place.",
    MisdirectedWrite "misdirected write" Disk Hosts "A write goes to another place, for good.",
    SlowDisk "slow disk" Disk Both "Writes take long, now more and now less.",
    LoseDisk "lost disk" Moment Both "A node begins again with an empty disk.",
    SetBackDisk "disk set back" Moment Both "A node begins again from an old copy of its disk.",
    ClockDrift "clock drift" Node Both "A clock runs fast or slow.",
    ClockJump "clock jump" Node Both "A clock jumps ahead; the wall clock jumps anywhere.",
    ClockStop "clock stop" Node Both "A clock stands still.",
    FalseClock "false clock" Node Core "A clock of declared uncertainty says what is not so.",
    Upgrade "upgrade" Moment Hosts
        "A node begins again with a program of the next version of the peer protocol.",
    Downgrade "downgrade" Moment Hosts "A node begins again with the program of the version before.",
    Transfer "leadership transfer" Moment Both "Leadership is handed over.",
    StepDown "step-down" Moment Core "A leader gives up.",
    Campaign "campaign on request" Moment Core "A node campaigns without a reason.",
    PauseElections "paused elections" Node Core "A node may not campaign for a while.",
    Timeouts "other timeouts" Moment Core "A node waits longer, or less long, from now on.",
    Members "change of members" Moment Both
        "Members come, go, are promoted, demoted, replaced or moved.",
    Abandon "abandoned change" Moment Core "A change of members is given up.",
    OnlyVotes "nothing but votes" Net Core
        "Leaders are elected, one after the other, and nothing else that they say gets through.",
    LeaveAndCrash "crash of a leader that leaves" Moment Core
        "A leader removes itself, and crashes when nobody but its own disk knows.",
    Newcomer "campaign of a newcomer" Net Core
        "A member comes while a voter is cut off, and asks for its vote before it has heard of it.",
    Usurp "quick succession" Net Core "A leader is deposed as fast as can be, and cannot hear it.",
    Compact "compaction" Moment Both "History, or the log, is compacted.",
    Nonsense "nonsense" Moment Core "A peer says what no peer should.",
}

/// The kinds that whole hosts know.
pub static HOST_FAULTS: LazyLock<Vec<FaultKind>> = LazyLock::new(|| known_in(Worlds::Hosts));

/// The kinds that worlds of the protocol alone know.
pub static CORE_FAULTS: LazyLock<Vec<FaultKind>> = LazyLock::new(|| known_in(Worlds::Core));

fn known_in(worlds: Worlds) -> Vec<FaultKind> {
    let known = ALL.iter().filter(|(.., of)| *of == worlds || *of == Worlds::Both);
    known.map(|(kind, ..)| *kind).collect()
}

impl FaultKind {
    fn line(self) -> &'static (Self, &'static str, Reach, Worlds) {
        &ALL[self as usize]
    }

    /// Whether somebody has to change the members for it, or behind it.
    pub(crate) fn needs_operator(self) -> bool {
        matches!(self, Self::Members | Self::LoseDisk | Self::MisdirectedWrite | Self::RottenStart)
    }

    /// Whether it is about programs of two versions.
    pub(crate) fn needs_two_versions(self) -> bool {
        matches!(self, Self::Upgrade | Self::Downgrade)
    }

    /// Whether a clock goes wrong by it.
    pub(crate) fn upsets_clocks(self) -> bool {
        matches!(self, Self::ClockDrift | Self::ClockJump | Self::ClockStop)
    }

    /// What it spoils.
    pub(crate) fn reach(self) -> Reach {
        self.line().2
    }

    /// As the counters and pictures name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.line().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_its_own_line_and_has_a_name_of_its_own() {
        for (place, (kind, name, ..)) in ALL.iter().enumerate() {
            assert_eq!(kind.line().0, *kind);
            assert!(ALL.iter().skip(place + 1).all(|(_, other, ..)| other != name), "{name}");
        }
        assert!(
            HOST_FAULTS.contains(&FaultKind::BitRot) && !CORE_FAULTS.contains(&FaultKind::BitRot)
        );
    }
}
