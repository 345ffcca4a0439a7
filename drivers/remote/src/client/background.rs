//! The application's event loop reads while nobody waits for an answer.
//!
//! The loop watches one descriptor of ours: an epoll set of the socket, a timer for keepalive and a descriptor that says
//! "there is something to tell". Turning the socket off in that set while a thread leads costs one system call and does
//! not involve the loop.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use parking_lot::MutexGuard;
use virt_api::host::HostServices;
use virt_util::Result;
use virt_util::error::SystemResult;

use super::{After, Incoming, Shared, State};

/// libvirt's `VIR_EVENT_HANDLE_READABLE`.
const READABLE: u32 = 1;

pub(super) struct Background {
    host: HostServices,
    watch: OnceLock<i32>,
    set: Epoll,
    /// There is something to tell.
    kick: EventFd,
    timer: TimerFd,
    socket: Arc<std::os::fd::OwnedFd>,
    armed: parking_lot::Mutex<Armed>,
    stopped: AtomicBool,
}

/// What the kernel was told last.
struct Armed {
    socket: EpollFlags,
    /// The socket is not in the set any more.
    ended: bool,
    timer: Option<u64>,
}

pub(super) fn start(shared: &Arc<Shared>, host: &HostServices) -> Result<()> {
    if shared.background.get().is_some() {
        return Ok(());
    }
    let what = || "cannot prepare the watch of a connection";
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).or_system(what)?;
    let kick =
        EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).or_system(what)?;
    let timer = TimerFd::new(
        ClockId::CLOCK_MONOTONIC,
        TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
    )
    .or_system(what)?;
    let none = EpollFlags::empty();
    set.add(&shared.socket, EpollEvent::new(none, 0))
        .or_system(what)?;
    set.add(&kick, EpollEvent::new(EpollFlags::EPOLLIN, 1))
        .or_system(what)?;
    set.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, 2))
        .or_system(what)?;
    let weak: Weak<Shared> = Arc::downgrade(shared);
    let watch = host.add_handle(
        set.0.as_fd(),
        READABLE,
        Box::new(move |_| {
            if let Some(shared) = weak.upgrade() {
                run(&shared);
            }
        }),
    )?;
    let made = Background {
        host: host.clone(),
        watch: OnceLock::from(watch),
        set,
        kick,
        timer,
        socket: Arc::clone(&shared.socket),
        armed: parking_lot::Mutex::new(Armed {
            socket: none,
            ended: false,
            timer: None,
        }),
        stopped: AtomicBool::new(false),
    };
    if let Err(other) = shared.background.set(made) {
        // Another thread was faster.
        other.stop();
        return Ok(());
    }
    let mut state = shared.lock();
    state.has_background = true;
    shared.settle(&mut state, After::default());
    Ok(())
}

impl Background {
    /// Tells the kernel what the loop is to wake up for.
    pub fn arm(&self, state: &MutexGuard<'_, State>) {
        let mut socket = EpollFlags::empty();
        if !state.leading && state.end.is_none() {
            if !state.is_full() {
                socket |= EpollFlags::EPOLLIN;
            }
            if state.wants_write() {
                socket |= EpollFlags::EPOLLOUT;
            }
        }
        let mut armed = self.armed.lock();
        if state.end.is_some() {
            // A socket that was hung up is ready for ever, asked for or not, and the loop would turn without pause.
            if !armed.ended {
                let _ = self.set.delete(&self.socket);
                armed.ended = true;
            }
        } else if armed.socket != socket {
            let _ = self.set.modify(&self.socket, &mut EpollEvent::new(socket, 0));
            armed.socket = socket;
        }
        // Every packet moves the moment on. A timer that comes too early is set again then, which costs less than to
        // follow.
        if let Some(at) = state.keepalive.next_action().filter(|_| state.end.is_none())
            && armed.timer.is_none_or(|armed| at < armed)
        {
            let moment = TimeSpec::nanoseconds(i64::try_from(at).unwrap_or(i64::MAX).max(1));
            let _ = self
                .timer
                .set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
            armed.timer = Some(at);
        }
        drop(armed);
        if !state.inbox.is_empty() || (state.more && !state.leading) {
            let _ = self.kick.write(1);
        }
    }

    /// The loop lets go.
    pub fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(watch) = self.watch.get() {
            let _ = self.host.remove_handle(*watch);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One call of the event loop.
fn run(shared: &Shared) {
    let Some(background) = shared.background.get() else {
        return;
    };
    let _ = background.kick.read();
    if background.timer.wait().is_ok() {
        background.armed.lock().timer = None;
    }
    let mut state = shared.lock();
    let mut after = After::default();
    if !state.leading {
        state.turn(&mut after);
    }
    let told: Vec<Incoming> = state.inbox.drain(..).collect();
    state.inbox_bytes = 0;
    // The next waiter leads; nobody else reads while he gets there.
    shared.settle(&mut state, after);
    drop(state);
    if let Some(receiver) = shared.receiver.get() {
        for incoming in told {
            receiver(incoming);
        }
    }
}
