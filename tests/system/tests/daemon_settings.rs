//! Every key of the daemon's configuration, and what of it can be seen from outside: a table. A key that is read and then
//! changes nothing fails here, and so does a new key that has no row.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use virt_api::call::PROGRAM_REMOTE;
use virt_api::need;
use virt_api::protocol::remote::{
    AuthListReply, ConnectSupportsFeatureArgs, DomainLookupByNameArgs, procedure,
};
use virt_api::rpc::{Header, MessageType, PacketReader, PacketWriter, Status, keepalive};
use virt_api::testkit::{Pki, copy_plugin, plugins};
use virt_tests_system::clients::stock;
use virt_tests_system::daemon::{Daemon, program};
use virt_tests_system::host::{eventually, free_port, run_to_end};
use virt_tests_system::wire::Wire;
use virt_util::xdr::{XdrDecode, XdrEncode};

/// How a setting is looked at.
type Look = fn(&Trial) -> String;

/// A key, what stands beside it in the file, how it is looked at, and what is seen with which value. In texts `SITE` is a
/// folder with certificates and users, and `PORT` a free port.
struct Row(
    &'static str,
    &'static str,
    Look,
    &'static [(&'static str, &'static str)],
);

const TLS: &str = "listen_tls = 1\ntls_port = \"PORT\"\nlisten_addr = \"127.0.0.1\"\nca_file = \"SITE/cacert.pem\"\n\
                   cert_file = \"SITE/servercert.pem\"\nkey_file = \"SITE/serverkey.pem\"\n";
const TCP: &str =
    "listen_tls = 0\nlisten_tcp = 1\ntcp_port = \"PORT\"\nauth_tcp = \"none\"\nlisten_addr = \"127.0.0.1\"\n";
const SASL: &str = "auth_unix_rw = \"sasl\"\nsasl_password_file = \"SITE/passwd\"\n";

