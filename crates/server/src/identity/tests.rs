use super::*;
use crate::plan::member_id;

fn cluster(token: &str) -> Cluster {
    Cluster::parse(token, "a=http://h:1,a=http://g:1,b b=http://h:2").unwrap()
}

fn identity() -> Identity {
    let cluster = cluster("t");
    Identity { member_id: member_id("t", "b b"), name: "b b".to_owned(), joined: false, cluster }
}

/// A folder must stay readable by every later version.
#[test]
fn the_text_is_golden() {
    let text = identity().encode();
    let golden = "flotilla member 1\n\
                  cluster 6bed55fb0c76f6a4\n\
                  member ed4e0610a5c6e9c6 b b\n\
                  peer bc6f9628ae35013a a http://h:1,http://g:1\n\
                  peer ed4e0610a5c6e9c6 b b http://h:2\n\
                  check 6a42dc247bcf8793\n";
    assert_eq!(text, golden);
}

#[test]
fn what_is_written_is_read() {
    let text = identity().encode();
    assert_eq!(Identity::decode(text.as_bytes()), Ok(identity()));
    let joined = Identity { joined: true, ..identity() };
    assert!(joined.encode().contains(" b b\njoined\npeer "));
    assert_eq!(Identity::decode(joined.encode().as_bytes()), Ok(joined));
}

#[test]
fn no_damaged_byte_passes() {
    let bytes = identity().encode().into_bytes();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Identity::decode(&damaged).is_err(), "byte {at}");
        assert!(Identity::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}

fn settle(name: &str, token: Option<&str>) -> Result<Option<Identity>, StartError> {
    let claim = Claim {
        dir: PathBuf::from("/data"),
        name,
        described: token.map(cluster),
        exists: false,
        found: Some(identity()),
    };
    claim.settle()
}

#[test]
fn a_folder_serves_its_own_member_and_cluster_only() {
    assert_eq!(settle("b b", None).unwrap(), Some(identity()));
    assert_eq!(settle("b b", Some("t")).unwrap(), Some(identity()));
    assert_eq!(settle("a", None).unwrap_err().exit_code(), 11);
    assert_eq!(settle("b b", Some("u")).unwrap_err().exit_code(), 11);
    // A list of members that came later describes no cluster of its own.
    let claim = Claim {
        dir: PathBuf::from("/data"),
        name: "b b",
        described: Some(cluster("u")),
        exists: true,
        found: Some(identity()),
    };
    assert_eq!(claim.settle().unwrap(), Some(identity()));
}

#[test]
fn a_member_that_moved_has_the_options_addresses() {
    let moved = Cluster::parse("t", "a=http://h:1,b b=http://elsewhere:2").unwrap();
    let claim = Claim {
        exists: false,
        dir: PathBuf::from("/data"),
        name: "b b",
        described: Some(moved.clone()),
        found: Some(identity()),
    };
    assert_eq!(claim.settle().unwrap().unwrap().cluster, moved);
}
