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

impl Host {
    /// The cells, ascending; empty on a kernel without NUMA.
    pub fn numa_cells(&self) -> Result<Vec<NumaCell>> {
        numbered_entries(&self.system_path("node"), "node")?
            .unwrap_or_default()
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
            pages: self.pages(id, memory_kib, free_kib)?,
            distances: self.distances(id)?,
            cpus: cpus
                .iter()
                .map(|cpu| self.cpu_place(cpu as u32))
                .collect::<Result<_>>()?,
        })
    }

    fn pages(&self, cell: u32, memory_kib: u64, free_kib: u64) -> Result<Vec<Pages>> {
        let ordinary = crate::sys::memory::page_size() / 1024;
        let folder = self.system_path(&format!("node/node{cell}/hugepages"));
        let mut huge = Vec::new();
        let mut huge_kib: u64 = 0;
        for (size_kib, name) in huge_page_sizes(&folder)? {
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
