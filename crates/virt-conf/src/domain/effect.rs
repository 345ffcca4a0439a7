//! What a change of a domain's definition means for a guest that runs.
//!
//! A definition counts from the next boot on. Some of what can change in it can also be brought about while the guest
//! runs, by commands of their own; some is nothing that a guest sees.

use std::fmt;

use crate::diff::Change;

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once: nothing that a guest sees.
    AtOnce,
    /// At the next boot; the command does the same to the guest that runs.
    Live(&'static str),
    /// At the next boot.
    NextBoot,
    /// Never: the driver fills in what was left out.
    FilledIn,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("at once"),
            Self::Live(command) => write!(f, "at the next boot; now with '{command}'"),
            Self::NextBoot => f.write_str("at the next boot"),
            Self::FilledIn => f.write_str("left to the driver"),
        }
    }
}

/// What no guest sees.
const AT_ONCE: [&str; 3] = ["title", "description", "metadata"];

/// What can be done to a guest that runs; the longer path before the shorter.
const LIVE: [(&str, &str); 27] = [
    ("currentMemory", "setmem"),
    ("vcpu@current", "setvcpus"),
    ("vcpus/vcpu", "setvcpu"),
    ("cputune/vcpupin", "vcpupin"),
    ("cputune/emulatorpin", "emulatorpin"),
    ("cputune/iothreadpin", "iothreadpin"),
    ("cputune", "schedinfo"),
    ("memtune", "memtune"),
    ("blkiotune", "blkiotune"),
    ("numatune/memory@nodeset", "numatune"),
    ("iothreadids", "iothreadset"),
    ("throttlegroups", "domthrottlegroupset"),
    ("perf", "perf"),
    ("on_poweroff", "set-lifecycle-action"),
    ("on_reboot", "set-lifecycle-action"),
    ("on_crash", "set-lifecycle-action"),
    ("devices/disk/iotune", "blkdeviotune"),
    ("devices/disk/source", "change-media"),
    ("devices/interface/bandwidth", "domiftune"),
    ("devices/interface/link", "domif-setlink"),
    ("devices/interface/source", "update-device"),
    ("devices/interface/filterref", "update-device"),
    ("devices/graphics@passwd", "update-device"),
    ("devices/graphics@passwdValidTo", "update-device"),
    ("devices/graphics@connected", "update-device"),
    ("devices/memory/target/requested", "update-memory-device"),
    ("devices/memballoon/stats", "dommemstat"),
];

/// Families of devices that can be plugged in and out.
const PLUGGABLE: [&str; 14] = [
    "disk",
    "interface",
    "hostdev",
    "rng",
    "memory",
    "redirdev",
    "channel",
    "watchdog",
    "shmem",
    "vsock",
    "input",
    "controller",
    "lease",
    "filesystem",
];

/// What the driver fills in where a definition does not say it.
const FILLED_IN: [&str; 9] = [
    "uuid",
    "currentMemory",
    "devices/emulator",
    "address",
    "alias",
    "mac",
    "backingStore",
    "model",
    "target",
];

/// When a change takes effect.
pub fn effect(change: &Change) -> Effect {
    let path = plain(&change.path);
    let below = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
    };
    if AT_ONCE.iter().any(|root| below(root)) {
        return Effect::AtOnce;
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    if change.new.is_none() && FILLED_IN.iter().any(|name| *name == path || *name == last) {
        return Effect::FilledIn;
    }
    if let Some((_, command)) = LIVE.iter().find(|(root, _)| below(root)) {
        return Effect::Live(command);
    }
    match (path.strip_prefix("devices/"), &change.old, &change.new) {
        (Some(family), None, Some(_)) if PLUGGABLE.contains(&family) => Effect::Live("attach-device"),
        (Some(family), Some(_), None) if PLUGGABLE.contains(&family) => Effect::Live("detach-device"),
        _ => Effect::NextBoot,
    }
}

/// A path without what names elements among their like.
fn plain(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut depth = 0usize;
    for c in path.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, old: Option<&str>, new: Option<&str>) -> Effect {
        effect(&Change {
            path: path.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        })
    }

    #[test]
    fn each_kind() {
        let changed = |path| of(path, Some("a"), Some("b"));
        assert_eq!(changed("title"), Effect::AtOnce);
        assert_eq!(changed("os/type@machine"), Effect::NextBoot);
        assert_eq!(changed("cputune/vcpupin[0]@cpuset"), Effect::Live("vcpupin"));
        assert_eq!(
            changed("devices/disk[vda]/iotune/total_iops_sec"),
            Effect::Live("blkdeviotune")
        );
        assert_eq!(changed("devices/disk[vda]/driver@cache"), Effect::NextBoot);
        assert_eq!(
            of("devices/disk[vdb]", None, Some("<disk/>")),
            Effect::Live("attach-device")
        );
        assert_eq!(
            of("devices/disk[vdb]", Some("<disk/>"), None),
            Effect::Live("detach-device")
        );
        assert_eq!(of("devices/tpm", None, Some("<tpm/>")), Effect::NextBoot);
        assert_eq!(
            of("devices/disk[vda]/address", Some("<address/>"), None),
            Effect::FilledIn
        );
        assert_eq!(of("uuid", Some("x"), None), Effect::FilledIn);
    }
}