const ROWS: &[Row] = &[
    Row("listen_tls", TLS, port, &[("0", "closed"), ("1", "open")]),
    Row("listen_tcp", TCP, port, &[("0", "closed"), ("1", "open")]),
    Row(
        "tls_port",
        TLS,
        port,
        &[("\"PORT\"", "open"), ("\"0\"", "closed")],
    ),
    Row(
        "tcp_port",
        TCP,
        port,
        &[("\"PORT\"", "open"), ("\"0\"", "closed")],
    ),
    Row(
        "listen_addr",
        TCP,
        port,
        &[("\"127.0.0.1\"", "open"), ("\"127.0.0.2\"", "closed")],
    ),
    Row(
        "unix_sock_group",
        "",
        group,
        &[("\"nogroup\"", "nogroup"), ("\"root\"", "root")],
    ),
    Row(
        "unix_sock_ro_perms",
        "",
        mode_ro,
        &[("\"0711\"", "711"), ("\"0777\"", "777")],
    ),
    Row(
        "unix_sock_rw_perms",
        "",
        mode_rw,
        &[("\"0711\"", "711"), ("\"0777\"", "777")],
    ),
    Row(
        "unix_sock_admin_perms",
        "",
        mode_admin,
        &[("\"0711\"", "711"), ("\"0700\"", "700")],
    ),
    Row("unix_sock_dir", "", moved, &[("\"SITE/sockets\"", "there")]),
    Row(
        "auth_unix_ro",
        "",
        auth_ro,
        &[("\"none\"", "NONE"), ("\"sasl\"", "SASL")],
    ),
    Row(
        "auth_unix_rw",
        "",
        auth_rw,
        &[("\"none\"", "NONE"), ("\"sasl\"", "SASL")],
    ),
    Row(
        "auth_tcp",
        TCP,
        auth_tcp,
        &[("\"none\"", "NONE"), ("\"sasl\"", "SASL")],
    ),
    Row(
        "auth_tls",
        TLS,
        tls,
        &[("\"none\"", "served"), ("\"sasl\"", "authentication failed")],
    ),
    Row("tcp_min_ssf", "", warned, &[("112", "has no effect yet")]),
    Row(
        "sasl_allowed_username_list",
        SASL,
        login,
        &[
            ("[ \"f*\" ]", "served"),
            ("[ \"joe\" ]", "authentication failed"),
            ("[ ]", "authentication failed"),
        ],
    ),
    Row(
        "sasl_mechanisms",
        SASL,
        mechanism,
        &[("[ \"SCRAM-SHA-1\" ]", "SCRAM-SHA-1"), ("[ \"PLAIN\" ]", "PLAIN")],
    ),
    Row(
        "sasl_password_file",
        SASL,
        login,
        &[
            ("\"SITE/passwd\"", "served"),
            ("\"SITE/nobody\"", "authentication failed"),
        ],
    ),
    Row(
        "access_drivers",
        "",
        without_bus,
        &[
            ("[ \"none\" ]", "served"),
            ("[ \"polkit\" ]", "refused"),
            ("[ \"none\", \"polkit\" ]", "refused"),
        ],
    ),
    Row(
        "policy_file",
        "",
        served,
        &[
            ("\"SITE/all.toml\"", "served"),
            ("\"SITE/none.toml\"", "access denied"),
        ],
    ),
    Row(
        "key_file",
        TLS,
        end,
        &[("\"SITE/serverkey.pem\"", "0"), ("\"SITE/clientkey.pem\"", "6")],
    ),
    Row(
        "cert_file",
        TLS,
        tls,
        &[
            ("\"SITE/servercert.pem\"", "served"),
            ("\"SITE/chain.pem\"", "served"),
        ],
    ),
    Row("cert_file", TLS, end, &[("\"SITE/clientcert.pem\"", "6")]),
    Row(
        "ca_file",
        TLS,
        end,
        &[("\"SITE/cacert.pem\"", "0"), ("\"SITE/other/cacert.pem\"", "6")],
    ),
    Row(
        "crl_file",
        TLS,
        tls,
        &[("\"SITE/none.crl\"", "served"), ("\"SITE/crl.pem\"", "refused")],
    ),
    Row(
        "tls_no_sanity_certificate",
        "listen_tls = 1\ntls_port = \"PORT\"\nca_file = \"SITE/cacert.pem\"\ncert_file = \"SITE/other/servercert.pem\"\n\
         key_file = \"SITE/other/serverkey.pem\"\n",
        end,
        &[("0", "6"), ("1", "0")],
    ),
    Row(
        "tls_no_verify_certificate",
        TLS,
        stranger,
        &[("0", "refused"), ("1", "served")],
    ),
    Row(
        "tls_allowed_dn_list",
        TLS,
        tls,
        &[
            ("[ \"C=GB,O=Example,CN=cl*\" ]", "served"),
            ("[ \"C=GB,O=Example,CN=server\" ]", "refused"),
            ("[ ]", "refused"),
        ],
    ),
    Row(
        "tls_priority",
        TLS,
        version,
        &[("\"NORMAL\"", "TLSv1.3"), ("\"NORMAL:-VERS-TLS1.3\"", "TLSv1.2")],
    ),
    Row(
        "max_clients",
        "max_anonymous_clients = 0\n",
        third,
        &[("2", "waits"), ("3", "answered")],
    ),
    Row(
        "max_anonymous_clients",
        SASL,
        third,
        &[("2", "waits"), ("3", "answered"), ("0", "answered")],
    ),
    Row("max_queued_clients", "", queue, &[("1", "2"), ("4", "5")]),
    Row(
        "min_workers",
        "prio_workers = 0\n",
        workers,
        &[("2", "2"), ("7", "7"), ("30", "20")],
    ),
    Row("max_workers", "", max_workers, &[("6", "6"), ("40", "40")]),
    Row("prio_workers", "", prio_workers, &[("0", "0"), ("3", "3")]),
    Row(
        "max_client_requests",
        "",
        behind_two,
        &[("2", "waits"), ("3", "answered")],
    ),
    Row("admin_min_workers", "", admin_min, &[("1", "1"), ("4", "4")]),
    Row("admin_max_workers", "", admin_max, &[("6", "6"), ("9", "9")]),
    Row(
        "admin_max_clients",
        "",
        third_admin,
        &[("2", "waits"), ("3", "answered")],
    ),
    Row(
        "admin_max_queued_clients",
        "",
        queue_admin,
        &[("1", "2"), ("4", "5")],
    ),
    Row(
        "log_level",
        "log_outputs = \"1:file:SITE/log\"\n",
        level,
        &[("1", "debug"), ("2", "info"), ("4", "error")],
    ),
    Row(
        "log_filters",
        "log_level = 4\nlog_outputs = \"1:file:SITE/log\"\n",
        level,
        &[("\"1:rpc\"", "debug"), ("\"4:rpc\"", "error")],
    ),
    Row(
        "log_outputs",
        "log_level = 1\n",
        level,
        &[
            ("\"1:file:SITE/log\"", "debug"),
            ("\"4:file:SITE/log\"", "error"),
            ("\"1:stderr\"", "no file"),
        ],
    ),
    Row(
        "audit_level",
        "",
        audit,
        &[("0", "as the host"), ("1", "as the host"), ("2", "as the host")],
    ),
    Row(
        "audit_logging",
        "log_level = 2\n",
        records,
        &[("0", "silent"), ("1", "recorded")],
    ),
    Row(
        "host_uuid",
        "",
        uuid,
        &[
            (
                "\"8c9a0b9a-5a1e-4d2c-9a53-1f6f3a1c2b4d\"",
                "8c9a0b9a-5a1e-4d2c-9a53-1f6f3a1c2b4d",
            ),
            (
                "\"8c9a0b9a-5a1e-4d2c-9a53-1f6f3a1c2b4e\"",
                "8c9a0b9a-5a1e-4d2c-9a53-1f6f3a1c2b4e",
            ),
        ],
    ),
    Row(
        "host_uuid_source",
        "",
        uuid,
        &[("\"machine-id\"", "the machine's")],
    ),
    Row("ovs_timeout", "", warned, &[("5", "has no effect yet")]),
    Row(
        "keepalive_interval",
        "keepalive_count = 2\n",
        pings,
        &[("1", "2 and the end"), ("-1", "silence")],
    ),
    Row(
        "keepalive_count",
        "keepalive_interval = 1\n",
        pings,
        &[("1", "1 and the end"), ("3", "3 and the end")],
    ),
    Row("isolate", "", processes, &[("[ ]", "0"), ("[ \"test\" ]", "1")]),
    Row("metrics_socket", "", metrics, &[("\"SITE/metrics\"", "there")]),
];

