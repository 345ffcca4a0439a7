//! Command lines of bhyve and its boot loaders → domains: [`parse`].
//!
//! What was passed over because it makes no sense is told beside the definition, as libvirt's log would.

use virt_util::{ErrorCode, Result, VirtError};

use crate::domain::chardev::{ChardevHost, ChardevSource, Serial, SerialTarget};
use crate::domain::clock::ClockBase;
use crate::domain::device_info::VirtioOptions;
use crate::domain::device_info::{Address, DeviceBoot, DeviceInfo, PciAddress};
use crate::domain::disk::{Disk, DiskBus, DiskDevice};
use crate::domain::features::{Apic, Features};
use crate::domain::graphics::{Graphics, GraphicsAuth, Listen, ListenType, Listens, VncGraphics};
use crate::domain::interface::{Interface, InterfaceSource, InterfaceTarget, IpConfig};
use crate::domain::normalize::{Randomness, disk_name, generate_mac};
use crate::domain::os::OsType;
use crate::domain::small::{Rng, RngModel, RngSource};
use crate::domain::storage::StorageLocation;
use crate::domain::video::{VgaConf, Video, VideoModelType, VideoResolution};
use crate::domain::{Domain, VirtType};
use crate::native;
use crate::values::MacAddress;
use virt_util::xml::XmlValue;

/// The hypervisor's program.
const BHYVE: &str = "/usr/sbin/bhyve";
/// Its own boot loader.
const LOADER: &str = "/usr/sbin/bhyveload";
/// The bridge that is taken, since a command line names none.
const BRIDGE: &str = "virbr0";
/// First bytes of addresses that are made.
const MAC_PREFIX: [u8; 3] = [0x52, 0x54, 0x00];
/// Most CPUs of a guest; libvirt takes all numbers that it has memory for.
const VCPU_LIMIT: u32 = u16::MAX as u32;
/// Drives of one kind: as many as names have a last letter.
const DISK_LIMIT: u32 = 26;

/// A command line's definition. It is as complete as the command line is: nothing was filled in.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The definition.
    pub domain: Domain,
    /// Devices that were passed over, and why.
    pub warnings: Vec<String>,
}

/// Reads one or two commands: bhyve's, and perhaps a boot loader's. A command ends at a line break without a backslash.
///
/// # Errors
/// `INTERNAL_ERROR` if there is no command of bhyve, `INVALID_ARG` and `OPERATION_FAILED` for wrong arguments: the option,
/// the value, what is expected.
pub fn parse(text: &str, random: &dyn Randomness) -> Result<Parsed> {
    let (mut bhyve, mut loader) = (None, None);
    let text = joined(text);
    for (number, line) in text.split('\n').enumerate() {
        // A carriage return belongs to the line break before it, never to the one behind.
        let line = match number {
            0 => line,
            _ => line.trim_start_matches('\r'),
        };
        let arguments = split(line);
        match arguments.first().map(String::as_str) {
            None => {}
            Some(BHYVE) if bhyve.is_none() => bhyve = Some(arguments),
            Some(_) => {
                loader.get_or_insert(arguments);
            }
        }
    }
    let bhyve = bhyve
        .ok_or_else(|| VirtError::internal(format_args!("no command of '{BHYVE}' is among the commands")))?;
    let mut domain = Domain {
        virt_type: VirtType::Bhyve,
        uuid: Some(random.uuid()),
        ..Domain::default()
    };
    // What bhyve gives a guest of which nothing is said. libvirt makes a definition without CPUs, which nothing accepts.
    domain.vcpus.max = 1;
    domain.os.kind.os = OsType::Hvm;
    domain.clock.base = ClockBase::Localtime { reset: false };
    let mut reader = Reader {
        domain,
        warnings: Vec::new(),
        random,
        virtio_disks: 0,
        sata_disks: 0,
    };
    reader.bhyve(&bhyve)?;
    if let Some(arguments) = &loader {
        if arguments.first().is_some_and(|program| program == LOADER) {
            reader.loader(arguments)?;
        } else {
            reader.custom_loader(arguments);
        }
    }
    let displays = &reader.domain.devices.graphics;
    if displays
        .iter()
        .any(|display| matches!(display, Graphics::Vnc(vnc) if vnc.listens.0.iter().all(|listen| listen.address.is_none())))
    {
        return Err(VirtError::internal(
            "the device 'fbuf' of '-s' says no address to listen on: 'tcp=ADDRESS:PORT' is expected",
        ));
    }
    Ok(Parsed {
        domain: reader.domain,
        warnings: reader.warnings,
    })
}

