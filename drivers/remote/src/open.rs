//! Opening: a wire to the daemon, who we are, and what the daemon is to open.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
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
use crate::patience::{Patience, Step};
use crate::place::{Mode, Place, Proxy, Transport};
use crate::sockets::{self, Scope};
use crate::ssh;
use crate::wire::Wire;

/// When the kernel asks whether another host is still there, how often, and how many questions may go unanswered: two
/// minutes in all, in seconds.
const PEER_IDLE: u32 = 30;
const PEER_INTERVAL: u32 = 10;
const PEER_COUNT: u32 = 9;

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
        patience: Patience::of(&place, &config, cx.deadline())?,
        cancel: Cancel::never(),
    };
    let wire = opening.wire(mode, &config)?;
    let socket = wire.descriptor()?;
    watch_peer(&socket, place.transport, true);
    let client = Client::new(wire, Some(cx.host().clone()))?;
    let opened = opening.shake_hands(&client);
    watch_peer(&socket, place.transport, false);
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
        let asked = opening
            .patience
            .within(Step::Features, |until| connection.start_background(until));
        if let Err(error) = asked
            && error.code() == ErrorCode::OPERATION_TIMEOUT
        {
            return Err(error);
        }
    }
    Ok(connection)
}

/// Has the kernel ask whether the other host is still there. While a connection is being opened the daemon may be silent
/// for as long as a person or a driver takes; its host is not. Later on this is keepalive's business, and a network may be
/// away for a while.
fn watch_peer(socket: &OwnedFd, transport: Transport, watch: bool) {
    if !matches!(transport, Transport::Tcp | Transport::Tls) {
        return;
    }
    let set = || -> nix::Result<()> {
        setsockopt(socket, sockopt::TcpKeepIdle, &PEER_IDLE)?;
        setsockopt(socket, sockopt::TcpKeepInterval, &PEER_INTERVAL)?;
        setsockopt(socket, sockopt::TcpKeepCount, &PEER_COUNT)?;
        setsockopt(socket, sockopt::KeepAlive, &watch)
    };
    if let Err(errno) = set() {
        tracing::debug!("the kernel does not watch over the connection: {errno}");
    }
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
    patience: Patience,
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
                self.patience
                    .name_server(format_args!("the daemon at '{}'", choice.path.display()));
                let socket = self.patience.within(Step::Connecting, |until| {
                    sockets::open(&choice, until, &self.cancel)
                })?;
                Ok(Wire::new(socket, true, None))
            }
            Transport::Tcp => self.tcp(),
            Transport::Tls => {
                let configured = config.string("tls_priority")?;
                let session = crate::tls::session(place, place.tls_priority.as_deref().or(configured))?;
                let mut wire = self.tcp()?;
                wire.start_tls(session);
                self.patience
                    .within(Step::TlsHandshake, |until| wire.finish_tls(until, &self.cancel))?;
                Ok(wire)
            }
            Transport::Ssh | Transport::Libssh | Transport::Libssh2 => self.ssh(mode, config),
            Transport::Ext => {
                let program = place.command.as_deref().unwrap_or_default();
                self.patience
                    .name_server(format_args!("what '{program}' leads to"));
                ssh::external(program, self.patience.caller(), &self.cancel)
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
        self.patience
            .name_server(format_args!("the daemon behind ssh to '{}'", place.hostname()));
        ssh::connect(place, &command, self.patience.caller(), &self.cancel)
    }

    /// A connection over TCP, to the first of the host's addresses that takes it.
    fn tcp(&self) -> Result<Wire> {
        let (host, port) = (self.place.hostname(), self.place.port());
        self.patience
            .name_server(format_args!("the server at '{host}:{port}'"));
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
            let connected = self.patience.within(Step::Connecting, |until| {
                let connected = match until.remaining() {
                    Some(left) => TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))),
                    None => TcpStream::connect(address),
                };
                connected.map_err(|error| match error.kind() {
                    ErrorKind::TimedOut if until.has_passed() => {
                        VirtError::new(ErrorCode::OPERATION_TIMEOUT, address)
                    }
                    _ => fail(&error),
                })
            });
            match connected {
                Ok(stream) => {
                    stream
                        .set_nonblocking(true)
                        .and_then(|()| stream.set_nodelay(true))
                        .map_err(|error| fail(&error))?;
                    return Ok(Wire::new(stream.into(), false, None));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// For calls whose answer may depend on a person or on the start of a driver.
    fn remote<'c>(&self, client: &'c Client) -> RemoteClient<'c> {
        self.remote_until(client, self.patience.caller())
    }

    fn remote_until<'c>(&self, client: &'c Client, until: Deadline) -> RemoteClient<'c> {
        RemoteClient::with(
            CallSettings::new(client, PROGRAM_REMOTE)
                .deadline(until)
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
        let (types, promises) = self.patience.within(Step::Greeting, |until| {
            let types = match self.remote_until(client, until).auth_list() {
                Ok(reply) => reply.types,
                // Daemons older than authentication.
                Err(error) if error.code() == ErrorCode::NO_SUPPORT => Vec::new(),
                Err(error) => return Err(error),
            };
            Ok((types, self.promises(client, &greeting, until)?))
        })?;
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
        self.patience.within(Step::Uri, |until| {
            Ok(Some(self.remote_until(client, until).connect_get_uri()?.uri))
        })
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

        let receive = |ticket: &Ticket, until| client.receive(ticket, until, &self.cancel);
        let caller = self.patience.caller();
        let proved = polkit.as_ref().map(|ticket| receive(ticket, caller)).transpose();
        let opened = receive(&open, caller);
        let told = uri
            .as_ref()
            .map(|ticket| self.patience.within(Step::Uri, |until| receive(ticket, until)))
            .transpose();
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
    fn promises(&self, client: &Client, greeting: &Ticket, until: Deadline) -> Result<Promises> {
        match client.receive(greeting, until, &self.cancel) {
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
        let mechanisms = || {
            self.patience.within(Step::Mechanisms, |until| {
                Ok(self.remote_until(client, until).auth_sasl_init()?.mechlist)
            })
        };
        auth::prove(&self.remote(client), kind, &self.credentials(), mechanisms)
    }

    /// Inside a daemon a connection speaks for whoever asked the daemon.
    fn hand_on_identity(&self, client: &Client) -> Result<()> {
        match self.speaks_for() {
            Some(identity) if !identity.0.0.is_empty() => self
                .patience
                .within(Step::Identity, |until| hand_on(client, identity, until)),
            _ => Ok(()),
        }
    }

    /// Who it is for, where that is handed on.
    fn speaks_for(&self) -> Option<&Identity> {
        let hands_on = self.surroundings.inside_daemon && self.place.transport == Transport::Unix;
        hands_on.then(|| self.cx.identity())
    }
}
