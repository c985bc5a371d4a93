//! Keys and tokens, with real signatures.
#![allow(clippy::unwrap_used)]

use super::*;
use base64::prelude::{Engine, BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, ECDSA_P256_SHA256_FIXED_SIGNING};
use serde_json::{json, Value};
use std::cell::RefCell;
use std::time::Duration;

const NOW: u64 = 1_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    hash(bytes)
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn compile(auth: &Value) -> Result<Auth, String> {
    Auth::compile(serde_json::from_value(auth.clone()).map_err(|error| error.to_string())?)
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    [(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap())].into_iter().collect()
}

fn bearer(
    auth: &Auth,
    credentials: &str,
    service: &str,
    verb: Verb,
    now: u64,
) -> Result<String, (u16, String)> {
    let mut headers = headers("authorization", &format!("Bearer {credentials}"));
    let shown = take(&mut headers);
    assert!(headers.is_empty(), "credentials are passed on");
    let admitted = auth.admit(shown.as_deref(), service, verb, at(now), &|_| {});
    admitted.map(|caller| caller.unwrap().id.clone()).map_err(|no| (no.status.as_u16(), no.message))
}

fn with_key() -> Auth {
    compile(&json!({
        "keys": [{"id": "team-a", "sha256": hex(b"s3cret"), "scopes": [
            {"service": "a/*", "verbs": ["predict", "explain"]}, {"service": "b/m", "verbs": ["admin"]}]}],
        "anonymous": [{"service": "open/*", "verbs": ["predict"]}],
    }))
    .unwrap()
}

#[test]
fn a_key_is_good_for_its_scopes_alone() {
    let auth = with_key();
    for (service, verb, allowed) in [
        ("a/m", Verb::Predict, true),
        ("a/m", Verb::Explain, true),
        ("a/m", Verb::Admin, false),
        ("b/m", Verb::Admin, true),
        ("b/n", Verb::Admin, false),
        ("ab/m", Verb::Predict, false),
        ("open/m", Verb::Predict, true),
    ] {
        assert_eq!(bearer(&auth, "s3cret", service, verb, NOW).is_ok(), allowed, "{service} {verb:?}");
    }
    let (status, words) = bearer(&auth, "s3cret", "a/m", Verb::Admin, NOW).unwrap_err();
    assert_eq!((status, words.as_str()), (403, "team-a may not do this: it needs admin on a/m."));
}

#[test]
fn what_is_not_valid_is_not_repeated() {
    let auth = with_key();
    let (status, words) = bearer(&auth, "guess", "open/m", Verb::Predict, NOW).unwrap_err();
    assert_eq!(status, 401);
    assert!(!words.contains("guess"), "{words}");
    assert!(!format!("{auth:?}").contains("s3cret"));
}

#[test]
fn who_shows_nothing_gets_what_is_open_to_all() {
    let auth = with_key();
    let nothing = |service| auth.admit(None, service, Verb::Predict, at(NOW), &|_| {});
    assert!(nothing("open/m").unwrap().is_none());
    let refused = nothing("a/m").unwrap_err();
    assert_eq!(refused.status, 401);
    assert!(refused.message.contains("predict on a/m"), "{}", refused.message);
    assert!(refused.challenge.unwrap().starts_with("Bearer"));
    let mut basic = headers("authorization", "Basic czNjcmV0");
    assert!(take(&mut basic).is_none() && basic.is_empty());
    let key = take(&mut headers("x-api-key", "s3cret"));
    assert_eq!(
        auth.admit(key.as_deref(), "a/m", Verb::Predict, at(NOW), &|_| {}).unwrap().unwrap().id,
        "team-a"
    );
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

struct Signer {
    jwk: Value,
    algorithm: &'static str,
    sign: Sign,
}

fn ed25519() -> Signer {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": b64(pair.public_key())});
    Signer { jwk, algorithm: "EdDSA", sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()) }
}

fn es256() -> Signer {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref()[1..].to_vec();
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "kid": "k2", "x": b64(&point[..32]), "y": b64(&point[32..])});
    Signer {
        jwk,
        algorithm: "ES256",
        sign: Box::new(move |m| pair.sign(&random, m).unwrap().as_ref().to_vec()),
    }
}

impl Signer {
    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        format!("{signed}.{}", b64((self.sign)(signed.as_bytes())))
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "kid": self.jwk["kid"]}), claims)
    }

    fn auth(&self) -> Auth {
        compile(&json!({"jwks": [{"issuer": "https://i", "audience": "modelport", "keys": {"keys": [self.jwk]}}]}))
            .unwrap()
    }
}

