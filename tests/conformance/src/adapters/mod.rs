//! Adapters: one function for each kind of case.
//!
//! Add one by writing a function `fn(&Case, &Corpus) -> Outcome` in a module named after the area, and a row in
//! [`ADAPTERS`].

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

mod capabilities_xml;
mod cpu_models;
mod domain_backup;
mod domain_bhyve;
mod domain_checkpoint;
mod domain_generic;
mod domain_lxc;
mod domain_openvz;
mod domain_qemu;
mod domain_qemu_status;
mod domain_snapshot;
mod domain_vmx;
mod domain_xen;
mod error_messages;
mod host_cpu_topology;
mod interface_xml;
mod keycodes;
mod network;
mod node_device;
mod nss;
mod nwfilter_xml;
mod qemu_agent;
mod qemu_capabilities;
mod qemu_firmware;
mod qemu_monitor;
mod rpc_daemon_state;
mod rpc_message;
mod schema_validation;
mod secret;
mod storage;
mod sysinfo;
mod util_addresses;
mod util_conf;
mod util_file;
mod util_json;
mod util_names;
mod util_numbers;
mod util_text;
mod vbox_snapshot;
mod virsh;
mod vmware_version;

/// Runs one case.
pub type Adapter = fn(&Case, &Corpus) -> Outcome;

