//! CPU models: names, comparisons, what several have in common.

use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::cpu::CpuDocument;
use virt_conf::cpu_models;
use virt_util::Result;
use virt_util::types::ConnectBaselineCpuFlags;

use super::{TestConnection, check_flags};

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn connect_baseline_cpu(
        &self,
        _: &mut CallContext<'_>,
        xml_cpus: Vec<String>,
        flags: u32,
    ) -> Result<ConnectBaselineCpuReply> {
        let expand = ConnectBaselineCpuFlags::EXPAND_FEATURES.bits();
        check_flags("testConnectBaselineCPU", flags, expand)?;
        let cpus = CpuDocument::parse_hosts(&xml_cpus, "(CPU_definition)")?;
        let mut cpu = cpu_models::baseline(None, &cpus, None, None, false)?;
        if let Some(arch) = cpus.first().and_then(CpuDocument::arch).filter(|_| flags != 0) {
            cpu_models::expand(arch, &mut cpu)?;
        }
        Ok(ConnectBaselineCpuReply {
            cpu: CpuDocument::Guest(cpu).format(),
        })
    }

    #[inline_safe]
    fn connect_get_cpu_model_names(
        &self,
        _: &mut CallContext<'_>,
        arch: String,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectGetCpuModelNamesReply> {
        check_flags("testConnectGetCPUModelNames", flags, 0)?;
        let models = cpu_models::model_names(&arch)?;
        Ok(ConnectGetCpuModelNamesReply {
            ret: i32::try_from(models.len()).unwrap_or(i32::MAX),
            models: if need_results == 0 { Vec::new() } else { models },
        })
    }
}
