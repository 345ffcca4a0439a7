//! The life of real guests: emulated, without a disk or with a boot sector that knows the power button.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_driver_qemu::monitor::{Command, Reply};
use virt_driver_qemu::plan::args::{CommandLine, Descriptor, DescriptorUse};
use virt_driver_qemu::process::guest::{Control, Guest, GuestWatcher, Happening};
use virt_driver_qemu::process::launch::{self, Launch, LaunchSteps, launch};
use virt_driver_qemu::process::layout::{GuestPaths, Layout};
use virt_driver_qemu::process::log::StartHeader;
use virt_driver_qemu::process::reattach::{Found, Known, reattach};
use virt_driver_qemu::process::state::{Ending, GuestState};
use virt_driver_qemu::process::status::{self, Status};
use virt_util::command::{Capabilities, SystemSpawner};
use virt_util::reactor::Reactor;
use virt_util::time::{Cancel, Deadline};
use virt_util::types::{
    DomainEventResumedDetail, DomainEventShutdownDetail, DomainEventType, DomainPausedReason,
    DomainRunningReason, DomainShutoffReason, DomainState,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result};

use common::Root;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

macro_rules! need_qemu {
    () => {
        if !Path::new(QEMU).exists() {
            println!("SKIPPED: needs {QEMU}");
            return;
        }
    };
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn never() -> Cancel {
    Cancel::never()
}

/// What happened, in words.
fn word(what: &Happening) -> String {
    match what {
        Happening::State(state) => format!("{} ({})", state.state_word(), state.reason_word()),
        Happening::Lifecycle(told) => format!("event {} {}", told.event, told.detail),
        Happening::Rebooted => "rebooted".into(),
        Happening::Save => "save".into(),
        Happening::Event(event) => format!("qemu {}", event.name),
        Happening::Silent(commands) => format!("silent about {}", commands.join(" ")),
        Happening::LateReply(name, _) => format!("late reply to {name}"),
        Happening::MonitorLost(_) => "monitor lost".into(),
        Happening::Ended(reason) => format!("ended {}", reason.0),
    }
}

/// Writes the status file as a driver does, and notes what happens.
struct Watcher(Mutex<Sender<String>>);

impl GuestWatcher for Watcher {
    fn happened(&self, guest: &Arc<Guest>, what: Happening) {
        if matches!(what, Happening::State(_) | Happening::Save) {
            save_status(guest).unwrap();
        }
        // QEMU's own events are the source of the others.
        if !matches!(what, Happening::Event(_)) {
            let _ = self.0.lock().send(word(&what));
        }
    }
}

fn save_status(guest: &Arc<Guest>) -> Result<()> {
    let mut status = Status::new(guest.state(), guest.process().pid());
    status.monitor = Some(guest.paths().monitor.display().to_string());
    status.fake_reboot = guest.fake_reboot();
    let id = guest.id().to_string();
    let document = status.format(XmlFlags::empty(), |w| {
        w.start("domain");
        w.attribute("type", "qemu");
        w.attribute("id", &id);
        w.text_element("name", guest.name());
        w.end("domain");
    });
    Status::save(&guest.paths().status, &document)
}

struct Steps {
    replies: Vec<Reply>,
}

impl LaunchSteps for Steps {
    fn spawned(&mut self, guest: &Arc<Guest>) -> Result<()> {
        save_status(guest)
    }

    fn set_up(&mut self, guest: &Arc<Guest>, replies: Vec<Reply>) -> Result<()> {
        self.replies = replies;
        save_status(guest)
    }
}

struct Bench {
    reactor: Reactor,
    layout: Layout,
    watcher: Arc<Watcher>,
    events: Receiver<String>,
}

impl Bench {
    fn new(root: &Path) -> Self {
        let layout = Layout::embed(root);
        layout.make(None).unwrap();
        let (sender, events) = channel();
        Self {
            reactor: Reactor::start("qemu").unwrap(),
            layout,
            watcher: Arc::new(Watcher(Mutex::new(sender))),
            events,
        }
    }

    fn launch(&self, plan: Launch) -> Result<(Arc<Guest>, Vec<Reply>)> {
        let mut steps = Steps { replies: Vec::new() };
        let guest = launch(
            plan,
            &SystemSpawner,
            &self.reactor.handle(),
            self.watcher.clone(),
            &mut steps,
            limit(),
            &never(),
        )?;
        Ok((guest, steps.replies))
    }

    fn start(&self, name: &str) -> Arc<Guest> {
        self.launch(plan(&self.layout, name)).unwrap().0
    }

    /// Waits until `wanted` happens and returns everything up to it.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let one = match self.events.recv_timeout(Duration::from_secs(30)) {
                Ok(one) => one,
                Err(_) => panic!("no '{wanted}' in 30 s, only {seen:?}"),
            };
            seen.push(one);
            if seen.last().is_some_and(|last| last == wanted) {
                return seen;
            }
        }
    }

    fn known(&self, guest: &Guest) -> Known {
        known(&self.layout, guest.id(), guest.name())
    }

    fn reattach(&self, known: Known) -> Result<Found> {
        reattach(
            known,
            &self.reactor.handle(),
            self.watcher.clone(),
            limit(),
            &never(),
        )
    }
}