/// Area, kind, adapter.
const ADAPTERS: &[(&str, &str, Adapter)] = &[
    ("capabilities-xml", "host-caps", capabilities_xml::host_caps),
    (
        "capabilities-xml",
        "schema-valid",
        schema_validation::capabilities,
    ),
    ("cpu-models", "baseline", cpu_models::baseline),
    ("cpu-models", "compare", cpu_models::compare),
    ("cpu-models", "cpuid-baseline", cpu_models::cpuid_baseline),
    ("cpu-models", "cpuid-guest", cpu_models::cpuid_guest),
    ("cpu-models", "cpuid-host", cpu_models::cpuid_host),
    ("cpu-models", "cpuid-signature", cpu_models::signature),
    ("cpu-models", "guest-cpu", cpu_models::guest_cpu),
    ("cpu-models", "has-feature", cpu_models::has_feature),
    ("cpu-models", "qemu-json", cpu_models::qemu_json),
    ("cpu-models", "update", cpu_models::update),
    ("cpu-models", "update-live", cpu_models::update_live),
    ("cpu-models", "validate-features", cpu_models::validate_features),
    ("domain-backup", "backup-xml2xml", domain_backup::xml2xml),
    ("domain-backup", "schema-invalid", domain_backup::schema),
    (
        "domain-checkpoint",
        "checkpoint-xml2xml",
        domain_checkpoint::xml2xml,
    ),
    ("domain-checkpoint", "schema-invalid", domain_checkpoint::schema),
    ("domain-snapshot", "schema-invalid", domain_snapshot::schema),
    ("domain-snapshot", "snapshot-xml2xml", domain_snapshot::xml2xml),
    (
        "domain-generic",
        "filesystem-lookup",
        domain_generic::filesystem_lookup,
    ),
    ("domain-generic", "schema-valid", domain_generic::schema_valid),
    ("domain-generic", "xml2xml", domain_generic::xml2xml),
    ("domain-qemu", "domain-xml2argv", domain_qemu::xml2argv),
    ("domain-qemu", "domain-xml2xml", domain_qemu::xml2xml),
    ("domain-bhyve", "argv2xml", domain_bhyve::argv2xml),
    ("domain-bhyve", "xml2argv", domain_bhyve::xml2argv),
    ("domain-bhyve", "xml2xml", domain_bhyve::xml2xml),
    ("domain-openvz", "config-param", domain_openvz::parameter),
    ("domain-openvz", "network-conf", domain_openvz::network),
    ("domain-lxc", "config2xml", domain_lxc::config2xml),
    ("domain-lxc", "xml2xml", domain_lxc::xml2xml),
    ("domain-vmx", "vmx2xml", domain_vmx::vmx2xml),
    ("domain-vmx", "xml2vmx", domain_vmx::xml2vmx),
    ("domain-qemu-status", "active-xml2xml", domain_qemu_status::active),
    ("domain-qemu-status", "status-xml2xml", domain_qemu_status::status),
    ("domain-xen-config", "config2xml", domain_xen::config2xml),
    ("domain-xen-config", "xml2config", domain_xen::xml2config),
    ("error-messages", "error-message", error_messages::message),
    ("rpc-daemon-state", "exec-restart", rpc_daemon_state::exec_restart),
    ("rpc-message", "message", rpc_message::message),
    ("util-text", "keycode-name", keycodes::name),
    ("util-text", "keycode-translate", keycodes::translate),
    ("qemu-capabilities", "domain-caps", qemu_capabilities::domain_caps),
    ("qemu-capabilities", "guest-caps", qemu_capabilities::guest_caps),
    ("qemu-agent", "agent", qemu_agent::agent),
    ("qemu-capabilities", "probe", qemu_capabilities::probe),
    ("qemu-firmware", "firmware-format", qemu_firmware::format),
    ("qemu-firmware", "firmware-precedence", qemu_firmware::precedence),
    ("qemu-firmware", "firmware-supported", qemu_firmware::machine),
    (
        "qemu-firmware",
        "vhostuser-precedence",
        qemu_firmware::vhost_user_precedence,
    ),
    ("qemu-monitor", "schema-query", qemu_monitor::schema_query),
    (
        "host-cpu-topology",
        "cpu-signature",
        host_cpu_topology::cpu_signature,
    ),
    ("host-cpu-topology", "cpu-stats", host_cpu_topology::cpu_stats),
    ("host-cpu-topology", "node-info", host_cpu_topology::node_info),
    ("nodedev", "nodedev-xml2xml", node_device::xml2xml),
    ("schema-validation", "schema", schema_validation::verdict),
    ("secret-xml", "secret-xml2xml", secret::xml2xml),
    ("storage-pool", "pool-caps", storage::capabilities),
    ("storage-pool", "pool-xml2xml", storage::pool),
    ("storage-vol", "vol-xml2xml", storage::volume),
    ("sysinfo", "sysinfo", sysinfo::read),
    ("interface-xml", "interface-xml2xml", interface_xml::xml2xml),
    ("network-xml", "network-xml2xml", network::xml2xml),
    ("network-xml", "port-xml2xml", network::port_xml2xml),
    ("network-update", "network-update", network::update),
    ("nss", "nss", nss::lookup),
    ("nss", "mac-map", nss::mac_map),
    ("nss", "mac-map-write", nss::mac_map_write),
    ("nwfilter-xml", "nwfilter-xml2xml", nwfilter_xml::xml2xml),
    ("nwfilter-xml", "binding-xml2xml", nwfilter_xml::binding_xml2xml),
    ("util-conf", "roundtrip", util_conf::roundtrip),
    ("util-conf", "values", util_conf::values),
    (
        "util-file",
        "migration-uri-not-local",
        util_file::migration_target,
    ),
    ("util-file", "mount-subtree", util_file::subtree),
    ("util-file", "sanitize-path", util_file::sanitize),
    ("util-file", "shared-fs", util_file::shared),
    ("util-json", "add-remove", util_json::add_remove),
    ("util-json", "deflatten", util_json::deflatten),
    ("util-json", "lookup", util_json::lookup),
    ("util-text", "auth-config", util_names::credential),
    ("util-text", "disk-name", util_numbers::drive_name),
    ("util-text", "disk-name-parse", util_numbers::drive_name_parts),
    ("util-text", "driver-uri-path", util_names::uri_path),
    ("util-text", "esx-datastore-escape", util_names::datastore_item),
    ("util-text", "esx-datastore-path", util_names::datastore_path),
    ("util-text", "esx-datetime", util_numbers::xml_date_time),
    ("util-text", "filter-chars", util_text::filter),
    (
        "util-text",
        "kernel-cmdline-match",
        util_names::match_kernel_parameter,
    ),
    (
        "util-text",
        "kernel-cmdline-next",
        util_names::next_kernel_parameter,
    ),
    ("util-text", "log-filters", util_names::log_filters),
    ("util-text", "log-message", util_names::log_message),
    ("util-text", "log-outputs", util_names::log_outputs),
    ("util-text", "machine-name", util_names::machine),
    ("util-text", "modprobe", util_names::module),
    ("util-text", "round-power-of-two", util_numbers::power_of_two),
    ("util-text", "scope-name", util_names::scope),
    ("util-text", "sockaddr-localhost", util_addresses::localhost),
    ("util-text", "sockaddr-mask-network", util_addresses::network),
    ("util-text", "sockaddr-netmask", util_addresses::netmask),
    (
        "util-text",
        "sockaddr-numeric-family",
        util_addresses::numeric_family,
    ),
    ("util-text", "sockaddr-parse", util_addresses::parse),
    ("util-text", "sockaddr-range", util_addresses::range),
    ("util-text", "sockaddr-wildcard", util_addresses::wildcard),
    ("util-text", "string-match", util_text::matches),
    ("util-text", "string-replace", util_text::replace),
    ("util-text", "string-search", util_text::search),
    ("util-text", "strip-control-chars", util_text::strip_control),
    ("util-text", "strtod", util_numbers::float),
    ("util-text", "strtol", util_numbers::integer),
    ("util-text", "subids", util_names::subordinate_ids),
    ("util-text", "time-fields", util_numbers::time_fields),
    ("util-text", "time-local-offset", util_numbers::zone_offset),
    ("util-text", "version-string", util_numbers::version),
    ("util-text", "vmx-windows1252", util_names::windows_1252),
    ("util-json", "parse", util_json::parse),
    ("util-text", "bitmap-op", util_text::bitmap_op),
    ("util-text", "bitmap-parse-fail", util_text::bitmap_parse_fail),
    ("util-text", "bitmap-string", util_text::bitmap_string),
    ("util-text", "escape", util_text::escape),
    ("util-text", "strip-ipv6-brackets", util_text::strip_brackets),
    ("util-text", "uri-parse", util_text::uri_parse),
    ("vbox-snapshot", "vbox-roundtrip", vbox_snapshot::roundtrip),
    ("virsh", "virsh", virsh::run),
    ("virsh-table", "table", virsh::table),
    ("vmware-version", "vmware-version", vmware_version::version),
];

/// The adapter of a kind of case.
pub fn find(area: &str, kind: &str) -> Option<Adapter> {
    ADAPTERS
        .iter()
        .find(|(a, k, _)| *a == area && *k == kind)
        .map(|(_, _, adapter)| *adapter)
}
