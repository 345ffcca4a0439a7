//! Opening: a wire to the daemon, who we are, and what the daemon is to open.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use virt_api::call::{Identity, PROGRAM_REMOTE};

use virt_api::config::ClientConfig;
use virt_api::driver::OpenContext;
use virt_api::protocol::clients::{CallSettings, RemoteClient};
use virt_api::protocol::remote::{AuthType, ConnectGetUriReply, ConnectOpenArgs, procedure};
use virt_api::rpc::hello::{self, Promises};
use virt_util::time::{Cancel, Deadline};
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::auth;
use crate::client::{Client, Request, Ticket};
use crate::connection::{Connection, hand_on};
use crate::place::{Mode, Place, Proxy, Transport};
use crate::sockets::{self, Scope};
use crate::ssh;
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
        surroundings,
        deadline: cx.deadline(),
        cancel: Cancel::never(),
    };
    let wire = opening.wire(mode, &config)?;
    let client = Client::new(wire, Some(cx.host().clone()))?;
    let opened = opening.shake_hands(&client);
    let uri = match opened {
        Ok(uri) => uri,
        Err(error) => {
            client.close();
            return Err(error);
        }
    };
    let connection = Connection::new(
        client,
        uri,
        place.transport,
        cx.events().clone(),
        opening.speaks_for().cloned(),
    );
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
            format_args!("{}: inside the daemon it would lead back here", place.uri),
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
        return Err(VirtError::invalid_arg(
            "inside a daemon a driver is reached in its own process: mode=direct",
        )
        .in_domain(ErrorDomain::REMOTE));
    }
    Ok(mode)
}

/// One opening.
struct Opening<'a> {
    cx: &'a OpenContext,
    place: &'a Place,
    surroundings: Surroundings,
    deadline: Deadline,
    cancel: Cancel,
}

