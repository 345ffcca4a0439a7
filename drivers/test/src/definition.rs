//! A domain as the simulator uses it: the model, complete.

use virt_conf::domain::Domain;
use virt_conf::domain::fragment::Device;
use virt_conf::domain::interface::InterfaceTarget;
use virt_conf::domain::normalize::{
    DeviceRef, DomainFeatures, DomainHooks, NormalizeContext, NormalizeFlags, SystemRandomness, normalize,
};
use virt_conf::domain::os::OsType;
use virt_conf::domain::schema::check_schema;
use virt_conf::domain::small::MemballoonModel;
use virt_conf::domain::validate::validate;
use virt_conf::domain::video::VideoModelType;
use virt_conf::registry::Definition;
use virt_conf::schema::Check;
use virt_util::types::DomainState;
use virt_util::uuid::Uuid;
use virt_util::xml::{Doc, DocOptions, Element, XmlFlags};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::error;

/// The namespace of what a file says about the state of its guests.
pub const NAMESPACE: &str = "http://libvirt.org/schemas/domain/test/1.0";

/// What the names of interfaces begin with that users gave none.
const INTERFACE_PREFIX: &str = "testnet";

/// A guest's definition.
#[derive(Clone, Debug)]
pub struct GuestDefinition {
    /// The document, complete.
    pub domain: Domain,
    uuid: Uuid,
}

impl Definition for GuestDefinition {
    fn name(&self) -> &str {
        &self.domain.name
    }

    fn uuid(&self) -> Option<Uuid> {
        Some(self.uuid)
    }
}

impl GuestDefinition {
    /// From a document that a client sent.
    pub fn parse(xml: &str, check: Check) -> Result<Self> {
        let options = DocOptions::named("(domain_definition)").in_domain(ErrorDomain::DOMAIN);
        let doc = Doc::parse_with(xml, &options)?;
        if check == Check::Strict {
            check_schema(&doc)?;
        }
        Self::read(doc.root())
    }

    /// From a `<domain>` element.
    pub fn read(element: Element<'_>) -> Result<Self> {
        // What is said to one hypervisor past the model means nothing to this one.
        let flags = XmlFlags::INACTIVE | XmlFlags::NO_NAMESPACES;
        Self::complete(Domain::from_element(element, flags)?)
    }

    /// With what the user has left to the driver filled in.
    pub fn complete(mut domain: Domain) -> Result<Self> {
        let context = NormalizeContext {
            flags: NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        normalize(&mut domain, &Hooks, &context)?;
        validate(&domain, &Hooks)?;
        domain.check_name()?;
        let uuid = domain.uuid()?;
        name_interfaces(&mut domain)?;
        Ok(Self { domain, uuid })
    }

    /// A device that a client sent, with what it would have in this guest.
    pub fn device(&self, xml: &str, read: XmlFlags, flags: NormalizeFlags) -> Result<Device> {
        let context = NormalizeContext {
            flags,
            random: &SystemRandomness,
        };
        Device::parse(xml, read, Check::Usual)?.complete(&self.domain, &Hooks, &context)
    }

    /// Completes what was changed.
    pub fn settle(&mut self, flags: NormalizeFlags) -> Result<()> {
        let context = NormalizeContext {
            flags,
            random: &SystemRandomness,
        };
        normalize(&mut self.domain, &Hooks, &context)
    }

    /// The definition of the guest while it runs under this number.
    #[must_use]
    pub fn running(&self, id: i32) -> Self {
        let mut running = self.clone();
        running.domain.id = u32::try_from(id).ok();
        running
    }

    /// The memory the guest may have at most, in KiB.
    pub fn max_memory(&self) -> u64 {
        self.domain.memory.size
    }

    /// The memory the guest has, in KiB.
    pub fn memory(&self) -> u64 {
        self.domain.current_memory
    }

    /// Whether the guest has a balloon that could tell of its memory.
    pub fn has_balloon(&self) -> bool {
        let balloon = self.domain.devices.memballoon.as_ref();
        balloon.is_some_and(|balloon| balloon.model != MemballoonModel::None)
    }

    /// The processors the guest may have at most.
    pub fn max_vcpus(&self) -> u32 {
        self.domain.vcpus.max
    }

    /// The processors the guest has.
    pub fn vcpus(&self) -> u32 {
        self.domain.vcpus.current.unwrap_or(self.domain.vcpus.max)
    }
}

/// What the simulated hypervisor says about definitions.
struct Hooks;

impl DomainHooks for Hooks {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::MEMORY_HOTPLUG
            | DomainFeatures::OFFLINE_VCPUPIN
            | DomainFeatures::INDIVIDUAL_VCPUS
            | DomainFeatures::USER_ALIAS
            | DomainFeatures::FW_AUTOSELECT
            | DomainFeatures::NET_MODEL_STRING
    }

