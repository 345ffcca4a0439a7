//! A guest's agent: when there is one, and what callers learn through it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use virt_api::protocol::remote::{DomainFsInfo, DomainInterface, DomainIpAddr};
use virt_conf::domain::Domain;
use virt_conf::domain::chardev::{Channel, ChannelState, ChannelTarget, ChardevSource};
use virt_util::bitmap::Bitmap;
use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::{TypedParam, TypedValue};
use virt_util::types::params::guest_info as names;
use virt_util::types::{
    ConnectDomainEventAgentLifecycleReason, ConnectDomainEventAgentLifecycleState, DomainGuestInfoTypes,
    DomainState,
};
use virt_util::{ErrorCode, Result, VirtError};

use super::domain_events::Told;
use super::error;
use super::object::{GuestEvent, GuestObject, LiveObject as _};
use super::world::World;
use crate::agent::facts::{AgentDisk, FileSystem, GuestCpu, GuestInterface};
use crate::agent::{AgentClient, AgentObserver, AgentTimeout, Awaited, GuestAgent, PORT};
use crate::process::guest::connect_unix;

/// How long connecting to an agent's socket may take: QEMU listens on it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The highest number of a processor that an agent is believed to have.
pub const CPU_ID_MAX: usize = 4096;

/// What is known of one guest's agent.
#[derive(Debug)]
pub struct AgentSlot(Mutex<State>);

#[derive(Debug)]
struct State {
    client: Option<AgentClient>,
    /// It has said what no agent says: nobody talks to it before its port was closed.
    broken: bool,
    /// How long it may take, for now and for later ones.
    timeout: AgentTimeout,
}

impl Default for AgentSlot {
    fn default() -> Self {
        Self(Mutex::new(State {
            client: None,
            broken: false,
            timeout: AgentTimeout::BLOCK,
        }))
    }
}

impl AgentSlot {
    /// How long the agent may take.
    pub fn timeout(&self) -> AgentTimeout {
        self.0.lock().timeout
    }

    /// Sets how long the agent may take, from the next command on.
    pub fn set_timeout(&self, timeout: AgentTimeout) {
        let mut state = self.0.lock();
        state.timeout = timeout;
        if let Some(client) = &state.client {
            client.set_timeout(timeout);
        }
    }

    /// The conversation, if there is one.
    pub fn client(&self) -> Option<AgentClient> {
        self.0.lock().client.clone()
    }

    /// Something has happened that a command may wait for in place of an answer.
    pub fn notify(&self, what: Awaited) {
        if let Some(client) = self.client() {
            client.notify(what);
        }
    }

    /// The port was closed, or the guest is gone.
    pub fn close(&self) {
        let client = {
            let mut state = self.0.lock();
            state.broken = false;
            state.client.take()
        };
        if let Some(client) = client {
            client.close();
        }
    }

    fn ended(&self, client: &AgentClient, why: Option<&VirtError>) {
        let mut state = self.0.lock();
        if !state.client.as_ref().is_some_and(|known| known.is(client)) {
            return;
        }
        match why {
            Some(_) => state.broken = true,
            None => state.client = None,
        }
    }
}

struct Observer(Weak<GuestObject>);

impl AgentObserver for Observer {
    fn ended(&self, client: &AgentClient, why: Option<&VirtError>) {
        let Some(object) = self.0.upgrade() else { return };
        if let Some(why) = why {
            let snapshot = object.snapshot();
            tracing::warn!(guest = snapshot.name(), "its agent: {why:#}");
        }
        object.private().agent.ended(client, why);
    }
}

/// The channel that an agent listens on.
fn channel(domain: &Domain) -> Option<&Channel> {
    domain.devices.channels.iter().find(|channel| is_agent(channel))
}

fn is_agent(channel: &Channel) -> bool {
    matches!(&channel.target, ChannelTarget::Virtio { name: Some(name), .. } if name == PORT)
}

