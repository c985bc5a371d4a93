//! Who calls, and whether they may: API keys and tokens (JWT), each good for verbs on services.
//!
//! Credentials are compared as hashes, never logged and never passed on to endpoints.

mod jwk;
mod jwt;
mod scope;
mod verb;

pub(super) use verb::of as verb_of;

use super::refusal::Refusal;
use super::table;
use http::header::{HeaderName, AUTHORIZATION};
use http::{HeaderMap, StatusCode};
use jwt::{Issuer, Rejected};
use ring::digest::{digest, SHA256};
use scope::Scopes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;
use table::Verb;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const MISSING: &str = "Bearer realm=\"modelport\"";
const INVALID: &str = "Bearer realm=\"modelport\", error=\"invalid_token\"";
const INSUFFICIENT: &str = "Bearer realm=\"modelport\", error=\"insufficient_scope\"";

/// So many tokens that were verified are remembered: a signature costs 20–100 µs.
const REMEMBERED: usize = 4096;

type Hash = [u8; 32];

/// Who may call.
#[derive(Debug)]
pub(super) struct Auth {
    keys: HashMap<Hash, Arc<Caller>>,
    issuers: Vec<Issuer>,
    anonymous: Scopes,
    verified: Mutex<HashMap<Hash, Verified>>,
}

/// Somebody who has shown credentials.
#[derive(Debug)]
pub(super) struct Caller {
    /// The key's id, or the token's subject.
    pub(super) id: String,
    scopes: Scopes,
}

#[derive(Clone, Debug)]
struct Verified {
    caller: Arc<Caller>,
    expires: u64,
}

impl Auth {
    pub(super) fn compile(auth: table::Auth) -> Result<Self, String> {
        let mut keys = HashMap::new();
        for (index, key) in auth.keys.into_iter().enumerate() {
            let at = format!("auth.keys[{index}] ({})", key.id);
            let hash = parse_hash(&key.sha256).ok_or_else(|| {
                format!("{at}.sha256: must be 64 hexadecimal digits, got {}.", key.sha256.len())
            })?;
            let scopes = Scopes::compile(&key.scopes, &at)?;
            if keys.insert(hash, Arc::new(Caller { id: key.id, scopes })).is_some() {
                return Err(format!("{at}.sha256: another key has the same."));
            }
        }
        let issuers = auth.jwks.into_iter().enumerate();
        Ok(Self {
            keys,
            issuers: issuers
                .map(|(index, issuer)| Issuer::compile(issuer, &format!("auth.jwks[{index}]")))
                .collect::<Result<_, _>>()?,
            anonymous: Scopes::compile(&auth.anonymous, "auth.anonymous")?,
            verified: Mutex::default(),
        })
    }

    /// Lets a request in, as whom its credentials show. `stranger` is told of an issuer whose token is signed by a key
    /// that is not known.
    pub(super) fn admit(
        &self,
        shown: Option<&[u8]>,
        service: &str,
        verb: Verb,
        now: SystemTime,
        stranger: &dyn Fn(&str),
    ) -> Result<Option<Arc<Caller>>, Refusal> {
        let needs = format_args!("{} on {service}", verb.name()).to_string();
        let Some(shown) = shown else {
            return if self.anonymous.allow(service, verb) {
                Ok(None)
            } else {
                Err(refuse(
                    StatusCode::UNAUTHORIZED,
                    MISSING,
                    format!("Credentials are missing: {needs} needs an API key (x-api-key, or Authorization: Bearer) or a token."),
                ))
            };
        };
        let caller = self.identify(shown, now, stranger).map_err(|why| {
            refuse(StatusCode::UNAUTHORIZED, INVALID, format!("The credentials are not valid: {why}."))
        })?;
        if caller.scopes.allow(service, verb) || self.anonymous.allow(service, verb) {
            return Ok(Some(caller));
        }
        let words = format!("{} may not do this: it needs {needs}.", caller.id);
        Err(refuse(StatusCode::FORBIDDEN, INSUFFICIENT, words))
    }

    fn identify(
        &self,
        shown: &[u8],
        now: SystemTime,
        stranger: &dyn Fn(&str),
    ) -> Result<Arc<Caller>, Rejected> {
        let hash = hash(shown);
        if let Some((known, caller)) = self.keys.get_key_value(&hash) {
            // The map has found it by a hash of the hash already; this is for those who time it.
            if bool::from(known.ct_eq(&hash)) {
                return Ok(Arc::clone(caller));
            }
        }
        if self.issuers.is_empty() || !jwt::is_one(shown) {
            return Err(Rejected::UnknownKey);
        }
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = verified.get(&hash) {
            if known.expires > seconds {
                return Ok(Arc::clone(&known.caller));
            }
            verified.remove(&hash);
        }
        drop(verified);
        let (caller, expires) = jwt::verify(shown, &self.issuers, seconds, stranger)?;
        let caller = Arc::new(caller);
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(hash, Verified { caller: Arc::clone(&caller), expires });
        Ok(caller)
    }
}

/// Takes out the credentials that a request shows. They are for us alone: both headers go.
pub(super) fn take(headers: &mut HeaderMap) -> Option<Vec<u8>> {
    let key = headers.remove(API_KEY);
    let authorization = headers.remove(AUTHORIZATION);
    if let Some(key) = key {
        return Some(key.as_bytes().to_vec());
    }
    let authorization = authorization?;
    let (scheme, credentials) = authorization.as_bytes().split_at_checked(7)?;
    // Another scheme shows nothing that we know; it gets the words for those who show nothing.
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| credentials.trim_ascii().to_vec())
}

fn refuse(status: StatusCode, challenge: &'static str, message: String) -> Refusal {
    Refusal { challenge: Some(challenge), ..Refusal::new(status, message) }
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests;
