//! `<capabilities>`: what a host is and which guests a driver can run on it.
//!
//! A driver fills [`Capabilities`] in and answers with [`Capabilities::to_xml`]; [`Capabilities::parse`] reads such an
//! answer. Nothing here looks at a host.

use virt_util::bitmap::Bitmap;
use virt_util::uuid::Uuid;
use virt_util::xml::{self, Writer, XmlElement as _, XmlFlags};

use crate::cpu::HostCpu;

mod description;
mod host;
mod read;

pub use host::{
    Associativity, Cache, CacheControl, CacheKind, CacheMonitor, Interconnect, InterconnectKind,
    MemoryBandwidth, MemoryCache, WritePolicy,
};

/// A host and its guests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capabilities {
    /// The host.
    pub host: Host,
    /// The kinds of guest, in the order in which they are shown.
    pub guests: Vec<Guest>,
}

/// The host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// The host's UUID, if its firmware has a usable one.
    pub uuid: Option<Uuid>,
    /// The processor's architecture.
    pub arch: String,
    /// Names of processor features, for hypervisors that know no processor models.
    pub features: Vec<String>,
    /// The processor; its architecture stands above.
    pub cpu: Option<HostCpu>,
    /// Sizes of memory pages in KiB.
    pub page_sizes: Vec<u64>,
    /// How deeply the host can sleep: `suspend_mem`, `suspend_disk`, `suspend_hybrid`.
    pub power_management: Vec<String>,
    /// Whether there is an IOMMU in use.
    pub iommu: bool,
    /// How guests can leave; `None` if they cannot.
    pub migration: Option<Migration>,
    /// What names of network interfaces made for guests begin with, if not with libvirt's own prefix.
    pub netprefix: Option<String>,
    /// Memory nodes; `None` where the topology is not known.
    pub cells: Option<Vec<Cell>>,
    /// How fast memory is for whom.
    pub interconnects: Vec<Interconnect>,
    /// The processors' caches, by level and number.
    pub caches: Vec<Cache>,
    /// What can be measured of the caches' use.
    pub cache_monitor: Option<CacheMonitor>,
    /// Where the use of memory can be limited.
    pub memory_bandwidth: Vec<MemoryBandwidth>,
    /// What can be measured of the memory's use.
    pub memory_bandwidth_monitor: Option<CacheMonitor>,
    /// Security models.
    pub security_models: Vec<SecurityModel>,
}

/// How guests can leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// While they run.
    pub live: bool,
    /// Schemes of the URIs they go to.
    pub transports: Vec<String>,
}

/// A memory node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Its number.
    pub id: u32,
    /// Its memory in KiB, 0 if not known.
    pub memory: u64,
    /// Page size in KiB and number of pages.
    pub pages: Vec<(u64, u64)>,
    /// Distance to nodes: number of the node, distance.
    pub distances: Vec<(u32, u32)>,
    /// Caches on the memory's side.
    pub caches: Vec<MemoryCache>,
    /// Its processors.
    pub cpus: Vec<CellCpu>,
}

/// A processor of a memory node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellCpu {
    /// Its number.
    pub id: u32,
    /// Where it sits; `None` where that is not known.
    pub place: Option<CpuPlace>,
}

/// Where a processor sits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuPlace {
    /// The socket.
    pub socket: u32,
    /// The die in the socket.
    pub die: u32,
    /// The cluster in the die.
    pub cluster: u32,
    /// The core in the cluster.
    pub core: u32,
    /// The threads of the core.
    pub siblings: Bitmap,
}

/// A security model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityModel {
    /// Its name.
    pub model: String,
    /// Its domain of interpretation.
    pub doi: String,
    /// The usual label of guests, by type of virtualization.
    pub base_labels: Vec<(String, String)>,
}

/// A kind of guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guest {
    /// `hvm`, `xen`, `exe` …
    pub os_type: String,
    /// The architecture.
    pub arch: String,
    /// Bits of a word.
    pub word_size: u32,
    /// What all types of virtualization share.
    pub common: GuestPrograms,
    /// Types of virtualization, and what differs for them.
    pub domains: Vec<(String, GuestPrograms)>,
    /// What can be switched.
    pub features: Vec<GuestFeature>,
}

/// Programs and machines for a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestPrograms {
    /// The emulator's path.
    pub emulator: Option<String>,
    /// The loader's path.
    pub loader: Option<String>,
    /// Machine types.
    pub machines: Vec<Machine>,
}

