//! What `<capabilities>` may hold, as data: JSON and YAML, the reference and the grammar are made of it. Reading and writing
//! are by hand, since what is one value in the model (a cell's place, a size) stands in several places of the document.

use virt_util::xml::{Element, ElementSchema, Reader, Writer, XmlElement, describe};
use virt_util::{Result, uuid::Uuid};

use super::{Associativity, CacheKind, Capabilities, WritePolicy};
use crate::cpu::HostCpu;

impl XmlElement for Capabilities {
    const NAME: &'static str = "capabilities";

    fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Self> {
        Self::from_element(element)
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        self.write_parts(w);
    }

    fn schema() -> &'static ElementSchema {
        describe!("Capabilities", "capabilities", "A host, and the kinds of guests that it runs." => {
            /// What the host is made of.
            "host" => host: shape(host),
            /// The kinds of guests, in the order in which they are shown.
            "guest" => guests: shapes(guest),
        })
    }
}

fn host() -> &'static ElementSchema {
    describe!("Host", "host", "What the host is made of." => {
        /// Identifies the machine, if its firmware has a usable number.
        "uuid" => uuid: value(Uuid),
        /// The processor.
        "cpu" => cpu: shape(cpu),
        /// Whether the host can sleep with its memory in place.
        "power_management/suspend_mem" => suspend_to_memory: flag,
        /// Whether the host can sleep with its memory on disk.
        "power_management/suspend_disk" => suspend_to_disk: flag,
        /// Whether the host can sleep with its memory on disk as well as in place.
        "power_management/suspend_hybrid" => suspend_hybrid: flag,
        /// Whether there is an IOMMU in use.
        "iommu@support" => iommu: value(bool),
        /// How guests can leave; nothing if they cannot.
        "migration_features" => migration: element {
            /// Whether they can leave while they run.
            "live" => live: flag,
            /// Schemes of the URIs that they go to.
            "uri_transports/uri_transport" => transports: elements(String),
        },
        /// What names of network interfaces made for guests begin with, if not with `vnet`.
        "netprefix" => interface_prefix: value(String),
        /// How many memory nodes there are; it follows from their list.
        "topology/cells@num" => cell_count: value(u32),
        /// Memory nodes.
        "topology/cells/cell" => cells: shapes(cell),
        /// How long access to memory takes.
        "topology/interconnects/latency" => latencies: shapes(latency),
        /// How much memory can be moved in a second.
        "topology/interconnects/bandwidth" => bandwidths: shapes(bandwidth),
        /// Caches of processors, by level and number.
        "cache/bank" => caches: shapes(bank),
        /// What can be measured of the use of caches.
        "cache/monitor" => cache_monitor: shape(monitor),
        /// Places where the use of memory can be limited.
        "memory_bandwidth/node" => memory_bandwidth: shapes(bandwidth_node),
        /// What can be measured of the use of memory.
        "memory_bandwidth/monitor" => memory_bandwidth_monitor: shape(monitor),
        /// Ways in which guests are kept apart.
        "secmodel" => security_models: elements {
            /// What the way is called: `selinux`, `apparmor`, `dac`.
            "model" => model: value(String),
            /// Its domain of interpretation.
            "doi" => doi: value(String),
            /// The usual label of guests.
            "baselabel" => base_labels: elements {
                /// The type of virtualization that it is for.
                "@type" => virt_type: value(String),
                /// The label.
                "text()" => value: value(String),
            },
        },
    })
}

fn cpu() -> &'static ElementSchema {
    describe!("HostProcessor", "cpu", "The processor of a host." => {
        /// Abilities that hypervisors without processor models tell of: physical addresses of more than 32 bits.
        "features/pae" => pae: flag,
        /// Whether guests without longer addresses can run.
        "features/nonpae" => non_pae: flag,
        /// Intel's extensions for guests.
        "features/vmx" => vmx: flag,
        /// AMD's extensions for guests.
        "features/svm" => svm: flag,
        /// Model, maker and features.
        "." => processor: element(HostCpu),
        /// Sizes of memory pages.
        "pages" => pages: elements {
            /// The unit of the size, KiB if it is absent.
            "@unit" => unit: value(String),
            /// How large one page is.
            "@size" => size: value(u64),
        },
    })
}

