//! Rows about streams: bytes of channels and of volumes, in packets and by programs.

use super::super::daemons::{Kind, Side, serial};
use super::super::wire::{self, Wire, procedure, text, words};
use super::guests::{Begin, Guest};
use crate::task::{self, Context, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Where a stream flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Down,
    Up,
}

/// Bytes a second through a stream. Both daemons connect a channel's stream to the socket that the guest's process
/// listens on; once the guest runs, the bench listens there in its place, so that nothing but the daemon is between its
/// two ends.
pub(super) fn stream(side: &Side, way: Way) -> Result<f64> {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    // As much as the client's packets hold, and both ends stay until everything is there: stock libvirtd frees memory
    // twice when a guest's end is closed while it has something for it, and may lose what a guest sent before it left.
    const PIECE: usize = 4 * wire::CHUNK;
    const TOTAL: usize = 2048 * PIECE;
    let path = PathBuf::from(format!(
        "/tmp/virt-bench-channel-{}-{}",
        std::process::id(),
        serial()
    ));
    let mut wire = side.open("qemu:///system")?;
    let device = format!(
        "<channel type='unix'><source mode='bind' path='{}'/><target type='virtio' name='org.bench.0'/></channel>",
        path.display()
    );
    // What the guest computes would be taken from what is measured.
    let guest = Guest::start(&mut wire, &format!("stream-{}", serial()), &device, Begin::Paused)?;
    let measured = (|| {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).context(|| path.display().to_string())?;
        // The name is given, and no flags.
        let args = [
            guest.reference.clone(),
            words(&[1]),
            text("org.bench.0"),
            words(&[0]),
        ]
        .concat();
        wire.ask(procedure::DOMAIN_OPEN_CHANNEL, &args)?;
        let (mut end, _) = listener
            .accept()
            .context(|| "the daemon's connection".to_owned())?;
        // The guest's end is as QEMU's; the client's as each side's own client has it.
        if matches!(side.kind, Kind::Ours(_)) {
            wire.widen()?;
        }
        let begun = Instant::now();
        let other = std::thread::spawn(move || -> std::io::Result<UnixStream> {
            let mut chunk = vec![0x5a; PIECE];
            let mut moved = 0;
            while moved < TOTAL {
                moved += match way {
                    Way::Down => {
                        end.write_all(&chunk)?;
                        chunk.len()
                    }
                    Way::Up => match end.read(&mut chunk)? {
                        0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                        count => count,
                    },
                };
            }
            Ok(end)
        });
        match way {
            Way::Down => wire.receive_stream(TOTAL)?,
            Way::Up => wire.send_stream(procedure::DOMAIN_OPEN_CHANNEL, TOTAL)?,
        }
        let Ok(end) = other.join() else {
            return Err("the channel's other end panicked".into());
        };
        end.context(|| "the channel's other end".to_owned())?;
        Ok(TOTAL as f64 / begun.elapsed().as_secs_f64())
    })();
    drop(wire);
    guest.end();
    let _ = std::fs::remove_file(&path);
    measured
}

/// A file in memory that is a volume. Stock has it as one of a pool; ours has no pools yet, and takes a driver of the
/// tests that does nothing but open the file.
pub(super) struct Volume<'s> {
    side: &'s Side,
    folder: PathBuf,
}

impl<'s> Volume<'s> {
    const SIZE: usize = 4096 * wire::CHUNK;
    const POOL: &'static str = "bench";

    fn new(side: &'s Side) -> Result<Self> {
        let folder = PathBuf::from(format!("/dev/shm/virt-bench-{}-{}", std::process::id(), serial()));
        let volume = Self { side, folder };
        task::write(&volume.path(), vec![0x5a; Self::SIZE])?;
        if matches!(side.kind, Kind::Stock) {
            let xml = format!(
                "<pool type='dir'><name>{}</name><target><path>{}</path></target></pool>",
                Self::POOL,
                volume.folder.display()
            );
            volume.open()?.ask(
                procedure::STORAGE_POOL_CREATE_XML,
                &[text(&xml), words(&[0])].concat(),
            )?;
        }
        Ok(volume)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("volume")
    }

