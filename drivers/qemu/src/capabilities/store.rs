//! Capabilities of the binaries on this host, probed once and kept.
//!
//! [`Store::get`] answers from memory while binary, QEMU's modules and the host are as they were, from the cache file
//! next, and by starting the binary last. The files are libvirt's, in libvirt's place: `SHA256(path).xml`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use virt_util::command::{Command, Sink, Spawner};
use virt_util::durable::{self, WriteOptions};
use virt_util::error::SystemResult as _;
use virt_util::host::Host;
use virt_util::time::{Cancel, Deadline};
use virt_util::{Arch, ErrorDomain, Result, VirtError};

use super::{HostFingerprint, QemuCaps, arch_to_qemu, cache_xml, guest_is_native, probe};
use crate::monitor::BlockingQmp;

/// Where QEMU's modules lie; a change there changes what a binary can do.
const MODULE_FOLDER: &str = "/usr/lib/x86_64-linux-gnu/qemu";
/// Longest time a probe may take. A host under load starts QEMU slowly; nobody but the caller waits.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// Largest cache file that is read.
const CACHE_LIMIT: u64 = 8 << 20;

/// Probed binaries.
pub struct Store {
    /// Folder of the cache files; `None` keeps results in memory only.
    folder: Option<PathBuf>,
    spawner: Arc<dyn Spawner>,
    host: Host,
    /// The binaries in memory; each has a lock of its own, so that a probe holds up only those who ask for the same.
    known: Mutex<HashMap<PathBuf, Arc<Mutex<Option<Known>>>>>,
}

struct Known {
    stamp: Stamp,
    caps: Arc<QemuCaps>,
}

/// What a result is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: (i64, i64),
    ctime: i64,
    module_mtime: i64,
    kvm: bool,
}

impl Store {
    /// A store that starts binaries with `spawner` and keeps files in `folder`.
    pub fn new(folder: Option<PathBuf>, spawner: Arc<dyn Spawner>, host: Host) -> Self {
        Self {
            folder,
            spawner,
            host,
            known: Mutex::default(),
        }
    }

