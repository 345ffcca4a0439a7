//! Fork and exec for [`crate::command`]: a plan made of plain data goes in, a process comes out.
//!
//! Everything is allocated, looked up and opened before the fork. What runs between fork and exec is [`child`] and
//! what it calls: system calls on prepared memory, no allocation, no lock, no formatting, no panic. It tells how far
//! it got through a control socket; the socket is closed by a successful exec.
#![allow(
    unsafe_code,
    reason = "fork, exec and the calls between them have no safe wrapper"
)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use crate::Result;
use crate::error::SystemResult;

/// The steps of a child on its way to exec: number on the control socket, what failed if it fails.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Step { $($(#[$doc])* $name = $number,)+ }

        impl Step {
            pub(crate) fn text(number: u32) -> &'static str {
                match number { $($number => $text,)+ _ => "unknown step failed" }
            }
        }
    };
}

steps! {
    Descriptors = 1, "cannot set up its descriptors";
    Session = 2, "cannot become a session leader";
    Fork = 3, "cannot fork";
    PidFile = 4, "cannot take its pid file";
    Limit = 5, "cannot set a resource limit";
    Label = 6, "cannot set its security label";
    Capabilities = 7, "cannot set its capabilities";
    Groups = 8, "cannot set its supplementary groups";
    Group = 9, "cannot set its group";
    User = 10, "cannot set its user";
    Directory = 11, "cannot change to its working directory";
    NoNewPrivileges = 12, "cannot give up gaining privileges";
    DeathSignal = 13, "cannot tie its life to its parent's";
    Exec = 14, "cannot execute it";
    Control = 15, "lost the connection to its parent";
}

/// What a message on the control socket is about.
pub(crate) mod message {
    /// `value` is the process number of a daemon.
    pub(crate) const PID: u32 = 1;
    /// All is set up but exec.
    pub(crate) const READY: u32 = 2;
    /// `step` failed with errno `value`.
    pub(crate) const FAILED: u32 = 3;
    /// From the parent: go on.
    pub(crate) const GO: u32 = 4;
}

/// One message on the control socket: kind, step, value.
pub(crate) const MESSAGE_LENGTH: usize = 12;

pub(crate) fn encode(kind: u32, step: u32, value: i32) -> [u8; MESSAGE_LENGTH] {
    let mut bytes = [0; MESSAGE_LENGTH];
    let words = [kind.to_ne_bytes(), step.to_ne_bytes(), value.to_ne_bytes()];
    for (target, source) in bytes.iter_mut().zip(words.iter().flatten()) {
        *target = *source;
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8; MESSAGE_LENGTH]) -> (u32, u32, i32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        i32::from_ne_bytes([i, j, k, l]),
    )
}

/// A whole child as data.
pub(crate) struct Plan {
    pub(crate) program: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    /// (descriptor here, number there), each number once.
    pub(crate) fds: Vec<(RawFd, RawFd)>,
    pub(crate) cwd: Option<CString>,
    pub(crate) umask: Option<u32>,
    /// (resource, soft, hard)
    pub(crate) limits: Vec<(u32, u64, u64)>,
    /// (attribute file, value, failure ends the start)
    pub(crate) labels: Vec<(CString, CString, bool)>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) gid: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) capabilities: Option<CapabilityPlan>,
    pub(crate) no_new_privileges: bool,
    pub(crate) death_signal: Option<i32>,
    pub(crate) new_session: bool,
    pub(crate) daemon: bool,
    pub(crate) pid_file: Option<CString>,
    pub(crate) handshake: bool,
}

/// Which capabilities are left after exec.
pub(crate) struct CapabilityPlan {
    pub(crate) keep: u64,
    /// Highest capability that the kernel knows.
    pub(crate) last: u32,
    /// We may shrink the bounding set.
    pub(crate) drop_bounding: bool,
}

/// What the parent may do and the kernel knows: for [`CapabilityPlan`].
pub(crate) fn permitted_capabilities() -> Result<u64> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 means two data elements, which is what we give.
    let got = unsafe { libc::syscall(libc::SYS_capget, &header, data.as_mut_ptr()) };
    Errno::result(got).or_system(|| "cannot read our capabilities")?;
    let [low, high] = data;
    Ok(u64::from(low.permitted) | u64::from(high.permitted) << 32)
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// The plan with the pointers that the system calls take.
struct Prepared<'a> {
    plan: &'a Plan,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    /// (descriptor here, number there, number on the way)
    moves: Vec<(RawFd, RawFd, RawFd)>,
    /// Ranges of numbers that nobody gets, below `floor`.
    gaps: Vec<(u32, u32)>,
    /// First number above all that the child gets: the control socket's.
    floor: RawFd,
    /// Highest number that can be open, for kernels without close_range.
    highest: u32,
    control: RawFd,
}

