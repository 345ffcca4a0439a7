//! The daemon as a whole: what is started in which order, what signals mean, and how it ends.
//!
//! Start at [`run`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use virt_api::LIBVIRT_VERSION;
use virt_api::plugin::SearchPath;
use virt_util::lock::PidFile;
use virt_util::{Result, VirtError};

mod attend;
mod changes;
mod inherited;
pub(crate) mod places;
mod sockets;
pub mod state;
mod successor;

use crate::access::Access;
use crate::admin::Event;
use crate::audit::Audit;
use crate::auth::AuthServices;
use crate::auth::polkit::Polkit;
use crate::auth::tls::{TlsFiles, TlsServer};
use crate::config::{DaemonConfig, Role};
use crate::host::{AccessCheck, DaemonHost, HostConfig};
use crate::isolation::parent::Parent;
use crate::isolation::{self, Isolation};
use crate::logging::{LogEnvironment, Logger, Places};
use crate::options::Options;
use crate::server::{Security, Server};
use crate::service::activation::{self, Announced, Service};
use crate::service::background::{self, Waiting};
use crate::service::names::{DaemonName, Hosts};
use crate::service::notify::Notifier;
use crate::service::paths::{Paths, Scope as Reach, UserFolders};
use crate::service::startup::{InStep, StartError, Step, take_pid_file};
use crate::tools;

use attend::{Attendance, Attending};
use changes::Renewal;
use inherited::Inherited;
use places::{below, host_uuid, log_config, move_sockets, settings};
use sockets::Guarded;
use successor::{Left, Passed};

/// How long a daemon that is just ending may take to let go of its pid file.
const PREDECESSOR: Duration = Duration::from_secs(10);

/// Runs the daemon with this command line, its own name first, until it ends.
pub fn run(mut argv: Vec<OsString>) -> ExitCode {
    let mut options = match Options::try_parse_from(&argv) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            };
        }
    };
    if let Ok(folder) = std::env::current_dir() {
        options.make_absolute(&folder, &mut argv);
    }
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
    if let Err(error) = places::check_options(&options, &program) {
        eprintln!("{}: {error}", program.display());
        return ExitCode::FAILURE;
    }
    // One that was a daemon before is in the background already.
    let waiting = match options.daemon && !successor::is_successor() {
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
    match start(&options, argv) {
        Ok((daemon, runtime)) => daemon.run(runtime, waiting),
        Err(error) => failed(&program, waiting, &error),
    }
}

/// Tells why the daemon does not start: the log, and whoever started it, who may not look there.
fn failed(program: &Path, waiting: Option<Waiting>, failure: &StartError) -> ExitCode {
    let StartError { step, error } = failure;
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    crate::logging::log_error!(error, "{error}{hint}");
    eprintln!("{}: {error}{hint}", program.display());
    if let Some(waiting) = waiting {
        waiting.failed(*step);
    }
    ExitCode::from(step.exit_status())
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
    passed: Option<Passed>,
    left: Left,
    inherited: Inherited,
    /// Until all signals are caught.
    early: Option<EarlySignals>,
    argv: Vec<OsString>,
    polkit: Arc<Polkit>,
    access: Arc<Access>,
    audit: Arc<Audit>,
    /// The daemon, of a driver that has this process to itself.
    parent: Option<Arc<Parent>>,
    _pid_file: PidFile,
}

