//! The only module that decides whether a message may be sent again.
//!
//! A message and all its clones share one record, so retries for the credential, the session, the tools' headers, the
//! rate limit, the network and a sign-in count towards one total. Once the server may have executed a message, it is
//! never sent again, for any reason, unless the request only reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most sends of one message, for all reasons together.
pub const SENDS_LIMIT: u32 = 10;

/// Why a message may have to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The DPoP proof lacked the server's nonce (RFC 9449 section 9).
    Nonce,
    /// The server refused the token and a new one is available (401: RFC 6750 section 3.1).
    Token,
    /// The token lacked a scope and one with more scopes is available (403 `insufficient_scope`: RFC 6750 section 3.1).
    Scope,
    /// The user has signed in since the server refused the message.
    SignIn,
    /// The server ended the session and there is a new one (MCP 2025-11-25 transports, "Session Management").
    SessionLost,
    /// The server refused the mirrored headers (MCP 2026-07-28 transports, "Client Behavior").
    HeaderMismatch,
    /// The server limits the request rate (429: RFC 6585 section 4).
    RateLimited,
    /// No byte of the message was sent, or the server said that it did not process it (RFC 9113 section 8.7).
    NotSent,
    /// The outcome is unknown. Only for requests that change nothing on the server.
    Unknown,
}

impl Reason {
    const COUNT: usize = Self::Unknown as usize + 1;

    /// The most retries for this reason.
    const fn limit(self) -> u32 {
        match self {
            Self::Nonce | Self::Token | Self::Scope | Self::NotSent | Self::Unknown => 2,
            Self::SignIn | Self::SessionLost | Self::HeaderMismatch => 1,
            Self::RateLimited => 8,
        }
    }

    /// Whether a second retry for this reason directly after the first is pointless, because the server refused the new
    /// token or nonce too.
    const fn stops_after_one_retry(self) -> bool {
        matches!(self, Self::Nonce | Self::Token | Self::Scope)
    }
}

/// The sends and retries of one message. Clones share the record.
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
    /// Counts one send and returns whether the message may be sent. [`SENDS_LIMIT`] applies to every caller.
    pub fn send(&self) -> bool {
        let mut record = self.record();
        if record.sends >= SENDS_LIMIT {
            return false;
        }
        record.sends += 1;
        true
    }

    /// Records that the server may have executed the message, and that executing it twice would not be the same as
    /// once.
    pub fn may_have_run(&self) {
        self.record().may_have_run = true;
    }

    /// Whether the message may be sent again for this reason. If so, counts the retry.
    pub fn admit(&self, reason: Reason) -> bool {
        let mut record = self.record();
        let is_admitted = record.admits(reason);
        if is_admitted {
            record.spent[reason as usize] += 1;
            record.last = Some(reason);
        }
        is_admitted
    }

    /// Whether [`Attempts::admit`] would allow a retry.
    pub fn admits(&self, reason: Reason) -> bool {
        self.record().admits(reason)
    }

    /// The number of retries for this reason.
    pub fn spent(&self, reason: Reason) -> u32 {
        self.record().spent[reason as usize]
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn admits(&self, reason: Reason) -> bool {
        let is_repeated = reason.stops_after_one_retry() && self.last == Some(reason);
        !self.may_have_run && !is_repeated && self.sends < SENDS_LIMIT && self.spent[reason as usize] < reason.limit()
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
        /// a1: the total holds for any order of reasons, and a message that may have run is not sent again.
        #[test]
        fn a1_the_total_holds_for_any_reasons(
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

    /// a1: a retry for the credential is not repeated directly, because the server has refused the new credential too.
    #[test]
    fn a1_a_credential_retry_is_not_repeated_directly() {
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

    /// a1: the total also limits callers that never ask for a retry.
    #[test]
    fn a1_the_total_limits_every_caller() {
        let attempts = Attempts::default();
        assert_eq!((0..100).filter(|_| attempts.send()).count() as u32, SENDS_LIMIT);
        assert!(!attempts.admits(Reason::NotSent));
    }
}
