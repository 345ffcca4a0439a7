//! The console of a real guest: a boot sector on QEMU's emulated CPU, through the plugin that a URI loads.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot run its programs has failed"
)]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use virt_api::need;
use virt_api::plugin::Registry;
use virt_api::testkit::{FakeHost, plugins, skip};

/// Prints a line on the first serial port, echoes what it reads there, and powers off at "q".
const BOOT_SECTOR: &[u8] = b"\xfa\x31\xc0\x8e\xd8\xbe\x2e\x7c\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8\
    \xba\xfd\x03\xec\xa8\x01\x74\xf8\xba\xf8\x03\xec\xee\x3c\x71\x75\xef\xba\x04\x06\xb8\x00\x20\xef\xf4\xeb\xfd\
    boot sector is here\r\n\0";

const LIMIT: Duration = Duration::from_secs(60);

fn guest_xml(image: &Path) -> String {
    format!(
        "<domain type='qemu'>
  <name>console</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{}'/><target dev='hda' bus='ide'/>
    </disk>
    <serial type='pty'><target port='0'/></serial>
    <console type='pty'><target type='serial' port='0'/></console>
  </devices>
</domain>
",
        image.display()
    )
}

/// virsh on a terminal of its own.
struct OnTerminal {
    child: std::process::Child,
    terminal: File,
    seen: String,
}

impl OnTerminal {
    fn start(root: &Path, line: &str) -> Self {
        let pty = openpty(None, None).unwrap();
        // The program must not hold its own terminal's other side: it would never hang up.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let side = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_virsh"))
            .args(["-c", &format!("qemu:///embed?root={}", root.display()), line])
            .env("VIRT_DRIVER_DIR", plugins().unwrap().directory())
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap();
        Self {
            child,
            terminal: pty.master.into(),
            seen: String::new(),
        }
    }

    /// Reads until `wanted` has been shown.
    fn expect(&mut self, wanted: &str) {
        let until = Instant::now() + LIMIT;
        while !self.seen.contains(wanted) {
            assert!(Instant::now() < until, "no '{wanted}' in:\n{}", self.seen);
            let mut fds = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(200u8)).unwrap();
            if !fds[0].any().unwrap_or(false) {
                continue;
            }
            let mut buffer = [0; 4096];
            match self.terminal.read(&mut buffer) {
                Ok(count @ 1..) => self.seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
                _ => assert!(
                    self.seen.contains(wanted),
                    "ended without '{wanted}':\n{}",
                    self.seen
                ),
            }
        }
        self.seen = self
            .seen
            .split_off(self.seen.find(wanted).unwrap() + wanted.len());
    }

    fn press(&mut self, keys: &[u8]) {
        self.terminal.write_all(keys).unwrap();
    }

    fn exit_code(mut self) -> i32 {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("virsh does not end:\n{}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Ends the guest if the test did not get that far.
struct Stop<'a>(&'a Path);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = OnTerminal::start(self.0, "destroy console").child.wait();
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_user_leaves_and_comes_back_and_the_guest_leaves_by_itself() {
    need!(program "qemu-system-x86_64");
    let folder = plugins().unwrap();
    let known = Registry::new(FakeHost::new(), Default::default(), &folder.search_path());
    if known.for_scheme("hypervisor", "qemu").is_none() {
        skip("the tree builds no qemu plugin");
        return;
    }
    let scratch = tempfile::Builder::new().prefix("virt-").tempdir().unwrap();
    let image = scratch.path().join("boot.img");
    let mut sector = BOOT_SECTOR.to_vec();
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    std::fs::write(&image, sector).unwrap();
    let xml = scratch.path().join("guest.xml");
    std::fs::write(&xml, guest_xml(&image)).unwrap();
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).unwrap();

    let _guard = Stop(&root);
    let mut first = OnTerminal::start(
        &root,
        &format!("define {}; start console --console", xml.display()),
    );
    first.expect("Escape character is ^]");
    first.expect("boot sector is here");
    first.press(b"abc");
    first.expect("abc");
    first.press(&[0x1d]);
    assert_eq!(first.exit_code(), 0);

    // Another process finds the guest as the first one left it.
    let mut second = OnTerminal::start(&root, "list; console console");
    second.expect("running");
    second.expect("Escape character is ^]");
    // At once: from here on keys are the guest's.
    second.press(b"xyz");
    second.expect("xyz");
    second.press(b"q");
    second.expect("has stopped");
    assert_eq!(second.exit_code(), 0);

    let mut third = OnTerminal::start(&root, "domstate console; console console");
    third.expect("shut off");
    third.expect("error: The domain is not running");
    assert_eq!(third.exit_code(), 1);

    let mut last = OnTerminal::start(&root, "undefine console; list --all");
    last.expect("has been undefined");
    assert_eq!(last.exit_code(), 0);
}
