//! Bindings of network filters: `<filterbinding>` says that a filter stands in front of a port of a guest, and
//! `<filterbindingstatus>` is how one is kept while it lives.

use virt_util::uuid::Uuid;
use virt_util::xml::{self, At, Doc, DocOptions, Element, Reader, Xml, XmlElement, XmlFlags, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::nwfilter::FilterReference;
use crate::values::MacAddress;

/// A filter in front of a port.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "filterbinding", body, code = ErrorCode::INTERNAL_ERROR)]
pub struct FilterBinding {
    /// Name of the guest.
    #[xml("owner+/name")]
    pub owner_name: String,
    /// UUID of the guest.
    #[xml("owner+/uuid")]
    pub owner_uuid: Uuid,
    /// The device of the port, which no other binding has.
    #[xml("portdev+@name", nonempty)]
    pub port_device: String,
    /// The device of the host behind a macvtap port.
    #[xml("linkdev+@name")]
    pub link_device: Option<String>,
    /// MAC address of the guest's interface.
    #[xml("mac+@address")]
    pub mac: MacAddress,
    /// Which packet filter stands there, and with which values.
    #[xml("filterref")]
    pub filter: FilterReference,
}

/// How a binding is kept while it lives.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "filterbindingstatus", body)]
pub struct FilterBindingStatus {
    /// The binding.
    #[xml("filterbinding")]
    pub binding: FilterBinding,
}

impl FilterBinding {
    /// Reads a binding from text.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `INTERNAL_ERROR` for missing parts and wrong values.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::NWFILTER);
        Self::from_element(Doc::parse_with(source, &options)?.root())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::NWFILTER))
    }

    /// Reads a binding from its element.
    ///
    /// # Errors
    /// As [`FilterBinding::parse`].
    pub fn from_element(element: Element<'_>) -> Result<Self> {
        xml::check_root(element, "filterbinding")?;
        if element
            .joined_child("linkdev")
            .is_some_and(|link| link.attr("name").is_none_or(|name| name.is_empty()))
        {
            return Err(error_with(
                ErrorCode::INTERNAL_ERROR,
                element,
                At::Child("linkdev"),
                "'name' is missing",
            ));
        }
        if element
            .joined_child("filterref")
            .is_some_and(|filter| filter.attr("filter").is_some_and(|name| name.is_empty()))
        {
            return Err(error_with(
                ErrorCode::INTERNAL_ERROR,
                element,
                At::Child("filterref"),
                "<filterref> is missing",
            ));
        }
        Self::read(element, &mut Reader::new(XmlFlags::empty()))
    }

    /// Writes the binding as libvirt does.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }
}

impl FilterBindingStatus {
    /// Reads a status file.
    ///
    /// # Errors
    /// As [`FilterBinding::parse`].
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let doc = Doc::parse_with(source, &DocOptions::named(name).in_domain(ErrorDomain::NWFILTER))?;
        let root = doc.root();
        xml::check_root(root, "filterbindingstatus")?;
        let binding = root.child("filterbinding").ok_or_else(|| {
            error_with(
                ErrorCode::INTERNAL_ERROR,
                root,
                At::Text,
                "<filterbinding> is missing",
            )
        })?;
        Ok(Self {
            binding: FilterBinding::from_element(binding)?,
        })
    }

    /// Writes the status as libvirt does.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_none() {
        let binding = |port: &str, filter: &str| {
            let source = format!(
                "<filterbinding><owner><name>a</name><uuid>d54df46f-1ab5-4a22-8618-4560ef5fac2c</uuid></owner>\
                 <portdev name='{port}'/><mac address='52:54:00:7b:35:93'/><filterref filter='{filter}'/></filterbinding>"
            );
            FilterBinding::parse(&source, "b").map_err(|error| error.code())
        };
        assert!(binding("vnet0", "clean-traffic").is_ok());
        assert_eq!(binding("", "clean-traffic"), Err(ErrorCode::INTERNAL_ERROR));
        assert_eq!(binding("vnet0", ""), Err(ErrorCode::INTERNAL_ERROR));
    }
}
