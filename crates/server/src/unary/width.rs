//! How many operations a transaction has, told from its bytes. Decoded, one without anything in it
//! takes two bytes on the wire and some hundred in memory: a request of a megabyte would take that
//! of half a million of them before the store could say that these are too many.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Of `TxnRequest`: conditions, and the steps of both branches.
const COMPARE: u32 = 1;
const SUCCESS: u32 = 2;
const FAILURE: u32 = 3;
/// Of `RequestOp`: a transaction.
const REQUEST_TXN: u32 = 4;

/// Whether an encoded `TxnRequest`, with all that is nested in it, has more conditions and steps
/// than `most`. What is malformed ends the count: the decoder says so.
pub(super) fn has_more_operations(txn: &[u8], most: usize) -> bool {
    let mut count = 0;
    // Not by recursion: who nests deeply shall not have our stack.
    let mut transactions = vec![txn];
    while let Some(txn) = transactions.pop() {
        for (field, content) in fields(txn) {
            if ![COMPARE, SUCCESS, FAILURE].contains(&field) {
                continue;
            }
            count += 1;
            if count > most {
                return true;
            }
            if field != COMPARE {
                let nested = fields(content).filter(|(field, _)| *field == REQUEST_TXN);
                transactions.extend(nested.map(|(_, content)| content));
            }
        }
    }
    false
}

/// The fields of a message that are messages or bytes, up to where it is malformed.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        while message.has_remaining() {
            let (field, wire) = decode_key(&mut message).ok()?;
            if wire != WireType::LengthDelimited {
                skip_field(wire, field, &mut message, DecodeContext::default()).ok()?;
                continue;
            }
            let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
            let (content, rest) = message.split_at_checked(length)?;
            message = rest;
            return Some((field, content));
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use api::etcdserverpb::{Compare, RequestOp, TxnRequest, request_op::Request};
    use prost::Message as _;

    use super::*;

    fn step(request: Option<Request>) -> RequestOp {
        RequestOp { request }
    }

    #[test]
    fn conditions_and_steps_are_counted_wherever_they_are() {
        let inner = TxnRequest {
            compare: vec![Compare::default(); 2],
            success: vec![step(None)],
            failure: vec![],
        };
        let nested = step(Some(Request::RequestTxn(inner)));
        let txn = TxnRequest {
            compare: vec![Compare::default()],
            success: vec![step(None), nested.clone()],
            failure: vec![nested],
        };
        // 1 + 2 + 1 outside, and 3 in each of two.
        let bytes = txn.encode_to_vec();
        assert!(has_more_operations(&bytes, 9));
        assert!(!has_more_operations(&bytes, 10));
        assert!(!has_more_operations(&[], 0));
    }

    #[test]
    fn what_is_malformed_ends_the_count_and_nothing_else() {
        let txn = TxnRequest { success: vec![step(None); 3], ..TxnRequest::default() };
        let bytes = txn.encode_to_vec();
        for at in 0..bytes.len() {
            assert!(!has_more_operations(&bytes[..at], 3), "cut at {at}");
        }
        assert!(has_more_operations(&[&bytes[..], &[0xff; 12]].concat(), 2));
        assert!(!has_more_operations(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], 0), "a length beyond");
        // A group, as protobuf had them once, and a number: passed over.
        assert!(has_more_operations(&[0x0b, 0x0c, 0x30, 0x07, 0x12, 0x00], 0));
    }
}
