//! `bench rpc`: our daemon beside stock libvirtd, both on folders of their own, asked by one client that is nothing but
//! packets. The machine's own daemon is never touched.

use super::daemons::{self, Kind, Running, Side, serial};
use super::wire::{self, Wire, open_args, procedure, text, words};
use super::{Options, median, rows};
use crate::install;
use crate::task::{self, Context, Outcome, Result};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A call that a stuck guest holds up is given up after so long.
const STUCK: Duration = Duration::from_secs(5);
/// Something that is measured on both sides.
struct Row {
    name: &'static str,
    about: &'static str,
    /// How many times as good as stock it should be.
    goal: f64,
    unit: Unit,
    measure: fn(&Side) -> Result<f64>,
}

/// What a row's number is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Seconds: less is better.
    Time,
    /// Calls a second: more is better.
    Rate,
    /// Bytes a second: more is better.
    Bandwidth,
    /// KiB: less is better.
    Memory,
}

/// Where a stream flows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

const ROWS: &[Row] = &[
    Row {
        name: "null-call",
        about: "a call that needs nothing, one client",
        goal: 3.0,
        unit: Unit::Time,
        measure: |side| Ok(null_calls(side)?.0),
    },
    Row {
        name: "null-call-p99",
        about: "the same, 99th percentile",
        goal: 2.0,
        unit: Unit::Time,
        measure: |side| Ok(null_calls(side)?.1),
    },
    Row {
        name: "null-call-64",
        about: "the same from 64 clients, calls a second",
        goal: 4.0,
        unit: Unit::Rate,
        measure: many_clients,
    },
    Row {
        name: "own-call",
        about: "domid in virsh, each daemon asked by its own",
        goal: 3.0,
        unit: Unit::Time,
        measure: own_calls,
    },
    Row {
        name: "connect",
        about: "connect, authenticate, open qemu:///system, close; each as its own client does it",
        goal: 4.0,
        unit: Unit::Time,
        measure: connects,
    },
    Row {
        name: "list-10000",
        about: "list 10,000 domains of the test driver",
        goal: 5.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::List)?.0),
    },
    Row {
        name: "list-10000-p99",
        about: "the same, 99th percentile",
        goal: 2.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::List)?.1),
    },
    Row {
        name: "stats-10000",
        about: "states of 10,000 domains of the test driver as bulk statistics",
        goal: 5.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::Stats)?.0),
    },
    Row {
        name: "stats-10000-p99",
        about: "the same, 99th percentile",
        goal: 2.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::Stats)?.1),
    },
    Row {
        name: "idle-memory",
        about: "resident memory of a daemon that has served one client",
        goal: 2.0,
        unit: Unit::Memory,
        measure: memory,
    },
    Row {
        name: "start",
        about: "from start to the first list of guests",
        goal: 5.0,
        unit: Unit::Time,
        measure: start,
    },
    Row {
        name: "stream-down",
        about: "bytes from a channel of a guest to a client (a socket of the bench stands for the guest's end)",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| stream(side, Way::Down),
    },
    Row {
        name: "stream-up",
        about: "the same from a client to the guest",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| stream(side, Way::Up),
    },
    Row {
        name: "volume-down",
        about: "bytes from a file in memory to a client, as a volume's download",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| volume(side, Way::Down),
    },
    Row {
        name: "volume-up",
        about: "the same from a client into the file",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| volume(side, Way::Up),
    },
    Row {
        name: "own-volume-down",
        about: "the same to /dev/null, by a program of each side: stock's is virsh",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| own_volume(side, Way::Down),
    },
    Row {
        name: "own-volume-up",
        about: "the same from a file into the volume",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| own_volume(side, Way::Up),
    },
    Row {
        name: "stuck-guest-p99",
        about: "dominfo of a healthy guest beside 100 clients that ask a stuck one (5 s: no answer)",
        goal: 2.0,
        unit: Unit::Time,
        measure: stuck_guest,
    },
];

