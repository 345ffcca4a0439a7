//! Graphics: how the guest's display is shown. Each kind of server has a module; `listen` is what they share.

mod listen;
mod rdp;
mod spice;
mod vnc;

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlFlags, error_with, push_signed, read};
use virt_util::{ErrorCode, Result};

pub use listen::{Listen, ListenType, Listens};
pub use rdp::RdpGraphics;
pub use spice::{
    SpiceChannel, SpiceChannelMode, SpiceChannelName, SpiceGraphics, SpiceImageCompression,
    SpiceJpegCompression, SpiceOptions, SpiceStreamingMode, SpiceZlibCompression,
};
pub use vnc::{VncGraphics, VncSharePolicy};

xml_enum! {
    /// How the guest display is shown.
    pub enum GraphicsType { Sdl = "sdl", Vnc = "vnc", Rdp = "rdp", Desktop = "desktop", Spice = "spice", EglHeadless = "egl-headless", Dbus = "dbus" }
}

xml_enum! {
    /// What happens to clients when the password changes.
    pub enum AuthConnected { Fail = "fail", Disconnect = "disconnect", Keep = "keep" }
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
    #[xml("gl@enable", expected)]
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
    #[xml("gl@enable", expected)]
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
    #[xml("@connected", read_when = password.is_some(), code = ErrorCode::CONFIG_UNSUPPORTED, when = self.password.is_some())]
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
                cx.fail(error_with(
                    ErrorCode::INTERNAL_ERROR,
                    element,
                    At::Attribute("passwdValidTo"),
                    what,
                ))?;
            }
        }
        Ok(())
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

/// A number that the helper for all documents reads.
fn number(element: Element<'_>, cx: &mut Reader, name: &'static str) -> Result<Option<i32>> {
    read::attr(element, cx, name, |text| virt_util::xml::parse_integer(text, 10))
}

/// The port of a kind of graphics that reads it by itself.
fn own_port(element: Element<'_>, cx: &mut Reader) -> Result<Option<i32>> {
    read::coded(element, cx, (ErrorCode::INTERNAL_ERROR, None), |cx| {
        number(element, cx, "port")
    })
}

fn write_number(w: &mut Writer, name: &str, value: i32) {
    w.attribute_with(name, |out| push_signed(out, value.into()));
}
