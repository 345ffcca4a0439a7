//! Streams that move as much as they can, and everybody else beside them.
//!
//! How long a call takes says little on a machine that is busy. What is counted is how much went through the streams
//! while a call waited for its answer: that is work which was done before it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use virt_api::call::PROGRAM_REMOTE;
use virt_api::need;
use virt_api::protocol::remote::*;
use virt_api::rpc::stream::{CHUNK_MAX, StreamWriter};
use virt_api::rpc::{Header, Status};
use virt_api::testkit::Pki;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::{eventually, free_port};
use virt_tests_system::wire::Wire;
use virt_util::xdr::XdrEncode;

use super::{QEMU, TEST, number, started};

const MIB: u64 = 1 << 20;
/// `VIR_DOMAIN_START_PAUSED`.
const PAUSED: u32 = 1;
const CHANNEL: &str = "org.example.0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

/// A stream between a client and the place where a guest listens, both of which are here.
struct Moving {
    way: Way,
    client: Wire,
    serial: u32,
    guest: UnixStream,
    /// How many bytes have arrived.
    moved: AtomicU64,
}

impl Moving {
    /// Starts a guest, takes the place of its end of a channel, and opens a stream to it.
    fn open(daemon: &Daemon, way: Way, name: &str) -> Self {
        Self::over(Wire::open(&daemon.socket(), QEMU), daemon, way, name)
    }

    /// [`Moving::open`] with a client that is there.
    fn over(mut client: Wire, daemon: &Daemon, way: Way, name: &str) -> Self {
        let path = daemon.root().join(name);
        let xml_desc = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
             <channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='{CHANNEL}'/></channel>\
             </devices></domain>",
            path.display()
        );
        // What it computes would be in everybody's way.
        let args = DomainCreateXmlArgs {
            xml_desc,
            flags: PAUSED,
        };
        let started: DomainCreateXmlReply = client.ask(procedure::DOMAIN_CREATE_XML, &args);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let args = DomainOpenChannelArgs {
            domain: started.domain,
            name: Some(CHANNEL.to_owned()),
            flags: 0,
        };
        let serial = client
            .send(procedure::DOMAIN_OPEN_CHANNEL, &args.to_xdr().unwrap())
            .unwrap();
        assert_eq!(client.receive().unwrap().header.status, Status::Ok);
        Self {
            way,
            client,
            serial,
            guest: listener.accept().unwrap().0,
            moved: AtomicU64::new(0),
        }
    }

    /// Sends until an end is closed.
    fn send(&self) {
        match self.way {
            Way::Down => write_until_closed(&self.guest, &vec![0x5a; MIB as usize]),
            Way::Up => {
                let procedure = procedure::DOMAIN_OPEN_CHANNEL.cast_signed();
                let opened = Header::call(PROGRAM_REMOTE, 1, procedure, self.serial);
                let packet = StreamWriter::new(opened).data(&vec![0x5a; CHUNK_MAX]).unwrap().0;
                write_until_closed(self.client.socket(), &packet);
            }
        }
    }

    /// Counts what arrives until an end is closed. Heads of packets are counted too, for they hardly count.
    fn receive(&self) {
        let mut from = match self.way {
            Way::Down => self.client.socket(),
            Way::Up => &self.guest,
        };
        let mut buffer = vec![0; MIB as usize];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.moved.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn end(&self) {
        for socket in [self.client.socket(), &self.guest] {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Ends streams, however it is left.
struct Ending<'a>(&'a [Moving]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(Moving::end);
    }
}

fn write_until_closed(mut to: &UnixStream, bytes: &[u8]) {
    while to.write_all(bytes).is_ok() {}
}

/// What went through all streams while calls waited for their answers.
#[derive(Debug)]
struct Passed {
    median: u64,
    p99: u64,
    worst: u64,
}

impl Passed {
    /// Whether a call waits for no more than a few turns of each stream; at times for what the machine does besides.
    #[track_caller]
    fn is_fair(&self, what: &str) {
        assert!(self.median < 64 * MIB, "{what}: {self:?}");
        assert!(self.p99 < 512 * MIB, "{what}: {self:?}");
        assert!(self.worst < 4096 * MIB, "{what}: {self:?}");
    }
}

/// Makes calls one after the other, and counts what `moved` in each.
fn passed(socket: &Path, uri: &str, call: u32, args: &[u8], moved: &dyn Fn() -> u64) -> Passed {
    let mut wire = Wire::open(socket, uri);
    let mut counts: Vec<u64> = (0..number(2000, 300))
        .map(|_| {
            let before = moved();
            assert_eq!(wire.call(call, args).header.status, Status::Ok);
            moved() - before
        })
        .collect();
    counts.sort_unstable();
    Passed {
        median: counts[counts.len() / 2],
        p99: counts[counts.len() * 99 / 100],
        worst: counts[counts.len() - 1],
    }
}

#[test]
fn streams_that_move_leave_others_their_share() {
    need!(program "qemu-system-x86_64", root);
    let daemon = Daemon::start_with("max_anonymous_clients = 0\n", &[]);
    let socket = daemon.socket();
    let well = started(&mut Wire::open(&socket, QEMU), "well");
    let args = DomainGetInfoArgs { domain: well }.to_xdr().unwrap();
    let streams: Vec<Moving> = [(Way::Down, "down"), (Way::Up, "up")]
        .into_iter()
        .flat_map(|(way, name)| (0..3).map(move |one| (way, format!("{name}{one}"))))
        .map(|(way, name)| Moving::open(&daemon, way, &name))
        .collect();
    std::thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(|| stream.send());
            scope.spawn(|| stream.receive());
        }
        // A call that fails ends the streams too, or this would never end.
        let _end = Ending(&streams);
        let moved = || streams.iter().map(Moving::moved).sum::<u64>();
        eventually("all streams move", Duration::from_secs(30), || {
            streams.iter().all(|stream| stream.moved() > 4 * MIB)
        });
        let before: Vec<u64> = streams.iter().map(Moving::moved).collect();
        for (what, uri, call, args) in [
            (
                "calls answered on the I/O thread",
                TEST,
                procedure::CONNECT_GET_TYPE,
                &[][..],
            ),
            (
                "calls answered in workers",
                TEST,
                procedure::CONNECT_NUM_OF_STORAGE_POOLS,
                &[],
            ),
            ("calls for another guest", QEMU, procedure::DOMAIN_GET_INFO, &args),
        ] {
            let passed = passed(&socket, uri, call, args, &moved);
            println!("{what}: {passed:?} bytes went by");
            passed.is_fair(what);
        }
        let so_far: Vec<u64> = streams.iter().map(Moving::moved).collect();
        eventually("all streams move on", Duration::from_secs(30), || {
            streams
                .iter()
                .zip(&so_far)
                .all(|(stream, so_far)| stream.moved() > so_far + MIB)
        });
        // They leave it to each other, too.
        let shares: Vec<u64> = streams
            .iter()
            .zip(before)
            .map(|(stream, before)| stream.moved() - before)
            .collect();
        println!("bytes of each stream: {shares:?}");
        for way in [Way::Down, Way::Up] {
            let of_way = || {
                streams
                    .iter()
                    .zip(&shares)
                    .filter(|(stream, _)| stream.way == way)
            };
            let most = of_way().map(|(_, share)| *share).max().unwrap();
            let least = of_way().map(|(_, share)| *share).min().unwrap();
            assert!(least > 0 && most / least < 20, "{way:?}: {shares:?}");
        }
    });
}