/// The names of the rows.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// Builds, starts both daemons, measures, prints.
pub(super) fn run(options: &Options) -> Result<Outcome> {
    let only: Vec<&String> = options.rows.iter().filter(|name| *name != "rpc").collect();
    let folder = task::root().join("target/bench");
    if !options.built {
        install::into(&folder, options.debug)?;
    }
    daemons::add_volumes(&folder, options.debug)?;
    let work = folder.join("rpc");
    let ours = Side::new(work.join("ours"), Kind::Ours(folder.clone()))?;
    let stock = match Kind::stock() {
        Ok(_) if options.alone => None,
        Ok(kind) => Some(Side::new(work.join("stock"), kind)?),
        Err(reason) => {
            println!("{reason}: nothing is compared");
            None
        }
    };
    if options.debug {
        println!("this is a build for work in the tree: its numbers are not those that are promised");
    }
    println!(
        "\n{:<16} {:>12} {:>12} {:>8} {:>6}  what",
        "row", "ours", "stock", "ratio", "goal"
    );
    let mut good = true;
    for row in ROWS
        .iter()
        .filter(|row| only.is_empty() || only.iter().any(|name| *name == row.name))
    {
        good &= row.compare(&ours, stock.as_ref(), options.turns)?;
    }
    Ok(Outcome::passed_if(good))
}

impl Row {
    /// Measures both sides in turn and prints the medians. False if ours cannot do it.
    fn compare(&self, ours: &Side, stock: Option<&Side>, turns: usize) -> Result<bool> {
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        let mut complaint = None;
        let mut good = true;
        // These rows do many calls in each turn.
        for _ in 0..turns.clamp(1, 5) {
            good &= !ours.revive()?;
            if let Some(side) = stock {
                side.revive()?;
            }
            match (self.measure)(ours) {
                Ok(value) => own.push(value),
                Err(failure) => {
                    println!("{:<16} {:>12}  {}: {failure}", self.name, "failed", self.about);
                    return Ok(false);
                }
            }
            if let Some(side) = stock
                && complaint.is_none()
            {
                match (self.measure)(side) {
                    Ok(value) => theirs.push(value),
                    Err(failure) => complaint = Some(failure),
                }
            }
        }
        if let Some(failure) = complaint {
            println!("{}: stock libvirtd cannot do this row here: {failure}", self.name);
        }
        let (own, theirs) = (median(&mut own), median(&mut theirs));
        let ratio = match (own, theirs) {
            (Some(own), Some(theirs))
                if matches!(self.unit, Unit::Rate | Unit::Bandwidth) && theirs > 0.0 =>
            {
                format!("{:.1}x", own / theirs)
            }
            (Some(own), Some(theirs)) if own > 0.0 => format!("{:.1}x", theirs / own),
            _ => "not compared".to_owned(),
        };
        let value = |value: Option<f64>| value.map(|value| self.unit.show(value)).unwrap_or_default();
        println!(
            "{:<16} {:>12} {:>12} {ratio:>8} {:>6}  {}",
            self.name,
            value(own),
            value(theirs),
            format!("{}x", self.goal),
            self.about
        );
        Ok(good)
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time => super::Unit::Seconds.show(value),
            Self::Rate => format!("{value:.0}/s"),
            Self::Bandwidth => format!("{:.2} GiB/s", value / f64::from(1 << 30)),
            Self::Memory => format!("{:.1} MiB", value / 1024.0),
        }
    }
}

/// Mean and 99th percentile of a null call.
fn null_calls(side: &Side) -> Result<(f64, f64)> {
    let mut wire = side.open("qemu:///system")?;
    for _ in 0..200 {
        wire.ask(procedure::CONNECT_GET_TYPE, &[])?;
    }
    let mut times = Vec::with_capacity(5000);
    for _ in 0..5000 {
        let begun = Instant::now();
        wire.ask(procedure::CONNECT_GET_TYPE, &[])?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(spread(times))
}

/// Calls a second from 64 clients, which are one thread here: each answer is followed by the next call.
fn many_clients(side: &Side) -> Result<f64> {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 150;
    let mut wires = (0..CLIENTS)
        .map(|_| side.open("qemu:///system"))
        .collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        for wire in &mut wires {
            let mut out = Vec::with_capacity(28);
            wire.push(&mut out, procedure::CONNECT_GET_TYPE, &[]);
            wire.send(&out)?;
        }
        for wire in &mut wires {
            if !wire.receive()?.well {
                return Err("a null call failed".into());
            }
        }
    }
    Ok((CLIENTS * ROUNDS) as f64 / begun.elapsed().as_secs_f64())
}

