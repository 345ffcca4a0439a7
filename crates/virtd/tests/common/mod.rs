//! A server in this process, and a client made of nothing but packets.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "this is test code, in a module of its own")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use virt_api::call::PROGRAM_REMOTE;
use virt_api::driver::Driver;
use virt_api::plugin::SearchPath;
use virt_api::protocol::remote::{ConnectOpenArgs, procedure as remote};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, MessageType, Packet, PacketReader, PacketWriter, Status};
use virt_util::VirtError;
use virt_util::sys::socket::{receive_with_fds, send_with_fds};
use virt_util::xdr::{XdrDecode, XdrEncode};
use virtd::auth::AuthServices;
use virtd::auth::polkit::Polkit;
use virtd::config::{Auth, DaemonConfig, Role};
use virtd::host::{DaemonHost, HostConfig};
use virtd::server::{Listener, Place, Scope, Security, Server, Settings};

/// Longest that anything may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A server on a thread of its own.
pub struct Daemon {
    pub server: Arc<Server>,
    pub listener: Arc<Listener>,
    handle: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    pub fn new(settings: Settings, name: &'static str, driver: fn() -> Box<dyn Driver>) -> Self {
        Self::with(settings, name, driver, Auth::None, false)
    }

    pub fn with(
        settings: Settings,
        name: &'static str,
        driver: fn() -> Box<dyn Driver>,
        auth: Auth,
        read_only: bool,
    ) -> Self {
        Self::configured("", settings, name, driver, auth, read_only)
    }

