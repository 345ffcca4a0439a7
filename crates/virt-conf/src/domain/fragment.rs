//! A device that stands alone: what the calls are given that plug devices in, change them and take them out.
//!
//! [`Device::parse`] reads one. [`Device::complete`] gives it the defaults that it would have in a domain, and checks it there:
//! libvirt's order, with the driver's own steps. [`Device::plug_into`] puts it into a definition, [`Device::take_from`] takes
//! one out.

use virt_util::xml::shapes;
use virt_util::xml::{At, Doc, DocOptions, Element, Reader, Writer, XmlElement, XmlFlags, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::Domain;
use super::chardev::{Channel, Console, Parallel, Serial, SerialTargetType, Smartcard};
use super::controller::{Controller, ControllerKind, UsbControllerModel};
use super::device_info::{DeviceInfo, is_user_alias};
use super::disk::{Disk, DiskBus};
use super::filesystem::Filesystem;
use super::graphics::Graphics;
use super::hostdev::{Hostdev, HostdevPass, HostdevSubsys};
use super::input::{Hub, Input, InputBus, Redirdev};
use super::interface::Interface;
use super::memory::MemoryDevice;
use super::normalize::{
    DeviceRef, DomainHooks, Neighbours, NormalizeContext, complete_interface, device_info, device_name,
    device_refs, normalize_device,
};
use super::os::OsType;
use super::small::{
    Crypto, Iommu, Lease, Memballoon, Nvram, Panic, Pstore, Rng, Shmem, Tpm, Vsock, Watchdog,
};
use super::sound::{Audio, Sound, SoundModel};
use super::validate::validate_device;
use super::video::Video;
use crate::schema::Check;
use crate::schema::DOMAIN;

/// What messages call a fragment.
const NAME: &str = "(device_definition)";

macro_rules! devices {
    (many: $($word:literal $variant:ident $type:ident $field:ident,)* ; one: $($single_word:literal $single:ident $single_type:ident $single_field:ident,)*) => {
        /// A device, of one family or another.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each is the family of that name")]
        pub enum Device {
            $($variant(Box<$type>),)*
            $($single(Box<$single_type>),)*
        }

        impl Device {
            /// The names of the elements that are devices.
            pub const WORDS: &'static [&'static str] = &[$($word,)* $($single_word,)*];

            /// The name of its element.
            pub fn word(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $word,)*
                    $(Self::$single(_) => $single_word,)*
                }
            }

            fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<Self>> {
                $(if element.is($word) {
                    return Ok(Some(Self::$variant(Box::new(<$type as XmlElement>::read(element, cx)?))));
                })*
                $(if element.is($single_word) {
                    return Ok(Some(Self::$single(Box::new(<$single_type as XmlElement>::read(element, cx)?))));
                })*
                Ok(None)
            }

            fn write(&self, w: &mut Writer) {
                match self {
                    $(Self::$variant(device) => XmlElement::write(&**device, w, $word),)*
                    $(Self::$single(device) => XmlElement::write(&**device, w, $single_word),)*
                }
            }

            /// Puts the device behind those of its family, and says where it is. One of a family that a domain has once takes
            /// the other's place.
            pub fn plug_into(self, domain: &mut Domain) -> DeviceRef {
                let devices = &mut domain.devices;
                match self {
                    $(Self::$variant(device) => {
                        devices.$field.push(*device);
                        DeviceRef::$variant(devices.$field.len().saturating_sub(1))
                    })*
                    $(Self::$single(device) => {
                        devices.$single_field = Some(device);
                        DeviceRef::$single
                    })*
                }
            }

            /// Takes a device out of a domain, if it has one there.
            pub fn take_from(domain: &mut Domain, device: DeviceRef) -> Option<Self> {
                let devices = &mut domain.devices;
                match device {
                    $(DeviceRef::$variant(at) => (at < devices.$field.len())
                        .then(|| Self::$variant(Box::new(devices.$field.remove(at)))),)*
                    $(DeviceRef::$single => devices.$single_field.take().map(Self::$single),)*
                }
            }

            /// A copy of a device of a domain.
            pub fn copy_from(domain: &Domain, device: DeviceRef) -> Option<Self> {
                let devices = &domain.devices;
                match device {
                    $(DeviceRef::$variant(at) => devices.$field.get(at).cloned().map(|device| Self::$variant(Box::new(device))),)*
                    $(DeviceRef::$single => devices.$single_field.clone().map(Self::$single),)*
                }
            }
        }

        impl DeviceRef {
            /// The name of the device's element.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $word,)*
                    $(Self::$single => $single_word,)*
                }
            }
        }
    };
}

