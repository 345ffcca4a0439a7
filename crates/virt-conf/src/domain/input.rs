//! Input devices, USB hubs and redirected USB devices.

use virt_util::xml::{At, Element, Rare, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with};
use virt_util::{ErrorCode, Result};

use super::chardev::{ChardevHost, ChardevSource};
use super::device_info::{Address, DeviceInfo, VirtioOptions};

xml_enum! {
    /// The kind of input device.
    pub enum InputType { Mouse = "mouse", Tablet = "tablet", Keyboard = "keyboard", Passthrough = "passthrough", Evdev = "evdev" }
}

xml_enum! {
    /// The bus of an input device.
    pub enum InputBus { Ps2 = "ps2", Usb = "usb", Xen = "xen", Parallels = "parallels", Virtio = "virtio", None = "none" }
}

xml_enum! {
    /// Which variant of a virtio input device is presented.
    pub enum InputModel { Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// Which input devices are grabbed together.
    pub enum InputGrab { All = "all" }
}

xml_enum! {
    /// Keys that switch the grab.
    pub enum InputGrabToggle { CtrlCtrl = "ctrl-ctrl", AltAlt = "alt-alt", ShiftShift = "shift-shift", MetaMeta = "meta-meta", Scrolllock = "scrolllock", CtrlScrolllock = "ctrl-scrolllock" }
}

xml_enum! {
    /// The kind of hub.
    pub enum HubType { Usb = "usb" }
}

xml_enum! {
    /// The bus of a redirected device.
    pub enum RedirdevBus { Usb = "usb" }
}

/// An input device.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "input", check = Input::after_read)]
pub struct Input {
    /// What the user handles: mouse, tablet, keyboard …
    #[xml("@type", code = ErrorCode::CONFIG_UNSUPPORTED, missing = ErrorCode::INTERNAL_ERROR)]
    pub kind: InputType,
    /// The bus; none until the definition is normalized. What is on none says nothing of it.
    #[xml("@bus", code = ErrorCode::CONFIG_UNSUPPORTED, when = self.bus != Some(InputBus::None))]
    pub bus: Option<InputBus>,
    /// Which variant of a virtio device is presented.
    #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub model: Option<InputModel>,
    /// Options of virtio devices.
    #[xml("driver", flatten)]
    pub virtio: VirtioOptions,
    /// The host's device, of passthrough.
    #[xml("source@evdev", with = crate::values::tidy_path, described = String)]
    pub evdev: Rare<Option<String>>,
    /// The host's device, of evdev.
    #[xml("source@dev")]
    pub dev: Rare<Option<String>>,
    /// Which devices are grabbed together.
    #[xml("source@grab", read_when = kind == InputType::Evdev)]
    pub grab: Option<InputGrab>,
    /// Keys that switch the grab.
    #[xml("source@grabToggle", read_when = kind == InputType::Evdev)]
    pub grab_toggle: Option<InputGrabToggle>,
    /// Whether held keys repeat.
    #[xml("source@repeat", on_off, read_when = kind == InputType::Evdev)]
    pub repeat: Option<bool>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

impl Input {
    /// Whether older peers know nothing of the device, because it always existed.
    fn is_implied(&self) -> bool {
        self.kind == InputType::Keyboard && matches!(self.bus, Some(InputBus::Ps2 | InputBus::Xen))
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let source = element.child_or_ghost("source");
        if self.kind != InputType::Evdev {
            self.dev.clear();
            (self.grab, self.grab_toggle, self.repeat) = (None, None, None);
        } else {
            self.evdev.clear();
            if self.dev.is_none() && source.exists() {
                cx.fail(error_at(source, At::Text, "missing required attribute 'dev'"))?;
            }
        }
        if self.kind == InputType::Passthrough {
            if self.evdev.is_none() && source.exists() {
                cx.fail(error_at(
                    source,
                    At::Text,
                    "missing evdev path for input device passthrough",
                ))?;
            }
        } else {
            self.evdev.clear();
        }
        if self.bus == Some(InputBus::Usb) {
            usb_address(&self.info, element, cx)?;
        }
        Ok(())
    }
}

/// `with` that leaves out what older peers take for granted.
pub(super) mod input_element {
    use super::*;

    pub(in crate::domain) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Input> {
        <Input as XmlElement>::read(element, cx)
    }

    pub(in crate::domain) fn write(value: &Input, w: &mut Writer, name: &str) {
        if !(w.has(XmlFlags::MIGRATABLE) && value.is_implied()) {
            XmlElement::write(value, w, name);
        }
    }
}

/// A hub.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "hub")]
pub struct Hub {
    /// Which bus it widens: USB.
    #[xml("@type", code = ErrorCode::CONFIG_UNSUPPORTED, missing = ErrorCode::INTERNAL_ERROR)]
    pub kind: HubType,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// A USB device of a client, redirected to the guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "redirdev", body, check = Redirdev::after_read)]
pub struct Redirdev {
    /// Which bus is redirected: USB.
    #[xml("@bus", default, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub bus: RedirdevBus,
    /// How the client is reached.
    #[xml(flatten)]
    pub host: ChardevHost,
    /// Alias, boot order and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Refuses a place of a USB device that is on no USB bus.
fn usb_address(info: &DeviceInfo, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    if !matches!(info.address, None | Some(Address::Usb(_))) {
        let what = "a USB device has an address of type 'usb'";
        cx.fail(error_at(element, At::Child("address"), what))?;
    }
    Ok(())
}

impl Redirdev {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if !element.has_attr("type") {
            let what = "missing required attribute 'type'";
            cx.fail(error_with(ErrorCode::INTERNAL_ERROR, element, At::Text, what))?;
        }
        usb_address(&self.info, element, cx)?;
        if let ChardevSource::Dbus { channel } = &mut self.host.source {
            channel.get_or_insert_with(|| "org.qemu.usbredir".to_owned());
        }
        Ok(())
    }
}

/// Which USB devices may be redirected: the first rule that fits decides.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "redirfilter")]
pub struct Redirfilter {
    /// Tried in their order; the first that fits a device decides.
    #[xml("usbdev")]
    pub rules: Vec<RedirfilterRule>,
}

/// A rule about USB devices; what is not said fits all.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "usbdev", check = RedirfilterRule::after_read)]
pub struct RedirfilterRule {
    /// Which USB class a device must be of; none means any.
    #[xml("@class", with = hex2)]
    pub class: Option<u32>,
    /// Which USB vendor a device must be of; none means any.
    #[xml("@vendor", with = hex4)]
    pub vendor: Option<u32>,
    /// Which USB product a device must be; none means any.
    #[xml("@product", with = hex4)]
    pub product: Option<u32>,
    /// Version of the device, as in `2.10`; -1 fits all.
    #[xml("@version", own, with = usb_version)]
    pub version: Option<u32>,
    /// Whether such devices may be redirected.
    #[xml("@allow")]
    pub allow: bool,
}

impl RedirfilterRule {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        for field in [
            &mut self.class,
            &mut self.vendor,
            &mut self.product,
            &mut self.version,
        ] {
            *field = field.filter(|value| *value != ANY);
        }
        Ok(())
    }
}

/// Stands for "any" while a rule is read: -1 says what saying nothing says.
const ANY: u32 = u32::MAX;

macro_rules! upper_hex {
    ($module:ident, $width:literal, $max:literal) => {
        mod $module {
            use virt_util::xml::{ValueError, parse_integer};

            pub(super) fn parse(text: &str) -> Result<u32, ValueError> {
                match parse_integer::<i64>(text, 0)? {
                    -1 => Ok(super::ANY),
                    value @ 0..=$max => Ok(value as u32),
                    _ => Err(ValueError::expected(concat!(
                        "-1, or a number up to ",
                        $max
                    ))),
                }
            }

            pub(super) fn format(value: &u32, out: &mut String) {
                use std::fmt::Write;
                let _ = write!(out, concat!("0x{:0", $width, "X}"), value);
            }
        }
    };
}

upper_hex!(hex2, 2, 0xff);
upper_hex!(hex4, 4, 0x7fff_ffff);

mod usb_version {
    use virt_util::xml::ValueError;

    pub(super) fn parse(text: &str) -> Result<u32, ValueError> {
        let wrong = || ValueError::expected("-1, or a version like '2.10'");
        if text == "-1" {
            return Ok(super::ANY);
        }
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|value| *value <= 99)
                .ok_or_else(wrong)
        };
        let bcd = |value: u32| ((value / 10) << 4) | (value % 10);
        // 9.4 is 9.40.
        let tenth = if minor.len() == 1 { 10 } else { 1 };
        Ok(bcd(number(major)?) << 8 | bcd(number(minor)? * tenth))
    }

    pub(super) fn format(value: &u32, out: &mut String) {
        use std::fmt::Write;
        let decimal = |value: u32| (value >> 4 & 0xf) * 10 + (value & 0xf);
        let _ = write!(out, "{}.{:02}", decimal(value >> 8), decimal(value & 0xff));
    }
}
