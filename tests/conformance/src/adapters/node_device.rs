//! Area `nodedev`: devices of the host.

use virt_conf::node_device::{Capability, NodeDevice};
use virt_util::xml::XmlFlags;

use super::storage::both;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// Bytes of a block of hard disks and of optical ones.
const BLOCK: u64 = 512;
const OPTICAL_BLOCK: u64 = 2048;

/// Fills in what the host says of its block devices.
fn complete(device: &mut NodeDevice) {
    for capability in &mut device.capabilities {
        let Capability::Storage(storage) = capability else {
            continue;
        };
        let medium = &mut storage.medium;
        let size = match &medium.removable {
            Some(removable) if !removable.available => continue,
            Some(_) => OPTICAL_BLOCK,
            None => BLOCK,
        };
        (medium.block_size, medium.blocks) = (size, medium.size / size);
    }
}

/// Read an existing device, complete it, write it.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let flags = if case.has_flag("inactive") {
            XmlFlags::INACTIVE
        } else {
            XmlFlags::empty()
        };
        let format = |source: &str| {
            let mut device = NodeDevice::parse(source, "input")?;
            complete(&mut device);
            if flags.is_empty() {
                device.activate();
            }
            Ok(device.format(flags))
        };
        Ok(both(
            case,
            format,
            &corpus.input(case)?,
            corpus.expected(case, "xml")?,
        ))
    };
    run().into()
}
