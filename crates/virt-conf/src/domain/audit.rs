//! What the host's audit trail is told about a guest: its start with everything that it gets, its end, and changes.
//!
//! Names and values are libvirt's, so that programs that read the trail work unchanged. Start at [`GuestAudit`].

use virt_util::audit::{AuditKind, AuditRecord};
use virt_util::types::DomainShutoffReason;
use virt_util::xml::XmlValue as _;

use super::Domain;
use super::chardev::{ChardevSource, ConsoleTargetType, Smartcard, SmartcardSource};
use super::filesystem::{Filesystem, FilesystemSource};
use super::hostdev::{Hostdev, HostdevCaps, HostdevPass, HostdevSubsys, ScsiHostdev};
use super::input::{Input, InputType};
use super::interface::Interface;
use super::os::OsType;
use super::small::{Rng, RngSource, Shmem, Tpm, TpmBackend};
use super::storage::{StorageLocation, StorageSource};

/// The certificates of smart cards where a guest names none.
const SMARTCARD_DATABASE: &str = "/etc/pki/nssdb";

/// Makes the records of one guest.
#[derive(Clone, Copy, Debug)]
pub struct GuestAudit<'a> {
    domain: &'a Domain,
}

impl<'a> GuestAudit<'a> {
    /// Of the guest with this definition: of a running one, its live definition.
    pub fn new(domain: &'a Domain) -> Self {
        Self { domain }
    }

    /// Everything about a start: `reason` is `booted`, `from-snapshot`, `migrated` …
    pub fn start(&self, pid: i64, reason: &str, success: bool) -> Vec<AuditRecord> {
        let mut all = self.resources("start");
        all.push(self.lifecycle("start", pid, reason, success));
        all
    }

    /// The end.
    pub fn stop(&self, pid: i64, reason: DomainShutoffReason) -> AuditRecord {
        let reason = match reason {
            DomainShutoffReason::SHUTDOWN => "shutdown",
            DomainShutoffReason::DESTROYED => "destroyed",
            DomainShutoffReason::CRASHED => "crashed",
            DomainShutoffReason::MIGRATED => "migrated",
            DomainShutoffReason::SAVED => "saved",
            DomainShutoffReason::FROM_SNAPSHOT => "from-snapshot",
            _ => "failed",
        };
        self.lifecycle("stop", pid, reason, true)
    }

    /// The security labels that the guest has got.
    pub fn labels(&self, success: bool) -> Vec<AuditRecord> {
        let labels = self.domain.seclabels.iter();
        labels
            .map(|label| {
                self.guest(AuditRecord::new(AuditKind::MachineId, success).word("virt", self.virt()))
                    .text_of("vm-ctx", label.label.as_deref())
                    .text_of("img-ctx", label.image_label.as_deref())
                    .word("model", label.model.as_deref().unwrap_or("?"))
            })
            .collect()
    }

    /// A disk's image was exchanged (`attach`, `detach`, `update`, `snapshot`, `mirror`). Nothing is said of images
    /// that are not on this host.
    pub fn disk(
        &self,
        old: Option<&StorageSource>,
        new: Option<&StorageSource>,
        reason: &str,
        success: bool,
    ) -> Option<AuditRecord> {
        self.device(
            "disk",
            old.and_then(local_path),
            new.and_then(local_path),
            reason,
            success,
        )
    }

    /// An interface came or went.
    pub fn interface(
        &self,
        old: Option<&Interface>,
        new: Option<&Interface>,
        reason: &str,
        success: bool,
    ) -> Option<AuditRecord> {
        let mac = |interface: Option<&Interface>| interface?.mac.address.as_ref().map(ToString::to_string);
        self.device("net", mac(old).as_deref(), mac(new).as_deref(), reason, success)
    }

    /// The guest has another amount of memory, in KiB.
    pub fn memory(&self, old: u64, new: u64, reason: &str, success: bool) -> AuditRecord {
        self.amount("mem", old, new, reason, success)
    }

