//! `bench`: our numbers beside those of stock libvirt, in one run.
//!
//! A row of [`rows::ROWS`] is a task that both sides do. They take turns, so that whatever else the machine does hits
//! both; the median of each is compared. Where stock libvirt is not installed a row says *not compared*, and counts as
//! nothing.

use crate::install;
use crate::task::{self, Context, Outcome, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod daemons;
mod rows;
mod rpc;
mod wire;

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Options {
    /// Only these rows; `rpc` is all that concern the daemon, `conf` all that concern definitions
    rows: Vec<String>,
    /// How many turns each side has
    #[arg(long, value_name = "N", default_value_t = 15)]
    turns: usize,
    /// Use a build for work in the tree: quick to make, and not what is promised
    #[arg(long)]
    debug: bool,
    /// Measure what an earlier run has built
    #[arg(long)]
    built: bool,
    /// Leave stock libvirt out
    #[arg(long)]
    alone: bool,
}

/// Something that can be timed on both sides.
struct Row {
    /// What the user names it by.
    name: &'static str,
    /// What is done.
    about: &'static str,
    /// What is promised.
    goal: Goal,
    /// What is run, and how many units of work it holds.
    work: Work,
}

/// What is promised of a row.
#[derive(Clone, Copy)]
enum Goal {
    /// Stock takes at least so many times as much.
    Times(f64),
    /// We take at most so much, whatever stock takes.
    AtMost(f64),
}

/// What a row's numbers count.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Seconds,
    Bytes,
    /// How many times one is the other.
    Ratio,
}

/// What a row runs.
enum Work {
    /// One virsh from start to exit.
    Process(&'static [&'static str]),
    /// Commands that one virsh is given so many times, and which of them is timed, by its own clock (`--timing`).
    Commands {
        uri: fn(&Path) -> Result<String>,
        rounds: usize,
        script: fn(&Path) -> Result<Script>,
    },
    /// What a document costs inside one process: our `measure` example beside stock's Python binding.
    Model {
        /// What `measure` is told.
        what: &'static str,
        rounds: usize,
        document: fn(&Path) -> Result<String>,
    },
    /// One virsh that lists what is at the first URI, of which one that lists the second is subtracted.
    Open {
        full: fn(&Path) -> Result<String>,
        empty: fn(&Path) -> Result<String>,
    },
    /// The memory of a virsh that has so many objects in its process, of which one that has none is subtracted: for each.
    Memory {
        full: fn(&Path) -> Result<String>,
        empty: fn(&Path) -> Result<String>,
        objects: usize,
    },
    /// How much longer one document takes than another of half its size.
    Growth {
        large: fn(&Path) -> Result<String>,
        small: fn(&Path) -> Result<String>,
        rounds: usize,
    },
    /// Bytes that a kept document takes for each of its own; stock cannot tell.
    Kept {
        rounds: usize,
        document: fn(&Path) -> Result<String>,
    },
    /// The processor's time for one package of ours, built for release; stock has nothing to compare.
    Build { package: &'static str },
}

/// What one virsh is told.
struct Script {
    /// Said once, untimed.
    before: Vec<String>,
    /// Said in every round.
    round: Vec<String>,
    /// Which of the round's commands count.
    timed: &'static [usize],
    /// Said once at the end, untimed.
    after: Vec<String>,
    /// What the same work takes without any library, subtracted from both sides.
    bare: fn(&Path) -> Result<Duration>,
}

/// One of the two that are compared.
struct Side {
    /// Where its files are.
    folder: PathBuf,
    virsh: PathBuf,
    drivers: Option<PathBuf>,
    /// The example that measures our model.
    measure: Option<PathBuf>,
}

/// What `measure` does, with stock libvirt: a definition that is replaced again and again is parsed and completed.
const STOCK_MODEL: &str = "
import libvirt, sys, time
what, document, rounds = sys.argv[1], open(sys.argv[2]).read(), int(sys.argv[3])
connection = libvirt.open('test:///default')
domain = connection.defineXML(document)
work = {'parse': lambda: connection.defineXML(document), 'format': lambda: domain.XMLDesc(0)}[what]
started = time.perf_counter()
for _ in range(rounds):
    work()
print((time.perf_counter() - started) * 1e6 / rounds)
";

