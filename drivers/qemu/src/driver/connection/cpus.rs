//! CPU models: names, comparisons, what several have in common.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::cpu_models;
use virt_util::Result;
use virt_util::types::{ConnectBaselineCpuFlags, ConnectCompareCpuFlags};

use super::{QemuConnection, check_flags};
use crate::driver::cpus;
use crate::driver::planner::Wanted;
use crate::driver::world::World;

fn compare_flags(call: &str, flags: u32) -> Result<ConnectCompareCpuFlags> {
    let known = ConnectCompareCpuFlags::FAIL_INCOMPATIBLE | ConnectCompareCpuFlags::VALIDATE_XML;
    check_flags(call, flags, known.bits())?;
    Ok(ConnectCompareCpuFlags::from_bits_retain(flags))
}

/// Whether all features are to be spelled out, and those left out that tie a guest to its host.
fn baseline_flags(call: &str, flags: u32) -> Result<(bool, bool)> {
    let (expand, migratable) = (
        ConnectBaselineCpuFlags::EXPAND_FEATURES,
        ConnectBaselineCpuFlags::MIGRATABLE,
    );
    check_flags(call, flags, (expand | migratable).bits())?;
    let flags = ConnectBaselineCpuFlags::from_bits_retain(flags);
    Ok((flags.contains(expand), flags.contains(migratable)))
}

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    fn connect_compare_cpu(
        &self,
        _: &mut CallContext<'_>,
        xml: String,
        flags: u32,
    ) -> Result<ConnectCompareCpuReply> {
        let flags = compare_flags("qemuConnectCompareCPU", flags)?;
        let cpu = cpus::read(&xml, flags.contains(ConnectCompareCpuFlags::VALIDATE_XML))?;
        let comparison = self.world.planner().compare_cpu(&cpu)?;
        let fails = flags.contains(ConnectCompareCpuFlags::FAIL_INCOMPATIBLE);
        let result = cpus::answer(comparison, fails)?;
        Ok(ConnectCompareCpuReply { result })
    }

    fn connect_compare_hypervisor_cpu(
        &self,
        cx: &mut CallContext<'_>,
        emulator: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        xml_cpu: String,
        flags: u32,
    ) -> Result<ConnectCompareHypervisorCpuReply> {
        let flags = compare_flags("qemuConnectCompareHypervisorCPU", flags)?;
        let wanted = Wanted {
            emulator,
            arch,
            machine,
            virt_type: virttype,
            without_deprecated: false,
        };
        let cpu = cpus::read(&xml_cpu, flags.contains(ConnectCompareCpuFlags::VALIDATE_XML))?;
        let patience = World::patience(cx.deadline(), cx.cancel());
        let layout = self.world.layout();
        let planner = self.world.planner();
        let comparison = planner.compare_hypervisor_cpu(&wanted, &cpu, layout, &patience)?;
        let fails = flags.contains(ConnectCompareCpuFlags::FAIL_INCOMPATIBLE);
        let result = cpus::answer(comparison, fails)?;
        Ok(ConnectCompareHypervisorCpuReply { result })
    }

    fn connect_baseline_cpu(
        &self,
        _: &mut CallContext<'_>,
        xml_cpus: Vec<String>,
        flags: u32,
    ) -> Result<ConnectBaselineCpuReply> {
        let (expand, migratable) = baseline_flags("qemuConnectBaselineCPU", flags)?;
        let cpu = cpus::baseline(&xml_cpus, expand, migratable)?;
        Ok(ConnectBaselineCpuReply { cpu })
    }

    fn connect_baseline_hypervisor_cpu(
        &self,
        cx: &mut CallContext<'_>,
        emulator: Option<String>,
        arch: Option<String>,
        machine: Option<String>,
        virttype: Option<String>,
        xml_cpus: Vec<String>,
        flags: u32,
    ) -> Result<ConnectBaselineHypervisorCpuReply> {
        let wishes = baseline_flags("qemuConnectBaselineHypervisorCPU", flags)?;
        let wanted = Wanted {
            emulator,
            arch,
            machine,
            virt_type: virttype,
            without_deprecated: false,
        };
        let patience = World::patience(cx.deadline(), cx.cancel());
        let layout = self.world.layout();
        let planner = self.world.planner();
        let cpu = planner.baseline_hypervisor_cpu(&wanted, &xml_cpus, wishes, layout, &patience)?;
        Ok(ConnectBaselineHypervisorCpuReply { cpu })
    }

    #[inline_safe]
    fn connect_get_cpu_model_names(
        &self,
        _: &mut CallContext<'_>,
        arch: String,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectGetCpuModelNamesReply> {
        check_flags("qemuConnectGetCPUModelNames", flags, 0)?;
        let models = cpu_models::model_names(&arch)?;
        Ok(ConnectGetCpuModelNamesReply {
            ret: i32::try_from(models.len()).unwrap_or(i32::MAX),
            models: if need_results == 0 { Vec::new() } else { models },
        })
    }
}
