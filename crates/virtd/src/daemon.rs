//! The daemon as a whole: what is started in which order, what signals mean, and how it ends.
//!
//! Start at [`run`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use virt_api::LIBVIRT_VERSION;
use virt_api::plugin::{Role as PluginRole, SearchPath};
use virt_util::error::SystemResult;
use virt_util::lock::PidFile;
use virt_util::time::Deadline;
use virt_util::{ErrorCode, Result, VirtError};

mod attend;

use crate::access::Access;
use crate::admin::Event;
use crate::audit::Audit;
use crate::auth::polkit::Polkit;
use crate::auth::tls::{TlsFiles, TlsServer};
use crate::auth::{AuthServices, default_password_file};
use crate::config::value::Port;
use crate::config::{Auth, DaemonConfig, Role};
use crate::host::{AccessCheck, DaemonHost, HostConfig};
use crate::logging::{LogConfig, LogEnvironment, Logger, Places};
use crate::options::Options;
use crate::server::{Ending, Listener, Place, Scope, Security, Server, Settings, bind_unix};
use crate::service::activation::{self, Announced, Service, Sockets};
use crate::service::background::{self, Waiting};
use crate::service::names::{DaemonName, Hosts};
use crate::service::notify::Notifier;
use crate::service::paths::{Paths, Scope as Reach, UserFolders};
use crate::service::startup::{InStep, StartError, Step, take_pid_file};
use crate::tools;

use attend::{Attendance, Attending};

/// How long a daemon that is just ending may take to let go of its pid file.
const PREDECESSOR: Duration = Duration::from_secs(10);

/// Runs the daemon with this command line, its own name first, until it ends.
pub fn run(argv: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(&argv) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            };
        }
    };
    let program = argv.first().map(PathBuf::from).unwrap_or_default();
    if options.version {
        println!(
            "{} (Ferrovirt {}) {}",
            program.display(),
            env!("CARGO_PKG_VERSION"),
            version(LIBVIRT_VERSION)
        );
        return ExitCode::SUCCESS;
    }
    if let Some(status) = tools::run(&options, &program) {
        return status;
    }
    let waiting = match options.daemon {
        false => None,
        true => match background::divide(&argv) {
            Ok(background::Role::Parent(status)) => return status,
            Ok(background::Role::Child(waiting)) => Some(waiting),
            Err(error) => {
                eprintln!("{}: {error}", program.display());
                return ExitCode::FAILURE;
            }
        },
    };
    match start(&options, &program) {
        Ok(daemon) => daemon.run(waiting),
        Err(StartError { step, error }) => {
            tracing::error!("{error}");
            eprintln!("{}: {error}", program.display());
            if let Some(waiting) = waiting {
                waiting.failed(step);
            }
            ExitCode::from(step as u8)
        }
    }
}

/// libvirt's version as people write it.
fn version(number: u64) -> String {
    format!(
        "{}.{}.{}",
        number / 1_000_000,
        number / 1_000 % 1_000,
        number % 1_000
    )
}

/// A daemon that is ready to run.
struct Daemon {
    options: Options,
    name: DaemonName,
    role: Role,
    config: DaemonConfig,
    logger: Arc<Logger>,
    log_file: PathBuf,
    paths: Paths,
    reach: Reach,
    passed: Option<Sockets>,
    polkit: Arc<Polkit>,
    access: Arc<Access>,
    audit: Arc<Audit>,
    _pid_file: PidFile,
}

