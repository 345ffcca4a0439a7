//! Connections that end in the worst moment: in a flood of events, in a callback, in a call, in a stream, on either side.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{answer, on_unix, packet, unknown, usual};
use parking_lot::{Mutex, MutexGuard};
use virt_api::call::PROGRAM_REMOTE;
use virt_api::host::OpenedConnection;
use virt_api::objects::{Connect, Stream};
use virt_api::protocol::remote::{DomainRef, procedure};
use virt_api::rpc::stream::StreamWriter;
use virt_api::rpc::{Header, MessageType, Packet};
use virt_api::{ErrorCode, Result};
use virt_driver_remote::PluginEntry;
use virt_util::types::{DomainConsoleFlags, DomainEventId};
use virt_util::xdr::{XdrEncode, XdrEncoder};

/// Longer than anything in here may take.
const HANG: Duration = Duration::from_secs(20);
/// Events that come at once.
const FLOOD: usize = 3000;
/// The number of the only registration.
const CALLBACK: i32 = 7;

/// One test at a time: they count the descriptors and threads of the process.
static ALONE: Mutex<()> = Mutex::new(());

/// What the process holds, and that it holds no more at the end.
struct Belongings {
    before: (usize, usize),
    _alone: MutexGuard<'static, ()>,
}

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

fn belongings() -> (usize, usize) {
    (entries("/proc/self/fd"), entries("/proc/self/task"))
}

impl Belongings {
    /// With a daemon that is there, and the event loop, which stays.
    fn counted(daemon: &Daemon) -> Self {
        let alone = ALONE.lock();
        let connect = daemon.open();
        let (tell, told) = mpsc::channel();
        virt_api::event_loop::current()
            .unwrap()
            .post(Box::new(move || tell.send(()).unwrap()));
        told.recv_timeout(HANG).unwrap();
        drop(connect);
        let mut before = belongings();
        // The daemon's end goes a moment later.
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = belongings();
            if now == before {
                break;
            }
            before = now;
        }
        Self {
            before,
            _alone: alone,
        }
    }

    #[track_caller]
    fn check(self) {
        let begun = Instant::now();
        let mut now = belongings();
        while now != self.before && begun.elapsed() < HANG {
            std::thread::sleep(Duration::from_millis(20));
            now = belongings();
        }
        assert_eq!(now, self.before, "descriptors and threads");
    }
}

/// What the daemon does besides what every daemon does.
#[derive(Default)]
struct Habits {
    /// Answers nothing any more, not even a farewell.
    silent: AtomicBool,
    /// Ends the connection behind so many packets.
    dies_behind: AtomicUsize,
    seen: AtomicUsize,
}

struct Daemon {
    _folder: tempfile::TempDir,
    path: PathBuf,
    habits: Arc<Habits>,
}

fn domain() -> DomainRef {
    DomainRef {
        name: "guest".to_owned(),
        uuid: virt_util::uuid::parse("00000000-0000-0000-0000-000000000001").unwrap(),
        id: 1,
    }
}

fn event() -> Vec<u8> {
    let mut out = XdrEncoder::new();
    out.i32(CALLBACK);
    domain().encode(&mut out).unwrap();
    out.i32(2);
    out.i32(0);
    let number = procedure::DOMAIN_EVENT_CALLBACK_LIFECYCLE.cast_signed();
    packet(Header::event(PROGRAM_REMOTE, 1, number), &out.into_bytes())
}

