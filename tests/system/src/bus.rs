//! A message bus of a test's own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A bus that ends with this value.
pub struct Bus {
    process: Child,
    address: String,
}

impl Bus {
    /// Starts one that lets everybody say everything.
    ///
    /// # Panics
    /// If there is no bus; a test asks for `need!(program "dbus-daemon")` before.
    #[track_caller]
    pub fn start() -> Self {
        let mut process = Command::new("dbus-daemon")
            .args(["--session", "--print-address", "--nofork", "--nosyslog"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a bus starts");
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out)
                .read_line(&mut line)
                .expect("the bus says where it is");
        }
        Self {
            process,
            address: line.trim().to_owned(),
        }
    }

    /// Where it is, for `DBUS_SYSTEM_BUS_ADDRESS` and the like.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
