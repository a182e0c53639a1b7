//! Who has signed in, as this member knows from the entries that it has applied. No part of the
//! replicated state: how long a token lives depends on when it is used here. So a member that
//! starts again has forgotten them, as etcd's has, and clients sign in again.

use std::collections::BTreeMap;
use std::time::Duration;

use env::Moment;

/// Tokens at a time; beyond it the oldest goes.
const TOKENS_MAX: usize = 65_536;

/// One who has signed in.
#[derive(Debug)]
struct Token {
    digest: [u8; 32],
    user: String,
    /// `None` until somebody with a clock looks: apply has none.
    used_at: Option<Moment>,
}

/// Tokens by the index of the entry that made them.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<u64, Token>);

impl Tokens {
    pub(crate) fn insert(&mut self, index: u64, digest: [u8; 32], user: String) {
        self.0.insert(index, Token { digest, user, used_at: None });
        if self.0.len() > TOKENS_MAX {
            self.0.pop_first();
        }
    }

    /// Whose a token is. Using it gives it its whole time again.
    pub(crate) fn user(
        &mut self,
        index: u64,
        digest: &[u8; 32],
        now: Moment,
        ttl: Duration,
    ) -> Option<String> {
        let token = self.0.get_mut(&index)?;
        let is_fresh = token.used_at.is_none_or(|used_at| now.since(used_at) < ttl);
        if token.digest != *digest || !is_fresh {
            return None;
        }
        token.used_at = Some(now);
        Some(token.user.clone())
    }

    /// Forgets tokens that nobody used for so long.
    pub(crate) fn expire(&mut self, now: Moment, ttl: Duration) {
        self.0.retain(|_, token| now.since(*token.used_at.get_or_insert(now)) < ttl);
    }

    pub(crate) fn forget_user(&mut self, user: &str) {
        self.0.retain(|_, token| token.user != user);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn at(secs: u64) -> Moment {
        Moment::default().after(Duration::from_secs(secs))
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let mut tokens = Tokens::default();
        tokens.insert(7, [1; 32], "alice".to_owned());
        let mut user = |index, digest: u8, secs| tokens.user(index, &[digest; 32], at(secs), TTL);
        assert_eq!(user(7, 1, 0).as_deref(), Some("alice"));
        assert_eq!(user(7, 1, 299).as_deref(), Some("alice"));
        assert_eq!(user(7, 1, 598).as_deref(), Some("alice"), "each use gives it all its time");
        assert_eq!(user(7, 2, 599), None, "not its secret");
        assert_eq!(user(8, 1, 599), None, "not its index");
        assert_eq!(user(7, 1, 898), None, "300 seconds without use");
    }

    #[test]
    fn a_token_that_nobody_uses_goes() {
        let mut tokens = Tokens::default();
        tokens.insert(7, [1; 32], "alice".to_owned());
        tokens.expire(at(1000), TTL);
        assert_eq!(tokens.0.len(), 1, "its time begins when it is first looked at");
        tokens.expire(at(1299), TTL);
        assert_eq!(tokens.0.len(), 1);
        tokens.expire(at(1300), TTL);
        assert_eq!(tokens.0.len(), 0);
    }

    #[test]
    fn tokens_are_bounded_in_number() {
        let mut tokens = Tokens::default();
        for index in 0..=TOKENS_MAX as u64 {
            tokens.insert(index, [1; 32], "alice".to_owned());
        }
        assert_eq!(tokens.0.len(), TOKENS_MAX);
        assert_eq!(tokens.user(0, &[1; 32], at(0), TTL), None, "the oldest went");
    }
}
