//! Who a client is, and how it proves that.
//!
//! | module | for |
//! |---|---|
//! | [`identity`] | what is known of a client: its process, its certificate, its SASL name |
//! | [`sasl`], [`passwords`], [`verifier`] | SASL, the file of users, and what proves their passwords |
//! | [`cyrus`] | SASL users and mechanisms of an installation of libvirt |
//! | [`polkit`] | asking polkit about a process |
//! | [`tls`], [`dn`] | the TLS server and the names in certificates |
//!
//! [`Negotiation`] is one client's way through the procedures that are allowed before authentication. Whatever goes
//! wrong there, the client hears "authentication failed" and the log the reason.

pub mod cyrus;
pub mod dn;
pub mod identity;
pub mod passwords;
pub mod polkit;
pub mod sasl;
pub mod tls;
pub mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use virt_api::protocol::remote::{
    AuthListReply, AuthPolkitReply, AuthSaslInitReply, AuthSaslStartArgs, AuthSaslStartReply,
    AuthSaslStepArgs, AuthSaslStepReply, AuthType, procedure,
};
use virt_api::protocol::table;
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use self::identity::ClientIdentity;
use self::passwords::PasswordFile;
use self::polkit::{Interaction, Polkit, Verdict};
use self::sasl::{Channel, Exchange, Failure, Reply, Sasl};
use crate::config::{Auth, DaemonConfig, Role};

/// Attempts of one client before its connection should end.
const ATTEMPTS: u32 = 5;

/// What proving needs besides the client.
#[derive(Debug)]
pub struct AuthServices {
    /// SASL, with its users.
    pub sasl: Arc<Sasl>,
    /// polkit.
    pub polkit: Arc<Polkit>,
}

impl AuthServices {
    /// As the configuration wants it, with the SASL users in the file `users`.
    pub fn new(config: &DaemonConfig, users: PathBuf, polkit: Arc<Polkit>) -> Self {
        Self {
            sasl: Arc::new(Sasl {
                users: PasswordFile::new(users),
                mechanisms: config.sasl_mechanisms.clone(),
                allowed: config.sasl_allowed_username_list.clone(),
                min_ssf: config.min_ssf(),
            }),
            polkit,
        }
    }
}

/// Where the SASL users are if the configuration does not say.
pub fn default_password_file(role: &Role) -> PathBuf {
    role.config_dir()
        .unwrap_or_else(|| "/etc/libvirt".into())
        .join("passwd.scram")
}

/// One client's way to being known.
pub struct Negotiation {
    services: Arc<AuthServices>,
    method: Auth,
    channel: Channel,
    read_only: bool,
    exchange: Option<Exchange>,
    attempts_left: u32,
    done: bool,
}

impl Negotiation {
    /// For a client of a socket with that method. Where the method is none, it is done at once.
    pub fn new(services: Arc<AuthServices>, method: Auth, channel: Channel, read_only: bool) -> Self {
        Self {
            services,
            method,
            channel,
            read_only,
            exchange: None,
            attempts_left: ATTEMPTS,
            done: method == Auth::None,
        }
    }

    /// Whether the client has proved who it is.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the client has failed so often that its connection should end.
    pub fn is_hopeless(&self) -> bool {
        !self.done && self.attempts_left == 0
    }

    /// The method of the socket.
    pub fn method(&self) -> Auth {
        self.method
    }

    /// Answers one of the procedures that are allowed before authentication; `args` and the answer are XDR. What is
    /// proved goes into `identity`. Dropping the answer before it is there takes back what was asked of others.
    ///
    /// # Errors
    /// `AUTH_FAILED` and its relatives, for the client as they are.
    pub async fn call(&mut self, number: u32, args: &[u8], identity: &mut ClientIdentity) -> Result<Vec<u8>> {
        let known =
            table::procedure(virt_api::call::PROGRAM_REMOTE, number).filter(|known| known.before_auth);
        let known = known
            .ok_or_else(|| virt_api::protocol::unknown_procedure(virt_api::call::PROGRAM_REMOTE, number))?;
        known.check_args(args)?;
        match number {
            procedure::AUTH_LIST => self.list(identity)?.to_xdr(),
            procedure::AUTH_POLKIT => self.polkit(identity).await?.to_xdr(),
            procedure::AUTH_SASL_INIT => {
                let mechlist = self.sasl_init(identity)?;
                AuthSaslInitReply { mechlist }.to_xdr()
            }
            procedure::AUTH_SASL_START => {
                let args = AuthSaslStartArgs::from_xdr(args)?;
                // No data is not the same as none of its bytes.
                let data = (args.nil == 0).then_some(args.data);
                let reply = self.sasl(Some(args.mech), data, identity).await?;
                let (complete, nil, data) = wire(reply);
                AuthSaslStartReply { complete, nil, data }.to_xdr()
            }
            procedure::AUTH_SASL_STEP => {
                let args = AuthSaslStepArgs::from_xdr(args)?;
                let data = (args.nil == 0).then_some(args.data);
                let reply = self.sasl(None, data, identity).await?;
                let (complete, nil, data) = wire(reply);
                AuthSaslStepReply { complete, nil, data }.to_xdr()
            }
            _ => Err(virt_api::protocol::unknown_procedure(
                virt_api::call::PROGRAM_REMOTE,
                number,
            )),
        }
    }

