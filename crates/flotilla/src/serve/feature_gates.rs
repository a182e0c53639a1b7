//! `--feature-gates` of etcd: of its gates one sets something here, others are on for good, and the
//! rest have no meaning. One that etcd does not know either is refused: it is misspelt.

use crate::go_values::boolean;

/// What a gate is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The flag `--initial-corrupt-check`.
    InitialCorruptCheck,
    /// On, whatever is said of it.
    AlwaysOn,
    /// Nothing; what to do in its place.
    None(&'static str),
}

/// etcd's gates, and its two names for all of a kind.
const GATES: &[(&str, Meaning)] = &[
    // The check is one of the alpha gates.
    ("AllAlpha", Meaning::InitialCorruptCheck),
    ("AllBeta", Meaning::None("no gate of that kind has a meaning here")),
    ("CompactHashCheck", Meaning::None("use --corrupt-check-time")),
    ("FastLeaseKeepAlive", Meaning::None("leases are kept alive by the leader's clock")),
    ("InitialCorruptCheck", Meaning::InitialCorruptCheck),
    ("LeaseCheckpoint", Meaning::AlwaysOn),
    ("LeaseCheckpointPersist", Meaning::AlwaysOn),
    ("SetMemberLocalAddr", Meaning::None("let the system's routes choose the address")),
    ("StopGRPCServiceOnDefrag", Meaning::None("nothing stops for defragmentation")),
    ("TxnModeWriteWithSharedBuffer", Meaning::None("the store is no bbolt file")),
];

/// The gates of a command line, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureGates {
    /// If something is said of it.
    pub(crate) initial_corrupt_check: Option<bool>,
    /// What is not heeded, for the log.
    pub(crate) warnings: Vec<String>,
}

impl FeatureGates {
    /// Reads `Name=true,Other=false`; a later word on a gate counts.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut gates = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is no gate: write {part}=true or {part}=false"))?;
            let is_on = boolean(value.trim())?;
            let known = GATES.iter().find(|(gate, _)| *gate == name.trim());
            match known.map(|(_, meaning)| meaning) {
                None => return Err(format!("etcd has no feature gate {name:?}")),
                Some(Meaning::InitialCorruptCheck) => gates.initial_corrupt_check = Some(is_on),
                Some(Meaning::AlwaysOn) if is_on => {}
                Some(Meaning::AlwaysOn) => {
                    gates.warnings.push(format!("--feature-gates: {name} is always on"));
                }
                Some(Meaning::None(advice)) if is_on => gates
                    .warnings
                    .push(format!("--feature-gates: {name} has no meaning here: {advice}")),
                Some(Meaning::None(_)) => {}
            }
        }
        Ok(gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_that_kubeadm_asks_for_is_made() {
        let gates = FeatureGates::parse("InitialCorruptCheck=true").unwrap();
        assert_eq!(gates, FeatureGates { initial_corrupt_check: Some(true), warnings: vec![] });
        let gates = FeatureGates::parse(" AllAlpha=true , InitialCorruptCheck=false ").unwrap();
        assert_eq!(gates.initial_corrupt_check, Some(false), "the later word counts");
        assert_eq!(FeatureGates::parse("").unwrap(), FeatureGates::default());
    }

    #[test]
    fn what_is_not_heeded_is_told_and_what_nobody_knows_is_refused() {
        let told = |text: &str| FeatureGates::parse(text).unwrap().warnings;
        assert!(told("CompactHashCheck=true")[0].contains("--corrupt-check-time"));
        assert!(told("LeaseCheckpoint=false")[0].contains("always on"));
        assert!(told("LeaseCheckpoint=true,StopGRPCServiceOnDefrag=false").is_empty());
        for wrong in ["InitialCorruptChek=true", "InitialCorruptCheck", "InitialCorruptCheck=si"] {
            assert!(FeatureGates::parse(wrong).is_err(), "{wrong}");
        }
        assert!(GATES.is_sorted_by(|one, next| one.0 < next.0));
    }
}
