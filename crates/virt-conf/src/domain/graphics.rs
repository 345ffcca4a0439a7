//! Graphics: how the guest's display is shown.

use virt_util::Result;
use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, push_signed, read};

use super::chardev::MouseMode;

xml_enum! {
    /// How the guest display is shown.
    pub enum GraphicsType { Sdl = "sdl", Vnc = "vnc", Rdp = "rdp", Desktop = "desktop", Spice = "spice", EglHeadless = "egl-headless", Dbus = "dbus" }
}

xml_enum! {
    /// What a graphics server listens on.
    pub enum ListenType { None = "none", Address = "address", Network = "network", Socket = "socket" }
}

xml_enum! {
    /// What happens to clients when the password changes.
    pub enum AuthConnected { Fail = "fail", Disconnect = "disconnect", Keep = "keep" }
}

xml_enum! {
    /// How VNC clients share the display.
    pub enum VncSharePolicy { Default = "default", AllowExclusive = "allow-exclusive", ForceShared = "force-shared", Ignore = "ignore" }
}

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

/// A way to show the guest's display.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "graphics", union = "@type")]
pub enum Graphics {
    /// A window on the host, through SDL.
    Sdl(SdlGraphics),
    /// A VNC server.
    Vnc(VncGraphics),
    /// An RDP server.
    Rdp(RdpGraphics),
    /// A window on the host, as VirtualBox and others open it.
    Desktop {
        /// X display.
        #[xml("@display")]
        display: Option<String>,
        /// Whether the window fills the screen.
        #[xml("@fullscreen", default)]
        fullscreen: bool,
    },
    /// A SPICE server.
    Spice(Box<SpiceGraphics>),
    /// Nothing is shown, but the guest gets accelerated graphics.
    EglHeadless {
        /// Device node of the graphics card.
        #[xml("gl@rendernode")]
        render_node: Option<String>,
    },
    /// The display is exported on D-Bus.
    Dbus(DbusGraphics),
}

/// A window on the host, through SDL.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct SdlGraphics {
    /// X display.
    #[xml("@display")]
    pub display: Option<String>,
    /// File with the X cookie.
    #[xml("@xauth")]
    pub xauth: Option<String>,
    /// Whether the window fills the screen.
    #[xml("@fullscreen", default)]
    pub fullscreen: bool,
    /// Whether OpenGL is used.
    #[xml("gl@enable")]
    pub gl: Option<bool>,
}

/// The display on D-Bus.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct DbusGraphics {
    /// Whether clients connect directly.
    #[xml("@p2p", default)]
    pub p2p: bool,
    /// Address of the bus.
    #[xml("@address", read_when = !cx.has(XmlFlags::INACTIVE) || element.attr("p2p").as_deref() != Some("yes"))]
    pub address: Option<String>,
    /// Whether OpenGL is used.
    #[xml("gl@enable")]
    pub gl: Option<bool>,
    /// Device node of the graphics card.
    #[xml("gl@rendernode")]
    pub render_node: Option<String>,
    /// Audio back end.
    #[xml("audio@id", default)]
    pub audio: u32,
}

/// A password and what it is good for.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = GraphicsAuth::after_read)]
pub struct GraphicsAuth {
    /// User name, of RDP servers.
    #[xml("@username", when = self.password.is_some())]
    pub username: Option<String>,
    /// What clients must know; at most 8 characters count with VNC.
    #[xml("@passwd", only(secure))]
    pub password: Option<String>,
    /// When it ends to be valid: `YYYY-MM-DDTHH:MM:SS`, UTC.
    #[xml("@passwdValidTo", when = self.password.is_some())]
    pub valid_to: Option<String>,
    /// What happens to clients when it changes.
    #[xml("@connected", when = self.password.is_some())]
    pub connected: Option<AuthConnected>,
}