fn start(options: &Options, argv: Vec<OsString>) -> std::result::Result<(Daemon, Runtime), StartError> {
    let program = argv.first().map(PathBuf::from).unwrap_or_default();
    let name = places::daemon_name(options, &program).in_step(Step::Initialize)?;
    // Before anything else is opened: the sockets are known by their numbers.
    let passed = activation::take(&Announced::from_environment(), &name).in_step(Step::Network)?;
    let mut left = Left::from_environment(&name).in_step(Step::Network)?;
    let inherited = match successor::is_successor() {
        true => Inherited::of_this_process(),
        false => Inherited::default(),
    };
    let passed = passed.map(Passed::from).or_else(|| left.take_passed());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| VirtError::io(&error, "cannot start the runtime"))
        .in_step(Step::Initialize)?;
    let early = EarlySignals::catch(&runtime).in_step(Step::Signals)?;
    let reach = Reach::current();
    let role = Role::new(name.name.clone(), reach == Reach::System);
    let folders = UserFolders::from_environment();
    let paths = Paths::new(&name, reach, &folders, None).in_step(Step::RuntimeFolder)?;
    let paths = options
        .root
        .as_deref()
        .map_or(paths.clone(), |root| below(root, paths));
    let loaded = places::load(options, &role, &paths.config_file).map_err(|error| StartError {
        step: places::step_of(&error),
        error,
    })?;
    let config = loaded.config;
    let logger = Arc::new(Logger::new(Places::default()));
    logger.install();
    let log_file = paths.log_file.clone();
    logger
        .configure(
            &log_config(&config, options, &log_file),
            &LogEnvironment::current(),
        )
        .in_step(Step::Config)?;
    // Not before there is a log.
    changes::warn_of_ignored(&loaded.ignored);
    let mut paths = match &config.unix_sock_dir {
        Some(folder) => move_sockets(paths, Path::new(folder)),
        None => paths,
    };
    if let Some(socket) = &options.isolated_socket {
        paths.pid_file = socket.with_extension("pid");
    }
    if let Some(named) = &options.pid_file {
        paths.pid_file.clone_from(named);
    }
    paths.make_folders(reach).in_step(Step::RuntimeFolder)?;
    let parent = match (&options.isolated_socket, options.driver.as_slice()) {
        (Some(socket), [driver]) => {
            let socket = isolation::socket_of_daemon(socket);
            Some(Parent::of_this_process(driver, &socket).in_step(Step::Initialize)?)
        }
        _ => None,
    };
    let (access, audit) = match &parent {
        // Both are the daemon's.
        Some(parent) => (
            Access::decided_by(Arc::clone(parent) as Arc<dyn AccessCheck>),
            Audit::none(),
        ),
        None => (
            Access::new(&config, None).in_step(Step::Config)?,
            Audit::open(&config).in_step(Step::Audit)?,
        ),
    };
    let pid_file = take_pid_file(&paths.pid_file, PREDECESSOR).in_step(Step::PidFile)?;
    config.check_limits().in_step(Step::Initialize)?;
    let daemon = Daemon {
        options: options.clone(),
        name,
        role,
        config,
        logger,
        log_file,
        paths,
        reach,
        passed,
        left,
        inherited,
        early: Some(early),
        argv,
        polkit: Polkit::new(),
        access,
        audit: Arc::new(audit),
        parent,
        _pid_file: pid_file,
    };
    Ok((daemon, runtime))
}

/// Signals that would end the process if nobody caught them, and are not meant so: they are caught first of all. One that
/// came while the program was exchanged has waited until then.
struct EarlySignals {
    hangup: Signal,
    user: Signal,
}

impl EarlySignals {
    fn catch(runtime: &Runtime) -> Result<Self> {
        let _entered = runtime.enter();
        let caught = Self {
            hangup: caught(SignalKind::hangup())?,
            user: caught(SignalKind::user_defined2())?,
        };
        successor::hear_signals()?;
        Ok(caught)
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    early: EarlySignals,
}

fn caught(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| VirtError::io(&error, "cannot catch a signal"))
}

impl Signals {
    fn catch(early: EarlySignals) -> Result<Self> {
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            quit: caught(SignalKind::quit())?,
            early,
        })
    }

    /// Whether somebody has asked for the end in the meantime.
    async fn stop_is_wished(&mut self) -> bool {
        let asked = async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.quit.recv() => {}
            }
        };
        // As long as it takes to hear of signals that are there.
        tokio::time::timeout(Duration::from_millis(1), asked)
            .await
            .is_ok()
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.quit.recv() => Wish::Stop,
            _ = self.early.hangup.recv() => Wish::Reload,
            _ = self.early.user.recv() => Wish::Renew,
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
    /// Put the program that is installed now in this one's place; its clients come back to the same sockets.
    Renew,
}