/// Keys without anything to be seen, and why.
const UNSEEN: &[(&str, &str)] = &[
    ("stay_awake", "it costs or saves time, and nothing else"),
    (
        "admin_max_client_requests",
        "no call of the administration waits for anything",
    ),
    (
        "admin_keepalive_interval",
        "the administration's protocol has no way to ask for it, as in libvirt",
    ),
    (
        "admin_keepalive_count",
        "the administration's protocol has no way to ask for it, as in libvirt",
    ),
];

/// One key with one value.
struct Trial<'a> {
    site: &'a Path,
    port: u16,
    config: String,
}

impl Trial<'_> {
    fn listens(&self) -> bool {
        self.config.contains("listen_t")
    }

    fn daemon(&self) -> Daemon {
        self.daemon_with(&[])
    }

    fn daemon_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let options: &[&str] = if self.listens() { &["--listen"] } else { &[] };
        Daemon::start_like(&self.config, options, variables)
    }

    fn tls_uri(&self, pki: &str) -> String {
        let site = self.site.display();
        format!("test+tls://localhost:{}/default?pkipath={site}/{pki}", self.port)
    }
}

/// How a session of stock virsh ended: `served`, the words of `known` in its complaint, or `refused`.
fn verdict(command: Command, known: &str) -> String {
    let ran = run_to_end(command);
    match ran.succeeded() {
        true => "served".to_owned(),
        false if !known.is_empty() && ran.err.contains(known) => known.to_owned(),
        false => "refused".to_owned(),
    }
}

