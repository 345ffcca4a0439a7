//! One simulated host.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use virt_api::events::EventHub;
use virt_api::host::HostServices;
use virt_conf::interface::HostInterface;
use virt_conf::network::Network;
use virt_conf::node_device::NodeDevice;
use virt_conf::registry::moments::{Moment as _, Moments};
use virt_conf::registry::{Kind, Life, Object, Registry, Snapshot};
use virt_conf::snapshot::Snapshot as DomainSnapshot;
use virt_conf::storage_pool::StoragePool;
use virt_conf::storage_volume::{CapacityRule, Volume};
use virt_util::audit::AuditRecord;
use virt_util::types::DomainState;
use virt_util::xml::{Doc, DocOptions, Element, XmlFlags};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::auth::User;
use crate::definition::{GuestDefinition, InitialState, NAMESPACE};
use crate::devices::{self, Devices};
use crate::domain::{Guest, GuestId, GuestKind, GuestState, Lasting, Polling};
use crate::error;
use crate::interfaces::Interfaces;
use crate::messages::Messages;
use crate::moments;
use crate::networks::{self, Networks};
use crate::node::{Cell, DEFAULT_CELLS, NodeInfo};
use crate::pools::{self, Pools};
use crate::shared::Happened;

/// The largest host file.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// A host with its guests.
#[derive(Debug)]
pub struct World {
    node: NodeInfo,
    cells: Vec<Cell>,
    users: Vec<User>,
    guests: Registry<GuestKind>,
    networks: Networks,
    interfaces: Interfaces,
    pools: Pools,
    devices: Devices,
    next_id: AtomicI32,
    events: EventHub,
    /// The process that we are in, from the first client on.
    host: OnceLock<HostServices>,
}

impl World {
    /// The host of `test:///default`.
    pub fn default_host() -> Result<Arc<Self>> {
        let text = include_str!("default_host.xml");
        Self::read(text, "default_host.xml", None, DEFAULT_CELLS.to_vec())
    }

    /// Says where records of the guests go.
    pub fn set_host(&self, host: &HostServices) {
        self.host.get_or_init(|| host.clone());
    }

    /// Gives records about a guest to the audit trail.
    pub fn record(&self, records: impl IntoIterator<Item = AuditRecord>) {
        if let Some(host) = self.host.get() {
            host.record(records);
        }
    }

    /// The host that a file describes.
    pub fn from_file(path: &Path) -> Result<Arc<Self>> {
        let text = read_file(path)?;
        Self::read(&text, &path.display().to_string(), path.parent(), Vec::new())
    }

    fn read(text: &str, name: &str, folder: Option<&Path>, cells: Vec<Cell>) -> Result<Arc<Self>> {
        let doc = Doc::parse_with(text, &options(name))?;
        let node = doc.root();
        if node.name() != "node" {
            return Err(error(
                ErrorCode::XML_ERROR,
                format_args!(
                    "unexpected root element <{}> in '{name}', expecting <node>",
                    node.name()
                ),
            ));
        }
        let world = Self {
            node: NodeInfo::read(node)?,
            cells,
            users: users(node)?,
            guests: Registry::new(),
            networks: Networks::new(),
            interfaces: Interfaces::default(),
            pools: Pools::new(),
            devices: Devices::new(),
            next_id: AtomicI32::new(1),
            events: EventHub::new(),
            host: OnceLock::new(),
        };
        let each = |kind: &str, take: &dyn Fn(Element<'_>) -> Result<()>| -> Result<()> {
            node.children_named(kind)
                .try_for_each(|element| with_file(element, folder, take))
        };
        each("domain", &|element| world.add_guest(element, folder))?;
        each("network", &|element| {
            networks::adopt(
                &world.networks,
                Network::from_element(element, XmlFlags::INACTIVE | XmlFlags::NO_NAMESPACES)?,
            )
        })?;
        each("interface", &|element| {
            world.interfaces.adopt(HostInterface::from_element(element)?)
        })?;
        each("pool", &|element| world.add_pool(element, folder))?;
        each("device", &|element| {
            let device = NodeDevice::parse(element.outer_source(), element.doc().name())?;
            devices::adopt(&world.devices, device)
        })?;
        Ok(Arc::new(world))
    }

    /// Takes a pool in, with the volumes inside.
    fn add_pool(&self, element: Element<'_>, folder: Option<&Path>) -> Result<()> {
        let name = element.doc().name();
        let pool = StoragePool::parse_with(element.outer_source(), XmlFlags::NO_NAMESPACES, name)?;
        let volumes = RefCell::new(Vec::new());
        for volume in element.children_named("volume") {
            with_file(volume, folder, &|volume| {
                let parsed = Volume::parse(volume.outer_source(), pool.kind, CapacityRule::Required, name)?;
                volumes.borrow_mut().push(parsed);
                Ok(())
            })?;
        }
        pools::adopt(&self.pools, pool, volumes.into_inner())
    }

