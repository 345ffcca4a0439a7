//! Character devices: serial and parallel ports, consoles, channels, smart cards, and what they are connected to.

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with, read};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::device_info::DeviceInfo;
use super::seclabel::{DeviceSeclabel, seclabel_element};

xml_enum! {
    /// What a character device is connected to on the host.
    pub enum ChardevType { Null = "null", Vc = "vc", Pty = "pty", Dev = "dev", File = "file", Pipe = "pipe", Stdio = "stdio", Udp = "udp", Tcp = "tcp", Unix = "unix", Spicevmc = "spicevmc", Spiceport = "spiceport", Nmdm = "nmdm", QemuVdagent = "qemu-vdagent", Dbus = "dbus" }
}

xml_enum! {
    /// The protocol spoken on a TCP character device.
    pub enum TcpProtocol { Raw = "raw", Telnet = "telnet", Telnets = "telnets", Tls = "tls" }
}

xml_enum! {
    /// Whether the guest has opened the channel.
    pub enum ChannelState { Connected = "connected", Disconnected = "disconnected" }
}

xml_enum! {
    /// The kind of serial port.
    pub enum SerialTargetType { None = "none", IsaSerial = "isa-serial", UsbSerial = "usb-serial", PciSerial = "pci-serial", SpaprVioSerial = "spapr-vio-serial", SystemSerial = "system-serial", SclpSerial = "sclp-serial", IsaDebug = "isa-debug" }
}

xml_enum! {
    /// The device that implements a serial port.
    pub enum SerialTargetModel { None = "none", IsaSerial = "isa-serial", UsbSerial = "usb-serial", PciSerial = "pci-serial", SpaprVty = "spapr-vty", Pl011 = "pl011", Sclpconsole = "sclpconsole", Sclplmconsole = "sclplmconsole", Uart16550a = "16550a", IsaDebugcon = "isa-debugcon" }
}

xml_enum! {
    /// How the guest sees a console.
    pub enum ConsoleTargetType { None = "none", Serial = "serial", Xen = "xen", Uml = "uml", Virtio = "virtio", Lxc = "lxc", Openvz = "openvz", Sclp = "sclp", Sclplm = "sclplm" }
}

xml_enum! {
    /// Name of a spicevmc channel.
    pub enum SpicevmcType { Vdagent = "vdagent", Smartcard = "smartcard", Usbredir = "usbredir" }
}

xml_enum! {
    /// Who draws the mouse pointer.
    pub enum MouseMode { Server = "server", Client = "client" }
}

xml_enum! {
    /// Which side of a connection the device is.
    pub enum SourceMode { Connect = "connect", Bind = "bind" }
}

/// What a character device is connected to on the host.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@type", code = ErrorCode::CONFIG_UNSUPPORTED, missing = ErrorCode::XML_ERROR)]
pub enum ChardevSource {
    /// Nothing: what is written is lost.
    Null,
    /// A virtual console of the hypervisor's window.
    Vc,
    /// A pseudo terminal.
    #[xml(default)]
    Pty {
        /// The terminal; only live.
        #[xml("source@path", unless(inactive))]
        path: Option<String>,
        /// Security labels.
        #[xml("source/seclabel", with = seclabel_element, described = DeviceSeclabel, when = path.is_some() && !w.has(XmlFlags::INACTIVE))]
        seclabels: Vec<DeviceSeclabel>,
    },
    /// A device of the host.
    Dev {
        /// Absolute path on the host.
        #[xml("source@path")]
        path: Option<String>,
        /// Security labels.
        #[xml("source/seclabel", with = seclabel_element, described = DeviceSeclabel)]
        seclabels: Vec<DeviceSeclabel>,
    },
    /// A file that is written.
    File {
        /// Absolute path on the host.
        #[xml("source@path")]
        path: Option<String>,
        /// Whether what was there is kept.
        #[xml("source@append", on_off)]
        append: Option<bool>,
        /// Security labels.
        #[xml("source/seclabel", with = seclabel_element, described = DeviceSeclabel)]
        seclabels: Vec<DeviceSeclabel>,
    },
    /// A named pipe.
    Pipe {
        /// Absolute path on the host.
        #[xml("source@path")]
        path: Option<String>,
        /// Security labels.
        #[xml("source/seclabel", with = seclabel_element, described = DeviceSeclabel)]
        seclabels: Vec<DeviceSeclabel>,
    },
    /// Standard input and output of the hypervisor.
    Stdio,
    /// UDP.
    Udp(UdpSource),
    /// TCP.
    Tcp(TcpSource),
    /// A unix socket.
    Unix(UnixSource),
    /// A channel of the SPICE server.
    Spicevmc,
    /// A named port of the SPICE server.
    Spiceport {
        /// Its name.
        #[xml("source@channel")]
        channel: Option<String>,
    },
    /// A null modem device of FreeBSD.
    Nmdm {
        /// The guest's end.
        #[xml("source@master")]
        master: Option<String>,
        /// The host's end.
        #[xml("source@slave")]
        slave: Option<String>,
    },
    /// QEMU's own clipboard agent.
    QemuVdagent {
        /// Whether clipboards are shared.
        #[xml("source/clipboard@copypaste", expected)]
        clipboard: Option<bool>,
        /// Who draws the mouse pointer.
        #[xml("source/mouse@mode", expected)]
        mouse: Option<MouseMode>,
    },
    /// A channel on D-Bus.
    Dbus {
        /// Its name.
        #[xml("source@channel")]
        channel: Option<String>,
    },
}

