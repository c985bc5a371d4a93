//! What a rule changes about requests and answers.

use super::mirror::Mirror;
use super::rewrite::{Redirect, Rewrite};
use super::table::{self, HeaderEdit};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// Edits of requests and of answers.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) request: Edit,
    pub(super) response: Edit,
    /// Instead of asking an endpoint.
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) mirrors: Vec<Mirror>,
}

/// An edit of headers, in the order set, add, remove.
#[derive(Debug, Default)]
pub(super) struct Edit {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Filters {
    pub(super) fn compile(
        filters: table::Filters,
        clusters: &BTreeMap<&str, usize>,
        at: &str,
    ) -> Result<Self, String> {
        let at = format!("{at}.filters");
        let redirect = filters.redirect.map(|told| Redirect::compile(told, &format!("{at}.redirect")));
        let rewrite = filters.rewrite.map(|told| Rewrite::compile(told, &format!("{at}.rewrite")));
        let mirrors = filters.mirrors.iter();
        Ok(Self {
            request: Edit::compile(filters.request_headers, &format!("{at}.request_headers"))?,
            response: Edit::compile(filters.response_headers, &format!("{at}.response_headers"))?,
            redirect: redirect.transpose()?,
            rewrite: rewrite.transpose()?,
            mirrors: mirrors
                .map(|told| Mirror::compile(told, clusters, &format!("{at}.mirrors")))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Edit {
    fn compile(edit: HeaderEdit, at: &str) -> Result<Self, String> {
        let name = |text: &str| match HeaderName::from_bytes(text.as_bytes()) {
            // They say how a message is framed and belong to the connection, not to the rule.
            Ok(name) if is_framing(&name) => Err(format!("{at}: {text} cannot be changed.")),
            Ok(name) => Ok(name),
            Err(_) => Err(format!("{at}: {text:?} is no header's name.")),
        };
        let pairs = |pairs: Vec<(String, String)>| {
            let pair = |(key, value): (String, String)| {
                let value = HeaderValue::try_from(value)
                    .map_err(|_| format!("{at}.{key}: the value has bytes that no header may have."))?;
                Ok((name(&key)?, value))
            };
            pairs.into_iter().map(pair).collect::<Result<Vec<_>, String>>()
        };
        Ok(Self {
            set: pairs(edit.set)?,
            add: pairs(edit.add)?,
            remove: edit.remove.iter().map(|text| name(text)).collect::<Result<_, _>>()?,
        })
    }

    /// It changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Carries it out.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "content-length" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn compile(edit: &Value) -> Result<Filters, String> {
        let filters = serde_json::from_value(json!({"request_headers": edit})).map_err(|e| e.to_string())?;
        Filters::compile(filters, &BTreeMap::new(), "rule")
    }

    #[test]
    fn headers_are_set_added_and_removed() {
        let edit = json!({"set": [["KServe-Isvc-Name", "iris"]], "add": [["x", "2"]], "remove": ["Y"]});
        let mut headers = HeaderMap::new();
        for (name, value) in [("kserve-isvc-name", "forged"), ("x", "1"), ("y", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        compile(&edit).unwrap().request.apply(&mut headers);
        assert_eq!(headers["kserve-isvc-name"], "iris");
        assert_eq!(headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(!headers.contains_key("y"));
    }

    #[test]
    fn framing_is_not_a_rules_to_change() {
        for edit in [json!({"set": [["Content-Length", "5"]]}), json!({"remove": ["transfer-encoding"]})] {
            assert!(compile(&edit).unwrap_err().contains("cannot be changed"));
        }
        assert!(compile(&json!({"add": [["a b", "c"]]})).unwrap_err().contains("is no header's name"));
        assert!(compile(&json!({"add": [["a", "b\nc"]]})).unwrap_err().contains("no header may have"));
    }
}
