//! Finding a running guest again after the process that started it was gone.
//!
//! A guest whose process has ended meanwhile is reported with the reason; one whose process lives but whose monitor
//! does not answer is shown as what it last was, with its monitor lost. None is ever killed for not being understood.

use std::sync::Arc;
use std::time::Duration;

use virt_util::lock::{Holder, PidFile};
use virt_util::reactor::ReactorHandle;
use virt_util::sys::process::PidFd;
use virt_util::time::{Cancel, Deadline, Waited};
use virt_util::types::{DomainPausedReason, DomainShutoffReason, DomainState};
use virt_util::{ErrorCode, Result, VirtError};

use super::guest::{Guest, GuestWatcher};
use super::layout::GuestPaths;
use super::log::GuestLog;
use super::state::{Ending, GuestState, Machine, shutoff_word};

/// How long a process whose monitor broke off may take to end before it counts as alive.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

virt_util::fail_points! {
    /// The steps of finding a guest again.
    pub const FAIL_POINTS;
    FIND = "qemu.reattach.find";
    CONNECT = "qemu.reattach.connect";
    ASK = "qemu.reattach.ask";
}

/// What is known of a guest from its status file.
#[derive(Clone, Debug)]
pub struct Known {
    /// The id of the run.
    pub id: i32,
    /// The guest's name.
    pub name: String,
    /// The names of what belongs to it, with what the status file says where it says so.
    pub paths: GuestPaths,
    /// Its process.
    pub pid: i32,
    /// What it was doing.
    pub state: GuestState,
    /// Its next shutdown was to be a restart.
    pub fake_reboot: bool,
    /// What a shutdown leads to.
    pub on_poweroff: Ending,
    /// What a crash leads to.
    pub on_crash: Ending,
}

/// What became of it.
#[derive(Debug)]
pub enum Found {
    /// It runs, and its monitor answers.
    Attached(Arc<Guest>),
    /// It runs, but its monitor does not answer: why.
    Unreachable(Arc<Guest>, VirtError),
    /// It is gone, for this reason; what it left behind is cleaned up. That is also the end of a guest whose start was
    /// cut off before its processors ran: nobody was ever told that it had started.
    Gone(DomainShutoffReason),
}

/// Looks for the guest.
///
/// # Errors
/// Only for what hinders looking: then nothing is known, nothing was changed, and it may be tried again.
pub fn reattach(
    known: Known,
    reactor: &ReactorHandle,
    watcher: Arc<dyn GuestWatcher>,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Found> {
    FIND.pass()?;
    let Some(process) = find_process(&known)? else {
        return Ok(Found::Gone(bury(&known)));
    };
    let mut machine = Machine::new(known.state);
    machine.fake_reboot = known.fake_reboot;
    machine.on_poweroff = known.on_poweroff;
    machine.on_crash = known.on_crash;
    let log = GuestLog::open(&known.paths.log, false)?;
    let guest = Guest::new(
        (known.id, &known.name),
        known.paths,
        process,
        log,
        machine,
        reactor,
        watcher,
    )?;
    CONNECT.pass()?;
    let asked = guest.connect(deadline, cancel).map(drop).and_then(|()| {
        ASK.pass()?;
        guest.refresh_state(deadline, cancel)
    });
    match asked {
        Ok(state) if state == GuestState::starting_up() || state.state == DomainState::SHUTOFF => {
            guest.destroy(DomainShutoffReason::DAEMON, false, deadline, cancel)?;
            Ok(Found::Gone(DomainShutoffReason::DAEMON))
        }
        Ok(state) => {
            let shut_down = state.state == DomainState::SHUTDOWN
                || state == GuestState::paused(DomainPausedReason::SHUTTING_DOWN)
                || (guest.fake_reboot() && state == GuestState::paused(DomainPausedReason::USER));
            if shut_down && known.on_poweroff != Ending::Preserve {
                guest.finish_shutdown();
            }
            Ok(Found::Attached(guest))
        }
        Err(error) => {
            // The last moments of a process look like a broken monitor.
            let dying = error.code() != ErrorCode::OPERATION_TIMEOUT;
            let patience = if dying {
                Deadline::after(EXIT_LIMIT)
            } else {
                Deadline::now()
            };
            if guest.process().wait(patience, cancel)? == Waited::Ready {
                guest.wait(deadline, cancel)?;
                return Ok(Found::Gone(DomainShutoffReason(guest.state().reason)));
            }
            guest.monitor_is_lost();
            Ok(Found::Unreachable(guest, error))
        }
    }
}

/// The guest's process: the one that holds the pid file. The number alone could be another process' by now.
fn find_process(known: &Known) -> Result<Option<PidFd>> {
    let pid = match PidFile::holder(&known.paths.pid_file)? {
        Holder::Process(pid) => pid,
        Holder::Nobody => return Ok(None),
        // In another container, with numbers of its own: the status file's word has to do.
        Holder::Unknown => known.pid,
    };
    if pid != known.pid {
        tracing::warn!(
            guest = known.name,
            "process {pid} holds the pid file, the status file says {}",
            known.pid
        );
    }
    PidFd::open(pid)
}

/// Notes the end of a guest that nobody saw end.
fn bury(known: &Known) -> DomainShutoffReason {
    let reason = Machine::new(known.state).reason_of_end();
    let noted =
        GuestLog::open(&known.paths.log, false).and_then(|mut log| log.shutting_down(shutoff_word(reason)));
    if let Err(error) = noted {
        tracing::warn!("{error:#}");
    }
    known.paths.clean_up();
    reason
}
