use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use virt_api::need;

use super::*;

#[test]
fn holders_are_counted() {
    let inhibitions = Inhibitions::new();
    let changes = inhibitions.watch();
    inhibitions.change(true);
    inhibitions.change(true);
    inhibitions.change(false);
    assert_eq!((inhibitions.count(), *changes.borrow()), (1, 1));
    inhibitions.change(false);
    inhibitions.change(false);
    assert_eq!(inhibitions.count(), 0, "one release too many is forgiven");
}

/// A bus of the test's own, at the same address each time.
struct TestBus {
    child: Child,
    folder: PathBuf,
}

impl TestBus {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("bus");
        let _ = std::fs::remove_file(&socket);
        let mut child = Command::new("dbus-daemon")
            .args([
                "--session",
                "--print-address",
                "--nofork",
                "--nosyslog",
                "--address",
            ])
            .arg(format!("unix:path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            folder: folder.to_owned(),
        }
    }

    fn bus(&self) -> Bus {
        Bus::At(format!("unix:path={}/bus", self.folder.display()))
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The locks that a logind has given: whether somebody still holds each.
type Locks = Arc<Mutex<VecDeque<std::io::PipeReader>>>;

fn held(locks: &Locks) -> usize {
    let mut locks = locks.lock().unwrap();
    // The end that was given away has been closed once this one says so.
    locks.retain(|lock| {
        let mut polled = [nix::poll::PollFd::new(lock.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut polled, nix::poll::PollTimeout::ZERO).unwrap() == 0
    });
    locks.len()
}

/// A logind that lives until it is aborted.
async fn logind(bus: &Bus) -> (Locks, tokio::task::JoinHandle<()>) {
    let Bus::At(address) = bus else { panic!() };
    let connection = zbus::connection::Builder::address(address.as_str())
        .build()
        .await
        .unwrap();
    let mut calls = MessageStream::from(&connection);
    connection.request_name("org.freedesktop.login1").await.unwrap();
    let locks = Locks::default();
    let given = Arc::clone(&locks);
    let task = tokio::spawn(async move {
        while let Ok(message) = next(&mut calls).await {
            let header = message.header();
            if header.member().is_none_or(|name| name != "Inhibit") {
                continue;
            }
            let words: (String, String, String, String) = message.body().deserialize().unwrap();
            assert_eq!((words.0.as_str(), words.3.as_str()), ("shutdown", "delay"));
            let (ours, theirs) = std::io::pipe().unwrap();
            given.lock().unwrap().push_back(ours);
            let lock = zbus::Fd::from(std::os::fd::OwnedFd::from(theirs));
            connection.reply(&header, &lock).await.unwrap();
        }
    });
    (locks, task)
}

async fn eventually(what: &str, question: impl Fn() -> bool) {
    for _ in 0..600 {
        if question() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within 30 s");
}

#[test]
fn the_lock_is_held_while_somebody_holds_whatever_becomes_of_logind() {
    need!(program "dbus-daemon");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let bus = TestBus::start(folder.path());
        let inhibitions = Inhibitions::new();
        let following = tokio::spawn(follow(inhibitions.watch(), bus.bus()));

        // Who is held before there is a logind has the lock when it comes.
        inhibitions.change(true);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (locks, first) = logind(&bus.bus()).await;
        eventually("a lock of the one that comes", || held(&locks) == 1).await;
        inhibitions.change(true);
        inhibitions.change(false);
        assert_eq!(held(&locks), 1, "one lock for all");
        inhibitions.change(false);
        eventually("nothing is held", || held(&locks) == 0).await;
        inhibitions.change(true);
        eventually("a lock again", || held(&locks) == 1).await;

        // One that crashes is followed by another, which is asked.
        first.abort();
        let _ = first.await;
        let (locks, second) = logind(&bus.bus()).await;
        eventually("a lock of the next", || held(&locks) == 1).await;

        // The bus itself goes and comes.
        drop(bus);
        let bus = TestBus::start(folder.path());
        let (locks, third) = logind(&bus.bus()).await;
        eventually("a lock on the next bus", || held(&locks) == 1).await;
        inhibitions.change(false);
        eventually("nothing is held", || held(&locks) == 0).await;

        // The end of the daemon is the end of its interest.
        drop(inhibitions);
        following.await.unwrap();
        for task in [second, third] {
            task.abort();
        }
    });
}

#[test]
fn a_host_that_goes_down_is_heard_on_the_bus_that_is_there_then() {
    need!(program "dbus-daemon");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        drop(TestBus::start(folder.path()));
        let told = Arc::new(Mutex::new(0));
        let (count, at) = (
            Arc::clone(&told),
            Bus::At(format!("unix:path={}/bus", folder.path().display())),
        );
        let watching =
            tokio::spawn(async move { tell_when_host_goes_down(&at, || *count.lock().unwrap() += 1).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let bus = TestBus::start(folder.path());
        let Bus::At(address) = bus.bus() else { panic!() };
        let connection = zbus::connection::Builder::address(address.as_str())
            .build()
            .await
            .unwrap();
        let say = async |down: bool| {
            let (path, interface) = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager");
            connection
                .emit_signal(None::<&str>, path, interface, "PrepareForShutdown", &down)
                .await
        };
        let said = async {
            // Who has not come to the bus yet hears it the next time.
            while *told.lock().unwrap() == 0 {
                say(false).await.unwrap();
                assert_eq!(*told.lock().unwrap(), 0, "it was taken back");
                say(true).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), said)
            .await
            .expect("it is heard");
        watching.abort();
    });
}
