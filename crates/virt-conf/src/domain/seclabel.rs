//! Security labels of the guest and of single devices.

use virt_util::Result;
use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at};

xml_enum! {
    /// How the security label of the guest is chosen.
    pub enum SeclabelType { None = "none", Dynamic = "dynamic", Static = "static" }
}

/// How the guest is labelled.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "seclabel", check = Seclabel::after_read)]
pub struct Seclabel {
    /// How the label is chosen.
    #[xml("@type")]
    pub kind: Option<SeclabelType>,
    /// The security driver: `selinux`, `apparmor`, `dac` or `none`.
    #[xml("@model")]
    pub model: Option<String>,
    /// Whether the resources of the guest are relabelled.
    #[xml("@relabel", when = self.kind != Some(SeclabelType::None))]
    pub relabel: Option<bool>,
    /// The label of the process.
    #[xml("label", when = self.kind != Some(SeclabelType::None))]
    pub label: Option<String>,
    /// The label of images.
    #[xml("imagelabel", when = self.relabel == Some(true) && self.kind != Some(SeclabelType::None))]
    pub image_label: Option<String>,
    /// What a dynamic label is made from.
    #[xml("baselabel", when = self.kind == Some(SeclabelType::Dynamic))]
    pub base_label: Option<String>,
    /// Added by the driver, not by the user.
    #[xml(skip)]
    pub implicit: bool,
}

/// Label of one source.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "seclabel", check = DeviceSeclabel::after_read)]
pub struct DeviceSeclabel {
    /// The security driver.
    #[xml("@model")]
    pub model: Option<String>,
    /// The source could not be labelled; only live.
    #[xml("@labelskip")]
    pub label_skip: Option<bool>,
    /// Whether the source is relabelled.
    #[xml("@relabel", when = self.label_skip.is_none())]
    pub relabel: Option<bool>,
    /// The label.
    #[xml("label")]
    pub label: Option<String>,
}

impl Seclabel {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.kind.is_none() && element.has_attr("type") {
            return Ok(());
        }
        let kind = *self.kind.get_or_insert(SeclabelType::Dynamic);
        match (kind, self.relabel) {
            (SeclabelType::Dynamic, Some(false)) => {
                cx.fail(error_at(
                    element,
                    At::Attribute("relabel"),
                    "dynamic label type must use resource relabeling",
                ))?;
            }
            (SeclabelType::None, Some(true)) => {
                let what = "resource relabeling is not compatible with 'none' label type";
                cx.fail(error_at(element, At::Attribute("relabel"), what))?;
            }
            _ => {}
        }
        if self.relabel.is_none() {
            self.relabel = Some(kind == SeclabelType::Dynamic);
        }
        let live = !cx.has(XmlFlags::INACTIVE);
        if kind == SeclabelType::Static || (live && kind != SeclabelType::None) {
            if self.label.is_none() && kind == SeclabelType::Static {
                cx.fail(error_at(element, At::Child("label"), "security label is missing"))?;
            }
        } else {
            self.label = None;
        }
        if !(self.relabel == Some(true) && live && kind != SeclabelType::None) {
            self.image_label = None;
        }
        if kind != SeclabelType::Dynamic {
            self.base_label = None;
        }
        if kind == SeclabelType::None && self.model.is_none() {
            // Nothing to say which driver: it counts for all.
            self.model = None;
        }
        Ok(())
    }
}

impl DeviceSeclabel {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if cx.has(XmlFlags::INACTIVE) || self.label_skip == Some(false) {
            self.label_skip = None;
        }
        if self.relabel.is_none() {
            self.relabel = Some(true);
        }
        if self.label.is_some() && self.relabel == Some(false) {
            let model = self.model.as_deref().unwrap_or("all models");
            let what = format!("cannot specify a label if relabelling is turned off. model={model}");
            cx.fail(error_at(element, At::Child("label"), what))?;
        }
        Ok(())
    }

    /// Writes the label; in the definition for the next start only if it says something.
    pub fn write_if_said(&self, w: &mut Writer) {
        if w.has(XmlFlags::INACTIVE) && self.label.is_none() && self.relabel == Some(true) {
            return;
        }
        self.write(w, "seclabel");
    }
}

/// `with` for labels of single sources.
pub mod seclabel_element {
    use super::*;

    /// Reads `<seclabel>`.
    ///
    /// # Errors
    /// `XML_ERROR` for wrong values.
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<DeviceSeclabel> {
        <DeviceSeclabel as XmlElement>::read(element, cx)
    }

    /// Writes `<seclabel>` if it says something.
    pub fn write(value: &DeviceSeclabel, w: &mut Writer, _name: &str) {
        value.write_if_said(w);
    }
}