fn start(options: &Options, program: &Path) -> std::result::Result<Daemon, StartError> {
    let name = match options.driver.as_slice() {
        [driver] => DaemonName::of_driver(driver).in_step(Step::Initialize)?,
        [] => DaemonName::of_program(program.as_os_str()),
        // Several: one daemon by its own name, on the sockets of each.
        [..] => DaemonName::monolithic(),
    };
    // Before anything else is opened: the sockets are known by their numbers.
    let passed = activation::take(&Announced::from_environment(), &name).in_step(Step::Network)?;
    let reach = Reach::current();
    let role = Role::new(name.name.clone(), reach == Reach::System);
    let folders = UserFolders::from_environment();
    let paths = Paths::new(&name, reach, &folders, None).in_step(Step::RuntimeFolder)?;
    let paths = options
        .root
        .as_deref()
        .map_or(paths.clone(), |root| below(root, paths));
    let named = match (&options.config, &options.root) {
        (Some(named), _) => Some(named.clone()),
        // Below a root there may be none, and the machine's own is not ours.
        (None, Some(_)) => paths.config_file.exists().then(|| paths.config_file.clone()),
        (None, None) => None,
    };
    let config = match (&named, &options.root) {
        (None, Some(_)) => DaemonConfig::defaults(&role),
        (named, _) => {
            let loaded = DaemonConfig::load(&role, named.as_deref()).in_step(Step::Config)?;
            for key in &loaded.ignored {
                tracing::warn!(
                    "unknown key '{}' in line {} of the configuration",
                    key.name,
                    key.line
                );
            }
            loaded.config
        }
    };
    let logger = Arc::new(Logger::new(Places::default()));
    logger.install();
    let log_file = paths.log_file.clone();
    logger
        .configure(
            &log_config(&config, options, &log_file),
            &LogEnvironment::current(),
        )
        .in_step(Step::Config)?;
    let mut paths = match &config.unix_sock_dir {
        Some(folder) => move_sockets(paths, Path::new(folder)),
        None => paths,
    };
    if let Some(named) = &options.pid_file {
        paths.pid_file.clone_from(named);
    }
    paths.make_folders(reach).in_step(Step::RuntimeFolder)?;
    let access = Access::new(&config, None).in_step(Step::Config)?;
    let audit = Audit::open(&config).in_step(Step::Audit)?;
    let pid_file = take_pid_file(&paths.pid_file, PREDECESSOR).in_step(Step::PidFile)?;
    Ok(Daemon {
        options: options.clone(),
        name,
        role,
        config,
        logger,
        log_file,
        paths,
        reach,
        passed,
        polkit: Polkit::new(),
        access,
        audit: Arc::new(audit),
        _pid_file: pid_file,
    })
}

/// All paths below `root`.
fn below(root: &Path, paths: Paths) -> Paths {
    let move_it = |path: PathBuf| match path.strip_prefix("/") {
        Ok(rest) => root.join(rest),
        Err(_) => path,
    };
    Paths {
        runtime: move_it(paths.runtime),
        socket: move_it(paths.socket),
        socket_ro: paths.socket_ro.map(move_it),
        socket_admin: move_it(paths.socket_admin),
        pid_file: move_it(paths.pid_file),
        config_file: move_it(paths.config_file),
        log_file: move_it(paths.log_file),
    }
}

/// The sockets in `folder`.
fn move_sockets(paths: Paths, folder: &Path) -> Paths {
    let move_it = |path: PathBuf| match path.file_name() {
        Some(name) => folder.join(name),
        None => path,
    };
    Paths {
        socket: move_it(paths.socket),
        socket_ro: paths.socket_ro.map(move_it),
        socket_admin: move_it(paths.socket_admin),
        ..paths
    }
}

fn log_config(config: &DaemonConfig, options: &Options, file: &Path) -> LogConfig {
    LogConfig {
        level: config.log_level.0,
        filters: config
            .log_filters
            .as_ref()
            .map(|filters| filters.0.clone())
            .unwrap_or_default(),
        outputs: config
            .log_outputs
            .as_ref()
            .map(|outputs| outputs.0.clone())
            .unwrap_or_default(),
        verbose: options.verbose,
        background: options.daemon,
        file: Some(file.to_owned()),
    }
}

