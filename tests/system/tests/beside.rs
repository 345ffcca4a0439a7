//! libvirt's programs and ours beside each other: starts that fail, the administration, what connections say of
//! themselves, what is run on another host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use virt_api::need;
use virt_api::objects::Connect;
use virt_api::testkit::stock::{Room, Stock, program as found};
use virt_api::testkit::{Pki, plugins};
use virt_driver_remote::PluginEntry;
use virt_tests_system::clients::stock;
use virt_tests_system::daemon::{Daemon, program};
use virt_tests_system::host::{Host, Ran, eventually, free_port, run_to_end};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Theirs,
    Ours,
}

/// A daemon that is about to start, as the user of that folder.
fn daemon(whose: Whose, room: &Room) -> Command {
    match whose {
        Whose::Theirs => room.command(&found("libvirtd").unwrap()),
        Whose::Ours => {
            let mut command = room.command(&program());
            command
                .arg0("libvirtd")
                .env("VIRT_DRIVER_DIR", plugins().unwrap().directory());
            command
        }
    }
}

#[test]
fn starts_fail_for_the_same_reasons() {
    need!(root, program "libvirtd", program "python3");
    /// What is wrong: the configuration, options, and what has to be named.
    type Wrong<'a> = (&'a str, &'a [&'a str], &'a str);
    let wrong: [Wrong; 27] = [
        ("", &["--nosuch"], "--nosuch"),
        ("", &["extra"], ""),
        ("", &["--timeout", "soon"], "timeout"),
        ("", &["--config", "ROOM/none.conf"], "ROOM/none.conf"),
        ("", &["--config", "ROOM/secret.conf"], "ROOM/secret.conf"),
        ("", &["--pid-file", "ROOM/locked"], "ROOM/locked"),
        ("", &["--pid-file", "ROOM/closed/pid"], "ROOM/closed/pid"),
        ("max_clients = = 3", &[], "conf:1"),
        ("max_clients = \"x\"", &[], "max_clients"),
        ("max_clients = [ \"x\" ]", &[], "max_clients"),
        ("max_workers = 0", &[], "max_workers"),
        ("auth_unix_rw = \"magic\"", &[], "auth_unix_rw"),
        ("unix_sock_group = \"nosuchgroup\"", &[], "nosuchgroup"),
        ("host_uuid = \"xyz\"", &[], "xyz"),
        ("max_clients = 5", &[], "max_anonymous_clients"),
        ("max_anonymous_clients = 6000", &[], "max_anonymous_clients"),
        ("unix_sock_rw_perms = \"rwx\"", &[], "unix_sock_rw_perms"),
        ("unix_sock_ro_perms = \"0888\"", &[], "unix_sock_ro_perms"),
        ("unix_sock_admin_perms = 448", &[], "unix_sock_admin_perms"),
        ("unix_sock_dir = \"ROOM/nowhere\"", &[], "ROOM/nowhere"),
        ("unix_sock_dir = \"ROOM/secret.conf\"", &[], "ROOM/secret.conf"),
        (
            "listen_tls = 1\nkey_file = \"ROOM/none.pem\"",
            &["--listen"],
            "key_file",
        ),
        ("log_filters = \"9:x\"", &[], "9"),
        ("log_outputs = \"1:nowhere\"", &[], "nowhere"),
        (
            "listen_tcp = 1\nlisten_tls = 0\nauth_tcp = \"none\"\ntcp_port = \"nosuchport\"",
            &["--listen"],
            "nosuchport",
        ),
        (
            "listen_tcp = 1\nlisten_tls = 0\nauth_tcp = \"none\"\nlisten_addr = \"300.1.1.1\"",
            &["--listen"],
            "300.1.1.1",
        ),
        (
            "listen_tls = 1\nca_file = \"ROOM/none.pem\"\ncert_file = \"ROOM/none.pem\"\nkey_file = \"ROOM/none.pem\"",
            &["--listen"],
            "ROOM/none.pem",
        ),
    ];
    let room = Room::new();
    let path = room.path().display().to_string();
    std::fs::write(room.path().join("secret.conf"), "max_clients = 3\n").unwrap();
    std::fs::set_permissions(room.path().join("secret.conf"), Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(room.path().join("closed")).unwrap();
    // Somebody else has this one.
    let locked = room.file("locked", "");
    let ready = room.path().join("ready");
    let lock = "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n\
                open(sys.argv[2], 'w')\nsys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", lock])
        .args([&locked, &ready])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the file is locked", Duration::from_secs(20), || ready.exists());
    for (text, options, named) in wrong {
        let text = text.replace("ROOM", &path);
        // libvirt refuses a file of blanks alone.
        let config = room.file("some.conf", &format!("{text}\n# The end.\n"));
        let start = |whose| {
            let mut command = daemon(whose, &room);
            if !options.contains(&"--config") {
                command.arg("--config").arg(&config);
            }
            if !options.contains(&"--timeout") {
                command.args(["--timeout", "5"]);
            }
            command.args(options.iter().map(|option| option.replace("ROOM", &path)));
            run_to_end(command)
        };
        let (theirs, ours) = (start(Whose::Theirs), start(Whose::Ours));
        let what = format!("{text:?} {options:?}: libvirt's {theirs:?}, ours {ours:?}");
        assert!(theirs.code.is_some_and(|code| code != 0), "{what}");
        assert_eq!(theirs.code, ours.code, "{what}");
        assert!(ours.err.contains(&named.replace("ROOM", &path)), "{what}");
    }
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