/// The agent of a guest that runs and has one.
///
/// # Errors
/// `OPERATION_INVALID` if the guest does not run, `AGENT_UNRESPONSIVE` if nobody listens or the agent is broken,
/// `ARGUMENT_UNSUPPORTED` if the guest has no port for one.
pub fn available(object: &GuestObject) -> Result<AgentClient> {
    let snapshot = object.snapshot();
    if snapshot.state.state.state != DomainState::RUNNING {
        return Err(error(ErrorCode::OPERATION_INVALID, "domain is not running"));
    }
    let state = object.private().agent.0.lock();
    if state.broken {
        return Err(error(
            ErrorCode::AGENT_UNRESPONSIVE,
            "QEMU guest agent is not available due to an error",
        ));
    }
    match &state.client {
        Some(client) => Ok(client.clone()),
        None if channel(&snapshot.life.current().domain).is_some() => Err(error(
            ErrorCode::AGENT_UNRESPONSIVE,
            "QEMU guest agent is not connected",
        )),
        None => Err(error(
            ErrorCode::ARGUMENT_UNSUPPORTED,
            "QEMU guest agent is not configured",
        )),
    }
}

/// Takes over which ports the guest has open, from QEMU's list of character devices, and connects to the agent.
pub(super) fn refresh_ports(world: &World, object: &Arc<GuestObject>, answer: &Value, started: bool) {
    let open = |alias: &str| {
        let label = format!("char{alias}");
        answer
            .as_array()?
            .iter()
            .find(|one| one.get("label").and_then(Value::as_str) == Some(&label))?
            .get("frontend-open")?
            .as_bool()
    };
    let snapshot = object.snapshot();
    let aliases: Vec<String> = snapshot
        .life
        .current()
        .domain
        .devices
        .channels
        .iter()
        .filter(|channel| matches!(channel.target, ChannelTarget::Virtio { .. }))
        .filter_map(|channel| channel.info.alias.as_deref().map(str::to_owned))
        .collect();
    for alias in aliases {
        if let Some(open) = open(&alias) {
            port_changed(world, object, &alias, open, started);
        }
    }
}

/// The guest has opened or closed a port.
pub(super) fn port_changed(world: &World, object: &Arc<GuestObject>, alias: &str, open: bool, started: bool) {
    let wanted = match open {
        true => ChannelState::Connected,
        false => ChannelState::Disconnected,
    };
    let mut found = None;
    object.change_live(|domain| {
        let channel = domain
            .devices
            .channels
            .iter_mut()
            .find(|channel| channel.info.alias.as_deref() == Some(alias));
        if let Some(channel) = channel {
            if let ChannelTarget::Virtio { state, .. } = &mut channel.target {
                *state = Some(wanted);
            }
            found = Some((is_agent(channel), channel.host.source.clone()));
        }
    });
    let Some((agent, source)) = found else { return };
    if !agent {
        return;
    }
    if open {
        connect(world, object, &source);
    } else {
        object.private().agent.close();
    }
    let reason = match started {
        true => ConnectDomainEventAgentLifecycleReason::DOMAIN_STARTED,
        false => ConnectDomainEventAgentLifecycleReason::CHANNEL,
    };
    let state = match open {
        true => ConnectDomainEventAgentLifecycleState::CONNECTED,
        false => ConnectDomainEventAgentLifecycleState::DISCONNECTED,
    };
    GuestEvent::told(object, Told::Agent { state, reason });
}

fn connect(world: &World, object: &Arc<GuestObject>, source: &ChardevSource) {
    let slot = &object.private().agent;
    if slot.client().is_some() {
        return;
    }
    let result = match source {
        ChardevSource::Unix(unix) => {
            let path = unix.path.clone().unwrap_or_default();
            let limit = Deadline::after(CONNECT_LIMIT);
            connect_unix("agent", path.as_ref(), limit, &Cancel::never()).and_then(|socket| {
                let observer = Observer(Arc::downgrade(object));
                AgentClient::attach(socket, &world.reactor(), slot.timeout(), observer)
            })
        }
        _ => Err(VirtError::internal(
            "the agent's port is no socket on the host's side",
        )),
    };
    let mut state = slot.0.lock();
    match result {
        Ok(client) => {
            client.set_timeout(state.timeout);
            state.client = Some(client);
        }
        Err(error) => {
            tracing::warn!("Cannot connect to QEMU guest agent: {error:#}");
            state.broken = true;
        }
    }
}