fn cell() -> &'static ElementSchema {
    describe!("Cell", "cell", "A memory node." => {
        /// Its number.
        "@id" => id: value(u32),
        /// How much there is.
        "memory" => memory: element {
            /// The unit of the amount, KiB if it is absent.
            "@unit" => unit: value(String),
            /// How many units.
            "text()" => amount: value(u64),
        },
        /// Pages that the node has, by size.
        "pages" => pages: elements {
            /// The unit of the size, KiB if it is absent.
            "@unit" => unit: value(String),
            /// How large one page is.
            "@size" => size: value(u64),
            /// How many there are.
            "text()" => count: value(u64),
        },
        /// How far it is to other nodes.
        "distances/sibling" => distances: elements {
            /// Number of the other node.
            "@id" => id: value(u32),
            /// 10 for the node itself, more for those that are farther away.
            "@value" => value: value(u32),
        },
        /// Caches on the side of memory.
        "cache" => caches: elements {
            /// How near it is to who uses memory, from 1.
            "@level" => level: value(u32),
            /// Where in the cache a line can be.
            "@associativity" => associativity: value(Associativity),
            /// When changes go on to memory.
            "@policy" => policy: value(WritePolicy),
            /// How much fits in.
            "size" => size: shape(amount),
            /// How much is read at once.
            "line" => line: shape(amount),
        },
        /// How many processors there are; it follows from their list.
        "cpus@num" => cpu_count: value(u32),
        /// Processors of the node.
        "cpus/cpu" => cpus: elements {
            /// The number that the kernel knows it by.
            "@id" => id: value(u32),
            /// The socket it is in.
            "@socket_id" => socket: value(u32),
            /// The die in the socket.
            "@die_id" => die: value(u32),
            /// The cluster in the die.
            "@cluster_id" => cluster: value(u32),
            /// The core in the cluster.
            "@core_id" => core: value(u32),
            /// All threads of the core.
            "@siblings" => siblings: value(String),
        },
    })
}

fn amount() -> &'static ElementSchema {
    describe!("", "", "" => {
        /// How many units.
        "@value" => value: value(u64),
        /// What is counted: `B`, `KiB` …
        "@unit" => unit: value(String),
    })
}

fn latency() -> &'static ElementSchema {
    describe!("Latency", "latency", "How long access to memory takes." => {
        /// Node of the processors.
        "@initiator" => initiator: value(u32),
        /// Node of the memory.
        "@target" => target: value(u32),
        /// `read`, `write`, or `access` for both.
        "@type" => access: value(String),
        /// Nanoseconds.
        "@value" => value: value(u64),
    })
}

fn bandwidth() -> &'static ElementSchema {
    describe!("Bandwidth", "bandwidth", "How much memory can be moved in a second." => {
        /// Node of the processors.
        "@initiator" => initiator: value(u32),
        /// Node of the memory.
        "@target" => target: value(u32),
        /// `read`, `write`, or `access` for both.
        "@type" => access: value(String),
        /// How many units.
        "@value" => value: value(u64),
        /// What is counted, KiB if it is absent.
        "@unit" => unit: value(String),
    })
}

fn bank() -> &'static ElementSchema {
    describe!("CacheBank", "bank", "A cache of processors." => {
        /// Its number among those of its level.
        "@id" => id: value(u32),
        /// How far it is from the processor, from 1.
        "@level" => level: value(u32),
        /// What it holds.
        "@type" => kind: value(CacheKind),
        /// How much fits in, in units.
        "@size" => size: value(u64),
        /// What is counted: `B`, `KiB` …
        "@unit" => unit: value(String),
        /// Processors that share it.
        "@cpus" => cpus: value(String),
        /// How its use can be limited.
        "control" => controls: elements {
            /// The steps, in units.
            "@granularity" => granularity: value(u64),
            /// The smallest share, in units; one step if it is absent.
            "@min" => min: value(u64),
            /// What is counted: `B`, `KiB` …
            "@unit" => unit: value(String),
            /// What is limited.
            "@type" => scope: value(CacheKind),
            /// How many groups of processes can be told apart.
            "@maxAllocs" => max_allocations: value(u32),
        },
    })
}

