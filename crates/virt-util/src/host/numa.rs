//! NUMA cells: which CPUs and how much memory is near to which.

use super::{CpuPlace, Host, numbered_entries, read_list, read_number, read_text};
use crate::{Result, VirtError};

/// A cell of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaCell {
    /// Its number.
    pub id: u32,
    /// Its memory in KiB.
    pub memory_kib: u64,
    /// Its free memory in KiB.
    pub free_kib: u64,
    /// Its pages by size.
    pub pages: Vec<Pages>,
    /// (cell, distance): 10 is "itself", 20 "twice as far".
    pub distances: Vec<(u32, u32)>,
    /// Caches on its memory's side, by level.
    pub caches: Vec<MemoryCache>,
    /// Its CPUs, ascending; those that are offline sit at 0.
    pub cpus: Vec<CpuPlace>,
}

/// The pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Size of a page in KiB.
    pub size_kib: u64,
    /// How many there are. Ordinary pages: those that are not reserved as huge ones.
    pub total: u64,
    /// How many of them are free.
    pub free: u64,
}

/// A cache on the side of a cell's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCache {
    /// Its level.
    pub level: u32,
    /// Its size in KiB.
    pub size_kib: u64,
    /// Bytes of a line.
    pub line: u32,
    /// Where in it something can be.
    pub indexing: CacheIndexing,
    /// When it writes.
    pub writing: CacheWriting,
}

/// Where in a memory-side cache something can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheIndexing {
    /// In one place.
    Direct,
    /// In places that are computed.
    Complex,
    /// Otherwise.
    Other,
}

/// When a memory-side cache writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheWriting {
    /// When it must.
    Back,
    /// At once.
    Through,
    /// Otherwise.
    Other,
}

/// How fast a cell's memory is for the processors of the cells that are nearest to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccess {
    /// The processors' cell.
    pub initiator: u32,
    /// The memory's cell.
    pub target: u32,
    /// KiB that are read in a second.
    pub read_kib: u64,
    /// KiB that are written in a second.
    pub write_kib: u64,
    /// Nanoseconds until something is read.
    pub read_latency: u64,
    /// Nanoseconds until something is written.
    pub write_latency: u64,
}

impl Host {
    /// The numbers of the cells, ascending; empty on a kernel without NUMA.
    pub fn numa_cell_ids(&self) -> Result<Vec<u32>> {
        Ok(numbered_entries(&self.system_path("node"), "node")?.unwrap_or_default())
    }

    /// The cells, ascending; empty on a kernel without NUMA.
    pub fn numa_cells(&self) -> Result<Vec<NumaCell>> {
        self.numa_cell_ids()?
            .into_iter()
            .map(|id| self.numa_cell(id))
            .collect()
    }

    /// One cell.
    pub fn numa_cell(&self, id: u32) -> Result<NumaCell> {
        let stats = self.memory_stats(Some(id)).unwrap_or_default();
        let stat = |name| {
            stats
                .iter()
                .find(|stat| stat.name == name)
                .map_or(0, |stat| stat.kib)
        };
        let cpus = read_list(&self.system_path(&format!("node/node{id}/cpulist")))?.unwrap_or_default();
        let (memory_kib, free_kib) = (stat("total"), stat("free"));
        Ok(NumaCell {
            id,
            memory_kib,
            free_kib,
            pages: pages(
                &self.system_path(&format!("node/node{id}/hugepages")),
                memory_kib,
                free_kib,
            )?,
            distances: self.distances(id)?,
            caches: self.memory_caches(id)?,
            cpus: cpus
                .iter()
                .map(|cpu| self.cpu_place(cpu as u32))
                .collect::<Result<_>>()?,
        })
    }

    /// The pages of the whole machine by size.
    pub fn pages(&self) -> Result<Vec<Pages>> {
        let folder = self.root.join("sys/kernel/mm/hugepages");
        pages(&folder, self.memory_kib()?, self.free_memory_kib()?)
    }

    fn memory_caches(&self, cell: u32) -> Result<Vec<MemoryCache>> {
        let folder = self.system_path(&format!("node/node{cell}/memory_side_cache"));
        let mut caches = Vec::new();
        for level in numbered_entries(&folder, "index")?.unwrap_or_default() {
            let file = |name: &str| folder.join(format!("index{level}/{name}"));
            let code = |name: &str| {
                let path = file(name);
                let number: u32 = required(&path)?;
                if number > 2 {
                    let what = format!("unknown value {number} in file '{}'", path.display());
                    return Err(VirtError::internal(what));
                }
                Ok(number)
            };
            caches.push(MemoryCache {
                level,
                size_kib: required::<u64>(&file("size"))? / 1024,
                line: required(&file("line_size"))?,
                indexing: match code("indexing")? {
                    0 => CacheIndexing::Direct,
                    1 => CacheIndexing::Complex,
                    _ => CacheIndexing::Other,
                },
                writing: match code("write_policy")? {
                    0 => CacheWriting::Back,
                    1 => CacheWriting::Through,
                    _ => CacheWriting::Other,
                },
            });
        }
        Ok(caches)
    }

