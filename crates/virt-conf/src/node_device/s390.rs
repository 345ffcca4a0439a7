//! Channel devices and crypto cards of s390.

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement};
use virt_util::{ErrorCode, Result};

use super::mdev::{MdevType, mdev_types, mdev_types_shape};
use super::{check_nested, nested, start_nested};
use crate::values::unsupported_word;

xml_enum! {
    /// Whether a channel device can be used.
    pub enum CcwState { Offline = "offline", Online = "online" }
}

/// The address of a channel device.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[xml(name = "channel_dev_addr", code = ErrorCode::CONFIG_UNSUPPORTED)]
pub struct ChannelAddress {
    /// Channel subsystem.
    #[xml("cssid", base = 0, format = "0x%x")]
    pub cssid: u32,
    /// Set of subchannels.
    #[xml("ssid", base = 0, format = "0x%x")]
    pub ssid: u32,
    /// Device number.
    #[xml("devno", base = 16, format = "0x%04x")]
    pub devno: u32,
}

/// A channel device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct CcwDevice {
    /// Whether it can be used.
    #[xml(".", with = state, reads("state": CcwState))]
    pub state: Option<CcwState>,
    /// Its address.
    #[xml(flatten)]
    pub address: ChannelAddress,
    /// The group that it works in.
    #[xml(".", with = group_member, shape = group_member_shape)]
    pub group: Option<String>,
}

/// A subchannel.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = CssDevice::after_read)]
pub struct CssDevice {
    /// Its address.
    #[xml(flatten)]
    pub address: ChannelAddress,
    /// The channel device that it leads to.
    #[xml("channel_dev_addr")]
    pub channel: Option<ChannelAddress>,
    /// Types of mediated devices that it offers.
    #[xml(".", with = mdev_types, shape = mdev_types_shape)]
    pub mdev_types: Vec<MdevType>,
}

/// Channel devices that work together.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct CcwGroup {
    /// Whether the group can be used.
    #[xml(".", with = state, reads("state": CcwState))]
    pub state: Option<CcwState>,
    /// Its address.
    #[xml(flatten)]
    pub address: ChannelAddress,
    /// Which channel devices form the group.
    #[xml("members+/ccw_device")]
    pub members: Vec<CcwGroupMember>,
    /// What the group is.
    #[xml("capability")]
    pub kind: CcwGroupKind,
}

/// A device of a group.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "ccw_device")]
pub struct CcwGroupMember {
    /// Its role in the group.
    #[xml("@ref", own)]
    pub role: String,
    /// Its name.
    #[xml("text()")]
    pub device: String,
}

xml_enum! {
    /// How the driver of a network card uses its channel devices.
    pub enum QethLayer { Generic = "qeth_generic", Layer2 = "qeth_layer2", Layer3 = "qeth_layer3" }
}

/// A network card made of channel devices.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "capability", body)]
pub struct CcwGroupKind {
    /// How its driver uses it.
    #[xml("@type")]
    pub layer: QethLayer,
    /// What the card is.
    #[xml("card_type")]
    pub card_type: Option<String>,
    /// Number of its channel path.
    #[xml("chpid")]
    pub channel_path: Option<String>,
}

/// A crypto card.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::CONFIG_UNSUPPORTED)]
pub struct ApCard {
    /// Its number.
    #[xml("ap-adapter", base = 0, format = "0x%02x")]
    pub adapter: u32,
}

/// A queue of a crypto card.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::CONFIG_UNSUPPORTED)]
pub struct ApQueue {
    /// Number of the card.
    #[xml("ap-adapter", base = 0, format = "0x%02x")]
    pub adapter: u32,
    /// Number of the card's domain.
    #[xml("ap-domain", base = 0, format = "0x%04x", max = 255)]
    pub domain: u32,
}

/// The parent of mediated crypto devices.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(body, check = ApMatrix::after_read)]
pub struct ApMatrix {
    /// Types of mediated devices that it offers.
    #[xml(".", with = mdev_types, shape = mdev_types_shape)]
    pub mdev_types: Vec<MdevType>,
}

impl CssDevice {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_nested(element, cx, None)
    }
}

impl ApMatrix {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_nested(element, cx, None)
    }
}

/// `<state>online</state>`: a word that is none is unsupported.
mod state {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<CcwState>> {
        let Some(state) = element.child("state").filter(|state| !state.text().is_empty()) else {
            return Ok(None);
        };
        let found = CcwState::from_word(&state.text());
        if found.is_none() {
            let words = CcwState::WORDS.iter().copied();
            cx.fail(unsupported_word(state, At::Text, &state.text(), words))?;
        }
        Ok(found)
    }

    pub(super) fn write(value: &Option<CcwState>, w: &mut Writer) {
        if let Some(state) = value {
            w.text_element("state", state.as_str());
        }
    }
}

fn group_member_shape() -> &'static virt_util::xml::ElementSchema {
    fn capability() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!(union "@type", "CcwCapability", "capability", "What a channel device is beyond that." => {
            /// A member of a group.
            "ccwgroup_member" => {
                /// Name of the node device that stands for the group.
                "group_device" => group: element(String),
            },
        })
    }
    virt_util::xml::describe!("GroupMember", "", "The group that a channel device works in." => {
        /// What the device is beyond that.
        "capability" => capabilities: shapes(capability),
    })
}

/// `<capability type='ccwgroup_member'><group_device>…`.
mod group_member {
    use super::*;
    use virt_util::xml::read;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<String>> {
        let Some(member) = nested(element, "ccwgroup_member") else {
            return Ok(None);
        };
        let group = read::child(member, cx, "group_device")?;
        let group = read::required(member, At::Child("group_device"), group);
        group
            .map(Some)
            .map_err(|error| virt_util::xml::recoded(error, member, ErrorCode::CONFIG_UNSUPPORTED))
    }

    pub(super) fn write(value: &Option<String>, w: &mut Writer) {
        if let Some(group) = value {
            start_nested(w, "ccwgroup_member");
            group.write(w, "group_device");
            w.end("capability");
        }
    }
}