impl Default for ChardevSource {
    fn default() -> Self {
        Self::Pty {
            path: None,
            seclabels: Vec::new(),
        }
    }
}

impl ChardevSource {
    /// The kind of connection.
    pub fn chardev_type(&self) -> ChardevType {
        ChardevType::from_word(self.xml_tag()).unwrap_or_default()
    }

    /// The path on the host, if the connection has one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Pty { path, .. }
            | Self::Dev { path, .. }
            | Self::File { path, .. }
            | Self::Pipe { path, .. } => path.as_deref(),
            Self::Unix(unix) => unix.path.as_deref(),
            _ => None,
        }
    }
}

/// Whether a lost connection is made again.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "reconnect", check = Reconnect::after_read)]
pub struct Reconnect {
    /// Whether it is.
    #[xml("@enabled")]
    pub enabled: Option<bool>,
    /// Seconds between attempts.
    #[xml("@timeout", read_when = enabled == Some(true), when = self.enabled == Some(true))]
    pub timeout: Option<u32>,
}

impl Reconnect {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match (self.enabled, self.timeout) {
            (Some(true), None) => cx.fail(virt_util::xml::missing(element, At::Attribute("timeout"))),
            (Some(true), Some(_)) => Ok(()),
            _ => {
                self.timeout = None;
                Ok(())
            }
        }
    }
}

/// TCP connection of a character device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpSource {
    /// Which side the device is.
    #[xml("source@mode", default, always, called = "source_mode")]
    pub mode: SourceMode,
    /// Host name or address.
    #[xml("source@host")]
    pub host: Option<String>,
    /// Port or service name.
    #[xml("source@service")]
    pub service: Option<String>,
    /// Whether the connection is encrypted.
    #[xml("source@tls", when = !(w.has(XmlFlags::MIGRATABLE) && self.tls_from_config == Some(1)))]
    pub tls: Option<bool>,
    /// Whether `tls` came from the driver's configuration: 0 or 1.
    #[xml("source@tlsFromConfig", only(status))]
    pub tls_from_config: Option<u32>,
    /// Whether a lost connection is made again.
    #[xml("source/reconnect", omit_empty)]
    pub reconnect: Option<Reconnect>,
    /// The protocol spoken.
    #[xml("protocol@type", default, always)]
    pub protocol: TcpProtocol,
}

/// Unix socket of a character device.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
pub struct UnixSource {
    /// Which side the device is.
    #[xml("source@mode", default, always, called = "source_mode", when = self.path.is_some())]
    pub mode: SourceMode,
    /// The socket; none lets the driver choose.
    #[xml("source@path")]
    pub path: Option<String>,
    /// Security labels.
    #[xml("source/seclabel", with = seclabel_element, described = DeviceSeclabel, when = self.path.is_some())]
    pub seclabels: Vec<DeviceSeclabel>,
    /// Whether a lost connection is made again.
    #[xml("source/reconnect", omit_empty, when = self.path.is_some())]
    pub reconnect: Option<Reconnect>,
}

/// UDP sockets of a character device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpSource {
    /// Where it listens.
    pub bind: UdpEndpoint,
    /// Where it sends to.
    pub connect: UdpEndpoint,
}

