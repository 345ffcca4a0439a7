//! Title, description and what applications keep in `<metadata>`, read and written alone.

use virt_util::types::DomainMetadataType;
use virt_util::xml::{DocOptions, RawElement};
use virt_util::{ErrorCode, Result, VirtError};

use super::Domain;

impl Domain {
    /// One piece of metadata; `uri` is the namespace of an element. `VIR_ERR_NO_DOMAIN_METADATA` if it is not there.
    pub fn metadata_piece(&self, kind: DomainMetadataType, uri: Option<&str>) -> Result<String> {
        let piece = match kind {
            DomainMetadataType::DESCRIPTION => self.description.clone(),
            DomainMetadataType::TITLE => self.title.clone(),
            DomainMetadataType::ELEMENT => {
                let uri = uri.unwrap_or_default();
                self.metadata.as_ref().and_then(|metadata| metadata.extract(uri))
            }
            other => return Err(unknown(other)),
        };
        piece.ok_or_else(|| {
            VirtError::new(
                ErrorCode::NO_DOMAIN_METADATA,
                "Requested metadata element is not present",
            )
        })
    }

    /// Changes one piece of metadata, or removes it. An element gets the namespace `uri` under the prefix `key`.
    pub fn set_metadata_piece(
        &mut self,
        kind: DomainMetadataType,
        text: Option<&str>,
        key: Option<&str>,
        uri: Option<&str>,
    ) -> Result<()> {
        let words = || text.filter(|text| !text.is_empty()).map(str::to_owned);
        match kind {
            DomainMetadataType::DESCRIPTION => self.description = words(),
            DomainMetadataType::TITLE => self.title = words(),
            DomainMetadataType::ELEMENT => {
                let uri = uri.unwrap_or_default();
                match text {
                    None => {
                        if let Some(metadata) = &mut self.metadata {
                            metadata.remove(uri);
                        }
                    }
                    Some(text) => {
                        let element = RawElement::parse(text, &DocOptions::named("(metadata_xml)"))?;
                        self.metadata
                            .get_or_insert_with(|| Box::new(RawElement::new("metadata")))
                            .replace(uri, key.unwrap_or_default(), element)?;
                    }
                }
                if self
                    .metadata
                    .as_ref()
                    .is_some_and(|metadata| metadata.elements().next().is_none())
                {
                    self.metadata = None;
                }
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }
}

fn unknown(kind: DomainMetadataType) -> VirtError {
    VirtError::invalid_arg(format_args!("unknown metadata type '{}'", kind.0))
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