fn virsh(uri: &str) -> Command {
    let mut command = stock("/usr/bin/virsh");
    command.args(["-c", uri, "list"]);
    command
}

fn served(trial: &Trial) -> String {
    verdict(virsh(&trial.daemon().test_uri()), "access denied")
}

fn without_bus(trial: &Trial) -> String {
    let nowhere = format!("unix:path={}/nobus", trial.site.display());
    let daemon = trial.daemon_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &nowhere)]);
    verdict(virsh(&daemon.test_uri()), "")
}

fn login(trial: &Trial) -> String {
    let daemon = trial.daemon();
    let mut command = virsh(&daemon.test_uri());
    command.env("LIBVIRT_AUTH_FILE", trial.site.join("auth.conf"));
    verdict(command, "authentication failed")
}

fn mechanism(trial: &Trial) -> String {
    let daemon = trial.daemon();
    let mut wire = Wire::connect(&daemon.socket()).unwrap();
    let reply = wire.call(procedure::AUTH_SASL_INIT, &[]);
    virt_api::protocol::remote::AuthSaslInitReply::from_xdr(&reply.payload)
        .unwrap()
        .mechlist
}

fn tls(trial: &Trial) -> String {
    let _daemon = trial.daemon();
    verdict(virsh(&trial.tls_uri("client")), "authentication failed")
}

/// A client whose certificate somebody else has signed.
fn stranger(trial: &Trial) -> String {
    let _daemon = trial.daemon();
    // It does not look at its own certificate, which its authority would not know either.
    verdict(virsh(&format!("{}&no_sanity=1", trial.tls_uri("stranger"))), "")
}

fn version(trial: &Trial) -> String {
    let _daemon = trial.daemon();
    let site = trial.site.display();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", trial.port)]);
    command.args([
        "-CAfile",
        &format!("{site}/cacert.pem"),
        "-cert",
        &format!("{site}/clientcert.pem"),
    ]);
    command.args(["-key", &format!("{site}/clientkey.pem")]);
    let out = run_to_end(command).out;
    let versions = ["TLSv1.3", "TLSv1.2"];
    let found = versions.into_iter().find(|version| out.contains(version));
    found.unwrap_or(&out).to_owned()
}

fn port(trial: &Trial) -> String {
    let _daemon = trial.daemon();
    match std::net::TcpStream::connect(("127.0.0.1", trial.port)) {
        Ok(_) => "open",
        Err(_) => "closed",
    }
    .to_owned()
}

fn mode(path: &Path) -> String {
    format!("{:o}", path.metadata().unwrap().permissions().mode() & 0o7777)
}

fn mode_ro(trial: &Trial) -> String {
    mode(&trial.daemon().socket_ro())
}

fn mode_rw(trial: &Trial) -> String {
    mode(&trial.daemon().socket())
}

fn mode_admin(trial: &Trial) -> String {
    let daemon = trial.daemon();
    eventually("the socket is there", Duration::from_secs(30), || {
        daemon.socket_admin().exists()
    });
    mode(&daemon.socket_admin())
}

fn group(trial: &Trial) -> String {
    let gid = trial.daemon().socket().metadata().unwrap().gid();
    let group = nix::unistd::Group::from_gid(gid.into()).unwrap();
    group.map_or(gid.to_string(), |group| group.name)
}

fn moved(trial: &Trial) -> String {
    let sockets = trial.site.join("sockets");
    std::fs::create_dir_all(&sockets).unwrap();
    // Where everybody looks is a way to where they have to be.
    let _daemon = Daemon::prepared(&trial.config, |root| {
        let usual = root.join("run/libvirt");
        std::fs::create_dir_all(&usual).unwrap();
        let name = "libvirt-sock";
        std::os::unix::fs::symlink(sockets.join(name), usual.join(name)).unwrap();
    });
    there(&sockets.join("libvirt-sock-ro"))
}