/// One end of a UDP connection.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "source")]
pub struct UdpEndpoint {
    /// Host name or address.
    #[xml("@host")]
    pub host: Option<String>,
    /// Port or service name.
    #[xml("@service")]
    pub service: Option<String>,
}

impl UdpEndpoint {
    fn is_empty(&self) -> bool {
        self.host.is_none() && self.service.is_none()
    }
}

impl XmlElement for UdpSource {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let mut source = Self::default();
        for end in element.children_named("source").take(2) {
            let mode: SourceMode =
                read::attr(end, cx, "mode", virt_util::xml::XmlValue::parse_value)?.unwrap_or_default();
            let slot = match mode {
                SourceMode::Connect => &mut source.connect,
                SourceMode::Bind => &mut source.bind,
            };
            if slot.is_empty() {
                *slot = UdpEndpoint::read(end, cx)?;
            }
        }
        Ok(source)
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        for (mode, end) in [("bind", &self.bind), ("connect", &self.connect)] {
            if !end.is_empty() {
                w.start("source");
                w.attribute("mode", mode);
                end.write_attributes(w);
                w.end("source");
            }
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("UdpSource", "", "Both ends of a UDP connection." => {
            /// The two ends.
            "source" => sources: elements {
                /// `connect` for where packets go, `bind` for where they are taken.
                "@mode" => mode: value(SourceMode),
                /// Name or address.
                "@host" => host: value(String),
                /// Port, as number or name.
                "@service" => service: value(String),
            },
        })
    }
}

/// The host's side of a character device.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(check = ChardevHost::after_read)]
pub struct ChardevHost {
    /// What it is connected to.
    #[xml(flatten)]
    pub source: ChardevSource,
    /// A file that gets a copy of what is written.
    #[xml("log", when = self.log.as_ref().is_some_and(|log| log.file.is_some()))]
    pub log: Option<Box<ChardevLog>>,
}

/// A file that gets a copy of what a character device writes.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "log")]
pub struct ChardevLog {
    /// Its path.
    #[xml("@file")]
    pub file: Option<String>,
    /// Whether what was there is kept.
    #[xml("@append", on_off)]
    pub append: Option<bool>,
}

impl ChardevHost {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let sources = element.children_named("source").count();
        let udp = matches!(self.source, ChardevSource::Udp(_));
        if sources > 1 && !udp {
            let what = "only one source element is allowed for character device";
            cx.fail(error_at(element, At::Child("source"), what))?;
        } else if sources > 2 {
            let what = "only two source elements are allowed for character device";
            cx.fail(error_at(element, At::Child("source"), what))?;
        }
        for name in ["log", "protocol"] {
            if element.children_named(name).count() > 1 {
                let what = format!("only one {name} element is allowed for character device");
                cx.fail(error_at(element, At::Child(name), what))?;
            }
        }
        Ok(())
    }
}

/// A serial port.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "serial", check = Serial::after_read)]
pub struct Serial {
    /// The host's side.
    #[xml(flatten)]
    pub host: ChardevHost,
    /// The guest's side.
    #[xml("target", default, always)]
    pub target: SerialTarget,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// The guest's side of a serial port.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "target")]
pub struct SerialTarget {
    /// The kind of port.
    #[xml("@type", default, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub kind: SerialTargetType,
    /// Number of the port.
    #[xml("@port", own)]
    pub port: Option<u32>,
    /// The device that implements it.
    #[xml("model+@name", default, nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub model: SerialTargetModel,
}

impl Serial {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use super::device_info::Address;
        let usb = self.target.kind == SerialTargetType::UsbSerial;
        if usb && !matches!(self.info.address, None | Some(Address::Usb(_))) {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Child("address"),
                "usb-serial requires address of usb type",
            ))?;
        }
        refuse_spicevmc(&self.host.source, element, cx)
    }
}

fn refuse_spicevmc(source: &ChardevSource, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    if matches!(source, ChardevSource::Spicevmc) {
        cx.fail(error_at(
            element,
            At::Attribute("type"),
            "spicevmc device type only supports virtio channels",
        ))?;
    }
    Ok(())
}

