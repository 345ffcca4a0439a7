//! Devices plugged in and out.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::Result;
use virt_util::types::DomainModificationImpact;

use super::TestConnection;
use crate::hotplug;

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn domain_attach_device(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml: String,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainAttachDevice", |_, guest| {
            hotplug::attach(guest, &xml, 0)
        })
    }

    fn domain_attach_device_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml: String,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainAttachDeviceFlags", |_, guest| {
            hotplug::attach(guest, &xml, flags)
        })
    }

    #[flags("testDomainUpdateDeviceFlags", DomainModificationImpact::all().bits())]
    fn domain_update_device_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        xml: String,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainUpdateDeviceFlags", |_, guest| {
            hotplug::update(guest, &xml, flags)
        })
    }

    fn domain_detach_device_alias(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        alias: String,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainDetachDeviceAlias", |_, guest| {
            hotplug::detach(guest, &alias, flags)
        })
    }
}