fn bandwidth_node() -> &'static ElementSchema {
    describe!("MemoryBandwidth", "node", "A place where the use of memory can be limited." => {
        /// Its number: that of the last cache before memory.
        "@id" => id: value(u32),
        /// Processors whose use it is.
        "@cpus" => cpus: value(String),
        /// The steps, in percent.
        "control@granularity" => granularity: value(u32),
        /// The smallest share, in percent.
        "control@min" => min: value(u32),
        /// How many groups of processes can be told apart.
        "control@maxAllocs" => max_allocations: value(u32),
    })
}

fn monitor() -> &'static ElementSchema {
    describe!("CacheMonitor", "monitor", "What can be measured of the use of caches or memory." => {
        /// For caches: which of them, counted from the processor.
        "@level" => level: value(u32),
        /// For caches: below how many bytes a cache counts as free.
        "@reuseThreshold" => reuse_threshold: value(u32),
        /// How many groups of processes can be told apart.
        "@maxMonitors" => max_monitors: value(u32),
        /// Names of what is measured.
        "feature" => features: elements {
            /// What the kernel calls it.
            "@name" => name: value(String),
        },
    })
}

fn guest() -> &'static ElementSchema {
    describe!("Guest", "guest", "A kind of guest." => {
        /// What a guest boots: `hvm`, `xen`, `exe` …
        "os_type" => os_type: value(String),
        /// The guest's processor, and who runs it.
        "arch" => arch: element {
            /// The architecture's name.
            "@name" => name: value(String),
            /// Bits of a word.
            "wordsize" => word_size: value(u32),
            /// Programs and machines that all types of virtualization share.
            "." => common: shape(programs),
            /// Types of virtualization.
            "domain" => domains: elements {
                /// The type: `kvm`, `qemu`, `xen` …
                "@type" => virt_type: value(String),
                /// What differs from the common programs and machines.
                "." => own: shape(programs),
            },
        },
        /// What guests can have or not have.
        "features" => features: shape(features),
    })
}

fn programs() -> &'static ElementSchema {
    describe!("GuestPrograms", "", "Programs and machines of guests." => {
        /// Path of the program that runs guests.
        "emulator" => emulator: value(String),
        /// Path of the program that guests begin with.
        "loader" => loader: value(String),
        /// Machine types.
        "machine" => machines: elements {
            /// The machine type that the name is another name of.
            "@canonical" => canonical: value(String),
            /// The most virtual processors.
            "@maxCpus" => max_cpus: value(u32),
            /// Whether it will go away.
            "@deprecated" => deprecated: value(bool),
            /// What definitions call it.
            "text()" => name: value(String),
        },
    })
}

fn features() -> &'static ElementSchema {
    describe!("GuestFeatures", "features", "What guests can have." => {
        /// Physical addresses of more than 32 bits.
        "pae" => pae: flag,
        /// Whether guests without longer addresses can run.
        "nonpae" => non_pae: flag,
        /// Itanium's processors in big-endian order.
        "ia64_be" => ia64_big_endian: flag,
        /// Tables that describe the machine to its system.
        "acpi" => acpi: shape(switch),
        /// The controller of interrupts for several processors.
        "apic" => apic: shape(switch),
        /// Whether the processor's model can be chosen.
        "cpuselection" => cpu_selection: flag,
        /// Whether each device can have its place in the boot order.
        "deviceboot" => device_boot: flag,
        /// Snapshots of disks while the guest runs.
        "disksnapshot" => disk_snapshot: shape(switch),
        /// Page tables that the processor helps with.
        "hap" => hap: shape(switch),
        /// Whether snapshots can be files of their own.
        "externalSnapshot" => external_snapshot: flag,
    })
}

fn switch() -> &'static ElementSchema {
    describe!("", "", "" => {
        /// Whether it is on if nobody says.
        "@default" => default: on_off,
        /// Whether it can be changed.
        "@toggle" => toggle: value(bool),
    })
}

#[cfg(test)]
mod tests {
    use virt_util::xml::XmlFlags;

