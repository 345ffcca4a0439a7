//! What QEMU reports, as clients know it: the events of libvirt beyond a guest's life, and what they change of its live
//! definition.

use serde_json::Value;
use virt_api::protocol::remote::{
    DomainEventBalloonChangeMessage, DomainEventBlockThresholdMessage,
    DomainEventCallbackAgentLifecycleMessage, DomainEventCallbackBalloonChangeMessage,
    DomainEventCallbackDeviceRemovalFailedMessage, DomainEventCallbackDeviceRemovedMessage,
    DomainEventCallbackGraphicsMessage, DomainEventCallbackIoErrorMessage,
    DomainEventCallbackIoErrorReasonMessage, DomainEventCallbackPmsuspendDiskMessage,
    DomainEventCallbackPmsuspendMessage, DomainEventCallbackPmwakeupMessage,
    DomainEventCallbackRtcChangeMessage, DomainEventCallbackTrayChangeMessage,
    DomainEventCallbackWatchdogMessage, DomainEventDeviceRemovedMessage, DomainEventGraphicsAddress,
    DomainEventGraphicsIdentity, DomainEventGraphicsMessage, DomainEventIoErrorMessage,
    DomainEventIoErrorReasonMessage, DomainEventMemoryDeviceSizeChangeMessage,
    DomainEventMemoryFailureMessage, DomainEventPmsuspendDiskMessage, DomainEventPmsuspendMessage,
    DomainEventPmwakeupMessage, DomainEventRtcChangeMessage, DomainEventTrayChangeMessage,
    DomainEventWatchdogMessage, DomainRef,
};
use virt_api::protocol::table::EventMessage;
use virt_conf::domain::Domain;
use virt_conf::domain::clock::ClockBase;
use virt_conf::domain::disk::{Disk, DiskTray};
use virt_conf::domain::memory::MemoryModel;
use virt_conf::domain::storage::{BackingStore, StorageLocation, StorageSource};
use virt_util::Result;
use virt_util::types::{
    ConnectDomainEventAgentLifecycleReason, ConnectDomainEventAgentLifecycleState, DomainEventGraphicsPhase,
    DomainEventId, DomainEventIoErrorAction, DomainEventTrayChangeReason, DomainEventWatchdogAction,
    DomainMemoryFailureFlags,
};

use crate::monitor::Event;

/// One side of a connection to a display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    family: i32,
    node: String,
    service: String,
}