/// The guest's file systems for `virDomainGetFSInfo`.
pub fn fs_info(found: &[FileSystem], domain: &Domain) -> Vec<DomainFsInfo> {
    found
        .iter()
        .map(|one| DomainFsInfo {
            mountpoint: one.mount_point.clone(),
            name: one.name.clone(),
            fstype: one.kind.clone(),
            dev_aliases: one
                .disks
                .iter()
                .filter_map(|disk| Some(disk.find(domain)?.target.dev.clone()))
                .collect(),
        })
        .collect()
}

/// The guest's interfaces for `virDomainInterfaceAddresses`.
pub fn interface_addresses(found: Vec<GuestInterface>) -> Vec<DomainInterface> {
    found
        .into_iter()
        .map(|one| DomainInterface {
            name: one.name,
            hwaddr: one.mac,
            addrs: one
                .addresses
                .into_iter()
                .map(|address| DomainIpAddr {
                    kind: address.kind.0,
                    addr: address.address,
                    prefix: address.prefix,
                })
                .collect(),
        })
        .collect()
}

/// The guest's processors for `virDomainGetGuestVcpus`.
///
/// # Errors
/// `INTERNAL_ERROR` for a number that no processor has.
pub fn cpu_params(cpus: &[GuestCpu]) -> Result<Vec<TypedParam>> {
    let mut sets = ["vcpus", "online", "offlinable"].map(|name| (name, Bitmap::new(CPU_ID_MAX)));
    for cpu in cpus {
        let id = index(cpu.id);
        if id >= CPU_ID_MAX {
            return Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!(
                    "the guest agent tells of processor {}: {CPU_ID_MAX} is too many",
                    cpu.id
                ),
            ));
        }
        for ((_, set), member) in sets.iter_mut().zip([true, cpu.online, cpu.offlinable]) {
            if member {
                set.set(id);
            }
        }
    }
    Ok(sets
        .into_iter()
        .map(|(name, set)| TypedParam::new(name, set.to_string()))
        .collect())
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// Puts the processors of `map` on or off line.
///
/// # Errors
/// `OPERATION_UNSUPPORTED` for one that cannot go, `INVALID_ARG` for those that the guest does not have; the agent's.
pub fn set_cpus(agent: &GuestAgent<'_>, map: &Bitmap, online: bool) -> Result<()> {
    let mut cpus = agent.cpus()?;
    let mut left = map.clone();
    for cpu in cpus.iter_mut().filter(|cpu| map.contains(index(cpu.id))) {
        if !online && !cpu.offlinable {
            return Err(error(
                ErrorCode::OPERATION_UNSUPPORTED,
                format_args!("processor {} of the guest cannot go off", cpu.id),
            ));
        }
        cpu.online = online;
        cpu.modified = true;
        left.clear(index(cpu.id));
    }
    if !left.is_empty() {
        return Err(error(
            ErrorCode::INVALID_ARG,
            format_args!("the guest has no processors {left}"),
        ));
    }
    agent.set_cpus(&mut cpus)
}

/// What a guest tells of itself, for `virDomainGetGuestInfo`.
#[derive(Debug, Default)]
pub struct GuestInfo {
    /// Parameters that need nothing but the agent's word.
    params: Vec<TypedParam>,
    file_systems: Vec<FileSystem>,
    disks: Vec<AgentDisk>,
    interfaces: Vec<GuestInterface>,
    load: Option<crate::agent::facts::LoadAverage>,
}

