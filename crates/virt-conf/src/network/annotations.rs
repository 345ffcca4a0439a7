//! The pieces of a network's metadata.

use virt_util::types::{DomainMetadataType, NetworkMetadataType};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::Network;
use crate::annotations;

impl Network {
    /// One piece of metadata; `uri` is the namespace of an element. `VIR_ERR_NO_NETWORK_METADATA` if it is not there.
    pub fn metadata_piece(&self, kind: NetworkMetadataType, uri: Option<&str>) -> Result<String> {
        annotations::piece(
            (&self.title, &self.description, &self.metadata),
            DomainMetadataType(kind.0),
            uri,
            ErrorCode::NO_NETWORK_METADATA,
        )
        .map_err(|error| error.in_domain(ErrorDomain::NETWORK))
    }

    /// Changes one piece of metadata, or removes it. An element gets the namespace `uri` under the prefix `key`.
    pub fn set_metadata_piece(
        &mut self,
        kind: NetworkMetadataType,
        text: Option<&str>,
        key: Option<&str>,
        uri: Option<&str>,
    ) -> Result<()> {
        annotations::set_piece(
            (&mut self.title, &mut self.description, &mut self.metadata),
            DomainMetadataType(kind.0),
            text,
            key,
            uri,
        )
        .map_err(|error| error.in_domain(ErrorDomain::NETWORK))
    }
}