impl Daemon {
    fn run(self, runtime: Runtime, waiting: Option<Waiting>) -> ExitCode {
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
                self.until_the_end(server, attendance, signals).await
            }
            Err(error) => {
                let program = self.argv.first().map(PathBuf::from).unwrap_or_default();
                failed(&program, waiting, &error)
            }
        }
    }

    async fn open(&mut self) -> std::result::Result<(Arc<Server>, Attendance, Signals), StartError> {
        let early = self
            .early
            .take()
            .ok_or_else(|| VirtError::internal("signals are caught already"));
        let signals = early.and_then(Signals::catch).in_step(Step::Signals)?;
        std::mem::take(&mut self.inherited).collect_all();
        let drivers = match (&self.name.hosts, self.options.driver.as_slice()) {
            (Hosts::One(driver), []) => vec![driver.clone()],
            (Hosts::None, []) => vec!["remote".to_owned()],
            (_, named) => named.to_vec(),
        };
        let isolate = self.isolation();
        let proxy = self.name.hosts == Hosts::None && self.options.driver.is_empty();
        let host = DaemonHost::new(
            HostConfig {
                privileged: self.reach == Reach::System,
                drivers: drivers.clone(),
                root: self.options.root.as_ref().map(|root| root.display().to_string()),
                search: SearchPath::from_environment(),
                proxy,
                isolate: isolate.clone(),
                parent: self.parent.clone(),
                host_uuid: match self.parent.as_ref().and_then(|parent| parent.host_uuid()) {
                    Some(uuid) => uuid,
                    None => host_uuid(&self.config).in_step(Step::Config)?,
                },
                ovs_timeout: Duration::from_secs(self.config.ovs_timeout.into()),
            },
            Some(Arc::clone(&self.logger)),
        );
        if !proxy {
            host.check_names(&drivers).in_step(Step::Driver)?;
        }
        if let Err(error) = host.check_names(&self.config.isolate) {
            tracing::warn!("isolate: {error}");
        }
        host.set_audit(Arc::clone(&self.audit));
        host.set_access(Arc::clone(&self.access) as Arc<dyn AccessCheck>);
        let with_tls = match &self.passed {
            Some(passed) => passed.sockets.contains_key(&Service::Tls),
            None => self.listens() && self.config.listen_tls,
        };
        let mut limits = settings(&self.config);
        self.left.apply_limits(&mut limits);
        let server = Server::new(
            limits,
            Arc::clone(&host),
            self.security(with_tls).in_step(Step::Network)?,
            tokio::runtime::Handle::current(),
        );
        if let Some(next) = self.left.next_client() {
            server.number_clients_from(next);
        }
        if let Some(isolation) = &isolate {
            server.listen(self.isolated_listener(isolation).in_step(Step::Network)?);
        }
        for Guarded { listener, guard } in self.listeners(&host).in_step(Step::Network)? {
            tracing::info!("listening on {:?}", listener.place);
            let listener = server.listen(listener);
            if let Some(guard) = guard {
                guard.put(&server, &listener).in_step(Step::Network)?;
            }
        }
        self.left.close_rest();
        self.warn_of_sasl(&server);
        let attending = Attending {
            name: &self.name.name,
            logger: &self.logger,
            timeout: self.options.idle_time(),
            metrics: self
                .options
                .metrics
                .as_deref()
                .or(self.config.metrics_socket.as_deref().map(Path::new)),
            embedded: self.options.root.is_some(),
        };
        let attendance = attend::attend(&attending, &server)
            .map_err(|error| match self.options.metrics {
                Some(_) => error,
                None => self.config.blame("metrics_socket", error),
            })
            .in_step(Step::Network)?;
        let parent = self.parent.clone();
        // Clients can connect while drivers start: opening one waits for it.
        std::thread::Builder::new()
            .name("virtd-start".to_owned())
            .spawn(move || {
                host.start_drivers();
                // What only the start needed is not held for the daemon's whole life.
                virt_util::sys::memory::give_back();
                if let Some(parent) = parent {
                    let drivers = Arc::clone(&host);
                    parent.on_stop(move || drivers.for_each_driver("stop", |driver| driver.stop()));
                    parent.ready();
                }
            })
            .map_err(|error| VirtError::io(&error, "cannot start the drivers"))
            .in_step(Step::Driver)?;
        Ok((server, attendance, signals))
    }

    /// The drivers that get processes of their own, and how these are started.
    fn isolation(&self) -> Option<Isolation> {
        if self.config.isolate.is_empty() || self.options.isolated_socket.is_some() {
            return None;
        }
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(config) = &self.options.config {
            arguments.extend(["--config".into(), config.into()]);
        }
        if let Some(root) = &self.options.root {
            arguments.extend(["--root".into(), root.into()]);
        }
        Some(Isolation::new(
            self.config.isolate.clone(),
            self.paths.runtime.join("virtd-isolated"),
            arguments,
        ))
    }

    /// Whether clients come over the network.
    fn listens(&self) -> bool {
        self.role.network() && (self.options.listen || !self.role.listens_with_option())
    }

    /// What clients are held against, as the configuration has it now.
    fn security(&self, with_tls: bool) -> Result<Security> {
        let users = places::password_file(&self.config, &self.role, self.options.root.as_deref());
        let tls = match with_tls {
            true => {
                let files = TlsFiles::locate(&self.config, &self.role)?;
                let tls = TlsServer::new(&self.config, &files).map_err(|error| {
                    error.with_hint(
                        "with --listen or a TLS socket, TLS is served unless the configuration says listen_tls = 0; it \
                         takes a certificate, its key and that of the authority",
                    )
                })?;
                Some(Arc::new(tls))
            }
            false => None,
        };
        Ok(Security {
            auth: Arc::new(AuthServices::new(&self.config, users, Arc::clone(&self.polkit))),
            tls,
            access: Arc::clone(&self.access),
            audit: Arc::clone(&self.audit),
        })
    }

    async fn until_the_end(
        &mut self,
        server: Arc<Server>,
        mut attendance: Attendance,
        mut signals: Signals,
    ) -> ExitCode {
        let notifier = Notifier::from_environment();
        notifier.ready();
        let watchdog = notifier.watchdog_interval();
        let mut beat = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        let (mut preserve, mut status) = (false, ExitCode::SUCCESS);
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => break,
                    Wish::Renew => {
                        notifier.reloading();
                        match attend::with_news(&notifier, self.renew(&server, &mut signals)).await {
                            Renewal::Refused => notifier.ready(),
                            Renewal::Overtaken => break,
                            Renewal::Failed => {
                                status = ExitCode::FAILURE;
                                break;
                            }
                        }
                    }
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
        status
    }
}