fn conduct(habits: &Habits, call: &Packet, socket: &mut dyn std::io::Write) -> std::io::Result<()> {
    let seen = habits.seen.fetch_add(1, Ordering::Relaxed) + 1;
    let dies_behind = habits.dies_behind.load(Ordering::Relaxed);
    if dies_behind > 0 && seen >= dies_behind {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    if habits.silent.load(Ordering::Relaxed) {
        return Ok(());
    }
    if call.header.kind == MessageType::Stream {
        // Whatever ends a stream is confirmed.
        if call.payload.is_empty() {
            let header = call.header.stream(call.header.status);
            return socket.write_all(&packet(header, &[]));
        }
        return Ok(());
    }
    let mut out = XdrEncoder::new();
    let mut behind = Vec::new();
    match u32::try_from(call.header.procedure).unwrap_or_default() {
        procedure::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY => {
            out.i32(CALLBACK);
            behind = event().repeat(FLOOD);
        }
        procedure::CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY => {}
        procedure::DOMAIN_LOOKUP_BY_NAME => domain().encode(&mut out).unwrap(),
        procedure::DOMAIN_OPEN_CONSOLE => {
            behind = StreamWriter::new(call.header).data(b"login: ").unwrap().0;
        }
        procedure::CONNECT_GET_TYPE => out.string("FAKE", 100).unwrap(),
        // Answered to nobody.
        procedure::CONNECT_GET_HOSTNAME => return Ok(()),
        _ => return socket.write_all(&usual(call).unwrap_or_else(|| unknown(call))),
    }
    socket.write_all(&answer(call, &out.into_bytes()))?;
    socket.write_all(&behind)
}

impl Daemon {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let habits = Arc::new(Habits::default());
        let for_daemon = Arc::clone(&habits);
        on_unix(
            &path,
            Arc::new(move |call, socket| conduct(&for_daemon, call, socket)),
        );
        Self {
            _folder: folder,
            path,
            habits,
        }
    }

    fn open(&self) -> Connect {
        try_open(&self.path).expect("the connection opens")
    }

    fn fall_silent(&self) {
        self.habits.silent.store(true, Ordering::Relaxed);
    }

    /// Ends the connection behind so many more packets.
    fn die_behind(&self, packets: usize) {
        let seen = self.habits.seen.load(Ordering::Relaxed);
        self.habits.dies_behind.store(seen + packets, Ordering::Relaxed);
    }

    fn live(&self) {
        self.habits.dies_behind.store(0, Ordering::Relaxed);
    }
}

fn try_open(path: &Path) -> Result<Connect> {
    Connect::builder()
        .uri(&format!("test+unix:///default?socket={}", path.display()))
        .built_in::<PluginEntry>()
        .open()
}

/// Runs `work` in a thread of its own and waits for its result, but not for ever.
#[track_caller]
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = tell.send(work());
    });
    let result = told
        .recv_timeout(HANG)
        .unwrap_or_else(|_| panic!("{what} hangs or panicked"));
    thread.join().unwrap();
    result
}

fn console(connect: &Connect) -> Stream {
    connect
        .lookup_domain_by_name("guest")
        .unwrap()
        .open_console(None, DomainConsoleFlags::empty())
        .unwrap()
}

#[test]
fn a_callback_that_ends_its_own_subscription_is_not_called_again() {
    let daemon = Daemon::new();
    let belongings = Belongings::counted(&daemon);
    let connect = daemon.open();
    let calls = Arc::new(AtomicUsize::new(0));
    let held = Arc::new(Mutex::new(None));
    let (tell, told) = mpsc::channel();
    let (counted, own) = (Arc::clone(&calls), Arc::clone(&held));
    let mut guard = held.lock();
    *guard = Some(
        connect
            .on_domain_event(None, DomainEventId::LIFECYCLE, move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(own.lock().take());
                let _ = tell.send(());
            })
            .unwrap(),
    );
    drop(guard);
    told.recv_timeout(HANG).expect("an event came");
    // Everything that was on its way has been there by now.
    assert_eq!(connect.hypervisor_type().unwrap(), "FAKE");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop((connect, held, told));
    belongings.check();
}

#[test]
fn a_callback_may_close_the_connection_in_a_flood() {
    let daemon = Daemon::new();
    let belongings = Belongings::counted(&daemon);
    for by_hand in [true, false] {
        let connect = Arc::new(Mutex::new(Some(daemon.open())));
        let (tell, told) = mpsc::channel();
        let own = Arc::clone(&connect);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let open = connect.lock().clone().unwrap();
        let subscription = open
            .on_domain_event(None, DomainEventId::LIFECYCLE, move |_| {
                if counted.fetch_add(1, Ordering::SeqCst) == 10 {
                    if let Some(connect) = own.lock().take()
                        && by_hand
                    {
                        connect.router().close().unwrap();
                    }
                    let _ = tell.send(());
                }
            })
            .unwrap();
        told.recv_timeout(HANG).expect("events came");
        in_time("ending", move || {
            if by_hand {
                assert!(open.hypervisor_type().is_err());
            }
            drop(subscription);
            drop(open);
        });
    }
    belongings.check();
}

