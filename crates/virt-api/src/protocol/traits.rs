//! One trait per kind of procedures. Stand-ins until they are generated.

use crate::driver::MethodEntry;

macro_rules! stand_in {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])*
        pub trait $name: Send + Sync {
            /// The methods that were written.
            fn implemented_methods(&self) -> &'static [MethodEntry] {
                &[]
            }
        })*
    };
}

stand_in! {
    /// Guests and host information.
    HypervisorDriver,
    /// Virtual networks.
    NetworkDriver,
    /// Host interfaces.
    InterfaceDriver,
    /// Storage pools and volumes.
    StorageDriver,
    /// Host devices.
    NodeDeviceDriver,
    /// Network filters.
    NwfilterDriver,
    /// Secrets.
    SecretDriver,
}
