//! A driver that does not come back, but for its files. These calls do something:
//!
//! | call | does |
//! |---|---|
//! | `connect_get_hostname` | answers at once |
//! | `connect_get_type` | sleeps until it is cancelled |
//! | `connect_get_version` | sleeps and hears nothing |
//! | `storage_pool_get_info` | asks the file system below the folder that the URI names: `sleeper:///FOLDER` |
//! | `storage_vol_lookup_by_path` | a volume whose name is the path's last part |
//! | `storage_vol_upload`, `storage_vol_download` | a stream into and out of that folder's file of the volume's name |
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use virt_api::access::{Authorized, Resolved, Resolver, StoragePool, StorageVol, Unchecked};
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::protocol::remote::{
    ConnectGetHostnameReply, ConnectGetTypeReply, ConnectGetVersionReply, StoragePoolGetInfoReply,
    StorageVolLookupByPathReply, StorageVolRef,
};
use virt_api::protocol::traits::{HypervisorDriver, StorageDriver};
use virt_api::stream_end::FileStream;
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

/// `VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM` and its like for uploads.
const SPARSE: u32 = 1;

/// In calls a length of 0 is everything.
fn part(length: u64) -> Option<u64> {
    (length > 0).then_some(length)
}

struct Bed {
    folder: PathBuf,
}

impl Bed {
    fn file(&self, name: &str, options: &std::fs::OpenOptions) -> Result<File> {
        let name = Path::new(name).file_name().unwrap_or_default();
        let path = self.folder.join(name);
        let opened = options.open(&path);
        opened.map_err(|error| VirtError::io(&error, format_args!("cannot open {}", path.display())))
    }
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

    fn storage_vol_lookup_by_path(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        path: String,
    ) -> Result<Authorized<StorageVolLookupByPathReply>> {
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
        let volume = StorageVol {
            pool: StoragePool {
                name: "bed".to_owned(),
                uuid: uuid::Uuid::nil(),
            },
            name: name.into_owned(),
            key: path,
        };
        let permit = cx.authorize(&volume)?;
        let volume = StorageVolRef {
            pool: volume.pool.name,
            name: volume.name,
            key: volume.key,
        };
        Ok(permit.reply(StorageVolLookupByPathReply { volume }))
    }

    fn storage_vol_upload(
        &self,
        cx: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
        offset: u64,
        length: u64,
        flags: u32,
    ) -> Result<()> {
        let file = self.file(&volume.name, File::options().write(true))?;
        cx.attach_stream(FileStream::writer(
            file,
            offset,
            part(length),
            flags & SPARSE != 0,
        )?)
    }

    fn storage_vol_download(
        &self,
        cx: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
        offset: u64,
        length: u64,
        flags: u32,
    ) -> Result<()> {
        let file = self.file(&volume.name, File::options().read(true))?;
        cx.attach_stream(FileStream::reader(
            file,
            offset,
            part(length),
            flags & SPARSE != 0,
        )?)
    }
}

virt_api::driver!("sleeper", Sleeper, schemes = ["sleeper"]);