#[test]
fn whoever_waits_hears_that_the_connection_was_closed() {
    let daemon = Daemon::new();
    let belongings = Belongings::counted(&daemon);
    for silent in [false, true] {
        let connect = daemon.open();
        let stream = console(&connect);
        let mut buffer = [0; 16];
        stream.receive(&mut buffer).unwrap();
        if silent {
            daemon.fall_silent();
        }
        let (tell, told) = mpsc::channel();
        let mut threads = Vec::new();
        for _ in 0..4 {
            let (connect, tell) = (connect.clone(), tell.clone());
            threads.push(std::thread::spawn(move || {
                let _ = tell.send(connect.hostname().map(drop));
            }));
        }
        let reading = tell.clone();
        threads.push(std::thread::spawn(move || {
            let received = stream.receive(&mut [0; 16]).map(drop);
            let _ = reading.send(received);
        }));
        std::thread::sleep(Duration::from_millis(100));
        let closing = connect.clone();
        in_time("closing", move || closing.router().close().unwrap());
        for _ in 0..5 {
            let heard = told.recv_timeout(HANG).expect("each call and the stream end");
            assert!(heard.is_err());
        }
        drop(connect);
        for thread in threads {
            thread.join().unwrap();
        }
    }
    belongings.check();
}

#[test]
fn a_stream_that_outlives_its_connection_ends_with_it() {
    let daemon = Daemon::new();
    let belongings = Belongings::counted(&daemon);
    let connect = daemon.open();
    let stream = console(&connect);
    let mut buffer = [0; 16];
    stream.receive(&mut buffer).unwrap();
    let reading = std::thread::spawn(move || stream.receive(&mut [0; 16]).map(drop));
    std::thread::sleep(Duration::from_millis(100));
    in_time("letting go", move || drop(connect));
    assert!(in_time("receiving", move || reading.join().unwrap()).is_err());
    belongings.check();
}

fn cpu_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(
            time.tv_sec().unsigned_abs(),
            u32::try_from(time.tv_usec()).unwrap_or_default() * 1000,
        )
    };
    of(usage.user_time()) + of(usage.system_time())
}

#[test]
fn a_daemon_that_is_gone_is_told_once_and_costs_nothing() {
    let daemon = Daemon::new();
    let belongings = Belongings::counted(&daemon);
    let connect = daemon.open();
    let (tell, told) = mpsc::channel();
    connect
        .on_close(move |reason| tell.send(reason).unwrap())
        .unwrap();
    daemon.die_behind(1);
    let error = connect.hypervisor_type().unwrap_err();
    assert_eq!(error.code(), ErrorCode::SYSTEM_ERROR, "{error}");
    told.recv_timeout(HANG).expect("the end is told");
    let before = cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} for nothing");
    assert!(told.try_recv().is_err(), "told twice");
    assert!(!connect.is_alive().unwrap());
    daemon.live();
    drop((connect, told));
    belongings.check();
}

/// Many threads use one connection in all ways at once, and it ends in the middle: by the daemon's death or by hand.
#[test]
fn everything_at_once_comes_to_an_end() {
    let daemon = Daemon::new();
    let belongings = Belongings::counted(&daemon);
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        round += 1;
        let connect = daemon.open();
        let dies = round % 2 == 0;
        if dies {
            daemon.die_behind(1 + round * 7 % 60);
        }
        let ended = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&ended);
        let watched = connect.on_close(move |_| {
            told.fetch_add(1, Ordering::SeqCst);
        });
        assert!(watched.is_ok() || dies, "{watched:?}");
        let mut threads = Vec::new();
        for kind in 0..6 {
            let connect = connect.clone();
            threads.push(std::thread::spawn(move || {
                let mut answered = 0;
                loop {
                    let done = match kind {
                        0 | 1 => connect.hypervisor_type().map(drop),
                        2 => connect.hostname().map(drop),
                        3 | 4 => connect
                            .on_domain_event(None, DomainEventId::LIFECYCLE, |_| {})
                            .map(drop),
                        _ => stream_some(&connect),
                    };
                    if done.is_err() {
                        return answered;
                    }
                    answered += 1;
                }
            }));
        }
        std::thread::sleep(Duration::from_millis(20 + 13 * (round % 5) as u64));
        let closing = connect.clone();
        in_time("closing", move || {
            if !dies {
                let _ = closing.router().close();
            }
        });
        if dies {
            // Whatever was not reached yet is now.
            daemon.die_behind(1);
        }
        let mut answered = 0;
        for thread in threads {
            answered += in_time("a thread", move || thread.join().unwrap());
        }
        daemon.live();
        assert!(answered > 0 || dies, "nothing was answered in round {round}");
        drop(connect);
        assert!(ended.load(Ordering::SeqCst) <= 1);
    }
    assert!(round >= 8, "{round} rounds");
    belongings.check();
}

fn stream_some(connect: &Connect) -> Result<()> {
    let domain = connect.lookup_domain_by_name("guest")?;
    let stream = domain.open_console(None, DomainConsoleFlags::empty())?;
    stream.receive(&mut [0; 64])?;
    stream.send(b"root\n")?;
    stream.finish()
}
