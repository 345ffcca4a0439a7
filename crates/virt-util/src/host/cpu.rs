//! Processors: how many in what arrangement, how fast, what model, how busy; and the caches between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Host, numbered_entries, read_list, read_number, read_text};
use crate::arch::Arch;
use crate::bitmap::Bitmap;
use crate::sys::kvm;
use crate::{ErrorCode, Result, VirtError};

/// libvirt's `virNodeInfo` without memory. `nodes × sockets × cores × threads` is the number of CPUs that could be
/// online; where the real arrangement does not multiply out, all CPUs are declared cores of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTopology {
    /// CPUs online.
    pub cpus: u32,
    /// Clock in MHz, 0 if nobody says.
    pub mhz: u32,
    /// NUMA cells.
    pub nodes: u32,
    /// Sockets in a cell.
    pub sockets: u32,
    /// Cores in a socket.
    pub cores: u32,
    /// Threads in a core.
    pub threads: u32,
}

impl CpuTopology {
    /// CPUs that could be online.
    pub fn max_cpus(&self) -> u32 {
        self.nodes
            .saturating_mul(self.sockets)
            .saturating_mul(self.cores)
            .saturating_mul(self.threads)
    }
}

/// Where a CPU sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuPlace {
    /// Its number.
    pub id: u32,
    /// Its socket.
    pub socket: u32,
    /// Its die in the socket.
    pub die: u32,
    /// Its cluster in the die.
    pub cluster: u32,
    /// Its core.
    pub core: u32,
    /// The threads of that core, itself included.
    pub siblings: Bitmap,
}

/// Time that CPUs have spent, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In the kernel, interrupts included.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
    /// Idle.
    pub idle: u64,
    /// Idle, with I/O under way.
    pub iowait: u64,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheKind {
    /// Both; libvirt's `both`.
    Unified,
    /// Instructions; `code`.
    Instruction,
    /// Data; `data`.
    Data,
}

/// A cache and the CPUs that share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheBank {
    /// Its number among those of its level.
    pub id: u32,
    /// Its level, 2 or more.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Its size in bytes.
    pub size: u64,
    /// Who shares it.
    pub cpus: Bitmap,
}

/// What counting the CPUs of one folder gives.
#[derive(Default)]
struct Counted {
    processors: u32,
    sockets: u32,
    cores: u32,
    threads: u32,
    offline: u32,
}

impl Host {
    /// Counts CPUs as libvirt's `virNodeGetInfo` does. On POWER the kernel module KVM is asked how many threads share
    /// a subcore.
    pub fn cpu_topology(&self, arch: Arch) -> Result<CpuTopology> {
        let threads_per_subcore = if arch.is_ppc64() {
            kvm::check_extension(&self.root.join("dev/kvm"), kvm::CAP_PPC_SMT).unwrap_or(0)
        } else {
            0
        };
        self.cpu_topology_with_subcores(arch, threads_per_subcore)
    }

    /// [`Host::cpu_topology`] with KVM's answer given: 0 where there are no subcores.
    pub fn cpu_topology_with_subcores(&self, arch: Arch, threads_per_subcore: u32) -> Result<CpuTopology> {
        let present = self.present_cpus()?;
        let online = self.online_cpus()?;
        // One secondary thread online means that subcores are not in use.
        let subcores_in_use =
            threads_per_subcore > 0 && online.iter().all(|cpu| cpu % threads_per_subcore as usize == 0);
        let threads_per_subcore = if subcores_in_use { threads_per_subcore } else { 0 };
        let mut topology = CpuTopology {
            mhz: self.clock_mhz(arch).unwrap_or(0),
            ..CpuTopology::default()
        };
        let mut offline = 0;
        let count = |folder: &Path| self.count(folder, arch, &present, &online, threads_per_subcore);
        for node in numbered_entries(&self.system_path("node"), "node")?.unwrap_or_default() {
            let counted = count(&self.system_path(&format!("node/node{node}")))?;
            topology.nodes += 1;
            topology.cpus += counted.processors;
            topology.sockets = topology.sockets.max(counted.sockets);
            topology.cores = topology.cores.max(counted.cores);
            topology.threads = topology.threads.max(counted.threads);
            offline += counted.offline;
        }
        if topology.cpus == 0 || topology.nodes == 0 {
            let counted = count(&self.system_path("cpu"))?;
            topology.nodes = 1;
            topology.cpus = counted.processors;
            topology.sockets = counted.sockets;
            topology.cores = counted.cores;
            topology.threads = counted.threads;
            offline += counted.offline;
        }
        for (count, what) in [
            (topology.cpus, "CPUs"),
            (topology.sockets, "sockets"),
            (topology.threads, "threads"),
        ] {
            if count == 0 {
                return Err(VirtError::internal(format_args!("no {what} found")));
            }
        }
        let all = topology.cpus + offline;
        if topology.max_cpus() != all {
            topology.nodes = 1;
            topology.sockets = 1;
            topology.cores = all;
            topology.threads = 1;
        }
        Ok(topology)
    }

