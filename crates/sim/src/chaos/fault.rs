//! The kinds of faults, by name.

/// Something that is done to a cluster. What exactly happens is decided by the dice of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A machine loses its power, with what was not synced.
    Crash,
    /// A process dies; the machine lives.
    Kill,
    /// Every machine loses its power.
    CrashAll,
    /// A node that has received a whole snapshot crashes before it is installed.
    CrashInstalling,
    /// A node is cut off.
    Isolate,
    /// A wire is cut.
    Cut,
    /// One direction of a wire is cut.
    CutOneWay,
    /// A node can send and not receive.
    Deaf,
    /// A node can receive and not send.
    Mute,
    /// Two halves that do not hear each other.
    Halves,
    /// Two halves that share one node.
    Bridge,
    /// Each node hears its two neighbours.
    Ring,
    /// Each node hears its neighbours in a row.
    Chain,
    /// Cut off nodes come back in another order than they went.
    Swizzle,
    /// A wire that is cut and mended again and again, about once in an election timeout.
    Flap,
    /// Messages are lost.
    Loss,
    /// Messages come twice.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Messages of long ago come again.
    Replay,
    /// Messages take long.
    Delay,
    /// A wire holds everything back for a while.
    Clog,
    /// The log's disk does not answer.
    HangLog,
    /// The applier stands still.
    HangApplier,
    /// Snapshots and old entries stand still.
    HangBulk,
    /// A whole process is stopped.
    Pause,
    /// A call to the disk fails.
    DiskError,
    /// The disk is full.
    DiskFull,
    /// Bits flip on the disk.
    BitRot,
    /// A read gets the bytes of another place.
    MisdirectedRead,
    /// A clock runs fast or slow.
    ClockDrift,
    /// A clock jumps ahead; the wall clock jumps anywhere.
    ClockJump,
    /// A clock stands still.
    ClockStop,
    /// Leadership is handed over.
    Transfer,
    /// History, or the log, is compacted.
    Compact,
    /// The disk is a hundred times slower.
    SlowDisk,
    /// Members come, go, are promoted and demoted.
    Members,
    /// A leader gives up.
    StepDown,
    /// A node may not campaign for a while.
    PauseElections,
}

/// The kinds that whole hosts know.
pub const HOST_FAULTS: &[FaultKind] = &[
    FaultKind::Crash,
    FaultKind::Kill,
    FaultKind::CrashAll,
    FaultKind::CrashInstalling,
    FaultKind::Isolate,
    FaultKind::Cut,
    FaultKind::CutOneWay,
    FaultKind::Deaf,
    FaultKind::Mute,
    FaultKind::Halves,
    FaultKind::Bridge,
    FaultKind::Ring,
    FaultKind::Chain,
    FaultKind::Swizzle,
    FaultKind::Flap,
    FaultKind::Loss,
    FaultKind::Duplicate,
    FaultKind::Reorder,
    FaultKind::Replay,
    FaultKind::Delay,
    FaultKind::Clog,
    FaultKind::HangLog,
    FaultKind::HangApplier,
    FaultKind::HangBulk,
    FaultKind::Pause,
    FaultKind::DiskError,
    FaultKind::DiskFull,
    FaultKind::BitRot,
    FaultKind::MisdirectedRead,
    FaultKind::ClockDrift,
    FaultKind::ClockJump,
    FaultKind::ClockStop,
    FaultKind::Transfer,
    FaultKind::Compact,
];

/// The kinds that worlds of the protocol alone know.
pub const CORE_FAULTS: &[FaultKind] = &[
    FaultKind::Crash,
    FaultKind::CrashAll,
    FaultKind::Isolate,
    FaultKind::Cut,
    FaultKind::CutOneWay,
    FaultKind::Deaf,
    FaultKind::Mute,
    FaultKind::Halves,
    FaultKind::Bridge,
    FaultKind::Ring,
    FaultKind::Chain,
    FaultKind::Swizzle,
    FaultKind::Flap,
    FaultKind::Loss,
    FaultKind::Duplicate,
    FaultKind::Reorder,
    FaultKind::Replay,
    FaultKind::Delay,
    FaultKind::Clog,
    FaultKind::HangLog,
    FaultKind::SlowDisk,
    FaultKind::ClockDrift,
    FaultKind::ClockJump,
    FaultKind::ClockStop,
    FaultKind::Transfer,
    FaultKind::StepDown,
    FaultKind::PauseElections,
    FaultKind::Members,
    FaultKind::Compact,
];

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

impl FaultKind {
    /// What it spoils.
    pub(crate) fn reach(self) -> Reach {
        let moments = [
            Self::Crash,
            Self::Kill,
            Self::CrashAll,
            Self::CrashInstalling,
            Self::Transfer,
            Self::Compact,
            Self::Members,
            Self::StepDown,
        ];
        let of_nodes = [
            Self::HangLog,
            Self::HangApplier,
            Self::HangBulk,
            Self::Pause,
            Self::ClockDrift,
            Self::ClockJump,
            Self::ClockStop,
            Self::PauseElections,
        ];
        let of_disks =
            [Self::DiskError, Self::DiskFull, Self::BitRot, Self::MisdirectedRead, Self::SlowDisk];
        if moments.contains(&self) {
            Reach::Moment
        } else if of_nodes.contains(&self) {
            Reach::Node
        } else if of_disks.contains(&self) {
            Reach::Disk
        } else {
            Reach::Net
        }
    }

    /// As the counters and pictures name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Kill => "kill",
            Self::CrashAll => "crash of all",
            Self::CrashInstalling => "crash while a snapshot is staged",
            Self::Isolate => "isolation",
            Self::Cut => "cut",
            Self::CutOneWay => "one-way cut",
            Self::Deaf => "deaf node",
            Self::Mute => "mute node",
            Self::Halves => "halves",
            Self::Bridge => "bridge",
            Self::Ring => "ring",
            Self::Chain => "chain",
            Self::Swizzle => "swizzle",
            Self::Flap => "flapping wire",
            Self::Loss => "loss",
            Self::Duplicate => "duplication",
            Self::Reorder => "reordering",
            Self::Replay => "replay",
            Self::Delay => "delay",
            Self::Clog => "clog",
            Self::HangLog => "hanging log",
            Self::HangApplier => "hanging applier",
            Self::HangBulk => "hanging bulk",
            Self::Pause => "pause",
            Self::DiskError => "disk error",
            Self::DiskFull => "full disk",
            Self::BitRot => "bit rot",
            Self::MisdirectedRead => "misdirected read",
            Self::ClockDrift => "clock drift",
            Self::ClockJump => "clock jump",
            Self::ClockStop => "clock stop",
            Self::Transfer => "leadership transfer",
            Self::Compact => "compaction",
            Self::SlowDisk => "slow disk",
            Self::Members => "change of members",
            Self::StepDown => "step-down",
            Self::PauseElections => "paused elections",
        }
    }
}
