//! A guest's terminals, screen and keys.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::job::Job;
use virt_util::Result;
use virt_util::types::{DomainChannelFlags, DomainConsoleFlags};

use super::QemuConnection;
use crate::driver::object::GuestObject;
use crate::driver::{console, life, screen};

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    #[flags("qemuDomainOpenConsole", DomainConsoleFlags::FORCE.bits() | DomainConsoleFlags::SAFE.bits())]
    fn domain_open_console(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        dev_name: Option<String>,
        flags: u32,
    ) -> Result<()> {
        let object = domain.handle::<GuestObject>()?;
        life::running(object)?;
        let snapshot = object.snapshot();
        let path = console::terminal(&snapshot.life.current().domain, dev_name.as_deref())?;
        let force = DomainConsoleFlags::from(flags).contains(DomainConsoleFlags::FORCE);
        let stream =
            object
                .private()
                .consoles
                .open(console::Kind::Console, &path, force, &self.world.reactor())?;
        cx.attach_stream(stream)
    }

    #[flags("qemuDomainOpenChannel", DomainChannelFlags::FORCE.bits())]
    fn domain_open_channel(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        name: Option<String>,
        flags: u32,
    ) -> Result<()> {
        let object = domain.handle::<GuestObject>()?;
        life::running(object)?;
        let snapshot = object.snapshot();
        let path = console::channel(&snapshot.life.current().domain, name.as_deref())?;
        let force = DomainChannelFlags::from(flags).contains(DomainChannelFlags::FORCE);
        let stream =
            object
                .private()
                .consoles
                .open(console::Kind::Channel, &path, force, &self.world.reactor())?;
        cx.attach_stream(stream)
    }

    #[flags("qemuDomainScreenshot", 0)]
    fn domain_screenshot(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        screen: u32,
        _: u32,
    ) -> Result<DomainScreenshotReply> {
        let (picture, mime) = self.change(cx, &domain, Job::Query, "virDomainScreenshot", |object| {
            let guest = life::running(object)?;
            let snapshot = object.snapshot();
            let status = object
                .private()
                .status
                .lock()
                .as_ref()
                .map(|file| file.status.clone());
            let definition = &snapshot.life.current().domain;
            screen::picture(&guest, definition, status.as_ref(), screen, cx)
        })?;
        cx.attach_stream(picture)?;
        Ok(DomainScreenshotReply {
            mime: Some(mime.to_owned()),
        })
    }

    #[flags("qemuDomainSendKey", 0)]
    fn domain_send_key(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        codeset: u32,
        holdtime: u32,
        keycodes: Vec<u32>,
        _: u32,
    ) -> Result<()> {
        let hold = std::time::Duration::from_millis(holdtime.into());
        self.change(cx, &domain, Job::Modify, "virDomainSendKey", |object| {
            screen::press_keys(&*life::running(object)?, codeset, &keycodes, hold, cx)
        })
    }
}