/// A machine type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// The name it is an alias of.
    pub canonical: Option<String>,
    /// The most virtual processors, 0 if not known.
    pub max_cpus: u32,
    /// It will go away.
    pub deprecated: bool,
}

/// Something of a guest that is there or can be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestFeature {
    /// It is there.
    Present(String),
    /// It can be on or off.
    Switch {
        /// Its name.
        name: String,
        /// Whether it is on if nobody says.
        default: bool,
        /// Whether it can be changed.
        toggle: bool,
    },
}

impl Capabilities {
    /// The document, in libvirt's layout.
    pub fn to_xml(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }

    fn write_parts(&self, w: &mut Writer) {
        w.open_body();
        w.raw("\n");
        self.host.write(w);
        w.raw("\n");
        for guest in &self.guests {
            guest.write(w);
            w.raw("\n");
        }
    }
}

impl Host {
    fn write(&self, w: &mut Writer) {
        w.start("host");
        if let Some(uuid) = &self.uuid {
            w.text_element("uuid", &virt_util::uuid::format(uuid));
        }
        w.start("cpu");
        w.open_body();
        if !self.arch.is_empty() {
            w.text_element("arch", &self.arch);
        }
        if !self.features.is_empty() {
            w.start("features");
            self.features.iter().for_each(|name| w.empty_element(name));
            w.end("features");
        }
        if let Some(cpu) = &self.cpu {
            cpu.write_content(w);
        }
        for size in &self.page_sizes {
            w.start("pages");
            w.attribute("unit", "KiB");
            w.attribute("size", &size.to_string());
            w.end("pages");
        }
        w.end("cpu");
        w.start("power_management");
        self.power_management
            .iter()
            .for_each(|name| w.empty_element(name));
        w.end("power_management");
        w.start("iommu");
        w.attribute("support", yes_no(self.iommu));
        w.end("iommu");
        if let Some(migration) = &self.migration {
            w.start("migration_features");
            w.open_body();
            if migration.live {
                w.empty_element("live");
            }
            if !migration.transports.is_empty() {
                w.start("uri_transports");
                for transport in &migration.transports {
                    w.text_element("uri_transport", transport);
                }
                w.end("uri_transports");
            }
            w.end("migration_features");
        }
        if let Some(prefix) = &self.netprefix {
            w.text_element("netprefix", prefix);
        }
        if let Some(cells) = &self.cells {
            w.start("topology");
            w.start("cells");
            w.attribute("num", &cells.len().to_string());
            w.open_body();
            cells.iter().for_each(|cell| cell.write(w));
            w.end("cells");
            if !self.interconnects.is_empty() {
                w.start("interconnects");
                self.interconnects.iter().for_each(|one| one.write(w));
                w.end("interconnects");
            }
            w.end("topology");
        }
        if !self.caches.is_empty() || self.cache_monitor.is_some() {
            w.start("cache");
            self.caches.iter().for_each(|cache| cache.write(w));
            self.cache_monitor.iter().for_each(|monitor| monitor.write(w));
            w.end("cache");
        }
        if !self.memory_bandwidth.is_empty() || self.memory_bandwidth_monitor.is_some() {
            w.start("memory_bandwidth");
            self.memory_bandwidth.iter().for_each(|node| node.write(w));
            self.memory_bandwidth_monitor
                .iter()
                .for_each(|monitor| monitor.write(w));
            w.end("memory_bandwidth");
        }
        for model in &self.security_models {
            w.start("secmodel");
            w.text_element("model", &model.model);
            w.text_element("doi", &model.doi);
            for (kind, label) in &model.base_labels {
                w.start("baselabel");
                w.attribute("type", kind);
                w.text(label);
                w.end("baselabel");
            }
            w.end("secmodel");
        }
        w.end("host");
    }
}