/// Builds, measures, prints.
pub fn run(options: &Options) -> Result<Outcome> {
    // Rows of the daemon are measured by themselves.
    let is_rpc = |name: &str| name == "rpc" || rpc::names().any(|row| row == name);
    if !options.rows.is_empty() && options.rows.iter().all(|name| is_rpc(name)) {
        return rpc::run(options);
    }
    let chosen: Vec<&Row> = rows::ROWS
        .iter()
        .filter(|row| options.rows.is_empty() || options.rows.iter().any(|name| row.is_called(name)))
        .collect();
    if let Some(unknown) = options
        .rows
        .iter()
        .find(|name| rows::ROWS.iter().all(|row| !row.is_called(name)))
    {
        let known: Vec<&str> = rows::ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row '{unknown}'; there are {}", known.join(" ")).into());
    }
    let folder = task::root().join("target/bench");
    if !options.built && chosen.iter().any(|row| row.work.needs_installation()) {
        install::into(&folder, options.debug)?;
    }
    let measures = chosen.iter().any(|row| row.work.needs_example());
    let ours = Side {
        folder: folder.join("ours"),
        virsh: folder.join("bin/virsh"),
        drivers: Some(folder.join("lib/virt/drivers")),
        measure: match measures {
            true => Some(measure_example(options.debug)?),
            false => None,
        },
    };
    let stock = stock(&folder).filter(|_| !options.alone);
    for side in [Some(&ours), stock.as_ref().map(|(side, _)| side)]
        .into_iter()
        .flatten()
    {
        std::fs::create_dir_all(&side.folder).context(|| side.folder.display().to_string())?;
    }
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
        good &= measure(row, &ours, stock.as_ref().map(|(side, _)| side), options.turns)?;
    }
    Ok(Outcome::passed_if(good))
}

/// Builds the example that measures our model.
fn measure_example(debug: bool) -> Result<PathBuf> {
    let profile = if debug { "dev" } else { "release" };
    let mut build = task::cargo();
    build.args([
        "build",
        "--quiet",
        "--package",
        "virt-conf",
        "--example",
        "measure",
    ]);
    build.args(["--profile", profile]);
    if !task::succeeds(&mut build)? {
        return Err(format!("{} failed", task::describe(&build)).into());
    }
    let folder = if debug { "debug" } else { "release" };
    Ok(task::root().join("target").join(folder).join("examples/measure"))
}

/// Stock virsh and its version.
fn stock(folder: &Path) -> Option<(Side, String)> {
    let virsh = PathBuf::from("/usr/bin/virsh");
    let out = Command::new(&virsh).arg("--version").output().ok()?;
    let version = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    let side = Side {
        folder: folder.join("stock"),
        virsh,
        drivers: None,
        measure: None,
    };
    Some((side, version))
}

/// Measures a row and prints it. False if our side cannot do it.
fn measure(row: &Row, ours: &Side, stock: Option<&Side>, turns: usize) -> Result<bool> {
    let (mut our_times, mut stock_times) = (Vec::new(), Vec::new());
    let mut complaint = None;
    for _ in 0..row.work.turns(turns) {
        match row.work.measure(ours) {
            Ok(time) => our_times.push(time),
            Err(failure) => {
                println!(
                    "{:<16} {:>12} {:>12} {:>8} {:>6}  {}: {failure}",
                    row.name,
                    "failed",
                    "",
                    "",
                    row.goal.to_string(),
                    row.about
                );
                return Ok(false);
            }
        }
        if let Some(side) = stock.filter(|_| row.work.is_compared()) {
            match row.work.measure(side) {
                Ok(time) => stock_times.push(time),
                Err(failure) => complaint = Some(failure),
            }
        }
    }
    if let (Some(failure), []) = (complaint, stock_times.as_slice()) {
        println!("{}: stock libvirt cannot do this row here: {failure}", row.name);
    }
    let our_number = median(&mut our_times);
    let unit = row.work.unit();
    let (theirs, ratio) = match median(&mut stock_times) {
        Some(theirs) => {
            let ratio = our_number
                .filter(|ours| *ours > 0.0)
                .map_or(0.0, |ours| theirs / ours);
            (unit.show(theirs), format!("{ratio:.1}x"))
        }
        None if row.work.is_compared() => ("".to_owned(), "not compared".to_owned()),
        None => ("".to_owned(), "".to_owned()),
    };
    println!(
        "{:<16} {:>12} {theirs:>12} {ratio:>8} {:>6}  {}",
        row.name,
        our_number.map(|ours| unit.show(ours)).unwrap_or_default(),
        row.goal.to_string(),
        row.about
    );
    Ok(true)
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::AtMost(most) => write!(f, "<={most}"),
        }
    }
}

impl Row {
    /// Is the row meant by `name`: its own, or that of a group?
    fn is_called(&self, name: &str) -> bool {
        let mut groups = rows::GROUPS.iter().filter(|(group, _)| *group == name);
        self.name == name || groups.any(|(_, rows)| rows.contains(&self.name))
    }
}