devices! {
    many:
        "disk" Disk Disk disks,
        "lease" Lease Lease leases,
        "filesystem" Filesystem Filesystem filesystems,
        "interface" Interface Interface interfaces,
        "input" Input Input inputs,
        "sound" Sound Sound sounds,
        "video" Video Video videos,
        "hostdev" Hostdev Hostdev hostdevs,
        "watchdog" Watchdog Watchdog watchdogs,
        "controller" Controller Controller controllers,
        "graphics" Graphics Graphics graphics,
        "hub" Hub Hub hubs,
        "redirdev" Redirdev Redirdev redirdevs,
        "smartcard" Smartcard Smartcard smartcards,
        "serial" Serial Serial serials,
        "parallel" Parallel Parallel parallels,
        "console" Console Console consoles,
        "channel" Channel Channel channels,
        "rng" Rng Rng rngs,
        "shmem" Shmem Shmem shmems,
        "tpm" Tpm Tpm tpms,
        "panic" Panic Panic panics,
        "memory" Memory MemoryDevice memory,
        "audio" Audio Audio audios,
        "crypto" Crypto Crypto cryptos,;
    one:
        "memballoon" Memballoon Memballoon memballoon,
        "nvram" Nvram Nvram nvram,
        "iommu" Iommu Iommu iommu,
        "vsock" Vsock Vsock vsock,
        "pstore" Pstore Pstore pstore,
}

impl Device {
    /// Reads a device from a document of its own.
    ///
    /// # Errors
    /// `XML_DETAIL` for a document that is not well formed, `CONFIG_UNSUPPORTED` for an element that is no device, `XML_ERROR` and
    /// others for what is wrong in it, `XML_INVALID_SCHEMA` for what the schema does not allow, if that is asked for.
    pub fn parse(source: &str, flags: XmlFlags, check: Check) -> Result<Self> {
        let doc = Doc::parse_with(source, &DocOptions::named(NAME).in_domain(ErrorDomain::DOMAIN))?;
        if check == Check::Strict {
            check_schema(doc.root())?;
        }
        Self::from_element(doc.root(), flags)
    }

