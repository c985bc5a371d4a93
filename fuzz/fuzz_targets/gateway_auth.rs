//! Any credentials are refused with words, but for tokens that our key has signed and whose claims allow it; any
//! set of keys (JWKS) is read or refused with words.
//!
//! The first byte says what follows: 0 a set of keys, 1 a token's header and, in the next line, its claims (the
//! target signs them), else credentials as they come.
#![no_main]

use base64::prelude::{Engine, BASE64_URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::gateway::Checked;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{json, Value};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

const ISSUER: &str = "i";
/// Seconds that clocks may differ, as the gateway has it.
const LEEWAY: f64 = 30.0;

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a key"));

/// A table that lets in who holds a token of ours, and nobody else.
static GUARDED: LazyLock<Checked> = LazyLock::new(|| {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(PAIR.public_key())});
    table(&json!({"keys": [key]})).expect("a good table")
});

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn table(keys: &Value) -> Result<Checked, String> {
    let auth = json!({"jwks": [{"issuer": ISSUER, "audience": "a", "keys": keys}]});
    Checked::decode(json!({"version": 1, "auth": auth}).to_string().as_bytes())
}

/// Whom these credentials let in; `None`: no header has such bytes.
fn shown(credentials: &[u8]) -> Option<Result<Option<String>, String>> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", credentials].concat()).ok()?;
    Some(GUARDED.admits(HeaderMap::from_iter([(AUTHORIZATION, value)]), "default/iris"))
}

/// What the claims must say, read in another way than the gateway does.
fn may_be_admitted(claims: &Value) -> bool {
    let audience = &claims["aud"];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    claims["iss"] == ISSUER
        && (audience == "a" || audience.as_array().is_some_and(|all| all.contains(&json!("a"))))
        && claims["exp"].as_f64().is_some_and(|expires| expires + LEEWAY + 1.0 >= now)
}

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        None => {}
        Some((0, keys)) => {
            let Ok(keys) = serde_json::from_slice::<Value>(keys) else { return };
            match table(&keys) {
                Ok(_) => assert!(keys["keys"].as_array().is_some_and(|keys| !keys.is_empty())),
                Err(words) => assert!(!words.is_empty()),
            }
        }
        Some((1, token)) => {
            let mut lines = token.splitn(2, |byte| *byte == b'\n');
            let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            let signed = format!("{}.{}", b64(header), b64(claims));
            let token = format!("{signed}.{}", b64(PAIR.sign(signed.as_bytes())));
            // The scopes decide last: without any, a good token is told that its holder may not.
            match shown(token.as_bytes()) {
                None => {}
                Some(Err(words)) if !words.contains(" may not do this") => assert!(!words.is_empty()),
                Some(Ok(None)) => panic!("let in without a name"),
                Some(_) => {
                    let claims = serde_json::from_slice(claims).expect("claims that were read");
                    assert!(may_be_admitted(&claims), "{claims}");
                }
            }
        }
        Some((_, credentials)) => {
            if let Some(admitted) = shown(credentials) {
                let words = admitted.expect_err("nobody can sign but we");
                assert!(!words.is_empty());
            }
        }
    }
});
