//! `doctor`: what this machine has of the things that Ferrovirt can use, and which package brings the rest.

use crate::apt;
use crate::task::{self, Outcome, Result};
use std::path::{Path, PathBuf};

/// How a piece is looked for.
#[derive(Clone, Copy)]
enum Probe {
    /// A program in PATH.
    Program(&'static str),
    /// A file that we must be able to read.
    File(&'static str),
    /// A folder with a file whose name starts so.
    FileLike(&'static str, &'static str),
    /// A device that we must be able to read and write.
    Device(&'static str),
    /// A module that Debian's own Python 3 can load.
    Python(&'static str),
}

/// An optional piece.
struct Piece {
    name: &'static str,
    probe: Probe,
    /// What it is for.
    used: &'static str,
    /// The Debian package, or what else to do.
    package: &'static str,
    group: Group,
}

/// Which command can install it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Running guests.
    Guests,
    /// Our own tests.
    Tests,
    /// Comparing with stock libvirt.
    Peer,
    /// The machine's own set-up: no package brings it.
    Machine,
}

const PIECES: &[Piece] = &[
    Piece {
        name: "QEMU for x86",
        probe: Probe::Program("qemu-system-x86_64"),
        used: "guests of qemu:///…",
        package: "qemu-system-x86",
        group: Group::Guests,
    },
    Piece {
        name: "KVM",
        probe: Probe::Device("/dev/kvm"),
        used: "guests at the speed of the machine; without it they are emulated",
        package: "the kernel's kvm module, and membership in the group kvm",
        group: Group::Machine,
    },
    Piece {
        name: "SeaBIOS",
        probe: Probe::FileLike("/usr/share/seabios", "bios"),
        used: "guests that boot from BIOS",
        package: "seabios",
        group: Group::Guests,
    },
    Piece {
        name: "UEFI firmware",
        probe: Probe::FileLike("/usr/share/OVMF", "OVMF_CODE"),
        used: "guests that boot from UEFI",
        package: "ovmf",
        group: Group::Tests,
    },
    Piece {
        name: "qemu-img",
        probe: Probe::Program("qemu-img"),
        used: "qcow2 images",
        package: "qemu-utils",
        group: Group::Tests,
    },
    Piece {
        name: "a kernel to boot",
        probe: Probe::FileLike("/boot", "vmlinuz-"),
        used: "tests that boot Linux",
        package: "linux-image-cloud-amd64",
        group: Group::Tests,
    },
    Piece {
        name: "a static busybox",
        probe: Probe::Program("busybox"),
        used: "tests that boot Linux",
        package: "busybox-static",
        group: Group::Tests,
    },
    Piece {
        name: "cpio",
        probe: Probe::Program("cpio"),
        used: "tests that boot Linux",
        package: "cpio",
        group: Group::Tests,
    },
    Piece {
        name: "stock virsh",
        probe: Probe::File("/usr/bin/virsh"),
        used: "tests and bench against the peer",
        package: "libvirt-clients",
        group: Group::Peer,
    },
    Piece {
        name: "stock libvirtd",
        probe: Probe::File("/usr/sbin/libvirtd"),
        used: "tests and bench against the peer",
        package: "libvirt-daemon-system",
        group: Group::Peer,
    },
    Piece {
        name: "libvirt for Python",
        probe: Probe::Python("libvirt"),
        used: "tests with clients that are not ours",
        package: "python3-libvirt",
        group: Group::Peer,
    },
    Piece {
        name: "virt-install",
        probe: Probe::Program("virt-install"),
        used: "tests with clients that are not ours",
        package: "virtinst",
        group: Group::Peer,
    },
    Piece {
        name: "libvirt-dbus",
        probe: Probe::File("/usr/sbin/libvirt-dbus"),
        used: "tests with clients that are not ours",
        package: "libvirt-dbus",
        group: Group::Peer,
    },
    Piece {
        name: "GObject for Python",
        probe: Probe::File("/usr/lib/python3/dist-packages/gi/__init__.py"),
        used: "tests that drive libvirt-dbus",
        package: "python3-gi",
        group: Group::Peer,
    },
    Piece {
        name: "SASL mechanisms",
        probe: Probe::FileLike("/var/lib/dpkg/info", "libsasl2-modules:"),
        used: "tests that log in with stock clients",
        package: "libsasl2-modules",
        group: Group::Peer,
    },
    Piece {
        name: "saslpasswd2",
        probe: Probe::Program("saslpasswd2"),
        used: "tests that take over libvirt's SASL users",
        package: "sasl2-bin",
        group: Group::Peer,
    },
    Piece {
        name: "db_dump",
        probe: Probe::Program("db_dump"),
        used: "taking over libvirt's SASL users",
        package: "db-util",
        group: Group::Peer,
    },
    Piece {
        name: "tshark",
        probe: Probe::Program("tshark"),
        used: "tests that have the protocol read by others",
        package: "tshark",
        group: Group::Peer,
    },
    Piece {
        name: "libvirt's dissector",
        probe: Probe::FileLike("/var/lib/dpkg/info", "libvirt-wireshark"),
        used: "the same",
        package: "libvirt-wireshark",
        group: Group::Peer,
    },
    Piece {
        name: "Go",
        probe: Probe::Program("go"),
        used: "tests with clients that are not ours",
        package: "golang-go",
        group: Group::Peer,
    },
    Piece {
        name: "go-libvirt",
        probe: Probe::File("/usr/share/gocode/src/github.com/digitalocean/go-libvirt/libvirt.go"),
        used: "tests with clients that are not ours",
        package: "golang-github-digitalocean-go-libvirt-dev",
        group: Group::Peer,
    },
    Piece {
        name: "cargo-deny",
        probe: Probe::Program("cargo-deny"),
        used: "the advisory database in cargo xtask check",
        package: "cargo install cargo-deny",
        group: Group::Machine,
    },
    Piece {
        name: "systemd in containers",
        probe: Probe::Program("systemd-nspawn"),
        used: "tests: the units under a systemd that runs",
        package: "systemd-container",
        group: Group::Tests,
    },
    Piece {
        name: "D-Bus",
        probe: Probe::Program("dbus-daemon"),
        used: "tests: polkit and logind that say what a test wants",
        package: "dbus-daemon",
        group: Group::Tests,
    },
    Piece {
        name: "groff",
        probe: Probe::Program("groff"),
        used: "tests: manual pages",
        package: "groff-base",
        group: Group::Tests,
    },
    Piece {
        name: "ssh",
        probe: Probe::Program("ssh"),
        used: "connections to other hosts",
        package: "openssh-client",
        group: Group::Tests,
    },
];

/// Options of `doctor`.
#[derive(clap::Args)]
pub struct Options {
    /// Install with apt-get what is missing (as root)
    #[arg(long)]
    install: bool,
    /// With --install: stock libvirt too, to compare with
    #[arg(long)]
    peer: bool,
}

/// Prints the table; with `--install`, first installs.
pub fn run(options: &Options) -> Result<Outcome> {
    if options.install {
        let groups: &[Group] = match options.peer {
            true => &[Group::Guests, Group::Tests, Group::Peer],
            false => &[Group::Guests, Group::Tests],
        };
        apt::install(&missing_packages(groups))?;
    }
    print();
    Ok(Outcome::Passed)
}

/// Prints the table.
pub fn print() {
    println!(
        "{:<20} {:<8} {:<34} for",
        "piece", "", "where, or what to install"
    );
    for piece in PIECES {
        let found = piece.probe.find();
        let place = found
            .as_ref()
            .map_or_else(|| piece.package.to_owned(), |path| path.display().to_string());
        let word = if found.is_some() { "found" } else { "missing" };
        println!("{:<20} {word:<8} {place:<34} {}", piece.name, piece.used);
    }
}

/// The packages of these groups that are not there.
pub fn missing_packages(groups: &[Group]) -> Vec<&'static str> {
    let missing = PIECES
        .iter()
        .filter(|piece| groups.contains(&piece.group) && piece.probe.find().is_none());
    missing.map(|piece| piece.package).collect()
}

impl Probe {
    /// Where the piece is.
    fn find(self) -> Option<PathBuf> {
        match self {
            Self::Program(name) => task::find_program(name),
            Self::File(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
            Self::FileLike(folder, start) => {
                let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
                    .ok()?
                    .filter_map(|e| Some(e.ok()?.path()))
                    .collect();
                names.sort();
                names.into_iter().find(|path| {
                    path.file_name()
                        .is_some_and(|name| name.to_string_lossy().starts_with(start))
                })
            }
            Self::Device(path) => {
                let open = std::fs::OpenOptions::new().read(true).write(true).open(path);
                open.ok().map(|_| PathBuf::from(path))
            }
            Self::Python(module) => {
                let folder = Path::new("/usr/lib/python3/dist-packages");
                Some(folder.join(format!("{module}.py"))).filter(|path| path.is_file())
            }
        }
    }
}
