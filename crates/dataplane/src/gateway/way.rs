//! The way that was chosen for a request: its rule, the backend's own filters, and what they change.

use super::filter::Filters;
use super::route::Found;
use super::rule::Rule;
use http::header::{HeaderValue, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, Version};

/// One way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) rule: &'a Rule,
    backend: Option<&'a Filters>,
    prefix: Option<&'a str>,
}

impl<'a> Way<'a> {
    pub(super) fn new(found: &Found<'a>, backend: Option<&'a Filters>) -> Self {
        Self { rule: found.rule, backend, prefix: found.prefix }
    }

    /// The rule's filters, then the backend's.
    pub(super) fn filters(&self) -> impl Iterator<Item = &'a Filters> {
        std::iter::once(&self.rule.filters).chain(self.backend)
    }

    /// The path that the endpoint sees, where it is another than the client's.
    pub(super) fn path(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        // Both would replace the client's path; the backend's own is meant more.
        let rewrites = self.filters().filter_map(|filters| filters.rewrite.as_ref());
        rewrites.filter_map(|rewrite| rewrite.path(target, self.prefix)).last()
    }

    /// Whether the endpoint sees another request than the client's.
    pub(super) fn changes_requests(&self) -> bool {
        self.filters().any(|filters| filters.rewrite.is_some() || !filters.request.is_empty())
    }

    /// Makes the request the one that the endpoint is to see.
    pub(super) fn shape<B>(&self, request: &mut Request<B>) {
        for rewrite in self.filters().filter_map(|filters| filters.rewrite.as_ref()) {
            let Some(host) = &rewrite.host else { continue };
            if request.version() == Version::HTTP_2 {
                let mut parts = request.uri().clone().into_parts();
                parts.authority = Some(host.clone());
                // Whole before, whole after.
                *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
            } else if let Ok(value) = HeaderValue::try_from(host.as_str()) {
                request.headers_mut().insert(HOST, value);
            }
        }
        for filters in self.filters() {
            filters.request.apply(request.headers_mut());
        }
    }

    /// Changes an answer's headers: first what the backend's filters say, then the rule's, as it passes them.
    pub(super) fn answer(&self, headers: &mut HeaderMap) {
        if let Some(filters) = self.backend {
            filters.response.apply(headers);
        }
        self.rule.filters.response.apply(headers);
    }
}