    fn count(
        &self,
        folder: &Path,
        arch: Arch,
        present: &Bitmap,
        online: &Bitmap,
        threads_per_subcore: u32,
    ) -> Result<Counted> {
        let subcore = threads_per_subcore as usize;
        let mut counted = Counted::default();
        let mut cores_of: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for cpu in numbered_entries(folder, "cpu")?.unwrap_or_default() {
            let number = cpu as usize;
            if !present.contains(number) {
                continue;
            }
            if !online.contains(number) {
                // A secondary thread belongs to its primary: the kernel brings it up inside guests.
                if subcore > 0
                    && !number.is_multiple_of(subcore)
                    && online.contains(number - number % subcore)
                {
                    counted.processors += 1;
                } else {
                    counted.offline += 1;
                }
                continue;
            }
            counted.processors += 1;
            // On IBM Z each logical CPU is a core.
            let core = if arch.is_s390() { cpu } else { self.core_of(cpu)? };
            cores_of.entry(self.socket_of(cpu)?).or_default().insert(core);
            let siblings = self.siblings_of(cpu)?.count() as u32;
            counted.threads = counted.threads.max(siblings);
        }
        counted.sockets = cores_of.len() as u32;
        counted.cores = cores_of
            .values()
            .map(|cores| cores.len() as u32)
            .max()
            .unwrap_or(0);
        if threads_per_subcore > 0 {
            counted.threads = counted.threads.saturating_mul(threads_per_subcore);
        }
        Ok(counted)
    }

    /// Where a CPU sits. Files that are missing or say -1 count as 0; without a list of siblings a CPU is alone.
    pub fn cpu_place(&self, cpu: u32) -> Result<CpuPlace> {
        Ok(CpuPlace {
            id: cpu,
            socket: self.socket_of(cpu)?,
            die: self.topology_number(cpu, "die_id")?,
            cluster: self.topology_number(cpu, "cluster_id")?,
            core: self.core_of(cpu)?,
            siblings: self.siblings_of(cpu)?,
        })
    }

