//! Any bytes that an endpoint sends are a head that another reader frames the same way, or left alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelport_dataplane::gateway::read_plainly;

fuzz_target!(|bytes: &[u8]| {
    let (Some((head, length)), _) = read_plainly(bytes) else { return };
    let (head_bytes, rest) = bytes.split_at(head);
    // It ends where an empty line does, and the same head is read whatever follows, and not before it is whole.
    assert!(head_bytes.ends_with(b"\n\r\n") || head_bytes.ends_with(b"\n\n"));
    assert_eq!(read_plainly(head_bytes), (Some((head, length)), false));
    assert_eq!(read_plainly(&[head_bytes, b"HTTP/1.1 200 OK\r\n\r\n", rest].concat()), (Some((head, length)), false));
    for end in (0..head).rev().take(64) {
        assert_eq!(read_plainly(&bytes[..end]), (None, true), "{end}");
    }
    // One length, of digits alone, and no other framing.
    let text = String::from_utf8_lossy(head_bytes);
    let fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    let named = |wanted: &str| {
        let fields = fields.clone().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        fields.map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
    };
    let lengths = named("content-length");
    assert_eq!(lengths.len(), 1, "{text}");
    assert_eq!(lengths[0].parse(), Ok(length), "{text}");
    assert!(named("transfer-encoding").is_empty(), "{text}");
});
