//! A driver that does not come back. Four calls do something:
//!
//! | call | does |
//! |---|---|
//! | `connect_get_hostname` | answers at once |
//! | `connect_get_type` | sleeps until it is cancelled |
//! | `connect_get_version` | sleeps and hears nothing |
//! | `storage_pool_get_info` | asks the file system below the folder that the URI names: `sleeper:///FOLDER` |
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use virt_api::access::{Resolved, Resolver, StoragePool};
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::protocol::remote::{
    ConnectGetHostnameReply, ConnectGetTypeReply, ConnectGetVersionReply, StoragePoolGetInfoReply,
};
use virt_api::protocol::traits::{HypervisorDriver, StorageDriver};
use virt_api::testkit::Named;
use virt_api::{Result, VirtError};

/// The driver.
#[derive(Default)]
pub struct Sleeper;

impl Driver for Sleeper {
    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        let folder = cx.uri().strip_prefix("sleeper://").unwrap_or_default();
        Ok(Box::new(Bed {
            folder: PathBuf::from(folder),
        }))
    }
}

struct Bed {
    folder: PathBuf,
}

impl DriverConnection for Bed {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn storage(&self) -> Option<&dyn StorageDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(&Named(&[]))
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

#[virt_api::implements]
impl StorageDriver for Bed {
    fn storage_pool_get_info(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<StoragePool>,
    ) -> Result<StoragePoolGetInfoReply> {
        const RUNNING: u8 = 2;
        let found = nix::sys::statvfs::statvfs(&self.folder).map_err(|errno| {
            VirtError::system(
                errno as i32,
                format_args!("cannot look at {}", self.folder.display()),
            )
        })?;
        let size = |blocks: u64| blocks * found.fragment_size();
        Ok(StoragePoolGetInfoReply {
            state: RUNNING,
            capacity: size(found.blocks()),
            allocation: size(found.blocks() - found.blocks_free()),
            available: size(found.blocks_available()),
        })
    }
}

virt_api::driver!("sleeper", Sleeper, schemes = ["sleeper"]);