/// Something that clients are told of a guest.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are libvirt's")]
pub enum Told {
    /// The guest has set its clock: seconds from UTC.
    RtcChange(i64),
    /// The guest's watchdog has run out.
    Watchdog(DomainEventWatchdogAction),
    /// A disk could not be read or written.
    IoError {
        path: String,
        alias: String,
        action: DomainEventIoErrorAction,
    },
    /// The same, and why.
    IoErrorReason {
        path: String,
        alias: String,
        action: DomainEventIoErrorAction,
        reason: &'static str,
    },
    /// Somebody looks at a display, or does not any more.
    Graphics {
        phase: DomainEventGraphicsPhase,
        local: Party,
        remote: Party,
        scheme: String,
        subject: Vec<(&'static str, String)>,
    },
    /// A tray has moved.
    TrayChange {
        alias: String,
        reason: DomainEventTrayChangeReason,
    },
    /// The guest woke up.
    PmWakeup,
    /// The guest sleeps in memory.
    PmSuspend,
    /// The guest sleeps on disk.
    PmSuspendDisk,
    /// The guest has this many KiB of memory now.
    BalloonChange(u64),
    /// A device is gone.
    DeviceRemoved(String),
    /// A device did not go.
    DeviceRemovalFailed(String),
    /// An image has grown beyond a limit.
    BlockThreshold {
        device: String,
        path: Option<String>,
        threshold: u64,
        excess: u64,
    },
    /// The host's memory is broken.
    MemoryFailure {
        recipient: i32,
        action: i32,
        flags: DomainMemoryFailureFlags,
    },
    /// A memory device has another size, in bytes.
    MemoryDeviceSize { alias: String, size: u64 },
    /// The guest agent came or went.
    Agent {
        state: ConnectDomainEventAgentLifecycleState,
        reason: ConnectDomainEventAgentLifecycleReason,
    },
}

impl Told {
    /// libvirt's number of the event.
    pub fn id(&self) -> DomainEventId {
        match self {
            Self::RtcChange(_) => DomainEventId::RTC_CHANGE,
            Self::Watchdog(_) => DomainEventId::WATCHDOG,
            Self::IoError { .. } => DomainEventId::IO_ERROR,
            Self::IoErrorReason { .. } => DomainEventId::IO_ERROR_REASON,
            Self::Graphics { .. } => DomainEventId::GRAPHICS,
            Self::TrayChange { .. } => DomainEventId::TRAY_CHANGE,
            Self::PmWakeup => DomainEventId::PMWAKEUP,
            Self::PmSuspend => DomainEventId::PMSUSPEND,
            Self::PmSuspendDisk => DomainEventId::PMSUSPEND_DISK,
            Self::BalloonChange(_) => DomainEventId::BALLOON_CHANGE,
            Self::DeviceRemoved(_) => DomainEventId::DEVICE_REMOVED,
            Self::DeviceRemovalFailed(_) => DomainEventId::DEVICE_REMOVAL_FAILED,
            Self::BlockThreshold { .. } => DomainEventId::BLOCK_THRESHOLD,
            Self::MemoryFailure { .. } => DomainEventId::MEMORY_FAILURE,
            Self::MemoryDeviceSize { .. } => DomainEventId::MEMORY_DEVICE_SIZE_CHANGE,
            Self::Agent { .. } => DomainEventId::AGENT_LIFECYCLE,
        }
    }

    /// The message that carries it.
    pub fn procedure(&self) -> u32 {
        match self {
            Self::RtcChange(_) => DomainEventCallbackRtcChangeMessage::PROCEDURE,
            Self::Watchdog(_) => DomainEventCallbackWatchdogMessage::PROCEDURE,
            Self::IoError { .. } => DomainEventCallbackIoErrorMessage::PROCEDURE,
            Self::IoErrorReason { .. } => DomainEventCallbackIoErrorReasonMessage::PROCEDURE,
            Self::Graphics { .. } => DomainEventCallbackGraphicsMessage::PROCEDURE,
            Self::TrayChange { .. } => DomainEventCallbackTrayChangeMessage::PROCEDURE,
            Self::PmWakeup => DomainEventCallbackPmwakeupMessage::PROCEDURE,
            Self::PmSuspend => DomainEventCallbackPmsuspendMessage::PROCEDURE,
            Self::PmSuspendDisk => DomainEventCallbackPmsuspendDiskMessage::PROCEDURE,
            Self::BalloonChange(_) => DomainEventCallbackBalloonChangeMessage::PROCEDURE,
            Self::DeviceRemoved(_) => DomainEventCallbackDeviceRemovedMessage::PROCEDURE,
            Self::DeviceRemovalFailed(_) => DomainEventCallbackDeviceRemovalFailedMessage::PROCEDURE,
            Self::BlockThreshold { .. } => DomainEventBlockThresholdMessage::PROCEDURE,
            Self::MemoryFailure { .. } => DomainEventMemoryFailureMessage::PROCEDURE,
            Self::MemoryDeviceSize { .. } => DomainEventMemoryDeviceSizeChangeMessage::PROCEDURE,
            Self::Agent { .. } => DomainEventCallbackAgentLifecycleMessage::PROCEDURE,
        }
    }

