//! Interfaces of the host in the registry: by name. They have no UUID, and the host's own configuration is the truth.

use virt_util::uuid::Uuid;

use super::kind::Definition;
use crate::interface::HostInterface;

impl Definition for HostInterface {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        None
    }
}
