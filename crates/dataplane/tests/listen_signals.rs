//! SIGTERM, in a process of its own: signals are everybody's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use modelport_dataplane::listen::Ended;
use std::process::Command;
use support::{row, Setup};

#[test]
fn sigterm_drains() {
    let mut setup = Setup::new();
    setup.sum(None);
    setup.config.signals = true;
    let running = setup.start();
    assert_eq!(running.post("/v2/models/sum/infer", &row([1.0; 4])).status, 200);
    let killed = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(running.ended(), Ended::Drained);
}
