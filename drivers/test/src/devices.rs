//! Devices of the host, as far as a host file names them; virtual Fibre Channel adapters can be made and removed.

use std::sync::Arc;

use virt_api::access::{Authorized, Found, NodeDevice, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::events::{EventClass, EventSubject};
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::table::EventMessage;
use virt_api::protocol::traits::NodeDeviceDriver;
use virt_conf::domain::normalize::SystemRandomness;
use virt_conf::node_device::{Capability, NodeDevice as Definition};
use virt_conf::registry::{self, Life, Object, Registry, Snapshot, passes};
use virt_conf::schema::Check;
use virt_util::types::{
    ConnectListAllNodeDeviceFlags as List, NodeDeviceCreateXmlFlags, NodeDeviceEventId,
    NodeDeviceEventLifecycleType as Lifecycle, NodeDeviceXmlFlags,
};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::connection::{TestConnection, check_flags};
use crate::error;
use crate::shared::{self, Happened, check_schema, hold};
use crate::world::World;

/// The kind of object that devices are.
#[derive(Debug)]
pub struct Kind;

impl registry::Kind for Kind {
    type Definition = Definition;
    type State = ();
    type Private = ();
    type Key = ();
    type Event = Happened;

    const NOUN: &'static str = "node device";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_NODE_DEVICE;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::TEST;
    const CLASH_DOMAIN: ErrorDomain = ErrorDomain::NODEDEV;
}

/// A device.
pub type Device = Object<Kind>;
/// The devices of a host.
pub type Devices = Registry<Kind>;

/// The adapter that virtual ones are made after.
const PATTERN: &str = "scsi_host11";
/// The virtual adapter that is made.
const VIRTUAL: &str = "scsi_host12";

/// Flags of lists, and the names of the capabilities that they ask for.
const FILTERS: &[(List, &str)] = &[
    (List::CAP_SYSTEM, "system"),
    (List::CAP_PCI_DEV, "pci"),
    (List::CAP_USB_DEV, "usb_device"),
    (List::CAP_USB_INTERFACE, "usb"),
    (List::CAP_NET, "net"),
    (List::CAP_SCSI_HOST, "scsi_host"),
    (List::CAP_SCSI_TARGET, "scsi_target"),
    (List::CAP_SCSI, "scsi"),
    (List::CAP_STORAGE, "storage"),
    (List::CAP_FC_HOST, "fc_host"),
    (List::CAP_VPORTS, "vports"),
    (List::CAP_SCSI_GENERIC, "scsi_generic"),
    (List::CAP_DRM, "drm"),
    (List::CAP_MDEV_TYPES, "mdev_types"),
    (List::CAP_MDEV, "mdev"),
    (List::CAP_CCW_DEV, "ccw"),
    (List::CAP_CSS_DEV, "css"),
    (List::CAP_VDPA, "vdpa"),
    (List::CAP_AP_CARD, "ap_card"),
    (List::CAP_AP_QUEUE, "ap_queue"),
    (List::CAP_AP_MATRIX, "ap_matrix"),
    (List::CAP_VPD, "vpd"),
    (List::CAP_CCWGROUP_DEV, "ccwgroup"),
    (List::CAP_CCWGROUP_MEMBER, "ccwgroup_member"),
];

/// Takes a device of a host file in.
pub fn adopt(devices: &Devices, mut device: Definition) -> Result<()> {
    device.activate();
    let snapshot = shared::running(device, (), true);
    devices.adopt(snapshot, ()).map(|_| ())
}

/// The device as clients and policies know it.
fn attributes(snapshot: &Snapshot<Kind>) -> NodeDevice {
    NodeDevice {
        name: snapshot.name().to_owned(),
    }
}

/// The device that arguments name.
pub fn resolve(world: &World, key: &NodeDevice) -> Result<Found<NodeDevice>> {
    let device = world.devices().find_name(&key.name)?;
    Ok(Found::new(attributes(&device.snapshot()), device))
}

fn note(device: &Device, what: Lifecycle) {
    let object = attributes(&device.snapshot());
    let told = object.clone();
    device.events().note(Happened {
        event: (EventClass::NodeDevice, NodeDeviceEventId::LIFECYCLE.0),
        subject: EventSubject::Name(object.name.clone()),
        object: Box::new(object),
        procedure: NodeDeviceEventLifecycleMessage::PROCEDURE,
        encode: Box::new(move || {
            NodeDeviceEventLifecycleMessage {
                callback_id: 0,
                device: told.clone().into(),
                event: what.0,
                detail: 0,
            }
            .behind_callback_id()
        }),
    });
}

/// Node name and port name of a Fibre Channel adapter.
fn world_wide_names(device: &Definition) -> Result<(&str, &str)> {
    for capability in &device.capabilities {
        if let Capability::ScsiHost(host) = capability
            && let Some(channel) = &host.kinds.fibre_channel
            && let (Some(node), Some(port)) = (&channel.wwnn, &channel.wwpn)
        {
            return Ok((node, port));
        }
    }
    let what = format_args!("device '{}' is no adapter of Fibre Channel", device.name);
    // What the document lacks is told as the reader of such documents tells it.
    Err(error(ErrorCode::INTERNAL_ERROR, what).in_domain(ErrorDomain::NODEDEV))
}

/// Makes a virtual Fibre Channel adapter of these names.
pub fn make_virtual_port(world: &World, node: &str, port: &str) -> Result<Arc<Device>> {
    let pattern = world.devices().find_name(PATTERN)?;
    let mut definition = Definition::clone(pattern.snapshot().life.current());
    definition.name = VIRTUAL.to_owned();
    for capability in &mut definition.capabilities {
        if let Capability::ScsiHost(host) = capability
            && let Some(channel) = &mut host.kinds.fibre_channel
        {
            channel.wwnn = Some(node.to_owned());
            channel.wwpn = Some(port.to_owned());
        }
    }
    let device = match world.devices().by_name(VIRTUAL) {
        Some(known) => {
            let live = Arc::new(definition);
            known.publish(|snapshot| snapshot.life = Life::Active { live, next: None });
            known
        }
        None => world
            .devices()
            .adopt(shared::running(definition, (), false), ())?,
    };
    note(&device, Lifecycle::CREATED);
    world.tell_of(&device)?;
    Ok(device)
}

/// Removes the virtual Fibre Channel adapter of these names.
pub fn remove_virtual_port(world: &World, node: &str, port: &str) -> Result<()> {
    let device = world.devices().find_name(VIRTUAL)?;
    let snapshot = device.snapshot();
    if world_wide_names(snapshot.life.current())? != (node, port) {
        return Err(error(
            ErrorCode::NO_NODE_DEVICE,
            format_args!("no adapter has the names {node} and {port}"),
        ));
    }
    note(&device, Lifecycle::DELETED);
    world.devices().remove(&device);
    world.tell_of(&device)
}

/// The adapter that a virtual one is to be made of: by name, by world wide names, by fabric, or any that can.
fn check_parent(devices: &Devices, new: &Definition) -> Result<()> {
    let names = |device: &Definition| {
        let mut hosts = device
            .capabilities
            .iter()
            .filter_map(|capability| match capability {
                Capability::ScsiHost(host) => host.kinds.fibre_channel.clone(),
                _ => None,
            });
        hosts.next().unwrap_or_default()
    };
    let parent = new.parent.clone().unwrap_or_default();
    let wanted = |snapshot: &Snapshot<Kind>| {
        let device = snapshot.life.current();
        let channel = names(device);
        let can = || device.capability_names().contains(&"vports");
        match (&parent.name, &parent.wwnn, &parent.fabric_wwn) {
            (Some(name), ..) => device.name == *name,
            (None, Some(_), _) => channel.wwnn == parent.wwnn && channel.wwpn == parent.wwpn,
            (None, None, Some(_)) => channel.fabric_wwn == parent.fabric_wwn && can(),
            (None, None, None) => can(),
        }
    };
    let found = devices.select(wanted);
    let Some(found) = found.first() else {
        return Err(error(
            ErrorCode::INTERNAL_ERROR,
            "could not find a parent for the new device",
        )
        .in_domain(ErrorDomain::NODEDEV));
    };
    let snapshot = found.snapshot();
    if !snapshot.life.current().capability_names().contains(&"vports") {
        return Err(error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("device '{}' makes no virtual ports", snapshot.name()),
        ));
    }
    Ok(())
}

