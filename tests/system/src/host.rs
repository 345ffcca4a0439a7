//! A host below a temporary folder, and virsh on it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virt_api::testkit::plugins;

/// Longest that one virsh may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A host of its own. What runs on it is killed with it, by pid.
pub struct Host {
    root: tempfile::TempDir,
}

/// What a virsh left behind.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

impl Ran {
    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The output of a virsh that must succeed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "the program failed: {}{}", self.out, self.err);
        self.out
    }
}

impl Host {
    /// A host with nothing on it. The plugins are built first.
    ///
    /// # Panics
    /// If the workspace does not build or there is no room for a folder.
    pub fn new() -> Self {
        plugins().expect("the plugins build");
        Self {
            root: tempfile::Builder::new()
                .prefix("fv")
                .tempdir_in("/tmp")
                .expect("a temporary folder"),
        }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The URI under which it is opened.
    pub fn uri(&self) -> String {
        format!("qemu:///embed?root={}", self.root().display())
    }

    /// Writes a file of the host's folder.
    ///
    /// # Panics
    /// If that fails.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.root().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// A virsh that is about to start.
    ///
    /// # Panics
    /// If the workspace does not build.
    pub fn virsh(&self) -> Command {
        let plugins = plugins().expect("the plugins build");
        let object = plugins.object("virt-driver-qemu").expect("the driver builds");
        let folder = object.parent().expect("a file is in a folder");
        // Plugins lie in `deps` or beside the programs.
        let program = [folder.join("virsh"), folder.join("../virsh")]
            .into_iter()
            .find(|path| path.is_file())
            .expect("virsh is built");
        let mut command = Command::new(program);
        command
            .env("VIRT_DRIVER_DIR", plugins.directory())
            .args(["-c", &self.uri()]);
        command
    }

    /// Runs virsh with these words and waits for it.
    ///
    /// # Panics
    /// If it does not start or takes longer than a minute.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.virsh();
        command.args(words);
        run_to_end(command)
    }

    /// Processes of guests: those whose command line names the host's folder.
    pub fn guests(&self) -> Vec<i32> {
        guests_of(self.root())
    }
}

/// Processes of QEMU whose command line names this folder.
pub(crate) fn guests_of(root: &Path) -> Vec<i32> {
    let needle = root.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        if line.contains("qemu-system") && line.contains(&needle) {
            found.push(pid);
        }
    }
    found
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        for pid in self.guests() {
            // A test that failed leaves its guest; one that is gone already is as good.
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Runs a program and waits for it.
///
/// # Panics
/// If it does not start or takes longer than a minute.
#[track_caller]
pub fn run_to_end(mut command: Command) -> Ran {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    let status = wait(&mut child);
    Ran {
        code: status.code(),
        out: out.join().expect("the reader ends"),
        err: err.join().expect("the reader ends"),
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is still worth showing.
            let _ = stream.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

#[track_caller]
fn wait(child: &mut Child) -> std::process::ExitStatus {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("virsh can be waited for") {
            return status;
        }
        if Instant::now() > end {
            // It is the test that failed; the process must not outlive it.
            let _ = child.kill();
            let _ = child.wait();
            panic!("the program did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of this host that nobody listens on now.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// Asks until `question` says yes.
///
/// # Panics
/// After `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut question: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !question() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
