//! The table in force: read, checked as a whole, then swapped in at once.

use super::auth::Auth;
use super::cluster::Cluster;
use super::limit::Limiter;
use super::metrics::{Metrics, Service};
use super::names::{self, Names};
use super::route::Routes;
use super::table::{self, Table, TlsName};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A table that can be used. Making one changes nothing yet.
#[derive(Debug)]
pub struct Checked {
    version: u64,
    routes: Routes,
    clusters: Vec<(String, table::Cluster, Vec<SocketAddr>)>,
    auth: Option<Auth>,
    tls: Vec<TlsName>,
    names: Names,
}

/// The table in force.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) version: u64,
    pub(super) routes: Routes,
    pub(super) clusters: Vec<Arc<Cluster>>,
    /// The service of each route.
    pub(super) services: Vec<Arc<Service>>,
    pub(super) auth: Option<Auth>,
    pub(super) names: Names,
    /// There has been a table.
    pub(super) told: bool,
}

impl Checked {
    /// Reads a table. The error is a sentence that says where it is broken.
    pub fn decode(content: &[u8]) -> Result<Self, String> {
        let table: Table = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let numbers = table.clusters.keys().enumerate().map(|(number, name)| (name.as_str(), number));
        let routes = Routes::compile(table.routes, &numbers.collect::<BTreeMap<_, _>>())?;
        let auth = table.auth.map(Auth::compile).transpose()?;
        names::check(&table.tls)?;
        let mut clusters = Vec::with_capacity(table.clusters.len());
        for (name, cluster) in table.clusters {
            let mut seen = HashSet::new();
            let mut addresses = Vec::with_capacity(cluster.endpoints.len());
            for text in &cluster.endpoints {
                let address: SocketAddr = text.parse().map_err(|_| {
                    format!("clusters[{name}].endpoints: must be address:port, got {text:?}.")
                })?;
                if seen.insert(address) {
                    addresses.push(address);
                }
            }
            clusters.push((name, cluster, addresses));
        }
        Ok(Self { version: table.version, routes, clusters, auth, tls: table.tls, names: Names::default() })
    }

    /// Reads its certificates, but those that `before` has already. The error is a sentence.
    pub(super) fn load(&mut self, folder: &Path, before: &Names) -> Result<(), String> {
        self.names = Names::load(&self.tls, folder, before)?;
        Ok(())
    }

    /// Its version.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What of it is left out, and why: the names of routes, each with a sentence.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.routes.problems.iter().map(|problem| (problem.route.as_str(), problem.message.as_str()))
    }

    /// Whether a public request for this host and path has a rule. For fuzzing.
    #[doc(hidden)]
    pub fn fits(&self, host: &str, path: &str, query: Option<&str>) -> bool {
        let path = super::target::clean(path);
        let headers = http::HeaderMap::new();
        let asked = super::route::Asked {
            side: super::route::Side::Public,
            host,
            port: None,
            path: &path,
            query,
            method: &http::Method::POST,
            headers: &headers,
        };
        let _ = super::auth::verb_of(&http::Method::POST, &path);
        let Some(found) = self.routes.find(&asked) else { return false };
        let key = found.rule.sticky.as_ref().and_then(|sticky| sticky.key(&headers));
        let Some(drawn) = found.rule.draw(key) else { return false };
        let way = super::way::Way::new(&found, drawn.filters);
        let target = http::uri::PathAndQuery::try_from(&*path);
        let Some(target) = target.ok().filter(|target| target.path().starts_with('/')) else { return true };
        // What is made of a good path is a good path.
        if let Some(changed) = way.path(&target) {
            assert!(changed.path().starts_with('/'), "{changed}");
        }
        let mut request = http::Request::new(());
        way.shape(&mut request);
        way.answer(request.headers_mut());
        for filters in way.filters() {
            let _ = filters.mirrors.iter().filter(|mirror| mirror.draw()).count();
        }
        true
    }

    /// Whom these credentials let in to predict: nobody where they are not needed. The error is a sentence.
    /// For fuzzing.
    #[doc(hidden)]
    pub fn admits(&self, mut headers: http::HeaderMap, service: &str) -> Result<Option<String>, String> {
        let shown = super::auth::take(&mut headers);
        let Some(auth) = &self.auth else { return Ok(None) };
        let now = std::time::SystemTime::now();
        match auth.admit(shown.as_deref(), service, table::Verb::Predict, now, &|_| {}) {
            Ok(caller) => Ok(caller.map(|caller| caller.id.clone())),
            Err(refusal) => Err(refusal.message),
        }
    }
}

