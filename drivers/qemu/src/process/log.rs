//! The guest's log file: what was started when, what QEMU said, why it ended. Its lines look like libvirt's.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use virt_util::error::SystemResult as _;
use virt_util::{Result, VirtError};

/// Most bytes of QEMU's own words in an error.
const TAIL: usize = 1024;

/// Most bytes read back to find them.
const READ_BACK: u64 = 64 << 10;

/// Facts for the first line about a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartHeader {
    /// What starts it, `libvirt version: 11.3.0`.
    pub product: String,
    /// QEMU's version as major, minor, micro.
    pub qemu: (u32, u32, u32),
    /// What QEMU's packager calls it, empty or in parentheses.
    pub package: String,
    /// The kernel's release.
    pub kernel: String,
    /// The host's name.
    pub host: String,
}

/// A guest's log file, open for appending.
#[derive(Debug)]
pub struct GuestLog {
    path: PathBuf,
    file: File,
    /// Where what the present start has to say begins.
    mark: u64,
}

impl GuestLog {
    /// Opens the file, making it with mode 0600. A new start of an unprivileged driver empties it, since nobody
    /// rotates it there.
    pub fn open(path: &Path, truncate: bool) -> Result<Self> {
        let named = || format!("cannot make log '{}'", path.display());
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .or_system(named)?;
        if truncate {
            file.set_len(0)
                .or_system(|| format!("cannot empty log '{}'", path.display()))?;
        }
        let mark = file.seek(SeekFrom::End(0)).or_system(named)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            mark,
        })
    }

    /// The descriptor that QEMU writes to.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        self.file
            .try_clone()
            .map(OwnedFd::from)
            .or_system(|| format!("cannot duplicate the descriptor of {}", self.path.display()))
    }

    /// What is started, with its command line; what follows is what it says.
    pub fn starting_up(&mut self, header: &StartHeader, command_line: &str) -> Result<()> {
        let (major, minor, micro) = header.qemu;
        let line = format!(
            "{}: starting up {}, qemu version: {major}.{minor}.{micro}{}, kernel: {}, hostname: {}\n{}\n",
            timestamp(SystemTime::now()),
            header.product,
            header.package,
            header.kernel,
            header.host,
            command_line.trim_end_matches('\n')
        );
        self.append(&line)?;
        self.mark_position();
        Ok(())
    }

    /// One line with the time in front.
    pub fn line(&mut self, text: impl Display) -> Result<()> {
        self.append(&format!("{}: {text}\n", timestamp(SystemTime::now())))
    }

    /// Why it ends; `reason` is libvirt's word for it.
    pub fn shutting_down(&mut self, reason: &str) -> Result<()> {
        self.line(format_args!("shutting down, reason={reason}"))
    }

    fn append(&mut self, text: &str) -> Result<()> {
        self.file
            .write_all(text.as_bytes())
            .or_system(|| format!("cannot write log '{}'", self.path.display()))
    }

    /// What is written from now on is what [`GuestLog::said`] gives.
    pub fn mark_position(&mut self) {
        // The end of an append-only file; if it cannot be told, the old mark only shows too much.
        if let Ok(end) = self.file.seek(SeekFrom::End(0)) {
            self.mark = end;
        }
    }

    /// QEMU's last words since the mark, at most about 1 KiB, whole lines. Lines that are not complaints are left out.
    pub fn said(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.path)?;
            let length = file.seek(SeekFrom::End(0))?;
            let from = self.mark.max(length.saturating_sub(READ_BACK));
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(READ_BACK).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("char device redirected to"))
            .collect();
        let mut kept = 0;
        let mut from = lines.len();
        for (position, line) in lines.iter().enumerate().rev() {
            kept += line.len() + 1;
            if kept > TAIL && from < lines.len() {
                break;
            }
            from = position;
        }
        let mut said = lines.get(from..).unwrap_or(&[]).join("\n");
        if said.len() > TAIL {
            let cut = (0..=TAIL)
                .rev()
                .find(|at| said.is_char_boundary(*at))
                .unwrap_or(0);
            said.truncate(cut);
        }
        said
    }

    /// An error that `what` went wrong, with QEMU's last words.
    pub fn error(&self, what: &str) -> VirtError {
        match self.said().as_str() {
            "" => VirtError::internal(what),
            said => VirtError::internal(format_args!("{what}: {said}")),
        }
    }
}

/// `2024-05-31 08:15:30.123+0000`.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}+0000",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_millis()
    )
}

/// Year, month and day of a day counted from 1970-01-01, by the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day at the end; eras of 400 years have 146,097 days.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times() {
        let at = |seconds, millis| {
            timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
        };
        assert_eq!(at(0, 7), "1970-01-01 00:00:00.007+0000");
        assert_eq!(at(951_782_400, 0), "2000-02-29 00:00:00.000+0000");
        assert_eq!(at(1_234_567_890, 0), "2009-02-13 23:31:30.000+0000");
        assert_eq!(at(4_107_542_399, 999), "2100-02-28 23:59:59.999+0000");
    }

    #[test]
    fn what_was_said_since_the_start_is_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.log");
        std::fs::write(&path, "from an earlier life\n").unwrap();
        let mut log = GuestLog::open(&path, false).unwrap();
        let header = StartHeader {
            product: "libvirt version: 11.3.0".into(),
            qemu: (10, 0, 2),
            package: "Debian 1".into(),
            kernel: "6.1".into(),
            host: "here".into(),
        };
        log.starting_up(&header, "LC_ALL=C \\\n/usr/bin/qemu\n").unwrap();
        assert_eq!(log.said(), "");
        assert_eq!(log.error("process exited").detail(), "process exited");
        let mut qemu = File::from(log.descriptor().unwrap());
        qemu.write_all(b"char device redirected to /dev/pts/1\n").unwrap();
        for number in 0..100 {
            writeln!(qemu, "line {number:03} of many lines").unwrap();
        }
        writeln!(qemu, "qemu: cannot do it").unwrap();
        let said = log.said();
        assert!(
            said.starts_with("line ") && said.ends_with("\nqemu: cannot do it"),
            "{said}"
        );
        assert!(said.len() <= TAIL);
        log.shutting_down("crashed").unwrap();
        let all = std::fs::read_to_string(&path).unwrap();
        let line = all.lines().nth(1).unwrap();
        assert!(
            line.ends_with(
                ": starting up libvirt version: 11.3.0, qemu version: 10.0.2Debian 1, kernel: 6.1, hostname: here"
            ),
            "{line}"
        );
        assert!(all.trim_end().ends_with(": shutting down, reason=crashed"));
    }

    #[test]
    fn one_long_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.log");
        let log = GuestLog::open(&path, true).unwrap();
        File::from(log.descriptor().unwrap())
            .write_all("ä".repeat(5000).as_bytes())
            .unwrap();
        assert!(log.said().len() <= TAIL && !log.said().is_empty());
    }
}
