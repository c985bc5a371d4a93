//! How many requests a route takes: a token bucket for each key.

use super::refusal::Refusal;
use super::table::{LimitBy, RateLimit};
use http::{HeaderMap, HeaderName, StatusCode};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many keys have a bucket at once. Beyond, the fullest go: they would soon be as good as new.
const KEYS: usize = 65_536;

/// What a route says of it, and who has taken how much.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    told: RateLimit,
    header: Option<HeaderName>,
    buckets: Arc<Mutex<HashMap<Vec<u8>, Bucket>>>,
}

/// A bucket fills with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) client: &'a [u8],
    pub(super) caller: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
}

impl Limiter {
    pub(super) fn compile(told: RateLimit, at: &str) -> Result<Self, String> {
        if told.requests == 0 || told.per_ms == 0 || told.burst == 0 {
            return Err(format!("{at}: requests, per_ms and burst must be above 0."));
        }
        let header = match (told.by, &told.header) {
            (LimitBy::Header, Some(name)) => Some(
                HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("{at}.header: {name:?} is no header's name."))?,
            ),
            (LimitBy::Header, None) => return Err(format!("{at}.header: is missing.")),
            _ => None,
        };
        Ok(Self { told, header, buckets: Arc::default() })
    }

    /// Goes on with what was taken under the same limit before.
    pub(super) fn succeed(&mut self, before: &Self) {
        if self.told == before.told {
            self.buckets = Arc::clone(&before.buckets);
        }
    }

    /// Takes a token, or says how long to wait for one.
    pub(super) fn admit(&self, asker: &Asker<'_>, now: Instant) -> Result<(), Refusal> {
        let key = match (self.told.by, &self.header) {
            (LimitBy::Client, _) => asker.client.to_vec(),
            (LimitBy::Caller, _) => asker.caller.map_or_else(
                || asker.client.to_vec(),
                |caller| [&b"caller "[..], caller.as_bytes()].concat(),
            ),
            (LimitBy::Header, Some(name)) => {
                asker.headers.get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let burst = f64::from(self.told.burst);
        let per_s = f64::from(self.told.requests) * 1000.0 / self.told.per_ms as f64;
        let filled = |bucket: &Bucket| (bucket.tokens + (now - bucket.at).as_secs_f64() * per_s).min(burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| filled(bucket) < burst);
            if buckets.len() >= KEYS {
                let mut all: Vec<f64> = buckets.values().map(filled).collect();
                all.sort_unstable_by(f64::total_cmp);
                let middle = all.get(all.len() / 2).copied().unwrap_or_default();
                buckets.retain(|_, bucket| filled(bucket) < middle);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: burst, at: now });
        let tokens = filled(bucket);
        *bucket = Bucket { tokens, at: now };
        if tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        drop(buckets);
        let wait_s = (1.0 - tokens) / per_s;
        let words = format!(
            "Too many requests: this route takes {} in {} {}. Try again in {} s.",
            self.told.requests,
            Duration::from_millis(self.told.per_ms).as_secs_f64(),
            if self.told.per_ms == 1000 { "second" } else { "seconds" },
            wait_s.ceil()
        );
        let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, words);
        refusal.retry_after_s = Some(wait_s.ceil().max(1.0) as u64);
        Err(refusal)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn limiter(told: &Value) -> Limiter {
        Limiter::compile(serde_json::from_value(told.clone()).unwrap(), "routes[0].limit").unwrap()
    }

    fn ask(limiter: &Limiter, client: &str, caller: Option<&str>, tenant: Option<&str>) -> Result<(), u64> {
        let mut headers = HeaderMap::new();
        if let Some(tenant) = tenant {
            headers.insert("x-tenant", tenant.parse().unwrap());
        }
        let asker = Asker { client: client.as_bytes(), caller, headers: &headers };
        limiter.admit(&asker, Instant::now()).map_err(|refusal| {
            assert_eq!(refusal.status, 429);
            refusal.retry_after_s.unwrap()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_and_fills() {
        let limiter = limiter(&json!({"requests": 60, "per_ms": 60_000, "burst": 3}));
        for _ in 0..3 {
            ask(&limiter, "a", None, None).unwrap();
        }
        assert_eq!(ask(&limiter, "b", None, None), Err(1));
        tokio::time::advance(Duration::from_millis(1_100)).await;
        ask(&limiter, "a", None, None).unwrap();
        assert_eq!(ask(&limiter, "a", None, None), Err(1));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| ask(&limiter, "a", None, None).is_ok()).count(), 3);
        let slow = self::limiter(&json!({"requests": 1, "per_ms": 60_000, "burst": 1}));
        ask(&slow, "a", None, None).unwrap();
        assert_eq!(ask(&slow, "a", None, None), Err(60));
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_a_bucket_of_its_own() {
        let told =
            |by: &str| json!({"requests": 1, "per_ms": 1000, "burst": 1, "by": by, "header": "x-tenant"});
        let by_client = limiter(&told("client"));
        ask(&by_client, "a", None, None).unwrap();
        ask(&by_client, "b", None, None).unwrap();
        ask(&by_client, "a", Some("k"), None).unwrap_err();
        let by_caller = limiter(&told("caller"));
        ask(&by_caller, "a", Some("k"), None).unwrap();
        ask(&by_caller, "b", Some("k"), None).unwrap_err();
        ask(&by_caller, "a", None, None).unwrap();
        // Nobody passes for an address by calling a key so.
        ask(&by_caller, "k", None, None).unwrap();
        let by_header = limiter(&told("header"));
        ask(&by_header, "a", None, Some("t")).unwrap();
        ask(&by_header, "a", None, Some("u")).unwrap();
        ask(&by_header, "b", None, Some("t")).unwrap_err();
        ask(&by_header, "a", None, None).unwrap();
        ask(&by_header, "b", None, None).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_forgets_nothing_and_keys_take_no_memory_without_end() {
        let told = json!({"requests": 1, "per_ms": 60_000, "burst": 2, "by": "client"});
        let before = limiter(&told);
        for _ in 0..2 {
            ask(&before, "a", None, None).unwrap();
        }
        let mut after = limiter(&told);
        after.succeed(&before);
        ask(&after, "a", None, None).unwrap_err();
        for client in 0..KEYS + 10 {
            let _ = ask(&after, &client.to_string(), None, None);
        }
        assert!(after.buckets.lock().unwrap().len() <= KEYS);
        // Who has nothing left still has nothing left.
        ask(&after, "a", None, None).unwrap_err();
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        for told in [
            json!({"requests": 0, "per_ms": 1, "burst": 1}),
            json!({"requests": 1, "per_ms": 0, "burst": 1}),
            json!({"requests": 1, "per_ms": 1, "burst": 1, "by": "header"}),
        ] {
            let told = serde_json::from_value(told).unwrap();
            assert!(Limiter::compile(told, "l").unwrap_err().starts_with('l'));
        }
    }
}