impl TestConnection {
    fn devices_seen(&self, cx: &mut CallContext<'_>, cap: Option<&str>) -> Result<Vec<NodeDevice>> {
        let has = |snapshot: &Snapshot<Kind>| {
            cap.is_none_or(|cap| snapshot.life.current().capability_names().contains(&cap))
        };
        listing::visible(
            cx,
            self.world()
                .devices()
                .snapshots(has)
                .map(|snapshot| attributes(&snapshot)),
        )
    }
}

#[virt_api::implements]
impl NodeDeviceDriver for TestConnection {
    #[inline_safe]
    fn node_num_of_devices(
        &self,
        cx: &mut CallContext<'_>,
        cap: Option<String>,
        flags: u32,
    ) -> Result<NodeNumOfDevicesReply> {
        check_flags("testNodeNumOfDevices", flags, 0)?;
        let num = listing::count(&self.devices_seen(cx, cap.as_deref())?);
        Ok(NodeNumOfDevicesReply { num })
    }

    #[inline_safe]
    fn node_list_devices(
        &self,
        cx: &mut CallContext<'_>,
        cap: Option<String>,
        maxnames: i32,
        flags: u32,
    ) -> Result<NodeListDevicesReply> {
        check_flags("testNodeListDevices", flags, 0)?;
        let seen = self.devices_seen(cx, cap.as_deref())?;
        let names = listing::at_most(seen.into_iter().map(|device| device.name), maxnames);
        Ok(NodeListDevicesReply { names })
    }

