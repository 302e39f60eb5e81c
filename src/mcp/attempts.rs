//! The law of attempts: the one place that decides whether a message may be sent again.
//!
//! A message carries its record wherever it goes, and all its clones share it: what the credential, the session, the
//! tools' headers, the rate limit, the network and a sign-in cost counts together. After a delivery that the server may
//! have executed nothing is sent again, whatever the reason; a request that only reads is the exception.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often one message may be sent, for all reasons together.
pub const SENDS_LIMIT: u32 = 10;

/// Why a message may have to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The proof of the token's key lacked the server's nonce (RFC 9449 section 9).
    Nonce,
    /// The server refused the token, and there is another (401: RFC 6750 section 3.1).
    Token,
    /// The token lacked a scope, and there is a wider one (403 `insufficient_scope`: RFC 6750 section 3.1).
    Scope,
    /// A person has signed in since the message was refused.
    SignIn,
    /// The server had forgotten the session, and there is a new one (MCP 2025-11-25 transports, "Session Management").
    SessionLost,
    /// The server's tools wanted other headers (MCP 2026-07-28 transports, "Client Behavior").
    HeaderMismatch,
    /// The server limits the rate of requests (429: RFC 6585 section 4).
    RateLimited,
    /// No byte of the message was sent, or the server said that it did not process it (RFC 9113 section 8.7).
    NotSent,
    /// The outcome is unknown. Only for what changes nothing on the server.
    Unknown,
}

impl Reason {
    const COUNT: usize = Self::Unknown as usize + 1;

    /// How often a message is sent again for this reason.
    const fn limit(self) -> u32 {
        match self {
            Self::Nonce | Self::Token | Self::Scope | Self::NotSent | Self::Unknown => 2,
            Self::SignIn | Self::SessionLost | Self::HeaderMismatch => 1,
            Self::RateLimited => 8,
        }
    }

    /// Whether the same remedy twice in a row is of no use: the server refused what the first one brought.
    const fn is_spent_by_use(self) -> bool {
        matches!(self, Self::Nonce | Self::Token | Self::Scope)
    }
}

/// What was tried for one message. Clones are the same record.
#[derive(Debug, Clone, Default)]
pub struct Attempts(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    sends: u32,
    spent: [u32; Reason::COUNT],
    last: Option<Reason>,
    may_have_run: bool,
}

impl Attempts {
    /// Counts one send. Whether the message may go out: [`SENDS_LIMIT`] holds for every caller.
    pub fn send(&self) -> bool {
        let mut record = self.record();
        if record.sends >= SENDS_LIMIT {
            return false;
        }
        record.sends += 1;
        true
    }

    /// Takes note that the server may have executed what was sent last, and that a second execution would not be the
    /// same as one.
    pub fn may_have_run(&self) {
        self.record().may_have_run = true;
    }

    /// Whether the message may be sent again for this reason, which is then spent once more.
    pub fn admit(&self, reason: Reason) -> bool {
        let mut record = self.record();
        let is_admitted = record.admits(reason);
        if is_admitted {
            record.spent[reason as usize] += 1;
            record.last = Some(reason);
        }
        is_admitted
    }

    /// Whether [`Attempts::admit`] would say yes.
    pub fn admits(&self, reason: Reason) -> bool {
        self.record().admits(reason)
    }

    /// How often the message was sent again for this reason.
    pub fn spent(&self, reason: Reason) -> u32 {
        self.record().spent[reason as usize]
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn admits(&self, reason: Reason) -> bool {
        let is_vain = reason.is_spent_by_use() && self.last == Some(reason);
        !self.may_have_run && !is_vain && self.sends < SENDS_LIMIT && self.spent[reason as usize] < reason.limit()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REASONS: [Reason; Reason::COUNT] = [
        Reason::Nonce,
        Reason::Token,
        Reason::Scope,
        Reason::SignIn,
        Reason::SessionLost,
        Reason::HeaderMismatch,
        Reason::RateLimited,
        Reason::NotSent,
        Reason::Unknown,
    ];

    proptest! {
        /// a1: in whatever order the reasons come, the total holds, and after a doubtful delivery there is no other.
        #[test]
        fn a1_whatever_the_reasons_the_total_holds(
            steps in prop::collection::vec((0..Reason::COUNT, prop::bool::weighted(0.05)), 0..200),
        ) {
            let attempts = Attempts::default();
            let mut sends = 0;
            let mut doubtful = false;
            prop_assert!(attempts.send());
            for (reason, runs) in steps {
                if runs {
                    attempts.clone().may_have_run();
                    doubtful = true;
                }
                // A clone is the same record.
                if attempts.clone().admit(REASONS[reason]) {
                    prop_assert!(!doubtful);
                    prop_assert!(attempts.send());
                    sends += 1;
                }
            }
            prop_assert!(sends < SENDS_LIMIT);
        }
    }

    /// a1: the remedies for a credential help once: what they bring and is refused too is no better the second time.
    #[test]
    fn a1_the_same_remedy_does_not_follow_itself() {
        for reason in [Reason::Nonce, Reason::Token, Reason::Scope] {
            let attempts = Attempts::default();
            assert!(attempts.admit(reason));
            assert!(!attempts.admit(reason), "{reason:?}");
            assert!(attempts.admit(Reason::SignIn));
            assert!(attempts.admit(reason));
            assert_eq!(attempts.spent(reason), 2);
        }
    }

    /// a1: each reason has its own limit.
    #[test]
    fn a1_each_reason_has_its_limit() {
        for reason in REASONS {
            let attempts = Attempts::default();
            let mut admitted = 0;
            for _ in 0..100 {
                admitted += u32::from(attempts.admit(reason));
                attempts.record().last = None;
            }
            assert_eq!(admitted, reason.limit(), "{reason:?}");
        }
    }

    /// a1: nobody gets past the total, admitted or not.
    #[test]
    fn a1_the_total_stands_by_itself() {
        let attempts = Attempts::default();
        assert_eq!((0..100).filter(|_| attempts.send()).count() as u32, SENDS_LIMIT);
        assert!(!attempts.admits(Reason::NotSent));
    }
}
