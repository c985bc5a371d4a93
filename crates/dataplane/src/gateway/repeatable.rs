//! What may be sent twice: asking a model again gives the same answer, so predict, infer and explain are
//! idempotent although they are POSTs. Streams and OpenAI's calls are not: half of an answer may be out.

use http::Method;

const GRPC: &str = "/inference.GRPCInferenceService/";

/// Whether this request may be sent again after its endpoint died.
pub(super) fn is_repeatable(method: &Method, path: &str, grpc: bool) -> bool {
    if grpc {
        return is_unary(path);
    }
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => !path.starts_with("/openai/"),
        Method::POST => {
            let last = path.rsplit('/').next().unwrap_or_default();
            let v1 = path.starts_with("/v1/models/") && (last.ends_with(":predict") || last.ends_with(":explain"));
            v1 || path.starts_with("/v2/models/") && matches!(last, "infer" | "explain")
        }
        _ => false,
    }
}

/// gRPC calls that have one message each way and change nothing.
fn is_unary(path: &str) -> bool {
    match path.strip_prefix(GRPC) {
        Some(call) => !matches!(call, "ModelStreamInfer" | "RepositoryModelLoad" | "RepositoryModelUnload"),
        None => path == "/grpc.health.v1.Health/Check",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inference_is_repeatable_and_all_else_that_changes_something_is_not() {
        for path in [
            "/v1/models/a:predict",
            "/v1/models/a:explain",
            "/v2/models/a/infer",
            "/v2/models/a/versions/2/infer",
            "/v2/models/a/explain",
        ] {
            assert!(is_repeatable(&Method::POST, path, false), "{path}");
            assert!(!is_repeatable(&Method::PUT, path, false), "{path}");
        }
        for path in [
            "/v2/repository/models/a/load",
            "/openai/v1/chat/completions",
            "/v1/chat/completions",
            "/v2/models/a/generate_stream",
            "/v1/models/a:predict/x",
            "/",
        ] {
            assert!(!is_repeatable(&Method::POST, path, false), "{path}");
        }
        assert!(is_repeatable(&Method::GET, "/v2/health/ready", false));
        assert!(!is_repeatable(&Method::GET, "/openai/v1/responses/1", false));
        assert!(is_repeatable(&Method::POST, "/inference.GRPCInferenceService/ModelInfer", true));
        for path in ["ModelStreamInfer", "RepositoryModelLoad", "RepositoryModelUnload"] {
            assert!(!is_repeatable(&Method::POST, &format!("{GRPC}{path}"), true), "{path}");
        }
        assert!(!is_repeatable(&Method::POST, "/my.Service/Call", true));
    }
}
