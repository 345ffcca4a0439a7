//! What the service manager is told: systemd's notification protocol, one datagram a message.
//!
//! Without a service manager (no `NOTIFY_SOCKET`) everything here does nothing. A service manager that cannot be
//! reached costs a warning and nothing else.
//!
//! The crate `sd-notify` (0.5) does the same, but waits for a service manager that does not read, knows no sockets
//! without a file (`@name`), and finds the socket in the process's environment alone.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A way to the service manager, or none.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    address: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one this process was started with.
    pub fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && for_us);
        Self {
            address: std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// One that tells the socket at `address`.
    pub fn to(address: impl Into<OsString>) -> Self {
        Self {
            address: Some(address.into()),
            watchdog: None,
        }
    }

    /// How often [`Self::alive`] has to be called, if the service manager wants to know: half of the time after which it
    /// gives us up.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.address.as_ref().and(self.watchdog).map(|limit| limit / 2)
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The daemon reads its configuration again; [`Self::ready`] follows.
    pub fn reloading(&self) {
        let micros = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| Duration::from(now).as_micros());
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// What the daemon does, for people.
    pub fn status(&self, text: &str) {
        // A line break would begin another assignment.
        let line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.send(&format!("STATUS={line}"));
    }

    /// The step that runs takes at least `more` from now.
    pub fn extend_timeout(&self, more: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", more.as_micros()));
    }

    /// The daemon has another process number than the one that was started.
    pub fn main_pid(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// The daemon's loop turns.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some(address) = &self.address else { return };
        if let Err(error) = send_to(address, message) {
            tracing::warn!("cannot tell the service manager '{message}': {error}");
        }
    }
}

fn send_to(address: &OsString, message: &str) -> std::io::Result<()> {
    // A name that begins with '@' is in the kernel's name space of sockets, not in the file system.
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not stop us.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn the_service_manager_hears_what_systemd_expects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(&path);
        notifier.ready();
        assert_eq!(heard(&socket), "READY=1");
        notifier.reloading();
        let text = heard(&socket);
        let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        notifier.status("3 clients\nREADY=1");
        assert_eq!(heard(&socket), "STATUS=3 clients READY=1");
        notifier.extend_timeout(Duration::from_secs(15));
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=15000000");
        notifier.stopping();
        notifier.alive();
        notifier.main_pid(7);
        assert_eq!(heard(&socket), "STOPPING=1");
        assert_eq!(heard(&socket), "WATCHDOG=1");
        assert_eq!(heard(&socket), "MAINPID=7");
    }

    #[test]
    fn a_name_without_a_file_works_too() {
        let name = format!("ferrovirt-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(format!("@{name}")).ready();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[test]
    fn nobody_to_tell_is_fine() {
        Notifier::default().ready();
        Notifier::to("/nonexistent/notify").ready();
        assert_eq!(Notifier::default().watchdog_interval(), None);
    }
}