    /// Answers which proof is asked for. Never waits.
    pub fn list(&mut self, identity: &ClientIdentity) -> Result<AuthListReply> {
        // root would pass anyway, and must even where polkit does not run.
        let pass = self.method == Auth::Polkit && identity.is_root();
        if pass {
            self.done = true;
        }
        let method = match self.method {
            Auth::Polkit if !pass => AuthType::POLKIT,
            Auth::Sasl => AuthType::SASL,
            Auth::None | Auth::Polkit => AuthType::NONE,
        };
        Ok(AuthListReply { types: vec![method] })
    }

    /// A procedure of a method that is not this socket's, or that comes too late.
    fn expect(&self, method: Auth, identity: &ClientIdentity) -> Result<()> {
        if self.method == method && !self.done && self.attempts_left > 0 {
            return Ok(());
        }
        tracing::warn!(
            client = identity.describe(),
            "{} was tried where {} is in use{}",
            method.name(),
            self.method.name(),
            if self.done { " and over" } else { "" }
        );
        Err(refused())
    }

    async fn polkit(&mut self, identity: &ClientIdentity) -> Result<AuthPolkitReply> {
        self.expect(Auth::Polkit, identity)?;
        self.attempts_left -= 1;
        let action = match self.read_only {
            true => "org.libvirt.unix.monitor",
            false => "org.libvirt.unix.manage",
        };
        let process = identity.unix.ok_or_else(refused)?;
        let verdict = self
            .services
            .polkit
            .check(action, process, &[], Interaction::Allowed)
            .await;
        match verdict {
            Ok(Verdict::Yes) => {
                self.done = true;
                tracing::info!(client = identity.describe(), "polkit allows {action}");
                Ok(AuthPolkitReply { complete: 1 })
            }
            Ok(Verdict::No((code, text))) => {
                tracing::warn!(
                    client = identity.describe(),
                    "polkit does not allow {action}: {text}"
                );
                Err(VirtError::new(code, text).in_domain(ErrorDomain::POLKIT))
            }
            Err(error) => {
                crate::logging::log_error!(error, client = identity.describe(), "{error}");
                Err(error.in_domain(ErrorDomain::POLKIT))
            }
        }
    }

    fn sasl_init(&mut self, identity: &ClientIdentity) -> Result<String> {
        self.expect(Auth::Sasl, identity)?;
        if self.exchange.is_some() {
            tracing::warn!(client = identity.describe(), "SASL was begun twice");
            self.exchange = None;
            return Err(refused());
        }
        match Exchange::new(Arc::clone(&self.services.sasl), self.channel) {
            Ok(exchange) => {
                let mechanisms = exchange.mechanisms();
                self.exchange = Some(exchange);
                Ok(mechanisms)
            }
            Err(failure) => Err(self.failed(&failure, identity)),
        }
    }

    /// A start (with the mechanism) or a step.
    async fn sasl(
        &mut self,
        mechanism: Option<String>,
        data: Option<Vec<u8>>,
        identity: &mut ClientIdentity,
    ) -> Result<Reply> {
        self.expect(Auth::Sasl, identity)?;
        let Some(mut exchange) = self.exchange.take() else {
            return Err(self.failed(
                &Failure {
                    reason: "a SASL message came before the beginning".to_owned(),
                    user: None,
                },
                identity,
            ));
        };
        // The file of users is read and passwords are hashed: not on the I/O thread.
        let worked = tokio::task::spawn_blocking(move || {
            let reply = match mechanism {
                Some(mechanism) => exchange.start(&mechanism, data.as_deref()),
                None => exchange.step(data.as_deref()),
            };
            (exchange, reply)
        })
        .await;
        let (exchange, reply) = worked.map_err(|_| refused())?;
        match reply {
            Ok(reply) => {
                match &reply.user {
                    None => self.exchange = Some(exchange),
                    Some(user) => {
                        self.done = true;
                        identity.sasl_name = Some(user.clone());
                        tracing::info!(client = identity.describe(), "SASL user known");
                    }
                }
                Ok(reply)
            }
            Err(failure) => Err(self.failed(&failure, identity)),
        }
    }

    fn failed(&mut self, failure: &Failure, identity: &ClientIdentity) -> VirtError {
        self.exchange = None;
        self.attempts_left = self.attempts_left.saturating_sub(1);
        tracing::warn!(client = identity.describe(), "SASL: {}", failure.reason);
        refused()
    }
}

impl std::fmt::Debug for Negotiation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Negotiation")
            .field("method", &self.method)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// All that a client hears of a failure.
fn refused() -> VirtError {
    VirtError::new(ErrorCode::AUTH_FAILED, "authentication failed").in_domain(ErrorDomain::RPC)
}

/// The error for a call of a client that has not proved who it is. Clients look for its words.
pub fn required() -> VirtError {
    VirtError::new(ErrorCode::RPC, "authentication required").in_domain(ErrorDomain::RPC)
}

/// Complete, nil, data.
fn wire(reply: Reply) -> (i32, i32, Vec<u8>) {
    (
        i32::from(reply.user.is_some()),
        i32::from(reply.data.is_none()),
        reply.data.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