/// Forks and starts the plan. Returns the child's process number; `control` is the child's end of the socket.
pub(crate) fn start(plan: &Plan, control: BorrowedFd<'_>) -> Result<i32> {
    let mut targets: Vec<RawFd> = plan.fds.iter().map(|(_, target)| *target).collect();
    targets.sort_unstable();
    let floor = targets.last().map_or(0, |last| last.saturating_add(1)).max(3);
    let mut gaps = Vec::new();
    let mut next = 0;
    for target in &targets {
        if *target > next {
            gaps.push((next as u32, (*target - 1) as u32));
        }
        next = target.saturating_add(1);
    }
    if next < floor {
        gaps.push((next as u32, (floor - 1) as u32));
    }
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .or_system(|| "cannot read the limit of open files")?;
    let mut prepared = Prepared {
        plan,
        argv: pointers(&plan.argv),
        env: pointers(&plan.env),
        moves: plan.fds.iter().map(|(from, to)| (*from, *to, -1)).collect(),
        gaps,
        floor,
        highest: u32::try_from(soft).unwrap_or(u32::MAX).min(1 << 20),
        control: control.as_raw_fd(),
    };
    // SAFETY: an all-zero signal set is a valid place for sigfillset to write to.
    let (mut all, mut before) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: both sets are ours. Signals are blocked around the fork, so that none of our handlers runs in the child.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
    }
    // SAFETY: the child calls `child` alone, which keeps to async-signal-safe calls and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child(&mut prepared);
    }
    let forked = Errno::result(pid);
    // SAFETY: `before` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    forked.or_system(|| "cannot fork")
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain(std::iter::once(ptr::null()))
        .collect()
}

/// A failed step: what and why.
struct Failed(Step, i32);

