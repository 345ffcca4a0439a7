//! `bench rpc`: our daemon beside stock libvirtd, both on folders of their own, asked by one client that is nothing but
//! packets. The machine's own daemon is never touched.

mod calls;
mod guests;
mod life;
mod streams;

use super::daemons::{self, Kind, Side};
use super::{Options, median};
use crate::install;
use crate::task::{self, Outcome, Result};
use calls::{Large, connects, large, many_clients, null_calls, own_calls};
use guests::stuck_guest;
use life::{memory, start};
use streams::{Way, own_volume, stream, volume};

/// Something that is measured on both sides.
struct Row {
    name: &'static str,
    about: &'static str,
    /// How many times as good as stock it should be.
    goal: f64,
    unit: Unit,
    measure: fn(&Side) -> Result<f64>,
}

/// What a row's number is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Seconds: less is better.
    Time,
    /// Calls a second: more is better.
    Rate,
    /// Bytes a second: more is better.
    Bandwidth,
    /// KiB: less is better.
    Memory,
}

const ROWS: &[Row] = &[
    Row {
        name: "null-call",
        about: "a call that needs nothing, one client",
        goal: 3.0,
        unit: Unit::Time,
        measure: |side| Ok(null_calls(side)?.0),
    },
    Row {
        name: "null-call-p99",
        about: "the same, 99th percentile",
        goal: 2.0,
        unit: Unit::Time,
        measure: |side| Ok(null_calls(side)?.1),
    },
    Row {
        name: "null-call-64",
        about: "the same from 64 clients, calls a second",
        goal: 4.0,
        unit: Unit::Rate,
        measure: many_clients,
    },
    Row {
        name: "own-call",
        about: "domid in virsh, each daemon asked by its own",
        goal: 3.0,
        unit: Unit::Time,
        measure: own_calls,
    },
    Row {
        name: "connect",
        about: "connect, authenticate, open qemu:///system, close; each as its own client does it",
        goal: 4.0,
        unit: Unit::Time,
        measure: connects,
    },
    Row {
        name: "list-10000",
        about: "list 10,000 domains of the test driver",
        goal: 5.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::List)?.0),
    },
    Row {
        name: "list-10000-p99",
        about: "the same, 99th percentile",
        goal: 2.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::List)?.1),
    },
    Row {
        name: "stats-10000",
        about: "states of 10,000 domains of the test driver as bulk statistics",
        goal: 5.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::Stats)?.0),
    },
    Row {
        name: "stats-10000-p99",
        about: "the same, 99th percentile",
        goal: 2.0,
        unit: Unit::Time,
        measure: |side| Ok(large(side, Large::Stats)?.1),
    },
    Row {
        name: "idle-memory",
        about: "resident memory of a daemon that has served one client",
        goal: 2.0,
        unit: Unit::Memory,
        measure: memory,
    },
    Row {
        name: "start",
        about: "from start to the first list of guests",
        goal: 5.0,
        unit: Unit::Time,
        measure: start,
    },
    Row {
        name: "stream-down",
        about: "bytes from a channel of a guest to a client (a socket of the bench stands for the guest's end)",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| stream(side, Way::Down),
    },
    Row {
        name: "stream-up",
        about: "the same from a client to the guest",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| stream(side, Way::Up),
    },
    Row {
        name: "volume-down",
        about: "bytes from a file in memory to a client, as a volume's download",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| volume(side, Way::Down),
    },
    Row {
        name: "volume-up",
        about: "the same from a client into the file",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| volume(side, Way::Up),
    },
    Row {
        name: "own-volume-down",
        about: "the same to /dev/null, by a program of each side: stock's is virsh",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| own_volume(side, Way::Down),
    },
    Row {
        name: "own-volume-up",
        about: "the same from a file into the volume",
        goal: 3.0,
        unit: Unit::Bandwidth,
        measure: |side| own_volume(side, Way::Up),
    },
    Row {
        name: "stuck-guest-p99",
        about: "dominfo of a healthy guest beside 100 clients that ask a stuck one (5 s: no answer)",
        goal: 2.0,
        unit: Unit::Time,
        measure: stuck_guest,
    },
];

/// The names of the rows.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// Builds, starts both daemons, measures, prints.
pub(super) fn run(options: &Options) -> Result<Outcome> {
    let only: Vec<&String> = options.rows.iter().filter(|name| *name != "rpc").collect();
    let folder = task::root().join("target/bench");
    if !options.built {
        install::into(&folder, options.debug)?;
    }
    daemons::add_volumes(&folder, options.debug)?;
    let work = folder.join("rpc");
    let ours = Side::new(work.join("ours"), Kind::Ours(folder.clone()))?;
    let stock = match Kind::stock() {
        Ok(_) if options.alone => None,
        Ok(kind) => Some(Side::new(work.join("stock"), kind)?),
        Err(reason) => {
            println!("{reason}: nothing is compared");
            None
        }
    };
    if options.debug {
        println!("this is a build for work in the tree: its numbers are not those that are promised");
    }
    println!(
        "\n{:<16} {:>12} {:>12} {:>8} {:>6}  what",
        "row", "ours", "stock", "ratio", "goal"
    );
    let mut good = true;
    for row in ROWS
        .iter()
        .filter(|row| only.is_empty() || only.iter().any(|name| *name == row.name))
    {
        good &= row.compare(&ours, stock.as_ref(), options.turns)?;
    }
    Ok(Outcome::passed_if(good))
}

impl Row {
    /// Measures both sides in turn and prints the medians. False if ours cannot do it.
    fn compare(&self, ours: &Side, stock: Option<&Side>, turns: usize) -> Result<bool> {
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        let mut complaint = None;
        let mut good = true;
        // These rows do many calls in each turn.
        for _ in 0..turns.clamp(1, 5) {
            good &= !ours.revive()?;
            if let Some(side) = stock {
                side.revive()?;
            }
            match (self.measure)(ours) {
                Ok(value) => own.push(value),
                Err(failure) => {
                    println!("{:<16} {:>12}  {}: {failure}", self.name, "failed", self.about);
                    return Ok(false);
                }
            }
            if let Some(side) = stock
                && complaint.is_none()
            {
                match (self.measure)(side) {
                    Ok(value) => theirs.push(value),
                    Err(failure) => complaint = Some(failure),
                }
            }
        }
        if let Some(failure) = complaint {
            println!("{}: stock libvirtd cannot do this row here: {failure}", self.name);
        }
        let (own, theirs) = (median(&mut own), median(&mut theirs));
        let ratio = match (own, theirs) {
            (Some(own), Some(theirs))
                if matches!(self.unit, Unit::Rate | Unit::Bandwidth) && theirs > 0.0 =>
            {
                format!("{:.1}x", own / theirs)
            }
            (Some(own), Some(theirs)) if own > 0.0 => format!("{:.1}x", theirs / own),
            _ => "not compared".to_owned(),
        };
        let value = |value: Option<f64>| value.map(|value| self.unit.show(value)).unwrap_or_default();
        println!(
            "{:<16} {:>12} {:>12} {ratio:>8} {:>6}  {}",
            self.name,
            value(own),
            value(theirs),
            format!("{}x", self.goal),
            self.about
        );
        Ok(good)
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time => super::Unit::Seconds.show(value),
            Self::Rate => format!("{value:.0}/s"),
            Self::Bandwidth => format!("{:.2} GiB/s", value / f64::from(1 << 30)),
            Self::Memory => format!("{:.1} MiB", value / 1024.0),
        }
    }
}
