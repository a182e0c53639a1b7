//! The store's next segment, made ahead of need.

use std::sync::Arc;
use std::time::Duration;

use crate::member::Member;

/// Between two looks whether the store's next segment is made.
const SEGMENT_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Has the store's next segment made on a thread that nobody waits for: writing its zeros takes
/// longer than many batches, and apply would do it otherwise.
pub(crate) async fn run(member: Arc<Member>) {
    let stopping = Arc::clone(&member);
    let stopping = stopping.stopping();
    tokio::pin!(stopping);
    loop {
        let store = member.store.clone();
        let made = tokio::task::spawn_blocking(move || store.prepare_segment()).await;
        if let Ok(Err(error)) = made {
            tracing::warn!(
                %error,
                "no room for the store's next segment; free space on the data folder's disk"
            );
        }
        // The second that this task wakes for anyway.
        member.store.expire_tokens(member.clock.now(), member.limits.auth_token_ttl);
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(SEGMENT_LOOK_INTERVAL) => {}
        }
    }
}
