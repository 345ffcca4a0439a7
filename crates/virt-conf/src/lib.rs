//! Ferrovirt's formats, each official XML document as one declaration per element, read, defaulted, checked and written
//! as libvirt does; and the kit for objects that live on this host.
//!
//! | module | document |
//! |---|---|
//! | [`domain`] | a virtual machine or container |
//! | [`snapshot`], [`checkpoint`], [`backup`], [`moment`] | states of a domain that were kept, and copies of its disks |
//! | [`vbox_snapshot`] | VirtualBox's machine files |
//! | [`network`] | a virtual network, its ports, changes to it, its status file |
//! | [`interface`] | a network interface of the host |
//! | [`nwfilter`], [`nwfilter_binding`] | a network filter, and where it stands |
//! | [`leases`], [`mac_map`] | DHCP leases and guests' MAC addresses on disk, and the host names that come of them |
//! | [`cpu`], [`numa`], [`sysinfo`], [`netdev`] | parts that several documents share |
//! | [`data`] | JSON and YAML in and out of each document |
//! | [`mod@diff`] | what changed between two documents |
//! | [`capabilities`], [`domain_capabilities`] | what a host offers, and what guests on it can have |
//! | [`cpu_models`] | what the names of CPU models and features mean: a catalogue, and arithmetic |
//! | [`storage_pool`], [`storage_volume`] | storage pools with their capabilities, and their volumes |
//! | [`node_device`] | devices of the host |
//! | [`secret`] | what is known of a secret |
//! | [`values`], [`scaled`] | CPU sets, MAC addresses, sizes with units |
//! | [`vmx`], [`xen`], [`lxc_native`], [`bhyve_args`], [`openvz`] | native formats of hypervisors |
//! | [`schema`], [`forms`] | which documents the schemas allow |
//! | [`registry`] | the kit: index, definitions, files, jobs, events |
//!
//! A declaration derives [`virt_util::xml::Xml`]; see there for its language. Reading is pure: no host, driver or file is
//! asked.
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

mod annotations;
pub mod backup;
pub mod bhyve_args;
pub mod capabilities;
pub mod checkpoint;
pub mod cpu;
pub mod cpu_models;
pub mod data;
pub mod diff;
pub mod domain;
pub mod domain_capabilities;
pub mod forms;
#[doc(hidden)]
pub mod fuzz;
pub mod interface;
pub mod leases;
pub mod lxc_native;
pub mod mac_map;
pub mod moment;
mod native;
pub mod netdev;
pub mod network;
pub mod node_device;
pub mod numa;
pub mod nwfilter;
pub mod nwfilter_binding;
pub mod openvz;
pub mod registry;
pub mod scaled;
pub mod schema;
pub mod secret;
pub mod snapshot;
pub mod storage_pool;
pub mod storage_volume;
pub mod sysinfo;
pub mod values;
pub mod vbox_snapshot;
pub mod vmx;
pub mod xen;
