//! A daemon of ours below a temporary folder, and stock clients of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use virt_api::testkit::{plugins, stock};

use crate::clients;
use crate::host::{Ran, guests_of, run_to_end};

/// Longest that a daemon may take to answer on its socket.
const START: Duration = Duration::from_secs(30);
/// Longest that a daemon may take to end.
const END: Duration = Duration::from_secs(60);

/// The daemon's program, as the tree builds it.
///
/// # Panics
/// If the workspace does not build.
pub fn program() -> PathBuf {
    let plugins = plugins().expect("the plugins build");
    let object = plugins.object("virt-driver-test").expect("the driver builds");
    let folder = object.parent().expect("a file is in a folder");
    // Plugins lie in `deps` or beside the programs.
    [folder.join("virtd"), folder.join("../virtd")]
        .into_iter()
        .find(|path| path.is_file())
        .expect("virtd is built")
}

/// A daemon that runs. It is ended, by pid, with its value, and so are its guests.
pub struct Daemon {
    root: tempfile::TempDir,
    child: Child,
    options: Vec<String>,
    /// What it has in its environment beside ours.
    variables: Vec<(String, OsString)>,
}

impl Daemon {
    /// A daemon with all drivers and no configuration.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// A daemon with this configuration and these options beside the one that names its folder.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_with(config: &str, options: &[&str]) -> Self {
        let plugins = plugins().expect("the plugins build");
        Self::start_in(config, options, plugins.directory())
    }

    /// A daemon whose plugins are those in `drivers`.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_in(config: &str, options: &[&str], drivers: &Path) -> Self {
        Self::start_as(config, options, &[("VIRT_DRIVER_DIR", drivers.as_os_str())])
    }

    /// A daemon with this configuration and these variables in its environment.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_env(config: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_like(config, &[], variables)
    }

    /// A daemon with this configuration, these options and these variables in its environment.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_like(config: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let plugins = plugins().expect("the plugins build");
        let mut all = vec![("VIRT_DRIVER_DIR", plugins.directory().as_os_str())];
        all.extend(variables.iter().map(|(name, value)| (*name, OsStr::new(*value))));
        Self::start_as(config, options, &all)
    }

    /// A daemon with this configuration, in whose folder `prepare` has put something.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn prepared(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let plugins = plugins().expect("the plugins build");
        let variables = [("VIRT_DRIVER_DIR", plugins.directory().as_os_str())];
        Self::start_prepared(config, &[], &variables, prepare)
    }

    #[track_caller]
    fn start_as(config: &str, options: &[&str], variables: &[(&str, &OsStr)]) -> Self {
        Self::start_prepared(config, options, variables, |_| {})
    }

    #[track_caller]
    fn start_prepared(
        config: &str,
        options: &[&str],
        variables: &[(&str, &OsStr)],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let root = tempfile::Builder::new()
            .prefix("fv")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        std::fs::create_dir_all(root.path().join("etc/libvirt")).expect("a folder");
        std::fs::write(config_file(root.path()), config).expect("a configuration");
        prepare(root.path());
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let child = spawn(root.path(), &options, &variables);
        let mut daemon = Self {
            root,
            child,
            options,
            variables,
        };
        daemon.wait_until_ready();
        daemon
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let end = Instant::now() + START;
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().expect("the daemon can be asked for");
            assert!(ended.is_none(), "the daemon ended with {ended:?}: {}", self.log());
            assert!(Instant::now() < end, "the daemon does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the daemon as a crash would, and starts it again in the same folder.
    ///
    /// # Panics
    /// If it does not start again.
    #[track_caller]
    pub fn crash_and_restart(&mut self) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon ends");
        self.child = spawn(self.root.path(), &self.options, &self.variables);
        self.wait_until_ready();
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The file with its configuration.
    pub fn config_file(&self) -> PathBuf {
        config_file(self.root())
    }

    /// The socket for clients.
    pub fn socket(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-sock")
    }

    /// The socket for clients that only look.
    pub fn socket_ro(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-sock-ro")
    }

    /// The socket of the administration.
    pub fn socket_admin(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-admin-sock")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root().join("log")).unwrap_or_default()
    }

    /// A URI of one of its drivers through its socket: `test:///default`, `qemu:///system`.
    pub fn uri(&self, of: &str) -> String {
        stock::uri_through(&self.socket(), of)
    }

    /// The URI of the built-in test host behind the daemon.
    pub fn test_uri(&self) -> String {
        self.uri("test:///default")
    }

    /// Stock virsh with these words.
    ///
    /// # Panics
    /// If it does not start or does not end.
    #[track_caller]
    pub fn virsh(&self, uri: &str, words: &[&str]) -> Ran {
        let mut command = clients::stock("/usr/bin/virsh");
        command.args(["-c", uri]).args(words);
        run_to_end(command)
    }

    /// What stock virsh prints, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn virsh_ok(&self, uri: &str, words: &[&str]) -> String {
        self.succeeded(words, self.virsh(uri, words))
    }

    /// What stock virsh complains about, which must fail.
    ///
    /// # Panics
    /// If it succeeds.
    #[track_caller]
    pub fn virsh_error(&self, uri: &str, words: &[&str]) -> String {
        let ran = self.virsh(uri, words);
        assert!(!ran.succeeded(), "virsh {words:?} succeeded");
        ran.err
    }

    /// Stock virt-admin.
    ///
    /// # Panics
    /// If it does not start or does not end.
    #[track_caller]
    pub fn virt_admin(&self, words: &[&str]) -> Ran {
        let mut command = clients::stock("/usr/bin/virt-admin");
        let uri = format!("libvirtd:///system?socket={}", self.socket_admin().display());
        command.args(["-c", &uri]).args(words);
        run_to_end(command)
    }

    /// What a program for python3 with the stock binding prints; `URI` is in its environment.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn python(&self, uri: &str, program: &str) -> String {
        let mut command = clients::stock("/usr/bin/python3");
        command.args(["-c", program]).env("URI", uri);
        self.succeeded(&["python3"], run_to_end(command))
    }

    #[track_caller]
    fn succeeded(&self, words: &[&str], ran: Ran) -> String {
        assert!(
            ran.succeeded(),
            "{words:?}: {}{}\ndaemon: {}",
            ran.out,
            ran.err,
            self.log()
        );
        ran.out
    }

    /// Whether the daemon still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal can be sent");
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        // One that is gone already is as good.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + END;
        loop {
            if let Some(status) = self.child.try_wait().expect("the daemon can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "the daemon does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Processes of guests: those whose command line names the daemon's folder.
    pub fn guests(&self) -> Vec<i32> {
        guests_of(self.root())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for pid in self.guests() {
            // A test that failed leaves its guest; one that is gone already is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn config_file(root: &Path) -> PathBuf {
    root.join("etc/libvirt/libvirtd.conf")
}

fn spawn(root: &Path, options: &[String], variables: &[(String, OsString)]) -> Child {
    let log = std::fs::File::options()
        .append(true)
        .create(true)
        .open(root.join("log"))
        .expect("a log file");
    Command::new(program())
        .arg0("libvirtd")
        .arg("--root")
        .arg(root)
        .args(options)
        .env("LIBVIRT_LOG_OUTPUTS", "2:stderr")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the daemon starts")
}
