//! Groups with nothing to do cost nothing, and are there when they are needed.

use std::collections::BTreeMap;
use std::time::Duration;

use host::{GroupId, GroupStatus};
use raft::NodeId;

use crate::bed::Bed;

const GROUP_COUNT: u64 = 1_000;
/// Of a frame without records.
const FRAME_BYTES: u64 = 51;

fn resting(group_count: u64) -> Bed {
    let mut bed = Bed::new(
        3,
        group_count,
        Box::new(|options| {
            options.quiesce_after_ms = Some(1_000);
            // As many logs' disks as it may be, one sync for all.
            options.election_timeout_ms = 1_000;
        }),
    );
    bed.start_all();
    for _ in 0..60 {
        if bed.all_rest() {
            return bed;
        }
        bed.run_for(Duration::from_millis(500));
    }
    panic!("the groups do not come to rest");
}

impl Bed {
    fn all_rest(&self) -> bool {
        let ids = [1, 2, 3].map(NodeId);
        let mut nodes = ids.iter().filter(|id| self.is_on(**id)).flat_map(|id| self.nodes_of(*id));
        nodes.all(|node| node.status().is_resting)
    }

    fn statuses(&self, id: NodeId) -> BTreeMap<GroupId, GroupStatus> {
        let groups = self.group_handles(id).into_iter();
        groups.map(|(group, handle)| (group, handle.status())).collect()
    }
}

/// G1: the frames are those by which the nodes show themselves, whatever the number of groups.
#[test]
fn g1_a_thousand_idle_groups_cost_no_message() {
    let mut bed = resting(GROUP_COUNT);
    let ids = [1, 2, 3].map(NodeId);
    let before = ids.map(|id| bed.group(id).counters());
    bed.run_for(Duration::from_secs(10));
    for (id, before) in ids.into_iter().zip(before) {
        let after = bed.group(id).counters();
        let frames = after.frames_sent - before.frames_sent;
        let bytes = after.frame_bytes_sent - before.frame_bytes_sent;
        assert!((150..=210).contains(&frames), "{id}: {frames} frames in ten seconds to two peers");
        assert_eq!(bytes, frames * FRAME_BYTES, "{id}: a frame had something to say");
        assert_eq!(after.log_writes, before.log_writes, "{id}");
    }
    assert!(bed.all_rest());
}

/// G2: nobody ticks in a group that rests, so somebody else has to see that its leader is gone.
#[test]
fn g2_a_node_that_is_gone_wakes_the_groups_that_it_led_and_no_others() {
    let mut bed = resting(50);
    let before = bed.statuses(NodeId(1));
    let gone = before[&GroupId(1)].leader_id.expect("every group has a leader");
    let witness = NodeId(gone.0 % 3 + 1);
    let before = bed.statuses(witness);
    bed.kill(gone);
    bed.run_for(Duration::from_secs(8));
    let after = bed.statuses(witness);
    for (group, before) in before {
        let after = after[&group];
        if before.leader_id == Some(gone) {
            let leader = after.leader_id.expect("another leads");
            assert!(leader != gone && after.term > before.term, "{group:?}: {after:?}");
        } else {
            assert_eq!((after.leader_id, after.term), (before.leader_id, before.term), "{group:?}");
        }
    }
}

#[test]
fn a_group_that_rests_takes_a_write_on_any_node() {
    let mut bed = resting(3);
    for id in [1, 2, 3].map(NodeId) {
        bed.add(id, 1);
        bed.run_for(Duration::from_secs(5));
        assert!(bed.all_rest(), "and rests again");
    }
    assert_eq!(bed.add(NodeId(1), 0).sum, 3);
}
