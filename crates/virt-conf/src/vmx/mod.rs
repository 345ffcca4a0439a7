//! VMware's virtual machine files (`.vmx`) and domains: [`parse()`] and [`format()`].
//!
//! What depends on the product is asked through [`VmxFiles`]: ESX names files by datastore, Workstation by path.
//! [`VmxHooks`] is what both drivers say of definitions.
//!
//! | module | holds |
//! |---|---|
//! | `parse` | file → domain; its drives in `disks`, its other devices in `devices` |
//! | `format` | domain → file; its devices in `format_devices` |
//! | `text` | encodings and escapes |

pub mod datastore;
mod devices;
mod disks;
mod format;
mod format_devices;
mod parse;
pub mod text;
pub mod version;

use virt_util::{ErrorCode, Result, VirtError};

use crate::domain::controller::ScsiControllerModel;
use crate::domain::disk::Disk;
use crate::domain::normalize::{DeviceRef, DomainFeatures, DomainHooks, NormalizeContext};
use crate::domain::os::OsType;
use crate::domain::video::VideoModelType;
use crate::domain::{Domain, VirtType};

pub use format::format;
pub use parse::parse;
pub use text::{escape_hex, unescape_hex};
pub use version::Product;

/// What becomes of a file that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingFile {
    /// It is an error.
    IsError,
    /// The drive is empty.
    IsEmpty,
}

/// How files are named in `.vmx` files and in definitions.
pub trait VmxFiles {
    /// The name in the definition of what a `.vmx` file calls `name`; none if the file does not exist and that is no
    /// error.
    ///
    /// # Errors
    /// A name that means nothing, a file that does not exist.
    fn to_definition(&self, name: &str, missing: MissingFile) -> Result<Option<String>>;

    /// The name in a `.vmx` file of what the definition calls `path`.
    ///
    /// # Errors
    /// A name that means nothing.
    fn to_vmx(&self, path: &str) -> Result<String>;

    /// The model of the controller that a drive's image was made for; none where that cannot be found out.
    ///
    /// # Errors
    /// The image cannot be asked.
    fn scsi_model(&self, _disk: &Disk) -> Result<Option<ScsiControllerModel>> {
        Ok(None)
    }
}

/// Files are named by their paths on both sides, as VMware Workstation and Player do.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainPaths;

impl VmxFiles for PlainPaths {
    fn to_definition(&self, name: &str, _missing: MissingFile) -> Result<Option<String>> {
        Ok(Some(name.to_owned()))
    }

    fn to_vmx(&self, path: &str) -> Result<String> {
        Ok(path.to_owned())
    }
}

/// What goes along while a `.vmx` file is read or written.
pub struct VmxContext<'a> {
    /// How files are named.
    pub files: &'a dyn VmxFiles,
    /// Path of the data center, as the definition will tell it.
    pub datacenter_path: Option<String>,
    /// Managed object of the guest, as the definition will tell it.
    pub moref: Option<String>,
}

impl<'a> VmxContext<'a> {
    /// Files are named so; nothing is known of the place of the guest.
    pub fn new(files: &'a dyn VmxFiles) -> Self {
        Self {
            files,
            datacenter_path: None,
            moref: None,
        }
    }
}

impl std::fmt::Debug for VmxContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VmxContext")
            .field("datacenter_path", &self.datacenter_path)
            .field("moref", &self.moref)
            .finish_non_exhaustive()
    }
}

/// What the drivers of VMware's products say of definitions.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmxHooks;

