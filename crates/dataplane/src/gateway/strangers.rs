//! Issuers whose tokens came with keys that are not known here: they may have begun to sign with a new one, and the
//! control plane, which asks for keys, is told so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// An issuer is named so often at most, whatever tokens come: anybody can make them.
const EVERY: Duration = Duration::from_secs(30);

/// Who was named, and when. Only issuers of the table are, so there are few.
#[derive(Debug)]
pub(super) struct Strangers {
    named: Mutex<BTreeMap<String, (u64, Instant)>>,
    count: watch::Sender<u64>,
}

impl Strangers {
    pub(super) fn new() -> Self {
        Self { named: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// A token of this issuer has come with an unknown key.
    pub(super) fn came(&self, issuer: &str) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if named.get(issuer).is_some_and(|(_, at)| now.saturating_duration_since(*at) < EVERY) {
            return;
        }
        let number = *self.count.borrow() + 1;
        named.insert(issuer.to_owned(), (number, now));
        // Behind the name: whoever sees the number finds it.
        self.count.send_replace(number);
    }

    /// The number of the last naming, now and when it rises.
    pub(super) fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Those that were named after this one.
    pub(super) fn since(&self, number: u64) -> Vec<String> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = named.iter().filter(|(_, (its, _))| *its > number);
        newer.map(|(issuer, _)| issuer.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_bad_tokens_names_their_issuer_once_in_a_while() {
        let strangers = Strangers::new();
        let count = strangers.count();
        for _ in 0..1000 {
            strangers.came("a");
        }
        assert_eq!((*count.borrow(), strangers.since(0)), (1, vec!["a".to_owned()]));
        strangers.came("b");
        assert_eq!((*count.borrow(), strangers.since(1)), (2, vec!["b".to_owned()]));
        tokio::time::advance(EVERY).await;
        strangers.came("a");
        assert_eq!((*count.borrow(), strangers.since(2)), (3, vec!["a".to_owned()]));
    }
}
