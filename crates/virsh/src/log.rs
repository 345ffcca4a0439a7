//! The log that `-l` writes.

use crate::shell::Level;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// A log file, or nothing.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    program: String,
}

impl Log {
    /// Writes nowhere.
    pub const fn none() -> Self {
        Self {
            file: None,
            program: String::new(),
        }
    }

    /// Appends to the file at `path`, which is made if need be.
    pub fn open(path: &str, program: &str) -> Result<Self, String> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(nix::fcntl::OFlag::O_SYNC.bits())
            .open(path)
            .map_err(|_| "failed to open the log file. check the log file path".to_owned())?;
        Ok(Self {
            file: Some(file),
            program: program.to_owned(),
        })
    }

    /// Appends a line. A log that cannot be written is closed.
    pub fn write(&mut self, level: Level, text: &str) {
        let Some(file) = &mut self.file else { return };
        let label = match level {
            Level::Debug => "DEBUG",
            Level::Info | Level::Notice => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        };
        let now = jiff::Zoned::now().strftime("%Y.%m.%d %H:%M:%S").to_string();
        let pid = std::process::id();
        let line = format!(
            "[{now} {} {pid}] {label} {}\n",
            self.program,
            text.trim_end_matches('\n')
        );
        if file.write_all(line.as_bytes()).is_err() {
            self.file = None;
            eprintln!("error: failed to write the log file");
        }
    }
}
