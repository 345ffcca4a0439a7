//! A guest's terminals, screen and keys.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::DomainScreenshotReply;
use virt_api::protocol::traits::HypervisorDriver;
use virt_api::stream_end::Bytes;
use virt_util::keycode::Codeset;
use virt_util::{ErrorCode, Result};

use super::TestConnection;
use crate::domain::Guest;
use crate::error;
use crate::life;

/// What is on every screen.
const PICTURE: &[u8] = include_bytes!("../screen.png");

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[flags("testDomainInjectNMI", 0)]
    fn domain_inject_nmi(&self, _: &mut CallContext<'_>, domain: Resolved<Domain>, _: u32) -> Result<()> {
        life::active(domain.handle::<Guest>()?).map(|_| ())
    }

    #[flags("testDomainScreenshot", 0)]
    fn domain_screenshot(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _screen: u32,
        _: u32,
    ) -> Result<DomainScreenshotReply> {
        domain.handle::<Guest>()?;
        cx.attach_stream(Bytes::new(PICTURE.to_vec()))?;
        Ok(DomainScreenshotReply {
            mime: Some("image/png".to_owned()),
        })
    }

    #[flags("testDomainSendKey", 0)]
    fn domain_send_key(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        codeset: u32,
        _: u32,
        keycodes: Vec<u32>,
        _: u32,
    ) -> Result<()> {
        life::active(domain.handle::<Guest>()?)?;
        let set = Codeset::from_number(codeset).ok_or_else(|| {
            error(
                ErrorCode::INVALID_ARG,
                format_args!("unsupported codeset {codeset}"),
            )
        })?;
        // Key 0 is the reserved one, which a guest may be sent like any other.
        let unknown = |code: &&u32| **code != 0 && set.translate(set, **code).is_none();
        match keycodes.iter().find(unknown) {
            None => Ok(()),
            Some(code) => Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("key {code} is none of codeset {}", set.name()),
            )),
        }
    }
}