    /// Scheme and path of the URI.
    fn driver(&self) -> (&'static str, String) {
        match self.side.kind {
            Kind::Ours(_) => ("sleeper", self.folder.display().to_string()),
            Kind::Stock => ("qemu", "/system".to_owned()),
        }
    }

    fn open(&self) -> Result<Wire> {
        let (scheme, path) = self.driver();
        self.side.open(&format!("{scheme}://{path}"))
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        if matches!(self.side.kind, Kind::Stock)
            && let Ok(mut wire) = self.open()
        {
            // The next turn makes it anew, and its complaint would hide the first one.
            let found = wire.ask(procedure::STORAGE_POOL_LOOKUP_BY_NAME, &text(Self::POOL));
            let _ = found.and_then(|pool| wire.ask(procedure::STORAGE_POOL_DESTROY, &pool));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Bytes a second between a client and a file in memory.
pub(super) fn volume(side: &Side, way: Way) -> Result<f64> {
    let volume = Volume::new(side)?;
    let mut wire = volume.open()?;
    let path = volume.path().display().to_string();
    let reference = match side.kind {
        Kind::Ours(_) => [text(Volume::POOL), text("volume"), text(&path)].concat(),
        Kind::Stock => wire.ask(procedure::STORAGE_VOL_LOOKUP_BY_PATH, &text(&path))?,
    };
    // From the beginning, everything, no flags.
    let args = [reference, words(&[0, 0, 0, 0, 0])].concat();
    let procedure = match way {
        Way::Down => procedure::STORAGE_VOL_DOWNLOAD,
        Way::Up => procedure::STORAGE_VOL_UPLOAD,
    };
    let begun = Instant::now();
    wire.ask(procedure, &args)?;
    match way {
        Way::Down => wire.receive_stream(Volume::SIZE)?,
        Way::Up => {
            // As each side's own client has it.
            if matches!(side.kind, Kind::Ours(_)) {
                wire.widen()?;
            }
            wire.send_stream(procedure, Volume::SIZE)?;
            wire.finish_stream(procedure)?;
        }
    }
    Ok(Volume::SIZE as f64 / begun.elapsed().as_secs_f64())
}

/// The same by a program, which reads or writes a file of its own.
pub(super) fn own_volume(side: &Side, way: Way) -> Result<f64> {
    let volume = Volume::new(side)?;
    let file = match way {
        // What a file takes would hide what the stream takes.
        Way::Down => PathBuf::from("/dev/null"),
        Way::Up => volume.folder.join("file"),
    };
    if way == Way::Up {
        std::fs::copy(volume.path(), &file).context(|| file.display().to_string())?;
    }
    let (scheme, path) = volume.driver();
    let uri = format!(
        "{scheme}+unix://{path}?socket={}",
        side.daemon.borrow().socket.display()
    );
    let mut command = match &side.kind {
        Kind::Ours(prefix) => {
            let mut command = Command::new(task::root().join("target/release/volume-mover"));
            command
                .args([if way == Way::Up { "up" } else { "down" }, &uri])
                .env("VIRT_DRIVER_DIR", prefix.join("lib/virt/drivers"));
            command
        }
        Kind::Stock => {
            let mut command = Command::new("/usr/bin/virsh");
            let what = if way == Way::Up {
                "vol-upload"
            } else {
                "vol-download"
            };
            command.args(["-q", "-c", &uri, what]);
            command
        }
    };
    command.arg(volume.path()).arg(&file);
    let begun = Instant::now();
    let status = command
        .status()
        .context(|| command.get_program().display().to_string())?;
    let rate = Volume::SIZE as f64 / begun.elapsed().as_secs_f64();
    match status.success() {
        true => Ok(rate),
        false => Err(format!("{}: {status}", command.get_program().display()).into()),
    }
}
