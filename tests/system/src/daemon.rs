//! A daemon of ours below a temporary folder, and stock clients of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use virt_api::testkit::plugins;

/// Longest that the daemon may take until it answers.
const START: Duration = Duration::from_secs(30);

/// A running daemon. It ends with this value, and so do its guests, by pid.
pub struct Daemon {
    root: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// Starts one with these options beside those that keep it in a folder of its own.
    ///
    /// # Panics
    /// If the workspace does not build or the daemon does not answer.
    pub fn start(options: &[&str]) -> Self {
        Self::start_with(options, "")
    }

    /// [`Daemon::start`] with a configuration.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    pub fn start_with(options: &[&str], config: &str) -> Self {
        let root = tempfile::Builder::new()
            .prefix("fd")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let child = spawn(root.path(), options, config);
        let mut daemon = Self { root, child };
        daemon.wait_ready();
        daemon
    }

    /// Ends the daemon without mercy and starts it again in the same folder.
    ///
    /// # Panics
    /// As [`Daemon::start`].
    pub fn kill_and_restart(&mut self, options: &[&str]) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(self.root.path(), options, "");
        self.wait_ready();
    }

    /// The program.
    ///
    /// # Panics
    /// If the workspace does not build.
    pub fn program() -> PathBuf {
        let plugins = plugins().expect("the plugins build");
        let object = plugins.object("virt-driver-test").expect("the driver builds");
        let folder = object.parent().expect("a file is in a folder");
        [folder.join("virtd"), folder.join("../virtd")]
            .into_iter()
            .find(|path| path.is_file())
            .expect("virtd is built")
    }

    fn wait_ready(&mut self) {
        let end = Instant::now() + START;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().expect("the daemon can be asked for");
            assert!(ended.is_none(), "the daemon ended with {ended:?}: {}", self.log());
            assert!(Instant::now() < end, "the daemon does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Its socket for reading and writing.
    pub fn socket(&self) -> PathBuf {
        self.root().join("run/libvirt/libvirt-sock")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root().join("log")).unwrap_or_default()
    }

    /// The URI by which stock clients reach a driver of it.
    pub fn uri(&self, driver: &str, path: &str) -> String {
        format!("{driver}+unix:///{path}?socket={}", self.socket().display())
    }

    /// The URI of the test driver's host.
    pub fn test_uri(&self) -> String {
        self.uri("test", "default")
    }

    /// Stock virsh with these words.
    ///
    /// # Panics
    /// If it does not start.
    pub fn virsh(&self, uri: &str, words: &[&str]) -> Output {
        Command::new("timeout")
            .args(["60", "/usr/bin/virsh", "-c", uri])
            .args(words)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .expect("virsh starts")
    }

    /// What stock virsh prints, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn virsh_ok(&self, uri: &str, words: &[&str]) -> String {
        let output = self.virsh(uri, words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "virsh {words:?}: {}{}\ndaemon: {}",
            text(&output.stdout),
            text(&output.stderr),
            self.log()
        );
        text(&output.stdout)
    }

    /// What stock virsh complains about, which must fail.
    ///
    /// # Panics
    /// If it succeeds.
    #[track_caller]
    pub fn virsh_error(&self, uri: &str, words: &[&str]) -> String {
        let output = self.virsh(uri, words);
        assert!(!output.status.success(), "virsh {words:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs a program for python3 with the stock binding; `URI` in it is the test driver's.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn python(&self, uri: &str, program: &str) -> String {
        let output = Command::new("timeout")
            .args(["60", "/usr/bin/python3", "-c", program])
            .env("URI", uri)
            .stdin(Stdio::null())
            .output()
            .expect("python starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "python: {}{}\ndaemon: {}",
            text(&output.stdout),
            text(&output.stderr),
            self.log()
        );
        text(&output.stdout)
    }

    /// Asks the daemon to end and waits for it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        use nix::sys::signal::{Signal, kill};
        kill(nix::unistd::Pid::from_raw(self.pid()), Signal::SIGTERM).expect("a signal can be sent");
        let end = Instant::now() + START;
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
        crate::host::guests_of(self.root())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.guests() {
            // A test that failed leaves its guest; one that is gone already is as good.
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn spawn(root: &Path, options: &[&str], config: &str) -> Child {
    let plugins = plugins().expect("the plugins build");
    let program = Daemon::program();
    let config_file = root.join("virtd.conf");
    std::fs::write(&config_file, config).expect("a file can be written");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(root.join("log"))
        .expect("a file can be written");
    Command::new(program)
        .env("VIRT_DRIVER_DIR", plugins.directory())
        .env("LIBVIRT_LOG_OUTPUTS", "2:stderr")
        .arg("--root")
        .arg(root)
        .arg("--config")
        .arg(config_file)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("virtd starts")
}
