//! Flags of etcd that set nothing here, so that its start scripts work unchanged: each is taken
//! with a word on what to do in its place, or refused where going on without it would be something
//! else than what was asked for.

/// Whether a flag stands alone or before a value, as Go's flags do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Value,
}

/// A flag that sets nothing.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    name: &'static str,
    kind: Kind,
    /// Values that ask for what is done anyway.
    done: &'static [&'static str],
    advice: &'static str,
    is_refused: bool,
}

const fn flag(
    name: &'static str,
    kind: Kind,
    done: &'static [&'static str],
    advice: &'static str,
) -> Foreign {
    Foreign { name, kind, done, advice, is_refused: false }
}

const fn refused(
    name: &'static str,
    kind: Kind,
    done: &'static [&'static str],
    advice: &'static str,
) -> Foreign {
    Foreign { name, kind, done, advice, is_refused: true }
}

use Kind::{Bool, Value};

const BBOLT: &str = "the store is no bbolt file";
const LIST_MEMBERS: &str = "name the members with --initial-cluster";
const NO_PROXY: &str = "a member is no proxy; clients take several endpoints";
const NO_TRACING: &str = "there is no tracing; see /metrics and --log-level";
const ONE_LOG: &str = "the log goes to standard error; let the system's journal keep and rotate it";
const TIMES: &str = "what takes long is seen in /metrics";
const WELL_KEPT: &str = "files of the log and snapshots are kept as long as they are needed";

const FOREIGN: &[Foreign] = &[
    flag("backend-batch-interval", Value, &["", "0", "0s"], BBOLT),
    flag("backend-batch-limit", Value, &["", "0"], BBOLT),
    flag("backend-bbolt-freelist-type", Value, &["map", "array"], BBOLT),
    flag("bootstrap-defrag-threshold-megabytes", Value, &["0"], "space is freed while running"),
    flag("client-cert-file", Value, &[""], "the gateway needs no certificate of its own"),
    flag("client-key-file", Value, &[""], "the gateway needs no certificate of its own"),
    flag("compact-hash-check-enabled", Bool, &["false"], "use --corrupt-check-time"),
    flag("compact-hash-check-time", Value, &["1m", "1m0s"], "use --corrupt-check-time"),
    flag("compaction-batch-limit", Value, &["1000"], "compaction stops nobody"),
    flag("compaction-sleep-interval", Value, &["10ms"], "compaction stops nobody"),
    flag("cors", Value, &["", "*"], "the gateway refuses requests of web pages"),
    flag("debug", Bool, &["false"], "use --log-level debug"),
    flag("disable-log-sampling", Bool, &["false", "true"], ONE_LOG),
    refused("discovery", Value, &[""], LIST_MEMBERS),
    flag("discovery-cacert", Value, &[""], LIST_MEMBERS),
    flag("discovery-cert", Value, &[""], LIST_MEMBERS),
    flag("discovery-dial-timeout", Value, &["2s"], LIST_MEMBERS),
    refused("discovery-endpoints", Value, &[""], LIST_MEMBERS),
    flag("discovery-fallback", Value, &["exit", "proxy"], LIST_MEMBERS),
    flag("discovery-insecure-skip-tls-verify", Bool, &["false"], LIST_MEMBERS),
    flag("discovery-insecure-transport", Bool, &["true"], LIST_MEMBERS),
    flag("discovery-keepalive-time", Value, &["2s"], LIST_MEMBERS),
    flag("discovery-keepalive-timeout", Value, &["6s"], LIST_MEMBERS),
    flag("discovery-key", Value, &[""], LIST_MEMBERS),
    flag("discovery-password", Value, &[""], LIST_MEMBERS),
    flag("discovery-proxy", Value, &[""], LIST_MEMBERS),
    flag("discovery-request-timeout", Value, &["5s"], LIST_MEMBERS),
    refused("discovery-srv", Value, &[""], LIST_MEMBERS),
    flag("discovery-srv-name", Value, &[""], LIST_MEMBERS),
    refused("discovery-token", Value, &[""], LIST_MEMBERS),
    flag("discovery-user", Value, &[""], LIST_MEMBERS),
    flag("distributed-tracing-address", Value, &["localhost:4317"], NO_TRACING),
    flag("distributed-tracing-instance-id", Value, &[""], NO_TRACING),
    flag("distributed-tracing-sampling-rate", Value, &["0"], NO_TRACING),
    flag("distributed-tracing-service-name", Value, &["etcd"], NO_TRACING),
    flag("downgrade-check-time", Value, &["5s"], "nothing is to be checked"),
    flag("enable-distributed-tracing", Bool, &["false"], NO_TRACING),
    flag("enable-lease-checkpoint", Bool, &["true"], "what leases have left is always noted"),
    flag(
        "enable-lease-checkpoint-persist",
        Bool,
        &["true"],
        "what leases have left is always noted",
    ),
    flag("enable-log-rotation", Bool, &["false"], ONE_LOG),
    flag("enable-pprof", Bool, &["false"], "profile the process with perf"),
    flag("enable-v2", Bool, &["false"], "there is no v2 API"),
    flag("enable-v2v3", Value, &[""], "there is no v2 API"),
    refused(
        "force-new-cluster",
        Bool,
        &["false"],
        "flotilla force-new-cluster, or a backup; see docs/operating/members.md",
    ),
    flag("grpc-keepalive-min-time", Value, &["5s"], "clients may ping as often as they like"),
    flag("host-whitelist", Value, &["", "*"], "the gateway refuses requests of web pages"),
    flag("initial-election-tick-advance", Bool, &["true"], "elections are as fast as they can be"),
    flag("listen-client-http-urls", Value, &[""], "HTTP is served at --listen-client-urls"),
    flag("log-format", Value, &["console"], ONE_LOG),
    flag("log-outputs", Value, &["", "default", "stderr"], ONE_LOG),
    flag("log-package-levels", Value, &[""], "use --log-level, such as info,raft=debug"),
    flag("log-rotation-config-json", Value, &[""], ONE_LOG),
    flag("logger", Value, &["zap", "capnslog"], ONE_LOG),
    flag("max-learners", Value, &["1"], "one learner at a time is taken"),
    flag("max-snapshots", Value, &["5"], WELL_KEPT),
    flag("max-wals", Value, &["5"], WELL_KEPT),
    flag("memory-mlock", Bool, &["false"], "let the system's unit forbid swap (MemorySwapMax=0)"),
    flag("metrics", Value, &["basic"], "there is one set of metrics"),
    flag("peer-client-cert-file", Value, &[""], "--peer-cert-file is shown both ways"),
    flag("peer-client-key-file", Value, &[""], "--peer-key-file is used both ways"),
    flag("pre-vote", Bool, &["true"], "it is always on"),
    refused("proxy", Value, &["off"], NO_PROXY),
    flag("proxy-dial-timeout", Value, &["1000"], NO_PROXY),
    flag("proxy-failure-wait", Value, &["5000"], NO_PROXY),
    flag("proxy-read-timeout", Value, &["0"], NO_PROXY),
    flag("proxy-refresh-interval", Value, &["30000"], NO_PROXY),
    flag("proxy-write-timeout", Value, &["5000"], NO_PROXY),
    flag("raft-read-timeout", Value, &["5s"], "a silent member is found out after five seconds"),
    flag("raft-write-timeout", Value, &["5s"], "a silent member is found out after five seconds"),
    flag("self-signed-cert-validity", Value, &["1"], "--auto-tls makes a new one at each start"),
    flag("set-member-localaddr", Bool, &["false"], "let the system's routes choose the address"),
    flag("snapshot-catchup-entries", Value, &["5000"], "the log's tail is kept by itself"),
    flag(
        "socket-reuse-address",
        Bool,
        &["false", "true"],
        "a member takes its port when it is free",
    ),
    flag("socket-reuse-port", Bool, &["false"], "a member does not share its port"),
    flag("stop-grpc-service-on-defrag", Bool, &["false"], "nothing stops for defragmentation"),
    flag("txn-mode-write-with-shared-buffer", Bool, &["true", "false"], BBOLT),
    flag("unsafe-no-fsync", Bool, &["false"], "every acknowledged write is synced"),
    flag("v2-deprecation", Value, &["not-yet", "write-only", "gone"], "there is no v2 API"),
    flag("wal-dir", Value, &[""], "the Raft log lies in --data-dir: mount its disk there"),
    flag("warning-apply-duration", Value, &["100ms"], TIMES),
    flag("warning-unary-request-duration", Value, &["300ms"], TIMES),
];

