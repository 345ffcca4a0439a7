//! The status file of a running guest, `NAME.xml` in the driver's state folder: what a later process of ours, or stock
//! libvirt, needs to find it again.
//!
//! [`Status`] is everything but the guest's definition, which stands behind it in the same document and is the domain
//! model's. What is not known here is kept and written again; [`Status::unknown`] says that there is such a thing, and
//! nobody may then hand the guest back to stock libvirt.

use std::path::Path;

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, SystemRandomness, normalize};
use virt_util::arch::Arch;
use virt_util::xml::{self, Doc, DocOptions, Element, RawElement, Reader, Writer, Xml, XmlElement, XmlFlags};
use virt_util::{ErrorCode, Result, VirtError, durable};

use super::layout::{Layout, short_name};
use super::state::GuestState;
use crate::capabilities::QemuCaps;
use crate::hooks::{CapsSource, QemuHooks};
use crate::plan::host::DriverConfig;

/// No status file comes near this.
const FILE_LIMIT: u64 = 64 << 20;

/// A word in an attribute of its own.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The word.
    #[xml("@name")]
    pub name: String,
}

/// Something about the guest that voids a warranty.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// libvirt's word for it.
    #[xml("@flag")]
    pub flag: String,
}

/// The thread of a virtual processor.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
pub struct VcpuThread {
    /// The processor's number.
    #[xml("@id")]
    pub id: u32,
    /// The thread's number on the host.
    #[xml("@pid")]
    pub pid: i32,
}

/// The virtual processors that are online.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(body)]
pub struct Vcpus {
    /// Each with its thread.
    #[xml("vcpu")]
    pub threads: Vec<VcpuThread>,
}

/// What QEMU could do when the guest was started, by libvirt's names.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(body)]
pub struct Flags {
    /// The names, in libvirt's order.
    #[xml("flag")]
    pub flags: Vec<Flag>,
}

/// A device by its alias.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The alias.
    #[xml("@alias")]
    pub alias: String,
}

/// The devices that QEMU has.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Their aliases.
    #[xml("device")]
    pub devices: Vec<Device>,
}