/// Blanks as C's `isspace` has them.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Lines that end with a backslash go on in the next one.
fn joined(text: &str) -> String {
    text.replace("\\\n", "").replace("\\\r", "")
}

/// Arguments between blanks; quotes around one are taken off.
fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    // A blank at the very start ends an argument without a letter.
    let mut rest = line;
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let (argument, behind) = match quote {
            Some(quote) => {
                let inner = rest.get(1..).unwrap_or_default();
                inner.split_once(quote).unwrap_or((inner, ""))
            }
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        arguments.push(argument.to_owned());
        rest = behind.trim_start_matches(is_space);
    }
    arguments
}

fn failed(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::OPERATION_FAILED, what)
}

/// KiB of `-m`: a number below a MiB counts MiB, any other bytes; units are letters of 1024.
fn memory(text: &str) -> Option<u64> {
    const MEBIBYTE: u64 = 1 << 20;
    if let Some(number) = native::number::<u64>(text) {
        let bytes = if number < MEBIBYTE {
            number.checked_mul(MEBIBYTE)?
        } else {
            number
        };
        return Some(bytes / 1024);
    }
    let unit = text.chars().last()?.to_ascii_lowercase();
    let power = "bkmgtpe".find(unit)? as u32;
    let number: u64 = virt_util::xml::parse_integer(text.get(..text.len() - 1)?, 0).ok()?;
    Some(number.checked_mul(1024_u64.checked_pow(power)?)? / 1024)
}

/// What is being read.
struct Reader<'a> {
    domain: Domain,
    warnings: Vec<String>,
    random: &'a dyn Randomness,
    virtio_disks: u32,
    sata_disks: u32,
}

/// The options of a command, one after the other.
struct Options<'a> {
    arguments: &'a [String],
    at: usize,
}

impl<'a> Options<'a> {
    fn new(arguments: &'a [String]) -> Self {
        Self { arguments, at: 1 }
    }

    /// The letter of the next option; none where no options are left.
    fn next(&mut self) -> Option<char> {
        let last = self.arguments.len().saturating_sub(1);
        let argument = self.arguments.get(self.at).filter(|_| self.at < last)?;
        let letter = argument.strip_prefix('-')?.chars().next().unwrap_or('-');
        self.at += 1;
        Some(letter)
    }

    /// The value of the option.
    fn value(&mut self, letter: char) -> Result<&'a str> {
        let last = self.arguments.len().saturating_sub(1);
        let value = self.arguments.get(self.at).filter(|_| self.at < last);
        self.at += 1;
        value.map(String::as_str).ok_or_else(|| {
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("Missing argument for '-{letter}'"),
            )
        })
    }

    /// The guest's name, which stands last and alone.
    fn name(&self) -> Result<&'a str> {
        match self.arguments.get(self.at..) {
            Some([name]) => Ok(name),
            rest => Err(failed(format_args!(
                "options and the name of the guest are expected, '{}' found",
                rest.unwrap_or_default().join(" ")
            ))),
        }
    }
}