/// A parallel port.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "parallel")]
pub struct Parallel {
    /// The host's side.
    #[xml(flatten)]
    pub host: ChardevHost,
    /// Number of the port.
    #[xml("target@port", own)]
    pub port: Option<u32>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// A console.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "console")]
pub struct Console {
    /// The host's side.
    #[xml(flatten)]
    pub host: ChardevHost,
    /// The terminal again, for programs that look for it here; only ever written, see [`Console::tty`].
    #[xml("@tty", read_when = false, unless(inactive), when = self.tty().is_some(), write_as = self.tty())]
    pub tty: Option<String>,
    /// How the guest sees it.
    #[xml("target@type", default, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub target_type: ConsoleTargetType,
    /// Number of the console.
    #[xml("target@port", own)]
    pub port: Option<u32>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

impl Console {
    /// The pseudo terminal of the first console.
    pub fn tty(&self) -> Option<String> {
        match &self.host.source {
            ChardevSource::Pty { path, .. } if self.port.unwrap_or_default() == 0 => path.clone(),
            _ => None,
        }
    }
}

/// A channel between host and guest.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "channel", check = Channel::after_read)]
pub struct Channel {
    /// The host's side.
    #[xml(flatten)]
    pub host: ChardevHost,
    /// How the guest sees it.
    #[xml("target")]
    pub target: ChannelTarget,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// How the guest sees a channel.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "target", union = "@type", code = ErrorCode::CONFIG_UNSUPPORTED)]
pub enum ChannelTarget {
    /// A TCP port of the user mode network.
    Guestfwd {
        /// IPv4 address in the guest's network.
        #[xml("@address", code = ErrorCode::SYSTEM_ERROR, missing = ErrorCode::XML_ERROR, reported_by = ErrorDomain::NONE)]
        address: std::net::Ipv4Addr,
        /// Number of the TCP port that the guest connects to.
        #[xml("@port", own)]
        port: u16,
    },
    /// A virtio serial port.
    Virtio {
        /// Its name, as in `org.qemu.guest_agent.0`.
        #[xml("@name")]
        name: Option<String>,
        /// Whether the guest has opened it; only live.
        #[xml("@state", unless(inactive))]
        state: Option<ChannelState>,
    },
    /// A Xen channel.
    Xen {
        /// What the guest finds the channel under.
        #[xml("@name")]
        name: Option<String>,
    },
}

impl Channel {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if matches!(self.target, ChannelTarget::Virtio { .. }) {
            return Ok(());
        }
        refuse_spicevmc(&self.host.source, element, cx)
    }
}

/// A smart card.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "smartcard")]
pub struct Smartcard {
    /// Where it comes from.
    #[xml(flatten)]
    pub source: SmartcardSource,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Where a smart card comes from.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@mode", check = SmartcardSource::after_read)]
pub enum SmartcardSource {
    /// The host's reader.
    Host,
    /// Certificates of the host.
    HostCertificates {
        /// Three names.
        #[xml("certificate")]
        certificates: Vec<String>,
        /// The database that holds them.
        #[xml(".", with = certificate_database, reads("database": String))]
        database: Option<String>,
    },
    /// A reader behind a character device.
    Passthrough(ChardevHost),
}

/// The first `<database>` that says something.
mod certificate_database {
    use virt_util::Result;
    use virt_util::xml::{Element, Reader, Writer};

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Option<String>> {
        let texts = element.children_named("database").map(|child| child.text());
        Ok(texts
            .filter(|text| !text.is_empty())
            .map(|text| text.into_owned())
            .next())
    }

    pub(super) fn write(value: &Option<String>, w: &mut Writer) {
        if let Some(path) = value {
            w.text_element("database", path);
        }
    }
}

impl SmartcardSource {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match self {
            Self::HostCertificates { certificates, .. } if certificates.len() != 3 => {
                let what = format!(
                    "host-certificates mode needs exactly three certificates, found {}",
                    certificates.len()
                );
                cx.fail(error_at(element, At::Child("certificate"), what))
            }
            Self::HostCertificates { database, .. } => match (database, element.child("database")) {
                (None, Some(child)) => {
                    let what = "the database of certificates has no path";
                    cx.fail(error_with(ErrorCode::INTERNAL_ERROR, child, At::Text, what))
                }
                (Some(path), Some(child)) if !path.starts_with('/') => {
                    let what = format!("expected an absolute path, found '{path}'");
                    cx.fail(error_at(child, At::Text, what))
                }
                _ => Ok(()),
            },
            Self::Passthrough(_) if !element.has_attr("type") => cx.fail(error_at(
                element,
                At::Text,
                "passthrough mode requires a character device type attribute",
            )),
            _ => Ok(()),
        }
    }
}