/// Everything in a status file but the guest's definition.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "domstatus")]
pub struct Status {
    /// What the guest is doing.
    #[xml("@state")]
    pub state: String,
    /// Why.
    #[xml("@reason")]
    pub reason: String,
    /// Its process.
    #[xml("@pid")]
    pub pid: i32,
    /// What voids warranties.
    #[xml("taint")]
    pub taints: Vec<Taint>,
    /// What the guest uses and will not be there for ever.
    #[xml("deprecation")]
    pub deprecations: Vec<String>,
    /// The monitor's socket.
    #[xml("monitor@path")]
    pub monitor: Option<String>,
    /// What kind of socket: `unix`.
    #[xml("monitor@type")]
    pub monitor_kind: Option<String>,
    /// A D-Bus daemon runs for it.
    #[xml("dbusDaemon")]
    pub dbus_daemon: bool,
    /// QEMU saves the state of D-Bus helpers.
    #[xml("dbusVMState")]
    pub dbus_vm_state: bool,
    /// The namespaces that its process has for itself.
    #[xml("namespaces", with = kept)]
    pub namespaces: Option<RawElement>,
    /// Its processors' threads.
    #[xml("vcpus", keep_empty, ghost)]
    pub vcpus: Vcpus,
    /// What QEMU can do.
    #[xml("qemuCaps")]
    pub capabilities: Option<Flags>,
    /// The state of its disk leases.
    #[xml("lockstate")]
    pub lock_state: Option<String>,
    /// The job that was running.
    #[xml("job", with = kept)]
    pub job: Option<RawElement>,
    /// Its next shutdown is a restart.
    #[xml("fakereboot")]
    pub fake_reboot: bool,
    /// Its devices.
    #[xml("devices")]
    pub devices: Option<Devices>,
    /// Where numad wants it.
    #[xml("numad", with = kept)]
    pub numad: Option<RawElement>,
    /// Its folder.
    #[xml("libDir@path")]
    pub lib_folder: Option<String>,
    /// The folder of its channels.
    #[xml("channelTargetDir@path")]
    pub channel_folder: Option<String>,
    /// The folder of its memory files.
    #[xml("memoryBackingDir@path")]
    pub ram_folder: Option<String>,
    /// The processor as it was defined, before QEMU said what it really is.
    #[xml("cpu", with = kept)]
    pub original_cpu: Option<RawElement>,
    /// Its console logs go through virtlogd.
    #[xml("chardevStdioLogd")]
    pub stdio_logd: bool,
    /// The former owners of its files are noted on them.
    #[xml("rememberOwner")]
    pub remember_owner: bool,
    /// QEMU resets by itself when the guest reboots.
    #[xml("allowReboot@value")]
    pub allow_reboot: Option<bool>,
    /// The daemon for persistent reservations runs.
    #[xml("prDaemon")]
    pub pr_daemon: bool,
    /// The number of the last block node.
    #[xml("nodename@index", default, always)]
    pub node_index: u64,
    /// The number of the last descriptor set.
    #[xml("fdset@index", default, always)]
    pub fdset_index: u32,
    /// Its memory was allocated at the start.
    #[xml("memPrealloc")]
    pub memory_preallocated: bool,
    /// Jobs on its disks.
    #[xml("blockjobs", with = kept)]
    pub block_jobs: Option<RawElement>,
    /// slirp helpers.
    #[xml("slirp", with = kept)]
    pub slirp: Option<RawElement>,
    /// How long the guest agent may take: seconds, or -2 for ever, -1 for the default.
    #[xml("agentTimeout", default = -2, always)]
    pub agent_timeout: i32,
    /// Backups under way.
    #[xml("backups", with = kept)]
    pub backups: Option<RawElement>,
    /// The limit of locked memory before devices were added, in bytes.
    #[xml("originalMemlock")]
    pub original_memlock: Option<u64>,
    /// The same before a migration.
    #[xml("preMigrationMemlock")]
    pub migration_memlock: Option<u64>,
    /// What is not known here.
    #[xml(skip)]
    pub unknown: Vec<RawElement>,
}

/// Names of the children that [`Status`] knows, and of the definition.
const KNOWN: [&str; 31] = [
    "taint",
    "deprecation",
    "monitor",
    "dbusDaemon",
    "dbusVMState",
    "namespaces",
    "vcpus",
    "qemuCaps",
    "lockstate",
    "job",
    "fakereboot",
    "devices",
    "numad",
    "libDir",
    "channelTargetDir",
    "memoryBackingDir",
    "cpu",
    "chardevStdioLogd",
    "rememberOwner",
    "allowReboot",
    "prDaemon",
    "nodename",
    "fdset",
    "memPrealloc",
    "blockjobs",
    "slirp",
    "agentTimeout",
    "backups",
    "originalMemlock",
    "preMigrationMemlock",
    "domain",
];

impl Status {
    /// The status of a guest that has just been started.
    pub fn new(state: GuestState, pid: i32) -> Self {
        let mut block_jobs = RawElement::new("blockjobs");
        block_jobs.attributes.push(xml::RawAttribute {
            name: "active".to_owned(),
            namespace: String::new(),
            value: "no".to_owned(),
        });
        Self {
            state: state.state_word().to_owned(),
            reason: state.reason_word().to_owned(),
            pid,
            taints: Vec::new(),
            deprecations: Vec::new(),
            monitor: None,
            monitor_kind: Some("unix".to_owned()),
            dbus_daemon: false,
            dbus_vm_state: false,
            namespaces: None,
            vcpus: Vcpus::default(),
            capabilities: None,
            lock_state: None,
            job: None,
            fake_reboot: false,
            devices: None,
            numad: None,
            lib_folder: None,
            channel_folder: None,
            ram_folder: None,
            original_cpu: None,
            stdio_logd: false,
            remember_owner: false,
            allow_reboot: Some(true),
            pr_daemon: false,
            node_index: 0,
            fdset_index: 0,
            memory_preallocated: false,
            block_jobs: Some(block_jobs),
            slirp: None,
            agent_timeout: -2,
            backups: None,
            original_memlock: None,
            migration_memlock: None,
            unknown: Vec::new(),
        }
    }