impl GraphicsAuth {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.password.is_none() {
            *self = Self::default();
            return Ok(());
        }
        if let Some(text) = &self.valid_to {
            let shape = |text: &str| {
                let bytes = text.as_bytes();
                bytes.len() == 19
                    && bytes.iter().enumerate().all(|(at, byte)| match at {
                        4 | 7 => *byte == b'-',
                        10 => *byte == b'T',
                        13 | 16 => *byte == b':',
                        _ => byte.is_ascii_digit(),
                    })
            };
            if !shape(text) {
                let what =
                    format!("cannot parse password validity time '{text}', expect YYYY-MM-DDTHH:MM:SS");
                cx.fail(error_at(element, At::Attribute("passwdValidTo"), what))?;
            }
        }
        Ok(())
    }
}

/// What a graphics server listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// The kind.
    pub kind: ListenType,
    /// The address; for a network only live.
    pub address: Option<String>,
    /// The network whose host address is used.
    pub network: Option<String>,
    /// The unix socket.
    pub socket: Option<String>,
    /// From the driver's configuration rather than the user.
    pub from_config: bool,
    /// The socket's name was made by the driver.
    pub auto_generated: bool,
}

/// Everything that a graphics server listens on, with the attributes that older clients read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listens(pub Vec<Listen>);

fn text(element: Element<'_>, name: &str) -> Option<String> {
    element
        .attr(name)
        .map(|value| value.into_owned())
        .filter(|value| !value.is_empty())
}

impl Listen {
    fn read(element: Element<'_>, parent: Option<Element<'_>>, cx: &mut Reader) -> Result<Self> {
        let kind = read::attr::<ListenType>(element, cx, "type", virt_util::xml::XmlValue::parse_value)?;
        let kind = read::required(element, At::Attribute("type"), kind)?;
        let mut address = text(element, "address");
        let mut socket = text(element, "socket");
        let network = text(element, "network");
        let mut compat = |name: &'static str, own: &mut Option<String>, other: &str| -> Result<()> {
            let Some(old) = parent.and_then(|parent| text(parent, name)) else {
                return Ok(());
            };
            match own {
                Some(own) if *own != old => {
                    let what = format!(
                        "graphics '{name}' attribute '{old}' must match '{other}' attribute of first listen element (found '{own}')"
                    );
                    cx.fail(error_at(element, At::Attribute("address"), what))
                }
                Some(_) => Ok(()),
                None => {
                    *own = Some(old);
                    Ok(())
                }
            }
        };
        match kind {
            ListenType::Address => compat("listen", &mut address, "address")?,
            ListenType::Socket => compat("socket", &mut socket, "socket")?,
            ListenType::Network | ListenType::None => {}
        }
        let live = !cx.has(XmlFlags::INACTIVE);
        if !(kind == ListenType::Address || (kind == ListenType::Network && live)) {
            address = None;
        }
        if network.is_some() && kind != ListenType::Network {
            let what = "'network' attribute is valid only for listen type 'network'";
            cx.fail(error_at(element, At::Attribute("network"), what))?;
        }
        if socket.is_some() && kind != ListenType::Socket {
            let what = "'socket' attribute is valid only for listen type 'socket'";
            cx.fail(error_at(element, At::Attribute("socket"), what))?;
        }
        let status = cx.has(XmlFlags::STATUS);
        Ok(Self {
            kind,
            address,
            network,
            socket,
            from_config: status && element.attr("fromConfig").is_some_and(|value| value != "0"),
            auto_generated: status && element.attr("autoGenerated").is_some_and(|value| value == "yes"),
        })
    }

    fn write(&self, w: &mut Writer) {
        let flags = w.flags();
        let migratable = flags.contains(XmlFlags::MIGRATABLE);
        if migratable && self.from_config {
            return;
        }
        w.start("listen");
        w.attribute("type", self.kind.as_str());
        let live = !flags.contains(XmlFlags::INACTIVE);
        if let Some(address) = &self.address
            && (self.kind == ListenType::Address || (self.kind == ListenType::Network && live))
        {
            w.attribute("address", address);
        }
        if let Some(network) = self.network.as_ref().filter(|_| self.kind == ListenType::Network) {
            w.attribute("network", network);
        }
        if let Some(socket) = self.socket.as_ref().filter(|_| self.kind == ListenType::Socket)
            && !(self.auto_generated && migratable)
        {
            w.attribute("socket", socket);
        }
        if flags.contains(XmlFlags::STATUS) {
            w.attribute("fromConfig", if self.from_config { "1" } else { "0" });
            w.attribute("autoGenerated", if self.auto_generated { "yes" } else { "no" });
        }
        w.end("listen");
    }
}