/// What became of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It asks for what is done anyway.
    Done,
    /// It is not heeded; this says what to do.
    Warned(String),
    /// Nothing starts with it; this says what to do.
    Refused(String),
}

/// Whether the flag is one of etcd's that set nothing here.
pub(crate) fn is_foreign(name: &str) -> bool {
    FOREIGN.iter().any(|foreign| foreign.name == name)
}

/// Whether the flag's value may be the word behind it.
pub(crate) fn takes_a_word(name: &str) -> bool {
    FOREIGN.iter().any(|foreign| foreign.name == name && foreign.kind == Value)
}

/// What becomes of such a flag with a value; a flag that stands alone has `true`.
pub(crate) fn fate(name: &str, value: &str) -> Fate {
    let Some(foreign) = FOREIGN.iter().find(|foreign| foreign.name == name) else {
        return Fate::Done;
    };
    if foreign.done.contains(&value) {
        return Fate::Done;
    }
    let advice = foreign.advice;
    if foreign.is_refused {
        Fate::Refused(format!("--{name}={value} is not served: {advice}"))
    } else {
        Fate::Warned(format!("--{name}={value} has no meaning here: {advice}"))
    }
}

/// The names of all.
pub(crate) fn foreign_names<'a>() -> impl Iterator<Item = &'a str> {
    FOREIGN.iter().map(|foreign| foreign.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_nothing_twice() {
        assert!(FOREIGN.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn what_cannot_be_left_out_is_refused() {
        assert_eq!(fate("pre-vote", "true"), Fate::Done);
        assert!(matches!(fate("pre-vote", "false"), Fate::Warned(text) if text.contains("always")));
        assert!(matches!(fate("discovery", "http://d/x"), Fate::Refused(_)));
        assert_eq!(fate("discovery", ""), Fate::Done);
    }
}
