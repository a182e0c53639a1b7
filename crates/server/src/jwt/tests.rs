use base64::Engine as _;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::keys::METHODS;
use super::*;

const RSA_KEY: &str = include_str!("test_rsa_key.pem");
const RSA_PUBLIC_KEY: &str = include_str!("test_rsa_key.pub");
const NOW: u64 = 1_800_000_000;

/// Private and public key for a method, as PEM; of HMAC both are the secret.
fn pems(method: &str) -> (String, String) {
    let algorithm = match method {
        "ES256" => &PKCS_ECDSA_P256_SHA256,
        "ES384" => &PKCS_ECDSA_P384_SHA384,
        "EdDSA" => &PKCS_ED25519,
        "HS256" | "HS384" | "HS512" => {
            let secret = "a secret that is long enough for anybody".to_owned();
            return (secret.clone(), secret);
        }
        _ => return (RSA_KEY.to_owned(), RSA_PUBLIC_KEY.to_owned()),
    };
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    (pair.serialize_pem(), pair.public_key_pem())
}

fn jwt(method: &'static str, private: Option<&str>, public: Option<&str>) -> Result<Jwt, String> {
    let bytes = |pem: Option<&str>| pem.map(|pem| pem.as_bytes().to_vec());
    let (public, private) = (bytes(public), bytes(private));
    let keys = Keys::new(method, public.as_deref(), private.as_deref())?;
    Ok(Jwt { keys, ttl_secs: 300 })
}

fn encode(json: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

#[test]
fn what_is_signed_is_read_by_whoever_has_the_public_key() {
    for method in METHODS {
        let (private, public) = pems(method);
        let signing = jwt(method, Some(&private), None).unwrap();
        let token = signing.sign("alice", 7, NOW).unwrap();
        let is_shared = method.starts_with("HS");
        let reading = if is_shared {
            jwt(method, Some(&private), None).unwrap()
        } else {
            jwt(method, None, Some(&public)).unwrap()
        };
        let claims = reading.read(&token, NOW).unwrap();
        let expect =
            Claims { username: "alice".to_owned(), revision: 7, exp: NOW + 300, nbf: None };
        assert_eq!(claims, expect, "{method}");
        assert_eq!(reading.read(&token, NOW + 300), None, "{method}: it has ended");
        assert_eq!((signing.can_sign(), reading.can_sign()), (true, is_shared), "{method}");
        // Whatever is changed, it is no token any more.
        for at in (0..token.len()).step_by(5) {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let read = reading.read(&changed, NOW);
            // The last letter of a signature has bits that say nothing.
            assert!(read.is_none() || at + 1 == token.len(), "{method}: letter {at}");
        }
    }
}

/// Who has the public key must not be able to pass it off as a secret of HMAC, nor to sign with
/// nothing at all.
#[test]
fn the_method_is_never_what_the_token_says() {
    let rsa = jwt("RS256", Some(RSA_KEY), None).unwrap();
    let claims = encode(&format!(r#"{{"username":"root","revision":1,"exp":{}}}"#, NOW + 9));
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, RSA_PUBLIC_KEY.as_bytes());
    let signed = format!("{}.{claims}", encode(r#"{"alg":"HS256","typ":"JWT"}"#));
    let signature = ring::hmac::sign(&secret, signed.as_bytes());
    let forged = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(rsa.read(&forged, NOW), None);
    for alg in ["none", "None", "NONE", "", "RS512", "PS256"] {
        let header = encode(&format!(r#"{{"alg":"{alg}"}}"#));
        assert_eq!(rsa.read(&format!("{header}.{claims}."), NOW), None, "{alg}");
    }
    // The same key by another method of its family.
    let other = jwt("RS384", Some(RSA_KEY), None).unwrap();
    let token = other.sign("root", 1, NOW).unwrap();
    assert!(other.read(&token, NOW).is_some());
    assert_eq!(rsa.read(&token, NOW), None);
}

#[test]
fn what_is_no_statement_about_a_user_is_no_token() {
    let secret = pems("HS256").0;
    let shared = jwt("HS256", Some(&secret), None).unwrap();
    let signed = |header: &str, claims: &str| {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = shared.keys.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    };
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let good = format!(r#"{{"username":"u","revision":1,"exp":{}}}"#, NOW + 9);
    assert!(shared.read(&signed(header, &good), NOW).is_some());
    for claims in [
        "{}",
        "[]",
        "x",
        r#"{"username":"u","revision":1}"#,
        r#"{"revision":1,"exp":1900000000}"#,
        r#"{"username":"u","exp":1900000000}"#,
        r#"{"username":"","revision":1,"exp":1900000000}"#,
        r#"{"username":"u","revision":-1,"exp":1900000000}"#,
        r#"{"username":"u","revision":1,"exp":1}"#,
        r#"{"username":"u","revision":1,"exp":1900000000,"nbf":1850000000}"#,
    ] {
        assert_eq!(shared.read(&signed(header, claims), NOW), None, "{claims}");
    }
    let critical = r#"{"alg":"HS256","crit":["x"],"x":1}"#;
    assert_eq!(shared.read(&signed(critical, &good), NOW), None);
    for text in ["", ".", "..", "a.b.c", "abcdefghijklmnop.12", &"x".repeat(1 << 20)] {
        assert_eq!(shared.read(text, NOW), None);
    }
}

#[test]
fn keys_that_do_not_fit_are_refused_at_the_start() {
    let refused = |method, private: Option<&str>, public: Option<&str>, part: &str| {
        let error = jwt(method, private, public).unwrap_err();
        assert!(error.contains(part), "{method}: {error}");
    };
    let (p256, p256_public) = pems("ES256");
    refused("RS256", None, None, "pub-key or priv-key");
    refused("RS256", Some("nothing"), None, "no private key");
    refused("RS256", Some(&p256), None, "none for RS256");
    refused("ES256", Some(RSA_KEY), None, "none for ES256");
    refused("ES256", Some(&pems("ES256").0), Some(&p256_public), "do not belong together");
    refused("RS256", None, Some("nothing"), "no public key");
    refused("HS256", Some("short"), None, "fewer than");
    refused("HS256", None, Some(RSA_PUBLIC_KEY), "priv-key is needed");
}
