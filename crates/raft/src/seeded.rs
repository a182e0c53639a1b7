//! Known bugs that can be put back, one at a time, to see that the tests notice.
//!
//! Every one of them has happened: in a system that is used, in a proof that failed, or in a
//! picture of the paper. The number is the scenario it is known by in this house, or the section
//! that forbids it. In the code a bug is one more condition, `|| bug(Bug::Name)`, next to the rule
//! that it breaks; in every build but one it is the constant `false` and leaves nothing behind.
//!
//! That one build has `--cfg seeded_bugs` and takes the bug's name from the variable `SEEDED_BUG`.
//! `cargo xtask seeded-bugs` makes it once, runs the tests once for each line of this table, and
//! fails if a bug survives: a survivor is a test that is missing.

macro_rules! bugs {
    ($($name:ident $scenario:literal $story:literal,)*) => {
        /// What can be put back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Bug {
            $(#[doc = concat!($scenario, ": ", $story)] $name,)*
        }

        #[cfg(seeded_bugs)]
        impl Bug {
            fn named(name: &str) -> Option<Self> {
                [$((stringify!($name), Self::$name)),*]
                    .into_iter()
                    .find_map(|(known, bug)| (known == name).then_some(bug))
            }
        }
    };
}

// `xtask` reads these lines: name, scenario, story.
bugs! {
    // Elections.
    VoteLeavesBeforeItIsDurable "E1" "A vote is sent before it is on disk.",
    VoteIsNotWritten "E2" "Term and vote are two writes, and the vote's is lost.",
    VoteRequestLeavesBeforeOwnVote "E4" "A candidate asks for votes before its own is on disk.",
    OwnVoteCountsBeforeItIsDurable "E4" "A candidate counts its own vote before it is on disk.",
    VotesTwice "Raft §5.2" "A second candidate of the term is voted for as well.",
    VotesForAnyLog "Raft §5.4.1" "A vote does not look at the candidate's log.",
    ComparesLogsByLength "Raft §5.4.1" "The longer log counts as newer, whatever its last term.",
    PreVotesForAnyLog "thesis §9.6" "A pre-vote does not look at the candidate's log.",
    PreVoteClearsTheVote "E6" "A node that asks for pre-votes forgets its vote of the term.",
    PreVoteRaisesTheTerm "thesis §9.6" "A pre-vote request makes its receiver begin the term.",
    PreVotesCountAsVotes "E6" "Grants of the pre-vote round are counted in the election.",
    LateGrantsCount "E7" "Grants of an earlier term are counted.",
    RepeatedGrantsCount "E8" "A grant that arrives twice counts twice.",
    GrantsOfStrangersCount "E8" "Grants of learners, of removed and of unknown nodes count.",
    HigherTermIsPermission "E10" "A higher term in an answer sets the own vote of that term.",
    StaleRequestsAreNotAnswered "E11" "A pre-vote of an old term is dropped without the term.",
    LeaderVotesForOthers "E15" "A leader gives the vote of its term away.",
    LearnersCampaign "E16" "Whoever times out campaigns, voter or not.",
    CampaignsWhileInstalling "E17" "A node campaigns with a snapshot half installed.",
    OnlyTheNewestHalfCampaigns "E21" "A voter of C_old alone does not campaign.",
    ElectionTimeoutsAreEqual "Raft §5.2" "Timeouts have no random part.",
    CandidateIgnoresTheLeader "Raft §5.2" "A candidate goes on though its term has a leader.",
    SecondLeaderIsFollowed "Raft §5.2" "Who claims to lead is followed, though another leads.",
    NoStickiness "thesis §4.2.3" "Who hears a leader votes it away.",
    NoCheckQuorum "thesis §6.2" "A leader that nobody answers goes on leading.",
    VoterMustKnowTheCandidate "M6" "A voter refuses a candidate that it does not know.",
    // The term gate, and what leaves late.
    StaleLeaderIsFollowed "Raft §5.1" "AppendEntries of an earlier term are taken.",
    HigherTermInAnAnswerIsIgnored "Raft §5.1" "A leader does not step down for an answer.",
    TakesTheMailOfOthers "N13" "A message to another node is handled.",
    HeldAnswersAreRestamped "L21" "An answer held for the disk leaves in the name of a later term.",
    AnswersGatherForEver "fuzz" "While the disk hangs, every question of a peer is remembered.",
    StrangersGatherForEver "fuzz" "Pre-vote answers of nodes that have no vote are remembered.",
    // The log.
    AnswersBeforeItIsDurable "Raft §5.3" "Entries are acknowledged before they are on disk.",
    LateCompletionCounts "L16" "A completed write proves entries that were overwritten since.",
    OldCompletionCounts "L16" "An older completion after a newer one sets the disk back.",
    NoConsistencyCheck "Raft §5.3" "The term of the entry before is not compared.",
    TruncatesBehindTheMessage "L1" "What lies behind a delayed message is cut off.",
    AcknowledgesTheWholeLog "L3" "The answer says the last entry, not the last one compared.",
    CommitsBehindTheMessage "L3" "Entries behind the message are committed, compared or not.",
    KeepsConflictingEntries "Raft §5.3" "Entries that conflict are kept, the leader's are dropped.",
    PurgedEntryIsAConflict "L8" "The entry before the message must be in the log, cut or not.",
    HeartbeatSaysTheWholeCommit "L9" "A heartbeat's commit index is not bounded by the match.",
    WhoLeavesIsReadForInVain "T140" "Old entries are read for a member that leaves, and not sent to it.",
    RefusedIsAskedForAgain "L9" "Who refuses what it once held is asked for the same at once.",
    NewsNeedsNoPlace "Raft §5.3" "The news of a commit is believed by who lacks the place it names.",
    HeartbeatIsBelieved "L9" "A commit index beyond the log is cut to the log's end.",
    UnprovenIsCommitted "L9" "A heartbeat commits what this life has not seen to match.",
    CommitIndexFalls "L5" "A lower commit index of a new leader is taken.",
    MatchIndexFalls "L4" "An older acknowledgement takes the match index back.",
    NextFallsBelowMatch "L6" "Probing goes back behind what is known to match.",
    StaleRefusalCounts "L10" "A refusal that came late moves the next index.",
    LeaderCountsWhatItHasNotWritten "L13" "A leader counts itself before its disk has the entry.",
    OtherSessionsCount "L11" "An answer from before a removal counts for the new book.",
    UnsentIsAcknowledged "L9" "An acknowledgement of more than the log is believed.",
    InflightsLeak "L20" "Acknowledged messages stay in the window.",
    WindowHasNoEnd "Raft §5.3" "A slow follower is sent everything at once.",
    PlaceBeforeTheLogIsZero "L17" "With the entry before unknown, the message says 0.",
    MalformedEntriesAreTaken "S16" "A place before the log with a term is taken for an entry.",
    OvertakersGatherForEver "L18" "What arrives too early is kept without end.",
    OvertakersOutliveTheirTerm "Raft §5.3" "What a deposed leader sent too early is appended later.",
    // Commit and apply.
    OneKeyIsLookedAt "this house" "Commands that share their second key are executed at once.",
    WhoTouchesAllIsPassed "this house" "A command is executed beside one that touches everything.",
    CommitsOldTermsByCounting "C1" "An entry of an earlier term is committed by counting.",
    CommitStopsAtOldTerms "C5" "An entry of an earlier term stops the counting.",
    AppliesWhatIsNotDurable "L14" "Entries are applied before this disk has them.",
    ApplySkipsAnEntry "C4" "Behind a full page of committed entries one is skipped.",
    AppliedIndexFalls "S2" "A late report of the state machine takes the index back.",
    BeginsUncommitted "R10" "A node that begins knows nothing of what it has applied.",
    // Quorums.
    MajorityIsHalf "R4" "Half of the voters are taken for a majority.",
    JointCommitTakesTheNewHalf "thesis §4.3" "A joint commit takes a majority of C_new alone.",
    JointElectionTakesTheNewHalf "thesis §4.3" "A joint election takes a majority of C_new alone.",
    AnyHalfIsAQuorum "even sets" "Half of an even group decides without the extra set.",
    CommitQuorumElects "flexible quorums" "As many voters as a commit takes elect a leader.",
    RuleChangesInOneStep "thesis §4.3" "A change of the quorum rule takes no joint configuration.",
    LearnersCount "R4" "Learners are counted as voters.",
    RemovedVotersCount "R4" "Voters that were removed are counted.",
    // Reads.
    ReadsBeforeTheNoop "C2" "A new leader reads before an entry of its term is committed.",
    AnyRoundConfirms "thesis §6.4" "An answer to an old heartbeat confirms a new read.",
    AnybodyAnswersReads "R9" "A node that was not asked answers a forwarded read.",
    ReadNamesBeginAnew "R9" "A new life uses the names of an earlier one's reads.",
    CommitsAtOnce "LeaseGuard" "A new leader commits while the lease of the last one runs.",
    DeferralBeginsNowhere "LeaseGuard" "A new leader counts its wait from nothing.",
    GuardOutlivesTheTransfer "E19" "A leader reads on an entry after it has given its lease up.",
    GuardNeedsNoQuorum "LeaseGuard" "An entry is a lease before it is on a quorum.",
    GuardIgnoresShorterTerms "LeaseGuard" "A leader reads on after it has shortened its lease.",
    LimboIsNotTold "LeaseGuard" "Who does not look at the limbo is answered all the same.",
    EveryTransferEndsTheLease "LeaseGuard" "A successor does not wait, whatever it was told.",
    ShorterTermsEndTheWait "LeaseGuard" "A new leader waits by the last terms, committed or not.",
    OldIntervalsAreRead "LeaseGuard" "A read goes by what the clock said a while ago.",
    ReadsByTheEarliest "LeaseGuard" "A reader takes the earliest that it may be, not the latest.",
    WaitsByTheLatest "LeaseGuard" "Who waits takes the latest that it may be, not the earliest.",
    WaitBeginsAtTheEarliest "LeaseGuard" "A wait is counted from the earliest of the last lease.",
    WaitIgnoresOtherClocks "LeaseGuard" "Who waits by the clock forgets who reads by ticks.",
    InheritsWhatIsNotCommitted "LeaseGuard" "A new leader reads on a lease that may be lost.",
    TimesOutliveTheirLog "LeaseGuard" "The last lease before a snapshot is taken for the newest.",
    LeasesOfTheFutureCount "LeaseGuard" "A lease of a clock that is ahead is read on.",
    WaitIsLostWithItsEntry "LeaseGuard" "A wait is forgotten when a snapshot replaces the log.",
    LostWriteIsAnswered "C10" "A read behind a write that was lost is answered as if it were there.",
    WriteIsLostTooSoon "C10" "A leader that has committed nothing calls a write lost.",
    QuestionIsForTheMostModest "R9" "One modest read makes the whole question modest.",
    LagIsWhatIsHere "this house" "A stale read's lag does not count what the leader spoke of.",
    ReadsGatherForEver "this house" "A leader without a quorum takes reads of others without end.",
    ShrinkingIsNotCounted "R12" "A quorum met by a smaller configuration is not noticed.",
    ReadsWaitForOldBooks "L11" "A read waits for a word that counts for nothing.",
    LeaseBeginsWhenItIsAnswered "R6" "A lease is counted from the answer, not from the question.",
    LeaseHasNoEnd "R6" "A leader that slept reads on a lease that is over.",
    LeaseOutlivesTheTransfer "E19" "A leader reads on its lease after it called a successor.",
    LeaseBeforeTheNoop "C2" "A lease read does not wait for an entry of the term.",
    PromiseEndsWithACrash "R3" "A node that begins does not keep its last life's promise.",
    PromiseEndsWithTheTerm "R3" "A promise to a leader is forgotten with its term.",
    CampaignsUnderAPromise "R3" "A node that a leader reads on campaigns, and votes for itself.",
    // Membership.
    ChangeBeforeTheNoop "M1" "A leader changes members before an entry of its term commits.",
    OneStepBeforeTheNoop "M1" "The erratum of single-server changes: they wait for no entry of the term.",
    TwoVotersInOneStep "thesis §4.1" "One voter comes and one goes, and no joint configuration is between.",
    AnyRuleInOneStep "thesis §4.1" "A voter comes or goes in one step, whoever decides by what rule.",
    GoesBackFromARemoval "M18" "A removal in one step is given up, and who was removed has ended.",
    TwoChangesAtOnce "M2" "A change begins before the one before is committed.",
    ConfigurationOnCommit "M3" "A configuration is in force only once it is committed.",
    ConfigurationOutlivesItsEntry "M3" "A configuration stays though its entry was truncated.",
    ConfigurationIsLostInACrash "M5" "A configuration that is not committed is lost in a crash.",
    SnapshotLosesTheOldHalf "M8" "A joint configuration leaves a snapshot without C_old.",
    JointIsLeftOnlyAtTheEnd "M9" "A joint configuration is left only if it is the last entry.",
    JointIsNeverLeft "M9" "A joint configuration stays.",
    RemovedLeaderGoesOn "M10" "A leader that is no member goes on after that is committed.",
    RemovedLeaderGoesAtOnce "M10" "A leader that removes itself does not wait for the commit.",
    TwoRolesAreTaken "M13" "A node may be voter and learner at once.",
    EmptyLearnerIsPromoted "M17" "A learner is promoted whatever it lacks.",
    StagingHasNoEnd "thesis §4.2.1" "A learner that never catches up is waited for without end.",
    EmptyMajorityIsAdded "M17" "A majority of empty voters is added at once.",
    RemovedIdComesBack "M14" "The id of a removed member is given to a new one.",
    RemovalIsBelievedAtOnce "M12" "One member's word ends a node.",
    LostMembersGoOn "T202" "Who was lost in a recovery goes on if it had committed what the survivors lack.",
    UncommittedRemovalIsTold "M12" "A removal that may be rolled back is told.",
    WitnessesAloneCommit "M16" "A configuration is committed when only witnesses of it hold the log.",
    LeaverHoldsItsWindow "T200" "Who leaves is left to its feeder, and behind what was on its way to it.",
    LastWordIsForgotten "T201" "The next configuration takes the last word from who leaves by this one.",
    LostDataIsWaitedFor "T150" "A change that waits for a lost disk is never given up.",
    WhoIsBehindIsGivenUp "T150" "A change is given up for a voter that will hold again what it forgot.",
    WhoCannotWriteIsWaitedFor "T175" "A change waits without end for a voter that answers and does not write.",
    WhoAdvancesIsGivenUp "T175" "A change is given up though the voter that it waits for advances.",
    WitnessOwesWhatItIsNotTold "T175" "A witness is blamed for lacking what its leader withholds.",
    GoesBackToWhoCannotAgree "T175" "A change is given up though the members before cannot agree either.",
    LeadIsThePriceOfAChange "M18" "A leader waits for who has forgotten until it leads no more.",
    WayBackForgetsTheWitness "M18" "A change is given up though a witness knows more than it may.",
    GuardsByTheNewestAlone "T172" "Who is cut off is taken to know of the newest members.",
    OnlyTheLastWordWasHeard "T170" "A change is given up though a witness was told too much by messages that seemed lost.",
    AnyLeaderAbandons "M18" "A leader gives up a change that an earlier one began.",
    // Disks that were lost or set back.
    AnyDiskCounts "D2" "A vote or an acknowledgement counts from whatever disk.",
    VoterJudgesItsOwnDisk "M6" "Who does not know yet that its new disk is on record refuses its vote.",
    ForgetfulMembersCount "D2" "A member that forgot what it held goes on counting.",
    ForgetsTheGroupsCommit "L9" "Who lacks what the group has committed is elected.",
    SessionsHaveNoEnd "this house" "Each late answer to a heartbeat begins another session.",
    UnnamedDisksVouchForNamed "D2" "What a disk without a name held counts for the next one.",
    OldSessionsAreAnswered "L11" "A refusal names a session of a term that is over.",
    PromotesOffTheRecord "D2" "A promotion that waits with what is open records no disk.",
    VotersAreRecordedAnew "D2" "A voter's new disk is put on record in place of the old.",
    // Witnesses.
    WitnessStandsInForData "M16" "A witness's word makes up for a copy of the data.",
    WitnessHearsTooEarly "M16" "A witness is told of entries before the data is where it must be.",
    WitnessCampaigns "E16" "A witness stands for election.",
    // Snapshots and compaction.
    SnapshotKeepsTheTail "S1" "A snapshot leaves a conflicting tail on disk.",
    InstallsBeforeTheMark "S1" "The state is replaced before the log's mark is on disk.",
    ConflictingSnapshotIsTaken "S4" "A snapshot that contradicts the commit is acknowledged.",
    SnapshotNeedNotReachTheLog "S15" "A follower is sent a snapshot from before where the log begins.",
    KeepsForTheSilent "this house" "A log is kept for a member that was silent for long.",
    CutsBeforeItsMembership "M8" "A log is cut before its node knows who is a member.",
    FailedSnapshotIsForgotten "S14" "A snapshot that was not delivered is never sent again.",
    FeedsWhatIsNotCommitted "Raft §5.4.3" "A learner is told by its feeder what is not committed.",
    FedIsNeverLookedAfter "ADR 12" "A learner whose feeder is gone is fed by nobody.",
    FeederLags "ADR 12" "A learner is taken to keep up whatever it holds.",
    NoHeartbeatsBesideASnapshot "S14" "Who gets a snapshot gets no heartbeats.",
    // Leadership.
    TransferDoesNotWait "E18" "The target of a transfer campaigns before it has the log.",
    TransferHasNoEnd "E18" "A transfer whose target is gone blocks for ever.",
    AnybodyCallsElections "E20" "Whoever says so makes a node campaign.",
    StalledLeaderGoesOn "T1" "A leader whose disk hangs goes on leading.",
    TimeoutsChangeUnderALease "R7" "The election timeout changes while leases rest on it.",
    HandsOverToTheSilent "this house" "A leader hands over to a voter that it does not hear, or that lags.",
    HandsOverAgainAndAgain "this house" "A hand-over that led to nothing is tried at each timeout.",
    RefusedHandOverIsWaitedFor "T173" "A leader waits its whole time for who was to lead and has answered since.",
    WaitsForWhoHasGone "T206" "A preferred leader that has died is waited for as the next leader.",
    RestsBelowWhoWasSlow "T174" "A group rests below a preferred voter that was slow a moment ago.",
    HandsOverInAChange "this house" "A leader hands over while members change.",
    WaitsForThePreferredForEver "this house" "A voter waits as long for those above when they are gone.",
    SlownessFlaps "this house" "A follower is called slow, and not slow, at each heartbeat.",
    RestsBesideAPromotion "T203" "A group rests while a learner waits to be promoted.",
    RestsWithALaggard "G1" "A group rests though a member lacks something.",
    SleepsThroughReads "G2" "A read does not wake a group that rests.",
    LateAnswersWakeAlone "G2" "Woken by a late answer of its leader, a member does not tell it.",
    WakesAlone "G2" "A member that is woken from rest does not tell its leader, and campaigns.",
}

/// Whether this bug is put back.
#[cfg(not(seeded_bugs))]
#[inline(always)]
pub(crate) const fn bug(_: Bug) -> bool {
    false
}

/// Whether this bug is put back.
#[cfg(seeded_bugs)]
pub(crate) fn bug(bug: Bug) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let active = ACTIVE.get_or_init(|| {
        let name = std::env::var("SEEDED_BUG").ok().filter(|name| !name.is_empty())?;
        // A name that is not known would look like a bug that every test survives.
        Some(Bug::named(&name).unwrap_or_else(|| panic!("no seeded bug is called {name}")))
    });
    *active == Some(bug)
}