/// What a command costs that is a call or two, in a `virsh` that goes on running.
fn own_calls(side: &Side) -> Result<f64> {
    const COMMANDS: usize = 2000;
    let program = match &side.kind {
        Kind::Ours(prefix) => prefix.join("bin/virsh"),
        Kind::Stock => PathBuf::from("/usr/bin/virsh"),
    };
    let uri = format!(
        "test+unix:///default?socket={}",
        side.daemon.borrow().socket.display()
    );
    let run = |commands: usize| -> Result<f64> {
        let begun = Instant::now();
        let mut shell = Command::new(&program)
            .args(["-q", "-c", &uri])
            .env_remove("VIRT_DRIVER_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context(|| program.display().to_string())?;
        if let Some(mut input) = shell.stdin.take() {
            let script = "domid test\n".repeat(commands);
            input
                .write_all(script.as_bytes())
                .context(|| "virsh's input".to_owned())?;
        }
        let status = shell.wait().context(|| program.display().to_string())?;
        match status.success() {
            true => Ok(begun.elapsed().as_secs_f64()),
            false => Err(format!("{}: {status}", program.display()).into()),
        }
    };
    // What start and end take is in both.
    let few = run(COMMANDS / 10)?;
    Ok((run(COMMANDS + COMMANDS / 10)? - few) / COMMANDS as f64)
}

/// One client from connect to close. libvirt's own asks one thing after the other; ours asks a daemon that it knows for
/// all at once.
fn connects(side: &Side) -> Result<f64> {
    const ROUNDS: u32 = 100;
    let calls = [
        (procedure::AUTH_LIST, Vec::new()),
        // The feature is keepalive.
        (procedure::CONNECT_SUPPORTS_FEATURE, words(&[10])),
        (procedure::CONNECT_OPEN, open_args("qemu:///system")),
        (procedure::CONNECT_GET_URI, Vec::new()),
    ];
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let mut wire = Wire::connect(&side.daemon.borrow().socket)?;
        match side.kind {
            Kind::Ours(_) => {
                let mut out = Vec::new();
                for (procedure, args) in &calls {
                    wire.push(&mut out, *procedure, args);
                }
                wire.send(&out)?;
                for _ in &calls {
                    if !wire.receive()?.well {
                        return Err("a call of the handshake failed".into());
                    }
                }
            }
            Kind::Stock => {
                for (procedure, args) in &calls {
                    wire.ask(*procedure, args)?;
                }
            }
        }
        wire.ask(procedure::CONNECT_CLOSE, &[])?;
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(ROUNDS))
}

/// What is asked about many domains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Large {
    List,
    Stats,
}

/// Mean and 99th percentile.
fn large(side: &Side, what: Large) -> Result<(f64, f64)> {
    const CALLS: usize = 50;
    let uri = rows::ten_thousand(side.folder.parent().unwrap_or(&side.folder))?;
    let mut wire = side.open(&uri)?;
    let (number, args) = match what {
        Large::List => (procedure::CONNECT_LIST_ALL_DOMAINS, words(&[1, 0])),
        Large::Stats => (procedure::CONNECT_GET_ALL_DOMAIN_STATS, words(&[0, 1, 0])),
    };
    wire.ask(number, &args)?;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begun = Instant::now();
        let reply = wire.ask(number, &args)?;
        times.push(begun.elapsed().as_secs_f64());
        if reply.len() < 10_000 * 24 {
            return Err(format!("only {} bytes for 10,000 domains", reply.len()).into());
        }
    }
    Ok(spread(times))
}