impl Work {
    /// Whether it is done by the example that measures our model.
    fn needs_example(&self) -> bool {
        matches!(self, Self::Model { .. } | Self::Growth { .. } | Self::Kept { .. })
    }

    /// Whether it is done by programs as they are installed.
    fn needs_installation(&self) -> bool {
        !self.needs_example() && !matches!(self, Self::Build { .. })
    }

    fn unit(&self) -> Unit {
        match self {
            Self::Memory { .. } => Unit::Bytes,
            Self::Growth { .. } | Self::Kept { .. } => Unit::Ratio,
            _ => Unit::Seconds,
        }
    }

    /// Whether stock can do it.
    fn is_compared(&self) -> bool {
        !matches!(self, Self::Kept { .. } | Self::Build { .. })
    }

    /// How many turns of those that were asked for: some numbers hardly vary, or take long.
    fn turns(&self, asked: usize) -> usize {
        let most = match self {
            Self::Build { .. } | Self::Kept { .. } => 1,
            Self::Memory { .. } => 3,
            _ => asked,
        };
        asked.clamp(1, most.max(1))
    }

    /// Does it once.
    fn measure(&self, side: &Side) -> Result<f64> {
        let folder = &side.folder;
        match self {
            Self::Process(words) => side.time(words),
            Self::Commands { uri, rounds, script } => {
                let script = script(folder)?;
                let bare = (script.bare)(folder)?.as_secs_f64();
                let time = side.commands(&uri(folder)?, &script, *rounds)?;
                Ok((time - bare).max(0.0))
            }
            Self::Model {
                what,
                rounds,
                document,
            } => side.model(what, &document(folder)?, *rounds).map(seconds),
            Self::Open { full, empty } => {
                let list = |uri: &str| side.time(&["-q", "-c", uri, "list --all --name"]);
                let (full, empty) = (full(folder)?, empty(folder)?);
                let small = list(&empty)?;
                Ok((list(&full)? - small).max(0.0))
            }
            Self::Memory { full, empty, objects } => {
                let (full, empty) = (full(folder)?, empty(folder)?);
                let grown = side.resident(&full)?.saturating_sub(side.resident(&empty)?);
                Ok(grown as f64 / *objects as f64)
            }
            Self::Growth { large, small, rounds } => {
                let small = side.model("parse", &small(folder)?, *rounds)?;
                Ok(side.model("parse", &large(folder)?, *rounds)? / small)
            }
            Self::Kept { rounds, document } => side.model("bytes", &document(folder)?, *rounds),
            Self::Build { package } => build_time(package),
        }
    }
}

/// Seconds of the processor that cargo needs for `package` when all that it depends on is built.
fn build_time(package: &str) -> Result<f64> {
    let target = task::root().join("target/bench-build");
    let run = |words: &[&str]| {
        let mut cargo = task::cargo();
        cargo
            .args(words)
            .args(["--quiet", "--release", "--package", package])
            .env("CARGO_TARGET_DIR", &target);
        match task::succeeds(&mut cargo)? {
            true => Ok(()),
            false => Err(task::Failure::from(format!("{} failed", task::describe(&cargo)))),
        }
    };
    run(&["build"])?;
    run(&["clean"])?;
    let before = time_of_children()?;
    run(&["build"])?;
    Ok(time_of_children()? - before)
}

/// Seconds of the processor that our child processes took which have ended.
fn time_of_children() -> Result<f64> {
    use nix::sys::time::TimeValLike;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
        .map_err(|errno| format!("getrusage: {errno}"))?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}

fn seconds(micros: f64) -> f64 {
    micros / 1e6
}

impl Side {
    /// Runs virsh from start to exit.
    fn time(&self, words: &[&str]) -> Result<f64> {
        let mut command = self.command();
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let child = command.spawn().context(|| self.virsh.display().to_string())?;
        let out = child
            .wait_with_output()
            .context(|| self.virsh.display().to_string())?;
        let time = started.elapsed();
        if out.status.success() {
            return Ok(time.as_secs_f64());
        }
        Err(said(&out.stderr).into())
    }