    /// The message, without the callback's id.
    ///
    /// # Errors
    /// `RPC` for texts that do not fit in a message.
    pub fn encode(&self, domain: DomainRef) -> Result<Vec<u8>> {
        let callback_id = 0;
        match self.clone() {
            Self::RtcChange(offset) => DomainEventCallbackRtcChangeMessage {
                callback_id,
                msg: DomainEventRtcChangeMessage { domain, offset },
            }
            .behind_callback_id(),
            Self::Watchdog(action) => DomainEventCallbackWatchdogMessage {
                callback_id,
                msg: DomainEventWatchdogMessage {
                    domain,
                    action: action.0,
                },
            }
            .behind_callback_id(),
            Self::IoError { path, alias, action } => DomainEventCallbackIoErrorMessage {
                callback_id,
                msg: DomainEventIoErrorMessage {
                    domain,
                    src_path: path,
                    dev_alias: alias,
                    action: action.0,
                },
            }
            .behind_callback_id(),
            Self::IoErrorReason {
                path,
                alias,
                action,
                reason,
            } => DomainEventCallbackIoErrorReasonMessage {
                callback_id,
                msg: DomainEventIoErrorReasonMessage {
                    domain,
                    src_path: path,
                    dev_alias: alias,
                    action: action.0,
                    reason: reason.to_owned(),
                },
            }
            .behind_callback_id(),
            Self::Graphics {
                phase,
                local,
                remote,
                scheme,
                subject,
            } => DomainEventCallbackGraphicsMessage {
                callback_id,
                msg: DomainEventGraphicsMessage {
                    domain,
                    phase: phase.0,
                    local: local.into(),
                    remote: remote.into(),
                    auth_scheme: scheme,
                    subject: subject
                        .into_iter()
                        .map(|(kind, name)| DomainEventGraphicsIdentity {
                            kind: kind.to_owned(),
                            name,
                        })
                        .collect(),
                },
            }
            .behind_callback_id(),
            Self::TrayChange { alias, reason } => DomainEventCallbackTrayChangeMessage {
                callback_id,
                msg: DomainEventTrayChangeMessage {
                    domain,
                    dev_alias: alias,
                    reason: reason.0,
                },
            }
            .behind_callback_id(),
            Self::PmWakeup => DomainEventCallbackPmwakeupMessage {
                callback_id,
                reason: 0,
                msg: DomainEventPmwakeupMessage { domain },
            }
            .behind_callback_id(),
            Self::PmSuspend => DomainEventCallbackPmsuspendMessage {
                callback_id,
                reason: 0,
                msg: DomainEventPmsuspendMessage { domain },
            }
            .behind_callback_id(),
            Self::PmSuspendDisk => DomainEventCallbackPmsuspendDiskMessage {
                callback_id,
                reason: 0,
                msg: DomainEventPmsuspendDiskMessage { domain },
            }
            .behind_callback_id(),
            Self::BalloonChange(actual) => DomainEventCallbackBalloonChangeMessage {
                callback_id,
                msg: DomainEventBalloonChangeMessage { domain, actual },
            }
            .behind_callback_id(),
            Self::DeviceRemoved(dev_alias) => DomainEventCallbackDeviceRemovedMessage {
                callback_id,
                msg: DomainEventDeviceRemovedMessage { domain, dev_alias },
            }
            .behind_callback_id(),
            Self::DeviceRemovalFailed(dev_alias) => DomainEventCallbackDeviceRemovalFailedMessage {
                callback_id,
                domain,
                dev_alias,
            }
            .behind_callback_id(),
            Self::BlockThreshold {
                device,
                path,
                threshold,
                excess,
            } => DomainEventBlockThresholdMessage {
                callback_id,
                domain,
                dev: device,
                path,
                threshold,
                excess,
            }
            .behind_callback_id(),
            Self::MemoryFailure {
                recipient,
                action,
                flags,
            } => DomainEventMemoryFailureMessage {
                callback_id,
                domain,
                recipient,
                action,
                flags: flags.bits(),
            }
            .behind_callback_id(),
            Self::MemoryDeviceSize { alias, size } => DomainEventMemoryDeviceSizeChangeMessage {
                callback_id,
                domain,
                alias,
                size,
            }
            .behind_callback_id(),
            Self::Agent { state, reason } => DomainEventCallbackAgentLifecycleMessage {
                callback_id,
                domain,
                state: state.0,
                reason: reason.0,
            }
            .behind_callback_id(),
        }
    }
}

impl From<Party> for DomainEventGraphicsAddress {
    fn from(party: Party) -> Self {
        Self {
            family: party.family,
            node: party.node,
            service: party.service,
        }
    }
}

/// What an event of QEMU's means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meaning {
    /// What clients are told, in this order.
    pub told: Vec<Told>,
    /// `domain` was changed: it is to be published and saved.
    pub changed: bool,
}