/// Mean and 99th percentile.
fn spread(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    (mean, times.get(times.len() * 99 / 100).copied().unwrap_or(mean))
}

/// KiB of a fresh daemon.
fn memory(side: &Side) -> Result<f64> {
    let daemon = Running::start(&side.folder.join("idle"), &side.kind)?;
    let mut wire = Wire::open(&daemon.socket, "qemu:///system")?;
    wire.ask(procedure::CONNECT_LIST_ALL_DOMAINS, &words(&[1, 0]))?;
    drop(wire);
    std::thread::sleep(Duration::from_millis(500));
    let file = format!("/proc/{}/status", daemon.child.id());
    let status = std::fs::read_to_string(&file).context(|| file.clone())?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    kib.ok_or_else(|| format!("{file} says nothing of memory").into())
}

/// From the start of a daemon to its first list.
fn start(side: &Side) -> Result<f64> {
    let begun = Instant::now();
    let daemon = Running::start(&side.folder.join("start"), &side.kind)?;
    let mut wire = Wire::open(&daemon.socket, "qemu:///system")?;
    wire.ask(procedure::CONNECT_LIST_ALL_DOMAINS, &words(&[1, 0]))?;
    Ok(begun.elapsed().as_secs_f64())
}

/// How long a healthy guest's information takes while a hundred clients ask for one whose process is stopped.
fn stuck_guest(side: &Side) -> Result<f64> {
    use nix::sys::signal::{Signal, kill};
    let mut wire = side.open("qemu:///system")?;
    let guests = [
        // Each turn has guests of its own: the daemon may still be burying those of the last.
        Guest::start(&mut wire, &format!("stuck-{}", serial()), "", Begin::Running)?,
        Guest::start(&mut wire, &format!("healthy-{}", serial()), "", Begin::Running)?,
    ];
    let [stuck, healthy] = &guests;
    let pid = nix::unistd::Pid::from_raw(stuck.pid()?);
    kill(pid, Signal::SIGSTOP).context(|| "stopping a guest's process".to_owned())?;
    let measured = (|| {
        let mut askers = (0..100)
            .map(|_| side.open("qemu:///system"))
            .collect::<Result<Vec<_>>>()?;
        for asker in &mut askers {
            let mut out = Vec::new();
            // Statistics of the balloon have to be asked of the process.
            let args = [stuck.reference.clone(), words(&[16, 0])].concat();
            asker.push(&mut out, procedure::DOMAIN_MEMORY_STATS, &args);
            asker.send(&out)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        wire.patience(STUCK)?;
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            let answered = wire.call(procedure::DOMAIN_GET_INFO, &healthy.reference);
            times.push(begun.elapsed().as_secs_f64());
            if answered.is_err() {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times
            .get(times.len() * 99 / 100)
            .copied()
            .unwrap_or(STUCK.as_secs_f64()))
    })();
    let _ = kill(pid, Signal::SIGCONT);
    for guest in &guests {
        guest.end();
    }
    measured
}

/// Bytes a second through a stream. Both daemons connect a channel's stream to the socket that the guest's process
/// listens on; once the guest runs, the bench listens there in its place, so that nothing but the daemon is between its
/// two ends.
fn stream(side: &Side, way: Way) -> Result<f64> {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    // As much as the client's packets hold, and both ends stay until everything is there: stock libvirtd frees memory
    // twice when a guest's end is closed while it has something for it, and may lose what a guest sent before it left.
    const PIECE: usize = 4 * wire::CHUNK;
    const TOTAL: usize = 2048 * PIECE;
    let path = PathBuf::from(format!(
        "/tmp/virt-bench-channel-{}-{}",
        std::process::id(),
        serial()
    ));
    let mut wire = side.open("qemu:///system")?;
    let device = format!(
        "<channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='org.bench.0'/></channel>",
        path.display()
    );
    // What the guest computes would be taken from what is measured.
    let guest = Guest::start(&mut wire, &format!("stream-{}", serial()), &device, Begin::Paused)?;
    let measured = (|| {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).context(|| path.display().to_string())?;
        // The name is given, and no flags.
        let args = [
            guest.reference.clone(),
            words(&[1]),
            text("org.bench.0"),
            words(&[0]),
        ]
        .concat();
        wire.ask(procedure::DOMAIN_OPEN_CHANNEL, &args)?;
        let (mut end, _) = listener
            .accept()
            .context(|| "the daemon's connection".to_owned())?;
        // The guest's end is as QEMU's; the client's as each side's own client has it.
        if matches!(side.kind, Kind::Ours(_)) {
            wire.widen()?;
        }
        let begun = Instant::now();
        let other = std::thread::spawn(move || -> std::io::Result<UnixStream> {
            let mut chunk = vec![0x5a; PIECE];
            let mut moved = 0;
            while moved < TOTAL {
                moved += match way {
                    Way::Down => {
                        end.write_all(&chunk)?;
                        chunk.len()
                    }
                    Way::Up => match end.read(&mut chunk)? {
                        0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                        count => count,
                    },
                };
            }
            Ok(end)
        });
        match way {
            Way::Down => wire.receive_stream(TOTAL)?,
            Way::Up => wire.send_stream(procedure::DOMAIN_OPEN_CHANNEL, TOTAL)?,
        }
        let Ok(end) = other.join() else {
            return Err("the channel's other end panicked".into());
        };
        end.context(|| "the channel's other end".to_owned())?;
        Ok(TOTAL as f64 / begun.elapsed().as_secs_f64())
    })();
    drop(wire);
    guest.end();
    let _ = std::fs::remove_file(&path);
    measured
}

