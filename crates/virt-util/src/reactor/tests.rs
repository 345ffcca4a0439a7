use super::*;
use crate::sys::process::{Exit, PidFd};
use crate::time::Deadline;
use std::io::{Read, Write, pipe};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

fn soon<T>(receiver: &Receiver<T>) -> T {
    receiver
        .recv_timeout(Duration::from_secs(10))
        .expect("the reactor calls within ten seconds")
}

fn reactor() -> Reactor {
    Reactor::start("test").unwrap()
}

#[test]
fn a_readable_descriptor_is_reported_until_it_is_read() {
    let reactor = reactor();
    let (mut reader, mut writer) = pipe().unwrap();
    let (sender, receiver) = channel();
    let watched = reader.try_clone().unwrap();
    reactor
        .handle()
        .add_fd(watched, Readiness::READABLE, move |_, readiness| {
            let mut buffer = [0; 8];
            let count = reader.read(&mut buffer).unwrap();
            sender.send((readiness, count)).unwrap();
        })
        .unwrap();
    writer.write_all(b"abc").unwrap();
    assert_eq!(soon(&receiver), (Readiness::READABLE, 3));
    drop(writer);
    let (readiness, count) = soon(&receiver);
    assert!(readiness.contains(Readiness::HANGUP));
    assert_eq!(count, 0);
}

#[test]
fn an_empty_interest_hears_nothing_not_even_the_hang_up() {
    let reactor = reactor();
    let (reader, writer) = pipe().unwrap();
    let (sender, receiver) = channel();
    let handle = reactor.handle();
    let id = handle
        .add_fd(reader, Readiness::empty(), move |_, readiness| {
            let _ = sender.send(readiness);
        })
        .unwrap();
    drop(writer);
    assert!(receiver.recv_timeout(Duration::from_millis(30)).is_err());
    handle.set_interest(id, Readiness::READABLE).unwrap();
    assert!(soon(&receiver).contains(Readiness::HANGUP));
}

#[test]
fn one_descriptor_may_have_two_watchers() {
    let reactor = reactor();
    let (reader, mut writer) = pipe().unwrap();
    let reader = Arc::new(reader);
    let (sender, receiver) = channel();
    let handle = reactor.handle();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let sender = sender.clone();
        let inner = handle.clone();
        ids.push(
            handle
                .add_fd(reader.clone(), Readiness::READABLE, move |id, _| {
                    inner.remove(id);
                    sender.send(name).unwrap();
                })
                .unwrap(),
        );
    }
    writer.write_all(b"x").unwrap();
    let mut names = [soon(&receiver), soon(&receiver)];
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    assert!(ids.into_iter().all(|id| !handle.remove(id)));
}

#[test]
fn a_regular_file_is_always_ready() {
    let reactor = reactor();
    let file = tempfile::tempfile().unwrap();
    let (sender, receiver) = channel();
    let handle = reactor.handle();
    let inner = handle.clone();
    handle
        .add_fd(file, Readiness::READABLE, move |id, readiness| {
            inner.remove(id);
            sender.send(readiness).unwrap();
        })
        .unwrap();
    assert_eq!(soon(&receiver), Readiness::READABLE);
}

#[test]
fn timers_fire_once_again_and_not_when_disabled() {
    let reactor = reactor();
    let handle = reactor.handle();
    let (sender, receiver) = channel();
    let (every, once) = (sender.clone(), sender.clone());
    let disabled = handle.add_timer(Timer::Disabled, move |_| sender.send("disabled").unwrap());
    handle.add_timer(Timer::Once(Duration::from_millis(1)), move |_| {
        once.send("once").unwrap()
    });
    assert_eq!(soon(&receiver), "once");
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
    let id = handle.add_timer(Timer::Every(Duration::from_millis(1)), move |_| {
        let _ = every.send("every");
    });
    assert_eq!((soon(&receiver), soon(&receiver)), ("every", "every"));
    assert!(handle.remove(id));
    assert!(!handle.remove(id));
    while receiver.recv_timeout(Duration::from_millis(20)).is_ok() {}
    handle.set_timer(disabled, Timer::Once(Duration::ZERO)).unwrap();
    assert_eq!(soon(&receiver), "disabled");
    assert!(handle.set_timer(id, Timer::Disabled).is_err());
}