    /// The snapshots that a host file gives a guest, of which one may be the current one.
    fn read_snapshots(&self, guest: Element<'_>, folder: Option<&Path>) -> Result<Moments<DomainSnapshot>> {
        let snapshots = RefCell::new(Moments::<DomainSnapshot>::default());
        for element in guest
            .children()
            .filter(|child| child.is_in(NAMESPACE, "domainsnapshot"))
        {
            with_file(element, folder, &|element| {
                let snapshot = moments::adopted(element)?;
                let mut snapshots = snapshots.borrow_mut();
                if snapshot.active == Some(true) {
                    if let Some(other) = snapshots.current() {
                        return Err(error(
                            ErrorCode::INTERNAL_ERROR,
                            format_args!(
                                "two snapshots are <active>, '{}' and '{}'",
                                other.name(),
                                snapshot.name()
                            ),
                        ));
                    }
                    snapshots.set_current(Some(snapshot.name()));
                }
                snapshots.add(DomainSnapshot {
                    active: None,
                    ..snapshot
                })
            })?;
        }
        Ok(snapshots.into_inner())
    }

    fn add_guest(&self, element: Element<'_>, folder: Option<&Path>) -> Result<()> {
        let definition = Arc::new(GuestDefinition::read(element)?);
        let initial = InitialState::read(element)?;
        let stored = (!initial.transient).then(|| Arc::clone(&definition));
        let (life, id) = if initial.state == DomainState::SHUTOFF {
            (Life::Inactive(definition), -1)
        } else {
            let id = self.new_id().0;
            let life = Life::Active {
                live: Arc::new(definition.running(id)),
                next: stored,
            };
            (life, id)
        };
        let current = &life.current().domain;
        let lasting = Lasting {
            messages: Messages::about(current),
            polling: current
                .iothreads
                .iter()
                .map(|thread| Polling::of(thread.id))
                .collect(),
            snapshots: self.read_snapshots(element, folder)?,
            ..Lasting::default()
        };
        let snapshot = Snapshot {
            life,
            state: GuestState {
                id,
                state: initial.state,
                reason: 0,
                managed_save: initial.managed_save,
                lasting: Arc::new(lasting),
            },
            autostart: false,
            autostart_once: false,
        };
        let guest = self.guests.adopt(snapshot, ())?;
        if id >= 0 {
            self.guests.bind(&guest, GuestId(id))?;
        }
        Ok(())
    }

    /// The hardware.
    pub fn node(&self) -> &NodeInfo {
        &self.node
    }

    /// The memory nodes.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Who may connect; everybody if it is empty.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The guests.
    pub fn guests(&self) -> &Registry<GuestKind> {
        &self.guests
    }

    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The interfaces of the host.
    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// The storage pools.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The devices of the host.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Who is told what happens.
    pub fn events(&self) -> &EventHub {
        &self.events
    }

