//! The SCSI adapter whose units are the volumes of a pool.

use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::values::HostPciAddress;

/// A SCSI adapter of this host.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "adapter", union = "@type", check = PoolAdapter::after_read)]
pub enum PoolAdapter {
    /// One by name or by place.
    #[xml("scsi_host", default)]
    ScsiHost {
        /// The name: `scsi_host5`.
        #[xml("@name")]
        name: Option<String>,
        /// Its place in the machine, which stays the same after the host was started again.
        #[xml("parentaddr+", when = name.is_none())]
        parent: Option<AdapterPlace>,
    },
    /// A virtual adapter of a Fibre Channel adapter.
    #[xml("fc_host")]
    FcHost {
        /// Name of the adapter that makes it.
        #[xml("@parent")]
        parent: Option<String>,
        /// Node name of the adapter that makes it.
        #[xml("@parent_wwnn")]
        parent_wwnn: Option<String>,
        /// Port name of the adapter that makes it.
        #[xml("@parent_wwpn")]
        parent_wwpn: Option<String>,
        /// Name of the fabric of the adapter that makes it.
        #[xml("@parent_fabric_wwn")]
        parent_fabric_wwn: Option<String>,
        /// Whether the adapter goes away when the pool is stopped.
        #[xml("@managed")]
        managed: Option<bool>,
        /// Node name.
        #[xml("@wwnn")]
        wwnn: Option<String>,
        /// Port name.
        #[xml("@wwpn")]
        wwpn: Option<String>,
    },
}

/// Where an adapter is plugged in.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "parentaddr")]
pub struct AdapterPlace {
    /// Number that tells several adapters of one device apart.
    #[xml("@unique_id", min = 0, reported_by = ErrorDomain::STORAGE)]
    pub unique_id: i32,
    /// The device.
    #[xml("address")]
    pub address: HostPciAddress,
}

impl PoolAdapter {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if element.has_attr("type") {
            return Ok(());
        }
        // Before adapters had types they had a name and nothing else.
        let newer = ["wwnn", "wwpn", "parent"]
            .into_iter()
            .find(|name| element.has_attr(name));
        if let Some(name) = newer {
            let what = format!("attribute '{name}' is for adapters with a 'type' only");
            cx.fail(error_at(element, At::Attribute(name), what))?;
        }
        if element.child("parentaddr").is_some() {
            let what = "element 'parentaddr' is for adapters with a 'type' only";
            cx.fail(error_at(element, At::Child("parentaddr"), what))?;
        }
        Ok(())
    }

    /// Whether anything says which adapter it is.
    pub(super) fn says_nothing(&self) -> bool {
        matches!(
            self,
            Self::ScsiHost {
                name: None,
                parent: None
            }
        )
    }

    /// Checks an adapter that a pool needs.
    ///
    /// # Errors
    /// `XML_ERROR` for too much or too little, `INTERNAL_ERROR` for a wrong world wide name, as in libvirt.
    pub(super) fn validate(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match self {
            Self::ScsiHost { name, parent } => match (name, parent) {
                (None, None) => cx.fail(error_at(
                    element,
                    At::Text,
                    "an adapter of type 'scsi_host' needs a 'name' or a 'parentaddr'",
                )),
                (Some(_), Some(_)) => cx.fail(error_at(
                    element,
                    At::Child("parentaddr"),
                    "an adapter of type 'scsi_host' has a 'name' or a 'parentaddr', not both",
                )),
                _ => Ok(()),
            },
            Self::FcHost {
                parent_wwnn,
                parent_wwpn,
                parent_fabric_wwn,
                wwnn,
                wwpn,
                ..
            } => {
                if wwnn.is_none() || wwpn.is_none() {
                    let what = "'wwnn' and 'wwpn' must be specified for adapter type 'fc_host'";
                    cx.fail(error_at(element, At::Text, what))?;
                }
                for (one, other, has_one, has_other) in [
                    ("parent_wwnn", "parent_wwpn", parent_wwnn, parent_wwpn),
                    ("parent_wwpn", "parent_wwnn", parent_wwpn, parent_wwnn),
                ] {
                    if let (Some(value), None) = (has_one, has_other) {
                        let what = format!("{one}='{value}' needs attribute '{other}' beside it");
                        cx.fail(error_at(element, At::Attribute(one), what))?;
                    }
                }
                for (attribute, value) in [
                    ("wwnn", wwnn),
                    ("wwpn", wwpn),
                    ("parent_wwnn", parent_wwnn),
                    ("parent_wwpn", parent_wwpn),
                    ("parent_fabric_wwn", parent_fabric_wwn),
                ] {
                    if let Some(value) = value.as_deref().filter(|value| !is_world_wide_name(value)) {
                        let what = format!("malformed wwn '{value}': expected 16 hexadecimal digits");
                        let at = At::Attribute(attribute);
                        let error = error_with(ErrorCode::INTERNAL_ERROR, element, at, what);
                        cx.fail(error.in_domain(ErrorDomain::NONE))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Whether a text is a world wide name: 16 hexadecimal digits, `0x` before them or not.
pub fn is_world_wide_name(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