    /// The guest has another number of CPUs.
    pub fn vcpus(&self, old: u32, new: u32, reason: &str, success: bool) -> AuditRecord {
        self.amount("vcpu", old.into(), new.into(), reason, success)
    }

    /// The guest has another number of threads for disks.
    pub fn iothreads(&self, old: u64, new: u64, reason: &str, success: bool) -> AuditRecord {
        self.amount("iothread", old, new, reason, success)
    }

    /// A device of the host was given to the guest or taken back. Nothing is said of devices on the network.
    pub fn hostdev(&self, hostdev: &Hostdev, reason: &str, success: bool) -> Option<AuditRecord> {
        let subsystem = match &hostdev.mode {
            HostdevPass::Subsystem(subsystem) => subsystem,
            HostdevPass::Capabilities(HostdevCaps::Storage { block }) => {
                return Some(
                    self.resource("hostdev", reason, success)
                        .text_of("disk", Some(block)),
                );
            }
            HostdevPass::Capabilities(HostdevCaps::Misc { character }) => {
                return Some(
                    self.resource("hostdev", reason, success)
                        .text_of("chardev", Some(character)),
                );
            }
            HostdevPass::Capabilities(HostdevCaps::Net { .. }) => return None,
        };
        let (bus, address) = match &**subsystem {
            HostdevSubsys::Pci { device, .. } => ("pci", device.address.to_string()),
            HostdevSubsys::Usb { device, .. } => ("usb", format!("{:03}.{:03}", device.bus, device.device)),
            HostdevSubsys::Scsi { device, .. } => match device {
                ScsiHostdev::Adapter {
                    adapter,
                    bus,
                    target,
                    unit,
                    ..
                } => ("scsi", format!("{adapter}:{bus}:{target}:{unit}")),
                ScsiHostdev::Iscsi { .. } => return None,
            },
            HostdevSubsys::ScsiHost { wwpn, .. } => ("scsi_host", wwpn.clone()),
            HostdevSubsys::Mdev { uuid, .. } => ("mdev", virt_util::uuid::format(uuid)),
        };
        let record = self.resource("dev", reason, success).word("bus", bus);
        Some(record.text_of("device", Some(&address)))
    }

    /// All that the guest gets when it starts.
    fn resources(&self, reason: &str) -> Vec<AuditRecord> {
        let devices = &self.domain.devices;
        let mut all: Vec<Option<AuditRecord>> = Vec::new();
        let disks = devices.disks.iter();
        all.extend(disks.map(|disk| self.disk(None, Some(&disk.source), reason, true)));
        let filesystems = devices.filesystems.iter();
        all.extend(filesystems.map(|one| self.device("fs", None, filesystem_path(one), reason, true)));
        let interfaces = devices.interfaces.iter();
        all.extend(interfaces.map(|one| self.interface(None, Some(one), reason, true)));
        all.extend(devices.hostdevs.iter().map(|one| self.hostdev(one, reason, true)));
        for _ in devices.redirdevs.iter() {
            let record = self.resource("dev", reason, true).word("bus", "usb");
            all.push(Some(record.text_of("device", Some("USB redirdev"))));
        }
        let chardev = |source: &ChardevSource| self.device("chardev", None, source.path(), reason, true);
        all.extend(devices.serials.iter().map(|one| chardev(&one.host.source)));
        all.extend(devices.parallels.iter().map(|one| chardev(&one.host.source)));
        all.extend(devices.channels.iter().map(|one| chardev(&one.host.source)));
        for (index, console) in devices.consoles.iter().enumerate() {
            // The first of a full machine is its serial port once more.
            let again = index == 0
                && console.target_type == ConsoleTargetType::Serial
                && self.domain.os.kind.os == OsType::Hvm;
            if !again {
                all.push(chardev(&console.host.source));
            }
        }
        for smartcard in devices.smartcards.iter() {
            self.smartcard(smartcard, reason, &mut all);
        }
        all.extend(
            devices
                .rngs
                .iter()
                .map(|one| self.device("rng", None, rng_path(one), reason, true)),
        );
        all.extend(devices.tpms.iter().map(|one| Some(self.tpm(one, reason))));
        all.extend(devices.shmems.iter().map(|one| Some(self.shmem(one, reason))));
        all.extend(devices.inputs.iter().map(|one| self.input(one, reason)));
        let mut all: Vec<AuditRecord> = all.into_iter().flatten().collect();
        all.push(self.memory(0, self.domain.memory.size, reason, true));
        let vcpus = &self.domain.vcpus;
        all.push(self.vcpus(0, vcpus.current.unwrap_or(vcpus.max), reason, true));
        let iothreads = self.domain.iothreads.len() as u64;
        if iothreads > 0 {
            all.push(self.iothreads(0, iothreads, reason, true));
        }
        all
    }