#[test]
fn posted_work_runs_in_order_on_the_loops_thread() {
    let reactor = reactor();
    let (sender, receiver) = channel();
    for number in 0..100 {
        let (sender, handle) = (sender.clone(), reactor.handle());
        reactor.handle().post(move || {
            assert!(handle.is_loop_thread());
            let inner = sender.clone();
            if number == 99 {
                handle.post(move || inner.send(1000).unwrap());
            }
            sender.send(number).unwrap();
        });
    }
    for number in 0..100 {
        assert_eq!(soon(&receiver), number);
    }
    assert_eq!(soon(&receiver), 1000);
    assert!(!reactor.handle().is_loop_thread());
}

#[test]
fn a_panic_removes_its_callback_and_nothing_else() {
    let reactor = reactor();
    let handle = reactor.handle();
    let (sender, receiver) = channel();
    let bad = handle.add_timer(Timer::Once(Duration::ZERO), |_| panic!("told to"));
    handle.add_timer(Timer::Once(Duration::from_millis(5)), move |_| {
        sender.send(()).unwrap()
    });
    soon(&receiver);
    assert!(!handle.remove(bad));
}

#[test]
#[allow(clippy::zombie_processes, reason = "the reactor collects the child")]
fn the_end_of_a_process_is_reported_with_its_status() {
    let reactor = reactor();
    let (sender, receiver) = channel();
    let child = std::process::Command::new("/bin/sh")
        .args(["-c", "exit 3"])
        .spawn()
        .unwrap();
    let process = PidFd::open(child.id() as i32).unwrap().unwrap();
    reactor
        .handle()
        .add_process(process, move |exit| sender.send(exit).unwrap())
        .unwrap();
    assert_eq!(soon(&receiver), Exit::Code(3));
    while reactor.handle().source_count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn callbacks_are_dropped_by_the_loop_and_stop_is_clean() {
    struct TellsWhere(std::sync::mpsc::Sender<Option<String>>);
    impl Drop for TellsWhere {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().name().map(str::to_owned));
        }
    }
    let reactor = reactor();
    let handle = reactor.handle();
    let (sender, receiver) = channel();
    let tells = TellsWhere(sender);
    let id = handle.add_timer(Timer::Disabled, move |_| {
        let _keep = &tells;
    });
    handle.remove(id);
    assert_eq!(soon(&receiver).as_deref(), Some("test"));
    // Dropping the reactor from its own thread must not wait for itself.
    let (done, finished) = channel();
    reactor.handle().post(move || {
        drop(reactor);
        done.send(()).unwrap();
    });
    soon(&finished);
    handle.post(|| panic!("must not run"));
}

#[test]
fn a_loop_run_by_hand() {
    let mut poller = Poller::new().unwrap();
    let handle = poller.handle();
    assert!(poller.run_once(Deadline::now()).unwrap());
    let (sender, receiver) = channel();
    handle.post(move || sender.send(()).unwrap());
    assert!(poller.run_once(Deadline::after(Duration::from_secs(10))).unwrap());
    soon(&receiver);
    handle.stop();
    assert!(!poller.run_once(Deadline::NONE).unwrap());
}

#[test]
fn a_callback_that_holds_the_loop_does_not_keep_it() {
    let (reader, mut writer) = pipe().unwrap();
    {
        let reactor = reactor();
        let handle = reactor.handle();
        let inner = handle.clone();
        handle
            .add_fd(reader, Readiness::READABLE, move |id, _| {
                inner.remove(id);
            })
            .unwrap();
        drop(reactor);
        // Nothing new is taken either.
        assert!(
            handle
                .add_fd(writer.try_clone().unwrap(), Readiness::empty(), |_, _| {})
                .is_err()
        );
        handle.add_timer(Timer::Disabled, |_| {});
        assert_eq!(handle.source_count(), 0);
    }
    // The reading end is closed: somebody has dropped the callback.
    assert!(writer.write_all(b"x").is_err());
}