/// A file in memory that is a volume. Stock has it as one of a pool; ours has no pools yet, and takes a driver of the
/// tests that does nothing but open the file.
struct Volume<'s> {
    side: &'s Side,
    folder: PathBuf,
}

impl<'s> Volume<'s> {
    const SIZE: usize = 4096 * wire::CHUNK;
    const POOL: &'static str = "bench";

    fn new(side: &'s Side) -> Result<Self> {
        let folder = PathBuf::from(format!("/dev/shm/virt-bench-{}-{}", std::process::id(), serial()));
        let volume = Self { side, folder };
        task::write(&volume.path(), vec![0x5a; Self::SIZE])?;
        if matches!(side.kind, Kind::Stock) {
            let xml = format!(
                "<pool type='dir'><name>{}</name><target><path>{}</path></target></pool>",
                Self::POOL,
                volume.folder.display()
            );
            volume.open()?.ask(
                procedure::STORAGE_POOL_CREATE_XML,
                &[text(&xml), words(&[0])].concat(),
            )?;
        }
        Ok(volume)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("volume")
    }

    /// Scheme and path of the URI.
    fn driver(&self) -> (&'static str, String) {
        match self.side.kind {
            Kind::Ours(_) => ("sleeper", self.folder.display().to_string()),
            Kind::Stock => ("qemu", "/system".to_owned()),
        }
    }

