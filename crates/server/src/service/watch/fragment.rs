//! Answers that are too large for a client's limit, cut between events.

use std::collections::VecDeque;

use api::etcdserverpb::WatchResponse;
use prost::Message;

/// Cuts an answer into pieces of less than `bytes_max`, for a client that asked for it. A single
/// event is never cut, so a piece with one event may be longer.
pub(super) fn split(mut response: WatchResponse, bytes_max: usize) -> VecDeque<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < bytes_max {
        return VecDeque::from([response]);
    }
    let events = std::mem::take(&mut response.events);
    let head_bytes = response.encoded_len();
    let mut pieces = VecDeque::new();
    let mut piece = WatchResponse { fragment: true, ..response.clone() };
    let mut piece_bytes = head_bytes;
    for event in events {
        // One byte for the field's number, up to five for its length.
        let event_bytes = event.encoded_len() + 6;
        if !piece.events.is_empty() && piece_bytes + event_bytes >= bytes_max {
            let next = WatchResponse { fragment: true, ..response.clone() };
            pieces.push_back(std::mem::replace(&mut piece, next));
            piece_bytes = head_bytes;
        }
        piece_bytes += event_bytes;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push_back(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use api::mvccpb::{Event, KeyValue};
    use bytes::Bytes;

    use super::*;

    fn response(value_bytes: &[usize]) -> WatchResponse {
        let event = |bytes: &usize| {
            let kv = KeyValue { value: Bytes::from(vec![0; *bytes]), ..KeyValue::default() };
            Event { kv: Some(kv), ..Event::default() }
        };
        let events = value_bytes.iter().map(event).collect();
        WatchResponse { watch_id: 7, events, ..WatchResponse::default() }
    }

    fn check(value_bytes: &[usize], expect: &[usize]) {
        let pieces = split(response(value_bytes), 1000);
        let counts: Vec<usize> = pieces.iter().map(|piece| piece.events.len()).collect();
        assert_eq!(counts, expect);
        let last = pieces.len() - 1;
        for (at, piece) in pieces.iter().enumerate() {
            assert_eq!(piece.fragment, at != last, "all but the last say that more follows");
            assert_eq!(piece.watch_id, 7);
            assert!(piece.encoded_len() < 1000 || piece.events.len() == 1);
        }
        let events: Vec<Event> = pieces.into_iter().flat_map(|piece| piece.events).collect();
        assert_eq!(events, response(value_bytes).events, "nothing is lost or moved");
    }

    #[test]
    fn pieces_fit_and_hold_every_event_in_order() {
        check(&[], &[0]);
        check(&[10, 10], &[2]);
        check(&[400, 400, 400], &[2, 1]);
        check(&[5000], &[1]);
        check(&[5000, 10, 5000, 900, 20], &[1, 1, 1, 2]);
        check(&[100; 30], &[9, 9, 9, 3]);
    }
}