impl Opening<'_> {
    fn wire(&self, mode: Mode, config: &ClientConfig) -> Result<Wire> {
        let place = self.place;
        match place.transport {
            Transport::Unix => {
                let choice = match &place.socket {
                    Some(path) => sockets::Choice {
                        path: path.into(),
                        daemon: None,
                    },
                    None => sockets::choose(place, mode, self.scope())?,
                };
                let socket = sockets::open(&choice, self.deadline, &self.cancel)?;
                Ok(Wire::new(socket, true, None))
            }
            Transport::Tcp => self.tcp(),
            Transport::Tls => {
                let configured = config.string("tls_priority")?;
                let session = crate::tls::session(place, place.tls_priority.as_deref().or(configured))?;
                let mut wire = self.tcp()?;
                wire.start_tls(session);
                wire.finish_tls(self.deadline, &self.cancel)?;
                Ok(wire)
            }
            Transport::Ssh | Transport::Libssh | Transport::Libssh2 => self.ssh(mode, config),
            Transport::Ext => {
                let program = place.command.as_deref().unwrap_or_default();
                ssh::external(program, self.deadline, &self.cancel)
            }
        }
    }

    fn scope(&self) -> Scope {
        Scope::of(self.place, self.cx.read_only())
    }

    fn ssh(&self, mode: Mode, config: &ClientConfig) -> Result<Wire> {
        let place = self.place;
        let scope = self.scope();
        let socket = match &place.socket {
            Some(path) => path.clone(),
            None => sockets::choose(place, mode, scope)?.path.display().to_string(),
        };
        let configured = config
            .string("remote_proxy")?
            .map(crate::place::proxy)
            .transpose()?;
        let proxy = match place.proxy.or(configured) {
            Some(proxy) => proxy,
            // The helper finds sockets by itself, and knows the paths of that host's sessions, which we cannot.
            None if place.socket.is_some() => Proxy::Netcat,
            None if scope.session => Proxy::Native,
            None => Proxy::Auto,
        };
        let command = ssh::remote_command(place, proxy, &socket, self.cx.read_only())?;
        ssh::connect(place, &command, self.deadline, &self.cancel)
    }

    /// A connection over TCP, to the first of the host's addresses that takes it.
    fn tcp(&self) -> Result<Wire> {
        let (host, port) = (self.place.hostname(), self.place.port());
        let fail = |error: &std::io::Error| {
            VirtError::io(
                error,
                format_args!("unable to connect to server at '{host}:{port}'"),
            )
            .in_domain(ErrorDomain::RPC)
        };
        let addresses = (host, port).to_socket_addrs().map_err(|error| {
            VirtError::new(
                ErrorCode::SYSTEM_ERROR,
                format_args!("cannot find the address of host '{host}', service '{port}': {error}"),
            )
            .in_domain(ErrorDomain::RPC)
        })?;
        let mut last = VirtError::new(
            ErrorCode::SYSTEM_ERROR,
            format_args!("Unable to resolve address '{host}': it has none"),
        );
        for address in addresses {
            let connected = match self.deadline.remaining() {
                Some(left) => TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))),
                None => TcpStream::connect(address),
            };
            match connected {
                Ok(stream) => {
                    stream
                        .set_nonblocking(true)
                        .and_then(|()| stream.set_nodelay(true))
                        .map_err(|error| fail(&error))?;
                    return Ok(Wire::new(stream.into(), false, None));
                }
                Err(error) => last = fail(&error),
            }
        }
        Err(last)
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
        let kind = auth::choose(&types, self.place.auth.as_deref())?;
        let first = promises.contains(Promises::IDENTITY_FIRST);
        if first {
            self.hand_on_identity(client)?;
        }
        let opened = if promises.contains(Promises::ORDERED_OPEN) && kind != AuthType::SASL {
            self.open_at_once(client, kind)?
        } else {
            self.authenticate(client, kind)?;
            self.open_step_by_step(client)?
        };
        if !first {
            self.hand_on_identity(client)?;
        }
        Ok(opened.unwrap_or_else(|| self.cx.uri().to_owned()))
    }

    fn flags(&self) -> u32 {
        self.cx.flags() & virt_api::driver::CONNECT_RO
    }

    /// Whether the daemon chooses, so that programs want to know what.
    fn asks_uri(&self) -> bool {
        self.place.name.is_empty() && self.place.uri.server.is_none()
    }

    /// Each step after the answer to the one before. Answers the URI that the daemon chose.
    fn open_step_by_step(&self, client: &Client) -> Result<Option<String>> {
        let remote = self.remote(client);
        remote.connect_open(Some(&self.place.name), self.flags())?;
        if !self.asks_uri() {
            return Ok(None);
        }
        Ok(Some(remote.connect_get_uri()?.uri))
    }

    /// Everything in one flight, for a daemon that handles it in order.
    fn open_at_once(&self, client: &Client, kind: AuthType) -> Result<Option<String>> {
        let send = |procedure, args: &[u8]| {
            client.send(&Request {
                program: PROGRAM_REMOTE,
                version: 1,
                procedure,
                args,
                fds: &[],
                stream: false,
            })
        };
        let args = ConnectOpenArgs {
            name: Some(self.place.name.clone()),
            flags: self.flags(),
        };
        let polkit = (kind == AuthType::POLKIT)
            .then(|| send(procedure::AUTH_POLKIT, &[]))
            .transpose()?;
        let open = send(procedure::CONNECT_OPEN, &args.to_xdr()?)?;
        let uri = self
            .asks_uri()
            .then(|| send(procedure::CONNECT_GET_URI, &[]))
            .transpose()?;

        let receive = |ticket: &Ticket| client.receive(ticket, self.deadline, &self.cancel);
        let proved = polkit.as_ref().map(receive).transpose();
        let opened = receive(&open);
        let told = uri.as_ref().map(receive).transpose();
        if let Err(error) = proved {
            auth::ask_for_agent(&self.remote(client), &self.credentials(), error)?;
            return self.open_step_by_step(client);
        }
        opened?;
        match told? {
            Some(answer) => Ok(Some(ConnectGetUriReply::from_xdr(&answer.payload)?.uri)),
            None => Ok(None),
        }
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

    fn credentials(&self) -> auth::Credentials<'_> {
        auth::Credentials {
            place: self.place,
            source: self.cx.credentials(),
            is_secure: self.place.transport.is_secure(),
        }
    }

    fn authenticate(&self, client: &Client, kind: AuthType) -> Result<()> {
        auth::prove(&self.remote(client), kind, &self.credentials())
    }

    /// Inside a daemon a connection speaks for whoever asked the daemon.
    fn hand_on_identity(&self, client: &Client) -> Result<()> {
        match self.speaks_for() {
            Some(identity) if !identity.0.0.is_empty() => hand_on(client, identity),
            _ => Ok(()),
        }
    }

    /// Who it is for, where that is handed on.
    fn speaks_for(&self) -> Option<&Identity> {
        let hands_on = self.surroundings.inside_daemon && self.place.transport == Transport::Unix;
        hands_on.then(|| self.cx.identity())
    }
}