impl DomainHooks for VmxHooks {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::WIDE_SCSI
            | DomainFeatures::NAME_SLASH
            | DomainFeatures::FW_AUTOSELECT
            | DomainFeatures::NO_BOOT_ORDER
    }

    fn default_arch(&self) -> Option<String> {
        Some("i686".to_owned())
    }

    fn mac_prefix(&self) -> [u8; 3] {
        [0x00, 0x0c, 0x29]
    }

    fn knows_net_model(&self, model: &str) -> bool {
        crate::domain::interface::is_known_model(model)
    }

    fn domain(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        let arch = domain.os.kind.arch.as_deref().unwrap_or_default();
        let kind = domain.os.kind.os;
        if kind == OsType::Hvm && matches!(arch, "i686" | "x86_64") && domain.virt_type == VirtType::Vmware {
            return Ok(());
        }
        Err(VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!(
                "could not find capabilities for domaintype={} ostype={kind} arch={arch}: VMware runs guests of type \
                 'vmware', ostype 'hvm', arch 'i686' or 'x86_64'",
                domain.virt_type
            ),
        ))
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _cx: &NormalizeContext<'_>) -> Result<()> {
        if let DeviceRef::Video(at) = device
            && let Some(video) = domain.devices.videos.get_mut(at)
            && video.model.kind == VideoModelType::Default
        {
            video.model.kind = VideoModelType::Vmvga;
        }
        Ok(())
    }
}

