//! The host and the connection to it.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
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
