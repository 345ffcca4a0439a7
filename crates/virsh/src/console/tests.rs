use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::plugin::Entry;
use virt_api::protocol::traits::HypervisorDriver;
use virt_api::stream_end::{self, StreamEnd};
use virt_api::testkit::SampleDriver;
use virt_util::types::DomainDestroyFlags;

/// The sample driver over a connection that can be cut.
struct Cuttable(SampleDriver);
struct CuttableConnection(Box<dyn DriverConnection>);
struct CuttableEntry<const N: usize>;
static CUT: AtomicBool = AtomicBool::new(false);

impl Driver for Cuttable {
    fn open(&self, cx: &OpenContext) -> virt_util::Result<Box<dyn DriverConnection>> {
        Ok(Box::new(CuttableConnection(self.0.open(cx)?)))
    }
}

impl DriverConnection for CuttableConnection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        self.0.hypervisor()
    }

    fn resolver(&self) -> Option<&dyn virt_api::access::Resolver> {
        self.0.resolver()
    }

    fn is_alive(&self) -> virt_util::Result<bool> {
        Ok(!CUT.load(Ordering::Relaxed))
    }
}

impl Entry for CuttableEntry<1> {
    const NAME: &'static str = SampleDriver::NAME;
    const MANIFEST: &'static str = SampleDriver::MANIFEST;

    fn create() -> Box<dyn Driver> {
        Box::new(Cuttable(SampleDriver::default()))
    }
}

impl Entry for CuttableEntry<0> {
    const NAME: &'static str = SampleDriver::NAME;
    const MANIFEST: &'static str = SampleDriver::MANIFEST;

    fn create() -> Box<dyn Driver> {
        SampleDriver::create()
    }
}

/// The running guest of a sample driver.
fn guest<E: Entry>() -> Domain {
    let connection = Connect::builder()
        .built_in::<E>()
        .uri("sample:///default")
        .open()
        .unwrap();
    connection.lookup_domain_by_name("web").unwrap()
}

/// Runs a session between a fake terminal and a fake guest.
fn session(
    domain: &Domain,
    guest: impl FnOnce(StreamEnd) + Send,
    user: impl FnOnce(UnixStream) + Send,
) -> Ending {
    let (ours, theirs) = stream_end::pipe();
    let stream = Stream::from(ours);
    stream.set_nonblocking(true).unwrap();
    let (terminal, keyboard) = UnixStream::pair().unwrap();
    let signals = Signals::catch(&[Signal::SIGUSR2]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| guest(theirs));
        scope.spawn(|| user(keyboard));
        let sides = Terminal {
            input: terminal.as_fd(),
            output: terminal.as_fd(),
        };
        let ending = Session::new(&stream, sides, &signals, 0x1d)
            .unwrap()
            .run(domain, Duration::from_secs(1));
        // Whoever still waits learns that nothing comes any more.
        let _ = stream.abort();
        let _ = terminal.shutdown(std::net::Shutdown::Both);
        ending
    })
}

fn read_exactly(mut from: &UnixStream, wanted: &str) {
    let mut have = vec![0; wanted.len()];
    from.read_exact(&mut have).unwrap();
    assert_eq!(String::from_utf8_lossy(&have), wanted);
}

#[test]
fn escape_characters() {
    assert_eq!(escape_byte("^]"), 0x1d);
    assert_eq!(escape_byte("^a"), 0x01);
    assert_eq!(escape_byte("^@"), 0x00);
    assert_eq!(escape_byte("x"), b'x');
}

#[test]
fn bytes_go_both_ways_until_the_user_types_the_escape_character() {
    let ending = session(
        &guest::<CuttableEntry<0>>(),
        |guest| {
            guest.send_all(b"login: ").unwrap();
            let mut buffer = [0; 16];
            let mut typed = Vec::new();
            while typed != b"root\r" {
                match guest.recv(&mut buffer, false).unwrap() {
                    stream_end::Transfer::Bytes(count) => typed.extend_from_slice(&buffer[..count]),
                    other => panic!("{other:?}"),
                }
            }
            guest.send_all(b"# ").unwrap();
            while let Ok(stream_end::Transfer::Bytes(1..)) = guest.recv(&mut buffer, false) {}
        },
        |mut user| {
            read_exactly(&user, "login: ");
            user.write_all(b"root\r").unwrap();
            read_exactly(&user, "# ");
            user.write_all(&[0x1d]).unwrap();
            let _ = user.read(&mut [0]);
        },
    );
    assert!(matches!(ending, Ending::Escape), "{ending:?}");
}

#[test]
fn what_the_guest_said_last_is_shown_before_the_end() {
    let domain = guest::<CuttableEntry<0>>();
    let text = "x".repeat(200_000);
    let ending = session(
        &domain,
        |guest| {
            guest.send_all(text.as_bytes()).unwrap();
            // Waits for our side, which ends the stream in its own way.
            let _ = guest.finish();
        },
        |user| read_exactly(&user, &text),
    );
    assert!(matches!(ending, Ending::ServerClosed), "{ending:?}");
}

#[test]
fn a_guest_that_stops_is_told_from_a_console_that_is_taken_away() {
    struct Own;
    impl Entry for Own {
        const NAME: &'static str = SampleDriver::NAME;
        const MANIFEST: &'static str = SampleDriver::MANIFEST;

        fn create() -> Box<dyn Driver> {
            SampleDriver::create()
        }
    }
    let domain = guest::<Own>();
    let ending = session(
        &domain,
        |guest| drop(guest.finish()),
        |mut user| {
            // The state changes a moment after the console has closed.
            std::thread::sleep(Duration::from_millis(30));
            domain.destroy(DomainDestroyFlags::empty()).unwrap();
            let _ = user.read(&mut [0]);
        },
    );
    assert!(matches!(ending, Ending::GuestStopped), "{ending:?}");
}

#[test]
fn an_error_of_the_console_stays_the_reason() {
    let error = VirtError::system(5, "read");
    let domain = guest::<CuttableEntry<0>>();
    let ending = session(
        &domain,
        |guest| guest.abort_with(error).unwrap(),
        |mut user| drop(user.read(&mut [0])),
    );
    assert!(
        matches!(&ending, Ending::ConsoleError(error) if error.int1() == 5),
        "{ending:?}"
    );
}

#[test]
fn a_lost_connection_is_neither_the_guest_nor_the_server() {
    let domain = guest::<CuttableEntry<1>>();
    CUT.store(true, Ordering::Relaxed);
    let error = VirtError::new(ErrorCode::RPC, "End of file while reading data");
    let ending = session(
        &domain,
        |guest| guest.abort_with(error).unwrap(),
        |mut user| drop(user.read(&mut [0])),
    );
    assert!(
        matches!(&ending, Ending::ConnectionLost(error) if error.code() == ErrorCode::RPC),
        "{ending:?}"
    );
}

#[test]
fn a_terminal_that_closes_ends_the_session() {
    let ending = session(
        &guest::<CuttableEntry<0>>(),
        |guest| {
            let _ = guest.recv(&mut [0], false);
        },
        drop,
    );
    assert!(matches!(ending, Ending::TerminalClosed), "{ending:?}");
}