impl Live {
    /// No table yet: nothing is routed.
    pub(super) fn empty() -> Self {
        Self {
            version: 0,
            routes: Routes::default(),
            clusters: Vec::new(),
            services: Vec::new(),
            auth: None,
            names: Names::default(),
            told: false,
        }
    }

    /// The table that follows this one. Clusters that both have go on with their connections and counts.
    /// The endpoints change with this call; those of clusters that are gone go with `bury`, after the swap.
    pub(super) fn succeed(&self, checked: Checked, metrics: &Metrics) -> Self {
        let mut clusters = Vec::with_capacity(checked.clusters.len());
        for (name, told, addresses) in &checked.clusters {
            let known = self.clusters.iter().find(|cluster| cluster.name == *name);
            let cluster = known.map_or_else(|| Arc::new(Cluster::new(name)), Arc::clone);
            cluster.update(told, addresses);
            clusters.push(cluster);
        }
        let mut routes = checked.routes;
        let before: HashMap<&str, &Limiter> = (self.routes.all.iter())
            .filter_map(|route| Some((route.name.as_str(), route.limiter.as_ref()?)))
            .collect();
        for route in &mut routes.all {
            if let (Some(limiter), Some(before)) = (&mut route.limiter, before.get(route.name.as_str())) {
                limiter.succeed(before);
            }
        }
        let services = routes.all.iter().map(|route| metrics.service(&route.service)).collect();
        Self {
            version: checked.version,
            routes,
            clusters,
            services,
            auth: checked.auth,
            names: checked.names,
            told: true,
        }
    }

    /// Ends the clusters that `next` does not have any more.
    pub(super) fn bury(&self, next: &Self) {
        for cluster in &self.clusters {
            if !next.clusters.iter().any(|other| Arc::ptr_eq(other, cluster)) {
                cluster.remove();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_the_platform_writes_it() {
        // As `src/modelport/wire/table.py` encodes it.
        let content = br#"{"auth":null,"clusters":{"default/iris-predictor:80":{"endpoints":["127.77.0.5:8080","[::1]:8080"],
            "hold_limit":1000,"hold_ms":60000,"protocol":"auto"}},"routes":[{"hosts":["iris-default.example.com"],
            "internal":false,"name":"default/iris","rules":[{"backend_timeout_ms":null,"backends":[
            {"cluster":"default/iris-predictor:80","failure":null,"weight":1}],"filters":{"request_headers":
            {"add":[],"remove":[],"set":[["KServe-Isvc-Name","iris"]]},"response_headers":{"add":[],"remove":[],
            "set":[]}},"matches":[{"headers":[],"method":null,"path":{"type":"prefix","value":"/"},"query":[]}],
            "retry":true,"timeout_ms":60000}],"service":"default/iris"}],"tls":[{"certificates":[{"file":
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","secret":"kserve/shop"}],
            "host":"*.shop.example","listener":"kserve/g/shop"}],"version":17}"#;
        let checked = Checked::decode(content).unwrap();
        assert_eq!(checked.version(), 17);
        assert!(checked.fits("iris-default.example.com", "/v1/models/iris:predict", None));
        assert!(!checked.fits("other", "/", None));
    }

    #[test]
    fn a_broken_table_says_where() {
        let cluster = |json: &str| format!(r#"{{"version": 1, "clusters": {{"c": {json}}}}}"#);
        for (content, words) in [
            ("{".to_owned(), "EOF"),
            ("{}".to_owned(), "missing field `version`"),
            (r#"{"version": -1}"#.to_owned(), "invalid value: integer `-1`"),
            (cluster(r#"{"endpoints": ["localhost:80"]}"#), "clusters[c].endpoints: must be address:port"),
            (cluster(r#"{"protocol": "spdy"}"#), "unknown variant `spdy`"),
            (r#"{"version": 1, "routez": []}"#.to_owned(), "unknown field `routez`"),
        ] {
            let said = Checked::decode(content.as_bytes()).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
