//! Keys that seal session tickets: shared by all shards and over reloads, rotated by the control
//! thread.
//!
//! ```text
//!   age of a key   0 ─────────── 6 h ──────────────────────── 18 h
//!                  │ seals, opens │ opens only                │ gone
//! ```
//! A ticket lives [`LIFETIME`], as clients are told. Whoever gets hold of a key reads the sessions of
//! at most [`ROTATE_EVERY`] (TLS 1.2; in TLS 1.3 not even those, as resumption exchanges keys anew)
//! and may pretend to be us for nobody: a ticket opens nothing but a session.
//!
//! What shards hold never changes and takes no lock: a rotation makes a new [`super::ServerTls`]
//! with other keys in it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use rustls::{Error as TlsError, server::ProducesTickets};

use super::server::Policy;

/// The ticket keys of each policy, so that no session passes from one to another.
#[derive(Debug, Clone, Default)]
pub struct TicketKeys(BTreeMap<Policy, Ring>);

/// One policy's keys, the newest first. Never empty.
#[derive(Debug, Clone)]
struct Ring {
    keys: Vec<Arc<Key>>,
    /// The configuration has this policy.
    is_used: bool,
}

impl TicketKeys {
    /// A configuration is made ready: what it doesn't ask for by [`of`](Self::of) is kept for its
    /// tickets, and gets no new keys.
    pub fn begin(&mut self) {
        for ring in self.0.values_mut() {
            ring.is_used = false;
        }
    }

    /// The keys of a policy, made now if there are none.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub(super) fn of(
        &mut self,
        policy: Policy,
        now: Instant,
    ) -> Result<Arc<dyn ProducesTickets>, TlsError> {
        let ring = match self.0.remove(&policy) {
            Some(mut ring) => {
                ring.rotate(now)?;
                Ring { is_used: true, ..ring }
            }
            None => Ring { keys: vec![Arc::new(Key::generate(now)?)], is_used: true },
        };
        let tickets = Tickets(ring.keys.clone());
        self.0.insert(policy, ring);
        Ok(Arc::new(tickets))
    }

    /// The keys of a policy as they are.
    pub(super) fn get(&self, policy: Policy) -> Option<Arc<dyn ProducesTickets>> {
        let ring = self.0.get(&policy)?;
        Some(Arc::new(Tickets(ring.keys.clone())))
    }

    /// Makes the keys that are due and drops those that are over; false when none was.
    ///
    /// # Errors
    /// The machine gives no random numbers; what was there is there still.
    pub fn rotate(&mut self, now: Instant) -> Result<bool, TlsError> {
        let mut is_changed = false;
        for ring in self.0.values_mut() {
            is_changed |= if ring.is_used { ring.rotate(now)? } else { ring.drop_old(now) };
        }
        self.0.retain(|_, ring| !ring.keys.is_empty());
        Ok(is_changed)
    }
}

impl Ring {
    fn rotate(&mut self, now: Instant) -> Result<bool, TlsError> {
        let is_due = self.keys.first().is_none_or(|key| key.age(now) >= ROTATE_EVERY);
        if is_due {
            self.keys.insert(0, Arc::new(Key::generate(now)?));
        }
        Ok(self.drop_old(now) || is_due)
    }

    fn drop_old(&mut self, now: Instant) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.age(now) < KEPT);
        self.keys.len() < before
    }
}

/// One key. A ticket is its name, a nonce, and the session sealed under both.
struct Key {
    name: [u8; NAME_BYTES],
    aead: RandomizedNonceKey,
    made_at: Instant,
}

impl Key {
    fn generate(made_at: Instant) -> Result<Self, TlsError> {
        let failed = |_| TlsError::FailedToGetRandomBytes;
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; SECRET_BYTES]);
        rand::fill(&mut name).map_err(failed)?;
        rand::fill(&mut secret).map_err(failed)?;
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &secret).map_err(failed)?;
        Ok(Self { name, aead, made_at })
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made_at)
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = session.to_vec();
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(&self.name), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let session = self.aead.open_in_place(nonce, Aad::from(&self.name), &mut sealed).ok()?;
        let length = session.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("made_at", &self.made_at).finish_non_exhaustive()
    }
}

/// Keys as a TLS configuration holds them, the newest first.
#[derive(Debug)]
struct Tickets(Vec<Arc<Key>>);

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.first()?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // Names are public, as tickets are.
        self.0.iter().find(|key| key.name == *name)?.open(nonce, sealed)
    }
}

/// How often a key is replaced.
pub const ROTATE_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How long a session may be resumed.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3_600);
/// The last ticket of a key is made at its replacement, and lives on.
const KEPT: Duration = Duration::from_secs(ROTATE_EVERY.as_secs() + LIFETIME.as_secs());
// RFC 8446 §4.6.1: seven days at most.
const _: () = assert!(KEPT.as_secs() <= 7 * 24 * 3_600);
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests;