    use super::*;
    use crate::data::{self, Notation};

    /// A host that has something of everything.
    const SOURCE: &str = "\
<capabilities>

  <host>
    <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
    <cpu>
      <arch>x86_64</arch>
      <features>
        <pae/>
        <vmx/>
      </features>
      <model>Skylake-Client</model>
      <vendor>Intel</vendor>
      <microcode version='7'/>
      <feature name='ds'/>
      <pages unit='KiB' size='4'/>
      <pages unit='KiB' size='2048'/>
    </cpu>
    <power_management/>
    <iommu support='no'/>
    <migration_features>
    </migration_features>
    <netprefix>tap</netprefix>
    <topology>
      <cells num='1'>
        <cell id='0'>
          <memory unit='KiB'>4096</memory>
          <pages unit='KiB' size='4'>1024</pages>
          <distances>
            <sibling id='0' value='10'/>
          </distances>
          <cache level='1' associativity='direct' policy='writeback'>
            <size value='10240' unit='KiB'/>
            <line value='8' unit='B'/>
          </cache>
          <cpus num='2'>
            <cpu id='0' socket_id='0' die_id='0' cluster_id='0' core_id='0' siblings='0-1'/>
            <cpu id='1'/>
          </cpus>
        </cell>
      </cells>
      <interconnects>
        <latency initiator='0' target='0' type='read' value='5'/>
        <bandwidth initiator='0' target='0' type='write' value='204800' unit='KiB'/>
      </interconnects>
    </topology>
    <cache>
      <bank id='0' level='3' type='both' size='15' unit='MiB' cpus='0-1'>
        <control granularity='768' min='1536' unit='KiB' type='both' maxAllocs='4'/>
      </bank>
      <monitor level='3' reuseThreshold='270336' maxMonitors='176'>
        <feature name='llc_occupancy'/>
      </monitor>
    </cache>
    <memory_bandwidth>
      <node id='0' cpus='0-1'>
        <control granularity='10' min='10' maxAllocs='4'/>
      </node>
      <monitor maxMonitors='176'>
        <feature name='mbm_total_bytes'/>
      </monitor>
    </memory_bandwidth>
    <secmodel>
      <model>dac</model>
      <doi>0</doi>
      <baselabel type='kvm'>+64055:+994</baselabel>
    </secmodel>
  </host>

  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <emulator>/usr/bin/q</emulator>
      <machine maxCpus='255' deprecated='yes'>pc-i440fx-2.3</machine>
      <machine canonical='pc-q35-10.0' maxCpus='4096'>q35</machine>
      <domain type='qemu'/>
      <domain type='kvm'>
        <emulator>/usr/bin/k</emulator>
        <machine>other</machine>
      </domain>
    </arch>
    <features>
      <acpi default='on' toggle='yes'/>
      <cpuselection/>
      <disksnapshot default='off' toggle='no'/>
    </features>
  </guest>

</capabilities>
";

    #[test]
    fn other_notations_bring_back_the_same() {
        let read = Capabilities::parse(SOURCE, "a.xml").unwrap();
        assert_eq!(read.to_xml(), SOURCE);
        for notation in [Notation::Json, Notation::Yaml] {
            let text = data::from_xml(SOURCE, notation, XmlFlags::empty(), "a").unwrap();
            let back = data::to_xml(&text, notation, "capabilities", XmlFlags::empty(), "a").unwrap();
            assert_eq!(back, SOURCE, "{text}");
        }
    }

    #[test]
    fn fields_are_called_as_the_reference_says() {
        let json = data::from_xml(SOURCE, Notation::Json, XmlFlags::empty(), "a").unwrap();
        for part in [
            "\"vmx\": true",
            "\"max_cpus\": 4096",
            "\"siblings\": \"0-1\"",
            "\"default\": false",
        ] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
        let wrong = json.replace("\"vmx\"", "\"vmz\"");
        let error = data::to_xml(&wrong, Notation::Json, "capabilities", XmlFlags::empty(), "a").unwrap_err();
        assert!(error.detail().contains("did you mean 'vmx'?"), "{error}");
    }
}
