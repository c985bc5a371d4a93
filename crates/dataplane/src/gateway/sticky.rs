//! How clients stay where they were: by a cookie or a header that names their endpoint, or by a header's hash.

use super::cluster::{Cluster, Endpoint};
use super::rule::{Backend, Drawn, Rule};
use super::table::{self, StickyBy};
use http::header::{HeaderName, HeaderValue, COOKIE, SET_COOKIE};
use http::HeaderMap;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a rule says of it.
#[derive(Debug)]
pub(super) struct Sticky {
    by: StickyBy,
    name: String,
    header: Option<HeaderName>,
    max_age_s: Option<u64>,
}

impl Sticky {
    pub(super) fn compile(told: table::Sticky, at: &str) -> Result<Self, String> {
        let at = format!("{at}.sticky.name");
        let header = HeaderName::from_bytes(told.name.as_bytes());
        let header =
            header.map_err(|_| format!("{at}: {:?} is no name of a cookie or header.", told.name))?;
        let header = (told.by != StickyBy::Cookie).then_some(header);
        Ok(Self { by: told.by, name: told.name, header, max_age_s: told.max_age_s })
    }

    /// By what the backend is drawn; nothing where that is left to chance.
    pub(super) fn key(&self, headers: &HeaderMap) -> Option<u64> {
        if self.by != StickyBy::Hash {
            return None;
        }
        Some(fnv(headers.get(self.header.as_ref()?)?.as_bytes()))
    }

    /// The token of the endpoint where the client was, if it shows one.
    pub(super) fn shown<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        match self.by {
            StickyBy::Hash => None,
            StickyBy::Header => headers.get(self.header.as_ref()?)?.to_str().ok(),
            StickyBy::Cookie => headers
                .get_all(COOKIE)
                .iter()
                .filter_map(|line| line.to_str().ok())
                .flat_map(|line| line.split(';'))
                .filter_map(|pair| pair.trim().split_once('='))
                .find_map(|(name, value)| (name == self.name).then_some(value)),
        }
    }

    /// Tells the client where it is, unless it knows.
    pub(super) fn tell(
        &self,
        known: Option<&str>,
        cluster: &Cluster,
        endpoint: &Endpoint,
        headers: &mut HeaderMap,
    ) {
        let token = token(cluster, endpoint);
        if self.by == StickyBy::Hash || self.by == StickyBy::Cookie && known == Some(token.as_str()) {
            return;
        }
        if let (StickyBy::Header, Some(name)) = (self.by, &self.header) {
            if let Ok(value) = HeaderValue::try_from(token) {
                headers.insert(name.clone(), value);
            }
            return;
        }
        let mut cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Lax", self.name);
        if let Some(seconds) = self.max_age_s {
            let _ = write!(cookie, "; Max-Age={seconds}");
        }
        if let Ok(value) = HeaderValue::try_from(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// What stands for an endpoint: it says nothing of its address to whoever does not know that already.
pub(super) fn token(cluster: &Cluster, endpoint: &Endpoint) -> String {
    let mut hasher = Fnv::default();
    cluster.name.hash(&mut hasher);
    endpoint.address.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The endpoint of the cluster with this token, if it takes requests.
pub(super) fn find(cluster: &Cluster, shown: &str) -> Option<Arc<Endpoint>> {
    let mut endpoints = cluster.endpoints().into_iter();
    endpoints.find(|endpoint| !endpoint.refuses() && token(cluster, endpoint) == shown)
}

/// Where a client was: the backend of the rule, and the endpoint, if they still take requests.
pub(super) fn back<'a>(
    rule: &'a Rule,
    clusters: &[Arc<Cluster>],
    shown: &str,
) -> Option<(Drawn<'a>, Arc<Endpoint>)> {
    rule.shares().find_map(|drawn| {
        let Backend::Cluster(number) = drawn.backend else { return None };
        Some((drawn, find(clusters.get(number)?, shown)?))
    })
}

/// FNV-1a with a last mix: the same in every process, so that all gateways agree.
#[derive(Default)]
struct Fnv(Option<u64>);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let begun = self.0.unwrap_or(0xcbf2_9ce4_8422_2325);
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = Some(bytes.iter().fold(begun, hash));
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0.unwrap_or_default();
        mixed ^= mixed >> 33;
        mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 33;
        mixed
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    let mut hasher = Fnv::default();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::SocketAddr;

    fn cluster(name: &str, ports: &[u16]) -> Cluster {
        let cluster = Cluster::new(name);
        let addresses: Vec<SocketAddr> = ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect();
        cluster.update(&serde_json::from_str("{}").unwrap(), &addresses);
        cluster
    }

    fn sticky(by: &str, name: &str) -> Sticky {
        Sticky::compile(serde_json::from_value(json!({"by": by, "name": name})).unwrap(), "r").unwrap()
    }

    #[test]
    fn a_cookie_leads_back_to_its_endpoint() {
        let (one, other) = (cluster("n/a:80", &[1, 2, 3]), cluster("n/b:80", &[1]));
        let sticky = sticky("cookie", "s");
        for endpoint in one.endpoints() {
            let mut answer = HeaderMap::new();
            sticky.tell(None, &one, &endpoint, &mut answer);
            let cookie = answer[SET_COOKIE].to_str().unwrap();
            assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
            let mut asked = HeaderMap::new();
            let line = format!("x=y; {}; z", cookie.split(';').next().unwrap());
            asked.insert(COOKIE, line.parse().unwrap());
            let shown = sticky.shown(&asked).unwrap();
            assert_eq!(find(&one, shown).unwrap().address, endpoint.address);
            assert!(find(&other, shown).is_none());
            // Who knows is not told again.
            let mut answer = HeaderMap::new();
            sticky.tell(Some(shown), &one, &endpoint, &mut answer);
            assert!(answer.is_empty());
        }
        assert!(find(&one, "0").is_none());
    }

    #[test]
    fn a_hash_is_spread_evenly_and_stays() {
        let sticky = sticky("hash", "x-user");
        let key = |user: u32| {
            let mut headers = HeaderMap::new();
            headers.insert("x-user", user.to_string().parse().unwrap());
            sticky.key(&headers).unwrap()
        };
        let first = (0..10_000).filter(|user| key(*user) % 100 < 90).count();
        assert!((8_800..9_200).contains(&first), "{first}");
        assert_eq!(key(7), key(7));
        assert!(sticky.key(&HeaderMap::new()).is_none());
    }
}