fn there(path: &Path) -> String {
    match UnixStream::connect(path) {
        Ok(_) => "there".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn metrics(trial: &Trial) -> String {
    let _daemon = trial.daemon();
    there(&trial.site.join("metrics"))
}

/// What a client is told to prove itself by.
fn auth(mut stream: impl Read + Write) -> String {
    let number = procedure::AUTH_LIST.cast_signed();
    let packet = PacketWriter::new(&Header::call(PROGRAM_REMOTE, 1, number, 1))
        .finish()
        .unwrap();
    stream.write_all(&packet).unwrap();
    let mut reader = PacketReader::new();
    let mut buffer = [0; 256];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the daemon hangs up");
        if let Some(packet) = reader.feed(&mut &buffer[..count]).unwrap() {
            let reply = AuthListReply::from_xdr(&packet.payload).unwrap();
            let names = reply.types.iter().map(|kind| match kind.0 {
                0 => "NONE".to_owned(),
                1 => "SASL".to_owned(),
                other => other.to_string(),
            });
            return names.collect::<Vec<_>>().join(" ");
        }
    }
}

fn auth_ro(trial: &Trial) -> String {
    auth(UnixStream::connect(trial.daemon().socket_ro()).unwrap())
}

fn auth_rw(trial: &Trial) -> String {
    auth(UnixStream::connect(trial.daemon().socket()).unwrap())
}

fn auth_tcp(trial: &Trial) -> String {
    let _daemon = trial.daemon();
    auth(std::net::TcpStream::connect(("127.0.0.1", trial.port)).unwrap())
}

/// How the daemon ends that has nothing to do.
fn end(trial: &Trial) -> String {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("some.conf");
    std::fs::write(&config, &trial.config).unwrap();
    let mut command = Command::new(program());
    command.arg0_libvirtd().arg("--root").arg(root.path());
    command.arg("--config").arg(config).args(["--timeout", "1"]);
    command.env("VIRT_DRIVER_DIR", plugins().unwrap().directory());
    if trial.listens() {
        command.arg("--listen");
    }
    run_to_end(command)
        .code
        .map_or("a signal".to_owned(), |code| code.to_string())
}

trait AsLibvirtd {
    fn arg0_libvirtd(&mut self) -> &mut Self;
}

impl AsLibvirtd for Command {
    fn arg0_libvirtd(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, "libvirtd")
    }
}

fn warned(trial: &Trial) -> String {
    let config = format!("{}\n", trial.config);
    let daemon = Daemon::start_like(&config, &[], &[]);
    let log = daemon.log();
    let wanted = "has no effect yet";
    if log.contains(wanted) {
        wanted.to_owned()
    } else {
        log
    }
}

/// Whether the last of `clients` has an answer, once the first has had many: the daemon looks at all of them in turn.
fn last_of(clients: &mut [Wire], call: u32) -> String {
    let (last, others) = clients.split_last_mut().unwrap();
    last.send(call, &[]).unwrap();
    for _ in 0..200 {
        others[0].call(procedure::AUTH_LIST, &[]);
    }
    let mut byte = [0];
    let flags = nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT;
    match nix::sys::socket::recv(std::os::fd::AsRawFd::as_raw_fd(last.socket()), &mut byte, flags) {
        Ok(1) => "answered".to_owned(),
        Err(nix::errno::Errno::EAGAIN) => "waits".to_owned(),
        other => format!("{other:?}"),
    }
}

fn third(trial: &Trial) -> String {
    let daemon = trial.daemon();
    let mut clients: Vec<Wire> = (0..3).map(|_| Wire::connect(&daemon.socket()).unwrap()).collect();
    clients[1].call(procedure::AUTH_LIST, &[]);
    last_of(&mut clients, procedure::AUTH_LIST)
}

