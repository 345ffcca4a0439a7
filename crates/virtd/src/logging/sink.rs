//! Outputs: standard error, files, the system log, the journal.
//!
//! Writing a message never waits long. Sockets are not waited for at all; a terminal or pipe that nobody reads is
//! given a moment. What cannot be written is counted, and the count is written when the output takes messages again.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use virt_util::log_settings::{Destination, Output, Priority};
use virt_util::{Result, VirtError, calendar};

use super::request::RequestId;

/// How long a pipe that is full is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// What a pipe that is writable takes without waiting.
const PIECE: usize = 4096;

/// Where the system's logs listen.
#[derive(Clone, Debug)]
pub struct Places {
    /// The journal's own protocol.
    pub journal: PathBuf,
    /// The system log.
    pub syslog: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            journal: "/run/systemd/journal/socket".into(),
            syslog: "/dev/log".into(),
        }
    }
}

/// A message on its way to the outputs.
pub(super) struct Message<'a> {
    pub(super) priority: Priority,
    pub(super) source: &'a str,
    pub(super) text: &'a str,
    pub(super) file: Option<&'a str>,
    pub(super) line: u32,
    pub(super) request: Option<RequestId>,
    /// The numbers of the error that it tells: its domain and its code.
    pub(super) error: Option<(i32, i32)>,
}

/// A message with its moment, and formatted.
pub(super) struct Stamped<'a> {
    message: &'a Message<'a>,
    time: String,
    /// What follows the time: thread, level, source, text.
    line: String,
}

impl<'a> Stamped<'a> {
    pub(super) fn new(message: &'a Message<'a>) -> Self {
        let thread = nix::unistd::gettid();
        let level = match message.priority {
            Priority::Debug => "debug",
            Priority::Info => "info",
            Priority::Warning => "warning",
            Priority::Error => "error",
        };
        let request = message.request.map_or_else(String::new, |id| format!("[{id}] "));
        Self {
            message,
            time: now(),
            line: format!(
                "{thread}: {level} : {}:{} : {request}{}",
                message.source,
                message.line,
                // A line that begins at its start is a message: what a client made us say cannot look like one.
                message.text.trim_end_matches('\n').replace('\n', "\n    ")
            ),
        }
    }
}

fn now() -> String {
    calendar::utc_fields(calendar::now()).map_or_else(
        |_| "0000-00-00 00:00:00.000+0000".to_owned(),
        |f| {
            format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}+0000",
                f.year, f.month, f.day, f.hour, f.minute, f.second, f.millisecond
            )
        },
    )
}

/// An output that is open.
pub(super) struct Sink {
    priority: Priority,
    destination: Destination,
    channel: Channel,
    /// Messages that could not be written.
    lost: u64,
    /// The last of them is there in part: a disk was full in the middle of a line.
    torn: bool,
    /// Whether it has been said who logs here.
    introduced: bool,
}

enum Channel {
    Stderr,
    File(File),
    /// A socket, and where it sends to: whoever listens may be started again.
    Datagrams(UnixDatagram, PathBuf),
}

impl Sink {
    /// Everything to standard error.
    pub(super) fn stderr() -> Self {
        Self {
            priority: Priority::Debug,
            destination: Destination::Stderr,
            channel: Channel::Stderr,
            lost: 0,
            torn: false,
            introduced: true,
        }
    }

    /// Opens an output.
    pub(super) fn open(output: &Output, places: &Places) -> Result<Self> {
        let channel = match &output.destination {
            Destination::Stderr => Channel::Stderr,
            Destination::File(path) => Channel::File(open_file(Path::new(path))?),
            Destination::Syslog(_) => datagrams(&places.syslog)?,
            Destination::Journald => datagrams(&places.journal)?,
        };
        let destination = match &output.destination {
            Destination::File(path) => Destination::File(
                std::path::absolute(path).map_or_else(|_| path.clone(), |path| path.display().to_string()),
            ),
            other => other.clone(),
        };
        Ok(Self {
            priority: output.priority,
            destination,
            channel,
            lost: 0,
            torn: false,
            introduced: false,
        })
    }

    /// The output as it is written in settings.
    pub(super) fn setting(&self) -> String {
        let priority = self.priority as u32;
        match &self.destination {
            Destination::Stderr => format!("{priority}:stderr"),
            Destination::Journald => format!("{priority}:journald"),
            Destination::Syslog(name) => format!("{priority}:syslog:{name}"),
            Destination::File(path) => format!("{priority}:file:{path}"),
        }
    }

    /// Writes a message, if it is important enough for this output.
    pub(super) fn write(&mut self, stamped: &Stamped<'_>) {
        if stamped.message.priority < self.priority {
            return;
        }
        if !self.introduced {
            self.introduced = true;
            self.say(Priority::Info, &introduction());
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.say(
                Priority::Warning,
                &format!("{lost} messages could not be written here"),
            );
        }
        self.put(stamped);
    }

    /// A message of the log itself.
    fn say(&mut self, priority: Priority, text: &str) {
        self.put(&Stamped::new(&Message {
            priority,
            source: "util.log",
            text,
            file: None,
            line: 0,
            request: None,
            error: None,
        }));
    }