/// Words of controller models in `.vmx` files.
const SCSI_MODELS: &[(&str, ScsiControllerModel)] = &[
    ("buslogic", ScsiControllerModel::Buslogic),
    ("lsilogic", ScsiControllerModel::Lsilogic),
    ("lsisas1068", ScsiControllerModel::Lsisas1068),
    ("pvscsi", ScsiControllerModel::Vmpvscsi),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::normalize::SystemRandomness;
    use virt_util::xml::XmlFlags;

    const HEAD: &str = "config.version = \"8\"\nvirtualHW.version = \"8\"\ndisplayName = \"a\"\n";

    fn read(rest: &str) -> Result<Domain> {
        let text = format!("{HEAD}{rest}");
        parse(
            "a.vmx",
            text.as_bytes(),
            &VmxContext::new(&PlainPaths),
            &SystemRandomness,
        )
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (rest, want) in [
            (
                "memsize = \"6\"",
                "a.vmx:4: setting 'memsize' = '6': a multiple of 4 is expected",
            ),
            (
                "\nscsi0.present = \"maybe\"",
                "a.vmx:5: setting 'scsi0.present' = 'maybe': 'true' or 'false'",
            ),
            (
                "ethernetx.present = \"true\"",
                "a.vmx:4: setting 'ethernetx.present' = 'true': a number",
            ),
            (
                "firmware = \"bios\"",
                "a.vmx:4: setting 'firmware' = 'bios': 'efi' is expected",
            ),
            (
                "parallel0.present = \"true\"",
                "essential setting 'parallel0.fileType' is missing",
            ),
            ("displayName = 5", "a.vmx:4: numbers not allowed"),
        ] {
            let error = read(rest).unwrap_err();
            assert!(error.message().contains(want), "{error}");
        }
        let mut domain = read("").unwrap();
        domain.vcpus.max = 0;
        domain.virt_type = VirtType::Kvm;
        let error = format(&domain, 8, &VmxContext::new(&PlainPaths)).unwrap_err();
        assert!(error.message().contains("'vmware' is expected"), "{error}");
    }

    /// The file of a definition with these devices.
    fn write(devices: &str) -> Result<String> {
        let text = format!(
            "<domain type='vmware'><name>a</name><memory>4096</memory><os><type arch='x86_64'>hvm</type></os>\
             <devices>{devices}</devices></domain>"
        );
        let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "test")?;
        let cx = NormalizeContext {
            flags: crate::domain::normalize::NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        crate::domain::normalize::normalize(&mut domain, &VmxHooks, &cx)?;
        format(&domain, 8, &VmxContext::new(&PlainPaths))
    }

    #[test]
    fn drives_out_of_place_are_refused_with_libvirts_code() {
        let disk = |source: &str, target: &str, address: &str| {
            format!("<disk type='file' device='disk'>{source}<target {target}/>{address}</disk>")
        };
        let file = "<source file='/a.vmdk'/>";
        let drive = |controller: u32, unit: u32| {
            format!("<address type='drive' controller='{controller}' bus='0' target='0' unit='{unit}'/>")
        };
        for (devices, code) in [
            // A name without a place.
            (
                disk(file, "dev='a,b' bus='scsi'", &drive(0, 0)),
                ErrorCode::INTERNAL_ERROR,
            ),
            // Not where the name says.
            (
                disk(file, "dev='sda' bus='sata'", &drive(0, 1)),
                ErrorCode::INTERNAL_ERROR,
            ),
            (
                disk(file, "dev='vda' bus='virtio'", &drive(0, 1)),
                ErrorCode::INTERNAL_ERROR,
            ),
            // Where the name says, on a bus that VMware's files cannot name.
            (
                disk(file, "dev='sda' bus='sata'", &drive(0, 0)),
                ErrorCode::CONFIG_UNSUPPORTED,
            ),
            (
                disk(file, "dev='vda' bus='virtio'", ""),
                ErrorCode::CONFIG_UNSUPPORTED,
            ),
            // The kind of source comes before the name.
            (
                "<disk type='dir' device='disk'><source dir='/a'/><target dev='hda' bus='scsi'/></disk>"
                    .to_owned(),
                ErrorCode::CONFIG_UNSUPPORTED,
            ),
            (disk(file, "dev='hda' bus='scsi'", ""), ErrorCode::INTERNAL_ERROR),
        ] {
            let error = write(&devices).unwrap_err();
            assert_eq!(error.code(), code, "{devices}: {error}");
        }
    }

    #[test]
    fn a_drive_without_a_source_is_written_as_libvirt_does() {
        let cdrom = |more: &str| {
            write(&format!(
                "<disk type='block' device='cdrom'><target dev='hda' bus='ide'/>{more}</disk>"
            ))
        };
        assert!(
            cdrom("")
                .unwrap()
                .contains("ide0:0.fileName = \"emptyBackingString\"")
        );
        // The path of a file says nothing of a device.
        let other = cdrom("<source file='/a.iso'/>").unwrap();
        assert!(other.contains("ide0:0.fileName = \"(null)\""), "{other}");
        let automatic = cdrom("<source startupPolicy='optional'/>").unwrap();
        assert!(
            automatic.contains("ide0:0.fileName = \"auto detect\""),
            "{automatic}"
        );
    }

    #[test]
    fn a_network_without_a_name_is_one() {
        let domain = read("ethernet0.present = \"true\"\nethernet0.networkName = \"\"").unwrap();
        let text = domain.format(XmlFlags::empty());
        assert!(text.contains("<source bridge=''/>"), "{text}");
    }

    #[test]
    fn a_guest_may_have_more_cpus_than_a_host_has_numbers() {
        assert_eq!(read("numvcpus = \"20000\"").unwrap().vcpus.max, 20_000);
        let error = read("numvcpus = \"0\"").unwrap_err();
        assert!(error.message().contains("greater than 0"), "{error}");
        let mut domain = read("").unwrap();
        domain.vcpus.max = 0;
        let error = format(&domain, 8, &VmxContext::new(&PlainPaths)).unwrap_err();
        assert!(error.message().contains("no vCPU"), "{error}");
    }

    #[test]
    fn numbers_in_names_cost_nothing() {
        let domain = read(
            "ethernet2147483647.present = \"true\"\nisolation.tools.hgfs.disable = \"false\"\n\
             sharedFolder.maxNum = \"9223372036854775807\"\n",
        );
        assert_eq!(domain.unwrap().devices.interfaces.len(), 1);
    }

    #[test]
    fn a_file_in_another_encoding_is_read() {
        let text = [
            b".encoding = \"windows-1252\"\n".as_slice(),
            HEAD.as_bytes(),
            b"annotation = \"gr\xfcn\"\n",
        ]
        .concat();
        let domain = parse("a.vmx", &text, &VmxContext::new(&PlainPaths), &SystemRandomness).unwrap();
        assert_eq!(domain.description.as_deref(), Some("gr\u{fc}n"));
        assert!(domain.format(XmlFlags::empty()).contains("gr\u{fc}n"));
    }

    #[test]
    fn a_value_cannot_break_out_of_its_quotes() {
        let mut domain = read("ethernet0.present = \"true\"\nethernet0.networkName = \"n\"").unwrap();
        if let crate::domain::interface::InterfaceSource::Bridge { bridge, .. } =
            &mut domain.devices.interfaces[0].source
        {
            *bridge = "n\"\nx = \"y".to_owned();
        }
        let error = format(&domain, 8, &VmxContext::new(&PlainPaths)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    }
}
