//! Guests of the bench, and the row about one that is stuck.

use super::super::daemons::{Side, serial};
use super::super::wire::{Wire, procedure, text, words};
use crate::task::{Context, Result};
use std::time::{Duration, Instant};

/// A call that a stuck guest holds up is given up after so long.
pub(super) const STUCK: Duration = Duration::from_secs(5);

/// How a guest begins, as libvirt's flag.
#[derive(Clone, Copy)]
pub(super) enum Begin {
    Running = 0,
    Paused = 1,
}

/// A guest.
pub(super) struct Guest {
    name: String,
    /// Name, UUID and id in XDR.
    pub(super) reference: Vec<u8>,
}

impl Guest {
    pub(super) fn start(wire: &mut Wire, name: &str, device: &str, begin: Begin) -> Result<Self> {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{device}</devices></domain>"
        );
        let reference = wire.ask(
            procedure::DOMAIN_CREATE_XML,
            &[text(&xml), words(&[begin as u32])].concat(),
        )?;
        // Looked up once more, so that both daemons answer with the same.
        let reference = match wire.ask(procedure::DOMAIN_LOOKUP_BY_NAME, &text(name)) {
            Ok(found) => found,
            Err(_) => reference,
        };
        Ok(Self {
            name: name.to_owned(),
            reference,
        })
    }

    /// The process whose command line names the guest.
    fn pid(&self) -> Result<i32> {
        let needle = format!("guest={},", self.name);
        for entry in std::fs::read_dir("/proc")
            .context(|| "/proc".to_owned())?
            .flatten()
        {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok());
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if let Some(pid) = pid
                && String::from_utf8_lossy(&line).contains(&needle)
            {
                return Ok(pid);
            }
        }
        Err(format!("guest '{}' has no process", self.name).into())
    }

    /// Ends the process: the daemon may be stuck.
    pub(super) fn end(&self) {
        if let Ok(pid) = self.pid() {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// How long a healthy guest's information takes while a hundred clients ask for one whose process is stopped.
pub(super) fn stuck_guest(side: &Side) -> Result<f64> {
    use nix::sys::signal::{Signal, kill};
    let mut wire = side.open("qemu:///system")?;
    let guests = [
        // Each turn has guests of its own: the daemon may still be burying those of the last.
        Guest::start(&mut wire, &format!("stuck-{}", serial()), "", Begin::Running)?,
        Guest::start(&mut wire, &format!("healthy-{}", serial()), "", Begin::Running)?,
    ];
    let [stuck, healthy] = &guests;
    let pid = nix::unistd::Pid::from_raw(stuck.pid()?);
    kill(pid, Signal::SIGSTOP).context(|| "stopping a guest's process".to_owned())?;
    let measured = (|| {
        let mut askers = (0..100)
            .map(|_| side.open("qemu:///system"))
            .collect::<Result<Vec<_>>>()?;
        for asker in &mut askers {
            let mut out = Vec::new();
            // Statistics of the balloon have to be asked of the process.
            let args = [stuck.reference.clone(), words(&[16, 0])].concat();
            asker.push(&mut out, procedure::DOMAIN_MEMORY_STATS, &args);
            asker.send(&out)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        wire.patience(STUCK)?;
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            let answered = wire.call(procedure::DOMAIN_GET_INFO, &healthy.reference);
            times.push(begun.elapsed().as_secs_f64());
            if answered.is_err() {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times
            .get(times.len() * 99 / 100)
            .copied()
            .unwrap_or(STUCK.as_secs_f64()))
    })();
    let _ = kill(pid, Signal::SIGCONT);
    for guest in &guests {
        guest.end();
    }
    measured
}
