//! The driver for Xen. So far it is what Xen adds to definitions ([`hooks`]), which the conversions of
//! [`virt_conf::xen`] need; connections are refused.
#![forbid(unsafe_code)]

pub mod hooks;

use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_util::{ErrorDomain, Result, VirtError};

/// The driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct XenDriver;

impl Driver for XenDriver {
    fn open(&self, _cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Err(VirtError::no_support("connections to Xen").in_domain(ErrorDomain::LIBXL))
    }
}

virt_api::driver!("xen", XenDriver, role = "stateful");
