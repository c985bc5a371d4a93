//! Lines for stderr that never make the I/O thread wait: a bounded channel and a thread that writes.
//! When the channel is full, lines are dropped and counted.

use crate::model::Server;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;
use std::time::Duration;

const ROOM: usize = 4096;

/// Writes lines to stderr.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// A log whose thread writes to stderr. The receiver ends when the thread has written everything.
    pub(crate) fn start(server: &Arc<Server>) -> io::Result<(Self, Receiver<()>)> {
        let server = Arc::clone(server);
        Self::to(io::stderr(), move |lost| server.metrics.log_lines_dropped(lost))
    }

    pub(crate) fn to(
        mut out: impl Write + Send + 'static,
        lost_lines: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, Receiver<()>)> {
        let (lines, queued) = sync_channel::<String>(ROOM);
        let (alive, ended) = sync_channel::<()>(0);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new().name("modelport-log".to_owned()).spawn(move || {
            let _alive = alive;
            let mut batch = String::new();
            while let Ok(line) = queued.recv() {
                batch.clear();
                batch.push_str(&line);
                batch.push('\n');
                for line in queued.try_iter().take(256) {
                    batch.push_str(&line);
                    batch.push('\n');
                }
                let lost = counter.swap(0, Ordering::Relaxed);
                lost_lines(lost);
                match lost {
                    0 => {}
                    lost => {
                        let _ = writeln!(batch, "modelport: {lost} log lines were dropped");
                    }
                }
                // A closed stderr is no reason to stop serving.
                let _ = out.write_all(batch.as_bytes());
            }
        })?;
        Ok((Self { lines, dropped }, ended))
    }

    /// Writes a line, or drops it when the writer is behind.
    pub(crate) fn line(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the operator of something odd.
    pub(crate) fn warn(&self, text: impl std::fmt::Display) {
        self.line(format!("modelport: {text}"));
    }
}

/// Gives the writer's thread a moment to write what is left.
pub(crate) fn finish(log: Log, ended: &Receiver<()>) {
    drop(log);
    let _ = ended.recv_timeout(Duration::from_secs(1));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, Sender};

    struct Slow(Receiver<()>, Sender<String>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_writer_blocks_nobody_and_the_loss_is_told() {
        let (gate, open) = channel();
        let (seen, written) = channel();
        let (log, ended) = Log::to(Slow(open, seen), |_| {}).expect("a thread");
        for index in 0..ROOM * 2 {
            log.line(index.to_string());
        }
        drop(gate); // every write goes through now
        drop(log);
        assert!(ended.recv_timeout(Duration::from_secs(30)).is_err());
        let all: String = written.try_iter().collect();
        assert!(all.starts_with("0\n"));
        assert!(all.contains("log lines were dropped"), "{}", all.len());
    }
}