    /// What `binary` can do.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` for a binary that cannot be started, `CONFIG_UNSUPPORTED` for one that is too old, and what a
    /// binary that is no QEMU makes of a probe.
    pub fn get(&self, binary: &Path, deadline: Deadline, cancel: &Cancel) -> Result<Arc<QemuCaps>> {
        let stamp = self.stamp(binary)?;
        let slot = self.known.lock().entry(binary.to_owned()).or_default().clone();
        let mut slot = slot.lock();
        if let Some(known) = slot.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.caps.clone());
        }
        let caps = match self.load(binary, &stamp) {
            Some(caps) => caps,
            None => {
                let caps = self.probe(binary, &stamp, deadline, cancel)?;
                self.save(binary, &caps);
                caps
            }
        };
        let caps = Arc::new(caps);
        *slot = Some(Known {
            stamp,
            caps: caps.clone(),
        });
        Ok(caps)
    }

    fn stamp(&self, binary: &Path) -> Result<Stamp> {
        let metadata = fs::metadata(binary)
            .or_system(|| format!("cannot look at emulator '{}'", binary.display()))
            .map_err(|error| error.in_domain(ErrorDomain::QEMU))?;
        Ok(Stamp {
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: metadata.ctime(),
            module_mtime: fs::metadata(MODULE_FOLDER).map_or(0, |folder| folder.mtime()),
            kvm: kvm_is_usable(),
        })
    }

    fn file(&self, binary: &Path) -> Option<PathBuf> {
        let digest = Sha256::digest(binary.as_os_str().as_encoded_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.folder.as_ref()?.join(name + ".xml"))
    }

    fn load(&self, binary: &Path, stamp: &Stamp) -> Option<QemuCaps> {
        let file = self.file(binary)?;
        let text = String::from_utf8(durable::read(&file, CACHE_LIMIT).ok()??).ok()?;
        let caps = match cache_xml::parse(&text, &file.display().to_string()) {
            Ok(caps) => caps,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "QEMU capability cache ignored");
                return None;
            }
        };
        let arch = caps.arch?;
        let native = Arch::host().is_some_and(|host| guest_is_native(host, arch));
        let fresh = Path::new(&caps.binary) == binary
            && caps.binary_ctime == stamp.ctime
            && caps.module_dir_mtime == stamp.module_mtime
            && caps.self_ctime == self_ctime()
            && caps.self_version == super::SELF_VERSION
            && (!native || caps.has(super::Flag::Kvm) == stamp.kvm)
            && (!caps.has_hardware_accel() || {
                let cpu_data = caps.host.cpu_data.clone();
                caps.host
                    == HostFingerprint {
                        cpu_data,
                        ..self.fingerprint(arch)
                    }
            });
        fresh.then_some(caps)
    }

    fn save(&self, binary: &Path, caps: &QemuCaps) {
        let Some(file) = self.file(binary) else { return };
        // A lost cache costs one probe: not worth a flush to disk, and no reason to fail.
        let options = WriteOptions {
            sync: false,
            ..WriteOptions::default()
        };
        let folder = file.parent().unwrap_or(Path::new("/"));
        let saved = durable::make_folder(folder, 0o755)
            .and_then(|()| durable::write(&file, cache_xml::format(caps).as_bytes(), &options));
        if let Err(error) = saved {
            tracing::warn!(file = %file.display(), %error, "QEMU capabilities not cached");
        }
    }

    fn probe(&self, binary: &Path, stamp: &Stamp, deadline: Deadline, cancel: &Cancel) -> Result<QemuCaps> {
        let deadline = deadline.at_most(PROBE_LIMIT);
        let mut caps = self.converse(binary, "kvm:hvf:tcg", deadline, cancel, |peer| {
            probe::probe(peer, false)
        })?;
        if probe::needs_tcg_probe(&caps) {
            self.converse(binary, "tcg", deadline, cancel, |peer| {
                probe::probe_tcg(&mut caps, peer)
            })?;
        }
        caps.binary = binary.display().to_string();
        caps.binary_ctime = stamp.ctime;
        caps.module_dir_mtime = stamp.module_mtime;
        caps.self_ctime = self_ctime();
        caps.self_version = super::SELF_VERSION;
        if caps.has_hardware_accel() {
            caps.host = self.fingerprint(caps.arch.unwrap_or(Arch::X86_64));
        }
        if caps.has(super::Flag::Kvm) {
            caps.kvm_supports_nesting = kvm_nests();
            caps.kvm_supports_secure_guest = kvm_is_confidential();
        }
        Ok(caps)
    }

    /// Starts the binary without a machine and talks to it; it ends with the conversation.
    fn converse<T>(
        &self,
        binary: &Path,
        accel: &str,
        deadline: Deadline,
        cancel: &Cancel,
        talk: impl FnOnce(&mut BlockingQmp) -> Result<T>,
    ) -> Result<T> {
        let (ours, theirs) = UnixStream::pair().or_system(|| "cannot make a socket for the QEMU monitor")?;
        let mut command = Command::new(binary);
        command.env_pass_common();
        let fd = command.pass_next_fd(theirs.into());
        command
            .args(["-S", "-no-user-config", "-nodefaults", "-nographic"])
            .args(["-machine", &format!("none,accel={accel}")])
            .args(["-chardev", &format!("socket,id=charmonitor,fd={fd}")])
            .args(["-mon", "chardev=charmonitor,id=monitor,mode=control"])
            .stderr(Sink::Null)
            .death_signal(9);
        let child = self.spawner.spawn(&command, deadline, cancel)?;
        // Ours holds the only other copy of the peer's end: the conversation ends when QEMU does.
        drop(command);
        let result = BlockingQmp::new(ours, deadline, cancel.clone()).and_then(|mut peer| talk(&mut peer));
        // It has nothing to lose.
        if let Err(error) = child.kill(Deadline::after(Duration::from_secs(5))) {
            tracing::warn!(binary = %binary.display(), %error, "probed QEMU not ended");
        }
        result.map_err(|error| {
            let what = format!("emulator '{}' does not tell what it can do", binary.display());
            VirtError::context(error, what)
        })
    }

    fn fingerprint(&self, arch: Arch) -> HostFingerprint {
        let kernel = nix::sys::utsname::uname().ok().map(|uname| {
            format!(
                "{} {}",
                uname.release().to_string_lossy(),
                uname.version().to_string_lossy()
            )
        });
        HostFingerprint {
            microcode_version: self.host.microcode().unwrap_or(0),
            cpu_signature: self.host.cpu_signature(arch).ok().flatten(),
            kernel_version: kernel,
            cpu_data: None,
        }
    }
}