impl Meaning {
    fn tell(told: Told) -> Self {
        Self {
            told: vec![told],
            changed: false,
        }
    }

    fn changed(told: Told) -> Self {
        Self {
            told: vec![told],
            changed: true,
        }
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, key: &str) -> Option<u64> {
    object.get(key).and_then(Value::as_u64)
}

/// What `event` means for the running guest `domain`, whose definition it may change. Nothing for events without a
/// meaning to clients, and for those that are no such events.
pub fn read(event: &Event, domain: &mut Domain) -> Meaning {
    meaning(event, domain).unwrap_or_default()
}

fn meaning(event: &Event, domain: &mut Domain) -> Option<Meaning> {
    let data = &event.data;
    Some(match event.name.as_str() {
        "RTC_CHANGE" => rtc_change(data.get("offset")?.as_i64()?, domain),
        "WATCHDOG" => Meaning::tell(Told::Watchdog(match text(data, "action") {
            "none" => DomainEventWatchdogAction::NONE,
            "pause" => DomainEventWatchdogAction::PAUSE,
            "reset" => DomainEventWatchdogAction::RESET,
            "poweroff" => DomainEventWatchdogAction::POWEROFF,
            "shutdown" => DomainEventWatchdogAction::SHUTDOWN,
            "debug" => DomainEventWatchdogAction::DEBUG,
            "inject-nmi" => DomainEventWatchdogAction::INJECTNMI,
            _ => return None,
        })),
        "BLOCK_IO_ERROR" => io_error(data, domain)?,
        "VNC_CONNECTED" | "SPICE_CONNECTED" => display(data, DomainEventGraphicsPhase::CONNECT),
        "VNC_INITIALIZED" | "SPICE_INITIALIZED" => display(data, DomainEventGraphicsPhase::INITIALIZE),
        "VNC_DISCONNECTED" | "SPICE_DISCONNECTED" => display(data, DomainEventGraphicsPhase::DISCONNECT),
        "DEVICE_TRAY_MOVED" => tray(data, domain)?,
        "WAKEUP" => Meaning::tell(Told::PmWakeup),
        "SUSPEND" => Meaning::tell(Told::PmSuspend),
        "SUSPEND_DISK" => Meaning::tell(Told::PmSuspendDisk),
        "BALLOON_CHANGE" => {
            let actual = number(data, "actual")?.div_ceil(1024);
            domain.current_memory = actual.saturating_add(virtio_mem(domain));
            Meaning::changed(Told::BalloonChange(actual))
        }
        "DEVICE_DELETED" => {
            let alias = text(data, "device");
            if alias.is_empty() || !remove_device(domain, alias) {
                return None;
            }
            Meaning::changed(Told::DeviceRemoved(alias.to_owned()))
        }
        "DEVICE_UNPLUG_GUEST_ERROR" => {
            let alias = text(data, "device");
            if alias.is_empty() {
                return None;
            }
            Meaning::tell(Told::DeviceRemovalFailed(alias.to_owned()))
        }
        "BLOCK_WRITE_THRESHOLD" => threshold(data, domain)?,
        "MEMORY_FAILURE" => memory_failure(data)?,
        "MEMORY_DEVICE_SIZE_CHANGE" => {
            let (alias, size) = (text(data, "id"), number(data, "size")?);
            let before = virtio_mem(domain);
            domain
                .devices
                .memory
                .iter_mut()
                .find(|memory| memory.info.alias.as_deref() == Some(alias))?
                .target
                .current = Some(size.div_ceil(1024));
            let balloon = domain.current_memory.saturating_sub(before);
            domain.current_memory = balloon.saturating_add(virtio_mem(domain));
            Meaning::changed(Told::MemoryDeviceSize {
                alias: alias.to_owned(),
                size,
            })
        }
        _ => return None,
    })
}

fn rtc_change(offset: i64, domain: &mut Domain) -> Meaning {
    // QEMU counts from the time it was started with.
    if let ClockBase::Variable {
        adjustment,
        adjustment0,
        ..
    } = &mut domain.clock.base
    {
        *adjustment = offset.saturating_add(*adjustment0);
        return Meaning::changed(Told::RtcChange(*adjustment));
    }
    Meaning::tell(Told::RtcChange(offset))
}

/// KiB that virtio-mem devices give the guest.
fn virtio_mem(domain: &Domain) -> u64 {
    domain
        .devices
        .memory
        .iter()
        .filter(|memory| memory.model == MemoryModel::VirtioMem)
        .filter_map(|memory| memory.target.current)
        .fold(0, u64::saturating_add)
}

fn io_error(data: &Value, domain: &Domain) -> Option<Meaning> {
    let action = match text(data, "action") {
        "ignore" => DomainEventIoErrorAction::NONE,
        "stop" => DomainEventIoErrorAction::PAUSE,
        "report" => DomainEventIoErrorAction::REPORT,
        _ => return None,
    };
    let node = text(data, "node-name");
    let (disk, source) = match find_node(domain, node) {
        Some((disk, source, _)) => (Some(disk), Some(source)),
        None => {
            let disk = find_disk(domain, text(data, "device"), text(data, "qom-path"));
            (disk, disk.map(|disk| &disk.source))
        }
    };
    let alias = disk
        .and_then(|disk| disk.info.alias.as_deref())
        .unwrap_or_default()
        .to_owned();
    let path = source.and_then(local_path).map(str::to_owned).unwrap_or_default();
    let reason = match data.get("nospace").and_then(Value::as_bool) {
        Some(true) => "enospc",
        _ if data.get("reason").is_some_and(Value::is_string) => "message",
        _ => "",
    };
    Some(Meaning {
        told: vec![
            Told::IoError {
                path: path.clone(),
                alias: alias.clone(),
                action,
            },
            Told::IoErrorReason {
                path,
                alias,
                action,
                reason,
            },
        ],
        changed: false,
    })
}

fn display(data: &Value, phase: DomainEventGraphicsPhase) -> Meaning {
    let nobody = Value::Null;
    let server = data.get("server").unwrap_or(&nobody);
    let client = data.get("client").unwrap_or(&nobody);
    let party = |side: &Value| Party {
        family: match text(side, "family") {
            "ipv6" => 1,
            "unix" => 2,
            _ => 0,
        },
        node: text(side, "host").to_owned(),
        // VNC says "service", SPICE "port".
        service: match text(side, "service") {
            "" => text(side, "port").to_owned(),
            service => service.to_owned(),
        },
    };
    let identity = |key: &str, kind: &'static str| {
        let name = text(client, key);
        (!name.is_empty()).then(|| (kind, name.to_owned()))
    };
    let subject = [
        identity("x509_dname", "x509dname"),
        identity("sasl_username", "saslUsername"),
    ];
    Meaning::tell(Told::Graphics {
        phase,
        local: party(server),
        remote: party(client),
        scheme: text(server, "auth").to_owned(),
        subject: subject.into_iter().flatten().collect(),
    })
}

