//! What proves a password with SCRAM, and from which it cannot be read: RFC 5802, in the form of RFC 5803.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use virt_util::{Result, VirtError};

/// Entries that would take longer are refused: PLAIN makes the daemon do the work.
const ITERATIONS_MAX: u32 = 10_000_000;

/// What RFC 7677 wants at least.
const ITERATIONS_MIN: u32 = 4_096;

/// The length of new salts in bytes.
pub(super) const SALT_LENGTH: usize = 16;

/// A hash that SCRAM is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// SHA-1: still sound in this use, for old clients.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// All, best first.
    pub const ALL: [Self; 3] = [Self::Sha512, Self::Sha256, Self::Sha1];

    /// The mechanism's name.
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The hash of the mechanism of that name.
    pub fn of_mechanism(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.mechanism() == name)
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    pub(super) fn length(self) -> usize {
        self.digest().output_len()
    }
}

/// What proves a password with one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// The hash of the mechanism.
    pub hash: Hash,
    /// How often it is applied.
    pub iterations: u32,
    /// What is mixed in.
    pub salt: Vec<u8>,
    /// Knows the right password.
    pub stored_key: Vec<u8>,
    /// Proves to the client that we know it too.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// For a new password, with a new salt.
    pub fn new(hash: Hash, password: &str, iterations: u32) -> Result<Self> {
        let mut salt = vec![0; SALT_LENGTH];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| VirtError::internal("the system has no random numbers"))?;
        Ok(Self::derive(
            hash,
            prepared(password).as_bytes(),
            salt,
            iterations,
        ))
    }

    pub(super) fn derive(hash: Hash, password: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        let mut salted = vec![0; hash.length()];
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(hash.pbkdf2(), rounds, &salt, password, &mut salted);
        let key = hmac::Key::new(hash.hmac(), &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        Self {
            hash,
            iterations,
            salt,
            stored_key: digest::digest(hash.digest(), client_key.as_ref())
                .as_ref()
                .to_vec(),
            server_key: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
        }
    }

    /// Whether this is the password. As expensive as the iterations make it.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = Self::derive(self.hash, password, self.salt.clone(), self.iterations);
        let differing = given
            .stored_key
            .iter()
            .zip(&self.stored_key)
            .fold(0, |differing, (a, b)| differing | (a ^ b));
        differing == 0 && given.stored_key.len() == self.stored_key.len()
    }

    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut parts = text.split('$');
        let (mechanism, info, keys) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(mechanism), Some(info), Some(keys), None) => (mechanism, info, keys),
            _ => return Err("expected USER:MECHANISM$ITERATIONS:SALT$STORED-KEY:SERVER-KEY".to_owned()),
        };
        let hash = Hash::of_mechanism(mechanism).ok_or_else(|| {
            format!("unknown mechanism '{mechanism}', expected SCRAM-SHA-256, SCRAM-SHA-512 or SCRAM-SHA-1")
        })?;
        let (iterations, salt) = info.split_once(':').ok_or("expected ITERATIONS:SALT")?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|number| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(number))
            .ok_or_else(|| {
                format!(
                    "{iterations} iterations, expected a number from {ITERATIONS_MIN} to {ITERATIONS_MAX}"
                )
            })?;
        let bytes = |what: &str, text: &str| {
            BASE64
                .decode(text)
                .map_err(|error| format!("the {what} is not in base 64: {error}"))
        };
        let (stored_key, server_key) = keys.split_once(':').ok_or("expected STORED-KEY:SERVER-KEY")?;
        let verifier = Self {
            hash,
            iterations,
            salt: bytes("salt", salt)?,
            stored_key: bytes("stored key", stored_key)?,
            server_key: bytes("server key", server_key)?,
        };
        if verifier.salt.is_empty() {
            return Err("the salt is empty".to_owned());
        }
        for key in [&verifier.stored_key, &verifier.server_key] {
            if key.len() != hash.length() {
                return Err(format!(
                    "a key of {} bytes, {mechanism} has {}",
                    key.len(),
                    hash.length()
                ));
            }
        }
        Ok(verifier)
    }

    pub(super) fn format(&self) -> String {
        format!(
            "{}${}:{}${}:{}",
            self.hash.mechanism(),
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(&self.stored_key),
            BASE64.encode(&self.server_key)
        )
    }
}

/// A password as SASL wants it compared (SASLprep). One that has characters which are not allowed there stays as it is.
pub fn prepared(password: &str) -> String {
    stringprep::saslprep(password).map_or_else(|_| password.to_owned(), |text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange in RFC 7677: user "user", password "pencil".
    #[test]
    fn keys_are_those_of_the_standard() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive(Hash::Sha256, b"pencil", salt, 4096);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server = hmac::Key::new(hmac::HMAC_SHA256, &verifier.server_key);
        let signature = hmac::sign(&server, auth_message.as_bytes());
        assert_eq!(
            BASE64.encode(signature.as_ref()),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        assert!(verifier.accepts(b"pencil"));
        assert!(!verifier.accepts(b"pen"));
    }
}
