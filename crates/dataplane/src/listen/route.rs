//! Method and path to a route. Pure; the order of the arms is the order of the protocol's documents.

use crate::message::Verb;
use http::Method;
use std::borrow::Cow;
use std::fmt::Write as _;

/// A model in a path, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Name of the model.
    pub(super) name: Cow<'a, str>,
    /// `versions/{v}`, where the path has it.
    pub(super) version: Option<Cow<'a, str>>,
}

/// What is wanted of a model under `/v2/models/{m}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    /// Its metadata.
    Metadata,
    /// Whether it serves.
    Ready,
    /// A prediction.
    Infer,
    /// Triton's model configuration.
    Config,
    /// Triton's statistics.
    Stats,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `GET /`
    Alive,
    /// `GET /metrics`
    Metrics,
    /// `GET /docs`
    Docs,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /v1/models`
    V1Models,
    /// `GET /v1/models/{m}`
    V1Ready(Cow<'a, str>),
    /// `POST /v1/models/{m}:predict` and `:explain`
    V1Call(Cow<'a, str>, Verb),
    /// `GET /v2`
    V2Server,
    /// `GET /v2/health/live`
    V2Live,
    /// `GET /v2/health/ready`
    V2Ready,
    /// `GET /v2/models`
    V2Models,
    /// `/v2/models/{m}[/versions/{v}][/…]`
    V2Model(Target<'a>, Aspect),
    /// `POST /v2/repository/index`
    Index,
    /// `POST /v2/repository/models/{m}/load`
    Load(Cow<'a, str>),
    /// `POST /v2/repository/models/{m}/unload`
    Unload(Cow<'a, str>),
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// No route has this path.
    Path,
    /// The path has a route for these methods only.
    Method(&'static str),
    /// A percent-escape in the path is broken or no UTF-8.
    Escape,
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";

impl<'a> Route<'a> {
    /// The route of a request.
    pub(super) fn parse(method: &Method, path: &'a str) -> Result<Self, Miss> {
        let route = Self::of_path(path)?;
        let allow = match &route {
            Self::V1Call(..)
            | Self::V2Model(_, Aspect::Infer)
            | Self::Index
            | Self::Load(_)
            | Self::Unload(_) => POST,
            _ => GET,
        };
        let fits = match *method {
            Method::POST => allow == POST,
            Method::GET | Method::HEAD => allow == GET,
            _ => false,
        };
        if fits {
            Ok(route)
        } else {
            Err(Miss::Method(allow))
        }
    }

    fn of_path(path: &'a str) -> Result<Self, Miss> {
        let path = match path.strip_prefix('/') {
            Some(rest) => rest.strip_suffix('/').unwrap_or(rest),
            None => return Err(Miss::Path),
        };
        // `/v2/models/…` first: it is the hot one.
        if let Some(rest) = path.strip_prefix("v2/models/") {
            return v2_model(rest);
        }
        if let Some(rest) = path.strip_prefix("v1/models/") {
            return v1_model(rest);
        }
        if let Some(rest) = path.strip_prefix("v2/repository/models/") {
            return match rest.split_once('/') {
                Some((name, "load")) => Ok(Self::Load(decode(name)?)),
                Some((name, "unload")) => Ok(Self::Unload(decode(name)?)),
                _ => Err(Miss::Path),
            };
        }
        match path {
            "" => Ok(Self::Alive),
            "metrics" => Ok(Self::Metrics),
            "docs" => Ok(Self::Docs),
            "openapi.json" => Ok(Self::OpenApi),
            "v1/models" => Ok(Self::V1Models),
            "v2" => Ok(Self::V2Server),
            "v2/health/live" => Ok(Self::V2Live),
            "v2/health/ready" => Ok(Self::V2Ready),
            "v2/models" => Ok(Self::V2Models),
            "v2/repository/index" => Ok(Self::Index),
            _ => Err(Miss::Path),
        }
    }
}

fn v1_model(rest: &str) -> Result<Route<'_>, Miss> {
    if rest.contains('/') {
        return Err(Miss::Path);
    }
    match rest.rsplit_once(':') {
        Some((name, "predict")) => Ok(Route::V1Call(decode(name)?, Verb::Predict)),
        Some((name, "explain")) => Ok(Route::V1Call(decode(name)?, Verb::Explain)),
        _ => Ok(Route::V1Ready(decode(rest)?)),
    }
}

fn v2_model(rest: &str) -> Result<Route<'_>, Miss> {
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (version, rest) = match rest.strip_prefix("versions/") {
        None => (None, rest),
        Some(rest) => {
            let (version, rest) = rest.split_once('/').unwrap_or((rest, ""));
            (Some(decode(version)?), rest)
        }
    };
    let aspect = match rest {
        "" => Aspect::Metadata,
        "infer" => Aspect::Infer,
        "ready" => Aspect::Ready,
        "config" => Aspect::Config,
        "stats" => Aspect::Stats,
        _ => return Err(Miss::Path),
    };
    Ok(Route::V2Model(Target { name: decode(name)?, version }, aspect))
}

/// A path segment without its percent-escapes.
fn decode(segment: &str) -> Result<Cow<'_, str>, Miss> {
    if segment.is_empty() {
        return Err(Miss::Path);
    }
    if memchr::memchr(b'%', segment.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let &[high, low, ref after @ ..] = after else { return Err(Miss::Escape) };
            decoded.push(hex(high)? << 4 | hex(low)?);
            rest = after;
        } else {
            decoded.push(first);
            rest = after;
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Miss::Escape)
}

fn hex(digit: u8) -> Result<u8, Miss> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Miss::Escape),
    }
}

const TEMPLATES: [(&str, &str); 23] = [
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/models/{model}:predict"),
    ("POST", "/v1/models/{model}:explain"),
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/models"),
    ("GET", "/v2/models/{model}"),
    ("GET", "/v2/models/{model}/ready"),
    ("POST", "/v2/models/{model}/infer"),
    ("GET", "/v2/models/{model}/config"),
    ("GET", "/v2/models/{model}/stats"),
    ("GET", "/v2/models/{model}/versions/{version}"),
    ("GET", "/v2/models/{model}/versions/{version}/ready"),
    ("POST", "/v2/models/{model}/versions/{version}/infer"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/{model}/load"),
    ("POST", "/v2/repository/models/{model}/unload"),
];

/// The sentence for a path without a route: what came, and the routes that look like it.
pub(super) fn describe_miss(method: &Method, path: &str) -> String {
    let shown: String = path.chars().take(200).collect();
    let mut text = format!("No route {method} {shown}.");
    let mut close: Vec<(usize, &(&str, &str))> =
        TEMPLATES.iter().map(|template| (distance(&shown, template.1), template)).collect();
    close.sort_by_key(|(distance, _)| *distance);
    let best = close.first().map_or(usize::MAX, |first| first.0);
    if best > 4 {
        text.push_str(" The protocols begin at /v1/models and /v2.");
        return text;
    }
    text.push_str(" Close to it:");
    for (index, (_, (method, template))) in
        close.iter().filter(|(distance, _)| *distance <= best + 1).take(3).enumerate()
    {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma} {method} {template}");
    }
    text.push('.');
    text
}

/// How far a path is from a template: edits within segments, two for a segment too many or missing.
fn distance(path: &str, template: &str) -> usize {
    let path: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let template: Vec<&str> = template.split('/').filter(|segment| !segment.is_empty()).collect();
    let edits: usize = path.iter().zip(&template).map(|(one, other)| segment_distance(one, other)).sum();
    edits + 2 * path.len().abs_diff(template.len())
}

fn segment_distance(segment: &str, template: &str) -> usize {
    match (template.split_once(':'), segment.rsplit_once(':')) {
        (Some((_, verb)), Some((_, given))) => edits(given, verb),
        (Some(_), None) => 4,
        (None, Some(_)) if template.starts_with('{') => 3,
        _ if template.starts_with('{') => 0,
        _ => edits(segment, template),
    }
}

/// Levenshtein distance of two short words; words that differ much in length are just far.
fn edits(one: &str, other: &str) -> usize {
    if one.len().abs_diff(other.len()) > 6 {
        return 9;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut last = index + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(other.bytes()) {
            let next =
                (diagonal + usize::from(!left.eq_ignore_ascii_case(&right))).min(last + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, next);
            last = next;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target<'a>(name: &'a str, version: Option<&'a str>) -> Target<'a> {
        Target { name: name.into(), version: version.map(Cow::Borrowed) }
    }

    #[test]
    fn every_template_has_its_route_and_no_other_verb() {
        for (method, template) in TEMPLATES {
            let path = template.replace("{model}", "m").replace("{version}", "3");
            let method: Method = method.parse().expect("a method");
            assert!(Route::parse(&method, &path).is_ok(), "{method} {path}");
            assert!(matches!(Route::parse(&Method::DELETE, &path), Err(Miss::Method(_))), "{path}");
            assert_eq!(Route::parse(&method, &format!("{path}/nothing/at/all")), Err(Miss::Path));
        }
    }

    #[test]
    fn names_and_versions_are_decoded() {
        let parse = |path| Route::parse(&Method::POST, path);
        assert_eq!(
            parse("/v2/models/a%2Fb%20c/infer"),
            Ok(Route::V2Model(target("a/b c", None), Aspect::Infer))
        );
        assert_eq!(
            parse("/v2/models/m/versions/v%31/infer"),
            Ok(Route::V2Model(target("m", Some("v1")), Aspect::Infer))
        );
        assert_eq!(parse("/v1/models/a:b:predict"), Ok(Route::V1Call("a:b".into(), Verb::Predict)));
        assert_eq!(parse("/v1/models/%E4%BD%A0:explain"), Ok(Route::V1Call("你".into(), Verb::Explain)));
        assert_eq!(parse("/v2/models/%zz/infer"), Err(Miss::Escape));
        assert_eq!(parse("/v2/models/%4/infer"), Err(Miss::Escape));
        assert_eq!(parse("/v2/models/%ff/infer"), Err(Miss::Escape));
        assert_eq!(parse("/v2/models//infer"), Err(Miss::Path));
        assert_eq!(parse("/v2/models/m/versions//infer"), Err(Miss::Path));
        assert_eq!(parse("/v1/models/:predict"), Err(Miss::Path));
    }

    #[test]
    fn a_miss_names_close_routes() {
        let text = describe_miss(&Method::POST, "/v2/model/iris/infer");
        assert!(
            text.starts_with(
                "No route POST /v2/model/iris/infer. Close to it: POST /v2/models/{model}/infer"
            ),
            "{text}"
        );
        let text = describe_miss(&Method::POST, "/v1/models/iris:predic");
        assert!(text.contains("POST /v1/models/{model}:predict"), "{text}");
        let text = describe_miss(&Method::GET, "/some/thing/entirely/different");
        assert!(text.contains("/v1/models and /v2"), "{text}");
    }

    proptest! {
        #[test]
        fn any_path_gets_an_answer(path in "(/[a-z0-9%:{}é]{0,6}){0,6}") {
            if Route::parse(&Method::GET, &path) == Err(Miss::Path) {
                prop_assert!(describe_miss(&Method::GET, &path).contains("No route"));
            }
        }
    }
}
