//! Clients that are not ours, and tools that look at what passes, against the daemon.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use virt_api::need;
use virt_api::testkit::stock::uri_through;
use virt_tests_system::clients::{Relay, go, python, stock};
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::{eventually, run_to_end};

#[test]
fn libvirt_python_lists_changes_and_hears() {
    need!(package "python3-libvirt", program "virsh");
    let daemon = Daemon::start();
    let mut command = python("session.py");
    command.arg(daemon.test_uri());
    let out = run_to_end(command).ok();
    for line in [
        "lib 11003000",
        "host True",
        "domains ['test']",
        "events [('py', 0), ('py', 2), ('py', 3), ('py', 4), ('py', 5), ('py', 1)]",
        "error True Domain not found",
        "xml True",
        "alive True",
    ] {
        assert!(
            out.lines().any(|found| found == line || found.starts_with(line)),
            "'{line}' is missing in:\n{out}"
        );
    }
}

#[test]
fn go_libvirt_lists_changes_and_hears() {
    need!(package "golang-github-digitalocean-go-libvirt-dev", program "go");
    let daemon = Daemon::start();
    let command = go(
        Path::new(env!("CARGO_TARGET_TMPDIR")),
        &daemon.socket(),
        "test:///default",
    );
    let out = run_to_end(command).ok();
    for line in [
        "version 11.3.0",
        "domains [test]",
        "state 1",
        "suspended 3 1",
        "events [0 2 3 5 1]",
        "missing true",
    ] {
        assert!(
            out.lines().any(|found| found == line),
            "'{line}' is missing in:\n{out}"
        );
    }
}

