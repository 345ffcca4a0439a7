//! What the kernel's `resctrl` can limit and measure: shares of caches and of memory's bandwidth.

use std::path::{Path, PathBuf};

use super::{CacheKind, Host, read_number, read_text};
use crate::{Result, VirtError};

/// What can be limited and measured; nothing of it on most machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceControl {
    /// Limits of caches, by level and kind.
    pub caches: Vec<CacheLimit>,
    /// Limits of memory's bandwidth.
    pub memory: Option<MemoryLimit>,
    /// What can be measured.
    pub monitor: Option<ResourceMonitor>,
}

/// How shares of the caches of a level can be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimit {
    /// The level.
    pub level: u32,
    /// What is limited.
    pub kind: CacheKind,
    /// Parts that a cache has.
    pub parts: u32,
    /// The fewest parts that can be given out.
    pub min_parts: u32,
    /// How many groups of processes can be told apart.
    pub groups: u32,
}

/// How shares of memory's bandwidth can be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Steps, in percent.
    pub granularity: u32,
    /// The smallest share, in percent.
    pub min: u32,
    /// How many groups of processes can be told apart.
    pub groups: u32,
}

/// What can be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceMonitor {
    /// How many groups of processes can be told apart.
    pub groups: u32,
    /// Below how many bytes a cache counts as free; 0 if the use of caches is not measured.
    pub threshold: u32,
    /// Names of what is measured.
    pub features: Vec<String>,
}

impl Host {
    /// What the kernel can limit and measure of the use of caches and memory.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for files that the kernel does not write so.
    pub fn resource_control(&self) -> Result<ResourceControl> {
        let info = self.root.join("sys/fs/resctrl/info");
        let Ok(entries) = std::fs::read_dir(&info) else {
            return Ok(ResourceControl::default());
        };
        let mut caches = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if let Some((level, kind)) = name.to_str().and_then(cache_of) {
                caches.push(cache_limit(&entry.path(), level, kind)?);
            }
        }
        caches.sort_by_key(|limit| (limit.level, limit.kind));
        Ok(ResourceControl {
            caches,
            memory: memory_limit(&info.join("MB"))?,
            monitor: monitor(&info.join("L3_MON"))?,
        })
    }
}

/// `L3`, `L3CODE`, `L2DATA`.
fn cache_of(name: &str) -> Option<(u32, CacheKind)> {
    let rest = name.strip_prefix('L')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (level, kind) = rest.split_at(digits);
    let kind = match kind {
        "" => CacheKind::Unified,
        "CODE" => CacheKind::Instruction,
        "DATA" => CacheKind::Data,
        _ => return None,
    };
    Some((level.parse().ok()?, kind))
}

fn required(path: PathBuf) -> Result<u32> {
    read_number(&path)?.ok_or_else(|| VirtError::internal(format_args!("'{}' is missing", path.display())))
}

fn cache_limit(folder: &Path, level: u32, kind: CacheKind) -> Result<CacheLimit> {
    let path = folder.join("cbm_mask");
    let mask = read_text(&path)?.unwrap_or_default();
    let mut parts = 0;
    for digit in mask.trim().chars().filter(|c| *c != ',') {
        parts += digit.to_digit(16).map(u32::count_ones).ok_or_else(|| {
            VirtError::internal(format_args!(
                "'{}' in file '{}' is not a mask",
                mask.trim(),
                path.display()
            ))
        })?;
    }
    if parts == 0 {
        return Err(VirtError::internal(format_args!(
            "file '{}' has no mask",
            path.display()
        )));
    }
    Ok(CacheLimit {
        level,
        kind,
        parts,
        min_parts: required(folder.join("min_cbm_bits"))?,
        groups: read_number(&folder.join("num_closids"))?.unwrap_or(0),
    })
}

fn memory_limit(folder: &Path) -> Result<Option<MemoryLimit>> {
    let Some(granularity) = read_number(&folder.join("bandwidth_gran"))? else {
        return Ok(None);
    };
    Ok(Some(MemoryLimit {
        granularity,
        min: required(folder.join("min_bandwidth"))?,
        groups: required(folder.join("num_closids"))?,
    }))
}

fn monitor(folder: &Path) -> Result<Option<ResourceMonitor>> {
    let Some(groups) = read_number(&folder.join("num_rmids"))? else {
        return Ok(None);
    };
    let features = read_text(&folder.join("mon_features"))?.unwrap_or_default();
    Ok(Some(ResourceMonitor {
        groups,
        threshold: read_number(&folder.join("max_threshold_occupancy"))?.unwrap_or(0),
        features: features.lines().map(str::to_owned).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_limited_is_read() {
        let root = tempfile::tempdir().unwrap();
        let info = root.path().join("sys/fs/resctrl/info");
        for (file, text) in [
            ("L3CODE/cbm_mask", "fffff\n"),
            ("L3CODE/min_cbm_bits", "2\n"),
            ("L3CODE/num_closids", "8\n"),
            ("L3_MON/num_rmids", "176\n"),
            ("L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
            ("MB/bandwidth_gran", "10\n"),
            ("MB/min_bandwidth", "10\n"),
            ("MB/num_closids", "4\n"),
        ] {
            let path = info.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let control = Host::at(root.path()).resource_control().unwrap();
        let limit = CacheLimit {
            level: 3,
            kind: CacheKind::Instruction,
            parts: 20,
            min_parts: 2,
            groups: 8,
        };
        assert_eq!(control.caches, [limit]);
        assert_eq!(control.memory.map(|memory| memory.groups), Some(4));
        assert_eq!(control.monitor.map(|monitor| monitor.features.len()), Some(2));
        std::fs::write(info.join("L3CODE/cbm_mask"), "none\n").unwrap();
        assert!(Host::at(root.path()).resource_control().is_err());
        assert_eq!(
            Host::at("/nowhere").resource_control().unwrap(),
            ResourceControl::default()
        );
    }
}