impl Cell {
    fn write(&self, w: &mut Writer) {
        w.start("cell");
        w.attribute("id", &self.id.to_string());
        w.open_body();
        let sized = |w: &mut Writer, name: &str, size: Option<u64>, value: u64| {
            w.start(name);
            w.attribute("unit", "KiB");
            if let Some(size) = size {
                w.attribute("size", &size.to_string());
            }
            w.text(&value.to_string());
            w.end(name);
        };
        if self.memory > 0 {
            sized(w, "memory", None, self.memory);
        }
        for (size, count) in &self.pages {
            sized(w, "pages", Some(*size), *count);
        }
        if !self.distances.is_empty() {
            w.start("distances");
            for (id, distance) in &self.distances {
                w.start("sibling");
                w.attribute("id", &id.to_string());
                w.attribute("value", &distance.to_string());
                w.end("sibling");
            }
            w.end("distances");
        }
        self.caches.iter().for_each(|cache| cache.write(w));
        w.start("cpus");
        w.attribute("num", &self.cpus.len().to_string());
        for cpu in &self.cpus {
            w.start("cpu");
            w.attribute("id", &cpu.id.to_string());
            if let Some(place) = &cpu.place {
                w.attribute("socket_id", &place.socket.to_string());
                w.attribute("die_id", &place.die.to_string());
                w.attribute("cluster_id", &place.cluster.to_string());
                w.attribute("core_id", &place.core.to_string());
                w.attribute("siblings", &place.siblings.to_string());
            }
            w.end("cpu");
        }
        w.end("cpus");
        w.end("cell");
    }
}

impl Guest {
    fn write(&self, w: &mut Writer) {
        w.start("guest");
        w.text_element("os_type", &self.os_type);
        w.start("arch");
        w.attribute("name", &self.arch);
        w.text_element("wordsize", &self.word_size.to_string());
        self.common.write(w, true);
        for (kind, programs) in &self.domains {
            w.start("domain");
            w.attribute("type", kind);
            programs.write(w, false);
            w.end("domain");
        }
        w.end("arch");
        if !self.features.is_empty() {
            w.start("features");
            self.features.iter().for_each(|feature| feature.write(w));
            w.end("features");
        }
        w.end("guest");
    }
}

impl GuestPrograms {
    /// libvirt tells of deprecation where machines are common to all types only.
    fn write(&self, w: &mut Writer, deprecation: bool) {
        if let Some(emulator) = &self.emulator {
            w.text_element("emulator", emulator);
        }
        if let Some(loader) = &self.loader {
            w.text_element("loader", loader);
        }
        for machine in &self.machines {
            w.start("machine");
            if let Some(canonical) = &machine.canonical {
                w.attribute("canonical", canonical);
            }
            if machine.max_cpus > 0 {
                w.attribute("maxCpus", &machine.max_cpus.to_string());
            }
            if machine.deprecated && deprecation {
                w.attribute("deprecated", "yes");
            }
            w.text(&machine.name);
            w.end("machine");
        }
    }
}

impl GuestFeature {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Present(name) => w.empty_element(name),
            Self::Switch {
                name,
                default,
                toggle,
            } => {
                w.start(name);
                w.attribute("default", if *default { "on" } else { "off" });
                w.attribute("toggle", yes_no(*toggle));
                w.end(name);
            }
        }
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_libvirts() {
        let capabilities = Capabilities {
            host: Host {
                arch: "x86_64".to_owned(),
                power_management: vec!["suspend_mem".to_owned()],
                migration: Some(Migration {
                    live: true,
                    transports: vec!["tcp".to_owned()],
                }),
                ..Host::default()
            },
            guests: vec![Guest {
                os_type: "hvm".to_owned(),
                arch: "x86_64".to_owned(),
                word_size: 64,
                common: GuestPrograms {
                    emulator: Some("/usr/bin/q".to_owned()),
                    loader: None,
                    machines: vec![Machine {
                        name: "pc".to_owned(),
                        canonical: Some("pc-1".to_owned()),
                        max_cpus: 255,
                        deprecated: true,
                    }],
                },
                domains: vec![("qemu".to_owned(), GuestPrograms::default())],
                features: vec![
                    GuestFeature::Switch {
                        name: "acpi".to_owned(),
                        default: true,
                        toggle: true,
                    },
                    GuestFeature::Present("cpuselection".to_owned()),
                ],
            }],
        };
        let wanted = "\
<capabilities>

  <host>
    <cpu>
      <arch>x86_64</arch>
    </cpu>
    <power_management>
      <suspend_mem/>
    </power_management>
    <iommu support='no'/>
    <migration_features>
      <live/>
      <uri_transports>
        <uri_transport>tcp</uri_transport>
      </uri_transports>
    </migration_features>
  </host>

  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <emulator>/usr/bin/q</emulator>
      <machine canonical='pc-1' maxCpus='255' deprecated='yes'>pc</machine>
      <domain type='qemu'/>
    </arch>
    <features>
      <acpi default='on' toggle='yes'/>
      <cpuselection/>
    </features>
  </guest>

</capabilities>
";
        assert_eq!(capabilities.to_xml(), wanted);
    }
}
