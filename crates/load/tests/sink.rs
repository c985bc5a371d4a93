//! The load generator against its own sink, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use modelport_load::drive::{self, Pace, Times};
use modelport_load::exchange::Expect;
use modelport_load::grpc::{frame, Call, Channel, Stream};
use modelport_load::rest::{prebuild, Connection};
use modelport_load::sink;
use modelport_load::tally::{Report, Tally};
use modelport_load::target::Target;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const TIMES: Times =
    Times { warmup: Duration::ZERO, duration: Duration::from_secs(1), grace: Duration::from_secs(5) };
const OPEN: Pace = Pace::Open { rate: 500.0, seed: 1 };

async fn started() -> Outcome<SocketAddr> {
    let listener = sink::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    tokio::spawn(sink::serve(listener));
    Ok(address)
}

async fn rest(address: SocketAddr, pace: Pace, expect: Expect) -> Outcome<Report> {
    let target = Target::parse(&format!("http://{address}/v2/models/m/infer"))?;
    let request = prebuild(&target, &[], Some(&vec![b'x'; 100_000]));
    let workers = (0..4).map(|_| Connection::new(target.clone(), request.clone(), expect.clone())).collect();
    let tally = Arc::new(Tally::new()?);
    let window = drive::run(workers, pace, TIMES, &tally).await;
    Ok(tally.report(window, matches!(pace, Pace::Open { .. })))
}

async fn grpc(address: SocketAddr, expect: Expect) -> Outcome<Report> {
    let target = Target::parse(&format!("http://{address}"))?;
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/grpc".parse()?);
    // Larger than HTTP/2's default window, so that flow control has a say.
    let message = frame(&vec![7; 600_000]).ok_or("too long")?;
    let call = Arc::new(Call::new(target, "a.Service/Method", headers, message, expect)?);
    let channels = [Arc::new(Channel::new(Arc::clone(&call))), Arc::new(Channel::new(call))];
    let workers = channels.iter().cycle().take(8).map(|channel| Stream::new(Arc::clone(channel))).collect();
    let tally = Arc::new(Tally::new()?);
    let window = drive::run(workers, Pace::Closed, TIMES, &tally).await;
    Ok(tally.report(window, false))
}

#[tokio::test]
async fn rest_is_answered_in_both_loops() -> Outcome<()> {
    let address = started().await?;
    for pace in [Pace::Closed, OPEN] {
        let report = rest(address, pace, Expect::part(b"\"data\":[0.0]")).await?;
        assert!(report.requests > 0, "{report:?}");
        assert_eq!(report.errors, 0, "{report:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_answer_is_never_a_success() -> Outcome<()> {
    let address = started().await?;
    for report in [
        rest(address, Pace::Closed, Expect::part(b"\"data\":[1.0]")).await?,
        grpc(address, Expect::Equal(Bytes::from_static(b"something"))).await?,
    ] {
        assert_eq!(report.requests, 0, "{report:?}");
        assert_eq!(report.errors_by_kind.keys().collect::<Vec<_>>(), ["wrong_body"]);
    }
    Ok(())
}

#[tokio::test]
async fn grpc_is_answered() -> Outcome<()> {
    let report = grpc(started().await?, Expect::Equal(Bytes::new())).await?;
    assert!(report.requests > 0, "{report:?}");
    assert_eq!(report.errors, 0, "{report:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() -> Outcome<()> {
    let listener = sink::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    drop(listener);
    let report = rest(address, Pace::Closed, Expect::Any).await?;
    assert_eq!(report.errors_by_kind.keys().collect::<Vec<_>>(), ["connect"]);
    Ok(())
}
