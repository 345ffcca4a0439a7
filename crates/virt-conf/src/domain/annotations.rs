//! Title, description and what applications keep in `<metadata>`, read and written alone.

use virt_util::types::DomainMetadataType;
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::Domain;
use crate::annotations;

impl Domain {
    /// One piece of metadata; `uri` is the namespace of an element. `VIR_ERR_NO_DOMAIN_METADATA` if it is not there.
    pub fn metadata_piece(&self, kind: DomainMetadataType, uri: Option<&str>) -> Result<String> {
        annotations::piece(
            (&self.title, &self.description, &self.metadata),
            kind,
            uri,
            ErrorCode::NO_DOMAIN_METADATA,
        )
        .map_err(|error| error.in_domain(ErrorDomain::DOMAIN))
    }

    /// Changes one piece of metadata, or removes it. An element gets the namespace `uri` under the prefix `key`.
    pub fn set_metadata_piece(
        &mut self,
        kind: DomainMetadataType,
        text: Option<&str>,
        key: Option<&str>,
        uri: Option<&str>,
    ) -> Result<()> {
        annotations::set_piece(
            (&mut self.title, &mut self.description, &mut self.metadata),
            kind,
            text,
            key,
            uri,
        )
        .map_err(|error| error.in_domain(ErrorDomain::DOMAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_as_they_were_given() {
        let mut domain = Domain::default();
        let get = |domain: &Domain, kind| domain.metadata_piece(kind, Some("http://a"));
        for kind in [
            DomainMetadataType::DESCRIPTION,
            DomainMetadataType::TITLE,
            DomainMetadataType::ELEMENT,
        ] {
            let code = get(&domain, kind).unwrap_err().code();
            assert_eq!(code, ErrorCode::NO_DOMAIN_METADATA);
        }
        let set = |domain: &mut Domain, kind, text| {
            domain
                .set_metadata_piece(kind, text, Some("a"), Some("http://a"))
                .unwrap();
        };
        set(&mut domain, DomainMetadataType::TITLE, Some("t"));
        set(
            &mut domain,
            DomainMetadataType::ELEMENT,
            Some("<x y='1'><z/></x>"),
        );
        assert_eq!(get(&domain, DomainMetadataType::TITLE).unwrap(), "t");
        let element = get(&domain, DomainMetadataType::ELEMENT).unwrap();
        assert!(
            element.starts_with("<x y=") && element.contains("<z/>"),
            "{element}"
        );
        set(&mut domain, DomainMetadataType::ELEMENT, None);
        set(&mut domain, DomainMetadataType::TITLE, Some(""));
        assert_eq!(domain, Domain::default());
        let bad = domain.set_metadata_piece(DomainMetadataType(9), None, None, None);
        assert_eq!(bad.unwrap_err().code(), ErrorCode::INVALID_ARG);
    }
}