impl Reader<'_> {
    fn warn(&mut self, what: impl std::fmt::Display) {
        tracing::warn!("{what}");
        self.warnings.push(what.to_string());
    }

    fn features(&mut self) -> &mut Features {
        self.domain.features.get_or_insert_default()
    }

    fn set_memory(&mut self, text: &str) -> Result<()> {
        let kib = memory(text).ok_or_else(|| {
            failed(format_args!(
                "the memory size of '-m' is '{text}', a number such as '512' or '2G' is expected"
            ))
        })?;
        let known = self.domain.current_memory;
        if known != 0 && known != kib {
            return Err(failed(format_args!(
                "the memory size of '-m' is {kib} KiB here and {known} KiB before"
            )));
        }
        self.domain.current_memory = kib;
        self.domain.memory.size = kib;
        Ok(())
    }

    fn set_name(&mut self, name: &str) -> Result<()> {
        if self.domain.name.is_empty() {
            name.clone_into(&mut self.domain.name);
        } else if self.domain.name != name {
            return Err(failed(format_args!(
                "the guest is called '{name}' by the boot loader and '{}' by bhyve",
                self.domain.name
            )));
        }
        Ok(())
    }

    fn bhyve(&mut self, arguments: &[String]) -> Result<()> {
        let mut options = Options::new(arguments);
        while let Some(letter) = options.next() {
            match letter {
                'A' => self.features().acpi = true,
                'I' => self.features().apic = Some(Apic::default()),
                'c' => {
                    let text = options.value(letter)?;
                    self.domain.vcpus.max = native::number::<u32>(text)
                        .filter(|count| (1..=VCPU_LIMIT).contains(count))
                        .ok_or_else(|| {
                            failed(format_args!(
                                "the number of CPUs of '-c' is '{text}', a number from 1 to {VCPU_LIMIT} is expected"
                            ))
                        })?;
                }
                'l' => self.lpc_device(options.value(letter)?)?,
                's' => self.pci_device(options.value(letter)?)?,
                'm' => self.set_memory(options.value(letter)?)?,
                'u' => self.domain.clock.base = ClockBase::Utc { reset: false },
                'U' => {
                    let text = options.value(letter)?;
                    let uuid = virt_util::uuid::parse(text)
                        .map_err(|_| VirtError::internal(format_args!("Cannot parse UUID '{text}'")))?;
                    self.domain.uuid = Some(uuid);
                }
                'S' => {
                    self.domain.memory_backing.get_or_insert_default().locked = true;
                }
                'p' | 'g' => {
                    options.value(letter)?;
                }
                _ => {}
            }
        }
        let name = options.name()?;
        self.set_name(name)
    }

    fn loader(&mut self, arguments: &[String]) -> Result<()> {
        // With exactly a drive and a size the loader is what would be run anyway.
        let (mut drive, mut size, mut more) = (false, false, false);
        let mut options = Options::new(arguments);
        while let Some(letter) = options.next() {
            match letter {
                'd' => {
                    let path = options.value(letter)?;
                    drive = true;
                    let mut disks = (0..).zip(&mut self.domain.devices.disks);
                    let found = disks.find(|(_, disk)| disk.source.location.path() == Some(path));
                    // The first drive is booted from anyway.
                    if let Some((order, disk)) = found.filter(|(order, _)| *order > 0) {
                        disk.info.boot = Some(Box::new(DeviceBoot {
                            order,
                            loadparm: None,
                        }));
                    }
                }
                'm' => {
                    size = true;
                    self.set_memory(options.value(letter)?)?;
                }
                _ => more = true,
            }
        }
        let name = options.name()?;
        if !(drive && size) || more {
            self.custom_loader(arguments);
        }
        self.set_name(name)
    }

    fn custom_loader(&mut self, arguments: &[String]) {
        if let [program, rest @ ..] = arguments {
            self.domain.bootloader = Some(program.clone()).into();
            self.domain.bootloader_args = Some(rest.join(" ")).into();
        }
    }

    /// `com1,/dev/nmdm0A`; other devices behind the LPC bridge have no place in definitions.
    fn lpc_device(&mut self, text: &str) -> Result<()> {
        let wrong = |what: &str| failed(format_args!("the device of '-l' is '{text}': {what}"));
        let (kind, path) = text.split_once(',').ok_or_else(|| {
            VirtError::internal(format_args!(
                "the device of '-l' is '{text}': a kind and its configuration are expected"
            ))
        })?;
        let port = match kind.strip_prefix("com") {
            Some(port) if port.chars().count() == 1 => port,
            _ => return Ok(()),
        };
        if !path.starts_with("/dev/nmdm") {
            return Err(wrong("a path that begins with '/dev/nmdm' is expected"));
        }
        let other = match (path.strip_suffix('A'), path.strip_suffix('B')) {
            (Some(stem), _) => format!("{stem}B"),
            (_, Some(stem)) => format!("{stem}A"),
            _ => return Err(wrong("a path that ends with 'A' or 'B' is expected")),
        };
        let port = match port {
            "1" => 0,
            "2" => 1,
            _ => return Err(wrong("'com1' or 'com2' is expected")),
        };
        self.domain.devices.serials.push(Serial {
            host: ChardevHost {
                source: ChardevSource::Nmdm {
                    master: Some(path.to_owned()),
                    slave: Some(other),
                },
                log: None,
            },
            target: SerialTarget {
                port: Some(port),
                ..SerialTarget::default()
            },
            ..Serial::default()
        });
        Ok(())
    }

    /// `SLOT,EMULATION,CONFIGURATION`. A device that makes no sense is passed over.
    fn pci_device(&mut self, text: &str) -> Result<()> {
        let wrong = || {
            VirtError::internal(format_args!(
                "the device of '-s' is '{text}': '[BUS:]SLOT[:FUNCTION],EMULATION' is expected"
            ))
        };
        let (place, rest) = text.split_once(',').ok_or_else(wrong)?;
        let address = slot(place).ok_or_else(wrong)?;
        let (emulation, configuration) = match rest.split_once(',') {
            Some((emulation, configuration)) => (emulation, Some(configuration)),
            None => (rest, None),
        };
        let info = DeviceInfo {
            address: Some(Address::Pci(address)),
            ..DeviceInfo::default()
        };
        let virtio = emulation == "virtio-blk" || emulation == "virtio-net";
        match (emulation, configuration) {
            ("virtio-rnd", _) => self.domain.devices.rngs.push(Rng {
                model: RngModel::Virtio,
                rate: None,
                backend: RngSource::Random {
                    path: Some("/dev/random".to_owned()),
                },
                virtio: VirtioOptions::default(),
                info,
            }),
            ("ahci-cd" | "ahci-hd" | "virtio-blk", Some(configuration)) => {
                let device = if emulation == "ahci-cd" {
                    DiskDevice::Cdrom
                } else {
                    DiskDevice::Disk
                };
                self.disk(info, virtio, device, configuration);
            }
            ("virtio-net" | "e1000", Some(configuration)) => {
                self.interface(info, if virtio { "virtio" } else { "e1000" }, configuration);
            }
            ("fbuf", Some(configuration)) => self.frame_buffer(configuration),
            _ => {}
        }
        Ok(())
    }

    fn disk(&mut self, info: DeviceInfo, virtio: bool, device: DiskDevice, configuration: &str) {
        let (count, prefix, bus) = if virtio {
            (&mut self.virtio_disks, "vd", DiskBus::Virtio)
        } else {
            (&mut self.sata_disks, "sd", DiskBus::Sata)
        };
        let index = *count;
        *count += 1;
        if index >= DISK_LIMIT {
            self.warn(format_args!(
                "too many disks: at most {DISK_LIMIT} on bus '{bus}'"
            ));
            return;
        }
        let path = configuration
            .split_once(',')
            .map_or(configuration, |(path, _)| path);
        let path_or = Some(path.to_owned());
        let mut disk = Disk {
            device,
            info,
            ..Disk::default()
        };
        disk.source.location = if path.starts_with("/dev/") {
            StorageLocation::Block { path: path_or }
        } else {
            StorageLocation::File {
                path: path_or,
                fd_group: None,
            }
        };
        disk.target.bus = Some(bus);
        disk.target.dev = disk_name(prefix, index);
        self.domain.devices.disks.push(disk);
    }

    fn interface(&mut self, info: DeviceInfo, model: &str, configuration: &str) {
        if !configuration.starts_with("tap") {
            self.warn(format_args!(
                "the network card '{configuration}' is passed over: a tap device is expected"
            ));
            return;
        }
        let (device, option) = match configuration.split_once(',') {
            Some((device, option)) => (device, Some(option)),
            None => (configuration, None),
        };
        let mac = match option.map(|option| option.strip_prefix("mac=")) {
            None => generate_mac(MAC_PREFIX, self.random),
            Some(Some(text)) => MacAddress::parse_value(text).unwrap_or_else(|_| {
                self.warn(format_args!("unable to parse mac address '{text}'"));
                MacAddress([0; 6])
            }),
            Some(None) => {
                self.warn(format_args!(
                    "the network card '{configuration}' is passed over: 'mac=' is the only option that is expected"
                ));
                return;
            }
        };
        let mut card = Interface {
            source: InterfaceSource::Bridge {
                bridge: BRIDGE.to_owned(),
                unnamed: false,
                host: IpConfig::default().into(),
            },
            target: Some(InterfaceTarget {
                dev: Some(device.to_owned()),
                ..InterfaceTarget::default()
            }),
            model: Some(model.to_owned()),
            info,
            ..Interface::default()
        };
        card.mac.address = Some(mac);
        self.domain.devices.interfaces.push(card);
    }

    /// `rfb=ADDRESS:PORT,w=WIDTH,h=HEIGHT,vga=…,password=…`.
    fn frame_buffer(&mut self, configuration: &str) {
        let mut video = Video::new(VideoModelType::Gop);
        let mut vnc = VncGraphics::default();
        for parameter in configuration.split(',') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let size = || native::number::<u32>(value);
            let understood = match name {
                "vga" => {
                    video.vga_conf = VgaConf::from_word(value).or(video.vga_conf);
                    Some(())
                }
                "rfb" | "tcp" => value.split_once(':').and_then(|(address, port)| {
                    let address = if address.is_empty() { "127.0.0.1" } else { address };
                    vnc.listens.0.push(Listen {
                        kind: ListenType::Address,
                        address: Some(address.to_owned()),
                        ..Listen::default()
                    });
                    vnc.port = native::number(port)?;
                    Some(())
                }),
                "w" => size().map(|x| {
                    video
                        .model
                        .resolution
                        .get_or_insert_with(VideoResolution::default)
                        .x = x
                }),
                "h" => size().map(|y| {
                    video
                        .model
                        .resolution
                        .get_or_insert_with(VideoResolution::default)
                        .y = y
                }),
                "password" => {
                    vnc.auth = GraphicsAuth {
                        password: Some(value.to_owned()),
                        ..GraphicsAuth::default()
                    };
                    Some(())
                }
                _ => Some(()),
            };
            if understood.is_none() {
                self.warn(format_args!(
                    "the frame buffer is passed over: the value of '{parameter}' is wrong"
                ));
                return;
            }
        }
        if vnc.listens.0.is_empty() {
            vnc.listens = Listens(vec![Listen {
                kind: ListenType::Address,
                ..Listen::default()
            }]);
        }
        self.domain.devices.videos.push(video);
        self.domain.devices.graphics.push(Graphics::Vnc(vnc));
    }
}

