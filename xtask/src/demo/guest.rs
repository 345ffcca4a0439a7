//! A guest of 512 bytes: a boot sector that talks on the serial port and knows when to stop.
//!
//! It says hello, then ticks once a second, gives back every character it is sent, and switches the machine off when
//! its power button is pressed (ACPI) or it is sent a `q`. It needs nothing but a PC's BIOS: SeaBIOS puts the ACPI
//! registers of both PC machines (`pc` and `q35`) at port 0x600.

/// What it says first.
pub const HELLO: &str = "Hello from a guest that cargo xtask made.";
/// What it says once a second.
pub const TICK: &str = "tick";
/// What it says before it switches the machine off.
pub const GOODBYE: &str = "Power button pressed: switching off.";

/// Bytes in the image. A boot sector alone would do; some disk models want more than one sector.
const IMAGE: usize = 1024 * 1024;

/// Ticks of the PC's timer in about a second.
const SECOND: u16 = 18;

/// The serial port's data register, and its status.
const DATA: u16 = 0x3f8;
const STATUS: u16 = 0x3fd;
/// ACPI's event status, event enable and control registers.
const EVENT_STATUS: u16 = 0x600;
const EVENT_ENABLE: u16 = 0x602;
const CONTROL: u16 = 0x604;
/// The power button's bit in the first two.
const POWER_BUTTON: u16 = 1 << 8;
/// Sleep now, into the state that QEMU's tables call S5.
const SWITCH_OFF: u16 = 1 << 13;

/// The disk image.
pub fn image() -> Vec<u8> {
    let mut image = boot_sector();
    image.resize(IMAGE, 0);
    image
}