fn tray(data: &Value, domain: &mut Domain) -> Option<Meaning> {
    let open = data.get("tray-open")?.as_bool()?;
    let alias = find_disk(domain, text(data, "device"), text(data, "id"))?
        .info
        .alias
        .as_deref()?
        .to_owned();
    let disk = domain
        .devices
        .disks
        .iter_mut()
        .find(|disk| disk.info.alias.as_ref() == Some(&alias))?;
    let (tray, reason) = match open {
        true => (DiskTray::Open, DomainEventTrayChangeReason::OPEN),
        false => (DiskTray::Closed, DomainEventTrayChangeReason::CLOSE),
    };
    disk.target.tray = tray;
    Some(Meaning::changed(Told::TrayChange { alias, reason }))
}

fn threshold(data: &Value, domain: &Domain) -> Option<Meaning> {
    let (disk, source, index) = find_node(domain, text(data, "node-name"))?;
    let (threshold, excess) = (number(data, "write-threshold")?, number(data, "amount-exceeded")?);
    let path = local_path(source).map(str::to_owned);
    let name = &disk.target.dev;
    let told = |device: String| Told::BlockThreshold {
        device,
        path: path.clone(),
        threshold,
        excess,
    };
    let mut all = Vec::new();
    if std::ptr::eq(source, &disk.source) {
        all.push(told(name.clone()));
    }
    all.push(told(format!("{name}[{index}]")));
    Some(Meaning {
        told: all,
        changed: false,
    })
}

