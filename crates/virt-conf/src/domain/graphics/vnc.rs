//! VNC servers.

use virt_util::Result;
use virt_util::xml::{Element, Reader, Writer, XmlElement, XmlFlags, read};

use super::{GraphicsAuth, GraphicsType, ListenType, Listens, number, own_port, write_number};

xml_enum! {
    /// How VNC clients share the display.
    pub enum VncSharePolicy { Default = "default", AllowExclusive = "allow-exclusive", ForceShared = "force-shared", Ignore = "ignore" }
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

impl XmlElement for VncGraphics {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let inactive = cx.has(XmlFlags::INACTIVE);
        let mut vnc = Self {
            listens: Listens::read(element, cx, true)?,
            ..Self::default()
        };
        match own_port(element, cx)? {
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
