//! Ways to a daemon that have something between: ssh and what it runs over there, the URIs of libraries for it, polkit
//! and its agent, a daemon that leads to others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use virt_api::need;
use virt_tests_system::clients::stock;
use virt_tests_system::daemon::{Daemon, program};
use virt_tests_system::host::{Host, Ran, eventually, run_to_end};
use virt_tests_system::polkit::Polkit;

/// A user that is not root.
const NOBODY: u32 = 65_534;

/// A folder that everybody may look into, with programs in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("fvw").tempdir_in("/tmp").unwrap();
        open_to_all(folder.path());
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        open_to_all(&path);
        path
    }
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The program of the search path with that name.
fn found(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.into_iter().find(|path| path.is_file()).unwrap()
}

/// In place of ssh: notes its words and runs the last of them here, as a shell over there would. Over there are only the
/// programs in the folder `there`.
fn fake_ssh(folder: &Folder, name: &str, there: &str) -> PathBuf {
    for program in ["sh", "which", "grep"] {
        let link = folder.path(there).join(program);
        std::fs::create_dir_all(folder.path(there)).unwrap();
        if !link.exists() {
            symlink(found(program), link).unwrap();
        }
    }
    let text = format!(
        "printf '%s\\n' \"$@\" > {}\nfor last; do :; done\nPATH={}\nexport PATH\nexec /bin/sh -c \"$last\"",
        folder.path("words").display(),
        folder.path(there).display()
    );
    folder.script(name, &text)
}

fn ours(host: &Host, uri: &str) -> Command {
    let mut command = host.virsh();
    command.args(["-c", uri, "list", "--all"]);
    command
}

fn theirs(uri: &str) -> Command {
    let mut command = stock("/usr/bin/virsh");
    command.args(["-c", uri, "list", "--all"]);
    command
}

#[track_caller]
fn lists(what: &str, ran: &Ran) {
    assert!(
        ran.succeeded() && ran.out.contains("test   running"),
        "{what}: {}{}",
        ran.out,
        ran.err
    );
}

#[test]
fn ssh_finds_the_daemon_by_the_helper_or_by_netcat() {
    need!(program "which", program "grep");
    let (host, daemon, folder) = (Host::new(), Daemon::start(), Folder::new());
    let netcat = Path::new(env!("CARGO_BIN_EXE_unix-netcat"));
    let with_helper = fake_ssh(&folder, "ssh-helper", "helper");
    symlink(
        program().with_file_name("virt-ssh-helper"),
        folder.path("helper/virt-ssh-helper"),
    )
    .unwrap();
    let with_netcat = fake_ssh(&folder, "ssh-netcat", "netcat");
    symlink(netcat, folder.path("netcat/nc")).unwrap();
    let with_nothing = fake_ssh(&folder, "ssh-nothing", "nothing");
    let odd = folder.path("odd folder");
    std::fs::create_dir(&odd).unwrap();
    symlink(netcat, odd.join("my nc")).unwrap();

    let socket = daemon.socket();
    let uri = |ssh: &Path, more: &str| {
        format!(
            "test+ssh://far/default?socket={}&command={}{more}",
            socket.display(),
            ssh.display()
        )
    };
    let odd = format!(
        "&netcat={}/my%20nc",
        odd.display().to_string().replace(' ', "%20")
    );
    let stock_too = Path::new("/usr/bin/virsh").exists();
    for (ssh, more) in [
        // Who names a socket is taken to want netcat, unless he says otherwise.
        (&with_helper, "&proxy=native"),
        (&with_helper, "&proxy=auto"),
        (&with_helper, "&proxy=native&mode=legacy"),
        (&with_netcat, ""),
        (&with_netcat, "&proxy=netcat"),
        (&with_netcat, "&netcat=nc"),
        (&with_nothing, odd.as_str()),
    ] {
        let uri = uri(ssh, more);
        lists(&uri, &run_to_end(ours(&host, &uri)));
        // libvirt's client and our helper understand each other too.
        if stock_too {
            lists(&format!("stock: {uri}"), &run_to_end(theirs(&uri)));
        }
    }
    for (ssh, more, wanted) in [
        (
            &with_netcat,
            "&proxy=native&netcat=nc",
            "proxy='native' exclude each other",
        ),
        (&with_nothing, "&proxy=native", "virt-ssh-helper"),
        (&with_nothing, "&proxy=netcat", "nc"),
        (&with_nothing, "&proxy=smoke", "Unknown proxy type 'smoke'"),
        (&with_netcat, "&proxy=netcat&mode=smoke", "smoke"),
    ] {
        let uri = uri(ssh, more);
        let ran = run_to_end(ours(&host, &uri));
        assert!(ran.code == Some(1) && ran.err.contains(wanted), "{uri}: {ran:?}");
    }
}