fn memory_failure(data: &Value) -> Option<Meaning> {
    let position = |words: &[&str], key: &str| {
        let place = words.iter().position(|word| *word == text(data, key))?;
        i32::try_from(place).ok()
    };
    let flag = |key: &str| {
        let flag = data.get("flags").and_then(|flags| flags.get(key));
        flag.and_then(Value::as_bool).unwrap_or(false)
    };
    let mut flags = DomainMemoryFailureFlags::empty();
    if flag("action-required") {
        flags |= DomainMemoryFailureFlags::ACTION_REQUIRED;
    }
    if flag("recursive") {
        flags |= DomainMemoryFailureFlags::RECURSIVE;
    }
    Some(Meaning::tell(Told::MemoryFailure {
        recipient: position(&["hypervisor", "guest"], "recipient")?,
        action: position(&["ignore", "inject", "fatal", "reset"], "action")?,
        flags,
    }))
}

/// The disk with an alias, as QEMU has always said it or as part of the path in its object tree.
fn find_disk<'a>(domain: &'a Domain, device: &str, path: &str) -> Option<&'a Disk> {
    let device = device.strip_prefix("drive-").unwrap_or(device);
    domain.devices.disks.iter().find(|disk| {
        disk.info
            .alias
            .as_deref()
            .is_some_and(|alias| alias == device || path.split('/').any(|part| part == alias))
    })
}

/// Whose image a block node is: the disk, the image, its number.
fn find_node<'a>(domain: &'a Domain, node: &str) -> Option<(&'a Disk, &'a StorageSource, u32)> {
    let (number, _) = node.strip_prefix("libvirt-")?.split_once('-')?;
    let number: u32 = number.parse().ok()?;
    domain.devices.disks.iter().find_map(|disk| {
        if disk.source.index == Some(number) {
            return Some((disk, &disk.source, number));
        }
        let mut below = disk.backing.as_ref();
        while let Some(BackingStore::Image(image)) = below {
            if image.index == Some(number) {
                return Some((disk, &image.source, number));
            }
            below = image.backing.as_ref();
        }
        None
    })
}

fn local_path(source: &StorageSource) -> Option<&str> {
    match &source.location {
        StorageLocation::File { path, .. }
        | StorageLocation::Block { path }
        | StorageLocation::Dir { path } => path.as_deref(),
        _ => None,
    }
}

