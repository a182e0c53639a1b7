use tokio::io::AsyncReadExt;

use super::*;

/// `:authority` as a literal that enters the table.
fn literal(authority: &[u8]) -> Vec<u8> {
    let mut block = vec![0x41, u8::try_from(authority.len()).unwrap()];
    block.extend_from_slice(authority);
    block
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    frame.extend_from_slice(payload);
    frame
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), frames.concat()].concat()
}

/// What comes through, whatever pieces it arrives in.
async fn check(sent: &[u8], expect: &[u8]) {
    for piece in [1, 2, 7, sent.len().max(1)] {
        let (mut client, server) = tokio::io::duplex(piece);
        let mut lenient = Lenient::new(server);
        let sending = async {
            tokio::io::AsyncWriteExt::write_all(&mut client, sent).await.unwrap();
            drop(client);
        };
        let mut came = Vec::new();
        let (_, read) = tokio::join!(sending, lenient.read_to_end(&mut came));
        read.unwrap();
        assert_eq!(came, expect, "in pieces of {piece}");
    }
}

#[test]
fn huffman_strings_of_the_standard_are_read() {
    let check = |hex: u128, bytes: usize, text: &str| {
        let encoded = &hex.to_be_bytes()[16 - bytes..];
        assert_eq!(huffman_decode(encoded).as_deref(), Some(text.as_bytes()));
    };
    // RFC 7541 §C.4.
    check(0xf1e3_c2e5_f23a_6ba0_ab90_f4ff, 12, "www.example.com");
    check(0xa8eb_1064_9cbf, 6, "no-cache");
    check(0x25_a849_e95b_b8e8_b4bf, 9, "custom-value");
    assert_eq!(huffman_decode(&[0xff, 0xff, 0xff, 0xff]), None, "the end is no text");
}

#[tokio::test]
async fn what_is_well_formed_is_not_touched() {
    let headers = frame(HEADERS, END_HEADERS, &literal(b"10.0.0.1:2379"));
    // After a good one nothing is looked at.
    let later = frame(HEADERS, END_HEADERS, &literal(b"http://10.0.0.1:2379"));
    let sent = connection(&[frame(4, 0, &[0; 6]), headers, frame(0, 1, b"data"), later]);
    check(&sent, &sent).await;
    let http1 = b"GET /health HTTP/1.1\r\nHost: http://x\r\n\r\n";
    check(http1, http1).await;
    check(b"PRI", b"PRI").await;
    check(b"", b"").await;
}

#[tokio::test]
async fn an_authority_that_is_none_is_replaced_each_time() {
    let bad = [&[0x83, 0x86][..], &literal(b"http://10.0.0.1:2379"), &[0x84]].concat();
    let good = [&[0x83, 0x86][..], &literal(b"localhost"), &[0x84]].concat();
    let headers = |block: &[u8]| frame(HEADERS, END_HEADERS, block);
    let (settings, data) = (frame(4, 0, &[0; 6]), frame(0, 1, b"data"));
    let sent = connection(&[
        settings.clone(),
        headers(&bad),
        data.clone(),
        headers(&[0xbe]),
        headers(&bad),
    ]);
    let expect = connection(&[settings, headers(&good), data, headers(&[0xbe]), headers(&good)]);
    check(&sent, &expect).await;
}

#[tokio::test]
async fn padding_and_priority_stay_where_they_are() {
    let bad = literal(b"#initially=[http://h:1]");
    let wrapped = |block: &[u8]| [&[2, 0, 0, 0, 0, 9][..], block, &[0, 0]].concat();
    let flags = END_HEADERS | PADDED | PRIORITY;
    let sent = connection(&[frame(HEADERS, flags, &wrapped(&bad))]);
    let expect = connection(&[frame(HEADERS, flags, &wrapped(&literal(b"localhost")))]);
    check(&sent, &expect).await;
}

#[test]
fn nonsense_is_left_to_h2() {
    for block in [
        &[0x41, 0x7f][..],
        &[0x41, 0x05, b'a'],
        &[0x40, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(judge(block), Verdict::Leave);
    }
    for payload in [&[][..], &[9], &[200, 0, 0]] {
        assert_eq!(replace_authority(payload, END_HEADERS | PADDED | PRIORITY), None);
    }
}

#[test]
fn a_stand_in_is_never_longer_than_what_it_stands_for() {
    assert_eq!(stand_in(b"http://h:1"), b"localhost");
    assert_eq!(stand_in(b"a/b"), b"loc");
}