    fn smartcard(&self, smartcard: &Smartcard, reason: &str, all: &mut Vec<Option<AuditRecord>>) {
        let mut add = |path: Option<&str>| all.push(self.device("smartcard", None, path, reason, true));
        match &smartcard.source {
            SmartcardSource::Host => add(Some("nss-smartcard-device")),
            SmartcardSource::HostCertificates {
                certificates,
                database,
            } => {
                certificates.iter().for_each(|certificate| add(Some(certificate)));
                add(Some(database.as_deref().unwrap_or(SMARTCARD_DATABASE)));
            }
            SmartcardSource::Passthrough(host) => add(host.source.path()),
        }
    }

    fn tpm(&self, tpm: &Tpm, reason: &str) -> AuditRecord {
        let (kind, path) = match &tpm.backend {
            TpmBackend::Passthrough { path } => ("tpm", path.as_deref()),
            TpmBackend::Emulator(_) => ("tpm-emulator", None),
            TpmBackend::External { source } => ("tpm-external", Some(source.path.as_str())),
        };
        self.resource(kind, reason, true).text_of("device", path)
    }

    fn shmem(&self, shmem: &Shmem, reason: &str) -> AuditRecord {
        match &shmem.server {
            Some(server) => self
                .resource("ivshmem-socket", reason, true)
                .text_of("path", server.path.as_deref()),
            None => self
                .resource("shmem", reason, true)
                .word("size", shmem.size.unwrap_or_default())
                .text_of("path", Some(&format!("/dev/shm/{}", shmem.name))),
        }
    }

    fn input(&self, input: &Input, reason: &str) -> Option<AuditRecord> {
        matches!(input.kind, InputType::Passthrough | InputType::Evdev).then(|| {
            self.resource("evdev", reason, true)
                .text_of("path", input.evdev.as_deref())
        })
    }

    /// A thing that has a path on the host, or had one.
    fn device(
        &self,
        kind: &str,
        old: Option<&str>,
        new: Option<&str>,
        reason: &str,
        success: bool,
    ) -> Option<AuditRecord> {
        if old.is_none() && new.is_none() {
            return None;
        }
        let record = self.resource(kind, reason, success);
        let record = record.text_of(&format!("old-{kind}"), old);
        Some(record.text_of(&format!("new-{kind}"), new))
    }

    fn amount(&self, kind: &str, old: u64, new: u64, reason: &str, success: bool) -> AuditRecord {
        self.resource(kind, reason, success)
            .word(&format!("old-{kind}"), old)
            .word(&format!("new-{kind}"), new)
    }

    fn resource(&self, kind: &str, reason: &str, success: bool) -> AuditRecord {
        let record = AuditRecord::new(AuditKind::Resource, success).word("virt", self.virt());
        self.guest(record.word("resrc", kind).word("reason", reason))
    }

    fn lifecycle(&self, operation: &str, pid: i64, reason: &str, success: bool) -> AuditRecord {
        let record = AuditRecord::new(AuditKind::MachineControl, success).word("virt", self.virt());
        self.guest(record.word("op", operation).word("reason", reason))
            .word("vm-pid", pid)
    }

    fn guest(&self, record: AuditRecord) -> AuditRecord {
        let uuid = self.domain.uuid.unwrap_or_default();
        record
            .text_of("vm", Some(&self.domain.name))
            .word("uuid", virt_util::uuid::format(&uuid))
    }

