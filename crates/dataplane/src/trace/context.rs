//! W3C Trace Context, level 2: the headers `traceparent` and `tracestate`.

use http::HeaderMap;

/// The header with the ids.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what vendors add.
pub const TRACESTATE: &str = "tracestate";

/// `sampled`, and level 2's `random`; flags of later levels are not passed on.
const SAMPLED: u8 = 1;
const KNOWN_FLAGS: u8 = 3;
/// What a `tracestate` may hold at most.
const MOST_MEMBERS: usize = 32;
/// As long a `tracestate` must be passed on; of a longer one the last members go.
const STATE_LENGTH: usize = 512;

/// A span as others refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Id of the trace; never 0.
    pub trace_id: u128,
    /// Id of the span; never 0.
    pub span_id: u64,
    /// The flags that we know.
    pub flags: u8,
}

impl Context {
    /// The caller's span. Nothing where the headers name none, more than one, or a malformed one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Self::parse(only.as_bytes()),
            _ => None,
        }
    }

    /// A `traceparent`. Version 00 ends after the flags; later ones may go on after a dash.
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(55)?;
        let [v0, v1, b'-', head @ ..] = head else { return None };
        let version = hex(&[*v0, *v1])?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (trace_id, head) = head.split_at_checked(32)?;
        let (span_id, flags) = head.strip_prefix(b"-")?.split_at_checked(16)?;
        let context = Self {
            trace_id: hex(trace_id)?,
            span_id: hex(span_id)? as u64,
            flags: hex(flags.strip_prefix(b"-")?)? as u8 & KNOWN_FLAGS,
        };
        (fits && context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// Whether the caller records its span.
    pub fn sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same span, recorded or not.
    pub(super) fn with_sampled(self, sampled: bool) -> Self {
        Self { flags: self.flags & !SAMPLED | u8::from(sampled), ..self }
    }

    /// As a `traceparent`.
    pub fn traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// Lower-case hexadecimal digits, and nothing else.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// The caller's `tracestate`, its header lines joined; empty where there is none or one is malformed. It
/// means nothing without a `traceparent`.
pub(super) fn state(headers: &HeaderMap) -> String {
    let mut state = String::new();
    let (mut count, mut full) = (0, false);
    for line in headers.get_all(TRACESTATE) {
        let Ok(line) = line.to_str() else { return String::new() };
        for member in line.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue; // allowed
            }
            count += 1;
            if count > MOST_MEMBERS || !is_member(member) {
                return String::new();
            }
            full |= state.len() + member.len() >= STATE_LENGTH;
            if !full {
                if !state.is_empty() {
                    state.push(',');
                }
                state.push_str(member);
            }
        }
    }
    state
}

/// `key=value` as section 3.3.1.3 has it.
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let starts = key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let of_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let of_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    starts
        && key.len() <= 256
        && key.bytes().all(of_key)
        && !value.is_empty()
        && value.len() <= 256
        && value.bytes().all(of_value)
}

/// Puts a span into the headers that a model sees, in place of the caller's.
pub(super) fn write(context: Context, state: &str, headers: &mut Vec<(String, String)>) {
    headers.retain(|(name, _)| name != TRACEPARENT && name != TRACESTATE);
    headers.push((TRACEPARENT.to_owned(), context.traceparent()));
    if !state.is_empty() {
        headers.push((TRACESTATE.to_owned(), state.to_owned()));
    }
}

/// The trace that the headers name, as the access log spells it.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    Context::of(headers).map(|context| spell(context.trace_id))
}

/// A trace id in its usual spelling.
pub fn spell(trace_id: u128) -> String {
    format!("{trace_id:032x}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn parent(value: &str) -> Option<Context> {
        Context::of(&headers(&[(TRACEPARENT, value)]))
    }

    #[test]
    fn a_traceparent_is_taken_as_the_specification_says() {
        let good = parent(GOOD).unwrap();
        assert_eq!(good.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(good.span_id, 0xb7ad_6b71_6920_3331);
        assert!(good.sampled());
        assert_eq!(good.traceparent(), GOOD);
        // Later versions, known by what they share with this one; unknown flags are dropped.
        assert_eq!(parent(&GOOD.replace("00-0a", "01-0a")), Some(good));
        assert_eq!(parent(&(GOOD.replace("00-0a", "cc-0a") + "-what-comes")), Some(good));
        assert_eq!(parent(&GOOD.replace("31-01", "31-fd")), Some(good));
        assert_eq!(parent(&GOOD.replace("31-01", "31-03")).unwrap().flags, 3);
        for bad in [
            "",
            "00",
            &GOOD.replace("00-0a", "ff-0a"),
            &GOOD.replace("00-0a", "0x-0a"),
            &(GOOD.to_owned() + "-more"),
            &(GOOD.to_owned() + "0"),
            &(GOOD.replace("00-0a", "01-0a") + "x"),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &GOOD[..54],
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033310-01",
        ] {
            assert_eq!(parent(bad), None, "{bad}");
        }
        assert_eq!(Context::of(&headers(&[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)])), None);
    }

    #[test]
    fn a_tracestate_is_joined_bounded_and_dropped_when_malformed() {
        let of = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| (TRACESTATE, *line)).collect();
            state(&headers(&lines))
        };
        assert_eq!(of(&["a=1, b@c=2", "ot=th:c"]), "a=1,b@c=2,ot=th:c");
        assert_eq!(of(&["a=1,,\t, b=x y"]), "a=1,b=x y");
        assert_eq!(of(&[]), "");
        for bad in ["a", "a=", "=1", "A=1", "a=1=2", "a b=1", "a=é", &format!("a={}", "x".repeat(257))] {
            assert_eq!(of(&["z=1", bad]), "", "{bad}");
        }
        let many: Vec<String> = (0..33).map(|index| format!("k{index}=v")).collect();
        assert_eq!(of(&[&many.join(",")]), "");
        assert_eq!(of(&[&many[..32].join(",")]), many[..32].join(","));
        let long = format!("a={0},b={0},c=longer,d=1", "x".repeat(250));
        assert_eq!(of(&[&long]), format!("a={0},b={0}", "x".repeat(250)));
    }

    proptest! {
        #[test]
        fn any_header_is_survived(text in "[ -~]{0,70}", random in proptest::collection::vec(33u8..127, 0..80)) {
            let _ = Context::parse(text.as_bytes());
            let _ = Context::parse(&random);
            let _ = state(&headers(&[(TRACESTATE, &text)]));
        }

        #[test]
        fn what_is_written_is_read_again(trace_id in 1u128.., span_id in 1u64.., flags in 0u8..4) {
            let context = Context { trace_id, span_id, flags };
            prop_assert_eq!(parent(&context.traceparent()), Some(context));
        }
    }
}