/// What a driver reads from the status file.
fn known(layout: &Layout, id: i32, name: &str) -> Known {
    let paths = layout.guest(id, name);
    let text = Status::load(&paths.status).unwrap().unwrap();
    let doc = status::parse(&text, "status").unwrap();
    let status = Status::read_document(&doc).unwrap();
    Known {
        id: status::definition(&doc)
            .unwrap()
            .attr("id")
            .unwrap()
            .parse()
            .unwrap(),
        name: name.to_owned(),
        paths,
        pid: status.pid,
        state: status.guest_state().unwrap(),
        fake_reboot: status.fake_reboot,
        on_poweroff: Ending::Destroy,
        on_crash: Ending::Destroy,
    }
}

fn plan(layout: &Layout, name: &str) -> Launch {
    let paths = layout.guest(1, name);
    let mut command = CommandLine {
        program: QEMU.to_owned(),
        ..CommandLine::default()
    };
    command.set_environment("LC_ALL", "C");
    for (option, value) in [
        ("-name", format!("guest={name},debug-threads=on")),
        ("-machine", "pc,accel=tcg".to_owned()),
        ("-m", "16".to_owned()),
        ("-display", "none".to_owned()),
        (
            "-chardev",
            "socket,id=charmonitor,fd=3,server=on,wait=off".to_owned(),
        ),
        ("-mon", "chardev=charmonitor,id=monitor,mode=control".to_owned()),
    ] {
        command.option(option, value);
    }
    for flag in ["-nodefaults", "-no-user-config", "-S", "-no-shutdown"] {
        command.flag(flag);
    }
    command.descriptors.push(Descriptor {
        number: 3,
        usage: DescriptorUse::ListenSocket {
            path: paths.monitor.display().to_string(),
            chardev: "charmonitor".to_owned(),
        },
    });
    Launch {
        id: 1,
        name: name.to_owned(),
        paths,
        command,
        given: Vec::new(),
        user: None,
        capabilities: Capabilities::Inherit,
        limits: Vec::new(),
        labels: Vec::new(),
        master_key: Some(vec![7; 32]),
        header: StartHeader {
            product: "libvirt version: 11.3.0".into(),
            qemu: (10, 0, 0),
            ..StartHeader::default()
        },
        truncate_log: true,
        setup: Vec::new(),
        on_poweroff: Ending::Destroy,
        on_crash: Ending::Destroy,
        monitor_limit: Duration::from_secs(30),
        run: true,
    }
}

fn with_disk(mut plan: Launch, folder: &Path) -> (Launch, PathBuf) {
    let serial = folder.join("serial.txt");
    let disk = common::power_button_disk(folder);
    plan.command
        .option("-drive", format!("file={},format=raw,if=ide", disk.display()));
    plan.command
        .option("-serial", format!("file:{}", serial.display()));
    (plan, serial)
}