    fn default_arch(&self) -> Option<String> {
        Some("i686".to_owned())
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _: &NormalizeContext<'_>) -> Result<()> {
        let os = &domain.os.kind;
        let default = match (os.os, os.arch.as_deref()) {
            (OsType::Xen | OsType::Linux, _) => VideoModelType::Xen,
            (_, Some("ppc64" | "ppc64le")) => VideoModelType::Vga,
            _ => VideoModelType::Cirrus,
        };
        if let DeviceRef::Video(at) = device
            && let Some(video) = domain.devices.videos.get_mut(at)
            && video.model.kind == VideoModelType::Default
        {
            video.model.kind = default;
        }
        Ok(())
    }
}

/// Gives each interface without a name the first that is free.
fn name_interfaces(domain: &mut Domain) -> Result<()> {
    const MAX: usize = 1024;
    let name_of = |target: &Option<InterfaceTarget>| target.as_ref().and_then(|target| target.dev.clone());
    let mut taken: Vec<String> = domain
        .devices
        .interfaces
        .iter()
        .filter_map(|interface| name_of(&interface.target))
        .collect();
    for interface in &mut domain.devices.interfaces {
        if name_of(&interface.target).is_some() {
            continue;
        }
        let free = (0..MAX)
            .map(|number| format!("{INTERFACE_PREFIX}{number}"))
            .find(|name| !taken.contains(name));
        let Some(name) = free else {
            return Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("all {MAX} names for interfaces of guests are taken"),
            ));
        };
        taken.push(name.clone());
        interface.target.get_or_insert_default().dev = Some(name);
    }
    Ok(())
}

/// What a host file says about a guest beside its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialState {
    /// What the guest is doing.
    pub state: DomainState,
    /// It vanishes when it stops.
    pub transient: bool,
    /// Its memory was saved.
    pub managed_save: bool,
}

impl InitialState {
    /// From the elements of [`NAMESPACE`] inside a `<domain>`. A guest runs unless they say otherwise.
    pub fn read(domain: Element<'_>) -> Result<Self> {
        let present = |name: &str| domain.child_in(NAMESPACE, name).is_some();
        let wrong = |what: String| Err(error(ErrorCode::XML_ERROR, what));
        let mut state = DomainState::RUNNING;
        if let Some(element) = domain.child_in(NAMESPACE, "runstate") {
            let text = element.text();
            let Ok(number) = text.trim().parse() else {
                return wrong(format!("invalid runstate '{text}'"));
            };
            state = DomainState(number);
            if state.name().is_none() {
                return wrong(format!("runstate {number}: expected 0 to 7"));
            }
        }
        let initial = Self {
            state,
            transient: present("transient"),
            managed_save: present("hasmanagedsave"),
        };
        if initial.transient && state == DomainState::SHUTOFF {
            return wrong("a transient domain runs: <runstate> is not 'shutoff'".to_owned());
        }
        if initial.managed_save && state != DomainState::SHUTOFF {
            return wrong("<hasmanagedsave/> is for a domain with <runstate> 5, shut off".to_owned());
        }
        Ok(initial)
    }
}