fn errno() -> i32 {
    // SAFETY: glibc gives the address of the thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}

/// Turns a system call's -1 into the step that failed.
fn check(result: i64, step: Step) -> std::result::Result<i64, Failed> {
    if result < 0 {
        Err(Failed(step, errno()))
    } else {
        Ok(result)
    }
}

/// Runs in the child. Only async-signal-safe calls from here on.
fn child(prepared: &mut Prepared<'_>) -> ! {
    let Err(Failed(step, error)) = set_up_and_exec(prepared);
    tell(prepared.control, message::FAILED, step as u32, error);
    exit(if step == Step::Exec && error == libc::ENOENT {
        127
    } else {
        126
    })
}

fn exit(status: i32) -> ! {
    // SAFETY: _exit ends the process without running anything of ours.
    unsafe { libc::_exit(status) }
}

fn tell(control: RawFd, kind: u32, step: u32, value: i32) -> bool {
    let bytes = encode(kind, step, value);
    // SAFETY: the buffer outlives the call. MSG_NOSIGNAL: a parent that is gone is an answer, not a signal.
    let sent = unsafe { libc::send(control, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    sent == bytes.len() as isize
}

/// Waits for the parent's word; a parent that is gone ends us.
fn wait_for_go(control: RawFd) -> std::result::Result<(), Failed> {
    let mut bytes = [0_u8; MESSAGE_LENGTH];
    loop {
        // SAFETY: the buffer outlives the call and its length is given.
        let got = unsafe { libc::recv(control, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if got < 0 && errno() == libc::EINTR {
            continue;
        }
        let (kind, _, _) = decode(&bytes);
        if got == bytes.len() as isize && kind == message::GO {
            return Ok(());
        }
        return Err(Failed(Step::Control, if got < 0 { errno() } else { libc::EPIPE }));
    }
}

fn set_up_and_exec(prepared: &mut Prepared<'_>) -> std::result::Result<std::convert::Infallible, Failed> {
    let plan = prepared.plan;
    reset_signals();
    place_descriptors(prepared)?;
    let control = prepared.control;
    if plan.new_session || plan.daemon {
        // SAFETY: setsid takes nothing.
        check(i64::from(unsafe { libc::setsid() }), Step::Session)?;
    }
    if plan.daemon {
        // SAFETY: the string is a constant.
        check(i64::from(unsafe { libc::chdir(c"/".as_ptr()) }), Step::Directory)?;
        // SAFETY: this process has one thread and has taken no lock since its own fork.
        if check(i64::from(unsafe { libc::fork() }), Step::Fork)? > 0 {
            exit(0);
        }
        // SAFETY: getpid cannot fail.
        let pid = unsafe { libc::getpid() };
        // The parent takes hold of us by descriptor before we go on: after that our number cannot mislead it.
        if !tell(control, message::PID, 0, pid) {
            return Err(Failed(Step::Control, libc::EPIPE));
        }
        wait_for_go(control)?;
    }
    if let Some(signal) = plan.death_signal {
        // SAFETY: plain integers.
        let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) };
        check(i64::from(set), Step::DeathSignal)?;
    }
    if let Some(mask) = plan.umask {
        // SAFETY: umask cannot fail.
        unsafe { libc::umask(mask) };
    }
    if let Some(path) = &plan.pid_file {
        take_pid_file(path)?;
    }
    for (resource, soft, hard) in &plan.limits {
        let limit = libc::rlimit64 {
            rlim_cur: *soft,
            rlim_max: *hard,
        };
        // SAFETY: `limit` outlives the call; pid 0 is this process.
        let set = unsafe { libc::syscall(libc::SYS_prlimit64, 0, *resource, &limit, ptr::null_mut::<u8>()) };
        check(set, Step::Limit)?;
    }
    for (file, value, required) in &plan.labels {
        let written = write_file(file, value);
        if *required {
            written?;
        }
    }
    become_user(plan)?;
    if let Some(cwd) = &plan.cwd {
        // SAFETY: the string outlives the call.
        check(i64::from(unsafe { libc::chdir(cwd.as_ptr()) }), Step::Directory)?;
    }
    if plan.no_new_privileges {
        // SAFETY: plain integers.
        let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        check(i64::from(set), Step::NoNewPrivileges)?;
    }
    if plan.handshake {
        if !tell(control, message::READY, 0, 0) {
            return Err(Failed(Step::Control, libc::EPIPE));
        }
        wait_for_go(control)?;
    }
    // SAFETY: both arrays end with a null pointer, and the strings they point to live in the plan.
    unsafe {
        libc::execve(
            plan.program.as_ptr(),
            prepared.argv.as_ptr(),
            prepared.env.as_ptr(),
        )
    };
    Err(Failed(Step::Exec, errno()))
}

/// Default action for every signal, none blocked.
fn reset_signals() {
    // SAFETY: an all-zero sigaction is "default action, no flags, empty mask"; numbers that do not exist or may not
    // be changed fail harmlessly; the empty set is filled before use.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &action, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Gives each descriptor its number and closes everything else. First all go above `floor`, then each to its place:
/// a place may be somebody else's old number.
fn place_descriptors(prepared: &mut Prepared<'_>) -> std::result::Result<(), Failed> {
    let floor = prepared.floor;
    let lift = |fd: RawFd| -> std::result::Result<RawFd, Failed> {
        // SAFETY: plain integers.
        let lifted = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, floor) };
        check(i64::from(lifted), Step::Descriptors).map(|fd| fd as RawFd)
    };
    for (from, _, lifted) in &mut prepared.moves {
        *lifted = lift(*from)?;
    }
    let control = lift(prepared.control)?;
    for (_, to, lifted) in &prepared.moves {
        // SAFETY: plain integers; the new descriptor is not close-on-exec.
        check(i64::from(unsafe { libc::dup2(*lifted, *to) }), Step::Descriptors)?;
    }
    if control != floor {
        // SAFETY: plain integers.
        let moved = unsafe { libc::dup3(control, floor, libc::O_CLOEXEC) };
        check(i64::from(moved), Step::Descriptors)?;
    }
    prepared.control = floor;
    for (first, last) in &prepared.gaps {
        close_range(*first, *last, prepared.highest)?;
    }
    close_range(floor as u32 + 1, u32::MAX, prepared.highest)
}

fn close_range(first: u32, last: u32, highest: u32) -> std::result::Result<(), Failed> {
    // SAFETY: plain integers; the descriptors closed belong to nobody in this process image any more.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return Ok(());
    }
    if errno() != libc::ENOSYS {
        return Err(Failed(Step::Descriptors, errno()));
    }
    for fd in first..=last.min(highest) {
        // SAFETY: as above.
        unsafe { libc::close(fd as RawFd) };
    }
    Ok(())
}

fn write_file(path: &CStr, value: &CStr) -> std::result::Result<(), Failed> {
    // SAFETY: both strings outlive the calls.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(i64::from(fd), Step::Label)?;
        let value = value.to_bytes();
        let written = libc::write(fd, value.as_ptr().cast(), value.len());
        let result = check(written as i64, Step::Label);
        libc::close(fd);
        result.map(|_| ())
    }
}