/// Two who say nothing, and virt-admin behind them.
fn third_admin(trial: &Trial) -> String {
    let daemon = trial.daemon();
    eventually("the socket is there", Duration::from_secs(30), || {
        daemon.socket_admin().exists()
    });
    let first: Vec<_> = (0..2)
        .map(|_| UnixStream::connect(daemon.socket_admin()).unwrap())
        .collect();
    let uri = format!("libvirtd:///system?socket={}", daemon.socket_admin().display());
    let mut command = stock("/usr/bin/timeout");
    command.args(["2", "/usr/bin/virt-admin", "-c", &uri, "srv-list"]);
    let ran = run_to_end(command);
    drop(first);
    if ran.succeeded() { "answered" } else { "waits" }.to_owned()
}

/// How many may knock at a daemon that does not move.
fn knock(daemon: &Daemon, path: &Path) -> String {
    eventually("the socket is there", Duration::from_secs(30), || path.exists());
    // Whoever has knocked so far is let in.
    Wire::connect(&daemon.socket())
        .unwrap()
        .call(procedure::AUTH_LIST, &[]);
    daemon.signal(Signal::SIGSTOP);
    let address = UnixAddr::new(path).unwrap();
    let knocked: Vec<_> = std::iter::from_fn(|| {
        let one = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK,
            None,
        )
        .unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&one);
        connect(number, &address).is_ok().then_some(one)
    })
    .take(100)
    .collect();
    daemon.signal(Signal::SIGCONT);
    knocked.len().to_string()
}

fn queue(trial: &Trial) -> String {
    let daemon = trial.daemon();
    knock(&daemon, &daemon.socket())
}

fn queue_admin(trial: &Trial) -> String {
    let daemon = trial.daemon();
    knock(&daemon, &daemon.socket_admin())
}

/// How many threads of that name the daemon has, once it answers.
fn threads(trial: &Trial, name: &str) -> String {
    let daemon = trial.daemon();
    daemon.virt_admin(&["srv-list"]).ok();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let names = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count().to_string()
}

fn workers(trial: &Trial) -> String {
    threads(trial, "virtd-worker")
}

fn prio_workers(trial: &Trial) -> String {
    // One is there for the administration where there are none.
    pool(trial, "libvirtd", "prioWorkers")
}

fn pool(trial: &Trial, server: &str, field: &str) -> String {
    let out = trial.daemon().virt_admin(&["srv-threadpool-info", server]).ok();
    let line = out
        .lines()
        .find(|line| line.split(':').next().unwrap().trim() == field);
    line.and_then(|line| line.split(':').nth(1))
        .unwrap_or(&out)
        .trim()
        .to_owned()
}

fn max_workers(trial: &Trial) -> String {
    pool(trial, "libvirtd", "maxWorkers")
}

fn admin_min(trial: &Trial) -> String {
    pool(trial, "admin", "minWorkers")
}

fn admin_max(trial: &Trial) -> String {
    pool(trial, "admin", "maxWorkers")
}

/// A call behind two that sleep.
fn behind_two(trial: &Trial) -> String {
    let drivers = tempfile::tempdir().unwrap();
    let plugins = plugins().unwrap();
    let object = plugins.object("virt-tests-sleeper").unwrap();
    let manifest = virt_api::plugin::inspect(object).unwrap();
    copy_plugin(object, drivers.path(), &manifest).unwrap();
    let daemon = Daemon::start_in(&trial.config, &[], drivers.path());
    let mut clients: Vec<_> = (0..2)
        .map(|_| Wire::open(&daemon.socket(), "sleeper:///"))
        .collect();
    for _ in 0..2 {
        clients[1].send(procedure::CONNECT_GET_TYPE, &[]).unwrap();
    }
    last_of(&mut clients, procedure::CONNECT_GET_HOSTNAME)
}