/// `SLOT`, `SLOT:FUNCTION` or `BUS:SLOT:FUNCTION`.
fn slot(text: &str) -> Option<PciAddress> {
    let mut numbers = Vec::new();
    for part in text.splitn(3, ':') {
        numbers.push(native::number::<u32>(part)?);
    }
    let (bus, slot, function) = match numbers.as_slice() {
        [slot] => (0, *slot, 0),
        [slot, function] => (0, *slot, *function),
        [bus, slot, function] => (*bus, *slot, *function),
        _ => return None,
    };
    (bus <= 0xff && slot <= 0x1f && function <= 7).then(|| PciAddress::new(bus, slot, function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::normalize::SystemRandomness;

    #[test]
    fn what_is_wrong_is_said_with_its_option() {
        for (arguments, want) in [
            ("-c x a", "the number of CPUs of '-c' is 'x'"),
            ("-m 1X a", "the memory size of '-m' is '1X'"),
            ("-m", "options and the name of the guest are expected"),
            ("-m 5", "Missing argument for '-m'"),
            ("-s x,fbuf a", "the device of '-s' is 'x,fbuf'"),
            ("-l com3,/dev/nmdm0A a", "'com1' or 'com2' is expected"),
            ("-H a b", "'a b' found"),
        ] {
            let result = parse(&format!("{BHYVE} {arguments}"), &SystemRandomness);
            match result {
                Err(error) => assert!(error.message().contains(want), "{arguments}: {error}"),
                Ok(_) => assert_eq!(arguments, "-m", "{arguments}"),
            }
        }
        assert!(parse("/bin/true", &SystemRandomness).is_err());
    }

    #[test]
    fn what_is_not_said_is_not_made_up() {
        let read = |text: &str| parse(text, &SystemRandomness).map(|parsed| parsed.domain);
        assert_eq!(read(&format!("{BHYVE} a")).unwrap().vcpus.max, 1);
        let display = format!("{BHYVE} -s 2,fbuf,w=800 a");
        assert_eq!(read(&display).unwrap_err().code(), ErrorCode::INTERNAL_ERROR);
        let place = format!("{BHYVE} -s 2 a");
        assert_eq!(read(&place).unwrap_err().code(), ErrorCode::INTERNAL_ERROR);
        // A blank at the start of a line ends the name of its program.
        let domain = read(&format!("{BHYVE} a\n -x b")).unwrap();
        assert_eq!(domain.bootloader.as_deref(), Some(""));
        assert_eq!(domain.bootloader_args.as_deref(), Some("-x b"));
        // A carriage return is no line break.
        let domain = read(&format!("{BHYVE} -A \\\ra\n\r\n")).unwrap();
        assert_eq!(domain.name, "a");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(memory("512"), Some(512 * 1024));
        assert_eq!(memory("1073741824"), Some(1 << 20));
        assert_eq!(memory("2g"), Some(2 << 20));
        assert_eq!(memory("0x10K"), Some(16));
        assert_eq!(memory("99999999999999999999E"), None);
    }

    #[test]
    fn lines_go_on_and_quotes_are_taken_off() {
        let parsed = parse("/usr/sbin/bhyve \\\n-m 64 \\\r'my guest'\n", &SystemRandomness).unwrap();
        assert_eq!(parsed.domain.name, "my guest");
        assert_eq!(parsed.domain.memory.size, 65536);
    }
}