    #[inline_safe]
    fn connect_list_all_node_devices(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllNodeDevicesReply> {
        check_flags("testConnectListAllNodeDevices", flags, List::all().bits())?;
        let wanted = |snapshot: &Snapshot<Kind>| {
            let has = snapshot.life.current().capability_names();
            let capabilities: Vec<(List, bool)> = FILTERS
                .iter()
                .map(|(flag, name)| (*flag, has.contains(name)))
                .collect();
            let (active, persistent) = (snapshot.is_active(), snapshot.is_persistent());
            passes(
                List::from(flags),
                &[
                    &capabilities,
                    &[(List::ACTIVE, active), (List::INACTIVE, !active)],
                    &[(List::PERSISTENT, persistent), (List::TRANSIENT, !persistent)],
                ],
            )
        };
        let seen = listing::visible(
            cx,
            self.world()
                .devices()
                .snapshots(wanted)
                .map(|snapshot| attributes(&snapshot)),
        )?;
        let (devices, ret) = listing::all(seen, need_results);
        Ok(ConnectListAllNodeDevicesReply { devices, ret })
    }

    #[inline_safe]
    fn node_device_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<NodeDeviceLookupByNameReply>> {
        let found = attributes(&self.world().devices().find_name(&name)?.snapshot());
        listing::found(cx, found, |device| NodeDeviceLookupByNameReply {
            device: device.into(),
        })
    }

    #[inline_safe]
    #[flags("testNodeDeviceGetXMLDesc", NodeDeviceXmlFlags::INACTIVE.bits())]
    fn node_device_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        device: Resolved<NodeDevice>,
        flags: u32,
    ) -> Result<NodeDeviceGetXmlDescReply> {
        let inactive = NodeDeviceXmlFlags::INACTIVE.bits();
        let snapshot = device.handle::<Device>()?.snapshot();
        if flags & inactive != 0 && !snapshot.is_persistent() {
            return Err(error(
                ErrorCode::OPERATION_INVALID,
                format_args!("device '{}' is transient", snapshot.name()),
            ));
        }
        let flags = match flags & inactive != 0 || !snapshot.is_active() {
            true => XmlFlags::INACTIVE,
            false => XmlFlags::empty(),
        };
        Ok(NodeDeviceGetXmlDescReply {
            xml: snapshot.life.current().format(flags),
        })
    }

