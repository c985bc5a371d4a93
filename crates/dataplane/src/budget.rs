//! Memory for request bodies: what all requests of a server may hold together.
//!
//! The limit of one body says nothing of a thousand of them. A body is refused before it is read where its length
//! is known and there is no room for it; what is held counts as it comes, so that a claim alone takes nothing away
//! from others.

use crate::error::{Error, Kind, Result};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

/// What may be held, and what is.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    used: AtomicUsize,
}

impl Budget {
    /// So many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0) })
    }

    /// Bytes that requests hold now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn refusal(&self, bytes: usize) -> Error {
        let (used, most) = (self.used(), self.most);
        let text = format!(
            "There is no room for a body of {bytes} bytes now: requests under way hold {used} of {most} bytes. Ask again later."
        );
        Error::new(Kind::Overloaded, text)
    }
}

/// What one request holds; given back with it.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

impl Share {
    /// Of nothing yet.
    pub fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), held: AtomicUsize::new(0) }
    }

    /// Refuses what would not fit now; holds nothing.
    pub fn check(&self, bytes: usize) -> Result<()> {
        if self.budget.used().saturating_add(bytes) > self.budget.most {
            return Err(self.budget.refusal(bytes));
        }
        Ok(())
    }

    /// Holds so many bytes more.
    pub fn more(&self, bytes: usize) -> Result<()> {
        let before = self.budget.used.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.budget.most {
            self.budget.used.fetch_sub(bytes, Relaxed);
            return Err(self.budget.refusal(self.held.load(Relaxed).saturating_add(bytes)));
        }
        self.held.fetch_add(bytes, Relaxed);
        Ok(())
    }

    /// Gives so many bytes back, or all where it is fewer.
    pub fn less(&self, bytes: usize) {
        let mut given = 0;
        let _ = self.held.fetch_update(Relaxed, Relaxed, |held| {
            given = held.min(bytes);
            Some(held - given)
        });
        self.budget.used.fetch_sub(given, Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.held.get_mut(), Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back() {
        let budget = Budget::new(100);
        let (one, other) = (Share::of(&budget), Share::of(&budget));
        one.more(60).expect("room");
        other.check(40).expect("room");
        other.more(40).expect("room");
        let refused = one.more(1).expect_err("full");
        assert_eq!(refused.kind, Kind::Overloaded);
        assert!(refused.message.contains("61 bytes") && refused.message.contains("100 of 100"), "{refused}");
        one.less(10);
        assert_eq!(budget.used(), 90);
        one.less(1000);
        drop(other);
        assert_eq!(budget.used(), 0);
        one.more(100).expect("room");
        drop(one);
        assert_eq!(budget.used(), 0);
    }
}
