//! The machine we run on: processors, memory, NUMA cells, caches, as `/sys` and `/proc` tell.
//!
//! [`Host`] reads below a root folder, `/` for the real machine, so that trees captured elsewhere can be tested. Every
//! answer is read anew. Numbers and rules (what counts as a core, when the topology is declared flat) are libvirt's,
//! because clients multiply them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::bitmap::Bitmap;
use crate::error::SystemResult;
use crate::{Result, VirtError};

mod cpu;
mod memory;
mod numa;
mod processor;
mod resctrl;

pub use cpu::{CacheBank, CacheKind, CpuPlace, CpuTimes, CpuTopology};
pub use memory::MemoryStat;
pub use numa::{CacheIndexing, CacheWriting, MemoryAccess, MemoryCache, NumaCell, Pages};
pub use processor::{CpuidLeaf, TscInfo};
pub use resctrl::{CacheLimit, MemoryLimit, ResourceControl, ResourceMonitor};

/// No file of `/sys` or `/proc` that is read here comes near this.
const FILE_LIMIT: u64 = 4 << 20;

/// A machine, seen through its `/sys` and `/proc`.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// This machine.
    pub fn system() -> Self {
        Self::at("/")
    }

    /// A machine whose `sys` and `proc` are in `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `/sys/devices/system/…`
    fn system_path(&self, below: &str) -> PathBuf {
        self.root.join("sys/devices/system").join(below)
    }

    fn proc_path(&self, below: &str) -> PathBuf {
        self.root.join("proc").join(below)
    }

    /// Whether devices can be isolated from each other: some IOMMU group exists.
    pub fn has_iommu(&self) -> bool {
        fs::read_dir(self.root.join("sys/kernel/iommu_groups"))
            .is_ok_and(|mut groups| groups.next().is_some())
    }

    /// Whether `/dev/kvm` exists and we may use it.
    pub fn has_kvm(&self) -> bool {
        let flags = nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK;
        nix::unistd::access(&self.root.join("dev/kvm"), flags).is_ok()
    }

    /// The UUID in the machine's firmware, as it is written there; `None` if it has none or we may not read it.
    pub fn firmware_uuid(&self) -> Option<String> {
        [
            "sys/devices/virtual/dmi/id/product_uuid",
            "sys/class/dmi/id/product_uuid",
        ]
        .iter()
        .find_map(|path| read_text(&self.root.join(path)).ok().flatten())
        .map(|text| text.trim().to_owned())
    }

    /// The CPUs that exist.
    pub fn present_cpus(&self) -> Result<Bitmap> {
        self.cpu_list("cpu/present")
    }

    /// The CPUs that run.
    pub fn online_cpus(&self) -> Result<Bitmap> {
        self.cpu_list("cpu/online")
    }

    fn cpu_list(&self, file: &str) -> Result<Bitmap> {
        let path = self.system_path(file);
        read_list(&path)?
            .ok_or_else(|| VirtError::system(libc::ENOENT, format_args!("cannot read '{}'", path.display())))
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::system()
    }
}

/// The whole file, `None` if there is none.
fn read_text(path: &Path) -> Result<Option<String>> {
    let bytes = match crate::durable::read(path, FILE_LIMIT) {
        Ok(bytes) => bytes,
        // Attributes of a CPU that was just taken away.
        Err(error) if error.int1() == libc::ENOTDIR => None,
        Err(error) => return Err(error),
    };
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A file that holds one number, `None` if there is none.
fn read_number<T: std::str::FromStr>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| {
        VirtError::internal(format_args!(
            "'{}' in file '{}' is not a number",
            text.trim(),
            path.display()
        ))
    })
}

/// A file that holds a list like `0-3,8`, `None` if there is none.
fn read_list(path: &Path) -> Result<Option<Bitmap>> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    Bitmap::parse_growing_or_empty(text.trim())
        .map(Some)
        .map_err(|error| error.context(format_args!("file '{}'", path.display())))
}

/// The numbers N of entries named `prefixN` in a folder, ascending; `None` if there is no such folder.
fn numbered_entries(folder: &Path, prefix: &str) -> Result<Option<Vec<u32>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(VirtError::io(
                &error,
                format_args!("cannot read directory '{}'", folder.display()),
            ));
        }
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.or_system(|| format!("cannot read directory '{}'", folder.display()))?;
        let name = entry.file_name();
        let number: Option<u32> = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix))
            .and_then(|rest| rest.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(Some(numbers))
}

#[cfg(test)]
mod tests;