/// The least important message in the file.
fn level(trial: &Trial) -> String {
    let file = trial.site.join("log");
    let _ = std::fs::remove_file(&file);
    let daemon = trial.daemon_with(&[("LIBVIRT_LOG_OUTPUTS", "")]);
    let mut client = Wire::open(&daemon.socket(), "test:///default");
    let nobody = DomainLookupByNameArgs {
        name: "nobody".to_owned(),
    }
    .to_xdr()
    .unwrap();
    client.call(procedure::DOMAIN_LOOKUP_BY_NAME, &nobody);
    client.call(9999, &[]);
    let Ok(text) = std::fs::read_to_string(&file) else {
        return "no file".to_owned();
    };
    // Who logs here says so at its head, whatever is wanted.
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.contains(" : util.log:"))
        .collect();
    let levels = ["debug", "info", "warning"];
    let found = levels
        .into_iter()
        .find(|level| lines.iter().any(|line| line.contains(&format!(": {level} : "))));
    found.unwrap_or("error").to_owned()
}

/// How a daemon ends, and whether that is right on this host: what it tells the kernel nobody else can hear.
fn audit(trial: &Trial) -> String {
    let demanded = trial.config.contains("audit_level = 2");
    let right = if demanded && !socket_to_audit() { "9" } else { "0" };
    match end(trial) == right {
        true => "as the host",
        false => "otherwise",
    }
    .to_owned()
}

fn socket_to_audit() -> bool {
    use nix::sys::socket::SockProtocol;
    let made = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::NetlinkAudit,
    );
    made.is_ok()
}

fn records(trial: &Trial) -> String {
    let daemon = trial.daemon();
    let uri = daemon.test_uri();
    daemon.virsh_ok(&uri, &["destroy test"]);
    // What is logged last is there when it is.
    daemon.virsh_error(&uri, &["dominfo nobody"]);
    match daemon.log().contains("op=stop reason=destroyed") {
        true => "recorded".to_owned(),
        false => "silent".to_owned(),
    }
}

fn uuid(trial: &Trial) -> String {
    let daemon = trial.daemon();
    let capabilities = daemon.virsh_ok(&daemon.uri("qemu:///system"), &["capabilities"]);
    let uuid = capabilities
        .split("<uuid>")
        .nth(1)
        .and_then(|rest| rest.split('<').next());
    let uuid = uuid.unwrap_or(&capabilities);
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    match uuid.replace('-', "") == machine.trim() {
        true => "the machine's".to_owned(),
        false => uuid.to_owned(),
    }
}

/// How often a client that says nothing is asked whether it lives.
fn pings(trial: &Trial) -> String {
    let daemon = trial.daemon();
    let mut wire = Wire::connect(&daemon.socket()).unwrap();
    /// `VIR_DRV_FEATURE_PROGRAM_KEEPALIVE`.
    const KEEPALIVE: i32 = 10;
    let args = ConnectSupportsFeatureArgs { feature: KEEPALIVE };
    wire.call(procedure::AUTH_LIST, &[]);
    let reply = wire.call(procedure::CONNECT_SUPPORTS_FEATURE, &args.to_xdr().unwrap());
    assert_eq!(reply.header.status, Status::Ok);
    let mut socket = wire.socket();
    if trial.config.contains("keepalive_interval = -1") {
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    }
    let (mut reader, mut count, mut buffer) = (PacketReader::new(), 0, [0; 256]);
    loop {
        let read = match socket.read(&mut buffer) {
            Ok(0) => return format!("{count} and the end"),
            Err(_) => return "silence".to_owned(),
            Ok(read) => read,
        };
        let mut bytes = &buffer[..read];
        while let Some(packet) = reader.feed(&mut bytes).unwrap() {
            assert_eq!(packet.header.kind, MessageType::Message);
            assert!(keepalive::probe(&packet).is_some());
            count += 1;
        }
    }
}

/// Processes that the daemon has started.
fn processes(trial: &Trial) -> String {
    let daemon = trial.daemon();
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let children = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let count: usize = children.map(|pids| pids.split_whitespace().count()).sum();
    count.to_string()
}