    /// The id of the next guest to run.
    pub fn new_id(&self) -> GuestId {
        GuestId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells what has been noted of a network, a pool or a device; call it with its lane let go.
    pub fn tell_of<K: Kind<Event = Happened>>(&self, object: &Object<K>) -> Result<()> {
        let mut result = Ok(());
        object.events().tell(|_, event| {
            if let Err(error) = self.events.emit(&event) {
                result = Err(error);
            }
        });
        result
    }

    /// Tells what has been noted of a guest; call it with its lane let go.
    pub fn tell(&self, guest: &Guest) -> Result<()> {
        let mut result = Ok(());
        guest.events().tell(|_, event| {
            if let Err(error) = self.events.emit(&event) {
                result = Err(error);
            }
        });
        result
    }
}

/// Hands an element on, or the root of the file that it names.
fn with_file(
    element: Element<'_>,
    folder: Option<&Path>,
    take: &dyn Fn(Element<'_>) -> Result<()>,
) -> Result<()> {
    let Some(file) = element.attr("file") else {
        return take(element);
    };
    let path = folder.unwrap_or(Path::new("")).join(&*file);
    let text = read_file(&path)?;
    let name = path.display().to_string();
    take(Doc::parse_with(&text, &options(&name))?.root())
}

fn options(name: &str) -> DocOptions<'_> {
    DocOptions::named(name).in_domain(ErrorDomain::TEST)
}

fn read_file(path: &Path) -> Result<String> {
    let shown = path.display();
    let content = virt_util::durable::read(path, FILE_MAX)?.ok_or_else(|| {
        error(
            ErrorCode::XML_ERROR,
            format_args!("host file '{shown}' does not exist"),
        )
    })?;
    String::from_utf8(content).map_err(|_| {
        error(
            ErrorCode::XML_ERROR,
            format_args!("host file '{shown}' is not UTF-8"),
        )
    })
}

fn users(node: Element<'_>) -> Result<Vec<User>> {
    let auth = node.children_named("auth");
    auth.flat_map(|auth| auth.children_named("user"))
        .map(|user| match user.text().into_owned() {
            name if name.is_empty() => Err(error(ErrorCode::XML_ERROR, "a <user> of /node/auth has no name")),
            name => Ok(User {
                name,
                password: user.attr("password").map(std::borrow::Cow::into_owned),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_host_has_one_guest() {
        let world = World::default_host().unwrap();
        let guest = world.guests().find_name("test").unwrap();
        let snapshot = guest.snapshot();
        assert_eq!(snapshot.state.id, 1);
        assert!(snapshot.is_active() && snapshot.is_persistent());
        assert_eq!(snapshot.life.current().memory(), 2_097_152);
        assert!(world.guests().by_key(&GuestId(1)).is_some());
    }

    #[test]
    fn a_file_may_name_other_files_and_states() {
        let folder = tempfile::tempdir().unwrap();
        let guest = |name: &str, more: &str| {
            format!(
                "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
                 <name>{name}</name><memory unit='MiB'>8</memory>\
                 <os><type>hvm</type></os>{more}</domain>"
            )
        };
        std::fs::write(folder.path().join("b.xml"), guest("b", "<test:transient/>")).unwrap();
        let off = guest("a", "<test:runstate>5</test:runstate><test:hasmanagedsave/>");
        let host =
            format!("<node><auth><user password='p'>u</user></auth>{off}<domain file='b.xml'/></node>");
        let path = folder.path().join("host.xml");
        std::fs::write(&path, host).unwrap();
        let world = World::from_file(&path).unwrap();
        let a = world.guests().find_name("a").unwrap().snapshot();
        assert!(!a.is_active() && a.state.managed_save);
        let b = world.guests().find_name("b").unwrap().snapshot();
        assert!(b.is_active() && !b.is_persistent());
        assert_eq!(b.life.current().memory(), 8192);
        assert_eq!(world.users().len(), 1);
        assert!(world.cells().is_empty());
    }

    #[test]
    fn a_file_describes_all_of_a_host() {
        let folder = tempfile::tempdir().unwrap();
        let volume =
            "<volume><name>w</name><capacity>4096</capacity><target><path>/w</path></target></volume>";
        std::fs::write(folder.path().join("w.xml"), volume).unwrap();
        let host = "<node><network><name>n</name></network><interface type='ethernet' name='e0'/>\
            <pool type='dir'><name>p</name><target><path>/p</path></target>\
            <volume><name>v</name><capacity unit='KiB'>1</capacity></volume><volume file='w.xml'/></pool>\
            <device><name>d</name><capability type='ap_matrix'/></device></node>";
        let path = folder.path().join("host.xml");
        std::fs::write(&path, host).unwrap();
        let world = World::from_file(&path).unwrap();
        assert!(world.networks().find_name("n").unwrap().snapshot().is_active());
        assert!(world.interfaces().now().find_name("e0").is_ok());
        assert!(world.devices().find_name("d").is_ok());
        let pool = world.pools().find_name("p").unwrap().snapshot();
        assert_eq!(pool.state.allocation, 1024 + 4096);
        assert_eq!(pool.state.volumes.by_path("/p/v").unwrap().name, "v");
        assert_eq!(pool.state.volumes.by_key("/w").unwrap().name, "w");
        std::fs::write(&path, host.replace("'ap_matrix'", "'odd'")).unwrap();
        assert!(World::from_file(&path).is_err());
    }

    #[test]
    fn bad_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.xml");
        assert!(World::from_file(&path).is_err());
        let domain = |more: &str| {
            format!(
                "<node><domain type='test' xmlns:t='{}'><name>a</name><memory>1</memory>\
                 <os><type>hvm</type></os>{more}</domain></node>",
                crate::definition::NAMESPACE
            )
        };
        for text in [
            "<domain/>".to_owned(),
            "<node><auth><user/></auth></node>".to_owned(),
            domain("<t:runstate>77</t:runstate>"),
            domain("<t:transient/><t:runstate>5</t:runstate>"),
            domain("<t:hasmanagedsave/>"),
            domain("<vcpu current='3'>2</vcpu>"),
            domain("<on_poweroff>explode</on_poweroff>"),
            "<node><domain type='test'><name>a</name><memory>1</memory></domain></node>".to_owned(),
            "<node><domain type='odd'><name>a</name><memory>1</memory><os><type>hvm</type></os></domain></node>"
                .to_owned(),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert!(World::from_file(&path).is_err(), "{text}");
        }
    }
}
