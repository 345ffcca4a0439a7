//! Security labels of the guest and of single devices.

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with};
use virt_util::{ErrorCode, Result, VirtError};

/// Bytes of the name of a security driver, with the zero behind it.
const MODEL_LONGEST: usize = 257;

/// Bytes of a label, with the zero behind it.
const LABEL_LONGEST: usize = 4097;

xml_enum! {
    /// How the security label of the guest is chosen.
    pub enum SeclabelType { None = "none", Dynamic = "dynamic", Static = "static" }
}

/// How the guest is labelled.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "seclabel", check = Seclabel::after_read)]
pub struct Seclabel {
    /// How the label is chosen. A label of which nothing is said leaves that to the driver; libvirt does not write it.
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
    /// What disk images of the guest are labelled with.
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
    #[xml("@labelskip", unless(inactive))]
    pub label_skip: Option<bool>,
    /// Whether the source is relabelled.
    #[xml("@relabel", when = self.label_skip.is_none())]
    pub relabel: Option<bool>,
    /// What the source is labelled with.
    #[xml("label")]
    pub label: Option<String>,
}

impl Seclabel {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use SeclabelType as T;
        // An empty name is none, and one of libvirt's longest is longer than any driver has.
        self.model = self.model.take().filter(|model| model.len() < MODEL_LONGEST);
        for label in [&mut self.label, &mut self.image_label, &mut self.base_label] {
            *label = label
                .take()
                .filter(|label| !label.is_empty() && label.len() < LABEL_LONGEST);
        }
        let kind = self.kind;
        let relabel = self.relabel.unwrap_or(!matches!(kind, Some(T::Static | T::None)));
        self.relabel = Some(relabel);
        let refuse = |cx: &mut Reader, at: At<'_>, what: &str| {
            cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, at, what))
        };
        if kind == Some(T::Dynamic) && !relabel {
            let what = "a label of type 'dynamic' needs relabel='yes'";
            refuse(cx, At::Attribute("relabel"), what)?;
        }
        if kind == Some(T::None) && relabel {
            let what = "a label of type 'none' takes relabel='no' only";
            refuse(cx, At::Attribute("relabel"), what)?;
        }
        let live = !cx.has(XmlFlags::INACTIVE);
        if self.model.as_deref() == Some("none") {
            if live && kind != Some(T::None) {
                let what = format!(
                    "type '{}' does not go with the model 'none': only 'none' does",
                    kind.map_or("default", T::as_str)
                );
                refuse(cx, At::Attribute("type"), &what)?;
            }
            self.is_nobodys();
            return Ok(());
        }
        if kind == Some(T::Static) || (live && kind != Some(T::None)) {
            if self.label.is_none() {
                cx.fail(error_at(element, At::Child("label"), "<label> is missing"))?;
            }
        } else {
            self.label = None;
        }
        if relabel && live && kind != Some(T::None) {
            if self.image_label.is_none() {
                let what = "<imagelabel> is missing";
                cx.fail(error_at(element, At::Child("imagelabel"), what))?;
            }
        } else {
            self.image_label = None;
        }
        if kind != Some(T::Dynamic) {
            self.base_label = None;
        }
        Ok(())
    }

    /// The driver that does nothing has no labels.
    fn is_nobodys(&mut self) {
        self.kind = Some(SeclabelType::None);
        self.relabel = Some(false);
        (self.label, self.image_label, self.base_label) = (None, None, None);
    }
}

/// What the labels of a domain say together. A single label that names no driver, as libvirt once wrote them, is that of
/// `default`, the host's driver, where that is known.
///
/// # Errors
/// `XML_DETAIL` for two labels of one driver, `XML_ERROR` for labels of nobody knows which.
pub fn complete(labels: &mut [Seclabel], default: Option<&str>, inactive: bool) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for label in labels.iter() {
        if !seen.insert(&label.model) {
            let model = label.model.as_deref().unwrap_or("(none)");
            return Err(VirtError::new(
                ErrorCode::XML_DETAIL,
                format_args!("two <seclabel> are for model {model}"),
            ));
        }
    }
    match (labels, default) {
        ([label], Some(default)) if label.model.is_none() => {
            let open = label.kind == Some(SeclabelType::Dynamic) && label.base_label.is_none() && inactive;
            if label.kind != Some(SeclabelType::None) && !open {
                return Err(VirtError::new(
                    ErrorCode::XML_ERROR,
                    "<seclabel> has a label of its own and does not say for which model",
                ));
            }
            label.model = Some(default.to_owned());
            if default == "none" && inactive {
                label.is_nobodys();
            }
        }
        (labels, _) if labels.len() > 1 && labels.iter().any(|label| label.model.is_none()) => {
            return Err(VirtError::new(
                ErrorCode::XML_ERROR,
                "of several <seclabel> each says its model, and one does not",
            ));
        }
        _ => {}
    }
    Ok(())
}

impl DeviceSeclabel {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_neighbours(element, cx)?;
        if cx.has(XmlFlags::INACTIVE) || self.label_skip == Some(false) {
            self.label_skip = None;
        }
        let said = self.relabel.is_some();
        let relabel = *self.relabel.get_or_insert(true);
        if said && relabel && cx.has(XmlFlags::INACTIVE) && self.label.is_none() {
            let model = self.model.as_deref().unwrap_or("all models");
            let what = format!("relabel='yes' without a <label> (model {model})");
            cx.fail(error_at(element, At::Attribute("relabel"), what))?;
        }
        if self.label.is_some() && self.relabel == Some(false) {
            let model = self.model.as_deref().unwrap_or("all models");
            let what = format!("a <label> together with relabel='no' (model {model})");
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

/// A source has one label of each driver. All are looked at when the first is read.
fn check_neighbours(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let Some(parent) = element.parent() else {
        return Ok(());
    };
    if parent.child("seclabel").map(|first| first.position()) != Some(element.position()) {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::new();
    for label in parent.children_named("seclabel") {
        if let Some(model) = label.attr("model")
            && !seen.insert(model.clone())
        {
            let what = format!("a <seclabel> before is for model {model} too");
            cx.fail(error_with(
                ErrorCode::XML_DETAIL,
                label,
                At::Attribute("model"),
                what,
            ))?;
        }
    }
    Ok(())
}

/// `with` for labels of the guest.
pub mod guest_seclabel {
    use super::*;

    /// Reads `<seclabel>`.
    ///
    /// # Errors
    /// `XML_ERROR` for wrong values.
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<Seclabel> {
        <Seclabel as XmlElement>::read(element, cx)
    }

    /// Writes `<seclabel>` if it says how the label is chosen.
    pub fn write(value: &Seclabel, w: &mut Writer, name: &'static str) {
        if value.kind.is_some() {
            value.write(w, name);
        }
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

#[cfg(test)]
mod tests {
    use crate::domain::Domain;
    use virt_util::xml::XmlFlags;

    #[test]
    fn a_label_of_which_nothing_is_said_is_not_written() {
        let written = |label: &str| {
            let text = format!("<domain type='qemu'><name>a</name><os><type>hvm</type></os>{label}</domain>");
            let domain = Domain::parse(&text, XmlFlags::INACTIVE, "test").unwrap();
            domain.format(XmlFlags::INACTIVE).contains("<seclabel")
        };
        assert!(!written("<seclabel relabel='yes'/>"));
        assert!(!written("<seclabel model='dac'/>"));
        assert!(written("<seclabel type='dynamic'/>"));
        assert!(written("<seclabel type='none' model='dac'/>"));
    }
}