    #[inline_safe]
    fn node_device_get_parent(
        &self,
        _: &mut CallContext<'_>,
        device: Resolved<NodeDevice>,
    ) -> Result<NodeDeviceGetParentReply> {
        let snapshot = device.handle::<Device>()?.snapshot();
        let parent = snapshot.life.current().parent_name();
        Ok(NodeDeviceGetParentReply {
            parent_name: parent.map(str::to_owned),
        })
    }

    #[inline_safe]
    fn node_device_num_of_caps(
        &self,
        _: &mut CallContext<'_>,
        device: Resolved<NodeDevice>,
    ) -> Result<NodeDeviceNumOfCapsReply> {
        let snapshot = device.handle::<Device>()?.snapshot();
        Ok(NodeDeviceNumOfCapsReply {
            num: listing::count(&snapshot.life.current().capabilities),
        })
    }

    #[inline_safe]
    fn node_device_list_caps(
        &self,
        _: &mut CallContext<'_>,
        device: Resolved<NodeDevice>,
        maxnames: i32,
    ) -> Result<NodeDeviceListCapsReply> {
        let snapshot = device.handle::<Device>()?.snapshot();
        let capabilities = snapshot.life.current().capabilities.iter();
        Ok(NodeDeviceListCapsReply {
            names: listing::at_most(
                capabilities.map(|capability| capability.xml_tag().to_owned()),
                maxnames,
            ),
        })
    }

    fn node_device_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml_desc: String,
        flags: u32,
    ) -> Result<Authorized<NodeDeviceCreateXmlReply>> {
        let validate = NodeDeviceCreateXmlFlags::VALIDATE.bits();
        check_flags("testNodeDeviceCreateXML", flags, validate)?;
        let name = "(node_device_definition)";
        check_schema(
            &xml_desc,
            name,
            ErrorDomain::NODEDEV,
            Check::asked_by(flags & validate != 0),
        )?;
        let definition = Definition::parse_new(&xml_desc, "TEST", &SystemRandomness, name)?;
        let claimed = NodeDevice {
            name: definition.name.clone(),
        };
        let permit = cx.authorize(&claimed)?;
        let (node, port) = world_wide_names(&definition)?;
        check_parent(self.world().devices(), &definition)?;
        let made = make_virtual_port(self.world(), node, port)?;
        Ok(permit.reply(NodeDeviceCreateXmlReply {
            device: attributes(&made.snapshot()).into(),
        }))
    }

    fn node_device_destroy(&self, cx: &mut CallContext<'_>, device: Resolved<NodeDevice>) -> Result<()> {
        let device = device.handle_arc::<Device>()?;
        let devices = self.world().devices();
        let job = hold(&device, cx, "virNodeDeviceDestroy")?;
        let snapshot = device.snapshot();
        world_wide_names(snapshot.life.current())?;
        let parent = snapshot.life.current().parent_name().unwrap_or_default();
        if devices.by_name(parent).is_none() {
            return Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("no device is named '{parent}'"),
            ));
        }
        note(&device, Lifecycle::DELETED);
        devices.remove(&device);
        drop(job);
        self.world().tell_of(&device)
    }

    #[inline_safe]
    fn node_device_is_active(
        &self,
        _: &mut CallContext<'_>,
        device: Resolved<NodeDevice>,
    ) -> Result<NodeDeviceIsActiveReply> {
        let active = device.handle::<Device>()?.snapshot().is_active();
        Ok(NodeDeviceIsActiveReply {
            active: active.into(),
        })
    }

    #[inline_safe]
    fn node_device_is_persistent(
        &self,
        _: &mut CallContext<'_>,
        device: Resolved<NodeDevice>,
    ) -> Result<NodeDeviceIsPersistentReply> {
        let persistent = device.handle::<Device>()?.snapshot().is_persistent();
        Ok(NodeDeviceIsPersistentReply {
            persistent: persistent.into(),
        })
    }
}
