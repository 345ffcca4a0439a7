//! The host and the connection to it.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::bitmap::Bitmap;
use virt_util::types::params::node_cpu_stats;
use virt_util::{ErrorCode, Result};

use super::{TestConnection, VCPUS_MAX, check_flags, number};
use crate::capabilities::capabilities;
use crate::error;

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
    fn node_get_security_model(&self, _: &mut CallContext<'_>) -> Result<NodeGetSecurityModelReply> {
        Ok(NodeGetSecurityModelReply {
            model: "testSecurity".to_owned(),
            doi: String::new(),
        })
    }
}