#[test]
fn virt_admin_sees_and_changes() {
    need!(package "libvirt-clients");
    let mut daemon = Daemon::start();
    // A client to look at.
    let mut client = stock("/usr/bin/virsh")
        .args(["-q", "-c", &daemon.test_uri()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let list = || -> Vec<String> {
        let out = daemon.virt_admin(&["srv-clients-list", "libvirtd"]).ok();
        out.lines()
            .skip(2)
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect()
    };
    eventually("the client is seen", Duration::from_secs(20), || {
        list().len() == 1
    });
    let id = list()[0].split_whitespace().next().unwrap().to_owned();
    let admin = |words: &[&str]| daemon.virt_admin(words);

    assert_eq!(
        admin(&["srv-list"]).ok(),
        " Id   Name\n----------------\n 0    libvirtd\n 1    admin\n\n"
    );
    assert!(
        admin(&["version"])
            .ok()
            .contains("Running against daemon: 11.3.0")
    );
    let names = |words: &[&str]| -> Vec<String> {
        let out = admin(words).ok();
        out.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .collect()
    };
    assert_eq!(
        names(&["srv-threadpool-info", "libvirtd"]),
        [
            "minWorkers",
            "maxWorkers",
            "nWorkers",
            "freeWorkers",
            "prioWorkers",
            "jobQueueDepth"
        ]
    );
    assert_eq!(
        names(&["client-info", "libvirtd", &id]),
        [
            "id",
            "connection_time",
            "transport",
            "readonly",
            "unix_user_id",
            "unix_user_name",
            "unix_group_id",
            "unix_group_name",
            "unix_process_id"
        ]
    );
    let info = admin(&["client-info", "libvirtd", &id]).ok();
    assert!(
        info.contains(&format!("unix_process_id: {}", client.id())),
        "{info}"
    );

    let set = [
        "srv-threadpool-set",
        "libvirtd",
        "--min-workers",
        "7",
        "--max-workers",
        "33",
    ];
    admin(&set).ok();
    let workers = admin(&["srv-threadpool-info", "libvirtd"]).ok();
    assert!(
        workers.contains("minWorkers     : 7\nmaxWorkers     : 33\nnWorkers       : 7\n"),
        "{workers}"
    );
    let wrong = admin(&["srv-threadpool-set", "libvirtd", "--min-workers", "50"]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong
            .err
            .contains("invalid argument: minWorkers cannot be larger than maxWorkers"),
        "{}",
        wrong.err
    );
    admin(&[
        "srv-clients-set",
        "libvirtd",
        "--max-clients",
        "100",
        "--max-unauth-clients",
        "40",
    ])
    .ok();
    let limits = admin(&["srv-clients-info", "libvirtd"]).ok();
    assert_eq!(
        limits,
        "nclients_max        : 100\nnclients            : 1\nnclients_unauth_max : 40\nnclients_unauth     : 0\n\n"
    );
    assert!(
        admin(&["srv-clients-info", "nobody"])
            .err
            .contains("Server not found: ")
    );
    assert!(
        admin(&["client-info", "libvirtd", "999"])
            .err
            .contains("Client not found: ")
    );

    let log = daemon.root().join("admin.log");
    admin(&["daemon-log-outputs", &format!("1:file:{}", log.display())]).ok();
    admin(&["daemon-log-filters", "1:daemon 4:util"]).ok();
    assert_eq!(
        admin(&["daemon-log-filters"]).ok(),
        " Logging filters: 1:*daemon* 4:*util* \n\n"
    );
    assert_eq!(
        admin(&["daemon-log-outputs"]).ok(),
        format!(" Logging outputs: 1:file:{}\n\n", log.display())
    );
    admin(&["daemon-log-filters", ""]).ok();
    assert_eq!(admin(&["daemon-log-filters"]).ok(), " Logging filters: \n\n");
    assert!(
        admin(&["daemon-log-filters", "9:x"])
            .err
            .contains("invalid argument: ")
    );
    assert!(
        admin(&["srv-update-tls", "libvirtd"])
            .err
            .contains("internal error: ")
    );
    admin(&["daemon-timeout", "--timeout", "100"]).ok();

    admin(&["client-disconnect", "libvirtd", &id]).ok();
    eventually("the client is gone", Duration::from_secs(20), || {
        list().is_empty()
    });
    drop(client.stdin.take());
    client.wait().unwrap();

    // The answer may be lost with the daemon, as stock virt-admin finds too.
    admin(&["daemon-shutdown"]);
    assert!(daemon.wait().success());
    assert!(!daemon.socket().exists(), "its sockets go with it");
}

#[test]
fn a_daemon_without_work_ends_in_its_time() {
    need!(package "libvirt-clients");
    let mut daemon = Daemon::start_with("", &["--timeout", "600"]);
    // The time can be changed, and a client keeps the daemon.
    daemon.virt_admin(&["daemon-timeout", "--timeout", "1"]).ok();
    daemon.virsh(&daemon.test_uri(), &["list", "--all"]).ok();
    let begun = Instant::now();
    assert!(daemon.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn wiresharks_dissector_reads_a_session() {
    need!(
        program "tshark",
        package "libvirt-wireshark",
        package "libvirt-clients",
        package "python3-libvirt",
        program "qemu-system-x86_64"
    );
    let daemon = Daemon::start();
    let relay = Relay::to(&daemon.socket());
    let script = "list --all\ndominfo test\ndumpxml test\ndefine GUEST\nstart relayed\ndomstats\n\
                  event --list\nscreenshot test /dev/null\npool-list --all\nvol-list default-pool\nnet-list --all\n\
                  nodeinfo\ncapabilities\ndomxml-to-native qemu-argv GUEST\ndestroy relayed\nundefine relayed\n\
                  dominfo nobody\nschedinfo test\ndomcapabilities\n";
    let guest = daemon.root().join("guest.xml");
    std::fs::write(
        &guest,
        "<domain type='test'><name>relayed</name><memory unit='MiB'>8</memory><os><type>hvm</type></os></domain>",
    )
    .unwrap();
    let commands = script
        .replace("GUEST", guest.to_str().unwrap())
        .replace('\n', ";");
    let mut command = stock("/usr/bin/virsh");
    command
        .args(["-c", &uri_through(&relay.socket(), "test:///default")])
        .arg(&commands);
    // Some of the commands are refused, and that has to be readable too.
    let ran = run_to_end(command);
    assert!(
        ran.out.contains("Domain 'relayed' started"),
        "{}{}",
        ran.out,
        ran.err
    );
    // Events, and keepalive both ways.
    let mut command = python("session.py");
    command.arg(uri_through(&relay.socket(), "test:///default"));
    run_to_end(command).ok();
    // A stream.
    let guest = daemon.root().join("screen.xml");
    std::fs::write(
        &guest,
        "<domain type='qemu'><name>screen</name><memory unit='MiB'>32</memory>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
         <video><model type='vga'/></video></devices></domain>",
    )
    .unwrap();
    let picture = daemon.root().join("picture");
    let mut command = stock("/usr/bin/virsh");
    command
        .args(["-c", &uri_through(&relay.socket(), "qemu:///system")])
        .arg(format!(
            "create {}; screenshot screen {}; destroy screen",
            guest.display(),
            picture.display()
        ));
    let ran = run_to_end(command);
    assert!(
        picture.metadata().is_ok_and(|file| file.len() > 1000),
        "{}{}",
        ran.out,
        ran.err
    );

    let file = daemon.root().join("session.pcap");
    std::fs::write(&file, relay.capture()).unwrap();
    let tshark = |words: &[&str]| {
        let mut command = Command::new("tshark");
        command
            .arg("-r")
            .arg(&file)
            .args(["-d", "tcp.port==16509,libvirt", "-n"])
            .args(words);
        run_to_end(command).ok()
    };
    let malformed = tshark(&["-Y", "_ws.malformed || _ws.expert.severity == error", "-V"]);
    assert_eq!(malformed, "", "{malformed}");
    let procedures = tshark(&[
        "-Y",
        "libvirt",
        "-T",
        "fields",
        "-e",
        "libvirt.procedure",
        "-e",
        "libvirt.type",
        "-e",
        "libvirt.status",
    ]);
    let calls = procedures.lines().count();
    assert!(calls > 60, "only {calls} packets were understood:\n{procedures}");
    // A frame may hold several packets: their fields are lists then.
    let kinds: Vec<(&str, &str)> = procedures
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .flat_map(|(kinds, statuses)| kinds.split(',').zip(statuses.split(',')))
        .collect();
    // Calls, replies, errors, events and data of a stream were among them.
    for kind in [("0", "0"), ("1", "0"), ("1", "1"), ("2", "0"), ("3", "2")] {
        assert!(
            kinds.contains(&kind),
            "no packet of type and status {kind:?}:\n{procedures}"
        );
    }
}

#[test]
fn metrics_count_what_happens() {
    need!(package "libvirt-clients");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("metrics");
    let daemon = Daemon::start_with("", &["--metrics", socket.to_str().unwrap()]);
    daemon.virsh(&daemon.test_uri(), &["list", "--all"]).ok();
    daemon.virsh(&daemon.test_uri(), &["dominfo", "nobody"]);
    let page = scrape(&socket);
    let value = |line: &str| -> f64 {
        let found = page.lines().find_map(|found| found.strip_prefix(line));
        found
            .unwrap_or_else(|| panic!("'{line}' is missing in:\n{page}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(
        value("virtd_call_duration_seconds_count{driver=\"test\",procedure=\"connect_list_all_domains\"}")
            >= 1.0
    );
    assert!(value("virtd_call_errors_total{driver=\"test\",procedure=\"domain_lookup_by_name\"}") >= 1.0);
    assert!(value("virtd_clients_accepted_total{server=\"libvirtd\"}") >= 2.0);
    assert_eq!(value("virtd_lost_workers{driver=\"test\"}"), 0.0);
    assert!(value("process_open_fds") > 3.0);
}

fn scrape(socket: &Path) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: virtd\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn a_line_of_the_log_names_its_request() {
    need!(package "libvirt-clients");
    let daemon = Daemon::start();
    let log = daemon.root().join("requests.log");
    daemon
        .virt_admin(&["daemon-log-outputs", &format!("1:file:{}", log.display())])
        .ok();
    daemon.virt_admin(&["daemon-log-filters", "1:rpc 1:daemon"]).ok();
    daemon.virsh(&daemon.test_uri(), &["dominfo", "nobody"]);
    let text = std::fs::read_to_string(&log).unwrap();
    let line = text.lines().find(|line| line.contains("Domain not found"));
    let line = line.unwrap_or_else(|| panic!("the failure is not in the log:\n{text}"));
    let request = line.split(" : [").nth(1).and_then(|rest| rest.split(']').next());
    let (client, serial) = request.unwrap_or_default().split_once('.').unwrap_or_default();
    assert!(
        client.parse::<u64>().is_ok() && serial.parse::<u32>().is_ok(),
        "{line}"
    );
}