    /// What the guest is doing.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for words that are no state.
    pub fn guest_state(&self) -> Result<GuestState> {
        GuestState::from_words(&self.state, &self.reason).ok_or_else(|| {
            VirtError::internal(format_args!(
                "invalid domain state '{}' with reason '{}'",
                self.state, self.reason
            ))
        })
    }

    /// Sets what the guest is doing.
    pub fn set_guest_state(&mut self, state: GuestState) {
        state.state_word().clone_into(&mut self.state);
        state.reason_word().clone_into(&mut self.reason);
    }

    /// What files of older versions do not tell.
    fn fill_in(&mut self, domain: &Domain, layout: &Layout) {
        let old = format!("domain-{}", domain.name);
        let text = |path: std::path::PathBuf| path.display().to_string();
        self.lib_folder.get_or_insert_with(|| text(layout.lib.join(&old)));
        self.channel_folder
            .get_or_insert_with(|| text(layout.channel.join(&old)));
        self.ram_folder.get_or_insert_with(|| {
            let id = domain.id.and_then(|id| i32::try_from(id).ok()).unwrap_or(-1);
            text(layout.ram.join(short_name(id, &domain.name)))
        });
        if let Some(job) = &mut self.job {
            let lacks = |job: &RawElement, name: &str| job.attributes.iter().all(|own| own.name != name);
            let is_async = job
                .attributes
                .iter()
                .any(|own| own.name == "async" && own.value != "none");
            for (name, value) in [("flags", "0x0"), ("asyncStarted", "0")] {
                if is_async && lacks(job, name) {
                    job.attributes.push(xml::RawAttribute {
                        name: name.to_owned(),
                        namespace: String::new(),
                        value: value.to_owned(),
                    });
                }
            }
        }
    }

    /// The document, with the definition that `write_domain` writes.
    pub fn format(&self, flags: XmlFlags, write_domain: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::new(flags | XmlFlags::STATUS);
        writer.start("domstatus");
        self.write_attributes(&mut writer);
        self.write_content(&mut writer);
        for element in &self.unknown {
            kept::write(element, &mut writer, &element.name);
        }
        write_domain(&mut writer);
        writer.end("domstatus");
        writer.finish()
    }

    /// Reads a status document. The definition is its child `domain`, see [`definition`].
    ///
    /// # Errors
    /// Of the XML reader.
    pub fn read_document(doc: &Doc<'_>) -> Result<Self> {
        let root = expect_root(doc)?;
        let mut reader = Reader::new(XmlFlags::STATUS);
        let mut status = <Self as XmlElement>::read(root, &mut reader)?;
        status.unknown = root
            .children()
            .filter(|child| !KNOWN.contains(&child.name()))
            .map(RawElement::copy)
            .collect();
        Ok(status)
    }

    /// Writes the file. It is of this boot only, so it is not flushed to disk; it holds its old or its new content.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn save(path: &Path, document: &str) -> Result<()> {
        let options = durable::WriteOptions {
            sync: false,
            ..durable::WriteOptions::default()
        };
        durable::write(path, document.as_bytes(), &options)
    }

    /// The content of the file, `None` if there is none.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`, or `XML_DETAIL` for what is not UTF-8.
    pub fn load(path: &Path) -> Result<Option<String>> {
        let Some(bytes) = durable::read(path, FILE_LIMIT)? else {
            return Ok(None);
        };
        String::from_utf8(bytes).map(Some).map_err(|_| {
            VirtError::new(
                ErrorCode::XML_DETAIL,
                format_args!("'{}' is not UTF-8", path.display()),
            )
        })
    }
}