fn claims() -> Value {
    json!({"iss": "https://i", "aud": "modelport", "sub": "ann", "exp": NOW + 100,
        "scope": "openid predict:a/* admin:b/m"})
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[test]
fn tokens_are_good_for_their_scopes() {
    for signer in [ed25519(), es256()] {
        let auth = signer.auth();
        let token = signer.token(&claims());
        assert_eq!(bearer(&auth, &token, "a/m", Verb::Predict, NOW).unwrap(), "ann");
        assert_eq!(bearer(&auth, &token, "b/m", Verb::Admin, NOW).unwrap(), "ann");
        assert_eq!(bearer(&auth, &token, "b/m", Verb::Predict, NOW).unwrap_err().0, 403);
        assert_eq!(bearer(&auth, &token, "a/m", Verb::Explain, NOW).unwrap_err().0, 403);
        // From memory too it ends in time.
        assert!(bearer(&auth, &token, "a/m", Verb::Predict, NOW + 129).is_ok());
        let (status, words) = bearer(&auth, &token, "a/m", Verb::Predict, NOW + 130).unwrap_err();
        assert_eq!((status, words.as_str()), (401, "The credentials are not valid: the token has expired."));
    }
}

#[test]
fn a_token_must_be_right_in_all_its_parts() {
    let signer = ed25519();
    let auth = signer.auth();
    let strangers = RefCell::new(Vec::new());
    let stranger = |issuer: &str| strangers.borrow_mut().push(issuer.to_owned());
    let why = |token: &str| match auth.identify(token.as_bytes(), at(NOW), &stranger) {
        Ok(caller) => Err(caller.id.clone()),
        Err(why) => Ok(why),
    };
    assert_eq!(why(&signer.token(&with("aud", json!(["x", "modelport"])))), Err("ann".to_owned()));
    for (claims, reason) in [
        (with("iss", json!("https://other")), Rejected::Issuer),
        (without("iss"), Rejected::Issuer),
        (with("aud", json!("other")), Rejected::Audience),
        (without("aud"), Rejected::Audience),
        (without("exp"), Rejected::NoExpiry),
        (with("exp", json!("soon")), Rejected::Malformed),
        (with("exp", json!(NOW - 31)), Rejected::Expired),
        (with("nbf", json!(NOW + 31)), Rejected::TooEarly),
    ] {
        assert_eq!(why(&signer.token(&claims)), Ok(reason), "{claims}");
    }
    let forged = ed25519().token(&claims());
    assert_eq!(why(&forged), Ok(Rejected::Signature));
    let token = signer.token(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let altered = format!("{header}.{}.{signature}", b64(with("sub", json!("eve")).to_string()));
    assert_eq!(why(&altered), Ok(Rejected::Signature));
    for alg in ["none", "HS256", "RS256", "ES256"] {
        let token = signer.token_with(&json!({"alg": alg, "kid": "k1"}), &claims());
        assert_eq!(why(&token), Ok(Rejected::Key), "{alg}");
    }
    // Only what its issuer may have signed by a new key is worth asking the issuer for its keys.
    assert!(strangers.borrow().is_empty());
    let token = signer.token_with(&json!({"alg": "EdDSA", "kid": "other"}), &claims());
    assert_eq!(why(&token), Ok(Rejected::NewKey));
    assert_eq!(strangers.take(), ["https://i"]);
    let token = signer.token_with(&json!({"alg": "EdDSA", "crit": ["b64"]}), &claims());
    assert_eq!(why(&token), Ok(Rejected::Malformed));
    for broken in ["ey.ey.", "eyJ9.x.y", "ey!.ey!.!"] {
        assert_eq!(why(broken), Ok(Rejected::Malformed), "{broken}");
    }
}

#[test]
fn rsa_tokens_are_verified() {
    // RFC 7515, A.2: a key of 2048 bits and a token of "joe", which expired in 2011.
    let jwk = json!({"kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
        "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
        "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
        "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ")});
    let token = concat!(
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ",
        "dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN",
        "9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLI",
        "hWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
    let auth = compile(&json!({"jwks": [{"issuer": "joe", "keys": {"keys": [jwk]}}]})).unwrap();
    let verified = auth.identify(token.as_bytes(), at(1_300_819_000), &|_| {}).unwrap();
    assert_eq!(verified.id, "the token's holder");
    assert_eq!(auth.identify(token.as_bytes(), at(1_400_000_000), &|_| {}).unwrap_err(), Rejected::Expired);
}

#[test]
fn a_table_with_bad_credentials_says_where() {
    let jwk = |key: Value| json!({"jwks": [{"issuer": "i", "keys": {"keys": [key]}}]});
    for (auth, words) in [
        (json!({"keys": [{"id": "a", "sha256": "xy"}]}), "auth.keys[0] (a).sha256: must be 64"),
        (
            json!({"keys": [{"id": "a", "sha256": hex(b"1"), "scopes": [{"service": "a", "verbs": []}]}]}),
            "service must be namespace/name",
        ),
        (
            json!({"keys": [{"id": "a", "sha256": hex(b"1")}, {"id": "b", "sha256": hex(b"1")}]}),
            "another key",
        ),
        (json!({"jwks": [{"issuer": "i", "keys": {}}]}), "must be a JWKS"),
        (jwk(json!({"kty": "oct", "k": "AAAA"})), "is a shared secret"),
        (jwk(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})), "at least 2048 bits, got 24"),
        (jwk(json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})), "x must have 32 bytes"),
        (jwk(json!({"kty": "EC", "crv": "P-521"})), "has no RSA, P-256 or Ed25519 key"),
    ] {
        let said = compile(&auth).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}