impl Listens {
    /// The first thing listened on: clients that know of one only are told this one.
    pub fn first(&self) -> Option<&Listen> {
        self.0.first()
    }

    fn read(element: Element<'_>, cx: &mut Reader, sockets: bool) -> Result<Self> {
        let mut listens = Vec::new();
        for (at, child) in element.children_named("listen").enumerate() {
            listens.push(Listen::read(child, (at == 0).then_some(element), cx)?);
        }
        let socket = if sockets {
            element.attr("socket").map(|value| value.into_owned())
        } else {
            None
        };
        let old = match socket {
            Some(socket) => Listen {
                kind: ListenType::Socket,
                socket: Some(socket),
                ..Listen::default()
            },
            None => Listen {
                kind: ListenType::Address,
                address: text(element, "listen"),
                ..Listen::default()
            },
        };
        match listens.first_mut() {
            None => listens.push(old),
            Some(first)
                if matches!(first.kind, ListenType::Address | ListenType::Network)
                    && old.kind == ListenType::Socket =>
            {
                *first = old;
            }
            Some(_) => {}
        }
        Ok(Self(listens))
    }

    /// The attribute `listen`, for clients that know no `<listen>`.
    fn write_compat(&self, w: &mut Writer) {
        let Some(first) = self.first() else { return };
        let flags = w.flags();
        if flags.contains(XmlFlags::MIGRATABLE) && first.from_config {
            return;
        }
        if first.kind == ListenType::Network && flags.intersects(XmlFlags::INACTIVE | XmlFlags::MIGRATABLE) {
            return;
        }
        if let Some(address) = &first.address {
            w.attribute("listen", address);
        }
    }

    fn write(&self, w: &mut Writer, kind: GraphicsType) {
        let migratable = w.has(XmlFlags::MIGRATABLE);
        for listen in &self.0 {
            // Older peers take these from the attributes of <graphics>.
            let own_socket = kind == GraphicsType::Vnc
                && listen.kind == ListenType::Socket
                && listen.socket.is_some()
                && !listen.auto_generated;
            let none = kind == GraphicsType::Spice && listen.kind == ListenType::None;
            if !(migratable && (own_socket || none)) {
                listen.write(w);
            }
        }
    }
}

/// A VNC server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VncGraphics {
    /// What it listens on.
    pub listens: Listens,
    /// TCP port; 0: none yet.
    pub port: i32,
    /// The driver chooses the port.
    pub autoport: bool,
    /// Port for websockets; -1: the driver chooses.
    pub websocket: i32,
    /// The websocket's port was chosen by the driver.
    pub websocket_generated: bool,
    /// Keyboard layout.
    pub keymap: Option<String>,
    /// How clients share the display.
    pub share_policy: VncSharePolicy,
    /// Whether clients may power the guest off.
    pub power_control: Option<bool>,
    /// The password.
    pub auth: GraphicsAuth,
    /// Audio back end; 0: none.
    pub audio: u32,
}

fn number(element: Element<'_>, cx: &mut Reader, name: &'static str) -> Result<Option<i32>> {
    read::attr(element, cx, name, |text| virt_util::xml::parse_integer(text, 10))
}

fn write_number(w: &mut Writer, name: &str, value: i32) {
    w.attribute_with(name, |out| push_signed(out, value.into()));
}

