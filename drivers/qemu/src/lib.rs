//! The driver for QEMU and KVM guests.
//!
//! | module | holds |
//! |---|---|
//! | [`agent`] | the guest agent: handshake, commands, answers |
//! | [`address`] | PCI and USB addresses: what is taken, what comes next |
//! | [`capabilities`] | what a QEMU binary can do: the flag vocabulary, probing over QMP, the cache |
//! | [`firmware`] | firmware descriptors and the choice of one for a guest |
//! | [`driver`] | the driver as its callers see it: guests, procedures, events |
//! | [`process`] | a guest's life: start, events, end, and finding it again |
//! | [`monitor`] | the QMP client: framing, replies by id, events, deadlines, bounds against hostile peers |
//!
//! The middle of the driver is pure: a conversation becomes [`capabilities::QemuCaps`], a domain definition becomes a
//! command line, without a process or a file being touched.

#![forbid(unsafe_code)]

pub mod address;
pub mod agent;
pub mod capabilities;
pub mod driver;
pub mod firmware;
pub mod hooks;
mod line;
pub mod machine;
pub mod monitor;
pub mod plan;
pub mod process;

virt_api::driver!(
    "qemu",
    driver::QemuDriver,
    role = "stateful",
    new = driver::QemuDriver::new(std::sync::Arc::new(driver::pure::QemuPlanner::new())),
);
