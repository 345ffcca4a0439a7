//! A driver that does not come back. Three calls do something:
//!
//! | call | does |
//! |---|---|
//! | `connect_get_hostname` | answers at once |
//! | `connect_get_type` | sleeps until it is cancelled |
//! | `connect_get_version` | sleeps and hears nothing |
#![forbid(unsafe_code)]

use std::time::Duration;

use virt_api::Result;
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::protocol::remote::{ConnectGetHostnameReply, ConnectGetTypeReply, ConnectGetVersionReply};
use virt_api::protocol::traits::HypervisorDriver;

/// The driver.
#[derive(Default)]
pub struct Sleeper;

impl Driver for Sleeper {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Bed))
    }
}

struct Bed;

impl DriverConnection for Bed {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }
}

#[virt_api::implements]
impl HypervisorDriver for Bed {
    fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        Ok(ConnectGetHostnameReply {
            hostname: "bed".to_owned(),
        })
    }

    fn connect_get_type(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        loop {
            cx.cancel().check("sleeping")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn connect_get_version(&self, _: &mut CallContext<'_>) -> Result<ConnectGetVersionReply> {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

virt_api::driver!("sleeper", Sleeper, schemes = ["sleeper"]);
