//! Any `traceparent` is read or left alone, and one that was read is written as it came.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::trace::context::{Context, TRACEPARENT};

fn read(text: &[u8]) -> Option<Context> {
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, HeaderValue::from_bytes(text).ok()?);
    Context::of(&headers)
}

fuzz_target!(|text: &[u8]| {
    let Some(context) = read(text) else { return };
    assert!(context.trace_id != 0 && context.span_id != 0, "ids of zero name nothing");
    let written = context.traceparent();
    assert_eq!(read(written.as_bytes()), Some(context));
    // Version and unknown flags are ours; the ids are the caller's.
    assert_eq!(written.as_bytes().get(3..52), text.get(3..52));
});
