//! Node devices in the registry: by name; udev and the kernel are the truth, and definitions are mdevctl's, so nothing is
//! stored here.

use virt_util::uuid::Uuid;

use super::Registry;
use super::kind::{Definition, Kind};
use super::object::Object;
use crate::node_device::NodeDevice;
use std::sync::Arc;

impl Definition for NodeDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        None
    }
}

impl<K: Kind<Definition = NodeDevice>> Registry<K> {
    /// The devices that are plugged into the device `parent`.
    pub fn children_of(&self, parent: &str) -> Vec<Arc<Object<K>>> {
        self.select(|snapshot| snapshot.life.current().parent_name() == Some(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Life, Snapshot};
    use virt_util::{ErrorCode, ErrorDomain};

    struct DeviceKind;

    impl Kind for DeviceKind {
        type Definition = NodeDevice;
        type State = ();
        type Private = ();
        type Key = ();
        type Event = ();
        const NOUN: &'static str = "node device";
        const NOT_FOUND: ErrorCode = ErrorCode::NO_NODE_DEVICE;
        const ERROR_DOMAIN: ErrorDomain = ErrorDomain::NODEDEV;
    }

    #[test]
    fn devices_are_found_by_name_and_by_parent() {
        let registry = Registry::<DeviceKind>::new();
        for (name, parent) in [
            ("computer", ""),
            ("pci_0", "computer"),
            ("net_0", "pci_0"),
            ("pci_1", "computer"),
        ] {
            let text = format!(
                "<device><name>{name}</name><parent>{parent}</parent><capability type='ap_matrix'/></device>"
            );
            let live = Arc::new(NodeDevice::parse(&text, "test").unwrap());
            let snapshot = Snapshot {
                life: Life::Active { live, next: None },
                state: (),
                autostart: false,
                autostart_once: false,
            };
            registry.adopt(snapshot, ()).unwrap();
        }
        let children = registry.children_of("computer");
        let names: Vec<_> = children
            .iter()
            .map(|device| device.snapshot().name().to_owned())
            .collect();
        assert_eq!(names, ["pci_0", "pci_1"]);
        assert!(registry.children_of("none").is_empty());
        assert_eq!(
            registry.find_name("x").unwrap_err().code(),
            ErrorCode::NO_NODE_DEVICE
        );
    }
}