    fn put(&mut self, stamped: &Stamped<'_>) {
        let done = match (&mut self.channel, &self.destination) {
            (Channel::Stderr, _) => {
                let line = format!("{}: {}\n", stamped.time, stamped.line);
                write_patiently(std::io::stderr().as_fd(), line.as_bytes())
            }
            (Channel::File(file), _) => {
                let behind = if self.torn { "\n" } else { "" };
                let line = format!("{behind}{}: {}\n", stamped.time, stamped.line);
                match file.write(line.as_bytes()) {
                    Ok(count) => {
                        self.torn = count < line.len();
                        !self.torn
                    }
                    Err(_) => false,
                }
            }
            (Channel::Datagrams(socket, path), Destination::Syslog(name)) => {
                // Facility 3: daemons.
                let priority = 3 * 8 + syslog_priority(stamped.message.priority);
                let line = format!("<{priority}>{name}: {}", stamped.line);
                socket.send_to(line.as_bytes(), path).is_ok()
            }
            (Channel::Datagrams(socket, path), _) => send_to_journal(socket, path, stamped.message),
        };
        if !done {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

fn introduction() -> String {
    let host = virt_util::sys::name::host_name().unwrap_or_else(|_| "unknown".to_owned());
    let (major, rest) = (
        virt_api::LIBVIRT_VERSION / 1_000_000,
        virt_api::LIBVIRT_VERSION % 1_000_000,
    );
    format!(
        "ferrovirt version: {}, libvirt interface: {major}.{}.{}, hostname: {host}",
        env!("CARGO_PKG_VERSION"),
        rest / 1000,
        rest % 1000,
    )
}

fn open_file(path: &Path) -> Result<File> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| VirtError::io(&error, format_args!("cannot open log '{}'", path.display())))
}

fn datagrams(path: &Path) -> Result<Channel> {
    let socket = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket
        .map(|socket| Channel::Datagrams(socket, path.to_owned()))
        .map_err(|error| {
            VirtError::io(
                &error,
                format_args!("cannot open a socket to '{}'", path.display()),
            )
        })
}

/// The system log's numbers.
fn syslog_priority(priority: Priority) -> u32 {
    match priority {
        Priority::Debug => 7,
        Priority::Info => 6,
        Priority::Warning => 4,
        Priority::Error => 3,
    }
}

/// Writes to what may be a pipe that nobody empties. Whether all was written.
fn write_patiently(fd: BorrowedFd<'_>, bytes: &[u8]) -> bool {
    let end = Instant::now() + PATIENCE;
    let mut rest = bytes;
    while !rest.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut asked = [PollFd::new(fd, PollFlags::POLLOUT)];
        match poll(&mut asked, timeout) {
            Ok(1..) => {}
            Err(Errno::EINTR) => continue,
            Ok(_) | Err(_) => return false,
        }
        let (piece, _) = rest.split_at(rest.len().min(PIECE));
        match nix::unistd::write(fd, piece) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

/// The journal's fields: `NAME=value`, or with a length where the value has lines.
fn journal_fields(message: &Message<'_>) -> Vec<u8> {
    let mut fields = Vec::with_capacity(message.text.len() + 256);
    let mut field = |name: &str, value: &str| {
        fields.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            fields.push(b'\n');
            fields.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            fields.push(b'=');
        }
        fields.extend_from_slice(value.as_bytes());
        fields.push(b'\n');
    };
    field("MESSAGE", message.text);
    field("PRIORITY", &syslog_priority(message.priority).to_string());
    field("SYSLOG_FACILITY", "3");
    // Whoever searches libvirt's journal for errors searches for their common source.
    let source = message.error.map_or(message.source, |_| "util.error");
    field("LIBVIRT_SOURCE", source);
    if let Some(file) = message.file {
        field("CODE_FILE", file);
    }
    field("CODE_LINE", &message.line.to_string());
    if let Some((domain, code)) = message.error {
        field("LIBVIRT_DOMAIN", &domain.to_string());
        field("LIBVIRT_CODE", &code.to_string());
    }
    if let Some(request) = message.request {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "{request}");
        field("LIBVIRT_REQUEST", &text);
    }
    fields
}

fn send_to_journal(socket: &UnixDatagram, path: &Path, message: &Message<'_>) -> bool {
    let fields = journal_fields(message);
    match socket.send_to(&fields, path) {
        Ok(_) => true,
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EMSGSIZE | Errno::ENOBUFS)
            ) =>
        {
            send_file_to_journal(path, &fields).is_ok()
        }
        Err(_) => false,
    }
}

/// Fields that are too long for a datagram: the journal takes a file that nobody can change any more.
fn send_file_to_journal(path: &Path, fields: &[u8]) -> std::io::Result<()> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create("log-message", flags)?);
    file.write_all(fields)?;
    let seals =
        SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    let rights = [file.as_raw_fd()];
    // Nothing but the descriptor: with bytes beside it the journal would not take it.
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[],
        &[ControlMessage::ScmRights(&rights)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::io::Read as _;

    #[test]
    fn a_line_that_was_cut_does_not_spoil_the_next() {
        // A pipe that is full takes a part of a long message, as a disk does.
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let mut sink = Sink {
            destination: Destination::File("x".to_owned()),
            channel: Channel::File(writer.into()),
            ..Sink::stderr()
        };
        let mut reader = File::from(reader);
        let mut read = || {
            let mut text = String::new();
            // It ends where the pipe is empty.
            let _ = reader.read_to_string(&mut text);
            text
        };
        let mut write = |text: &str| {
            let message = Message {
                priority: Priority::Error,
                source: "test",
                text,
                file: None,
                line: 1,
                request: None,
                error: None,
            };
            sink.write(&Stamped::new(&message));
        };
        write(&"x".repeat(6000));
        let cut = read();
        assert!(!cut.ends_with('\n'));
        write("whole");
        let text = cut + &read();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[1].contains("1 messages could not be written here"),
            "{text}"
        );
        assert!(lines[2].ends_with(" : test:1 : whole"), "{text}");
    }
}