    /// How fast memory is, as far as the firmware tells: for each cell's memory the nearest processors.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for files that the kernel does not write so.
    pub fn memory_access(&self) -> Result<Vec<MemoryAccess>> {
        let mut ways = Vec::new();
        for target in numbered_entries(&self.system_path("node"), "node")?.unwrap_or_default() {
            // The kernel's second class looks at processors alone, the first at devices too.
            let folder = self.system_path(&format!("node/node{target}/access1/initiators"));
            let number = |name: &str| required::<u64>(&folder.join(name));
            for initiator in numbered_entries(&folder, "node")?.unwrap_or_default() {
                ways.push(MemoryAccess {
                    initiator,
                    target,
                    // The kernel counts MiB.
                    read_kib: number("read_bandwidth")?.saturating_mul(1024),
                    write_kib: number("write_bandwidth")?.saturating_mul(1024),
                    read_latency: number("read_latency")?,
                    write_latency: number("write_latency")?,
                });
            }
        }
        Ok(ways)
    }

    fn distances(&self, cell: u32) -> Result<Vec<(u32, u32)>> {
        let path = self.system_path(&format!("node/node{cell}/distance"));
        let Some(text) = read_text(&path)? else {
            return Ok(Vec::new());
        };
        // The file has a number for each online cell, in order.
        let cells = match read_list(&self.system_path("node/online"))? {
            Some(cells) => cells.iter().map(|cell| cell as u32).collect(),
            None => numbered_entries(&self.system_path("node"), "node")?.unwrap_or_default(),
        };
        cells
            .into_iter()
            .zip(text.split_ascii_whitespace())
            .map(|(cell, distance)| {
                let distance = distance.parse().map_err(|_| {
                    VirtError::internal(format_args!(
                        "'{distance}' in file '{}' is not a distance",
                        path.display()
                    ))
                })?;
                Ok((cell, distance))
            })
            .filter(|entry| !matches!(entry, Ok((_, 0))))
            .collect()
    }

    /// The sizes of huge pages that the kernel knows, in KiB, ascending.
    pub fn huge_page_sizes(&self) -> Result<Vec<u64>> {
        let folder = self.root.join("sys/kernel/mm/hugepages");
        let mut sizes: Vec<u64> = huge_page_sizes(&folder)?
            .into_iter()
            .map(|(size, _)| size)
            .collect();
        sizes.sort_unstable();
        Ok(sizes)
    }
}

fn required<T: std::str::FromStr>(path: &std::path::Path) -> Result<T> {
    read_number(path)?.ok_or_else(|| VirtError::internal(format_args!("'{}' is missing", path.display())))
}

/// The pages of so much memory, whose huge ones are told of in `folder`.
fn pages(folder: &std::path::Path, memory_kib: u64, free_kib: u64) -> Result<Vec<Pages>> {
    let ordinary = crate::sys::memory::page_size() / 1024;
    let mut huge = Vec::new();
    let mut huge_kib: u64 = 0;
    for (size_kib, name) in huge_page_sizes(folder)? {
        let total = read_number(&folder.join(&name).join("nr_hugepages"))?.unwrap_or(0);
        let free = read_number(&folder.join(&name).join("free_hugepages"))?.unwrap_or(0);
        huge_kib = huge_kib.saturating_add(size_kib.saturating_mul(total));
        huge.push(Pages {
            size_kib,
            total,
            free,
        });
    }
    let mut pages = vec![Pages {
        size_kib: ordinary,
        total: memory_kib.saturating_sub(huge_kib) / ordinary.max(1),
        free: free_kib / ordinary.max(1),
    }];
    pages.append(&mut huge);
    pages.sort_by_key(|pages| pages.size_kib);
    Ok(pages)
}

/// Size in KiB and name of each `hugepages-2048kB` in a folder.
fn huge_page_sizes(folder: &std::path::Path) -> Result<Vec<(u64, String)>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut sizes = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name
            .strip_prefix("hugepages-")
            .and_then(|rest| rest.strip_suffix("kB"))
            .and_then(|number| number.parse().ok());
        sizes.extend(size.map(|size| (size, name)));
    }
    Ok(sizes)
}