/// The boot sector: the program, zeros, and the mark that makes it bootable.
fn boot_sector() -> Vec<u8> {
    let mut sector = program();
    assert!(
        sector.len() <= 510,
        "the program has {} bytes, 510 is all there is",
        sector.len()
    );
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// The program, in the instructions of a 16-bit PC. The BIOS loads it to 0x7c00.
fn program() -> Vec<u8> {
    let mut a = Assembler::default();
    a.emit(&[0x31, 0xc0]); // xor ax, ax
    a.emit(&[0x8e, 0xd8]); // mov ds, ax
    a.emit(&[0x8e, 0xd0]); // mov ss, ax
    a.emit(&[0xbc, 0x00, 0x7c]); // mov sp, 0x7c00
    a.emit(&[0xfc, 0xfb]); // cld; sti
    a.print("hello");
    a.port(EVENT_ENABLE);
    a.value(POWER_BUTTON);
    a.emit(&[0xef]); // out dx, ax
    a.emit(&[0xbd]).emit(&SECOND.to_le_bytes()); // mov bp, SECOND

    a.label("wait");
    a.emit(&[0xf4]); // hlt: until the next tick of the timer
    a.port(EVENT_STATUS);
    a.emit(&[0xed]); // in ax, dx
    a.emit(&[0xf6, 0xc4, (POWER_BUTTON >> 8) as u8]); // test ah, the button's bit
    a.jump(0x75, "off"); // jnz
    a.emit(&[0x4d]); // dec bp
    a.jump(0x75, "read"); // jnz
    a.emit(&[0xbd]).emit(&SECOND.to_le_bytes());
    a.print("tick");

    a.label("read");
    a.port(STATUS);
    a.emit(&[0xec, 0xa8, 0x01]); // in al, dx; test al, received
    a.jump(0x74, "wait"); // jz
    a.port(DATA);
    a.emit(&[0xec, 0x3c, b'q']); // in al, dx; cmp al, 'q'
    a.jump(0x74, "off"); // je
    a.call("put");
    a.jump(0xeb, "read"); // jmp

    a.label("off");
    a.print("goodbye");
    a.port(CONTROL);
    a.value(SWITCH_OFF);
    a.emit(&[0xef]); // out dx, ax
    a.label("stopped");
    a.emit(&[0xf4]); // hlt
    a.jump(0xeb, "stopped");

    a.label("print"); // the text at si, up to a zero
    a.emit(&[0xac, 0x84, 0xc0]); // lodsb; test al, al
    a.jump(0x74, "printed"); // jz
    a.call("put");
    a.jump(0xeb, "print");
    a.label("printed");
    a.emit(&[0xc3]); // ret

    a.label("put"); // the character in al, once the port takes it
    a.emit(&[0x50]); // push ax
    a.port(STATUS);
    a.label("busy");
    a.emit(&[0xec, 0xa8, 0x20]); // in al, dx; test al, empty
    a.jump(0x74, "busy"); // jz
    a.emit(&[0x58]); // pop ax
    a.port(DATA);
    a.emit(&[0xee, 0xc3]); // out dx, al; ret

    for (label, text) in [("hello", HELLO), ("tick", TICK), ("goodbye", GOODBYE)] {
        a.label(label);
        a.emit(text.as_bytes()).emit(b"\r\n\0");
    }
    a.finish()
}

/// Where the BIOS puts the program.
const ORIGIN: u16 = 0x7c00;

/// How a place is filled in once its label is known.
#[derive(Clone, Copy)]
enum Fixup {
    /// One byte, counted from its end.
    Near,
    /// Two bytes, counted from their end.
    Far,
    /// Two bytes, the address.
    Address,
}

/// Collects instructions; labels may be used before they are set.
#[derive(Default)]
struct Assembler {
    code: Vec<u8>,
    labels: Vec<(&'static str, usize)>,
    fixups: Vec<(usize, Fixup, &'static str)>,
}

impl Assembler {
    fn emit(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend(bytes);
        self
    }

    fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.code.len()));
    }

    fn fixup(&mut self, fixup: Fixup, label: &'static str) {
        self.fixups.push((self.code.len(), fixup, label));
        let width = if matches!(fixup, Fixup::Near) { 1 } else { 2 };
        self.code.extend([0; 2].iter().take(width));
    }

    /// A jump with a one-byte distance.
    fn jump(&mut self, opcode: u8, label: &'static str) {
        self.emit(&[opcode]).fixup(Fixup::Near, label);
    }

    /// call label
    fn call(&mut self, label: &'static str) {
        self.emit(&[0xe8]).fixup(Fixup::Far, label);
    }

    /// mov si, text; call print
    fn print(&mut self, text: &'static str) {
        self.emit(&[0xbe]).fixup(Fixup::Address, text);
        self.call("print");
    }

    /// mov dx, port
    fn port(&mut self, port: u16) {
        self.emit(&[0xba]).emit(&port.to_le_bytes());
    }

    /// mov ax, value
    fn value(&mut self, value: u16) {
        self.emit(&[0xb8]).emit(&value.to_le_bytes());
    }

    /// The program, with all labels filled in. A label that is missing or too far is a mistake in this file.
    fn finish(mut self) -> Vec<u8> {
        for (at, fixup, label) in &self.fixups {
            let found = self.labels.iter().find(|(name, _)| name == label);
            let target = found.map(|(_, target)| *target).expect("every label is set");
            let distance = |width: usize| target as isize - (at + width) as isize;
            let bytes = match fixup {
                Fixup::Near => vec![i8::try_from(distance(1)).expect("a near jump is near") as u8],
                Fixup::Far => (distance(2) as i16).to_le_bytes().to_vec(),
                Fixup::Address => (ORIGIN + target as u16).to_le_bytes().to_vec(),
            };
            self.code.splice(*at..*at + bytes.len(), bytes);
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::{GOODBYE, HELLO, TICK, boot_sector, image};
    use crate::task;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    #[test]
    fn the_sector_is_bootable_and_the_image_holds_it() {
        let sector = boot_sector();
        assert_eq!(sector.len(), 512);
        assert!(sector.ends_with(&[0x55, 0xaa]));
        assert!(image().starts_with(&sector));
        assert_eq!(image().len() % 512, 0);
    }

    /// Boots it on both PC machines without any of our code: what it says, its echo, and both ways to its end.
    #[test]
    fn it_boots_on_qemu() {
        let Some(qemu) = task::find_program("qemu-system-x86_64") else {
            println!("skipped: program qemu-system-x86_64 is not installed");
            return;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = folder.path().join("disk.img");
        std::fs::write(&disk, image()).expect("the image");
        for (machine, by_button) in [("pc", true), ("q35", false)] {
            let monitor = folder.path().join(format!("{machine}.monitor"));
            let mut child = Command::new(&qemu)
                .args(["-nodefaults", "-display", "none", "-m", "16", "-machine"])
                .arg(format!("{machine},accel=tcg"))
                .arg("-drive")
                .arg(format!("file={},format=raw,if=ide", disk.display()))
                .args(["-serial", "stdio", "-monitor"])
                .arg(format!("unix:{},server=on,wait=off", monitor.display()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("QEMU starts");
            let mut input = child.stdin.take().expect("a serial port to write to");
            let output = child.stdout.take().expect("a serial port to read from");
            let lines: Vec<String> = {
                let mut heard = Vec::new();
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let line = line.trim_end().to_owned();
                    // The second tick: by now it is in its loop for sure.
                    let ticks = heard
                        .iter()
                        .filter(|heard: &&String| heard.contains(TICK))
                        .count();
                    if line.contains(TICK) && ticks == 1 {
                        if by_button {
                            let mut monitor =
                                std::os::unix::net::UnixStream::connect(&monitor).expect("the monitor");
                            monitor.write_all(b"system_powerdown\n").expect("the button");
                            // Closed only after it was read: QEMU answers with a prompt.
                            std::thread::sleep(std::time::Duration::from_millis(300));
                        } else {
                            input.write_all(b"xyzq").expect("characters");
                            input.flush().expect("characters");
                        }
                    }
                    heard.push(line);
                    if heard.len() > 60 {
                        child.kill().expect("QEMU is still there");
                        break;
                    }
                }
                heard
            };
            let status = child.wait().expect("QEMU ends");
            let text = lines.join("\n");
            assert!(status.success(), "{machine}: {status}: {text}");
            assert!(
                text.contains(HELLO) && text.contains(GOODBYE),
                "{machine}: {text}"
            );
            assert!(by_button || text.contains("xyz"), "{machine}: {text}");
        }
    }
}