/// Takes the device with an alias out of a definition; says whether it was there.
fn remove_device(domain: &mut Domain, alias: &str) -> bool {
    let devices = &mut domain.devices;
    let mut found = false;
    macro_rules! take_from {
        ($($list:ident),+) => {
            $(devices.$list.retain(|one| {
                let is_it = one.info.alias.as_deref() == Some(alias);
                found |= is_it;
                !is_it
            });)+
        };
    }
    take_from!(
        disks,
        controllers,
        filesystems,
        interfaces,
        smartcards,
        serials,
        parallels,
        channels,
        inputs,
        tpms,
        sounds,
        hostdevs,
        redirdevs,
        hubs,
        watchdogs,
        rngs,
        memory
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use virt_util::xml::XmlFlags;

    const XML: &str = "<domain type='qemu' id='1'><name>a</name><memory>1048576</memory><os><type>hvm</type></os>
        <clock offset='variable' adjustment='100' basis='utc' adjustment0='100'/>
        <devices><disk type='file' device='disk'><source file='/a.img' index='2'/><target dev='vda' bus='virtio'/>
        <alias name='virtio-disk0'/></disk>
        <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><alias name='sata0-0-0'/></disk>
        </devices></domain>";

    fn guest() -> Domain {
        Domain::parse(XML, XmlFlags::STATUS | XmlFlags::CLOCK_ADJUST, "test").unwrap()
    }

    fn told(domain: &mut Domain, name: &str, data: Value) -> Vec<Told> {
        let event = Event {
            name: name.to_owned(),
            data,
            timestamp: None,
        };
        read(&event, domain).told
    }

    #[test]
    fn a_clock_that_was_set_counts_from_the_start() {
        let mut domain = guest();
        assert_eq!(
            told(&mut domain, "RTC_CHANGE", json!({"offset": 10})),
            [Told::RtcChange(110)]
        );
        assert_eq!(
            told(&mut domain, "RTC_CHANGE", json!({"offset": 20})),
            [Told::RtcChange(120)]
        );
    }

    #[test]
    fn errors_name_the_disk_by_whatever_qemu_says() {
        let mut domain = guest();
        for data in [
            json!({"device": "", "node-name": "libvirt-2-format", "action": "stop", "nospace": true}),
            json!({"device": "drive-virtio-disk0", "action": "stop", "nospace": true, "reason": "x"}),
            json!({"qom-path": "/machine/peripheral/virtio-disk0/virtio-backend", "action": "stop", "nospace": true}),
        ] {
            let all = told(&mut domain, "BLOCK_IO_ERROR", data);
            assert_eq!(
                all[1],
                Told::IoErrorReason {
                    path: "/a.img".to_owned(),
                    alias: "virtio-disk0".to_owned(),
                    action: DomainEventIoErrorAction::PAUSE,
                    reason: "enospc",
                }
            );
        }
    }

    #[test]
    fn trays_and_balloons_change_the_definition() {
        let mut domain = guest();
        let moved = json!({"device": "", "id": "sata0-0-0", "tray-open": true});
        assert_eq!(
            told(&mut domain, "DEVICE_TRAY_MOVED", moved),
            [Told::TrayChange {
                alias: "sata0-0-0".to_owned(),
                reason: DomainEventTrayChangeReason::OPEN
            }]
        );
        assert_eq!(domain.devices.disks[1].target.tray, DiskTray::Open);
        let data = json!({"actual": 536_870_912});
        assert_eq!(
            told(&mut domain, "BALLOON_CHANGE", data),
            [Told::BalloonChange(524_288)]
        );
        assert_eq!(domain.current_memory, 524_288);
        assert_eq!(
            told(
                &mut domain,
                "DEVICE_DELETED",
                json!({"device": "sata0-0-0", "path": "/x"})
            ),
            [Told::DeviceRemoved("sata0-0-0".to_owned())]
        );
        assert_eq!(domain.devices.disks.len(), 1);
        assert_eq!(told(&mut domain, "DEVICE_DELETED", json!({"path": "/x"})), []);
    }

    #[test]
    fn what_is_no_event_means_nothing() {
        let mut domain = guest();
        for name in [
            "RTC_CHANGE",
            "WATCHDOG",
            "BLOCK_IO_ERROR",
            "DEVICE_TRAY_MOVED",
            "BALLOON_CHANGE",
            "BLOCK_WRITE_THRESHOLD",
            "MEMORY_FAILURE",
            "MEMORY_DEVICE_SIZE_CHANGE",
            "NEVER_HEARD_OF",
        ] {
            for data in [Value::Null, json!([]), json!({"action": 1, "offset": "x"})] {
                assert_eq!(told(&mut domain, name, data), [], "{name}");
            }
        }
    }
}
