//! The machine below the guests: its processors and its memory.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::arch::Arch;
use virt_util::host::Pages;
use virt_util::types::params::node_cpu_stats;
use virt_util::{ErrorCode, Result};

use super::{QemuConnection, check_flags};
use crate::driver::error;

/// Stands for all processors or cells where a call takes one.
const ALL: i32 = -1;

impl QemuConnection {
    /// The highest number of a cell; 0 on a machine without cells, which is one as a whole.
    fn last_cell(&self) -> Result<u32> {
        let cells = self.world.host().numa_cell_ids()?;
        Ok(cells.last().copied().unwrap_or(0))
    }

    /// The first of the cells that a call is about.
    fn first_cell(&self, number: i32) -> Result<u32> {
        let last = self.last_cell()?;
        let first = u32::try_from(number).ok().filter(|first| *first <= last);
        first.ok_or_else(|| {
            error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("there is no NUMA cell {number} to start with: expected 0 to {last}"),
            )
        })
    }

    /// The pages of a cell, or of the machine.
    fn pages_of(&self, cell: Option<u32>) -> Result<Vec<Pages>> {
        let host = self.world.host();
        match cell {
            Some(cell) if !host.numa_cell_ids()?.is_empty() => Ok(host.numa_cell(cell)?.pages),
            _ => host.pages(),
        }
    }
}