/// A process that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id().cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        );
        let _ = self.0.wait();
    }
}

/// A session with virt-admin: what it prints, with what differs from run to run left out.
fn administered(whose: Whose) -> Vec<String> {
    let room = Room::new();
    let config = room.file(
        "some.conf",
        "max_clients = 200\nmax_anonymous_clients = 20\nmin_workers = 2\nmax_workers = 9\nprio_workers = 3\n\
         log_level = 3\nlog_outputs = \"3:stderr\"\n",
    );
    let child = daemon(whose, &room)
        .arg("--config")
        .arg(config)
        .arg("--pid-file")
        .arg(room.path().join("pid"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let socket = room.path().join("libvirt/libvirt-admin-sock");
    for socket in [&socket, &room.socket()] {
        eventually("the daemon listens", Duration::from_secs(30), || {
            UnixStream::connect(socket).is_ok()
        });
    }
    let uri = format!("libvirtd:///session?socket={}", socket.display());
    let admin = |words: &[&str]| {
        let mut command = room.command(Path::new("/usr/bin/virt-admin"));
        command.env("LC_ALL", "C").args(["-c", &uri]).args(words);
        run_to_end(command)
    };
    // A client to look at, with a guest of its own to list.
    let client = room
        .command(Path::new("/usr/bin/virsh"))
        .args([
            "-q",
            "-c",
            &format!("test+unix:///default?socket={}", room.socket().display()),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let client = Running(client);
    let clients = || -> Vec<String> {
        let listed = admin(&["srv-clients-list", "libvirtd"]).out;
        let rows = listed
            .lines()
            .skip(2)
            .filter_map(|row| row.split_whitespace().next());
        rows.map(str::to_owned).collect()
    };
    eventually("the client is seen", Duration::from_secs(20), || {
        clients().len() == 1
    });
    let id = clients().remove(0);
    let log = room.path().join("other.log").display().to_string();
    let outputs = format!("1:file:{log} 2:stderr");
    let session: [&[&str]; 52] = [
        &["srv-list"],
        &["version"],
        &["srv-threadpool-info", "libvirtd"],
        &["srv-threadpool-info", "admin"],
        &["srv-threadpool-info", "nobody"],
        &["srv-clients-list", "libvirtd"],
        &["srv-clients-list", "nobody"],
        &["srv-clients-info", "libvirtd"],
        &["srv-clients-info", "admin"],
        &["client-info", "libvirtd", &id],
        &["client-info", "libvirtd", "77"],
        &["client-info", "libvirtd", "x"],
        &[
            "srv-threadpool-set",
            "libvirtd",
            "--min-workers",
            "3",
            "--max-workers",
            "12",
            "--priority-workers",
            "4",
        ],
        &["srv-threadpool-info", "libvirtd"],
        &["srv-threadpool-set", "libvirtd", "--min-workers", "50"],
        &["srv-threadpool-set", "libvirtd", "--max-workers", "0"],
        &["srv-threadpool-set", "libvirtd", "--max-workers", "2"],
        &["srv-threadpool-set", "libvirtd"],
        &["srv-threadpool-set", "nobody", "--max-workers", "7"],
        &[
            "srv-clients-set",
            "libvirtd",
            "--max-clients",
            "50",
            "--max-unauth-clients",
            "10",
        ],
        &["srv-clients-info", "libvirtd"],
        &[
            "srv-clients-set",
            "libvirtd",
            "--max-clients",
            "5",
            "--max-unauth-clients",
            "10",
        ],
        &["srv-clients-set", "libvirtd", "--max-clients", "0"],
        &["srv-clients-set", "libvirtd"],
        &["srv-clients-info", "libvirtd"],
        &["daemon-log-filters"],
        &["daemon-log-filters", "1:qemu 3:util"],
        &["daemon-log-filters"],
        &["daemon-log-filters", "9:x"],
        &["daemon-log-filters", "x"],
        &["daemon-log-filters"],
        &["daemon-log-filters", ""],
        &["daemon-log-filters"],
        &["daemon-log-outputs"],
        &["daemon-log-outputs", &outputs],
        &["daemon-log-outputs"],
        &["daemon-log-outputs", "1:nowhere"],
        &["daemon-log-outputs", "1:file"],
        &["daemon-log-outputs", "5:stderr"],
        &["daemon-log-outputs"],
        &["srv-update-tls", "libvirtd"],
        &["srv-update-tls", "admin"],
        &["srv-update-tls", "nobody"],
        &["daemon-timeout", "--timeout", "100"],
        &["daemon-timeout", "--timeout", "0"],
        &["daemon-timeout", "--timeout", "-1"],
        &["daemon-timeout"],
        &["client-disconnect", "libvirtd", "77"],
        &["client-disconnect", "libvirtd", &id],
        &["srv-clients-list", "libvirtd"],
        &["daemon-shutdown", "--nosuch"],
        &["nosuch-command"],
    ];
    let mut said = Vec::new();
    for words in session {
        let ran = admin(words);
        let shown: Vec<String> = words
            .iter()
            .map(|word| match *word == id && words[0].starts_with("client-") {
                true => "ID".to_owned(),
                false => word.replace(&log, "LOG"),
            })
            .collect();
        let shown = shown.join(" ");
        said.push(format!("{shown}: {:?}", ran.code));
        let lines = ran.out.lines().chain(ran.err.lines());
        let mut lines: Vec<String> = lines
            .map(|line| line.replace(&log, "LOG").replace(&format!("'{id}'"), "'ID'"))
            .filter_map(|line| lasting(&line))
            .collect();
        if words == ["srv-list"] {
            // libvirt's order is that of a table, another in every process.
            lines = lines.iter().map(|line| line.replace(['0', '1'], "N")).collect();
            lines.sort();
        }
        said.extend(lines.into_iter().map(|line| format!("{shown}: {line}")));
    }
    drop(client);
    // The answer to this may be lost.
    admin(&["daemon-shutdown"]);
    eventually("the daemon ends", Duration::from_secs(40), || {
        matches!(running.0.try_wait(), Ok(Some(_)))
    });
    said
}

/// What of a line is the same in every run, and in whatever words an error is explained.
fn lasting(line: &str) -> Option<String> {
    let counts = [
        "nWorkers",
        "freeWorkers",
        "connection_time",
        "unix_process_id",
        "id   ",
    ];
    if let Some(name) = counts.iter().find(|name| line.trim_start().starts_with(**name)) {
        return Some((*name).to_owned());
    }
    if let Some(rest) = line.strip_prefix("error: ") {
        // libvirt's words for the kind of error; what follows explains it.
        let kind = rest.split_once(": ").map_or(rest, |(kind, _)| kind);
        return Some(format!("error: {kind}"));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => None,
        // A row of a list of clients: its number and time.
        [_, transport @ ("unix" | "tcp"), ..] => Some(format!("{transport} client")),
        _ => Some(line.trim_end().to_owned()),
    }
}

#[test]
fn virt_admin_sees_no_difference() {
    need!(root, program "libvirtd", package "libvirt-clients");
    let (theirs, ours) = (administered(Whose::Theirs), administered(Whose::Ours));
    assert!(theirs.len() > 100, "{theirs:#?}");
    let differing: Vec<_> = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours)
        .collect();
    assert!(
        differing.is_empty() && theirs.len() == ours.len(),
        "libvirt's and ours differ in {differing:#?}\n{theirs:#?}\n{ours:#?}"
    );
}

/// What libvirt's binding for Python hears of a connection.
fn python(uri: &str) -> String {
    let program = "import os, libvirt\nc = libvirt.open(os.environ['URI'])\n\
                   print(c.isEncrypted(), c.isSecure(), c.isAlive())";
    let mut command = stock("/usr/bin/python3");
    command.args(["-c", program]).env("URI", uri);
    run_to_end(command).ok().trim().to_owned()
}

/// The same by our own programming interface.
fn rust(uri: &str) -> String {
    let connection = Connect::builder()
        .uri(uri)
        .built_in::<PluginEntry>()
        .open()
        .unwrap_or_else(|error| panic!("{uri}: {error}"));
    let remote = connection.remote();
    format!(
        "{} {} {}",
        i32::from(connection.is_encrypted().unwrap()),
        remote.connect_is_secure().map_or(-1, |reply| reply.secure),
        i32::from(connection.is_alive().unwrap())
    )
}

#[test]
fn connections_say_the_same_of_themselves() {
    need!(root, program "libvirtd", program "openssl", package "python3-libvirt");
    // What has to be built is built before a daemon waits for it.
    let helper = program().with_file_name("virt-ssh-helper");
    let room = Room::new();
    let pki = room.path().join("pki");
    std::fs::create_dir(&pki).unwrap();
    let authority = Pki::new(&pki);
    authority.issue(
        "server",
        "/CN=somewhere",
        "serverAuth",
        "DNS:localhost,IP:127.0.0.1",
    );
    authority.issue("client", "/O=Ferrovirt/CN=fred", "clientAuth", "");
    for entry in std::fs::read_dir(&pki).unwrap().flatten() {
        room.give(&entry.path());
    }
    let pki = pki.display().to_string();
    let config = |tls: u16, tcp: u16| {
        format!(
            "auth_unix_rw = \"none\"\nauth_tcp = \"none\"\nauth_tls = \"none\"\nlisten_tls = 1\nlisten_tcp = 1\n\
             listen_addr = \"127.0.0.1\"\ntls_port = \"{tls}\"\ntcp_port = \"{tcp}\"\nca_file = \"{pki}/cacert.pem\"\n\
             cert_file = \"{pki}/servercert.pem\"\nkey_file = \"{pki}/serverkey.pem\"\n"
        )
    };
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let theirs: Stock = room.start(&config(ports[0], ports[1]), &["--listen"]);
    let ours = Daemon::start_with(&config(ports[2], ports[3]), &["--listen"]);
    // In place of ssh and of a program of somebody's: runs here what is to run there.
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let there = helper.parent().unwrap().display();
    let ssh = script(
        "ssh",
        format!("for last; do :; done\nPATH={there}:$PATH exec sh -c \"$last\""),
    );
    let mut answers = Vec::new();
    for (socket, tls, tcp, name) in [
        (theirs.room().socket(), ports[0], ports[1], "theirs"),
        (ours.socket(), ports[2], ports[3], "ours"),
    ] {
        let socket = socket.display();
        let external = script(
            &format!("external-{name}"),
            format!("exec {} 'test:///default?socket={socket}'", helper.display()),
        );
        let uris = [
            format!("test+unix:///default?socket={socket}"),
            format!("test+tcp://127.0.0.1:{tcp}/default"),
            format!("test+tls://127.0.0.1:{tls}/default?pkipath={pki}"),
            format!("test+ssh://far/default?socket={socket}&command={ssh}&proxy=native"),
            format!("test+ext:///default?command={external}"),
        ];
        for uri in &uris {
            let transport = uri.split(':').next().unwrap_or_default();
            answers.push((transport.to_owned(), name, "python", python(uri)));
            answers.push((transport.to_owned(), name, "rust", rust(uri)));
        }
    }
    for (transport, daemon, client, answer) in &answers {
        let expected = answers.iter().find(|(known, daemon, client, _)| {
            known == transport && (*daemon, *client) == ("theirs", "python")
        });
        let (.., expected) = expected.unwrap();
        assert_eq!(
            expected, answer,
            "{transport}: {client} at {daemon}: {answers:#?}"
        );
    }
    // They are not all the same.
    let said = |transport: &str| {
        answers
            .iter()
            .find(|(known, ..)| known == transport)
            .map(|(.., answer)| answer.as_str())
    };
    assert_eq!(said("test+tcp"), Some("0 0 1"));
    assert_eq!(said("test+tls"), Some("1 1 1"));
}

/// A host far away that has some programs, which note how they were called and go.
fn far_host(folder: &Path, name: &str, programs: &[&str]) -> PathBuf {
    let there = folder.join(name);
    std::fs::create_dir(&there).unwrap();
    for program in ["sh", "which", "grep"] {
        symlink(found(program).unwrap(), there.join(program)).unwrap();
    }
    let script = |path: &Path, text: String| {
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    };
    let notes = folder.join("notes");
    for program in programs {
        // Of netcat the kind that knows -q is asked for its options first.
        script(
            &there.join(program),
            format!(
                "case \"$*\" in -h|--help|'') echo ' -q seconds' >&2; exit 0;; esac\n\
                 printf '%s' {program} >> {notes}\nprintf ' <%s>' \"$@\" >> {notes}\necho >> {notes}",
                notes = notes.display()
            ),
        );
    }
    let ssh = folder.join(format!("ssh-{name}"));
    script(
        &ssh,
        format!(
            "for last; do :; done\nPATH={} exec /bin/sh -c \"$last\"",
            there.display()
        ),
    );
    ssh
}

#[test]
fn the_same_is_run_on_another_host() {
    need!(package "libvirt-clients", program "which", program "grep");
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new();
    let notes = folder.path().join("notes");
    let mut different = Vec::new();
    let mut compared = std::collections::BTreeSet::new();
    let run = |mut command: Command, uri: &str, read_only: bool| -> (Ran, String) {
        let _ = std::fs::remove_file(&notes);
        command.args(["-c", uri]);
        if read_only {
            command.arg("-r");
        }
        command.arg("list");
        let ran = run_to_end(command);
        (ran, std::fs::read_to_string(&notes).unwrap_or_default())
    };
    for (name, programs) in [("both", &["virt-ssh-helper", "nc"][..]), ("netcat", &["nc"][..])] {
        let ssh = far_host(folder.path(), name, programs);
        for target in [
            "qemu+ssh://far/system",
            "qemu+ssh://far/session",
            "lxc+ssh://far/system",
            "test+ssh://far/default",
        ] {
            for mode in ["", "&mode=auto", "&mode=legacy", "&mode=direct"] {
                for proxy in [
                    "",
                    "&proxy=auto",
                    "&proxy=netcat",
                    "&proxy=native",
                    "&netcat=nc",
                    "&socket=/run/other",
                ] {
                    for read_only in [false, true] {
                        let uri = format!("{target}?command={}{mode}{proxy}", ssh.display());
                        // libvirt's own client now and then dies of a helper that ends before it has said a word.
                        let tries = std::iter::repeat_with(|| run(stock("/usr/bin/virsh"), &uri, read_only));
                        let lived = tries.take(3).find(|(theirs, _)| theirs.code.is_some());
                        let (theirs, said) = lived.expect("libvirt's client dies whatever is tried");
                        let (ours, ours_said) = run(host.virsh(), &uri, read_only);
                        if said != ours_said || theirs.code != ours.code {
                            different.push(format!(
                                "{uri} {read_only}\n theirs {said:?} {:?} {}\n ours {ours_said:?} {:?} {}",
                                theirs.code, theirs.err, ours.code, ours.err
                            ));
                        }
                        compared.insert(said);
                    }
                }
            }
        }
    }
    assert!(compared.len() > 20, "{compared:?}");
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
