//! Signals: the way to end, and to open the access log anew.

use super::run::Gateway;
use std::future::pending;
use std::io;
use tokio::signal::unix::{signal, Signal, SignalKind};

/// What the process is told by signals.
pub(super) struct Signals(Option<[Signal; 3]>);

enum Told {
    End,
    Reopen,
}

impl Signals {
    pub(super) fn listen(wanted: bool) -> io::Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        Ok(Self(Some([terminate?, interrupt?, hangup?])))
    }

    async fn next(&mut self) -> Told {
        let Some([terminate, interrupt, hangup]) = &mut self.0 else { return pending().await };
        tokio::select! {
            biased;
            _ = terminate.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
            _ = hangup.recv() => Told::Reopen,
        }
    }

    /// Waits for the signal to end; the access log is opened anew meanwhile.
    pub(super) async fn end(&mut self, gateway: &Gateway) {
        loop {
            match (self.next().await, &gateway.access) {
                (Told::End, _) => return,
                (Told::Reopen, Some(access)) => access.reopen(),
                (Told::Reopen, None) => {}
            }
        }
    }
}
