//! What is kept of a network that runs: `<networkstatus>`, around its live definition.

use virt_util::bitmap::Bitmap;
use virt_util::xml::{
    self, At, Doc, DocOptions, Element, KeptElement, Reader, Xml, XmlElement, XmlFlags, error_with,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::Network;
use crate::values::CpuSet;

/// What is kept of a network that runs.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "networkstatus", body)]
pub struct NetworkStatus {
    /// Traffic classes that are in use. 0 to 2 belong to the network itself.
    #[xml("class_id@bitmap", nonempty, default = usual_classes(), always)]
    pub classes: CpuSet,
    /// Sum of the rates that ports are guaranteed, in KiB per second.
    #[xml("floor@sum", nonempty, default, always)]
    pub floor_sum: u64,
    /// What was done to it that libvirt does not answer for.
    #[xml("taint")]
    pub taints: Vec<NetworkTaint>,
    /// The live definition.
    #[xml("network")]
    pub network: Network,
    /// Commands that take the network's firewall away.
    #[xml("firewall")]
    pub firewalls: Vec<KeptElement>,
}

/// Something that was done to a network.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "taint", code = ErrorCode::CONFIG_UNSUPPORTED)]
pub struct NetworkTaint {
    /// What.
    #[xml("@flag")]
    pub flag: NetworkTaintFlag,
}

xml_enum! {
    /// What was done to a network.
    pub enum NetworkTaintFlag { HookScript = "hook-script" }
}

/// The classes of a network without ports.
fn usual_classes() -> CpuSet {
    CpuSet(Bitmap::from_iter([0usize, 1, 2]))
}

impl NetworkStatus {
    /// The status of a network that has just started.
    pub fn new(network: Network) -> Self {
        Self {
            classes: usual_classes(),
            floor_sum: 0,
            taints: Vec::new(),
            network,
            firewalls: Vec::new(),
        }
    }

    /// Reads a status file. A bare `<network>`, as libvirt wrote before 1.2, is one too.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is no definition in it, otherwise as [`Network::parse`].
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let doc = Doc::parse_with(source, &DocOptions::named(name).in_domain(ErrorDomain::NETWORK))?;
        Self::from_element(doc.root())
    }

    fn from_element(root: Element<'_>) -> Result<Self> {
        if root.is("network") {
            return Ok(Self::new(Network::from_element(root, XmlFlags::STATUS)?));
        }
        xml::check_root(root, "networkstatus")?;
        let network = root.child("network").ok_or_else(|| {
            let what = "<networkstatus> has no <network>";
            error_with(ErrorCode::INTERNAL_ERROR, root, At::Text, what)
        })?;
        // The checks of whole networks come first.
        Network::from_element(network, XmlFlags::STATUS)?;
        Self::read(root, &mut Reader::new(XmlFlags::STATUS))
    }

    /// Writes the status file's document.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::STATUS)
    }
}