/// How much processor time the daemon's thread of that name has had, in ticks of the clock.
fn ticks(daemon: &Daemon, thread: &str) -> Option<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).ok()?;
    tasks.flatten().find_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let (head, fields) = stat.rsplit_once(") ")?;
        let name = head.split_once('(')?.1;
        let mut times = fields
            .split(' ')
            .skip(11)
            .map_while(|field| field.parse::<u64>().ok());
        (name == thread)
            .then(|| times.next().zip(times.next()))?
            .map(|(user, system)| user + system)
    })
}

/// What openssl encrypts for a client, and the client.
fn through_openssl(pki: &Pki, port: u16) -> (Child, Wire) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let file = |name: &str| pki.path(name).display().to_string();
    let openssl = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-no_ign_eof",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ])
        .args([
            "-CAfile",
            &file("cacert.pem"),
            "-cert",
            &file("clientcert.pem"),
            "-key",
            &file("clientkey.pem"),
        ])
        .stdin(OwnedFd::from(theirs.try_clone().unwrap()))
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The daemon says that the certificate is good.
    let mut byte = [0];
    ours.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [1]);
    let mut wire = Wire::over(ours).unwrap();
    wire.begin(QEMU).unwrap();
    (openssl, wire)
}

#[test]
fn uploads_over_tls_cost_only_those_who_use_tls() {
    need!(program "qemu-system-x86_64", program "openssl", root);
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    for name in ["server", "client"] {
        pki.issue(
            name,
            &format!("/CN={name}"),
            &format!("{name}Auth"),
            "DNS:localhost,IP:127.0.0.1",
        );
    }
    let (port, place) = (free_port(), folder.path().display());
    let config = format!(
        "listen_tls = 1\ntls_port = \"{port}\"\nlisten_addr = \"127.0.0.1\"\nca_file = \"{place}/cacert.pem\"\n\
         cert_file = \"{place}/servercert.pem\"\nkey_file = \"{place}/serverkey.pem\"\n"
    );
    let daemon = Daemon::start_with(&config, &["--listen"]);
    let (mut openssl, wire) = through_openssl(&pki, port);
    let streams = [Moving::over(wire, &daemon, Way::Up, "encrypted")];
    std::thread::scope(|scope| {
        scope.spawn(|| streams[0].send());
        scope.spawn(|| streams[0].receive());
        let _end = Ending(&streams);
        eventually("something has moved", Duration::from_secs(30), || {
            streams[0].moved() > MIB
        });
        let (before, at) = (ticks(&daemon, "virtd").unwrap(), streams[0].moved());
        eventually("much has moved", Duration::from_secs(60), || {
            streams[0].moved() > at + 512 * MIB
        });
        let everybodys = ticks(&daemon, "virtd").unwrap() - before;
        let tls = ticks(&daemon, "virtd-tls").unwrap_or_default();
        println!("ticks of the thread for everybody: {everybodys}, of that for TLS: {tls}");
        assert!(tls > 10 && everybodys < tls / 4, "{everybodys}, {tls}");
    });
    // Its ends are closed, and if it has not seen that, it has nothing else to do.
    let _ = openssl.kill();
    let _ = openssl.wait();
}
