//! Rows about calls: how long one takes, how many there are in a second, and what they cost a program.

use super::super::daemons::{Kind, Side};
use super::super::rows;
use super::super::wire::{Wire, open_args, procedure, words};
use crate::task::{Context, Result};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Mean and 99th percentile of a null call.
pub(super) fn null_calls(side: &Side) -> Result<(f64, f64)> {
    let mut wire = side.open("qemu:///system")?;
    for _ in 0..200 {
        wire.ask(procedure::CONNECT_GET_TYPE, &[])?;
    }
    let mut times = Vec::with_capacity(5000);
    for _ in 0..5000 {
        let begun = Instant::now();
        wire.ask(procedure::CONNECT_GET_TYPE, &[])?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(spread(times))
}

/// Calls a second from 64 clients, which are one thread here: each answer is followed by the next call.
pub(super) fn many_clients(side: &Side) -> Result<f64> {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 150;
    let mut wires = (0..CLIENTS)
        .map(|_| side.open("qemu:///system"))
        .collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        for wire in &mut wires {
            let mut out = Vec::with_capacity(28);
            wire.push(&mut out, procedure::CONNECT_GET_TYPE, &[]);
            wire.send(&out)?;
        }
        for wire in &mut wires {
            if !wire.receive()?.well {
                return Err("a null call failed".into());
            }
        }
    }
    Ok((CLIENTS * ROUNDS) as f64 / begun.elapsed().as_secs_f64())
}

/// What a command costs that is a call or two, in a `virsh` that goes on running.
pub(super) fn own_calls(side: &Side) -> Result<f64> {
    const COMMANDS: usize = 2000;
    let program = match &side.kind {
        Kind::Ours(prefix) => prefix.join("bin/virsh"),
        Kind::Stock => PathBuf::from("/usr/bin/virsh"),
    };
    let uri = format!(
        "test+unix:///default?socket={}",
        side.daemon.borrow().socket.display()
    );
    let run = |commands: usize| -> Result<f64> {
        let begun = Instant::now();
        let mut shell = Command::new(&program)
            .args(["-q", "-c", &uri])
            .env_remove("VIRT_DRIVER_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context(|| program.display().to_string())?;
        if let Some(mut input) = shell.stdin.take() {
            let script = "domid test\n".repeat(commands);
            input
                .write_all(script.as_bytes())
                .context(|| "virsh's input".to_owned())?;
        }
        let status = shell.wait().context(|| program.display().to_string())?;
        match status.success() {
            true => Ok(begun.elapsed().as_secs_f64()),
            false => Err(format!("{}: {status}", program.display()).into()),
        }
    };
    // What start and end take is in both.
    let few = run(COMMANDS / 10)?;
    Ok((run(COMMANDS + COMMANDS / 10)? - few) / COMMANDS as f64)
}

/// One client from connect to close. libvirt's own asks one thing after the other; ours asks a daemon that it knows for
/// all at once.
pub(super) fn connects(side: &Side) -> Result<f64> {
    const ROUNDS: u32 = 100;
    let calls = [
        (procedure::AUTH_LIST, Vec::new()),
        // The feature is keepalive.
        (procedure::CONNECT_SUPPORTS_FEATURE, words(&[10])),
        (procedure::CONNECT_OPEN, open_args("qemu:///system")),
        (procedure::CONNECT_GET_URI, Vec::new()),
    ];
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let mut wire = Wire::connect(&side.daemon.borrow().socket)?;
        match side.kind {
            Kind::Ours(_) => {
                let mut out = Vec::new();
                for (procedure, args) in &calls {
                    wire.push(&mut out, *procedure, args);
                }
                wire.send(&out)?;
                for _ in &calls {
                    if !wire.receive()?.well {
                        return Err("a call of the handshake failed".into());
                    }
                }
            }
            Kind::Stock => {
                for (procedure, args) in &calls {
                    wire.ask(*procedure, args)?;
                }
            }
        }
        wire.ask(procedure::CONNECT_CLOSE, &[])?;
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(ROUNDS))
}

/// What is asked about many domains.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Large {
    List,
    Stats,
}

/// Mean and 99th percentile.
pub(super) fn large(side: &Side, what: Large) -> Result<(f64, f64)> {
    const CALLS: usize = 50;
    let uri = rows::ten_thousand(side.folder.parent().unwrap_or(&side.folder))?;
    let mut wire = side.open(&uri)?;
    let (number, args) = match what {
        Large::List => (procedure::CONNECT_LIST_ALL_DOMAINS, words(&[1, 0])),
        Large::Stats => (procedure::CONNECT_GET_ALL_DOMAIN_STATS, words(&[0, 1, 0])),
    };
    wire.ask(number, &args)?;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begun = Instant::now();
        let reply = wire.ask(number, &args)?;
        times.push(begun.elapsed().as_secs_f64());
        if reply.len() < 10_000 * 24 {
            return Err(format!("only {} bytes for 10,000 domains", reply.len()).into());
        }
    }
    Ok(spread(times))
}

/// Mean and 99th percentile.
pub(super) fn spread(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    (mean, times.get(times.len() * 99 / 100).copied().unwrap_or(mean))
}
