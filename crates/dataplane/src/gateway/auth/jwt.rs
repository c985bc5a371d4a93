//! JSON Web Tokens (RFC 7519), signed and in compact form.

use super::jwk::Key;
use super::scope::Scopes;
use super::Caller;
use crate::gateway::table;
use base64::prelude::{Engine, BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

/// So many seconds may clocks differ.
const LEEWAY: u64 = 30;

/// A longer token is none.
const LONGEST: usize = 16 << 10;

/// Whose tokens are accepted.
#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    audience: Option<String>,
    keys: Vec<Key>,
    scopes_claim: Option<String>,
}

/// Why credentials are not taken. Nothing here repeats them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("nobody has this API key")]
    UnknownKey,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's issuer is not trusted here")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is signed by an algorithm other than RS256, ES256 and EdDSA, or by a key that is not known")]
    Key,
    #[error("the token is signed by a key that is not known; where the keys of its issuer are fetched, they are now asked for again")]
    NewKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has no expiry (exp)")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    TooEarly,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; we know none.
    crit: Option<Value>,
}

impl Issuer {
    pub(super) fn compile(issuer: table::Issuer, at: &str) -> Result<Self, String> {
        Ok(Self {
            keys: Key::set(&issuer.keys, &format!("{at}.keys"))?,
            name: issuer.name,
            audience: issuer.audience,
            scopes_claim: issuer.scopes_claim,
        })
    }
}

/// Whether these credentials look like a token.
pub(super) fn is_one(shown: &[u8]) -> bool {
    shown.starts_with(b"ey") && memchr::memchr_iter(b'.', shown).count() == 2
}

/// Whom a token speaks for, and until when (seconds since 1970). `stranger` is told of an issuer that signed it by a key
/// that is not known.
pub(super) fn verify(
    token: &[u8],
    issuers: &[Issuer],
    now: u64,
    stranger: &dyn Fn(&str),
) -> Result<(Caller, u64), Rejected> {
    if token.len() > LONGEST {
        return Err(Rejected::Malformed);
    }
    let text = std::str::from_utf8(token).map_err(|_| Rejected::Malformed)?;
    let (signed, signature) = text.rsplit_once('.').ok_or(Rejected::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Rejected::Malformed)?;
    let header: Header = decode(header)?;
    let claims: Value = decode(claims)?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Rejected::Malformed)?;
    if header.crit.is_some() {
        return Err(Rejected::Malformed);
    }

    let name = claims.get("iss").and_then(Value::as_str).ok_or(Rejected::Issuer)?;
    let issuer = issuers.iter().filter(|issuer| issuer.name == name);
    let mut outcome = Err(Rejected::Issuer);
    for issuer in issuer {
        outcome = check(issuer, &header, signed.as_bytes(), &signature, &claims, now);
        if outcome.is_ok() {
            break;
        }
    }
    if matches!(outcome, Err(Rejected::NewKey)) {
        stranger(name);
    }
    outcome
}

fn check(
    issuer: &Issuer,
    header: &Header,
    signed: &[u8],
    signature: &[u8],
    claims: &Value,
    now: u64,
) -> Result<(Caller, u64), Rejected> {
    let mut candidates = issuer
        .keys
        .iter()
        .filter(|key| key.is_for(&header.alg))
        .filter(|key| header.kid.is_none() || key.id.is_none() || key.id == header.kid);
    let is_new = header.kid.is_some()
        && Key::may_be_for(&header.alg)
        && issuer.keys.iter().all(|key| key.id != header.kid);
    let first = candidates.next().ok_or(if is_new { Rejected::NewKey } else { Rejected::Key })?;
    if !std::iter::once(first).chain(candidates).any(|key| key.verifies(signed, signature)) {
        return Err(Rejected::Signature);
    }
    if let Some(wanted) = &issuer.audience {
        let fits = |value: &Value| value.as_str() == Some(wanted);
        let audience = claims.get("aud").ok_or(Rejected::Audience)?;
        if !fits(audience) && !audience.as_array().is_some_and(|all| all.iter().any(fits)) {
            return Err(Rejected::Audience);
        }
    }
    let expires = seconds(claims.get("exp").ok_or(Rejected::NoExpiry)?)?.saturating_add(LEEWAY);
    if expires <= now {
        return Err(Rejected::Expired);
    }
    if let Some(begins) = claims.get("nbf") {
        if seconds(begins)? > now.saturating_add(LEEWAY) {
            return Err(Rejected::TooEarly);
        }
    }
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("the token's holder");
    let id: String = subject.chars().filter(|letter| !letter.is_control()).take(256).collect();
    Ok((Caller { id, scopes: scopes(issuer, claims) }, expires))
}

fn scopes(issuer: &Issuer, claims: &Value) -> Scopes {
    let Some(name) = issuer.scopes_claim.as_deref() else { return Scopes::default() };
    // By its own name first: claims that are URLs have dots in them.
    let found = claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, key| value.get(key)));
    match found {
        Some(Value::String(words)) => Scopes::of_words(words.split_whitespace()),
        Some(Value::Array(words)) => Scopes::of_words(words.iter().filter_map(Value::as_str)),
        _ => Scopes::default(),
    }
}

/// A `NumericDate`; fractions are cut.
fn seconds(value: &Value) -> Result<u64, Rejected> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
        .ok_or(Rejected::Malformed)
}

fn decode<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, Rejected> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejected::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Rejected::Malformed)
}