#[test]
fn uris_of_ssh_libraries_lead_through_the_users_ssh() {
    need!(program "which", program "grep");
    let (host, daemon, folder) = (Host::new(), Daemon::start(), Folder::new());
    fake_ssh(&folder, "bin/ssh", "there");
    symlink(
        program().with_file_name("virt-ssh-helper"),
        folder.path("there/virt-ssh-helper"),
    )
    .unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path("bin").display());
    let run = |transport: &str, more: &str| {
        let socket = daemon.socket();
        let uri = format!("test+{transport}://far/default?socket={}{more}", socket.display());
        let mut command = ours(&host, &uri);
        command.env("PATH", &path);
        (run_to_end(command), uri)
    };
    for transport in ["libssh", "libssh2"] {
        let (ran, uri) = run(
            transport,
            "&proxy=auto&known_hosts=/h&known_hosts_verify=Ignore&sshauth=agent,password&keyfile=/k",
        );
        lists(&uri, &ran);
        let words = std::fs::read_to_string(folder.path("words")).unwrap();
        for wanted in [
            "-l\nroot\n",
            "-i\n/k\n",
            "UserKnownHostsFile=/h\n",
            "StrictHostKeyChecking=no\n",
            "PreferredAuthentications=publickey,password\n",
        ] {
            assert!(words.contains(wanted), "{transport}: {wanted} {words}");
        }
        for (more, wanted) in [
            ("&known_hosts_verify=maybe", "known_hosts_verify='maybe'"),
            ("&sshauth=agent,telepathy", "sshauth method 'telepathy'"),
        ] {
            let (ran, uri) = run(transport, more);
            assert!(ran.code == Some(1) && ran.err.contains(wanted), "{uri}: {ran:?}");
        }
    }
}

#[test]
fn polkits_agent_is_started_where_somebody_can_be_asked() {
    need!(root, program "dbus-daemon", program "python3");
    let (host, folder) = (Host::new(), Folder::new());
    // In place of polkit's agent: notes its words, says that it is ready, and stays until it is ended.
    let words = folder.path("agent");
    std::fs::write(&words, "").unwrap();
    std::fs::remove_file(&words).unwrap();
    std::os::unix::fs::chown(folder.path("."), Some(NOBODY), Some(NOBODY)).unwrap();
    folder.script(
        "bin/pkttyagent",
        &format!(
            "echo \"$@\" > {0}.new; mv {0}.new {0}\n\
             while [ \"$1\" != --notify-fd ]; do shift; done\neval \"exec $2>&-\"\nexec sleep 1000",
            words.display()
        ),
    );
    let polkit = Polkit::start(&words);
    let daemon = Daemon::start_env(
        "auth_unix_rw = \"polkit\"\nauth_unix_ro = \"polkit\"\n",
        &[("DBUS_SYSTEM_BUS_ADDRESS", polkit.address())],
    );
    open_to_all(daemon.root());
    let path = format!("{}:/usr/bin:/bin", folder.path("bin").display());
    let nobody = |mut command: Command| {
        command
            .env("PATH", &path)
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY);
        run_to_end(command)
    };
    let manage = ("org.libvirt.unix.manage".to_owned(), NOBODY);

    // Root is not asked about.
    lists("root", &run_to_end(ours(&host, &daemon.test_uri())));
    assert_eq!(polkit.asked(), []);

    // Without a terminal nobody can be asked: polkit's answer stands.
    let ran = nobody(ours(&host, &daemon.test_uri()));
    let wanted = "action 'org.libvirt.unix.manage' needs a password";
    assert!(ran.code == Some(1) && ran.err.contains(wanted), "{ran:?}");
    assert!(!words.exists());
    assert_eq!(polkit.asked()[0], manage);

    // On a terminal an agent is started, polkit is asked again, and the agent ends with the client.
    let on_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let uri = daemon.test_uri();
    let virsh = ours(&host, &uri);
    let mut command = Command::new("python3");
    command.args(["-c", on_terminal]).arg(virsh.get_program());
    for (name, value) in virsh.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.args(virsh.get_args());
    let ran = nobody(command);
    lists("on a terminal", &ran);
    let told = std::fs::read_to_string(&words).unwrap();
    assert!(
        told.starts_with("--process ") && told.contains(" --notify-fd ") && told.contains("--fallback"),
        "{told}"
    );
    assert_eq!(polkit.asked(), [manage.clone(), manage.clone()]);
    eventually("the agent has ended", Duration::from_secs(10), || {
        children_of(NOBODY, "sleep\u{0}1000\u{0}") == 0
    });

    // Whom polkit knows is asked about once; libvirt's own client too.
    lists("allowed", &nobody(ours(&host, &daemon.test_uri())));
    assert_eq!(polkit.asked(), std::slice::from_ref(&manage));
    if Path::new("/usr/bin/virsh").exists() {
        lists("stock", &nobody(theirs(&daemon.test_uri())));
        assert_eq!(polkit.asked(), [manage]);
    }
}

/// Processes of that user with that command line.
fn children_of(user: u32, line: &str) -> usize {
    use std::os::unix::fs::MetadataExt;
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            let owner = entry.metadata().map(|data| data.uid());
            let words = std::fs::read(entry.path().join("cmdline"));
            owner.is_ok_and(|uid| uid == user) && words.is_ok_and(|words| words == line.as_bytes())
        })
        .count()
}
