//! `bench`: our numbers beside those of stock libvirt, in one run.
//!
//! A row of [`rows::ROWS`] is a task that both sides do. They take turns, so that whatever else the machine does hits
//! both; the median of each is compared. Where stock libvirt is not installed a row says *not compared*, and counts as
//! nothing.

use crate::install;
use crate::task::{self, Context, Outcome, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod rows;

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Options {
    /// Only these rows
    rows: Vec<String>,
    /// How many turns each side has
    #[arg(long, value_name = "N", default_value_t = 15)]
    turns: usize,
    /// Use a build for work in the tree: quick to make, and not what is promised
    #[arg(long)]
    debug: bool,
}

/// Something that can be timed on both sides.
struct Row {
    /// What the user names it by.
    name: &'static str,
    /// What is done.
    about: &'static str,
    /// How many times as fast as stock it should be.
    goal: f64,
    /// What is run, and how many units of work it holds.
    work: Work,
}

/// What a row runs.
enum Work {
    /// One virsh from start to exit.
    Process(&'static [&'static str]),
    /// A long virsh script, of which an empty one is subtracted: the connection's URI, and the script for a number of
    /// rounds.
    Script {
        uri: fn(&Path) -> Result<String>,
        rounds: usize,
        script: fn(&Path, usize) -> Result<String>,
    },
    /// One virsh that opens this URI, of which one that opens `test:///default` is subtracted.
    Open(fn(&Path) -> Result<String>),
}

/// One of the two that are compared.
struct Side {
    virsh: PathBuf,
    drivers: Option<PathBuf>,
}

/// Builds, measures, prints.
pub fn run(options: &Options) -> Result<Outcome> {
    let chosen: Vec<&Row> = rows::ROWS
        .iter()
        .filter(|row| options.rows.is_empty() || options.rows.iter().any(|n| n == row.name))
        .collect();
    if let Some(unknown) = options
        .rows
        .iter()
        .find(|name| rows::ROWS.iter().all(|row| row.name != name.as_str()))
    {
        let known: Vec<&str> = rows::ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row '{unknown}'; there are {}", known.join(" ")).into());
    }
    let folder = task::root().join("target/bench");
    install::into(&folder, options.debug)?;
    let ours = Side {
        virsh: folder.join("bin/virsh"),
        drivers: Some(folder.join("lib/virt/drivers")),
    };
    let stock = stock();
    match &stock {
        Some((_, version)) => println!("compared with stock libvirt {version}"),
        None => println!("stock virsh is not installed (Debian: libvirt-clients): nothing is compared"),
    }
    if options.debug {
        println!("this is a build for work in the tree: its numbers are not those that are promised");
    }

    println!(
        "\n{:<16} {:>12} {:>12} {:>8} {:>6}  what",
        "row", "ours", "stock", "ratio", "goal"
    );
    let mut good = true;
    for row in chosen {
        good &= measure(
            row,
            &ours,
            stock.as_ref().map(|(side, _)| side),
            options.turns,
            &folder,
        )?;
    }
    Ok(Outcome::passed_if(good))
}

/// Stock virsh and its version.
fn stock() -> Option<(Side, String)> {
    let virsh = PathBuf::from("/usr/bin/virsh");
    let out = Command::new(&virsh).arg("--version").output().ok()?;
    let version = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    Some((Side { virsh, drivers: None }, version))
}

/// Measures a row and prints it. False if our side cannot do it.
fn measure(row: &Row, ours: &Side, stock: Option<&Side>, turns: usize, folder: &Path) -> Result<bool> {
    let (mut our_times, mut stock_times) = (Vec::new(), Vec::new());
    for _ in 0..turns.max(1) {
        match row.work.time(ours, folder) {
            Ok(time) => our_times.push(time),
            Err(failure) => {
                println!(
                    "{:<16} {:>12} {:>12} {:>8} {:>6}  {}: {failure}",
                    row.name, "failed", "", "", row.goal, row.about
                );
                return Ok(false);
            }
        }
        if let Some(side) = stock {
            stock_times.extend(row.work.time(side, folder).ok());
        }
    }
    let our_time = median(&mut our_times);
    let (theirs, ratio) = match median(&mut stock_times) {
        Some(theirs) => {
            let ratio = our_time
                .filter(|t| !t.is_zero())
                .map_or(0.0, |t| theirs.as_secs_f64() / t.as_secs_f64());
            (show(theirs), format!("{ratio:.1}x"))
        }
        None => ("".to_owned(), "not compared".to_owned()),
    };
    println!(
        "{:<16} {:>12} {theirs:>12} {ratio:>8} {:>6}  {}",
        row.name,
        our_time.map(show).unwrap_or_default(),
        format!("{}x", row.goal),
        row.about
    );
    Ok(true)
}

impl Work {
    /// Does it once.
    fn time(&self, side: &Side, folder: &Path) -> Result<Duration> {
        match self {
            Self::Process(words) => side.time(words),
            Self::Script { uri, rounds, script } => {
                let uri = uri(folder)?;
                let empty = side.time(&["-q", "-c", &uri, &script(folder, 0)?])?;
                let full = side.time(&["-q", "-c", &uri, &script(folder, *rounds)?])?;
                Ok(full.saturating_sub(empty) / u32::try_from(*rounds).unwrap_or(u32::MAX).max(1))
            }
            Self::Open(uri) => {
                let uri = uri(folder)?;
                let small = side.time(&["-q", "-c", "test:///default", "uri"])?;
                Ok(side.time(&["-q", "-c", &uri, "uri"])?.saturating_sub(small))
            }
        }
    }
}

impl Side {
    /// Runs virsh from start to exit.
    fn time(&self, words: &[&str]) -> Result<Duration> {
        let mut command = Command::new(&self.virsh);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
            .env_remove("VIRT_DRIVER_DIR")
            .envs(self.drivers.iter().map(|folder| ("VIRT_DRIVER_DIR", folder)));
        let started = Instant::now();
        let child = command.spawn().context(|| self.virsh.display().to_string())?;
        let out = child
            .wait_with_output()
            .context(|| self.virsh.display().to_string())?;
        let time = started.elapsed();
        if out.status.success() {
            return Ok(time);
        }
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(text.lines().last().unwrap_or("virsh failed").into())
    }
}

/// The middle one.
fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}

/// A duration as people write it.
fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        0.0..1_000.0 => format!("{micros:.1} us"),
        1_000.0..1_000_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::{median, show};
    use std::time::Duration;

    #[test]
    fn the_median_is_one_of_them() {
        let mut times = [5, 1, 9].map(Duration::from_millis);
        assert_eq!(median(&mut times), Some(Duration::from_millis(5)));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(show(Duration::from_nanos(12_340)), "12.3 us");
        assert_eq!(show(Duration::from_millis(12)), "12.00 ms");
        assert_eq!(show(Duration::from_secs(2)), "2.00 s");
    }
}