    fn open(&self) -> Result<Wire> {
        let (scheme, path) = self.driver();
        self.side.open(&format!("{scheme}://{path}"))
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        if matches!(self.side.kind, Kind::Stock)
            && let Ok(mut wire) = self.open()
        {
            // The next turn makes it anew, and its complaint would hide the first one.
            let found = wire.ask(procedure::STORAGE_POOL_LOOKUP_BY_NAME, &text(Self::POOL));
            let _ = found.and_then(|pool| wire.ask(procedure::STORAGE_POOL_DESTROY, &pool));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Bytes a second between a client and a file in memory.
fn volume(side: &Side, way: Way) -> Result<f64> {
    let volume = Volume::new(side)?;
    let mut wire = volume.open()?;
    let path = volume.path().display().to_string();
    let reference = match side.kind {
        Kind::Ours(_) => [text(Volume::POOL), text("volume"), text(&path)].concat(),
        Kind::Stock => wire.ask(procedure::STORAGE_VOL_LOOKUP_BY_PATH, &text(&path))?,
    };
    // From the beginning, everything, no flags.
    let args = [reference, words(&[0, 0, 0, 0, 0])].concat();
    let procedure = match way {
        Way::Down => procedure::STORAGE_VOL_DOWNLOAD,
        Way::Up => procedure::STORAGE_VOL_UPLOAD,
    };
    let begun = Instant::now();
    wire.ask(procedure, &args)?;
    match way {
        Way::Down => wire.receive_stream(Volume::SIZE)?,
        Way::Up => {
            // As each side's own client has it.
            if matches!(side.kind, Kind::Ours(_)) {
                wire.widen()?;
            }
            wire.send_stream(procedure, Volume::SIZE)?;
            wire.finish_stream(procedure)?;
        }
    }
    Ok(Volume::SIZE as f64 / begun.elapsed().as_secs_f64())
}

/// The same by a program, which reads or writes a file of its own.
fn own_volume(side: &Side, way: Way) -> Result<f64> {
    let volume = Volume::new(side)?;
    let file = match way {
        // What a file takes would hide what the stream takes.
        Way::Down => PathBuf::from("/dev/null"),
        Way::Up => volume.folder.join("file"),
    };
    if way == Way::Up {
        std::fs::copy(volume.path(), &file).context(|| file.display().to_string())?;
    }
    let (scheme, path) = volume.driver();
    let uri = format!(
        "{scheme}+unix://{path}?socket={}",
        side.daemon.borrow().socket.display()
    );
    let mut command = match &side.kind {
        Kind::Ours(prefix) => {
            let mut command = Command::new(task::root().join("target/release/volume-mover"));
            command
                .args([if way == Way::Up { "up" } else { "down" }, &uri])
                .env("VIRT_DRIVER_DIR", prefix.join("lib/virt/drivers"));
            command
        }
        Kind::Stock => {
            let mut command = Command::new("/usr/bin/virsh");
            let what = if way == Way::Up {
                "vol-upload"
            } else {
                "vol-download"
            };
            command.args(["-q", "-c", &uri, what]);
            command
        }
    };
    command.arg(volume.path()).arg(&file);
    let begun = Instant::now();
    let status = command
        .status()
        .context(|| command.get_program().display().to_string())?;
    let rate = Volume::SIZE as f64 / begun.elapsed().as_secs_f64();
    match status.success() {
        true => Ok(rate),
        false => Err(format!("{}: {status}", command.get_program().display()).into()),
    }
}

/// How a guest begins, as libvirt's flag.
#[derive(Clone, Copy)]
enum Begin {
    Running = 0,
    Paused = 1,
}

/// A guest.
struct Guest {
    name: String,
    /// Name, UUID and id in XDR.
    reference: Vec<u8>,
}

impl Guest {
    fn start(wire: &mut Wire, name: &str, device: &str, begin: Begin) -> Result<Self> {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{device}</devices></domain>"
        );
        let reference = wire.ask(
            procedure::DOMAIN_CREATE_XML,
            &[text(&xml), words(&[begin as u32])].concat(),
        )?;
        // Looked up once more, so that both daemons answer with the same.
        let reference = match wire.ask(procedure::DOMAIN_LOOKUP_BY_NAME, &text(name)) {
            Ok(found) => found,
            Err(_) => reference,
        };
        Ok(Self {
            name: name.to_owned(),
            reference,
        })
    }

    /// The process whose command line names the guest.
    fn pid(&self) -> Result<i32> {
        let needle = format!("guest={},", self.name);
        for entry in std::fs::read_dir("/proc")
            .context(|| "/proc".to_owned())?
            .flatten()
        {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok());
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if let Some(pid) = pid
                && String::from_utf8_lossy(&line).contains(&needle)
            {
                return Ok(pid);
            }
        }
        Err(format!("guest '{}' has no process", self.name).into())
    }

    /// Ends the process: the daemon may be stuck.
    fn end(&self) {
        if let Ok(pid) = self.pid() {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