impl XmlElement for VncGraphics {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let inactive = cx.has(XmlFlags::INACTIVE);
        let mut vnc = Self {
            listens: Listens::read(element, cx, true)?,
            ..Self::default()
        };
        match number(element, cx, "port")? {
            Some(port) => {
                vnc.port = port;
                if port == -1 {
                    if inactive {
                        vnc.port = 0;
                    }
                    vnc.autoport = true;
                }
            }
            None => vnc.autoport = true,
        }
        match element.attr("autoport").as_deref() {
            Some("yes") => vnc.autoport = true,
            Some("no") => vnc.autoport = false,
            _ => {}
        }
        if element.has_attr("autoport") && vnc.autoport && inactive {
            vnc.port = 0;
        }
        vnc.websocket = number(element, cx, "websocket")?.unwrap_or_default();
        vnc.websocket_generated = element.attr("websocketGenerated").as_deref() == Some("yes");
        vnc.share_policy = read::attr(element, cx, "sharePolicy", virt_util::xml::XmlValue::parse_value)?
            .unwrap_or_default();
        vnc.power_control = read::attr(element, cx, "powerControl", virt_util::xml::XmlValue::parse_value)?;
        vnc.keymap = read::attr(element, cx, "keymap", virt_util::xml::XmlValue::parse_value)?;
        vnc.auth = GraphicsAuth::read(element, cx)?;
        let audio = element.child_or_ghost("audio");
        vnc.audio = read::attr(audio, cx, "id", virt_util::xml::XmlValue::parse_value)?.unwrap_or_default();
        Ok(vnc)
    }

    fn write_attributes(&self, w: &mut Writer) {
        let flags = w.flags();
        let inactive = flags.contains(XmlFlags::INACTIVE);
        let Some(first) = self.listens.first() else { return };
        match first.kind {
            ListenType::Socket => {
                let chosen = first.auto_generated || first.from_config;
                if let Some(socket) = first
                    .socket
                    .as_ref()
                    .filter(|_| !(chosen && flags.contains(XmlFlags::MIGRATABLE)))
                {
                    w.attribute("socket", socket);
                }
            }
            ListenType::Address | ListenType::Network => {
                if self.port != 0 && (!self.autoport || !inactive) {
                    write_number(w, "port", self.port);
                } else if self.autoport {
                    w.attribute("port", "-1");
                }
                w.attribute("autoport", if self.autoport { "yes" } else { "no" });
                if self.websocket_generated && inactive {
                    w.attribute("websocket", "-1");
                } else if self.websocket != 0 {
                    write_number(w, "websocket", self.websocket);
                }
                if flags.contains(XmlFlags::STATUS) {
                    w.attribute(
                        "websocketGenerated",
                        if self.websocket_generated { "yes" } else { "no" },
                    );
                }
                self.listens.write_compat(w);
            }
            ListenType::None => {}
        }
        if let Some(keymap) = &self.keymap {
            w.attribute("keymap", keymap);
        }
        if self.share_policy != VncSharePolicy::Default {
            w.attribute("sharePolicy", self.share_policy.as_str());
        }
        if let Some(power) = self.power_control {
            w.attribute("powerControl", if power { "yes" } else { "no" });
        }
        self.auth.write_attributes(w);
    }

    fn write_content(&self, w: &mut Writer) {
        self.listens.write(w, GraphicsType::Vnc);
        if self.audio != 0 {
            w.start("audio");
            w.attribute_with("id", |out| virt_util::xml::push_unsigned(out, self.audio.into()));
            w.end("audio");
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("VncGraphics", "graphics", "A VNC server." => {
            /// TCP port; -1 for one that is free at start.
            "@port" => port: value(i32),
            /// Whether a free port is taken at start.
            "@autoport" => autoport: value(bool),
            /// TCP port for websockets; -1 for one that is free at start.
            "@websocket" => websocket: value(i32),
            /// Whether the driver chose the websocket port; in status files.
            "@websocketGenerated" => websocket_generated: value(bool),
            /// Address it listens on: the first of the list, for old clients.
            "@listen" => listen: value(String),
            /// Path of the unix socket it listens on.
            "@socket" => socket: value(String),
            /// Layout of the keyboard.
            "@keymap" => keymap: value(String),
            /// What happens to other clients when one connects.
            "@sharePolicy" => share_policy: value(VncSharePolicy),
            /// Whether clients may turn the guest off.
            "@powerControl" => power_control: value(bool),
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
            /// Number of the audio back end.
            "audio@id" => audio: value(u32),
        })
    }
}