/// Subtrees that this module does not look into, written in libvirt's layout.
mod kept {
    use virt_util::Result;
    use virt_util::xml::{Element, RawElement, RawNode, Reader, Writer};

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<RawElement> {
        Ok(RawElement::copy(element))
    }

    pub(super) fn write(element: &RawElement, w: &mut Writer, name: &str) {
        w.start(name);
        for attribute in &element.attributes {
            w.attribute(&attribute.name, &attribute.value);
        }
        for child in &element.children {
            match child {
                RawNode::Element(child) => write(child, w, &child.name),
                RawNode::Text(text) | RawNode::CData(text) => w.text(text),
                RawNode::Comment(_) | RawNode::Instruction(..) => {}
            }
        }
        w.end(name);
    }
}

fn expect_root<'d>(doc: &'d Doc<'_>) -> Result<Element<'d>> {
    let root = doc.root();
    if root.is("domstatus") {
        return Ok(root);
    }
    Err(VirtError::new(
        ErrorCode::XML_ERROR,
        format_args!("unexpected root element <{}>, expecting <domstatus>", root.name()),
    ))
}

/// The guest's definition in a status document.
///
/// # Errors
/// `INTERNAL_ERROR` if there is none.
pub fn definition<'d>(doc: &'d Doc<'_>) -> Result<Element<'d>> {
    expect_root(doc)?
        .child("domain")
        .ok_or_else(|| VirtError::internal("no domain config"))
}

/// Flags for the definition in a status file.
pub const DEFINITION_FLAGS: XmlFlags = XmlFlags::SECURE
    .union(XmlFlags::STATUS)
    .union(XmlFlags::ACTUAL_NET)
    .union(XmlFlags::PCI_ORIG_STATES)
    .union(XmlFlags::CLOCK_ADJUST)
    .union(XmlFlags::VOLUME_TRANSLATED);

/// Knows of one binary only what the status file says of it.
struct RecordedCaps(QemuCaps);

impl CapsSource for RecordedCaps {
    fn emulator(&self, _arch: Arch) -> Option<String> {
        None
    }

    fn caps(&self, _binary: &str) -> Option<&QemuCaps> {
        Some(&self.0)
    }
}

/// Reads a status file: the driver's part, and the definition of the guest as it runs. What the file of an older version
/// does not tell is filled in; `layout` tells the folders. A definition that cannot be completed is marked, never refused:
/// the guest runs.
///
/// # Errors
/// Of the XML reader; `INTERNAL_ERROR` for a file that holds no definition or names a capability that nobody knows.
pub fn load(text: &str, name: &str, layout: &Layout) -> Result<(Status, Domain)> {
    let doc = parse(text, name)?;
    let mut status = Status::read_document(&doc)?;
    let mut domain = Domain::from_element(definition(&doc)?, DEFINITION_FLAGS)?;
    let mut caps = QemuCaps::default();
    for flag in status.capabilities.iter().flat_map(|flags| &flags.flags) {
        let known = crate::capabilities::Flag::from_name(&flag.name).ok_or_else(|| {
            VirtError::internal(format_args!("the emulator's flag '{}' is unknown", flag.name))
        })?;
        caps.flags.insert(known);
    }
    status.fill_in(&domain, layout);
    let config = DriverConfig::default();
    let path = |path: &Path| path.display().to_string();
    let (nvram, lib, channel) = (path(&layout.nvram), path(&layout.lib), path(&layout.channel));
    let hooks = QemuHooks {
        host_arch: crate::plan::guest_arch(&domain).unwrap_or(Arch::X86_64),
        caps: &RecordedCaps(caps),
        config: &config,
        firmware: &Vec::new(),
        nvram_dir: &nvram,
        lib_dir: &lib,
        channel_target_dir: &channel,
        environment: &[],
        host: &(),
        tpm_versions: None,
    };
    let cx = NormalizeContext {
        flags: NormalizeFlags::STATUS | NormalizeFlags::ALLOW_FAILURE,
        random: &SystemRandomness,
    };
    normalize(&mut domain, &hooks, &cx)?;
    Ok((status, domain))
}

