//! A guest's terminals, screen and keys.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::DomainScreenshotReply;
use virt_api::protocol::traits::HypervisorDriver;
use virt_api::stream_end::Bytes;
use virt_util::keycode::Codeset;
use virt_util::{ErrorCode, Result};

use super::{TestConnection, check_flags};
use crate::domain::Guest;
use crate::error;
use crate::life;

/// What is on every screen.
const PICTURE: &[u8] = include_bytes!("../screen.png");

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn domain_inject_nmi(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>, flags: u32) -> Result<()> {
        check_flags("testDomainInjectNMI", flags, 0)?;
        life::active(domain.handle::<Guest>()?).map(|_| ())
    }

    fn domain_screenshot(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _screen: u32,
        flags: u32,
    ) -> Result<DomainScreenshotReply> {
        check_flags("testDomainScreenshot", flags, 0)?;
        domain.handle::<Guest>()?;
        cx.attach_stream(Bytes::new(PICTURE.to_vec()))?;
        Ok(DomainScreenshotReply {
            mime: Some("image/png".to_owned()),
        })
    }

    fn domain_send_key(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        codeset: u32,
        _: u32,
        keycodes: Vec<u32>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSendKey", flags, 0)?;
        life::active(domain.handle::<Guest>()?)?;
        let set = Codeset::from_number(codeset).ok_or_else(|| {
            error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported codeset {codeset}"),
            )
        })?;
        match keycodes.iter().find(|code| set.translate(set, **code).is_none()) {
            None => Ok(()),
            Some(code) => Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("key {code} is none of codeset {}", set.name()),
            )),
        }
    }
}