/// An RDP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdpGraphics {
    /// What it listens on.
    pub listens: Listens,
    /// TCP port; 0: none yet.
    pub port: i32,
    /// The driver chooses the port.
    pub autoport: bool,
    /// A new client replaces the one before.
    pub replace_user: bool,
    /// Several clients at once.
    pub multi_user: bool,
    /// User and password.
    pub auth: GraphicsAuth,
}

impl XmlElement for RdpGraphics {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let yes = |name: &str| element.attr(name).as_deref() == Some("yes");
        let port = number(element, cx, "port")?;
        let autoport = port.is_none_or(|port| port == -1) || yes("autoport");
        Ok(Self {
            listens: Listens::read(element, cx, false)?,
            port: if autoport && cx.has(XmlFlags::INACTIVE) {
                0
            } else {
                port.unwrap_or_default()
            },
            autoport,
            replace_user: yes("replaceUser"),
            multi_user: yes("multiUser"),
            auth: GraphicsAuth::read(element, cx)?,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        if self.port != 0 || self.autoport {
            write_number(w, "port", self.port);
        }
        for (name, set) in [
            ("autoport", self.autoport),
            ("replaceUser", self.replace_user),
            ("multiUser", self.multi_user),
        ] {
            if set {
                w.attribute(name, "yes");
            }
        }
        self.listens.write_compat(w);
        self.auth.write_attributes(w);
    }

    fn write_content(&self, w: &mut Writer) {
        self.listens.write(w, GraphicsType::Rdp);
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("RdpGraphics", "graphics", "An RDP server." => {
            /// TCP port; -1 for one that is free at start.
            "@port" => port: value(i32),
            /// Whether a free port is taken at start.
            "@autoport" => autoport: value(bool),
            /// Whether a new client takes the place of the one before.
            "@replaceUser" => replace_user: value(bool),
            /// Whether several clients may be connected.
            "@multiUser" => multi_user: value(bool),
            /// Address it listens on: the first of the list, for old clients.
            "@listen" => listen: value(String),
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
    #[xml("image@compression")]
    pub image: Option<SpiceImageCompression>,
    /// When JPEG compression is used.
    #[xml("jpeg@compression")]
    pub jpeg: Option<SpiceJpegCompression>,
    /// When zlib compression is used.
    #[xml("zlib@compression")]
    pub zlib: Option<SpiceZlibCompression>,
    /// Whether sound is compressed.
    #[xml("playback@compression", on_off)]
    pub playback: Option<bool>,
    /// Which video streams are detected.
    #[xml("streaming@mode")]
    pub streaming: Option<SpiceStreamingMode>,
    /// Who draws the mouse pointer.
    #[xml("mouse@mode")]
    pub mouse: Option<MouseMode>,
    /// Whether clipboards are shared.
    #[xml("clipboard@copypaste")]
    pub clipboard: Option<bool>,
    /// Whether files can be transferred.
    #[xml("filetransfer@enable")]
    pub file_transfer: Option<bool>,
    /// Whether OpenGL is used.
    #[xml("gl@enable")]
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

impl Graphics {
    /// The kind.
    pub fn graphics_type(&self) -> GraphicsType {
        GraphicsType::from_word(self.xml_tag()).unwrap_or_default()
    }

    /// What the server listens on, if it is one.
    pub fn listens(&self) -> Option<&Listens> {
        match self {
            Self::Vnc(vnc) => Some(&vnc.listens),
            Self::Spice(spice) => Some(&spice.listens),
            Self::Rdp(rdp) => Some(&rdp.listens),
            _ => None,
        }
    }

    /// [`Graphics::listens`], to change them.
    pub fn listens_mut(&mut self) -> Option<&mut Listens> {
        match self {
            Self::Vnc(vnc) => Some(&mut vnc.listens),
            Self::Spice(spice) => Some(&mut spice.listens),
            Self::Rdp(rdp) => Some(&mut rdp.listens),
            _ => None,
        }
    }
}