impl GuestInfo {
    /// Asks for these groups; with none named, for all, and those that the agent does not know are left out.
    ///
    /// # Errors
    /// `INVALID_ARG` for groups that do not exist; the agent's.
    pub fn ask(agent: &GuestAgent<'_>, groups: DomainGuestInfoTypes) -> Result<Self> {
        let everything = groups.is_empty();
        let agent = agent.lenient(everything);
        let wants = |group| everything || groups.contains(group);
        let mut info = Self::default();
        if wants(DomainGuestInfoTypes::USERS)
            && let Some(users) = agent.users()?
        {
            info.params.extend(user_params(&users));
        }
        if wants(DomainGuestInfoTypes::OS)
            && let Some(facts) = agent.os_info()?
        {
            info.params.extend(
                facts
                    .into_iter()
                    .map(|(key, value)| TypedParam::new(format!("os.{key}"), value)),
            );
        }
        if wants(DomainGuestInfoTypes::TIMEZONE)
            && let Some(zone) = agent.zone()?
        {
            info.params.extend(zone_params(&zone));
        }
        if wants(DomainGuestInfoTypes::HOSTNAME)
            && let Some(name) = agent.host_name()?
        {
            info.params.push(TypedParam::new(names::HOSTNAME_HOSTNAME, name));
        }
        if wants(DomainGuestInfoTypes::FILESYSTEM) {
            info.file_systems = agent.file_systems()?.unwrap_or_default();
        }
        if wants(DomainGuestInfoTypes::DISKS) {
            info.disks = agent.disks()?.unwrap_or_default();
        }
        if wants(DomainGuestInfoTypes::INTERFACES) {
            info.interfaces = agent.interfaces()?.unwrap_or_default();
        }
        if wants(DomainGuestInfoTypes::LOAD) {
            info.load = agent.load()?;
        }
        Ok(info)
    }