/// The values of a call that tells of all or none: asked for none, it tells how many there are.
fn all_of<T>(values: Vec<T>, asked: i32) -> Result<(Vec<T>, i32)> {
    let count = i32::try_from(values.len()).unwrap_or(i32::MAX);
    match asked {
        0 => Ok((Vec::new(), count)),
        asked if asked == count => Ok((values, count)),
        asked => Err(error(
            ErrorCode::INVALID_ARG,
            format_args!("{asked} values are asked for: expected {count}, or 0 to hear how many there are"),
        )),
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    fn node_get_info(&self, _: &mut CallContext<'_>) -> Result<NodeGetInfoReply> {
        let arch = Arch::host().unwrap_or(Arch::X86_64);
        let cpus = self.world.host().cpu_topology(arch)?;
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(NodeGetInfoReply {
            model: arch.name().to_owned(),
            memory: self.world.host().memory_kib()?,
            cpus: number(cpus.cpus),
            mhz: number(cpus.mhz),
            nodes: number(cpus.nodes),
            sockets: number(cpus.sockets),
            cores: number(cpus.cores),
            threads: number(cpus.threads),
        })
    }

    fn node_get_free_memory(&self, _: &mut CallContext<'_>) -> Result<NodeGetFreeMemoryReply> {
        Ok(NodeGetFreeMemoryReply {
            free_mem: self.world.host().free_memory_kib()?.saturating_mul(1024),
        })
    }

    fn node_get_cells_free_memory(
        &self,
        _: &mut CallContext<'_>,
        start_cell: i32,
        maxcells: i32,
    ) -> Result<NodeGetCellsFreeMemoryReply> {
        let host = self.world.host();
        let first = self.first_cell(start_cell)?;
        let count = usize::try_from(maxcells).unwrap_or(0);
        if host.numa_cell_ids()?.is_empty() {
            return Ok(NodeGetCellsFreeMemoryReply {
                cells: vec![host.free_memory_kib()?.saturating_mul(1024)],
            });
        }
        // A number without a cell has no memory.
        let free_of = |cell| {
            let stats = host.memory_stats(Some(cell)).unwrap_or_default();
            let free = stats.iter().find(|stat| stat.name == "free");
            free.map_or(0, |stat| stat.kib.saturating_mul(1024))
        };
        Ok(NodeGetCellsFreeMemoryReply {
            cells: (first..=self.last_cell()?).take(count).map(free_of).collect(),
        })
    }

    fn node_get_free_pages(
        &self,
        _: &mut CallContext<'_>,
        pages: Vec<u32>,
        start_cell: i32,
        cell_count: u32,
        flags: u32,
    ) -> Result<NodeGetFreePagesReply> {
        check_flags("qemuNodeGetFreePages", flags, 0)?;
        let count = usize::try_from(cell_count).unwrap_or(usize::MAX);
        // The machine as a whole comes before its first cell.
        let (whole, first) = match start_cell {
            ALL => (Some(None), 0),
            number => (None, self.first_cell(number)?),
        };
        let cells = whole.into_iter().chain((first..=self.last_cell()?).map(Some));
        let mut counts = Vec::new();
        for cell in cells.take(count) {
            let known = self.pages_of(cell)?;
            for size in &pages {
                let found = known.iter().find(|pages| pages.size_kib == u64::from(*size));
                let found = found.ok_or_else(|| {
                    let sizes: Vec<_> = known.iter().map(|pages| pages.size_kib.to_string()).collect();
                    let place = cell.map_or_else(|| "the machine".to_owned(), |cell| format!("cell {cell}"));
                    error(
                        ErrorCode::OPERATION_FAILED,
                        format_args!(
                            "{place} has no pages of {size} KiB: expected one of {}",
                            sizes.join(", ")
                        ),
                    )
                })?;
                counts.push(found.free);
            }
        }
        Ok(NodeGetFreePagesReply { counts })
    }

    fn node_get_memory_stats(
        &self,
        _: &mut CallContext<'_>,
        nparams: i32,
        cell_num: i32,
        flags: u32,
    ) -> Result<NodeGetMemoryStatsReply> {
        check_flags("qemuNodeGetMemoryStats", flags, 0)?;
        let stats = self.world.host().memory_stats(u32::try_from(cell_num).ok())?;
        let stats = stats.into_iter().map(|stat| NodeMemoryStat {
            field: stat.name.to_owned(),
            value: stat.kib,
        });
        let (params, nparams) = all_of(stats.collect(), nparams)?;
        Ok(NodeGetMemoryStatsReply { params, nparams })
    }

    fn node_get_cpu_map(
        &self,
        _: &mut CallContext<'_>,
        need_map: i32,
        need_online: i32,
        flags: u32,
    ) -> Result<NodeGetCpuMapReply> {
        check_flags("qemuNodeGetCPUMap", flags, 0)?;
        let host = self.world.host();
        let all = host.present_cpus()?.last().map_or(0, |last| last + 1);
        let online = host.online_cpus()?;
        let mut cpumap = Vec::new();
        if need_map != 0 {
            cpumap = online.to_bytes();
            cpumap.resize(all.div_ceil(8), 0);
        }
        let running = match need_online {
            0 => 0,
            _ => u32::try_from(online.iter().count()).unwrap_or(u32::MAX),
        };
        Ok(NodeGetCpuMapReply {
            cpumap,
            online: running,
            ret: i32::try_from(all).unwrap_or(i32::MAX),
        })
    }

    fn node_get_cpu_stats(
        &self,
        _: &mut CallContext<'_>,
        cpu_num: i32,
        nparams: i32,
        flags: u32,
    ) -> Result<NodeGetCpuStatsReply> {
        check_flags("qemuNodeGetCPUStats", flags, 0)?;
        // How many there are does not depend on the processor, so nobody looks whether it exists.
        let cpu = u32::try_from(cpu_num).ok().filter(|_| nparams != 0);
        let times = self.world.host().cpu_times(cpu)?;
        let stats = [
            (node_cpu_stats::KERNEL, times.kernel),
            (node_cpu_stats::USER, times.user),
            (node_cpu_stats::IDLE, times.idle),
            (node_cpu_stats::IOWAIT, times.iowait),
        ];
        let stats = stats.map(|(field, value)| NodeCpuStat {
            field: field.to_owned(),
            value,
        });
        let (params, nparams) = all_of(stats.into(), nparams)?;
        Ok(NodeGetCpuStatsReply { params, nparams })
    }
}