/// Parses a status file's text; `name` is for messages.
///
/// # Errors
/// Of the XML reader.
pub fn parse<'s>(text: &'s str, name: &str) -> Result<Doc<'s>> {
    Doc::parse_with(text, &DocOptions::named(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::types::DomainRunningReason;

    fn with_domain(status: &Status) -> String {
        status.format(XmlFlags::empty(), |w| {
            w.start("domain");
            w.attribute("type", "kvm");
            w.end("domain");
        })
    }

    #[test]
    fn a_new_guest() {
        let mut status = Status::new(GuestState::running(DomainRunningReason::BOOTED), 4711);
        status.monitor = Some("/r/lib/qemu/domain-1-web/monitor.sock".into());
        status.vcpus.threads.push(VcpuThread { id: 0, pid: 4712 });
        status.capabilities = Some(Flags {
            flags: vec![Flag { name: "kvm".into() }],
        });
        status.fake_reboot = true;
        status.lib_folder = Some("/r/lib/qemu/domain-1-web".into());
        let text = with_domain(&status);
        assert_eq!(
            text,
            "\
<domstatus state='running' reason='booted' pid='4711'>
  <monitor path='/r/lib/qemu/domain-1-web/monitor.sock' type='unix'/>
  <vcpus>
    <vcpu id='0' pid='4712'/>
  </vcpus>
  <qemuCaps>
    <flag name='kvm'/>
  </qemuCaps>
  <fakereboot/>
  <libDir path='/r/lib/qemu/domain-1-web'/>
  <allowReboot value='yes'/>
  <nodename index='0'/>
  <fdset index='0'/>
  <blockjobs active='no'/>
  <agentTimeout>-2</agentTimeout>
  <domain type='kvm'/>
</domstatus>
"
        );
        let doc = parse(&text, "web.xml").unwrap();
        assert_eq!(Status::read_document(&doc).unwrap(), status);
        assert_eq!(definition(&doc).unwrap().attr("type").as_deref(), Some("kvm"));
        assert_eq!(status.guest_state().unwrap().reason_word(), "booted");
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let text = "\
<domstatus state='paused' reason='user' pid='1'>
  <taint flag='high-privileges'/>
  <deprecation>old machine</deprecation>
  <monitor path='/m' type='unix'/>
  <namespaces>
    <mount/>
  </namespaces>
  <vcpus>
  </vcpus>
  <job type='none' async='migration out' phase='perform3'>
    <disk dev='hdb' migrating='no'/>
  </job>
  <numad nodeset='6' cpuset='0-7'/>
  <nodename index='123'/>
  <fdset index='321'/>
  <blockjobs active='yes'>
    <blockjob name='broken' type='copy' state='ready' brokentype='commit'/>
  </blockjobs>
  <agentTimeout>5</agentTimeout>
  <future kind='x'>
    <thing/>
  </future>
  <domain type='kvm'/>
</domstatus>
";
        let doc = parse(text, "x").unwrap();
        let status = Status::read_document(&doc).unwrap();
        assert_eq!(status.unknown.len(), 1);
        assert_eq!(with_domain(&status), text);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "<domain/>",
            "<domstatus/>",
            "<domstatus state='running' reason='booted' pid='x'/>",
            "<domstatus",
        ] {
            let read = parse(bad, "x").and_then(|doc| Status::read_document(&doc));
            assert!(read.is_err(), "{bad}");
        }
        let odd = "<domstatus state='running' reason='destroyed' pid='1'><domain/></domstatus>";
        let doc = parse(odd, "x").unwrap();
        assert!(Status::read_document(&doc).unwrap().guest_state().is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.xml");
        assert_eq!(Status::load(&path).unwrap(), None);
        Status::save(&path, "<domstatus/>").unwrap();
        assert_eq!(Status::load(&path).unwrap().as_deref(), Some("<domstatus/>"));
    }
}
