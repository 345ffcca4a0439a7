//! `<secret>`: what is known of a secret; its value is kept apart.

use virt_util::uuid::Uuid;
use virt_util::xml::{self, At, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::domain::normalize::Randomness;

/// What is known of a secret.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "secret", own)]
pub struct Secret {
    /// Whether its value is in memory only.
    #[xml("@ephemeral", own, nonempty, default, always)]
    pub ephemeral: bool,
    /// Whether its value is shown to nobody.
    #[xml("@private", own, nonempty, default, always)]
    pub private: bool,
    /// Its UUID; made by [`Secret::normalize`] if the definition has none.
    #[xml(".", with = uuid, reads("uuid": Uuid))]
    pub uuid: Option<Uuid>,
    /// What it is, for people.
    #[xml("description")]
    pub description: Option<String>,
    /// What it is for.
    #[xml(".", with = usage, shape = usage_shape)]
    pub usage: Option<SecretUsage>,
}

xml_enum! {
    /// What kind of thing a secret is for.
    pub enum SecretUsageType { Volume = "volume", Ceph = "ceph", Iscsi = "iscsi", Tls = "tls", Vtpm = "vtpm" }
}

/// What a secret is for. No two secrets are for the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SecretUsage {
    /// What kind of thing.
    pub kind: SecretUsageType,
    /// Which one: path of a volume, name, iSCSI target.
    pub id: String,
}

impl SecretUsageType {
    /// libvirt's number for it; 0 is no usage.
    pub fn number(self) -> i32 {
        match self {
            Self::Volume => 1,
            Self::Ceph => 2,
            Self::Iscsi => 3,
            Self::Tls => 4,
            Self::Vtpm => 5,
        }
    }

    /// The type of that number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number)
    }

    /// The element that says which one.
    fn id_element(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Iscsi => "target",
            Self::Ceph | Self::Tls | Self::Vtpm => "name",
        }
    }
}

/// A wrong UUID is an `INTERNAL_ERROR` in libvirt.
mod uuid {
    use super::*;
    use virt_util::xml::XmlValue;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<Uuid>> {
        let Some(child) = element.child("uuid").filter(|child| !child.text().is_empty()) else {
            return Ok(None);
        };
        match Uuid::parse_value(&child.text()) {
            Ok(uuid) => Ok(Some(uuid)),
            Err(error) => {
                let place = xml::invalid_value(child, At::Text, &child.text(), &error);
                let error = VirtError::new(ErrorCode::INTERNAL_ERROR, place.detail());
                cx.fail(error.in_domain(ErrorDomain::SECRET)).map(|()| None)
            }
        }
    }

    pub(super) fn write(value: &Option<Uuid>, w: &mut Writer) {
        if let Some(uuid) = value {
            uuid.write(w, "uuid");
        }
    }
}

fn usage_shape() -> &'static xml::ElementSchema {
    xml::describe!("SecretUsage", "", "What a secret is for." => {
        /// What the secret is for.
        "usage" => usage: element {
            /// What kind of thing.
            "@type" => kind: value(SecretUsageType),
            /// Path of the volume.
            "volume" => volume: element(String),
            /// Name of the Ceph client, the TLS peer or the TPM.
            "name" => name: element(String),
            /// The iSCSI target.
            "target" => target: element(String),
        },
    })
}

/// `<usage type='…'>` with the element that the type wants.
mod usage {
    use super::*;
    use virt_util::xml::XmlValue;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<SecretUsage>> {
        let Some(usage) = element.child("usage") else {
            return Ok(None);
        };
        let kind = usage
            .attr("type")
            .ok_or_else(|| xml::missing(usage, At::Attribute("type")))?;
        if kind == "none" {
            return Ok(None);
        }
        let kind = match SecretUsageType::parse_value(&kind) {
            Ok(kind) => kind,
            Err(error) => {
                let error = xml::invalid_value(usage, At::Attribute("type"), &kind, &error);
                return cx.fail(error).map(|()| None);
            }
        };
        let name = kind.id_element();
        let id = usage
            .child(name)
            .map(|id| id.text())
            .unwrap_or_default()
            .into_owned();
        if id.is_empty() {
            let what = format!("a secret for usage '{kind}' needs element '{name}'");
            cx.fail(error_with(
                ErrorCode::INTERNAL_ERROR,
                usage,
                At::Child(name),
                what,
            ))?;
        }
        Ok(Some(SecretUsage { kind, id }))
    }

    pub(super) fn write(value: &Option<SecretUsage>, w: &mut Writer) {
        if let Some(usage) = value {
            w.start("usage");
            w.attribute("type", usage.kind.as_str());
            w.text_element(usage.kind.id_element(), &usage.id);
            w.end("usage");
        }
    }
}

impl Secret {
    /// Reads a secret from text; `name` is for messages.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_ERROR` and `INTERNAL_ERROR` for what is wrong or missing, as in
    /// libvirt.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::SECRET);
        xml::from_str(source, XmlFlags::empty(), &options)
    }

    /// Gives the secret a UUID if it has none. A second time changes nothing.
    pub fn normalize(&mut self, random: &dyn Randomness) {
        self.uuid.get_or_insert_with(|| random.uuid());
    }

    /// The definition as libvirt writes it.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::SECURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::normalize::SystemRandomness;

    #[test]
    fn what_a_secret_is_for_has_its_own_element() {
        for kind in SecretUsageType::ALL.iter().copied() {
            let name = kind.id_element();
            let text = format!("<secret><usage type='{kind}'><{name}>a&amp;b</{name}></usage></secret>");
            let mut secret = Secret::parse(&text, "s").unwrap();
            secret.normalize(&SystemRandomness);
            assert_eq!(
                secret.usage,
                Some(SecretUsage {
                    kind,
                    id: "a&b".to_owned()
                })
            );
            assert_eq!(Secret::parse(&secret.format(), "s").unwrap(), secret);
            assert_eq!(SecretUsageType::from_number(kind.number()), Some(kind));
        }
        let secret = Secret::parse("<secret private='yes'><usage type='none'/></secret>", "s").unwrap();
        assert_eq!(
            (secret.private, secret.ephemeral, secret.usage),
            (true, false, None)
        );
    }

    #[test]
    fn errors_have_libvirts_codes() {
        use ErrorCode as E;
        for (inside, code) in [
            ("<usage/>", E::XML_ERROR),
            ("<usage type='disk'/>", E::XML_ERROR),
            ("<usage type='volume'><name>x</name></usage>", E::INTERNAL_ERROR),
            ("<uuid>1</uuid>", E::INTERNAL_ERROR),
        ] {
            let error = Secret::parse(&format!("<secret>{inside}</secret>"), "s").expect_err(inside);
            assert_eq!(error.code(), code, "{inside}: {error}");
        }
        assert_eq!(
            Secret::parse("<secret ephemeral='on'/>", "s").unwrap_err().code(),
            E::XML_ERROR
        );
    }
}
