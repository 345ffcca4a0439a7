//! The driver for bhyve, the hypervisor of FreeBSD. So far it is what is pure: what bhyve adds to definitions ([`hooks`]),
//! and the commands that run one ([`plan`]). Connections are refused.
#![forbid(unsafe_code)]

mod addresses;
pub mod hooks;
pub mod plan;

use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_util::{ErrorDomain, Result, VirtError};

/// The driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct BhyveDriver;

impl Driver for BhyveDriver {
    fn open(&self, _cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Err(VirtError::no_support("connections to bhyve").in_domain(ErrorDomain::BHYVE))
    }
}

virt_api::driver!("bhyve", BhyveDriver, role = "stateful");
