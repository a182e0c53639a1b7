//! Members and maintenance.

use super::*;

fn alarm(action: pb::alarm_request::AlarmAction) -> pb::AlarmRequest {
    let alarm = pb::AlarmType::Nospace.into();
    // Of a member that there is not.
    pb::AlarmRequest { action: action.into(), member_id: 99, alarm }
}

pub(super) fn administration() -> Vec<Row> {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    vec![
        unary!(
            "/etcdserverpb.KV/Compact",
            "",
            Root,
            KvClient.compact(pb::CompactionRequest { revision: i64::MAX, physical: false })
        ),
        unary!(
            "/etcdserverpb.Maintenance/Alarm",
            "list",
            User,
            MaintenanceClient.alarm(alarm(Get))
        ),
        unary!(
            "/etcdserverpb.Maintenance/Alarm",
            "disarm",
            Root,
            MaintenanceClient.alarm(alarm(Deactivate))
        ),
        unary!(
            "/etcdserverpb.Maintenance/Alarm",
            "raise",
            Root,
            MaintenanceClient
                .alarm(pb::AlarmRequest { alarm: pb::AlarmType::None.into(), ..alarm(Activate) })
        ),
        unary!(
            "/etcdserverpb.Maintenance/Status",
            "",
            User,
            MaintenanceClient.status(pb::StatusRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/Defragment",
            "",
            Root,
            MaintenanceClient.defragment(pb::DefragmentRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/Hash",
            "",
            Root,
            MaintenanceClient.hash(pb::HashRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/HashKV",
            "",
            Root,
            MaintenanceClient.hash_kv(pb::HashKvRequest { revision: 0 })
        ),
        stream!(
            "/etcdserverpb.Maintenance/Snapshot",
            "",
            Root,
            MaintenanceClient.snapshot(pb::SnapshotRequest {})
        ),
        unary!(
            "/etcdserverpb.Maintenance/MoveLeader",
            "",
            Root,
            MaintenanceClient.move_leader(pb::MoveLeaderRequest { target_id: 99 })
        ),
        unary!(
            "/etcdserverpb.Maintenance/Downgrade",
            "",
            Root,
            MaintenanceClient.downgrade(pb::DowngradeRequest::default())
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberList",
            "",
            User,
            ClusterClient.member_list(pb::MemberListRequest { linearizable: true })
        ),
        // Each of these asks for what cannot be done: only who asks is of interest.
        unary!(
            "/etcdserverpb.Cluster/MemberAdd",
            "",
            Root,
            ClusterClient.member_add(pb::MemberAddRequest::default())
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberRemove",
            "",
            Root,
            ClusterClient.member_remove(pb::MemberRemoveRequest { id: 99 })
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberUpdate",
            "",
            Root,
            ClusterClient.member_update(pb::MemberUpdateRequest { id: 99, ..Default::default() })
        ),
        unary!(
            "/etcdserverpb.Cluster/MemberPromote",
            "",
            Root,
            ClusterClient.member_promote(pb::MemberPromoteRequest { id: 99 })
        ),
        unary!(
            "/grpc.health.v1.Health/Check",
            "",
            Nobody,
            HealthClient.check(HealthCheckRequest::default())
        ),
        stream!(
            "/grpc.health.v1.Health/Watch",
            "",
            Nobody,
            HealthClient.watch(HealthCheckRequest::default())
        ),
    ]
}
