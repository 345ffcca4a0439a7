//! The driver for Linux containers. So far it is what the driver adds to definitions ([`hooks`]), which the conversion of
//! [`virt_conf::lxc_native`] needs; connections are refused.
#![forbid(unsafe_code)]

pub mod hooks;

use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_util::{ErrorDomain, Result, VirtError};

/// The driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct LxcDriver;

impl Driver for LxcDriver {
    fn open(&self, _cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Err(VirtError::no_support("connections to containers").in_domain(ErrorDomain::LXC))
    }
}

virt_api::driver!("lxc", LxcDriver, role = "stateful");