/// The emulator for guests of `guest` on a host of `host`, looked for in `PATH`: the one named after the guest, the
/// host's own if that runs such guests, or the one that some distributions ship out of the way.
pub fn find_emulator(host: Arch, guest: Arch) -> Option<PathBuf> {
    let in_path = |arch: Arch| {
        let name = format!("qemu-system-{}", arch_to_qemu(arch));
        virt_util::command::find_program(Path::new(&name)).ok()
    };
    // KVM runs 32-bit ARM guests only in the 64-bit emulator.
    if host == Arch::Aarch64
        && guest == Arch::Armv7l
        && let Some(found) = in_path(host)
    {
        return Some(found);
    }
    let native = guest_is_native(host, guest);
    let mut target = if native { host } else { guest };
    if target.is_ppc64() {
        target = Arch::Ppc64;
    }
    in_path(guest)
        .or_else(|| (target != guest).then(|| in_path(target)).flatten())
        .or_else(|| {
            let alone = Path::new("/usr/libexec/qemu-kvm");
            (native && alone.exists()).then(|| alone.to_owned())
        })
}

fn self_ctime() -> i64 {
    std::env::current_exe()
        .and_then(fs::metadata)
        .map_or(0, |metadata| metadata.ctime())
}

fn kvm_is_usable() -> bool {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

fn kvm_nests() -> bool {
    ["kvm_intel", "kvm_amd", "kvm_hv", "kvm"].iter().any(|module| {
        let path = format!("/sys/module/{module}/parameters/nested");
        fs::read_to_string(path).is_ok_and(|value| value.starts_with(['Y', 'y', '1']))
    })
}

fn kvm_is_confidential() -> bool {
    let on = fs::read_to_string("/sys/module/kvm_amd/parameters/sev");
    on.is_ok_and(|value| value.starts_with(['Y', 'y', '1'])) && Path::new("/dev/sev").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::command::SystemSpawner;

    #[test]
    fn the_real_binary_is_probed_once() {
        let Some(binary) = Arch::host().and_then(|host| find_emulator(host, host)) else {
            println!("SKIP: no QEMU is installed");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let store = || {
            Store::new(
                Some(folder.path().to_owned()),
                Arc::new(SystemSpawner),
                Host::system(),
            )
        };
        let first = store().get(&binary, Deadline::NONE, &Cancel::never()).unwrap();
        assert!(first.version >= 6_002_000);
        assert!(first.has(super::super::Flag::DevicePciSerial) || first.arch != Some(Arch::X86_64));
        assert!(!first.accel(first.preferred_accel().unwrap()).machines.is_empty());
        let second = store();
        let loaded = second.get(&binary, Deadline::NONE, &Cancel::never()).unwrap();
        assert_eq!(*first, *loaded);
        assert!(Arc::ptr_eq(
            &loaded,
            &second.get(&binary, Deadline::NONE, &Cancel::never()).unwrap()
        ));
    }

    #[test]
    fn a_binary_that_is_no_qemu_is_told_as_such() {
        let store = Store::new(None, Arc::new(SystemSpawner), Host::system());
        for binary in ["/bin/true", "/nonexistent"] {
            let error = store
                .get(Path::new(binary), Deadline::NONE, &Cancel::never())
                .unwrap_err();
            assert!(error.message().contains(binary), "{error}");
        }
    }
}
