//! Sockets that systemd opened before it started us. They come as numbers from 3 on, with names that tell which of our
//! services each is for: the names of the units, `libvirtd-ro.socket` and so on.
//!
//! With activation no socket is opened by ourselves: an administrator who disabled a socket unit wants it closed.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use virt_util::sys::inherit::inherited_fd;
use virt_util::{Result, VirtError};

use super::names::DaemonName;

/// Where the numbers begin.
const FIRST: RawFd = 3;
/// More sockets than anybody has units for.
const MOST: i32 = 1024;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Read and write.
    Main,
    /// Read only.
    ReadOnly,
    /// Administration.
    Admin,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Main, Self::ReadOnly, Self::Admin, Self::Tcp, Self::Tls];

    /// The socket unit of this service.
    pub fn unit(self, daemon: &DaemonName) -> String {
        let suffix = match self {
            Self::Main => "",
            Self::ReadOnly => "-ro",
            Self::Admin => "-admin",
            Self::Tcp => "-tcp",
            Self::Tls => "-tls",
        };
        format!("{}{suffix}.socket", daemon.name)
    }
}

/// The environment variables in which systemd tells what it passed.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    /// `LISTEN_PID`: for which process.
    pub pid: Option<String>,
    /// `LISTEN_FDS`: how many.
    pub fds: Option<String>,
    /// `LISTEN_FDNAMES`: their names, with colons between.
    pub names: Option<String>,
}

/// The names of these variables. They hold for the program that systemd started, and not for one that takes its place and
/// has the same process: by then the numbers stand for something else.
pub const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

impl Announced {
    /// What this process was told.
    pub fn from_environment() -> Self {
        let [pid, fds, names] = VARIABLES.map(|name| std::env::var(name).ok());
        Self { pid, fds, names }
    }

    /// The numbers and names that are meant for process `own`; none if nothing is.
    fn numbers(&self, own: u32) -> Result<Vec<(RawFd, String)>> {
        let for_us = self.pid.as_ref().and_then(|pid| pid.parse::<u32>().ok()) == Some(own);
        let count = self.fds.as_ref().and_then(|count| count.parse::<i32>().ok());
        let count = match count {
            Some(count) if for_us && count > 0 => count,
            _ => return Ok(Vec::new()),
        };
        if count > MOST {
            return Err(VirtError::internal(format_args!(
                "LISTEN_FDS announces {count} sockets, at most {MOST} are allowed"
            )));
        }
        let Some(names) = &self.names else {
            return Err(VirtError::internal(format_args!(
                "LISTEN_FDS announces {count} sockets, but LISTEN_FDNAMES, which says what they are for, is missing"
            )));
        };
        let names: Vec<&str> = names.split(':').collect();
        if names.len() != count as usize {
            return Err(VirtError::internal(format_args!(
                "LISTEN_FDS announces {count} sockets, LISTEN_FDNAMES names {}",
                names.len()
            )));
        }
        Ok((FIRST..).zip(names.into_iter().map(str::to_owned)).collect())
    }
}

/// Sockets by what they are for.
pub type Sockets = BTreeMap<Service, Vec<OwnedFd>>;

/// Takes the sockets that were passed to this process; `None` if none were. To be called once, before any descriptor
/// is opened and before there is a second thread.
///
/// # Errors
/// `INTERNAL_ERROR` if what was announced is not so, or a name is not one of our units'.
pub fn take(announced: &Announced, daemon: &DaemonName) -> Result<Option<Sockets>> {
    let numbers = announced.numbers(std::process::id())?;
    if numbers.is_empty() {
        return Ok(None);
    }
    let mut adopted = Adopted::default();
    for (number, _) in &numbers {
        adopted.take(*number)?;
    }
    let mut taken = adopted.finish();
    let mut sockets = Sockets::new();
    for (number, name) in numbers {
        let service = service_of(&name, daemon)?;
        let socket = taken.remove(&number);
        sockets.entry(service).or_default().extend(socket);
    }
    Ok(Some(sockets))
}

/// Descriptors that another program left open for this one, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Adopted(BTreeMap<RawFd, OwnedFd>);

