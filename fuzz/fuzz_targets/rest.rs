//! Any body, compressed or not, gets an answer over a real connection: the server's own errors never, words
//! where it is refused, and the same answer whether it came compressed or plain.
//!
//! The first byte names the route, the second how the body is compressed, the third whether the header that
//! tells JSON from binary is there (odd: its value is in the two bytes that follow), the rest is the body.
#![no_main]

#[path = "../../crates/dataplane/tests/support/mod.rs"]
mod support;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::Compression;
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{Answer, InferResponse, Payload};
use modelport_dataplane::model::Options;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{LazyLock, Mutex};
use support::{Client, Reply, Running, Setup};

/// Small, so that little input goes far beyond it.
const LIMIT: usize = 16 << 10;

const ROUTES: [&str; 7] = [
    "/v2/models/echo/infer",
    "/v1/models/echo:predict",
    "/v1/models/echo:explain",
    "/v2/repository/index",
    "/v2/repository/models/echo/load",
    "/v2/repository/models/echo/unload",
    "/v2/models/nobody/infer",
];

static SERVER: LazyLock<Running> = LazyLock::new(|| {
    let setup = Setup::with_limits(Limits { body_bytes: LIMIT, ..Limits::default() });
    setup.function("echo", Options { explains: true, ..Options::default() }, |call| {
        Ok(match &call.payload {
            Payload::Tensors(request) => {
                Answer::Tensors(InferResponse { outputs: request.inputs.clone(), ..InferResponse::default() })
            }
            Payload::Raw(body) => Answer::Raw {
                status: 200,
                content_type: "application/octet-stream".to_owned(),
                headers: Vec::new(),
                body: body.clone(),
            },
        })
    });
    setup.start()
});

/// Kept open from one request to the next, as long as the server does.
static CONNECTION: Mutex<Option<Client<TcpStream>>> = Mutex::new(None);

fn send(route: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut kept = CONNECTION.lock().expect("one thread");
    let mut client = kept.take().unwrap_or_else(|| SERVER.client());
    let reply = client.request("POST", route, headers, body);
    let said = String::from_utf8_lossy(&reply.body);
    assert!(reply.status < 500, "{route}: {} {said}", reply.status);
    if reply.status >= 400 {
        assert!(reply.json()["error"].as_str().is_some_and(|words| !words.is_empty()), "{said}");
    }
    if reply.header("connection") != Some("close") && reply.status < 400 {
        *kept = Some(client);
    }
    reply
}

/// The body, compressed by a client that knows how.
fn pack(how: u8, body: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let level = Compression::fast();
    Some(match how {
        1 => {
            let mut packer = GzEncoder::new(Vec::new(), level);
            packer.write_all(body).expect("memory");
            ("gzip", packer.finish().expect("memory"))
        }
        2 => {
            let mut packer = ZlibEncoder::new(Vec::new(), level);
            packer.write_all(body).expect("memory");
            ("deflate", packer.finish().expect("memory"))
        }
        3 => {
            let mut packer = DeflateEncoder::new(Vec::new(), level);
            packer.write_all(body).expect("memory");
            ("deflate", packer.finish().expect("memory"))
        }
        _ => return None,
    })
}

fuzz_target!(|input: &[u8]| {
    let [route, how, split, rest @ ..] = input else { return };
    let route = ROUTES[usize::from(*route) % ROUTES.len()];
    let (length, body) = match rest {
        [low, high, body @ ..] if split % 2 == 1 => {
            (Some(u16::from_le_bytes([*low, *high]).to_string()), body)
        }
        _ => (None, rest),
    };
    // Else the answer would name an id of its own.
    let mut headers = vec![("x-request-id", "r")];
    if let Some(length) = &length {
        headers.push(("inference-header-content-length", length.as_str()));
    }
    match how % 6 {
        0 => drop(send(route, &headers, body)),
        // Bytes of the fuzzer's own, which may be far more once they are inflated, or nonsense.
        how @ 4..=5 => {
            headers.push(("content-encoding", if how == 4 { "gzip" } else { "deflate" }));
            send(route, &headers, body);
        }
        how => {
            let plain = send(route, &headers, body);
            let Some((encoding, packed)) = pack(how, body) else { return };
            headers.push(("content-encoding", encoding));
            let unpacked = send(route, &headers, &packed);
            // Beyond the limit the words differ: a length is known, or is not.
            assert_eq!(plain.status, unpacked.status, "{route}, {encoding}");
            if plain.status != 413 {
                assert_eq!(plain.body, unpacked.body, "{route}, {encoding}");
            }
        }
    }
});