/// What rows name: certificates, a user, policies.
fn prepare(site: &Path) {
    let issue = |folder: &Path| {
        std::fs::create_dir_all(folder).unwrap();
        let pki = Pki::new(folder);
        for name in ["server", "client"] {
            let (subject, purpose) = (format!("/C=GB/O=Example/CN={name}"), format!("{name}Auth"));
            pki.issue(name, &subject, &purpose, "DNS:localhost,IP:127.0.0.1");
        }
        pki
    };
    issue(&site.join("other"));
    let pki = issue(site);
    pki.issue("nobody", "/CN=nobody", "clientAuth", "");
    pki.revoke("nobody");
    std::fs::rename(site.join("crl.pem"), site.join("none.crl")).unwrap();
    pki.revoke("client");
    let copy = |from: &str, to: &str| {
        let to = site.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(site.join(from), to).unwrap();
    };
    for (folder, from) in [("client", ""), ("stranger", "other/")] {
        copy("cacert.pem", &format!("{folder}/cacert.pem"));
        for file in ["clientcert.pem", "clientkey.pem"] {
            copy(&format!("{from}{file}"), &format!("{folder}/{file}"));
        }
    }
    let pem = |name: &str| std::fs::read_to_string(site.join(name)).unwrap();
    let write = |name: &str, text: &str| std::fs::write(site.join(name), text).unwrap();
    write("chain.pem", &(pem("servercert.pem") + &pem("cacert.pem")));
    write("all.toml", "[[allow]]\nanyone = true\npermissions = \"*\"\n");
    write(
        "none.toml",
        "[[allow]]\nanyone = true\npermissions = \"domain:start\"\n",
    );
    write(
        "auth.conf",
        "[credentials-x]\nauthname=fred\nusername=fred\npassword=pencil\n[auth-libvirt-default]\ncredentials=x\n",
    );
    write(
        "users.conf",
        &format!("sasl_password_file = \"{}/passwd\"\n", site.display()),
    );
    let mut set = Command::new(program())
        .arg("--config")
        .arg(site.join("users.conf"))
        .args(["--set-password", "fred"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    set.stdin.take().unwrap().write_all(b"pencil\n").unwrap();
    assert!(set.wait().unwrap().success());
}

/// The file without the settings of `key`.
fn without(config: &str, key: &str) -> String {
    let others = config.lines().filter(|line| line.split(' ').next() != Some(key));
    others.map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_key_is_seen_from_outside() {
    need!(
        root,
        package "libvirt-clients",
        package "libsasl2-modules",
        program "openssl",
        program "qemu-system-x86_64"
    );
    let site = tempfile::Builder::new().prefix("fs").tempdir_in("/tmp").unwrap();
    prepare(site.path());
    let mut wrong = Vec::new();
    for Row(key, beside, look, values) in ROWS {
        if let Ok(only) = std::env::var("ONLY_KEY")
            && only != *key
        {
            continue;
        }
        for (value, expected) in *values {
            let port = free_port();
            let fill = |text: &str| {
                let text = text.replace("SITE", &site.path().display().to_string());
                text.replace("PORT", &port.to_string())
            };
            let config = fill(&format!("{}{key} = {value}\n", without(beside, key)));
            let trial = Trial {
                site: site.path(),
                port,
                config,
            };
            let seen = look(&trial);
            if seen != *expected {
                wrong.push(format!("{key} = {value}: expected {expected:?}, seen {seen:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_has_a_row() {
    let mut command = Command::new(program());
    command.arg0_libvirtd().arg("--print-config");
    let sample = run_to_end(command).ok();
    let keys: BTreeSet<&str> = sample
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .collect();
    let rows = ROWS
        .iter()
        .map(|row| row.0)
        .chain(UNSEEN.iter().map(|(key, _)| *key));
    assert_eq!(rows.collect::<BTreeSet<_>>(), keys);
    assert!(UNSEEN.iter().all(|(_, reason)| !reason.is_empty()));
}