fn wait_for_text(path: &Path, text: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !std::fs::read_to_string(path).unwrap_or_default().contains(text) {
        assert!(Instant::now() < end, "no '{text}' in {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn destroy(guest: &Guest) {
    guest
        .destroy(DomainShutoffReason::DESTROYED, false, limit(), &never())
        .unwrap();
}

fn assert_nothing_left(paths: &GuestPaths) {
    for path in [&paths.lib, &paths.channel, &paths.pid_file, &paths.status] {
        assert!(!path.exists(), "{} is left", path.display());
    }
}

#[test]
fn a_guest_starts_runs_and_is_destroyed() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let mut wanted = plan(&bench.layout, "web");
    wanted.setup = vec![Command::new("query-cpus-fast"), Command::new("no-such-command")];
    let (guest, replies) = bench.launch(wanted).unwrap();
    assert!(
        replies[0]
            .as_ref()
            .unwrap()
            .as_array()
            .is_some_and(|cpus| cpus.len() == 1)
    );
    assert!(replies[1].as_ref().unwrap_err().is_unknown_command());
    let resumed = format!(
        "event {} {}",
        DomainEventType::RESUMED,
        DomainEventResumedDetail::UNPAUSED.0
    );
    assert_eq!(bench.until(&resumed), ["running (booted)", resumed.as_str()]);
    let paths = guest.paths().clone();
    assert_eq!(
        std::fs::read_to_string(&paths.pid_file).unwrap(),
        guest.process().pid().to_string()
    );
    assert_eq!(std::fs::read(&paths.master_key).unwrap(), [7; 32]);
    let known = bench.known(&guest);
    assert_eq!((known.id, known.pid), (1, guest.process().pid()));
    assert_eq!(known.state, GuestState::running(DomainRunningReason::BOOTED));
    let before = Instant::now();
    destroy(&guest);
    assert!(before.elapsed() < Duration::from_secs(5));
    assert!(guest.has_ended());
    assert_eq!(
        guest.state(),
        GuestState::shut_off(DomainShutoffReason::DESTROYED)
    );
    bench.until(&format!("ended {}", DomainShutoffReason::DESTROYED.0));
    assert_nothing_left(&paths);
    let log = std::fs::read_to_string(&paths.log).unwrap();
    assert!(
        log.contains(": starting up libvirt version: 11.3.0, qemu version: 10.0.0"),
        "{log}"
    );
    assert!(
        log.contains("LC_ALL=C \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=web,debug-threads=on"),
        "{log}"
    );
    assert!(
        log.trim_end().ends_with(": shutting down, reason=destroyed"),
        "{log}"
    );
    // Whatever comes later is an error, not a wait.
    assert!(guest.reset(limit(), &never()).is_err());
    destroy(&guest);
}

#[test]
fn a_guest_hears_the_power_button() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let (wanted, serial) = with_disk(plan(&bench.layout, "off"), root.path());
    let (guest, _) = bench.launch(wanted).unwrap();
    wait_for_text(&serial, "!");
    guest.press_power_button(false, limit(), &never()).unwrap();
    guest.wait(limit(), &never()).unwrap();
    let seen = bench.until(&format!("ended {}", DomainShutoffReason::SHUTDOWN.0));
    let by_guest = format!(
        "event {} {}",
        DomainEventType::SHUTDOWN,
        DomainEventShutdownDetail::GUEST.0
    );
    assert!(seen.contains(&by_guest), "{seen:?}");
    assert_nothing_left(guest.paths());
}

#[test]
fn a_reboot_is_a_shutdown_that_starts_again() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let (wanted, serial) = with_disk(plan(&bench.layout, "again"), root.path());
    let (guest, _) = bench.launch(wanted).unwrap();
    wait_for_text(&serial, "!");
    let pid = guest.process().pid();
    guest.press_power_button(true, limit(), &never()).unwrap();
    // The status file has said so before the guest could.
    assert!(bench.until("rebooted").contains(&"save".to_owned()));
    wait_for_text(&serial, "!!");
    assert_eq!(guest.state().state, DomainState::RUNNING);
    assert_eq!(guest.process().pid(), pid);
    // The next one ends it.
    guest.press_power_button(false, limit(), &never()).unwrap();
    guest.wait(limit(), &never()).unwrap();
    assert_eq!(guest.state(), GuestState::shut_off(DomainShutoffReason::SHUTDOWN));
}

#[test]
fn suspend_resume_reset_and_a_paused_start() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let mut wanted = plan(&bench.layout, "pause");
    wanted.run = false;
    let (guest, _) = bench.launch(wanted).unwrap();
    assert_eq!(guest.state(), GuestState::paused(DomainPausedReason::USER));
    assert_eq!(
        guest
            .press_power_button(false, limit(), &never())
            .unwrap_err()
            .code(),
        ErrorCode::OPERATION_INVALID
    );
    guest
        .resume(DomainRunningReason::UNPAUSED, limit(), &never())
        .unwrap();
    bench.until("running (unpaused)");
    guest
        .resume(DomainRunningReason::UNPAUSED, limit(), &never())
        .unwrap();
    guest
        .suspend(DomainPausedReason::USER, limit(), &never())
        .unwrap();
    bench.until("paused (user)");
    guest
        .resume(DomainRunningReason::UNPAUSED, limit(), &never())
        .unwrap();
    guest.reset(limit(), &never()).unwrap();
    bench.until("rebooted");
    destroy(&guest);
}