    /// [`Daemon::with`] and a configuration.
    pub fn configured(
        config: &str,
        settings: Settings,
        name: &'static str,
        driver: fn() -> Box<dyn Driver>,
        auth: Auth,
        read_only: bool,
    ) -> Self {
        let role = Role::new("libvirtd", false);
        let config = DaemonConfig::parse(&role, "libvirtd.conf", config)
            .unwrap()
            .config;
        let host = DaemonHost::new(
            HostConfig {
                privileged: false,
                drivers: Vec::new(),
                root: None,
                search: SearchPath(Vec::new()),
                proxy: false,
                isolate: None,
                parent: None,
                host_uuid: virt_util::uuid::generate(),
                ovs_timeout: Duration::from_secs(5),
            },
            None,
        );
        host.registry().add_builtin_as(name, driver);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let access = virtd::access::Access::new(&config, None).unwrap();
        host.set_access(Arc::clone(&access) as Arc<dyn virtd::host::AccessCheck>);
        let folder = tempfile::tempdir().unwrap();
        let security = Security {
            auth: Arc::new(AuthServices::new(
                &config,
                folder.path().join("passwd"),
                Polkit::at("unix:path=/nowhere"),
            )),
            access,
            audit: Arc::new(virtd::audit::Audit::open(&config).unwrap()),
            tls: None,
        };
        let server = Server::new(settings, host, security, runtime.handle().clone());
        let path = folder.path().join("sock");
        let socket = virtd::server::bind_unix(&path, 0o700, None, 5000).unwrap();
        let listener = {
            let _guard = runtime.enter();
            server.listen(Listener {
                name: "libvirtd.socket".into(),
                place: Place::Unix(path),
                scope: Scope::All,
                read_only,
                auth: arc_swap::ArcSwap::from_pointee(auth),
                socket,
                is_passed: false,
            })
        };
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (give, take) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let _ = stopped.await;
            });
            let _ = give.send(());
            runtime.shutdown_background();
        });
        drop(take);
        Self {
            server,
            listener,
            handle,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn path(&self) -> &std::path::Path {
        match &self.listener.place {
            Place::Unix(path) => path,
            Place::Tcp(_) | Place::Tls(_) => unreachable!("the listener has a file"),
        }
    }

    /// What a reload does.
    pub fn change_auth(&self, auth: Auth) {
        let (done, wait) = std::sync::mpsc::channel();
        let (server, listener) = (Arc::clone(&self.server), Arc::clone(&self.listener));
        self.handle.spawn(async move {
            server.change_auth(&listener, auth);
            done.send(()).unwrap();
        });
        wait.recv_timeout(LIMIT).unwrap();
    }

    pub fn client(&self) -> Client {
        Client::connect(self.path())
    }

    /// A client that has opened `uri`.
    pub fn open(&self, uri: &str) -> Client {
        let mut client = self.client();
        client.open(uri).unwrap();
        client
    }

    #[track_caller]
    pub fn eventually(&self, what: &str, mut question: impl FnMut(&Server) -> bool) {
        let end = std::time::Instant::now() + LIMIT;
        while !question(&self.server) {
            assert!(std::time::Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A client.
pub struct Client {
    pub socket: UnixStream,
    reader: PacketReader,
    buffer: Vec<u8>,
    at: usize,
    serial: u32,
    /// Packets that came while an answer was awaited.
    pub others: Vec<Packet>,
}

impl Client {
    pub fn connect(path: &std::path::Path) -> Self {
        Self::over(UnixStream::connect(path).unwrap())
    }

    /// A client of that connection.
    pub fn over(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            socket,
            reader: PacketReader::new(),
            buffer: Vec::new(),
            at: 0,
            serial: 0,
            others: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next packet; `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<Packet> {
        loop {
            let mut rest = &self.buffer[self.at..];
            let before = rest.len();
            if let Some(packet) = self.reader.feed(&mut rest).unwrap() {
                self.at += before - rest.len();
                return Some(packet);
            }
            self.buffer.resize(1 << 18, 0);
            self.at = 0;
            let received = receive_with_fds(&self.socket, &mut self.buffer, 32);
            let received = match received {
                Ok(received) => received.expect("an answer in time"),
                // The server may close with bytes of ours unread.
                Err(_) => return None,
            };
            self.buffer.truncate(received.count);
            for fd in received.fds {
                self.reader.feed_fd(fd).unwrap();
            }
            if received.count == 0 {
                return None;
            }
        }
    }

    pub fn next_call(&mut self, procedure: u32) -> Header {
        self.serial += 1;
        Header::call(PROGRAM_REMOTE, 1, procedure as i32, self.serial)
    }

    /// Sends a call and does not wait.
    pub fn begin(&mut self, procedure: u32, args: &[u8]) -> Header {
        let header = self.next_call(procedure);
        self.send(&PacketWriter::new(&header).finish_with(args).unwrap());
        header
    }

    pub fn begin_with_fds(&mut self, procedure: u32, args: &[u8], fds: &[OwnedFd]) -> Header {
        let header = self.next_call(procedure);
        let packet = PacketWriter::with_fds(&header, fds.len()).unwrap();
        self.send(&packet.finish_with(args).unwrap());
        for fd in fds {
            send_with_fds(&self.socket, &[0], &[fd.as_fd()]).unwrap();
        }
        header
    }

    /// Waits for the answer.
    pub fn answer(&mut self, header: &Header) -> Result<Packet, VirtError> {
        loop {
            let packet = self.receive().expect("the connection stands");
            let is_reply = matches!(packet.header.kind, MessageType::Reply | MessageType::ReplyWithFds);
            if !is_reply || packet.header.serial != header.serial {
                self.others.push(packet);
                continue;
            }
            return match packet.header.status {
                Status::Ok => Ok(packet),
                _ => Err(ErrorMessage::from_xdr(&packet.payload).unwrap().into_error()),
            };
        }
    }

    pub fn call(&mut self, procedure: u32, args: &[u8]) -> Result<Vec<u8>, VirtError> {
        let header = self.begin(procedure, args);
        self.answer(&header).map(|packet| packet.payload)
    }

    pub fn ask<R: XdrDecode>(&mut self, procedure: u32, args: &impl XdrEncode) -> Result<R, VirtError> {
        let reply = self.call(procedure, &args.to_xdr().unwrap())?;
        Ok(R::from_xdr(&reply).unwrap())
    }

    pub fn open(&mut self, uri: &str) -> Result<(), VirtError> {
        self.call(remote::AUTH_LIST, &[])?;
        let args = ConnectOpenArgs {
            name: Some(uri.to_owned()),
            flags: 0,
        };
        self.call(remote::CONNECT_OPEN, &args.to_xdr().unwrap()).map(drop)
    }

    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.socket.read(&mut byte), Ok(0) | Err(_))
    }
}

/// What this process has: memory in KiB, threads, descriptors.
pub fn usage() -> (u64, usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let number = |key: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (number("VmRSS:"), number("Threads:") as usize, descriptors)
}
