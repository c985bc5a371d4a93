//! Which requests are recorded, and what goes on to the model.

use crate::collector::{counted, hex, settings, Collector, DROPPED, EXPORTED};
use crate::served::{call_grpc, grpc_row, post, server, BODY, INFER, PARENT, TRACE, UNSAMPLED};
use crate::support::{wait_for, Running};
use modelport_dataplane::trace::{Context, Root, Sampler};

#[test]
fn samplers_decide_as_the_specification_says() {
    use Root::{AlwaysOff, AlwaysOn, Ratio};
    let parent = |text: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        Context::of(&headers)
    };
    // Lower half 8448eb21…: about 0.52 of all.
    let trace_id = u128::from_str_radix(TRACE, 16).unwrap();
    let incoming = [None, parent(PARENT), parent(UNSAMPLED)];
    for (name, ratio, parent_based, root, decisions) in [
        ("always_on", None, false, AlwaysOn, [true; 3]),
        ("always_off", None, false, AlwaysOff, [false; 3]),
        ("traceidratio", Some("0.5"), false, Ratio(0.5), [false; 3]),
        ("traceidratio", Some("0.6"), false, Ratio(0.6), [true; 3]),
        ("traceidratio", None, false, Ratio(1.0), [true; 3]),
        ("parentbased_always_on", None, true, AlwaysOn, [true, true, false]),
        ("parentbased_always_off", None, true, AlwaysOff, [false, true, false]),
        ("parentbased_traceidratio", Some("0.5"), true, Ratio(0.5), [false, true, false]),
        ("parentbased_traceidratio", Some("0.6"), true, Ratio(0.6), [true, true, false]),
    ] {
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_SAMPLER", name)];
        variables.extend(ratio.map(|ratio| ("OTEL_TRACES_SAMPLER_ARG", ratio)));
        let sampler = settings(&variables).unwrap().unwrap().sampler;
        assert_eq!(sampler, Sampler { parent_based, root });
        assert_eq!(incoming.map(|parent| sampler.samples(parent, trace_id)), decisions, "{name} {ratio:?}");
    }
}

/// Decisions of `TraceIdRatioBased` of opentelemetry-sdk 1.45.2 for Python.
#[test]
fn ratios_agree_with_other_sdks() {
    for (ratio, trace_id, sampled) in [
        (0.0, 0xe8e2_5d94_0ed9_0475_0000_0000_0000_0000, false),
        (1e-9, 0xf28c_105d_1fb1_7c23_0000_0004_4b82_fa09, true),
        (1e-9, 0xa170_b338_3926_3059_0000_0004_4b82_fa0a, false),
        (0.01, 0x0fd6_30f1_f29d_0da9_953f_48f1_a09f_76b5, false),
        (0.01, 0x2217_bead_dbc4_96cb_028f_5c28_f5c2_8f5f, true),
        (0.01, 0x6b4c_b242_4a23_d596_028f_5c28_f5c2_8f60, false),
        (0.1, 0x3018_50c5_a38f_d547_1999_9999_9999_99ff, true),
        (0.1, 0x18f1_35d2_5f55_7203_1999_9999_9999_9a00, false),
        (0.25, 0x7731_af10_506b_f2ef_3fff_ffff_ffff_ffff, true),
        (0.25, 0xec66_a787_95e7_61d1_4000_0000_0000_0000, false),
        (0.5, 0x7ebf_f206_8673_4721_7fff_ffff_ffff_ffff, true),
        (0.5, 0x57ee_05cd_e009_02c7_8000_0000_0000_0000, false),
        (2.0 / 3.0, 0xeeea_cbe2_26e8_7555_aaaa_aaaa_aaaa_a7ff, true),
        (2.0 / 3.0, 0x6bf4_6c69_7d2c_af82_aaaa_aaaa_aaaa_a800, false),
        (0.999, 0x59a5_4a7b_b1fe_e08f_ffbe_76c8_b439_57ff, true),
        (0.999, 0x7f26_144b_9828_9fcd_ffbe_76c8_b439_5800, false),
        (1.0, 0x4f42_6dcb_b394_fb36_ffff_ffff_ffff_ffff, true),
    ] {
        let sampler = Sampler { parent_based: false, root: Root::Ratio(ratio) };
        assert_eq!(sampler.samples(None, trace_id), sampled, "{ratio} {trace_id:032x}");
    }
}

/// What a model sees of the trace, over REST or gRPC.
fn seen(running: &Running, grpc: bool, headers: &[(&str, &str)]) -> [Option<String>; 2] {
    if grpc {
        let (answer, _) = call_grpc(running.address, INFER, headers, &grpc_row("listener"));
        assert_eq!(answer["grpc-status"], "10");
        let message = answer["grpc-message"].to_str().unwrap();
        let plain = message.replace("%22", "\"").replace("%5B", "[").replace("%5D", "]");
        serde_json::from_str(&plain).unwrap()
    } else {
        let reply = post(running, "/v2/models/listener/infer", headers, BODY);
        serde_json::from_slice(&reply.body).unwrap()
    }
}

#[test]
fn a_model_sees_our_span_as_the_parent_of_what_it_asks() {
    for grpc in [false, true] {
        let collector = Collector::start();
        let running = server(Some(collector.settings(&[])));
        let given = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
        let [parent, state] = seen(&running, grpc, &given);
        let (span, _) = collector.only();
        assert_eq!(parent.unwrap(), format!("00-{TRACE}-{}-01", hex(&span.span_id)));
        assert_eq!(state.as_deref(), Some("a=1,b=2"));
        assert_eq!(span.trace_state, "a=1,b=2");

        // Not recorded, since the caller does not: the same trace goes on, and no span comes of it.
        let [parent, state] = seen(&running, grpc, &[("traceparent", UNSAMPLED), ("tracestate", "a=1")]);
        let parent = parent.unwrap();
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"), "{parent}");
        assert_ne!(parent, UNSAMPLED);
        assert_eq!(state.as_deref(), Some("a=1"));

        // A caller that cannot be understood begins nothing, and its state means nothing.
        let broken = PARENT.to_uppercase();
        let [parent, state] = seen(&running, grpc, &[("traceparent", &broken), ("tracestate", "a=1")]);
        let parent = parent.unwrap();
        assert!(!parent.contains(TRACE) && parent.ends_with("-01"), "{parent}");
        assert_eq!(state, None);
        let [parent, state] = seen(&running, grpc, &[]);
        assert!(parent.unwrap().ends_with("-01"));
        assert_eq!(state, None);
        wait_for("three spans", || collector.spans().iter().filter(|span| span.kind == 2).count() == 3);
    }
}

#[test]
fn without_tracing_the_headers_reach_the_model_as_they_came() {
    let running = server(None);
    for grpc in [false, true] {
        let odd = PARENT.to_uppercase();
        let given = [("traceparent", odd.as_str()), ("tracestate", "odd")];
        assert_eq!(seen(&running, grpc, &given), [Some(odd.clone()), Some("odd".to_owned())]);
        assert_eq!(seen(&running, grpc, &[]), [None, None]);
    }
    assert_eq!((counted(&running.server, DROPPED), counted(&running.server, EXPORTED)), (0, 0));
}
