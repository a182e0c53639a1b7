//! Locks and elections.

use super::*;

pub(super) fn recipes() -> Vec<Row> {
    vec![
        unary!(
            "/v3lockpb.Lock/Lock",
            "",
            Recipe,
            LockClient.lock(LockRequest { name: b("w"), lease: LEASE })
        ),
        unary!(
            "/v3lockpb.Lock/Unlock",
            "",
            Recipe,
            LockClient.unlock(UnlockRequest { key: b("w/7") })
        ),
        unary!(
            "/v3electionpb.Election/Campaign",
            "",
            Recipe,
            ElectionClient.campaign(election::CampaignRequest {
                name: b("w"),
                lease: LEASE,
                value: b("v")
            })
        ),
        unary!(
            "/v3electionpb.Election/Proclaim",
            "",
            Recipe,
            ElectionClient.proclaim(election::ProclaimRequest { leader: leader(), value: b("v") })
        ),
        unary!(
            "/v3electionpb.Election/Leader",
            "",
            Recipe,
            ElectionClient.leader(election::LeaderRequest { name: b("w") })
        ),
        stream!(
            "/v3electionpb.Election/Observe",
            "",
            Recipe,
            ElectionClient.observe(election::LeaderRequest { name: b("w") })
        ),
        unary!(
            "/v3electionpb.Election/Resign",
            "",
            Recipe,
            ElectionClient.resign(election::ResignRequest { leader: leader() })
        ),
    ]
}