#[test]
fn a_qemu_that_gives_up_says_why() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let mut wanted = plan(&bench.layout, "broken");
    wanted.command.option("-device", "no-such-device");
    let error = bench.launch(wanted).unwrap_err();
    assert!(
        error
            .message()
            .starts_with("internal error: process exited while connecting to monitor: "),
        "{error}"
    );
    assert!(
        error
            .message()
            .contains("'no-such-device' is not a valid device model"),
        "{error}"
    );
    let paths = bench.layout.guest(1, "broken");
    assert_nothing_left(&paths);
    let log = std::fs::read_to_string(&paths.log).unwrap();
    assert!(log.trim_end().ends_with("reason=failed"), "{log}");
    let mut wanted = plan(&bench.layout, "missing");
    wanted.command.program = "/nonexistent/qemu".into();
    let error = bench.launch(wanted).unwrap_err();
    assert_eq!(error.int1(), libc::ENOENT);
    assert_nothing_left(&bench.layout.guest(1, "missing"));
}

#[test]
fn a_monitor_that_never_opens_costs_its_own_time_only() {
    let root = Root::new();
    let bench = Bench::new(root.path());
    let mut wanted = plan(&bench.layout, "mute");
    wanted.command.program = "/bin/sh".into();
    wanted.command.arguments = vec!["-c".into(), "exec sleep 1000".into()];
    wanted.monitor_limit = Duration::from_millis(300);
    let before = Instant::now();
    let error = bench.launch(wanted).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT, "{error}");
    assert!(before.elapsed() < Duration::from_secs(8));
    assert_nothing_left(&bench.layout.guest(1, "mute"));
}

#[test]
fn a_monitor_that_floods_is_cut_off_and_its_process_left_alone() {
    let Ok(python) = virt_util::command::find_program(Path::new("python3")) else {
        println!("SKIPPED: needs python3");
        return;
    };
    let root = Root::new();
    let bench = Bench::new(root.path());
    let mut wanted = plan(&bench.layout, "flood");
    wanted.command.program = python.display().to_string();
    let script = "import socket\n\
        s = socket.socket(fileno=3)\n\
        c, _ = s.accept()\n\
        try:\n    \
            for _ in range(100): c.sendall(b'x' * (1 << 20))\n\
        except OSError: pass\n\
        import time; time.sleep(1000)\n";
    wanted.command.arguments = vec!["-c".into(), script.into()];
    let error = bench.launch(wanted).unwrap_err();
    assert!(!error.message().is_empty());
    // The start has failed, so what was started is ended.
    assert_nothing_left(&bench.layout.guest(1, "flood"));
}

#[test]
fn a_stopped_qemu_holds_nobody_for_long() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let guest = bench.start("stuck");
    guest.process().signal(libc::SIGSTOP).unwrap();
    let before = Instant::now();
    let error = guest
        .execute(
            Command::new("query-status"),
            Deadline::after(Duration::from_millis(100)),
            &never(),
        )
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(before.elapsed() < Duration::from_secs(5));
    // Another guest is not slowed.
    let mut other = plan(&bench.layout, "healthy");
    other.id = 2;
    let (other, _) = bench.launch(other).unwrap();
    destroy(&other);
    let before = Instant::now();
    destroy(&guest);
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
}

#[test]
fn a_killed_qemu_has_crashed() {
    need_qemu!();
    let root = Root::new();
    let bench = Bench::new(root.path());
    let guest = bench.start("victim");
    guest.process().signal(libc::SIGKILL).unwrap();
    guest.wait(limit(), &never()).unwrap();
    assert_eq!(guest.state(), GuestState::shut_off(DomainShutoffReason::CRASHED));
    bench.until(&format!("ended {}", DomainShutoffReason::CRASHED.0));
    assert_nothing_left(guest.paths());
}

