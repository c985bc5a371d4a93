//! Any event is answered, and the answer is an event. Headers come first, a line each; an empty line
//! ends them.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::codec::cloudevents::{self, Settings};

fn headers(lines: &[u8]) -> HeaderMap {
    let pair = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value.get(1..)?).ok()?))
    };
    lines.split(|byte| *byte == b'\n').filter_map(pair).collect()
}

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(0);
    let (lines, body) = input.split_at(end);
    let body = Bytes::copy_from_slice(body);
    let Ok(Some(event)) = cloudevents::decode(&headers(lines), &body) else { return };
    let settings = Settings { merge: true, ..Settings::default() };
    let answer = |media: &str| cloudevents::encode(&event, &settings, "m", "1", "now", &event.data, media);
    for media in ["application/json", "text/plain"] {
        let (pairs, body) = answer(media);
        let pair = |(name, value): &(String, String)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        };
        let headers: HeaderMap = pairs.iter().map(pair).collect();
        let again = cloudevents::decode(&headers, &body).expect("an answer").expect("an event");
        assert_eq!(again.mode, event.mode);
        assert_eq!(again.attribute("subject"), event.attribute("subject"));
    }
});
