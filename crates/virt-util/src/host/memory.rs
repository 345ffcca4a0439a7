//! Memory of the whole machine and of its cells.

use super::{Host, read_text};
use crate::{ErrorCode, Result, VirtError};

/// One value of libvirt's `virNodeGetMemoryStats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStat {
    /// `total`, `free`, `buffers` or `cached`.
    pub name: &'static str,
    /// The value in KiB.
    pub kib: u64,
}

impl Host {
    /// Memory of the machine in KiB: that of its cells together, which is less than what the kernel counts where some
    /// of it belongs to none.
    pub fn memory_kib(&self) -> Result<u64> {
        self.memory_stat("total")
    }

    /// Memory that nobody uses, in KiB. Caches count as used.
    pub fn free_memory_kib(&self) -> Result<u64> {
        self.memory_stat("free")
    }

    fn memory_stat(&self, name: &str) -> Result<u64> {
        let find = |stats: &[MemoryStat]| stats.iter().find(|stat| stat.name == name).map(|stat| stat.kib);
        let cells = self.numa_cell_ids()?;
        if cells.is_empty() {
            return find(&self.memory_stats(None)?).ok_or_else(|| {
                VirtError::internal(format_args!("'/proc/meminfo' does not tell the {name} memory"))
            });
        }
        // A cell may have processors alone.
        let of_cell = |cell| find(&self.memory_stats(Some(cell)).unwrap_or_default()).unwrap_or(0);
        Ok(cells.into_iter().map(of_cell).fold(0, u64::saturating_add))
    }

    /// What is known of the machine's memory, or of a cell's: of a cell only `total` and `free`.
    pub fn memory_stats(&self, cell: Option<u32>) -> Result<Vec<MemoryStat>> {
        let path = match cell {
            None => self.proc_path("meminfo"),
            Some(cell) => self.system_path(&format!("node/node{cell}/meminfo")),
        };
        let Some(text) = read_text(&path)? else {
            return Err(match cell {
                Some(cell) => VirtError::new(
                    ErrorCode::INVALID_ARG,
                    format_args!("there is no NUMA cell {cell}"),
                ),
                None => VirtError::system(libc::ENOENT, format_args!("cannot open '{}'", path.display())),
            });
        };
        let mut stats = Vec::new();
        for line in text.lines() {
            // A cell's lines start with `Node N`.
            let mut words = line
                .split_ascii_whitespace()
                .skip(if cell.is_some() { 2 } else { 0 });
            let name = match words.next() {
                Some("MemTotal:") => "total",
                Some("MemFree:") => "free",
                Some("Buffers:") => "buffers",
                Some("Cached:") => "cached",
                _ => continue,
            };
            if let Some(kib) = words.next().and_then(|number| number.parse().ok()) {
                stats.push(MemoryStat { name, kib });
            }
        }
        Ok(stats)
    }
}
