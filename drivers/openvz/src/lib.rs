//! The driver for OpenVZ. So far it is what OpenVZ adds to definitions ([`hooks`]); its files are read by
//! [`virt_conf::openvz`]. Connections are refused.
#![forbid(unsafe_code)]

pub mod hooks;

use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_util::{ErrorDomain, Result, VirtError};

/// The driver.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenvzDriver;

impl Driver for OpenvzDriver {
    fn open(&self, _cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Err(VirtError::no_support("connections to OpenVZ").in_domain(ErrorDomain::OPENVZ))
    }
}

virt_api::driver!("openvz", OpenvzDriver, role = "stateful");