    fn topology_number(&self, cpu: u32, file: &str) -> Result<u32> {
        let path = self.system_path(&format!("cpu/cpu{cpu}/topology/{file}"));
        let number: Option<i64> = read_number(&path)?;
        Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0))
    }

    fn socket_of(&self, cpu: u32) -> Result<u32> {
        self.topology_number(cpu, "physical_package_id")
    }

    fn core_of(&self, cpu: u32) -> Result<u32> {
        self.topology_number(cpu, "core_id")
    }

    fn siblings_of(&self, cpu: u32) -> Result<Bitmap> {
        let path = self.system_path(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"));
        match read_list(&path)? {
            Some(siblings) if !siblings.is_empty() => Ok(siblings),
            _ => {
                let mut alone = Bitmap::new(cpu as usize + 1);
                alone.set(cpu as usize);
                Ok(alone)
            }
        }
    }

    fn cpu_info(&self) -> Result<String> {
        let path = self.proc_path("cpuinfo");
        read_text(&path)?
            .ok_or_else(|| VirtError::system(libc::ENOENT, format_args!("cannot open '{}'", path.display())))
    }

    /// The clock that `/proc/cpuinfo` names last; `None` if it names none that can be read.
    fn clock_mhz(&self, arch: Arch) -> Option<u32> {
        let key = if arch.is_x86() {
            "cpu MHz"
        } else if arch.is_ppc() {
            "clock"
        } else if arch.is_s390() {
            "cpu MHz dynamic"
        } else if arch.is_loongarch() {
            "CPU MHz"
        } else {
            return None;
        };
        let info = self.cpu_info().ok()?;
        let (_, value) = info.lines().filter_map(field).rfind(|(name, _)| *name == key)?;
        let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// A line of text that changes when the host's CPU does; `None` where libvirt makes none.
    pub fn cpu_signature(&self, arch: Arch) -> Result<Option<String>> {
        let info = self.cpu_info()?;
        let first = |name: &str| {
            info.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim())
        };
        Ok((|| {
            if arch.is_x86() {
                Some(format!(
                    "{}, {}, family: {}, model: {}, stepping: {}",
                    first("vendor_id")?,
                    first("model name")?,
                    first("cpu family")?,
                    first("model")?,
                    first("stepping")?
                ))
            } else if arch.is_ppc64() {
                Some(format!("{}, rev {}", first("cpu")?, first("revision")?))
            } else if arch.is_s390() {
                Some(format!(
                    "{}, {}, facilities: {}",
                    first("vendor_id")?,
                    first("processor 0")?,
                    first("facilities")?
                ))
            } else {
                None
            }
        })())
    }

    /// Version of the microcode; `None` if `/proc/cpuinfo` names none.
    pub fn microcode(&self) -> Option<u32> {
        let info = self.cpu_info().ok()?;
        let (_, value) = info
            .lines()
            .filter_map(field)
            .find(|(name, _)| *name == "microcode")?;
        match value.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => value.parse().ok(),
        }
    }

    /// Bits in a physical address; `None` if `/proc/cpuinfo` does not say.
    pub fn physical_address_bits(&self) -> Option<u32> {
        let info = self.cpu_info().ok()?;
        let (_, value) = info
            .lines()
            .filter_map(field)
            .find(|(name, _)| name.eq_ignore_ascii_case("address sizes"))?;
        value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// How busy a CPU was since the start, or all together.
    pub fn cpu_times(&self, cpu: Option<u32>) -> Result<CpuTimes> {
        let path = self.proc_path("stat");
        let text = read_text(&path)?.ok_or_else(|| {
            VirtError::system(libc::ENOENT, format_args!("cannot open '{}'", path.display()))
        })?;
        let name = cpu.map_or_else(|| "cpu".to_owned(), |cpu| format!("cpu{cpu}"));
        let ticks: Vec<u64> = text
            .lines()
            .map(str::split_ascii_whitespace)
            .find_map(|mut words| (words.next() == Some(&name)).then_some(words))
            .map(|words| words.map_while(|word| word.parse().ok()).collect())
            .unwrap_or_default();
        // user nice system idle iowait irq softirq
        if ticks.len() < 4 {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "there is no CPU {}",
                    cpu.map_or_else(|| "at all".to_owned(), |cpu| cpu.to_string())
                ),
            ));
        }
        let tick = 1_000_000_000 / ticks_per_second();
        let sum = |fields: &[usize]| {
            fields
                .iter()
                .filter_map(|field| ticks.get(*field))
                .fold(0_u64, |sum, count| sum.saturating_add(*count))
                .saturating_mul(tick)
        };
        Ok(CpuTimes {
            kernel: sum(&[2, 5, 6]),
            user: sum(&[0, 1]),
            idle: sum(&[3]),
            iowait: sum(&[4]),
        })
    }

    /// The caches from level 2 up, each once, by level and number.
    pub fn caches(&self) -> Result<Vec<CacheBank>> {
        let mut banks: Vec<CacheBank> = Vec::new();
        for cpu in self.online_cpus()?.iter() {
            let folder = self.system_path(&format!("cpu/cpu{cpu}/cache"));
            for index in numbered_entries(&folder, "index")?.unwrap_or_default() {
                let file = |name: &str| folder.join(format!("index{index}")).join(name);
                let (Some(level), Some(id), Some(kind), Some(size), Some(cpus)) = (
                    read_number::<u32>(&file("level"))?,
                    read_number::<u32>(&file("id"))?,
                    read_text(&file("type"))?,
                    read_text(&file("size"))?,
                    read_list(&file("shared_cpu_list"))?,
                ) else {
                    continue;
                };
                if level < 2 {
                    continue;
                }
                let bank = CacheBank {
                    id,
                    level,
                    kind: cache_kind(kind.trim())?,
                    size: scaled(size.trim())?,
                    cpus,
                };
                if !banks.contains(&bank) {
                    banks.push(bank);
                }
            }
        }
        banks.sort_by_key(|bank| (bank.level, bank.id, bank.kind));
        Ok(banks)
    }
}

fn ticks_per_second() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok())
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

/// `name  : value` of `/proc/cpuinfo`.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim(), value.trim()))
}

fn cache_kind(text: &str) -> Result<CacheKind> {
    match text {
        "Unified" => Ok(CacheKind::Unified),
        "Instruction" => Ok(CacheKind::Instruction),
        "Data" => Ok(CacheKind::Data),
        other => Err(VirtError::internal(format_args!(
            "cache type '{other}': expected 'Unified', 'Instruction' or 'Data'"
        ))),
    }
}

/// `512K` as the kernel writes sizes.
fn scaled(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..).unwrap_or("") {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|_| factor > 0)
        .ok_or_else(|| VirtError::internal(format_args!("'{text}' is not a cache size")))
}