#[test]
fn a_guest_is_found_again_with_what_it_did_meanwhile() {
    need_qemu!();
    let root = Root::new();
    let first = Bench::new(root.path());
    let guest = first.start("keep");
    first.until("running (booted)");
    let pid = guest.process().pid();
    let mut known = first.known(&guest);
    // The hosting process goes: nobody watches.
    drop((guest, first));
    let second = Bench::new(root.path());
    let Found::Attached(guest) = second.reattach(known.clone()).unwrap() else {
        panic!("not attached");
    };
    assert_eq!((guest.id(), guest.process().pid()), (1, pid));
    assert_eq!(guest.state(), GuestState::running(DomainRunningReason::BOOTED));
    assert_eq!(guest.control(), Control::Fine);
    guest
        .suspend(DomainPausedReason::USER, limit(), &never())
        .unwrap();
    // It was paused while the status file still said that it runs.
    known.state = GuestState::running(DomainRunningReason::BOOTED);
    drop((guest, second));
    let third = Bench::new(root.path());
    let Found::Attached(guest) = third.reattach(known).unwrap() else {
        panic!("not attached");
    };
    assert_eq!(guest.state(), GuestState::paused(DomainPausedReason::USER));
    third.until("paused (user)");
    let known = third.known(&guest);
    destroy(&guest);
    drop(third);
    let fourth = Bench::new(root.path());
    assert!(matches!(
        fourth.reattach(known).unwrap(),
        Found::Gone(DomainShutoffReason::CRASHED)
    ));
}

#[test]
fn a_guest_whose_monitor_does_not_answer_is_shown_and_left_alone() {
    need_qemu!();
    let root = Root::new();
    let first = Bench::new(root.path());
    let guest = first.start("silent");
    first.until("running (booted)");
    let known = first.known(&guest);
    guest.process().signal(libc::SIGSTOP).unwrap();
    drop((guest, first));
    let second = Bench::new(root.path());
    let soon = Deadline::after(Duration::from_millis(300));
    let found = reattach(
        known,
        &second.reactor.handle(),
        second.watcher.clone(),
        soon,
        &never(),
    )
    .unwrap();
    let Found::Unreachable(guest, error) = found else {
        panic!("{found:?}");
    };
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    assert!(matches!(guest.control(), Control::Lost(_) | Control::Silent(_)));
    assert_eq!(guest.state(), GuestState::running(DomainRunningReason::BOOTED));
    assert!(!guest.process().has_exited().unwrap());
    destroy(&guest);
}

/// The process that is killed: does nothing in an ordinary run.
#[test]
fn host_process() {
    let Some(root) = std::env::var_os("PROCESS_TEST_ROOT") else {
        return;
    };
    let bench = Bench::new(Path::new(&root));
    let started = bench.launch(plan(&bench.layout, "point"));
    print!("started: {}", started.is_ok());
    let _ = std::io::stdout().flush();
    std::process::exit(0);
}

#[test]
fn the_host_may_be_killed_at_any_step_of_a_start() {
    need_qemu!();
    for point in launch::FAIL_POINTS {
        let root = Root::new();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host_process", "--test-threads=1", "--nocapture"])
            .env("PROCESS_TEST_ROOT", root.path())
            .env("VIRT_FAIL_POINT", format!("{}=kill", point.name()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{}", point.name());
        let bench = Bench::new(root.path());
        let paths = bench.layout.guest(1, "point");
        let found = paths
            .status
            .exists()
            .then(|| bench.reattach(known(&bench.layout, 1, "point")).unwrap());
        match found {
            // Its processors ran: it is there, and works.
            Some(Found::Attached(guest)) => {
                assert_eq!(point.name(), "qemu.launch.done");
                assert_eq!(guest.state().state, DomainState::RUNNING);
                destroy(&guest);
            }
            Some(Found::Gone(_)) => {
                assert_ne!(point.name(), "qemu.launch.done");
                assert_nothing_left(&paths);
            }
            Some(Found::Unreachable(_, error)) => panic!("{}: {error:#}", point.name()),
            None => {}
        }
        // No process is left, and nothing stands in the way of the next start.
        if let Some(pid) = virt_util::lock::PidFile::read(&paths.pid_file).unwrap() {
            let process = virt_util::sys::process::PidFd::open(pid).unwrap();
            if let Some(process) = process {
                assert!(process.wait(limit(), &never()).unwrap() == virt_util::time::Waited::Ready);
            }
        }
        let guest = bench.start("point");
        destroy(&guest);
    }
}
