//! `demo`: a guest's life, from definition to shutdown, through a plugin that is loaded at run time.
//!
//! Everything is done with the tree's own virsh, one command after the other, and shown as typed. The guest is made
//! here ([`guest`]); nothing is downloaded, and nothing outside `target/demo` is touched. Where QEMU is missing the
//! same is shown on the simulated hypervisor `test:///default`.

use crate::task::{self, Outcome, Result};
use crate::{apt, doctor, plugins, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

mod guest;
mod terminal;

/// The guest's name.
const NAME: &str = "ferrovirt-demo";

/// How long a state may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of the console is shown: long enough for the guest's hello and some ticks.
const CONSOLE: Duration = Duration::from_secs(5);

/// Options of `demo`.
#[derive(clap::Args)]
pub struct Options {
    /// Install with apt-get what running a guest needs (as root)
    #[arg(long)]
    install: bool,
    /// Show the simulated hypervisor, also where QEMU is installed
    #[arg(long)]
    simulated: bool,
}

/// Builds, looks around, and shows.
pub fn run(options: &Options) -> Result<Outcome> {
    if options.install {
        apt::install(&doctor::missing_packages(&[doctor::Group::Guests]))?;
    }
    println!("Building virsh and the plugins …");
    let build = plugins::fill()?;
    let virsh = run::program(&build, "virsh")?;
    println!();
    doctor::print();

    let missing = doctor::missing_packages(&[doctor::Group::Guests]);
    let has_driver = build.plugins.iter().any(|plugin| plugin.name == "qemu");
    if missing.is_empty() && has_driver && !options.simulated {
        return real(&virsh);
    }
    if !missing.is_empty() {
        println!("\nNo guest can be run here: {} is missing.", missing.join(", "));
        println!("Install it, or let `cargo xtask demo --install` do so, to see a real guest.");
    }
    simulated(&virsh)
}

/// The same on the simulated hypervisor, whose state lives as long as the process: one virsh does it all.
fn simulated(virsh: &Path) -> Result<Outcome> {
    println!("\nOn the simulated hypervisor:");
    let script = "uri; list --all; domstate test --reason; suspend test; domstate test --reason; resume test; \
                  shutdown test; domstate test --reason; list --all; start test; list";
    println!("\n$ virsh -c test:///default \"{script}\"");
    let good = task::succeeds(
        Command::new(virsh)
            .args(["-c", "test:///default", script])
            .env("VIRT_DRIVER_DIR", plugins::folder()),
    )?;
    println!(
        "{}",
        if good {
            "That was a guest's life, simulated."
        } else {
            "Something went wrong, see above."
        }
    );
    Ok(Outcome::passed_if(good))
}

/// A guest of QEMU.
fn real(virsh: &Path) -> Result<Outcome> {
    let folder = task::root().join("target/demo");
    let _ = std::fs::remove_dir_all(&folder);
    let stage = Stage {
        virsh: virsh.to_owned(),
        uri: format!("qemu:///embed?root={}", folder.display()),
        folder,
    };
    let outcome = stage.play();
    stage.clean_up();
    match &outcome {
        Ok(()) => println!("\nThat was a guest's life: defined, started, heard, shut down, forgotten."),
        Err(failure) => println!("\nThe demo failed: {failure}"),
    }
    Ok(Outcome::passed_if(outcome.is_ok()))
}

/// Where the demo plays.
struct Stage {
    virsh: PathBuf,
    uri: String,
    folder: PathBuf,
}

impl Stage {
    /// The whole story.
    fn play(&self) -> Result<()> {
        let disk = self.folder.join("guest.img");
        task::write(&disk, guest::image())?;
        let xml = self.folder.join("guest.xml");
        let kvm = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        task::write(&xml, definition(&disk, if kvm { "kvm" } else { "qemu" }))?;
        println!(
            "\nA guest of one boot sector, {}, run by {}.",
            disk.display(),
            if kvm { "KVM" } else { "emulation" }
        );
        println!("Connection: {}", self.uri);

        self.show(&["version"])?;
        self.show(&["define", &xml.display().to_string()])?;
        self.show(&["list", "--all"])?;
        self.show(&["start", NAME])?;
        self.show(&["domstate", NAME, "--reason"])?;
        self.console()?;
        self.show(&["dominfo", NAME])?;
        self.show(&["suspend", NAME])?;
        self.show(&["domstate", NAME, "--reason"])?;
        self.show(&["resume", NAME])?;
        self.wait_for("running")?;
        self.show(&["shutdown", NAME])?;
        self.wait_for("shut off")?;
        self.show(&["domstate", NAME, "--reason"])?;
        self.show(&["list", "--all"])?;
        self.show(&["undefine", NAME])?;
        self.show(&["list", "--all"])
    }

    /// A virsh command.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.virsh);
        command
            .args(["-c", &self.uri])
            .args(words)
            .env("VIRT_DRIVER_DIR", plugins::folder());
        command
    }

    /// Runs a command as a user would see it.
    fn show(&self, words: &[&str]) -> Result<()> {
        println!("\n$ virsh {}", words.join(" "));
        if task::succeeds(&mut self.command(words))? {
            Ok(())
        } else {
            Err(format!("virsh {} failed", words.join(" ")).into())
        }
    }

    /// Waits until the guest is in a state.
    fn wait_for(&self, state: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let out = task::output(&mut self.command(&["domstate", NAME]))?;
            let now = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            if now == state {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!(
                    "after {} s the guest is still {now}, not {state}",
                    PATIENCE.as_secs()
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Listens to the guest for a while; what it says must be among it.
    fn console(&self) -> Result<()> {
        println!("\n$ virsh console {NAME}");
        let heard = terminal::listen(&mut self.command(&["console", NAME]), CONSOLE, &[b"echo?\n"])?;
        for line in heard.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            println!("  | {line}");
        }
        if heard.contains(guest::TICK) || heard.contains(guest::HELLO) {
            Ok(())
        } else {
            Err(format!("the guest was not heard on its console: {heard:?}").into())
        }
    }

    /// Leaves nothing behind, however far the story came.
    fn clean_up(&self) {
        for words in [["destroy", NAME], ["undefine", NAME]] {
            let _ = self.command(&words).output();
        }
        // Should virsh itself be broken, a guest of ours may still run: it has our folder in its command line.
        for pid in processes_with(&self.folder) {
            println!("ending what was left: process {pid}");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// QEMU processes whose command line names a folder.
fn processes_with(folder: &Path) -> Vec<i32> {
    let wanted = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let program = line.split('\0').next()?.to_owned();
            (program.contains("qemu-system") && line.contains(&wanted)).then_some(pid)
        })
        .collect()
}

/// The guest's definition.
fn definition(disk: &Path, kind: &str) -> String {
    format!(
        "<domain type='{kind}'>
  <name>{NAME}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='pty'/>
    <console type='pty'/>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
",
        disk.display()
    )
}
