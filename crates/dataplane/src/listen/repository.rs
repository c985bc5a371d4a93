//! The model repository extension.

use super::accept::Port;
use super::reply::{self, Reply};
use super::rest::Exchange;
use crate::error::{Error, Kind, Result};
use crate::model::{self, Operation};
use crate::tensor::{Param, Params};
use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::{json, Value};

/// `POST /v2/repository/index`, with Triton's `{"ready": true}` for those that serve.
pub(super) async fn index(exchange: &mut Exchange<'_>) -> Result<Response<Reply>> {
    #[derive(Default, Deserialize)]
    struct Asked {
        #[serde(default)]
        ready: bool,
    }
    let body = exchange.options().await?;
    let asked: Asked = parse(&body)?;
    let mut entries = exchange.shared.server.repository.index();
    if asked.ready {
        entries.retain(|entry| entry.state == "READY");
    }
    Ok(reply::json(&entries))
}

/// `POST /v2/repository/models/{m}/load`
pub(super) async fn load(exchange: &mut Exchange<'_>, port: Port, name: &str) -> Result<Response<Reply>> {
    let parameters = parameters(exchange, port).await?;
    finish(exchange.shared.server.repository.load(name.to_owned(), parameters)).await?;
    Ok(reply::json(&json!({"name": name, "load": true})))
}

/// `POST /v2/repository/models/{m}/unload`
pub(super) async fn unload(exchange: &mut Exchange<'_>, port: Port, name: &str) -> Result<Response<Reply>> {
    let parameters = parameters(exchange, port).await?;
    finish(exchange.shared.server.repository.unload(name.to_owned(), parameters)).await?;
    Ok(reply::json(&json!({"name": name, "unload": true})))
}

/// A client that goes away must not leave a model half loaded: the operation runs to its end.
async fn finish(operation: Operation) -> Result<()> {
    tokio::spawn(operation)
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "The operation on the repository broke off.")))
}

async fn parameters(exchange: &mut Exchange<'_>, port: Port) -> Result<Params> {
    #[derive(Default, Deserialize)]
    struct Asked {
        #[serde(default)]
        parameters: serde_json::Map<String, Value>,
    }
    let body = exchange.options().await?;
    let asked: Asked = parse(&body)?;
    let mut params = Params::new();
    for (name, value) in asked.parameters {
        let param = match value {
            Value::Bool(value) => Param::Bool(value),
            Value::String(value) => Param::Str(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Param::Int(whole),
                (None, Some(value)) => Param::Double(value),
                (None, None) => return Err(bad_parameter(&name, &Value::Number(number))),
            },
            other => return Err(bad_parameter(&name, &other)),
        };
        params.push((name, param));
    }
    if port != Port::Control {
        model::check_parameters(&params)?;
    }
    Ok(params)
}

fn bad_parameter(name: &str, value: &Value) -> Error {
    Error::invalid(format!("parameters.{name}: must be a boolean, number or string, got {value}."))
}

fn parse<T: Default + for<'a> Deserialize<'a>>(body: &Bytes) -> Result<T> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // Else serde takes a list for an object, its elements in the order of the fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid("The body must be a JSON object or empty."));
    }
    serde_json::from_slice(body)
        .map_err(|error| Error::invalid(format!("The body must be a JSON object or empty: {error}.")))
}
