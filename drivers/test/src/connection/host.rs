//! The host and the connection to it.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::VirtType;
use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::types::params::node_cpu_stats;
use virt_util::xml::XmlValue;
use virt_util::{ErrorCode, Result};

use super::{TestConnection, VCPUS_MAX, check_flags, number};
use crate::capabilities::{capabilities, domain_capabilities};
use crate::error;

/// The most numbers of free pages in a reply.
const FREE_PAGES_MAX: u64 = 1024;

/// The version the simulated hypervisor claims: 0.0.2.
const HYPERVISOR_VERSION: u64 = 2;

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    fn connect_get_type(&self, _: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        Ok(ConnectGetTypeReply {
            kind: "TEST".to_owned(),
        })
    }

    #[inline_safe]
    fn connect_get_version(&self, _: &mut CallContext<'_>) -> Result<ConnectGetVersionReply> {
        Ok(ConnectGetVersionReply {
            hv_ver: HYPERVISOR_VERSION,
        })
    }

    fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        let name = nix::unistd::gethostname()
            .map_err(|errno| virt_util::VirtError::system(errno as i32, "cannot ask for the host's name"))?;
        Ok(ConnectGetHostnameReply {
            hostname: name.to_string_lossy().into_owned(),
        })
    }

    #[inline_safe]
    fn connect_get_max_vcpus(
        &self,
        _: &mut CallContext<'_>,
        _: Option<String>,
    ) -> Result<ConnectGetMaxVcpusReply> {
        Ok(ConnectGetMaxVcpusReply { max_vcpus: VCPUS_MAX })
    }

    #[inline_safe]
    fn node_get_info(&self, _: &mut CallContext<'_>) -> Result<NodeGetInfoReply> {
        let node = self.world.node();
        Ok(NodeGetInfoReply {
            model: node.model.clone(),
            memory: node.memory,
            cpus: number(node.cpus),
            mhz: number(node.mhz),
            nodes: number(node.nodes),
            sockets: number(node.sockets),
            cores: number(node.cores),
            threads: number(node.threads),
        })
    }

    #[inline_safe]
    fn connect_get_capabilities(&self, _: &mut CallContext<'_>) -> Result<ConnectGetCapabilitiesReply> {
        Ok(ConnectGetCapabilitiesReply {
            capabilities: capabilities(self.world.cells()).to_xml(),
        })
    }

    #[inline_safe]
    fn connect_get_sysinfo(&self, _: &mut CallContext<'_>, flags: u32) -> Result<ConnectGetSysinfoReply> {
        check_flags("testConnectGetSysinfo", flags, 0)?;
        Ok(ConnectGetSysinfoReply {
            sysinfo: include_str!("../sysinfo.xml").to_owned(),
        })
    }

    #[inline_safe]
    fn node_get_cpu_map(
        &self,
        _: &mut CallContext<'_>,
        need_map: i32,
        need_online: i32,
        flags: u32,
    ) -> Result<NodeGetCpuMapReply> {
        check_flags("testNodeGetCPUMap", flags, 0)?;
        let online: Bitmap = [0, 2, 4].into_iter().collect();
        Ok(NodeGetCpuMapReply {
            cpumap: if need_map == 0 {
                Vec::new()
            } else {
                online.to_bytes()
            },
            online: if need_online == 0 { 0 } else { 3 },
            ret: 8,
        })
    }

    #[inline_safe]
    fn node_get_cpu_stats(
        &self,
        _: &mut CallContext<'_>,
        _: i32,
        nparams: i32,
        flags: u32,
    ) -> Result<NodeGetCpuStatsReply> {
        check_flags("testNodeGetCPUStats", flags, 0)?;
        let stats = [
            (node_cpu_stats::USER, 9_797_400_000),
            (node_cpu_stats::KERNEL, 34_678_723_400_000),
            (node_cpu_stats::IDLE, 87_264_900_000),
            (node_cpu_stats::IOWAIT, 763_600_000),
        ];
        // Asked for none, the call tells how many there are.
        if nparams == 0 {
            return Ok(NodeGetCpuStatsReply {
                params: Vec::new(),
                nparams: 4,
            });
        }
        let params: Vec<_> = stats
            .into_iter()
            .take(usize::try_from(nparams).unwrap_or(0))
            .map(|(field, value)| NodeCpuStat {
                field: field.to_owned(),
                value,
            })
            .collect();
        Ok(NodeGetCpuStatsReply {
            nparams: i32::try_from(params.len()).unwrap_or(0),
            params,
        })
    }

    #[inline_safe]
    fn node_get_free_memory(&self, _: &mut CallContext<'_>) -> Result<NodeGetFreeMemoryReply> {
        // libvirt's simulator gives its cells' KiB for the bytes that the call promises.
        Ok(NodeGetFreeMemoryReply {
            free_mem: self.world.cells().iter().map(|cell| cell.free).sum(),
        })
    }

    #[inline_safe]
    fn node_get_cells_free_memory(
        &self,
        _: &mut CallContext<'_>,
        start_cell: i32,
        maxcells: i32,
    ) -> Result<NodeGetCellsFreeMemoryReply> {
        let cells = self.world.cells();
        let start = usize::try_from(start_cell).unwrap_or(usize::MAX);
        if start >= cells.len() {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "start cell {start_cell} out of range, the host has {} cells",
                    cells.len()
                ),
            ));
        }
        let count = usize::try_from(maxcells).unwrap_or(0);
        Ok(NodeGetCellsFreeMemoryReply {
            cells: cells
                .iter()
                .skip(start)
                .take(count)
                .map(|cell| cell.memory)
                .collect(),
        })
    }

    #[inline_safe]
    fn node_get_free_pages(
        &self,
        _: &mut CallContext<'_>,
        pages: Vec<u32>,
        start_cell: i32,
        cell_count: u32,
        flags: u32,
    ) -> Result<NodeGetFreePagesReply> {
        check_flags("testNodeGetFreePages", flags, 0)?;
        let asked = u64::from(cell_count).saturating_mul(u64::try_from(pages.len()).unwrap_or(u64::MAX));
        if asked > FREE_PAGES_MAX {
            return Err(error(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "{asked} numbers of free pages are too many: at most {FREE_PAGES_MAX} in a call"
                ),
            ));
        }
        // Numbers without a meaning, which differ by cell and by size.
        let mut counts = Vec::new();
        for cell in 0..i64::from(cell_count) {
            let mut count = i64::from(start_cell).wrapping_add(cell).wrapping_mul(6);
            for _ in &pages {
                count = count.wrapping_mul(2).wrapping_add(7);
                counts.push(count.cast_unsigned());
            }
        }
        Ok(NodeGetFreePagesReply { counts })
    }

    fn connect_get_domain_capabilities(
        &self,
        _: &mut CallContext<'_>,
        emulatorbin: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        flags: u32,
    ) -> Result<ConnectGetDomainCapabilitiesReply> {
        check_flags("testConnectGetDomainCapabilities", flags, 0)?;
        let unknown =
            |what: &str, word: &str| error(ErrorCode::INVALID_ARG, format_args!("unknown {what}: {word}"));
        let arch = arch.unwrap_or_else(|| "i686".to_owned());
        if Arch::from_name(&arch).is_none() {
            return Err(unknown("architecture", &arch));
        }
        let domain = virttype.unwrap_or_else(|| "test".to_owned());
        if VirtType::parse_value(&domain).is_err() {
            return Err(unknown("virttype", &domain));
        }
        Ok(ConnectGetDomainCapabilitiesReply {
            capabilities: domain_capabilities(emulatorbin, domain, machine, arch).format(),
        })
    }

    #[inline_safe]
    fn node_get_security_model(&self, _: &mut CallContext<'_>) -> Result<NodeGetSecurityModelReply> {
        Ok(NodeGetSecurityModelReply {
            model: "testSecurity".to_owned(),
            doi: String::new(),
        })
    }
}
