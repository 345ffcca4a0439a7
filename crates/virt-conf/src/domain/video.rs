//! Graphics cards.

use virt_util::xml::{At, Element, Reader, Xml, error_with};
use virt_util::{ErrorCode, Result};

use super::device_info::{DeviceInfo, VirtioOptions};

xml_enum! {
    /// Model of a graphics card.
    pub enum VideoModelType { Default = "default", Vga = "vga", Cirrus = "cirrus", Vmvga = "vmvga", Xen = "xen", Vbox = "vbox", Qxl = "qxl", Parallels = "parallels", Virtio = "virtio", Gop = "gop", None = "none", Bochs = "bochs", Ramfb = "ramfb" }
}

xml_enum! {
    /// Who implements the graphics card.
    pub enum VideoBackend { Qemu = "qemu", Vhostuser = "vhostuser" }
}

xml_enum! {
    /// How VGA resources are configured.
    pub enum VgaConf { Io = "io", On = "on", Off = "off" }
}

/// A graphics card.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "video", body)]
pub struct Video {
    /// Options of virtio devices.
    #[xml("driver", flatten)]
    pub virtio: VirtioOptions,
    /// How VGA resources are configured; the first way goes without saying.
    #[xml("driver@vgaconf", when = self.vga_conf != Some(VgaConf::Io))]
    pub vga_conf: Option<VgaConf>,
    /// Who implements it.
    #[xml("driver@name")]
    pub backend: Option<VideoBackend>,
    /// The card.
    #[xml("model", ghost)]
    pub model: VideoModel,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Model of a graphics card. Sizes in KiB; 0: not said.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "model")]
pub struct VideoModel {
    /// Model.
    #[xml("@type", default, always)]
    pub kind: VideoModelType,
    /// Size of the first bar (qxl).
    #[xml("@ram", default)]
    pub ram: u32,
    /// Video memory.
    #[xml("@vram", default)]
    pub vram: u32,
    /// Size of the 64-bit bar (qxl).
    #[xml("@vram64", default)]
    pub vram64: u32,
    /// Memory of the VGA mode (qxl).
    #[xml("@vgamem", default)]
    pub vgamem: u32,
    /// Number of screens.
    #[xml("@heads", default = u32::from(kind != VideoModelType::None), always, when = self.heads != 0)]
    pub heads: u32,
    /// Whether it is the first card.
    #[xml("@primary", default, with = crate::values::lenient_yes, described = bool)]
    pub primary: bool,
    /// Whether the guest's memory is shown without a copy.
    #[xml("@blob", on_off)]
    pub blob: Option<bool>,
    /// Whether drawing in two and three dimensions is accelerated.
    #[xml("acceleration")]
    pub acceleration: Option<VideoAcceleration>,
    /// Resolution at start.
    #[xml("resolution")]
    pub resolution: Option<VideoResolution>,
}

/// Acceleration of a graphics card.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "acceleration", check = VideoAcceleration::after_read)]
pub struct VideoAcceleration {
    /// Three dimensions.
    #[xml("@accel3d")]
    pub accel3d: Option<bool>,
    /// Two dimensions.
    #[xml("@accel2d")]
    pub accel2d: Option<bool>,
    /// Device node of the host's card (vhost-user).
    #[xml("@rendernode", with = crate::values::tidy_path, described = String)]
    pub render_node: Option<String>,
}

impl VideoAcceleration {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if *self != Self::default() {
            return Ok(());
        }
        let what = "an acceleration names what is accelerated";
        cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, At::Text, what))
    }
}

/// Resolution in pixels.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "resolution")]
pub struct VideoResolution {
    /// Width.
    #[xml("@x")]
    pub x: u32,
    /// Height.
    #[xml("@y")]
    pub y: u32,
}

impl Video {
    /// A card of that model, with one screen unless it is none.
    pub fn new(kind: VideoModelType) -> Self {
        Self {
            model: VideoModel {
                kind,
                heads: (kind != VideoModelType::None).into(),
                ..VideoModel::default()
            },
            ..Self::default()
        }
    }
}