    /// Reads a device from its element.
    ///
    /// # Errors
    /// As of [`Device::parse`], without the schema.
    pub fn from_element(element: Element<'_>, flags: XmlFlags) -> Result<Self> {
        let read = Self::read(element, &mut Reader::new(flags));
        match read.map_err(|error| error.in_domain_if_none(element.doc().domain()))? {
            Some(device) => Ok(device),
            None => {
                let name = element.name();
                let mut what = format!("unknown device type '{name}'");
                if let Some(word) = virt_util::xml::nearest(name, Self::WORDS.iter().copied()) {
                    what.push_str(&format!(", did you mean '{word}'?"));
                }
                Err(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, At::Text, what))
            }
        }
    }

    /// The device as it stands in a domain's document.
    pub fn format(&self, flags: XmlFlags) -> String {
        let mut w = Writer::new(flags);
        self.write(&mut w);
        w.finish()
    }

    /// The device as it would be in `domain`: with the defaults of the driver and of all drivers, and checked.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED`, `XML_ERROR` and others, as for the device in a definition.
    pub fn complete(
        mut self,
        domain: &Domain,
        hooks: &dyn DomainHooks,
        cx: &NormalizeContext<'_>,
    ) -> Result<Self> {
        match &mut self {
            Self::Interface(interface) => complete_interface(interface, hooks, cx),
            Self::Sound(sound) if sound.model == SoundModel::Virtio && sound.streams == 0 => {
                sound.streams = 2;
            }
            _ => {}
        }
        let mut domain = domain.clone();
        let device = self.clone().plug_into(&mut domain);
        normalize_device(&mut domain, device, hooks, cx, &mut Neighbours::default())
            .and_then(|()| validate_device(&domain, device))
            .and_then(|()| hooks.validate_device(&domain, device))
            .map_err(|error| {
                error
                    .context(device_name(&domain, device))
                    .in_domain_if_none(ErrorDomain::DOMAIN)
            })?;
        Ok(Self::take_from(&mut domain, device).unwrap_or(self))
    }

    /// Refuses a device that a domain has no room for: what libvirt asks before it plugs one in, or puts one in the place of
    /// `old`.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for an alias that the user gave to another device, for USB without a bus, and for a place in the boot
    /// order that is taken.
    pub fn fits(&self, domain: &Domain, old: Option<DeviceRef>) -> Result<()> {
        let word = self.word();
        let refuse = |what: std::fmt::Arguments<'_>| {
            Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what).in_domain(ErrorDomain::DOMAIN))
        };
        let is_bus = |controller: &Controller| {
            let none = Some(UsbControllerModel::None);
            matches!(&controller.kind, ControllerKind::Usb { model, .. } if *model != none)
        };
        let has_bus = domain.devices.controllers.iter().any(is_bus);
        if self.is_usb() && !has_bus && domain.os.kind.os != OsType::Exe {
            return refuse(format_args!("{word}: the domain has no USB bus"));
        }
        // Only a device of a domain is asked for these.
        let mut alone = Domain::default();
        let place = self.clone().plug_into(&mut alone);
        let Some(info) = device_info(&alone, place) else {
            return Ok(());
        };
        let others = device_refs(domain)
            .into_iter()
            .filter(|other| Some(*other) != old);
        let others: Vec<_> = others.filter_map(|other| device_info(domain, other)).collect();
        let alias = info.alias.as_deref().filter(|alias| is_user_alias(alias));
        if let Some(alias) = alias
            && others.iter().any(|other| other.alias.as_deref() == Some(alias))
        {
            return refuse(format_args!("{word}: the alias '{alias}' is another device's"));
        }
        let Some(boot) = &info.boot else { return Ok(()) };
        if !domain.os.boot.is_empty() {
            return refuse(format_args!(
                "{word}: devices have no place in the boot order where 'os' has 'boot' elements"
            ));
        }
        let order = boot.order;
        let taken = |other: &&DeviceInfo| other.boot.as_ref().is_some_and(|boot| boot.order == order);
        if others.iter().any(taken) {
            return refuse(format_args!(
                "{word}: the place {order} in the boot order is another device's"
            ));
        }
        Ok(())
    }

    /// Is it on a USB bus?
    fn is_usb(&self) -> bool {
        match self {
            Self::Hub(_) | Self::Redirdev(_) => true,
            Self::Hostdev(hostdev) => match &hostdev.mode {
                HostdevPass::Subsystem(subsystem) => matches!(**subsystem, HostdevSubsys::Usb { .. }),
                HostdevPass::Capabilities(_) => false,
            },
            Self::Disk(disk) => disk.target.bus == Some(DiskBus::Usb),
            Self::Interface(interface) => interface.model.as_deref() == Some("usb-net"),
            Self::Controller(controller) => matches!(controller.kind, ControllerKind::Ccid { .. }),
            Self::Input(input) => input.bus == Some(InputBus::Usb),
            Self::Serial(serial) => serial.target.kind == SerialTargetType::UsbSerial,
            Self::Sound(sound) => sound.model == SoundModel::Usb,
            _ => false,
        }
    }
}