/// Takes the pid file as [`crate::lock`] does, and keeps the descriptor open over exec: the lock is this process'
/// for as long as it lives.
fn take_pid_file(path: &CStr) -> std::result::Result<(), Failed> {
    loop {
        // SAFETY: all pointers are to locals or to the plan, and outlive the calls. The descriptor is left open on
        // purpose once it is locked.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CREAT, 0o644);
            check(i64::from(fd), Step::PidFile)?;
            let mut lock: libc::flock = std::mem::zeroed();
            lock.l_type = libc::F_WRLCK as libc::c_short;
            lock.l_whence = libc::SEEK_SET as libc::c_short;
            lock.l_len = 1;
            check(i64::from(libc::fcntl(fd, libc::F_SETLK, &lock)), Step::PidFile)?;
            let mut ours: libc::stat = std::mem::zeroed();
            let mut named: libc::stat = std::mem::zeroed();
            check(i64::from(libc::fstat(fd, &mut ours)), Step::PidFile)?;
            let there = libc::stat(path.as_ptr(), &mut named) == 0;
            if !there || ours.st_ino != named.st_ino || ours.st_dev != named.st_dev {
                // Somebody removed or replaced it under us.
                libc::close(fd);
                continue;
            }
            check(i64::from(libc::ftruncate(fd, 0)), Step::PidFile)?;
            let mut digits = [0_u8; 12];
            let text = decimal(libc::getpid() as u32, &mut digits);
            let written = libc::write(fd, text.as_ptr().cast(), text.len());
            check(written as i64, Step::PidFile)?;
            return Ok(());
        }
    }
}

/// `number` in decimal at the end of `buffer`, without formatting machinery.
fn decimal(mut number: u32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut used = 0;
    for place in buffer.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    buffer.get(buffer.len() - used..).unwrap_or(&[])
}

/// Groups, group, user and capabilities, in the one order in which each is still allowed. Bare system calls: the
/// C library's versions want to talk to threads that this process no longer has.
fn become_user(plan: &Plan) -> std::result::Result<(), Failed> {
    // SAFETY: each call below takes integers, and arrays that outlive the call with their length given.
    unsafe {
        if let Some(capabilities) = &plan.capabilities {
            if capabilities.drop_bounding {
                for capability in 0..=capabilities.last {
                    if capabilities.keep & (1_u64 << (capability & 63)) == 0 {
                        let dropped = libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                        check(i64::from(dropped), Step::Capabilities)?;
                    }
                }
            }
            if capabilities.keep != 0 && plan.uid.is_some_and(|uid| uid != 0) {
                let kept = libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
                check(i64::from(kept), Step::Capabilities)?;
            }
        }
        if let Some(groups) = &plan.groups {
            let set = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
            check(set, Step::Groups)?;
        }
        if let Some(gid) = plan.gid {
            check(libc::syscall(libc::SYS_setresgid, gid, gid, gid), Step::Group)?;
        }
        if let Some(uid) = plan.uid {
            check(libc::syscall(libc::SYS_setresuid, uid, uid, uid), Step::User)?;
        }
        if let Some(capabilities) = &plan.capabilities {
            let (low, high) = (capabilities.keep as u32, (capabilities.keep >> 32) as u32);
            let header = CapHeader {
                version: CAPABILITY_VERSION_3,
                pid: 0,
            };
            let data = [low, high].map(|bits| CapData {
                effective: bits,
                permitted: bits,
                inheritable: bits,
            });
            let set = libc::syscall(libc::SYS_capset, &header, data.as_ptr());
            check(set, Step::Capabilities)?;
            let cleared = libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
            check(i64::from(cleared), Step::Capabilities)?;
            // Root needs none: it gets what the bounding set leaves.
            let ambient = if libc::geteuid() == 0 {
                0
            } else {
                capabilities.keep
            };
            for capability in 0..=capabilities.last {
                if ambient & (1_u64 << (capability & 63)) != 0 {
                    let raised =
                        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0);
                    check(i64::from(raised), Step::Capabilities)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers() {
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            assert_eq!(decimal(number, &mut [0; 12]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn messages_survive_the_trip() {
        assert_eq!(decode(&encode(3, 14, -2)), (3, 14, -2));
        assert_eq!(Step::text(14), "cannot execute it");
    }
}
