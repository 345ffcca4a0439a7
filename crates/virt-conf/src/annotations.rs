//! Title, description and applications' elements: the pieces of metadata that domains and networks have, and that can be
//! read and changed one by one.

use virt_util::types::DomainMetadataType;
use virt_util::xml::{DocOptions, RawElement};
use virt_util::{ErrorCode, Result, VirtError};

/// One piece; `uri` is the namespace of an element, `absent` the code if it is not there. Whose
/// documents' errors they are, says the caller.
pub(crate) fn piece(
    (title, description, metadata): (&Option<String>, &Option<String>, &Option<Box<RawElement>>),
    kind: DomainMetadataType,
    uri: Option<&str>,
    absent: ErrorCode,
) -> Result<String> {
    let piece = match kind {
        DomainMetadataType::DESCRIPTION => description.clone(),
        DomainMetadataType::TITLE => title.clone(),
        DomainMetadataType::ELEMENT => {
            let uri = uri.unwrap_or_default();
            metadata.as_ref().and_then(|metadata| metadata.extract(uri))
        }
        other => return Err(unknown(other)),
    };
    piece.ok_or_else(|| VirtError::new(absent, "Requested metadata element is not present"))
}

/// Changes one piece, or removes it. An element gets the namespace `uri` under the prefix `key`.
pub(crate) fn set_piece(
    (title, description, metadata): (
        &mut Option<String>,
        &mut Option<String>,
        &mut Option<Box<RawElement>>,
    ),
    kind: DomainMetadataType,
    text: Option<&str>,
    key: Option<&str>,
    uri: Option<&str>,
) -> Result<()> {
    let words = || text.filter(|text| !text.is_empty()).map(str::to_owned);
    match kind {
        DomainMetadataType::DESCRIPTION => *description = words(),
        DomainMetadataType::TITLE => *title = words(),
        DomainMetadataType::ELEMENT => {
            let uri = uri.unwrap_or_default();
            match text {
                None => {
                    if let Some(metadata) = metadata {
                        metadata.remove(uri);
                    }
                }
                Some(text) => {
                    let element = RawElement::parse(text, &DocOptions::named("(metadata_xml)"))?;
                    metadata
                        .get_or_insert_with(|| Box::new(RawElement::new("metadata")))
                        .replace(uri, key.unwrap_or_default(), element)?;
                }
            }
            if metadata
                .as_ref()
                .is_some_and(|metadata| metadata.elements().next().is_none())
            {
                *metadata = None;
            }
        }
        other => return Err(unknown(other)),
    }
    Ok(())
}

fn unknown(kind: DomainMetadataType) -> VirtError {
    VirtError::invalid_arg(format_args!(
        "metadata of type {}: expected 0 (description), 1 (title) or 2 (element)",
        kind.0
    ))
}