impl Adopted {
    /// Takes that number.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` for one that is not open, `INTERNAL_ERROR` for one that was taken already.
    pub(crate) fn take(&mut self, number: RawFd) -> Result<()> {
        // A number that was free before may stand for one of our duplicates by now.
        let is_ours = self.0.values().any(|own| own.as_raw_fd() == number);
        if is_ours {
            return Err(VirtError::system(
                nix::errno::Errno::EBADF as i32,
                format_args!("cannot use file descriptor {number}"),
            ));
        }
        if self.0.contains_key(&number) {
            return Err(VirtError::internal(format_args!(
                "file descriptor {number} is passed twice"
            )));
        }
        self.0.insert(number, inherited_fd(number)?);
        Ok(())
    }

    /// What the numbers stood for. The duplicates are ours and close on exec; the numbers that everybody could guess are
    /// done with.
    pub(crate) fn finish(self) -> BTreeMap<RawFd, OwnedFd> {
        self.0.keys().copied().for_each(drop_number);
        self.0
    }
}

/// Closes a number that was passed, once what it stood for has been taken.
fn drop_number(number: RawFd) {
    struct Number(RawFd);
    impl IntoRawFd for Number {
        fn into_raw_fd(self) -> RawFd {
            self.0
        }
    }
    // It was open a moment ago, and what could be done if it was not?
    let _ = nix::unistd::close(Number(number));
}

/// Which service a name means.
pub(crate) fn service_of(name: &str, daemon: &DaemonName) -> Result<Service> {
    Service::ALL
        .into_iter()
        .filter(|service| daemon.has_network() || !matches!(service, Service::Tcp | Service::Tls))
        .find(|service| service.unit(daemon) == name)
        .ok_or_else(|| {
            let known: Vec<String> = Service::ALL.iter().map(|service| service.unit(daemon)).collect();
            VirtError::internal(format_args!(
                "systemd passed a socket named '{name}', which is none of {}",
                known.join(", ")
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(pid: &str, fds: &str, names: Option<&str>) -> Announced {
        Announced {
            pid: Some(pid.to_owned()),
            fds: Some(fds.to_owned()),
            names: names.map(str::to_owned),
        }
    }

    #[test]
    fn sockets_have_numbers_and_names() {
        let told = announced("7", "2", Some("libvirtd.socket:libvirtd-ro.socket"));
        assert_eq!(
            told.numbers(7).unwrap(),
            [
                (3, "libvirtd.socket".to_owned()),
                (4, "libvirtd-ro.socket".to_owned())
            ]
        );
        assert!(told.numbers(8).unwrap().is_empty(), "meant for somebody else");
        assert!(Announced::default().numbers(7).unwrap().is_empty());
        assert!(announced("7", "2", None).numbers(7).is_err());
        assert!(announced("7", "2", Some("one")).numbers(7).is_err());
        assert!(announced("7", "99999", Some("one")).numbers(7).is_err());
    }

    #[test]
    fn a_number_is_taken_once_and_only_if_it_is_open() {
        use std::io::Write;
        use std::os::fd::AsFd;
        let (mut writer, file) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        // Somebody else's numbers, as after an exec.
        let number = file.as_fd().try_clone_to_owned().unwrap().into_raw_fd();
        let mut adopted = Adopted::default();
        adopted.take(number).unwrap();
        assert_eq!(
            adopted.take(number).unwrap_err().detail(),
            format!("file descriptor {number} is passed twice")
        );
        let own = adopted.0[&number].as_raw_fd();
        // That one was free a moment ago.
        let error = adopted.take(own).unwrap_err();
        assert_eq!(error.int1(), nix::errno::Errno::EBADF as i32, "{error}");
        assert!(adopted.take(-1).is_err());
        let taken = adopted.finish();
        let [socket] = taken.values().collect::<Vec<_>>()[..] else {
            panic!("one was taken: {taken:?}");
        };
        let flags = nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC);
        writer.write_all(b"x").unwrap();
    }

    #[test]
    fn a_name_is_one_of_our_units() {
        let monolithic = DaemonName::monolithic();
        let qemu = DaemonName::of_driver("qemu").unwrap();
        assert_eq!(
            service_of("libvirtd-tls.socket", &monolithic).unwrap(),
            Service::Tls
        );
        assert_eq!(
            service_of("virtqemud-admin.socket", &qemu).unwrap(),
            Service::Admin
        );
        for wrong in ["libvirtd.socket", "virtqemud-tcp.socket", ""] {
            let error = service_of(wrong, &qemu).unwrap_err();
            assert!(error.message().contains("virtqemud-ro.socket"), "{error}");
        }
    }
}