    fn virt(&self) -> String {
        let mut word = String::new();
        self.domain.virt_type.format_value(&mut word);
        word
    }
}

fn local_path(source: &StorageSource) -> Option<&str> {
    match &source.location {
        StorageLocation::File { path, .. }
        | StorageLocation::Block { path, .. }
        | StorageLocation::Dir { path, .. } => path.as_deref(),
        _ => None,
    }
}

fn filesystem_path(filesystem: &Filesystem) -> Option<&str> {
    match &filesystem.source {
        FilesystemSource::Mount { dir, .. } | FilesystemSource::Bind { dir, .. } => dir.as_deref(),
        FilesystemSource::Block { dev } => dev.as_deref(),
        FilesystemSource::File { file } => file.as_deref(),
        FilesystemSource::Template { name } => name.as_deref(),
        FilesystemSource::Ram { .. } | FilesystemSource::Volume { .. } => None,
    }
}

fn rng_path(rng: &Rng) -> Option<&str> {
    match &rng.backend {
        RngSource::Random { path } => path.as_deref(),
        RngSource::Egd(host) => host.source.path(),
        RngSource::Builtin => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(xml: &str, reason: &str, success: bool) -> Vec<String> {
        let domain = Domain::parse(xml, virt_util::xml::XmlFlags::empty(), "test").unwrap();
        GuestAudit::new(&domain)
            .start(17, reason, success)
            .iter()
            .map(AuditRecord::text)
            .collect()
    }

    #[test]
    fn an_end_tells_why() {
        let xml = "<domain type='test'><name>a</name><memory>1</memory><os><type>hvm</type></os></domain>";
        let domain = Domain::parse(xml, virt_util::xml::XmlFlags::empty(), "test").unwrap();
        let stop = GuestAudit::new(&domain).stop(0, DomainShutoffReason::DESTROYED);
        assert_eq!(
            stop.text(),
            "virt=test op=stop reason=destroyed vm=\"a\" uuid=00000000-0000-0000-0000-000000000000 vm-pid=0"
        );
    }

    #[test]
    fn a_start_tells_everything_that_the_guest_gets() {
        let records = texts(
            "<domain type='kvm'><name>web 1</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
             <memory unit='KiB'>1024</memory><vcpu current='2'>4</vcpu><os><type>hvm</type></os><devices>
             <disk type='file' device='disk'><source file='/images/a b'/><target dev='vda' bus='virtio'/></disk>
             <disk type='network' device='disk'><source protocol='nbd' name='x'><host name='far'/></source>
               <target dev='vdb' bus='virtio'/></disk>
             <interface type='user'><mac address='52:54:00:00:00:01'/></interface>
             <hostdev mode='subsystem' type='pci'><source><address domain='0' bus='6' slot='2' function='1'/></source>
             </hostdev>
             <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
             </devices></domain>",
            "booted",
            true,
        );
        let guest = "vm=7765622031 uuid=c7a5fdbd-edaf-9455-926a-d65c16db1809";
        let wanted = [
            format!(
                "virt=kvm resrc=disk reason=start {guest} old-disk=\"?\" new-disk=2F696D616765732F612062"
            ),
            format!("virt=kvm resrc=net reason=start {guest} old-net=\"?\" new-net=\"52:54:00:00:00:01\""),
            format!("virt=kvm resrc=dev reason=start {guest} bus=pci device=\"0000:06:02.1\""),
            format!("virt=kvm resrc=rng reason=start {guest} old-rng=\"?\" new-rng=\"/dev/urandom\""),
            format!("virt=kvm resrc=mem reason=start {guest} old-mem=0 new-mem=1024"),
            format!("virt=kvm resrc=vcpu reason=start {guest} old-vcpu=0 new-vcpu=2"),
            format!("virt=kvm op=start reason=booted {guest} vm-pid=17"),
        ];
        assert_eq!(records, wanted);
    }
}
