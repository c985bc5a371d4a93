//! What a request wants to do, as far as permissions go.

use crate::gateway::table::Verb;
use crate::gateway::target::percent;
use http::Method;

/// The verb of a request. Loading and unloading is `admin`, explaining is `explain`, all else is `predict`.
///
/// A path is looked at as lenient servers see it: percent-decoded, without matrix parameters (`/load;a=b`) and empty
/// segments, and in any case.
pub(in crate::gateway) fn of(method: &Method, path: &str) -> Verb {
    let path = percent::decode(path).to_ascii_lowercase();
    let bare = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let segments: Vec<&str> = bare.filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        // V2 and V1 repositories; their index is metadata.
        ["v2" | "v1", "repository" | "models", .., "load" | "unload"] => Verb::Admin,
        [service, "repositorymodelload" | "repositorymodelunload"] if service.starts_with("inference.") => {
            Verb::Admin
        }
        // KServe's V1 servers and Triton's extensions change state by these.
        ["v2", "logging" | "trace", ..] | ["v2", "models", _, "trace", ..] if method == Method::POST => {
            Verb::Admin
        }
        ["v2", "systemsharedmemory" | "cudasharedmemory", ..] if method == Method::POST => Verb::Admin,
        [.., last] if last.ends_with(":explain") || *last == "explain" => Verb::Explain,
        _ => Verb::Predict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_and_explaining_have_verbs_of_their_own() {
        for path in [
            "/v2/repository/models/m/load",
            "/v2/repository/models/m/unload",
            "/v2//repository/models/m/load/",
            "/v2/repo%73itory/models/m%2Fx/unload",
            "/v2/repository%2Fmodels/m/load",
            "/v2/repository/models/m/load;a=b",
            "/v2/repository/models/m/unload%3Ba",
            "/v2;a/;/repository/models/m/load",
            "/v1/models/m/load",
            "/inference.GRPCInferenceService/RepositoryModelLoad",
            "/inference.GRPCInferenceService/RepositoryModelUnload",
        ] {
            assert_eq!(of(&Method::POST, path), Verb::Admin, "{path}");
        }
        for path in [
            "/v1/models/m:explain",
            "/v1/models/m%3Aexplain",
            "/v1/models/m:explain;a",
            "/v2/models/m/explain",
        ] {
            assert_eq!(of(&Method::POST, path), Verb::Explain, "{path}");
        }
        for path in [
            "/v1/models/m:predict",
            "/v2/models/load/infer",
            "/v2/repository/index",
            "/inference.GRPCInferenceService/ModelInfer",
            "/openai/v1/chat/completions",
            "/",
        ] {
            assert_eq!(of(&Method::POST, path), Verb::Predict, "{path}");
        }
    }
}