    /// Gives the script to one virsh; the mean of what the timed commands took, by that virsh's own clock.
    fn commands(&self, uri: &str, script: &Script, rounds: usize) -> Result<f64> {
        let input: String = script
            .lines(rounds)
            .flat_map(|(command, _)| [command, "\n"])
            .collect();
        let file = self.folder.join("script");
        task::write(&file, input)?;
        let input = std::fs::File::open(&file).context(|| file.display().to_string())?;
        let out = self
            .command()
            .args(["-q", "-t", "-c", uri])
            .stdin(input)
            .output()
            .context(|| self.virsh.display().to_string())?;
        let errors = String::from_utf8_lossy(&out.stderr);
        if let Some(error) = errors.lines().find(|line| line.starts_with("error:")) {
            return Err(error.to_owned().into());
        }
        let output = String::from_utf8_lossy(&out.stdout);
        let times: Vec<f64> = output
            .lines()
            .filter_map(|line| line.strip_prefix("(Time: ")?.strip_suffix(" ms)")?.parse().ok())
            .collect();
        let timed: Vec<f64> = script
            .lines(rounds)
            .zip(&times)
            .filter(|((_, counts), _)| *counts)
            .map(|(_, time)| *time)
            .collect();
        if times.len() != script.lines(rounds).count() || timed.is_empty() {
            return Err(format!("virsh timed {} commands: {}", times.len(), said(&out.stderr)).into());
        }
        Ok(timed.iter().sum::<f64>() / 1e3 / timed.len() as f64)
    }

    /// The memory of a virsh that has listed all that is at the URI.
    fn resident(&self, uri: &str) -> Result<u64> {
        let mut child = self
            .command()
            .args(["-q", "-c", uri])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| self.virsh.display().to_string())?;
        let listed = (|| {
            let (Some(input), Some(output)) = (&mut child.stdin, &mut child.stdout) else {
                return Ok(String::new());
            };
            input.write_all(b"list --all --name\necho all-are-listed\n")?;
            for line in BufReader::new(output).lines() {
                if line?.ends_with("all-are-listed") {
                    break;
                }
            }
            std::fs::read_to_string(format!("/proc/{}/status", child.id()))
        })();
        // Its input ends, and so does it.
        let out = child
            .wait_with_output()
            .context(|| self.virsh.display().to_string())?;
        let status = listed.context(|| self.virsh.display().to_string())?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| said(&out.stderr).into())
    }

    /// Has this side's model do `what` with the document; what it took: microseconds of one round, or bytes.
    fn model(&self, what: &str, document: &str, rounds: usize) -> Result<f64> {
        let mut command = match &self.measure {
            Some(program) => Command::new(program),
            None => {
                let mut python = Command::new("/usr/bin/python3");
                python.args(["-c", STOCK_MODEL]);
                python
            }
        };
        let out = command
            .args([what, document, &rounds.to_string()])
            .output()
            .context(|| what.to_owned())?;
        let micros: f64 = String::from_utf8_lossy(&out.stdout)
            .trim()
            .parse()
            .map_err(|_| said(&out.stderr))?;
        Ok(micros.max(0.0))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.virsh);
        command
            .stderr(Stdio::piped())
            .env_remove("VIRT_DRIVER_DIR")
            .envs(self.drivers.iter().map(|folder| ("VIRT_DRIVER_DIR", folder)));
        command
    }
}

/// The last line of what virsh complained about.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().last().unwrap_or("virsh failed").to_owned()
}

impl Script {
    /// All that is said, in order, and for each command whether it is timed.
    fn lines(&self, rounds: usize) -> impl Iterator<Item = (&str, bool)> {
        let round = || {
            self.round
                .iter()
                .enumerate()
                .map(|(at, command)| (command.as_str(), self.timed.contains(&at)))
        };
        self.before
            .iter()
            .map(|command| (command.as_str(), false))
            .chain((0..rounds).flat_map(move |_| round()))
            .chain(self.after.iter().map(|command| (command.as_str(), false)))
    }
}

/// The middle one.
fn median(numbers: &mut [f64]) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

impl Unit {
    /// A number as people write it.
    fn show(self, number: f64) -> String {
        match (self, number) {
            (Self::Seconds, 0.0..1e-3) => format!("{:.1} us", number * 1e6),
            (Self::Seconds, 1e-3..1.0) => format!("{:.2} ms", number * 1e3),
            (Self::Seconds, _) => format!("{number:.2} s"),
            (Self::Bytes, 0.0..1024.0) => format!("{number:.0} B"),
            (Self::Bytes, _) => format!("{:.1} KiB", number / 1024.0),
            (Self::Ratio, _) => format!("{number:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Unit, median};

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(median(&mut [5.0, 1.0, 9.0]), Some(5.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(Unit::Seconds.show(12.34e-6), "12.3 us");
        assert_eq!(Unit::Seconds.show(12e-3), "12.00 ms");
        assert_eq!(Unit::Seconds.show(2.0), "2.00 s");
        assert_eq!(Unit::Bytes.show(3_584.0), "3.5 KiB");
        assert_eq!(Unit::Ratio.show(2.0), "2.00");
    }
}
