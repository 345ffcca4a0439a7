//! A guest of Debian's kernel and busybox: it says hello on its serial port and does what is typed there.

use std::io::Write;
use std::path::{Path, PathBuf};

/// What the guest writes when it is up.
pub const HELLO: &str = "ferrovirt-guest-is-up";

/// What a line of this on the serial port is answered with, then the guest powers off.
pub const OFF: &str = "off";

/// Its first program: mounts what it needs, says hello, answers lines.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
echo ferrovirt-guest-is-up
while read line; do
  case \"$line\" in
    off) echo going-down; /bin/busybox poweroff -f ;;
    *) echo \"heard: $line\" ;;
  esac
done
/bin/busybox poweroff -f
";

/// Debian's newest kernel on this machine.
pub fn kernel() -> Option<PathBuf> {
    let mut kernels: Vec<PathBuf> = std::fs::read_dir("/boot")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .collect();
    kernels.sort();
    kernels.pop()
}

/// A static busybox.
pub fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// An archive in cpio's `newc` format, as the kernel unpacks it.
struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.inode += 1;
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

/// Writes the guest's initial RAM disk to `path`.
///
/// # Panics
/// If busybox cannot be read or the file not written.
pub fn write_initrd(path: &Path) {
    let busybox = busybox()
        .and_then(|path| std::fs::read(path).ok())
        .expect("busybox can be read");
    let mut archive = Archive {
        bytes: Vec::new(),
        inode: 0,
    };
    for directory in ["bin", "dev", "proc", "sys"] {
        archive.entry(directory, 0o040_755, &[], (0, 0));
    }
    archive.entry("bin/busybox", 0o100_755, &busybox, (0, 0));
    archive.entry("init", 0o100_755, INIT.as_bytes(), (0, 0));
    archive.entry("dev/console", 0o020_600, &[], (5, 1));
    archive.entry("TRAILER!!!", 0, &[], (0, 0));
    let mut file = std::fs::File::create(path).expect("the RAM disk can be written");
    file.write_all(&archive.bytes)
        .expect("the RAM disk can be written");
}

/// A definition that boots kernel and RAM disk. `virt_type` is `qemu` or `kvm`.
pub fn linux(name: &str, virt_type: &str, kernel: &Path, initrd: &Path) -> String {
    format!(
        "<domain type='{virt_type}'>
  <name>{name}</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{}</kernel>
    <initrd>{}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type='pty'/>
    <console type='pty'/>
  </devices>
</domain>
",
        kernel.display(),
        initrd.display()
    )
}

/// A definition that has nothing to boot from: its firmware waits for ever, which is enough for most of a life.
pub fn idle(name: &str, virt_type: &str) -> String {
    format!(
        "<domain type='{virt_type}'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <serial type='pty'/>
    <interface type='user'><model type='virtio'/></interface>
  </devices>
</domain>
"
    )
}
