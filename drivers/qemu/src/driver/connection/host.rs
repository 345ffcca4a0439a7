//! The host and the connection to it.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::arch::Arch;
use virt_util::types::ConnectGetDomainCapabilitiesFlags;
use virt_util::{ErrorCode, Result};

use super::{QemuConnection, check_flags};
use crate::driver::error;
use crate::driver::planner::Wanted;
use crate::driver::world::World;

/// The most processors a guest may have without hardware help, as libvirt says since machines had no more.
const VCPUS_MAX: i32 = 16;

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    #[inline_safe]
    fn connect_get_type(&self, _: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        Ok(ConnectGetTypeReply {
            kind: "QEMU".to_owned(),
        })
    }

    fn connect_get_version(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetVersionReply> {
        let patience = World::patience(cx.deadline(), cx.cancel());
        Ok(ConnectGetVersionReply {
            hv_ver: self.world.planner().version(self.world.layout(), &patience)?,
        })
    }

    fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        Ok(ConnectGetHostnameReply {
            hostname: virt_util::sys::name::host_name()?,
        })
    }

    fn connect_get_max_vcpus(
        &self,
        _: &mut CallContext<'_>,
        kind: Option<String>,
    ) -> Result<ConnectGetMaxVcpusReply> {
        let kind = kind.as_deref().unwrap_or("qemu").to_ascii_lowercase();
        let max_vcpus = match kind.as_str() {
            "qemu" => VCPUS_MAX,
            "kvm" => i32::try_from(self.world.host().kvm_max_vcpus()?).unwrap_or(i32::MAX),
            other => {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    format_args!("unknown type '{other}'"),
                ));
            }
        };
        Ok(ConnectGetMaxVcpusReply { max_vcpus })
    }

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

    fn connect_get_domain_capabilities(
        &self,
        cx: &mut CallContext<'_>,
        emulatorbin: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        flags: u32,
    ) -> Result<ConnectGetDomainCapabilitiesReply> {
        let known = ConnectGetDomainCapabilitiesFlags::DISABLE_DEPRECATED_FEATURES;
        check_flags("qemuConnectGetDomainCapabilities", flags, known.bits())?;
        let patience = World::patience(cx.deadline(), cx.cancel());
        let wanted = Wanted {
            emulator: emulatorbin,
            arch,
            machine,
            virt_type: virttype,
            without_deprecated: flags & known.bits() != 0,
        };
        Ok(ConnectGetDomainCapabilitiesReply {
            capabilities: self.world.planner().domain_capabilities(
                &wanted,
                self.world.layout(),
                &patience,
            )?,
        })
    }

    fn connect_get_capabilities(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetCapabilitiesReply> {
        let patience = World::patience(cx.deadline(), cx.cancel());
        Ok(ConnectGetCapabilitiesReply {
            capabilities: self
                .world
                .planner()
                .capabilities(self.world.layout(), &patience)?,
        })
    }
}