/// The server's limits as the configuration has them.
fn settings(config: &DaemonConfig) -> Settings {
    let interval = u64::try_from(config.keepalive_interval)
        .ok()
        .filter(|seconds| *seconds > 0);
    Settings {
        max_clients: config.max_clients as usize,
        max_anonymous_clients: config.max_anonymous_clients as usize,
        max_client_requests: config.max_client_requests.0 as usize,
        min_workers: config.min_workers as usize,
        max_workers: config.max_workers.0 as usize,
        prio_workers: config.prio_workers as usize,
        admin_max_clients: config.admin_max_clients as usize,
        admin_min_workers: config.admin_min_workers as usize,
        admin_max_workers: config.admin_max_workers as usize,
        keepalive_interval: interval.map(Duration::from_secs),
        keepalive_count: config.keepalive_count,
        ..Settings::default()
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).map_err(|error| VirtError::io(&error, "cannot catch a signal"));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.quit.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
}

impl Daemon {
    fn run(self, waiting: Option<Waiting>) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!("cannot start the runtime: {error}");
                return ExitCode::from(Step::Initialize as u8);
            }
        };
        let status = runtime.block_on(self.serve(waiting));
        // Workers that a driver holds are not waited for.
        runtime.shutdown_background();
        status
    }

    async fn serve(mut self, waiting: Option<Waiting>) -> ExitCode {
        match self.open().await {
            Ok((server, attendance, signals)) => {
                if let Some(waiting) = waiting
                    && let Err(error) = waiting.ready()
                {
                    tracing::warn!("{error}");
                }
                self.until_the_end(server, attendance, signals).await;
                ExitCode::SUCCESS
            }
            Err(StartError { step, error }) => {
                tracing::error!("{error}");
                if let Some(waiting) = waiting {
                    waiting.failed(step);
                }
                ExitCode::from(step as u8)
            }
        }
    }

    async fn open(&mut self) -> std::result::Result<(Arc<Server>, Attendance, Signals), StartError> {
        let signals = Signals::catch().in_step(Step::Signals)?;
        let drivers = match (&self.name.hosts, self.options.driver.as_slice()) {
            (Hosts::One(driver), []) => vec![driver.clone()],
            (Hosts::None, []) => vec!["remote".to_owned()],
            (_, named) => named.to_vec(),
        };
        let host = DaemonHost::new(
            HostConfig {
                privileged: self.reach == Reach::System,
                drivers,
                root: self.options.root.as_ref().map(|root| root.display().to_string()),
                search: SearchPath::from_environment(),
            },
            Some(Arc::clone(&self.logger)),
        );
        host.set_access(Arc::clone(&self.access) as Arc<dyn AccessCheck>);
        let with_tls = match &self.passed {
            Some(passed) => passed.contains_key(&Service::Tls),
            None => self.listens() && self.config.listen_tls,
        };
        let server = Server::new(
            settings(&self.config),
            Arc::clone(&host),
            self.security(with_tls).in_step(Step::Network)?,
            tokio::runtime::Handle::current(),
        );
        for listener in self.listeners(&host).in_step(Step::Network)? {
            tracing::info!("listening on {:?}", listener.place);
            server.listen(listener);
        }
        let attending = Attending {
            name: &self.name.name,
            logger: &self.logger,
            timeout: self
                .options
                .timeout
                .map(|seconds| Duration::from_secs(seconds.into())),
            metrics: self.options.metrics.as_deref(),
            embedded: self.options.root.is_some(),
        };
        let attendance = attend::attend(&attending, &server).in_step(Step::Network)?;
        // Clients can connect while drivers start: opening one waits for it.
        std::thread::Builder::new()
            .name("virtd-start".to_owned())
            .spawn(move || host.start_drivers())
            .map_err(|error| VirtError::io(&error, "cannot start the drivers"))
            .in_step(Step::Driver)?;
        Ok((server, attendance, signals))
    }

    /// Whether clients come over the network.
    fn listens(&self) -> bool {
        self.role.network() && (self.options.listen || !self.role.listens_with_option())
    }

    /// What clients are held against, as the configuration has it now.
    fn security(&self, with_tls: bool) -> Result<Security> {
        let mut config = self.config.clone();
        if let Some(root) = &self.options.root {
            // The machine's own users are not ours.
            let usual = default_password_file(&self.role);
            let ours = root.join(usual.strip_prefix("/").unwrap_or(&usual));
            config
                .sasl_password_file
                .get_or_insert_with(|| ours.display().to_string());
        }
        let tls = match with_tls {
            true => {
                let files = TlsFiles::locate(&self.config, &self.role);
                Some(Arc::new(TlsServer::new(&self.config, &files)?))
            }
            false => None,
        };
        Ok(Security {
            auth: Arc::new(AuthServices::new(&config, &self.role, Arc::clone(&self.polkit))),
            tls,
            access: Arc::clone(&self.access),
            audit: Arc::clone(&self.audit),
        })
    }

    /// Sockets on the network.
    fn network_listeners(&self, listeners: &mut Vec<Listener>) -> Result<()> {
        let services = [
            (
                self.config.listen_tcp,
                Service::Tcp,
                &self.config.tcp_port,
                self.config.auth_tcp,
            ),
            (
                self.config.listen_tls,
                Service::Tls,
                &self.config.tls_port,
                self.config.auth_tls,
            ),
        ];
        for (wanted, service, port, auth) in services {
            if !wanted {
                continue;
            }
            let queue = i32::try_from(self.config.max_queued_clients).unwrap_or(i32::MAX);
            for (address, socket) in bind_net(self.config.listen_addr.as_deref(), port, queue)? {
                listeners.push(Listener {
                    name: service.unit(&self.name),
                    place: match service {
                        Service::Tls => Place::Tls(address),
                        _ => Place::Tcp(address),
                    },
                    scope: Scope::All,
                    read_only: false,
                    auth,
                    socket,
                    is_passed: false,
                });
            }
        }
        Ok(())
    }

    /// The sockets to listen on: those that were passed, or those that the configuration names.
    fn listeners(&mut self, host: &DaemonHost) -> Result<Vec<Listener>> {
        let mut listeners = Vec::new();
        if let Some(passed) = self.passed.take() {
            for (service, sockets) in passed {
                for socket in sockets {
                    listeners.push(self.passed_listener(service, socket)?);
                }
            }
            return Ok(listeners);
        }
        self.unix_listeners(&self.name, &self.paths, Scope::All, &mut listeners)?;
        if self.listens() {
            self.network_listeners(&mut listeners)?;
        }
        let modular: Vec<String> = if self.options.modular {
            host.drivers()
                .into_iter()
                .filter(|manifest| manifest.role == PluginRole::Stateful)
                .map(|manifest| manifest.name)
                .collect()
        } else if self.options.driver.len() > 1 {
            self.options.driver.clone()
        } else {
            Vec::new()
        };
        for driver in modular {
            let name = DaemonName::of_driver(&driver)?;
            let folders = UserFolders::from_environment();
            let paths = Paths::new(&name, self.reach, &folders, self.paths.socket.parent())?;
            self.unix_listeners(&name, &paths, Scope::Driver(driver), &mut listeners)?;
        }
        Ok(listeners)
    }

    fn passed_listener(&self, service: Service, socket: std::os::fd::OwnedFd) -> Result<Listener> {
        nix::fcntl::fcntl(
            &socket,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .or_system(|| "cannot prepare a passed socket")?;
        let (place, scope, read_only, auth) = match service {
            Service::Main => (
                Place::Unix(self.paths.socket.clone()),
                Scope::All,
                false,
                self.config.auth_unix_rw,
            ),
            Service::ReadOnly => (
                Place::Unix(self.paths.socket_ro.clone().unwrap_or_default()),
                Scope::All,
                true,
                self.config.auth_unix_ro,
            ),
            Service::Admin => (
                Place::Unix(self.paths.socket_admin.clone()),
                Scope::Admin,
                false,
                Auth::None,
            ),
            Service::Tcp | Service::Tls => {
                let socket = std::net::TcpListener::from(
                    socket
                        .try_clone()
                        .map_err(|error| VirtError::io(&error, "cannot prepare a passed socket"))?,
                );
                let address = socket
                    .local_addr()
                    .map_err(|error| VirtError::io(&error, "a passed socket has no network address"))?;
                match service {
                    Service::Tls => (Place::Tls(address), Scope::All, false, self.config.auth_tls),
                    _ => (Place::Tcp(address), Scope::All, false, self.config.auth_tcp),
                }
            }
        };
        Ok(Listener {
            name: service.unit(&self.name),
            place,
            scope,
            read_only,
            auth,
            socket,
            is_passed: true,
        })
    }

    fn unix_listeners(
        &self,
        name: &DaemonName,
        paths: &Paths,
        scope: Scope,
        listeners: &mut Vec<Listener>,
    ) -> Result<()> {
        let group = match &self.config.unix_sock_group {
            Some(group) if self.reach == Reach::System => Some(group_id(group)?),
            _ => None,
        };
        let session = self.reach == Reach::Session;
        let queue = i32::try_from(self.config.max_queued_clients).unwrap_or(i32::MAX);
        let mode = |mode: u32| if session { 0o700 } else { mode };
        let mut add = |service: Service, path: &Path, permissions: u32, scope: Scope, read_only, auth| {
            listeners.push(Listener {
                name: service.unit(name),
                place: Place::Unix(path.to_owned()),
                scope,
                read_only,
                auth,
                socket: bind_unix(path, mode(permissions), group, queue)?,
                is_passed: false,
            });
            Ok::<(), VirtError>(())
        };
        add(
            Service::Main,
            &paths.socket,
            self.config.rw_mode().0,
            scope.clone(),
            false,
            self.config.auth_unix_rw,
        )?;
        if let Some(path) = &paths.socket_ro {
            let permissions = self.config.unix_sock_ro_perms.0;
            add(
                Service::ReadOnly,
                path,
                permissions,
                scope,
                true,
                self.config.auth_unix_ro,
            )?;
        }
        let permissions = self.config.unix_sock_admin_perms.0;
        add(
            Service::Admin,
            &paths.socket_admin,
            permissions,
            Scope::Admin,
            false,
            Auth::None,
        )
    }

    async fn until_the_end(&mut self, server: Arc<Server>, mut attendance: Attendance, mut signals: Signals) {
        let notifier = Notifier::from_environment();
        notifier.ready();
        let watchdog = notifier.watchdog_interval();
        let mut beat = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        let mut preserve = false;
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => break,
                    Wish::Reload => {
                        notifier.reloading();
                        self.reload(&server);
                        notifier.ready();
                    }
                },
                _ = beat.tick() => if watchdog.is_some() {
                    notifier.alive();
                },
                Some(event) = attendance.recv() => match event {
                    Event::UpdateTls(reply) => {
                        let updated = self.security(true).map(|security| server.set_security(security));
                        // Whoever asked may have given up.
                        let _ = reply.try_send(updated);
                    }
                    Event::ShutDown { preserve: wanted } => {
                        tracing::info!("an administrator ends the daemon");
                        preserve = wanted;
                        break;
                    }
                    Event::HostGoesDown => {
                        tracing::info!("the host goes down");
                        preserve = true;
                        break;
                    }
                    Event::Idle(time) => {
                        tracing::info!("nothing has needed the daemon for {time:?}");
                        break;
                    }
                },
            }
        }
        notifier.stopping();
        attend::with_news(&notifier, self.stop(&server, preserve)).await;
    }

    fn reload(&mut self, server: &Arc<Server>) {
        let named = self.options.config.as_deref().or_else(|| {
            self.options
                .root
                .as_ref()
                .map(|_| self.paths.config_file.as_path())
        });
        if named.is_none_or(Path::exists) || self.options.config.is_some() {
            match DaemonConfig::load(&self.role, named) {
                Ok(loaded) => {
                    let reloaded = self.config.reload(&loaded.config);
                    self.config = reloaded.config;
                    for key in reloaded.pending {
                        tracing::warn!("the new value of '{}' holds after a restart", key.name);
                    }
                    let fresh = settings(&self.config);
                    server.change_settings(|settings| settings.clone_from(&fresh));
                    if let Err(error) = self.access.reload(&self.config) {
                        tracing::error!("the access policy stays as it was: {error}");
                    }
                    self.audit.reload(&self.config);
                    match self.security(server.security().tls.is_some()) {
                        Ok(security) => server.set_security(security),
                        Err(error) => {
                            tracing::error!("certificates and authentication stay as they were: {error}")
                        }
                    }
                    let log = log_config(&self.config, &self.options, &self.log_file);
                    if let Err(error) = self.logger.configure(&log, &LogEnvironment::current()) {
                        tracing::error!("{error}");
                    }
                }
                Err(error) => tracing::error!("the configuration stays as it was: {error}"),
            }
        }
        let host = Arc::clone(server.host());
        server.in_background(move || host.reload());
    }

    /// Ends clients and drivers. With `preserve` drivers save what would be lost first.
    async fn stop(&mut self, server: &Arc<Server>, preserve: bool) {
        server.stop(Ending::Stopping).await;
        let host = Arc::clone(server.host());
        let timeout = server.settings().stop_timeout;
        let done = tokio::task::spawn_blocking(move || {
            if preserve {
                host.for_each_driver("stop", |driver| driver.stop());
            }
            host.shut_down(Deadline::after(timeout));
        });
        if tokio::time::timeout(timeout, done).await.is_err() {
            tracing::warn!("drivers still have work after {timeout:?} and are left to it");
        }
        for listener in server.listeners() {
            if let (Place::Unix(path), false) = (&listener.place, listener.is_passed) {
                // The next daemon makes its own.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Sockets on that address, or on every address of the host.
fn bind_net(
    address: Option<&str>,
    port: &Port,
    queue: i32,
) -> Result<Vec<(std::net::SocketAddr, std::os::fd::OwnedFd)>> {
    use std::net::{TcpListener, ToSocketAddrs};
    let number = match port.number() {
        Some(number) => number,
        None => service_port(&port.0)?,
    };
    let listen = |address: std::net::SocketAddr| {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let queue = nix::sys::socket::Backlog::new(queue).unwrap_or(nix::sys::socket::Backlog::MAXCONN);
        // The queue of a socket that listens can be changed by listening again.
        nix::sys::socket::listen(&socket, queue)?;
        Ok((socket.local_addr()?, socket.into()))
    };
    let context = |error: &std::io::Error| {
        let name = address.unwrap_or("*");
        VirtError::io(error, format_args!("cannot listen on '{name}' port {number}"))
    };
    let Some(name) = address else {
        // One socket serves both families where the host has IPv6.
        let any6 = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, number));
        let any4 = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, number));
        let bound = listen(any6).or_else(|_: std::io::Error| listen(any4));
        return Ok(vec![bound.map_err(|error| context(&error))?]);
    };
    let addresses: Vec<_> = (name, number)
        .to_socket_addrs()
        .map_err(|error| context(&error))?
        .collect();
    addresses
        .into_iter()
        .map(|address| listen(address).map_err(|error: std::io::Error| context(&error)))
        .collect()
}

/// The TCP port of a service by name.
fn service_port(name: &str) -> Result<u16> {
    let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
    let found = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let (first, port) = (words.next()?, words.next()?);
            let named = first == name || words.any(|alias| alias == name);
            port.strip_suffix("/tcp").filter(|_| named)?.parse().ok()
        });
    found.ok_or_else(|| {
        VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("'{name}' is neither a port nor a TCP service of this host"),
        )
    })
}

fn group_id(name: &str) -> Result<u32> {
    let found = nix::unistd::Group::from_name(name).or_system(|| format!("cannot look up group '{name}'"))?;
    match (found, name.parse()) {
        (Some(group), _) => Ok(group.gid.as_raw()),
        (None, Ok(number)) => Ok(number),
        (None, Err(_)) => Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("unix_sock_group: there is no group '{name}'"),
        )),
    }
}