/// Refuses a device that the schema of domains does not allow.
fn check_schema(element: Element<'_>) -> Result<()> {
    // Rules look at what is around.
    let whole = format!("<devices>{}</devices>", element.outer_source());
    let doc = Doc::parse_with(&whole, &DocOptions::named(NAME))?;
    shapes::validate(doc.root(), &DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::normalize::{NoHooks, SystemRandomness, normalize};

    fn domain() -> Domain {
        let text = "<domain type='kvm'><name>a</name><memory>1024</memory>\
            <os><type arch='x86_64' machine='pc'>hvm</type></os>\
            <devices><disk type='file' device='disk'><target dev='vda' bus='virtio'/></disk></devices></domain>";
        let mut domain = Domain::parse(text, XmlFlags::INACTIVE, "test").unwrap();
        normalize(&mut domain, &NoHooks, &context()).unwrap();
        domain
    }

    fn context() -> NormalizeContext<'static> {
        NormalizeContext {
            flags: crate::domain::normalize::NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        }
    }

    fn parse(text: &str) -> Result<Device> {
        Device::parse(text, XmlFlags::INACTIVE, Check::Usual)
    }

    #[test]
    fn numbers_of_the_host_may_be_hexadecimal_or_octal() {
        let same = [("0x10", "16"), ("020", "16"), ("0X1f", "31")];
        let documents = [
            "<hostdev mode='subsystem' type='usb'><source><address bus='N' device='N'/></source></hostdev>",
            "<shmem name='a'><server path='/s'/><msi vectors='N'/></shmem>",
            "<memballoon model='virtio'><stats period='N'/></memballoon>",
        ];
        for document in documents {
            for (number, decimal) in same {
                let device = parse(&document.replace('N', number)).unwrap();
                assert_eq!(
                    device,
                    parse(&document.replace('N', decimal)).unwrap(),
                    "{document} {number}"
                );
            }
            assert!(parse(&document.replace('N', "0xg")).is_err(), "{document}");
        }
    }

    #[test]
    fn some_paths_lose_superfluous_slashes() {
        let documents = [
            "<interface type='user'><model type='virtio'/><backend tap='PATH' vhost='PATH'/></interface>",
            "<input type='passthrough' bus='virtio'><source evdev='PATH'/></input>",
            "<shmem name='a'><server path='PATH'/></shmem>",
            "<video><model type='virtio'><acceleration rendernode='PATH'/></model></video>",
            "<filesystem><driver type='virtiofs'/><binary path='PATH'/><source dir='/a'/><target dir='b'/></filesystem>",
        ];
        for document in documents {
            let messy = parse(&document.replace("PATH", "/dev//x///y/")).unwrap();
            assert_eq!(
                messy,
                parse(&document.replace("PATH", "/dev/x/y")).unwrap(),
                "{document}"
            );
        }
        let kept =
            parse("<interface type='user'><model type='e1000'/><backend vhost='/a'/></interface>").unwrap();
        let Device::Interface(kept) = kept else {
            panic!("{kept:?}");
        };
        assert!(kept.backend.is_none_or(|backend| backend.vhost.is_none()));
    }

    #[test]
    fn memory_takes_what_its_model_knows() {
        let parts = "<source><pagesize>4</pagesize><nodemask>0</nodemask><path>/p</path><alignsize>4</alignsize><pmem/>\
            </source><target dynamicMemslots='yes'><size unit='GiB'>1</size><label><size>128</size></label><readonly/>\
            <block>2048</block><requested>2048</requested><address base='0x100000000'/></target>";
        let words = [
            "pagesize",
            "nodemask",
            "path",
            "alignsize",
            "pmem",
            "dynamicMemslots",
            "label",
            "readonly",
            "block",
        ];
        for (model, known) in [
            ("dimm", &["pagesize", "nodemask"][..]),
            ("nvdimm", &["path", "alignsize", "pmem", "label", "readonly"]),
            ("virtio-pmem", &["path"]),
            (
                "virtio-mem",
                &["pagesize", "nodemask", "dynamicMemslots", "block"],
            ),
            ("sgx-epc", &["nodemask"]),
        ] {
            let Device::Memory(memory) = parse(&format!("<memory model='{model}'>{parts}</memory>")).unwrap()
            else {
                panic!("{model}");
            };
            let text = virt_util::xml::to_string(&*memory, XmlFlags::INACTIVE);
            for word in words {
                assert_eq!(
                    text.contains(&format!("<{word}")) || text.contains(&format!(" {word}=")),
                    known.contains(&word),
                    "{model} {word}: {text}"
                );
            }
        }
    }

    #[test]
    fn a_device_gets_what_it_would_have_in_the_domain() {
        let device = parse("<?xml version='1.0'?>\n<interface type='user'/>").unwrap();
        assert_eq!(device.word(), "interface");
        let complete = device.complete(&domain(), &NoHooks, &context()).unwrap();
        let Device::Interface(interface) = &complete else {
            panic!("{complete:?}");
        };
        assert!(interface.mac.address.is_some());
        let mut changed = domain();
        let place = complete.clone().plug_into(&mut changed);
        assert_eq!(place, DeviceRef::Interface(0));
        assert_eq!(Device::copy_from(&changed, place), Some(complete.clone()));
        assert_eq!(Device::take_from(&mut changed, place), Some(complete));
        assert_eq!(changed, domain_like(&changed));
        assert_eq!(Device::take_from(&mut changed, place), None);
    }

    /// The domain of this test with the UUID of another.
    fn domain_like(other: &Domain) -> Domain {
        Domain {
            uuid: other.uuid,
            ..domain()
        }
    }

    #[test]
    fn ids_at_virtual_switches_are_made() {
        for (kind, instance, interface) in [
            ("", true, true),
            (" type='802.1Qbh'", false, false),
            (" type='openvswitch'", false, true),
        ] {
            let text =
                format!("<interface type='network'><source network='n'/><virtualport{kind}/></interface>");
            let device = parse(&text)
                .unwrap()
                .complete(&domain(), &NoHooks, &context())
                .unwrap();
            let Device::Interface(device) = device else {
                panic!("{text}");
            };
            let port = device.link.virtual_port.clone().unwrap_or_default();
            let parameters = port.parameters.unwrap_or_default();
            assert_eq!(parameters.instance_id.is_some(), instance, "{text}");
            assert_eq!(parameters.interface_id.is_some(), interface, "{text}");
        }
    }

    #[test]
    fn codes_are_libvirts() {
        for (text, code) in [
            ("<disk>", ErrorCode::XML_DETAIL),
            ("<dsk/>", ErrorCode::CONFIG_UNSUPPORTED),
            ("<emulator>/a</emulator>", ErrorCode::CONFIG_UNSUPPORTED),
            ("<disk type='tape'/>", ErrorCode::XML_ERROR),
        ] {
            assert_eq!(parse(text).unwrap_err().code(), code, "{text}");
        }
        assert!(
            parse("<dsk/>")
                .unwrap_err()
                .message()
                .ends_with("did you mean 'disk'?")
        );
        let disk = "<disk type='file' device='disk'><target dev='vdb' bus='virtio'/><colour/></disk>";
        assert!(parse(disk).is_ok());
        let error = Device::parse(disk, XmlFlags::INACTIVE, Check::Strict).unwrap_err();
        assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA);
        let right = disk.replace("<colour/>", "");
        assert!(Device::parse(&right, XmlFlags::INACTIVE, Check::Strict).is_ok());
        let wrong = parse("<hostdev mode='subsystem' type='pci'/>");
        assert!(wrong.is_err());
    }

    #[test]
    fn what_a_domain_has_no_room_for_is_refused() {
        let source = "<domain type='kvm'><name>a</name><memory>1024</memory><os><type>hvm</type></os><devices>
            <disk type='file' device='disk'><target dev='vda' bus='virtio'/><alias name='ua-a'/><boot order='1'/></disk>
            </devices></domain>";
        let domain = Domain::parse(source, XmlFlags::INACTIVE, "a.xml").unwrap();
        let disk = |bus: &str, rest: &str| {
            let text =
                format!("<disk type='file' device='disk'><target dev='sdb' bus='{bus}'/>{rest}</disk>");
            parse(&text).unwrap()
        };
        assert_eq!(
            disk("virtio", "<alias name='ua-b'/><boot order='2'/>").fits(&domain, None),
            Ok(())
        );
        for (bus, rest, fault) in [
            ("usb", "", "disk: the domain has no USB bus"),
            ("virtio", "<alias name='ua-a'/>", "disk: the alias 'ua-a'"),
            (
                "virtio",
                "<boot order='1'/>",
                "disk: the place 1 in the boot order",
            ),
        ] {
            let error = disk(bus, rest).fits(&domain, None).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED);
            assert!(error.detail().contains(fault), "{error}");
        }
        // In the place of the other these are free.
        let same = disk("virtio", "<alias name='ua-a'/><boot order='1'/>");
        assert_eq!(same.fits(&domain, Some(DeviceRef::Disk(0))), Ok(()));
    }

    #[test]
    fn every_family_is_there() {
        for word in Device::WORDS {
            // Whatever it lacks, it is known.
            if let Err(error) = parse(&format!("<{word}/>")) {
                assert!(!error.message().contains("unknown device type"), "{error}");
            }
        }
        let domain = domain();
        let places = device_refs(&domain);
        assert!(
            places
                .iter()
                .all(|place| Device::copy_from(&domain, *place).is_some())
        );
    }
}