    /// Everything as parameters; disks by the names that `domain` has for them.
    pub fn into_params(self, domain: &Domain) -> Vec<TypedParam> {
        let mut params = self.params;
        if !self.file_systems.is_empty() {
            file_system_params(&mut params, &self.file_systems, domain);
        }
        if !self.disks.is_empty() {
            disk_params(&mut params, &self.disks, domain);
        }
        if !self.interfaces.is_empty() {
            interface_params(&mut params, &self.interfaces);
        }
        if let Some(load) = self.load {
            params.push(TypedParam::new(names::LOAD_1M, load.one));
            params.push(TypedParam::new(names::LOAD_5M, load.five));
            params.push(TypedParam::new(names::LOAD_15M, load.fifteen));
        }
        params
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Adds a parameter whose value may be missing.
fn add(params: &mut Vec<TypedParam>, name: String, value: Option<impl Into<TypedValue>>) {
    if let Some(value) = value {
        params.push(TypedParam::new(name, value));
    }
}

/// Those logged in, as parameters.
pub fn user_params(users: &[crate::agent::facts::User]) -> Vec<TypedParam> {
    let mut params = vec![TypedParam::new(names::USER_COUNT, count(users.len()))];
    for (at, user) in users.iter().enumerate() {
        let name = |suffix: &str| format!("{}{at}{suffix}", names::USER_PREFIX);
        params.push(TypedParam::new(name(names::USER_SUFFIX_NAME), user.name.clone()));
        add(&mut params, name(names::USER_SUFFIX_DOMAIN), user.domain.clone());
        params.push(TypedParam::new(
            name(names::USER_SUFFIX_LOGIN_TIME),
            user.login_time,
        ));
    }
    params
}

/// The time zone, as parameters.
pub fn zone_params(zone: &crate::agent::facts::Zone) -> Vec<TypedParam> {
    let mut params = Vec::new();
    add(&mut params, names::TIMEZONE_NAME.to_owned(), zone.name.clone());
    params.push(TypedParam::new(names::TIMEZONE_OFFSET, zone.offset));
    params
}

fn file_system_params(params: &mut Vec<TypedParam>, found: &[FileSystem], domain: &Domain) {
    params.push(TypedParam::new(names::FS_COUNT, count(found.len())));
    for (at, one) in found.iter().enumerate() {
        let name = |suffix: &str| format!("{}{at}{suffix}", names::FS_PREFIX);
        params.push(TypedParam::new(name(names::FS_SUFFIX_NAME), one.name.clone()));
        params.push(TypedParam::new(
            name(names::FS_SUFFIX_MOUNTPOINT),
            one.mount_point.clone(),
        ));
        params.push(TypedParam::new(name(names::FS_SUFFIX_FSTYPE), one.kind.clone()));
        add(params, name(names::FS_SUFFIX_TOTAL_BYTES), one.total_bytes);
        add(params, name(names::FS_SUFFIX_USED_BYTES), one.used_bytes);
        params.push(TypedParam::new(
            name(names::FS_SUFFIX_DISK_COUNT),
            count(one.disks.len()),
        ));
        for (number, disk) in one.disks.iter().enumerate() {
            let name = |suffix: &str| name(&format!("{}{number}{suffix}", names::FS_SUFFIX_DISK_PREFIX));
            let alias = disk.find(domain).map(|disk| disk.target.dev.clone());
            add(params, name(names::FS_SUFFIX_DISK_SUFFIX_ALIAS), alias);
            add(
                params,
                name(names::FS_SUFFIX_DISK_SUFFIX_SERIAL),
                disk.serial.clone(),
            );
            add(
                params,
                name(names::FS_SUFFIX_DISK_SUFFIX_DEVICE),
                disk.device.clone(),
            );
        }
    }
}

fn disk_params(params: &mut Vec<TypedParam>, found: &[AgentDisk], domain: &Domain) {
    params.push(TypedParam::new(names::DISK_COUNT, count(found.len())));
    for (at, one) in found.iter().enumerate() {
        let name = |suffix: &str| format!("{}{at}{suffix}", names::DISK_PREFIX);
        params.push(TypedParam::new(name(names::DISK_SUFFIX_NAME), one.name.clone()));
        params.push(TypedParam::new(name(names::DISK_SUFFIX_PARTITION), one.partition));
        if !one.dependencies.is_empty() {
            params.push(TypedParam::new(
                name(names::DISK_SUFFIX_DEPENDENCY_COUNT),
                count(one.dependencies.len()),
            ));
        }
        for (number, dependency) in one.dependencies.iter().enumerate() {
            let suffix = format!(
                "{}{number}{}",
                names::DISK_SUFFIX_DEPENDENCY_PREFIX,
                names::DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME
            );
            params.push(TypedParam::new(name(&suffix), dependency.clone()));
        }
        if let Some(address) = &one.address {
            add(params, name(names::DISK_SUFFIX_SERIAL), address.serial.clone());
            let alias = address.find(domain).map(|disk| disk.target.dev.clone());
            add(params, name(names::DISK_SUFFIX_ALIAS), alias);
            add(
                params,
                name(names::DISK_SUFFIX_GUEST_BUS),
                address.bus_type.clone(),
            );
        }
        add(params, name(names::DISK_SUFFIX_GUEST_ALIAS), one.alias.clone());
    }
}

fn interface_params(params: &mut Vec<TypedParam>, found: &[GuestInterface]) {
    use virt_util::types::IpAddrType;
    params.push(TypedParam::new(names::IF_COUNT, count(found.len())));
    for (at, one) in found.iter().enumerate() {
        let name = |suffix: &str| format!("{}{at}{suffix}", names::IF_PREFIX);
        params.push(TypedParam::new(name(names::IF_SUFFIX_NAME), one.name.clone()));
        add(params, name(names::IF_SUFFIX_HWADDR), one.mac.clone());
        params.push(TypedParam::new(
            name(names::IF_SUFFIX_ADDR_COUNT),
            count(one.addresses.len()),
        ));
        for (number, address) in one.addresses.iter().enumerate() {
            let name = |suffix: &str| name(&format!("{}{number}{suffix}", names::IF_SUFFIX_ADDR_PREFIX));
            let kind = match address.kind {
                IpAddrType::IPV6 => "ipv6",
                _ => "ipv4",
            };
            params.push(TypedParam::new(name(names::IF_SUFFIX_ADDR_SUFFIX_TYPE), kind));
            params.push(TypedParam::new(
                name(names::IF_SUFFIX_ADDR_SUFFIX_ADDR),
                address.address.clone(),
            ));
            params.push(TypedParam::new(
                name(names::IF_SUFFIX_ADDR_SUFFIX_PREFIX),
                address.prefix,
            ));
        }
    }
}
