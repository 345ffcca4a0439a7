//! Opening: a wire to the daemon, who we are, and what the daemon is to open.

use virt_api::call::PROGRAM_REMOTE;
use virt_api::config::ClientConfig;
use virt_api::driver::OpenContext;
use virt_api::protocol::clients::{CallSettings, RemoteClient};
use virt_api::protocol::remote::AuthType;
use virt_api::rpc::hello::{self, Promises};
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::client::{Client, Request, Ticket};
use crate::connection::Connection;
use crate::place::{Mode, Place, Transport};
use crate::sockets::{self, Scope};
use crate::wire::Wire;

/// How the process lives in which we are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings {
    pub inside_daemon: bool,
    pub monolithic: bool,
}

/// Opens what the context asks for.
pub(crate) fn open(cx: &OpenContext, surroundings: Surroundings) -> Result<Connection> {
    let place = Place::of(cx.uri())?;
    refuse_loop(&place, surroundings)?;
    let config = ClientConfig::load()?;
    let mode = mode(&place, surroundings, &config)?;
    let opening = Opening {
        cx,
        place: &place,
        deadline: cx.deadline(),
        cancel: Cancel::never(),
    };
    let wire = opening.wire(mode, &config)?;
    let client = Client::new(wire, cx.host().clone())?;
    let opened = opening.shake_hands(&client);
    let uri = match opened {
        Ok(uri) => uri,
        Err(error) => {
            client.close();
            return Err(error);
        }
    };
    let connection = Connection::new(client, uri, place.transport.is_secure(), cx.events().clone());
    if place.transport != Transport::Unix {
        // A network can fail silently, so the daemon shall ask. Without an event loop nobody would answer.
        let _ = connection.start_background();
    }
    Ok(connection)
}

/// In a daemon, a URI that names no other host and no socket means the daemon's own drivers, and leads nowhere else.
fn refuse_loop(place: &Place, surroundings: Surroundings) -> Result<()> {
    let local = place.uri.server.is_none() && !place.uri.names_unix_socket();
    if surroundings.inside_daemon && surroundings.monolithic && local {
        return Err(VirtError::new(
            ErrorCode::NO_CONNECT,
            format_args!(
                "no connection driver available for {}: inside the daemon it would lead back here",
                place.uri
            ),
        )
        .in_domain(ErrorDomain::REMOTE));
    }
    Ok(())
}

fn mode(place: &Place, surroundings: Surroundings, config: &ClientConfig) -> Result<Mode> {
    let local_in_daemon = surroundings.inside_daemon && place.uri.server.is_none();
    let configured = config
        .string("remote_mode")?
        .map(crate::place::mode)
        .transpose()?;
    let mode = match place.mode.or(configured) {
        Some(mode) => mode,
        None if local_in_daemon => Mode::Direct,
        None => Mode::Auto,
    };
    if local_in_daemon && mode != Mode::Direct && place.socket.is_none() {
        return Err(
            VirtError::invalid_arg("Connections from inside daemon must be direct")
                .in_domain(ErrorDomain::REMOTE),
        );
    }
    Ok(mode)
}

/// One opening.
struct Opening<'a> {
    cx: &'a OpenContext,
    place: &'a Place,
    deadline: Deadline,
    cancel: Cancel,
}

impl Opening<'_> {
    fn wire(&self, mode: Mode, _config: &ClientConfig) -> Result<Wire> {
        let scope = Scope::of(self.place, self.cx.read_only());
        match self.place.transport {
            Transport::Unix => {
                let choice = match &self.place.socket {
                    Some(path) => sockets::Choice {
                        path: path.into(),
                        daemon: None,
                    },
                    None => sockets::choose(self.place, mode, scope)?,
                };
                let socket = sockets::open(&choice, self.deadline, &self.cancel)?;
                Ok(Wire::new(socket, true, None))
            }
            other => Err(VirtError::no_support(format_args!("transport {}", other.name()))),
        }
    }

    fn remote<'c>(&self, client: &'c Client) -> RemoteClient<'c> {
        RemoteClient::with(
            CallSettings::new(client, PROGRAM_REMOTE)
                .deadline(self.deadline)
                .cancel(self.cancel.clone()),
        )
    }

    /// From a fresh connection to one that the daemon has opened. Answers the URI that programs see.
    fn shake_hands(&self, client: &Client) -> Result<String> {
        let greeting = client.send(&Request {
            program: hello::PROGRAM,
            version: hello::VERSION,
            procedure: hello::PROCEDURE,
            args: &[],
            fds: &[],
            stream: false,
        })?;
        let types = match self.remote(client).auth_list() {
            Ok(reply) => reply.types,
            // Daemons older than authentication.
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => Vec::new(),
            Err(error) => return Err(error),
        };
        let promises = self.promises(client, &greeting)?;
        tracing::debug!("the daemon promises {promises:?}");
        self.authenticate(client, &types)?;
        let flags = self.cx.flags() & virt_api::driver::CONNECT_RO;
        self.remote(client).connect_open(Some(&self.place.name), flags)?;
        if self.place.name.is_empty() && self.place.uri.server.is_none() {
            // The daemon chose.
            return Ok(self.remote(client).connect_get_uri()?.uri);
        }
        Ok(self.cx.uri().to_owned())
    }

    /// Whether the daemon is ours, and what that is worth.
    fn promises(&self, client: &Client, greeting: &Ticket) -> Result<Promises> {
        match client.receive(greeting, self.deadline, &self.cancel) {
            Ok(answer) => hello::read_answer(&answer.payload),
            Err(error) if client.is_alive() && error.code() != ErrorCode::OPERATION_TIMEOUT => {
                Ok(Promises::empty())
            }
            Err(error) => Err(error),
        }
    }

    fn authenticate(&self, _client: &Client, types: &[AuthType]) -> Result<()> {
        match types.first() {
            None | Some(&AuthType::NONE) => Ok(()),
            Some(other) => Err(VirtError::new(
                ErrorCode::AUTH_FAILED,
                format_args!("unsupported authentication type {}", other.0),
            )
            .in_domain(ErrorDomain::REMOTE)),
        }
    }
}
