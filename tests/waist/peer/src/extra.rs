//! What only hosts of another minor version do. This one does nothing more; the test of versions writes its own.

use virt_api::plugin::DriverHandle;

/// Uses what this host has and its plugin may not have.
pub fn extra(_driver: &DriverHandle) -> String {
    "nothing".to_owned()
}
