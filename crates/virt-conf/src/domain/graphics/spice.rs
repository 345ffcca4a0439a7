//! SPICE servers.

use virt_util::Result;
use virt_util::xml::{Element, Reader, Writer, Xml, XmlElement, XmlFlags, read};

use super::super::chardev::MouseMode;
use super::{GraphicsAuth, GraphicsType, ListenType, Listens, number, write_number};

xml_enum! {
    /// A SPICE channel.
    pub enum SpiceChannelName { Main = "main", Display = "display", Inputs = "inputs", Cursor = "cursor", Playback = "playback", Record = "record", Smartcard = "smartcard", Usbredir = "usbredir" }
}

xml_enum! {
    /// Whether a SPICE channel must be encrypted.
    pub enum SpiceChannelMode { Any = "any", Secure = "secure", Insecure = "insecure" }
}

xml_enum! {
    /// Image compression of SPICE.
    pub enum SpiceImageCompression { AutoGlz = "auto_glz", AutoLz = "auto_lz", Quic = "quic", Glz = "glz", Lz = "lz", Off = "off" }
}

xml_enum! {
    /// When JPEG compression is used on slow links.
    pub enum SpiceJpegCompression { Auto = "auto", Never = "never", Always = "always" }
}

xml_enum! {
    /// When zlib compression is used on slow links.
    pub enum SpiceZlibCompression { Auto = "auto", Never = "never", Always = "always" }
}

xml_enum! {
    /// Which video streams SPICE detects.
    pub enum SpiceStreamingMode { Filter = "filter", All = "all", Off = "off" }
}

/// A SPICE server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpiceGraphics {
    /// What it listens on.
    pub listens: Listens,
    /// TCP port; 0: none, -1: the driver chooses.
    pub port: i32,
    /// TCP port for encrypted connections; 0: none, -1: the driver chooses.
    pub tls_port: i32,
    /// The driver chooses the ports.
    pub autoport: bool,
    /// The password.
    pub auth: GraphicsAuth,
    /// What has no bearing on ports.
    pub options: SpiceOptions,
}

/// Options of a SPICE server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct SpiceOptions {
    /// Keyboard layout.
    #[xml("@keymap")]
    pub keymap: Option<String>,
    /// Whether channels must be encrypted.
    #[xml("@defaultMode", default)]
    pub default_mode: SpiceChannelMode,
    /// Whether single channels must be encrypted, in the order of their names' declaration.
    #[xml("channel")]
    pub channels: Vec<SpiceChannel>,
    /// How images are compressed on the wire.
    #[xml("image@compression", expected)]
    pub image: Option<SpiceImageCompression>,
    /// When JPEG compression is used.
    #[xml("jpeg@compression", expected)]
    pub jpeg: Option<SpiceJpegCompression>,
    /// When zlib compression is used.
    #[xml("zlib@compression", expected)]
    pub zlib: Option<SpiceZlibCompression>,
    /// Whether sound is compressed.
    #[xml("playback@compression", on_off, expected)]
    pub playback: Option<bool>,
    /// Which video streams are detected.
    #[xml("streaming@mode", expected)]
    pub streaming: Option<SpiceStreamingMode>,
    /// Who draws the mouse pointer.
    #[xml("mouse@mode", expected)]
    pub mouse: Option<MouseMode>,
    /// Whether clipboards are shared.
    #[xml("clipboard@copypaste", expected)]
    pub clipboard: Option<bool>,
    /// Whether files can be transferred.
    #[xml("filetransfer@enable", expected)]
    pub file_transfer: Option<bool>,
    /// Whether OpenGL is used.
    #[xml("gl@enable", expected)]
    pub gl: Option<bool>,
    /// Device node of the graphics card.
    #[xml("gl@rendernode")]
    pub render_node: Option<String>,
}

/// Whether a channel must be encrypted.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "channel")]
pub struct SpiceChannel {
    /// The channel.
    #[xml("@name")]
    pub name: SpiceChannelName,
    /// Whether it must be encrypted.
    #[xml("@mode")]
    pub mode: SpiceChannelMode,
}

impl XmlElement for SpiceGraphics {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let listens = Listens::read(element, cx, false)?;
        let mut port = number(element, cx, "port")?.unwrap_or_default();
        let mut tls_port = number(element, cx, "tlsPort")?.unwrap_or_default();
        let mut autoport =
            read::attr(element, cx, "autoport", virt_util::xml::XmlValue::parse_value)?.unwrap_or_default();
        autoport |= port == -1 && tls_port == -1;
        if autoport && cx.has(XmlFlags::INACTIVE) {
            (port, tls_port) = (0, 0);
        }
        let mut options = SpiceOptions::read(element, cx)?;
        // The last mode said for a channel counts; "any" is as good as nothing.
        let mut channels: Vec<SpiceChannel> = Vec::new();
        for name in SpiceChannelName::ALL {
            let last = options
                .channels
                .iter()
                .rev()
                .find(|channel| channel.name == *name);
            channels.extend(last.filter(|channel| channel.mode != SpiceChannelMode::Any));
        }
        options.channels = channels;
        Ok(Self {
            listens,
            port,
            tls_port,
            autoport,
            auth: GraphicsAuth::read(element, cx)?,
            options,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        let migratable = w.has(XmlFlags::MIGRATABLE);
        let Some(first) = self.listens.first() else { return };
        match first.kind {
            ListenType::Address | ListenType::Network => {
                if self.port != 0 {
                    write_number(w, "port", self.port);
                }
                if self.tls_port != 0 {
                    write_number(w, "tlsPort", self.tls_port);
                }
                w.attribute("autoport", if self.autoport { "yes" } else { "no" });
                self.listens.write_compat(w);
            }
            ListenType::None if migratable => w.attribute("autoport", "no"),
            ListenType::Socket if migratable && first.from_config => w.attribute("autoport", "yes"),
            ListenType::None | ListenType::Socket => {}
        }
        self.options.write_attributes(w);
        self.auth.write_attributes(w);
    }

    fn write_content(&self, w: &mut Writer) {
        self.listens.write(w, GraphicsType::Spice);
        self.options.write_content(w);
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("SpiceGraphics", "graphics", "A SPICE server." => {
            /// TCP port; -1 for one that is free at start.
            "@port" => port: value(i32),
            /// TCP port for encrypted connections; -1 for one that is free at start.
            "@tlsPort" => tls_port: value(i32),
            /// Whether free ports are taken at start.
            "@autoport" => autoport: value(bool),
            /// Address it listens on: the first of the list, for old clients.
            "@listen" => listen: value(String),
            /// Channels, compression and what clients may do.
            "." => options: element(SpiceOptions),
            /// Password and its limits.
            "." => auth: element(GraphicsAuth),
            /// Where it listens for clients.
            "listen" => listens: elements {
                /// What it listens on.
                "@type" => kind: value(ListenType),
                /// Address of the host.
                "@address" => address: value(String),
                /// Virtual network whose address on the host is taken.
                "@network" => network: value(String),
                /// Path of a unix socket.
                "@socket" => socket: value(String),
                /// Whether the driver's configuration said it: 0 or 1; in status files.
                "@fromConfig" => from_config: value(String),
                /// Whether the driver made the path of the socket; in status files.
                "@autoGenerated" => auto_generated: value(bool),
            },
        })
    }
}
