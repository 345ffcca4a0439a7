//! Rows about a daemon's life: its start, and the memory it has while nothing happens.

use super::super::daemons::{Running, Side};
use super::super::wire::{Wire, procedure, words};
use crate::task::{Context, Result};
use std::time::{Duration, Instant};

/// KiB of a fresh daemon.
pub(super) fn memory(side: &Side) -> Result<f64> {
    let daemon = Running::start(&side.folder.join("idle"), &side.kind)?;
    let mut wire = Wire::open(&daemon.socket, "qemu:///system")?;
    wire.ask(procedure::CONNECT_LIST_ALL_DOMAINS, &words(&[1, 0]))?;
    drop(wire);
    std::thread::sleep(Duration::from_millis(500));
    let file = format!("/proc/{}/status", daemon.child.id());
    let status = std::fs::read_to_string(&file).context(|| file.clone())?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    kib.ok_or_else(|| format!("{file} says nothing of memory").into())
}

/// From the start of a daemon to its first list.
pub(super) fn start(side: &Side) -> Result<f64> {
    let begun = Instant::now();
    let daemon = Running::start(&side.folder.join("start"), &side.kind)?;
    let mut wire = Wire::open(&daemon.socket, "qemu:///system")?;
    wire.ask(procedure::CONNECT_LIST_ALL_DOMAINS, &words(&[1, 0]))?;
    Ok(begun.elapsed().as_secs_f64())
}
