//! What the simulator reads of a domain's XML.

use virt_conf::registry::Definition;
use virt_util::types::{DomainLifecycleAction, DomainState};
use virt_util::units::KiB;
use virt_util::uuid::Uuid;
use virt_util::xml::{Element, Identity};
use virt_util::{ErrorCode, Result};

use crate::error;

/// The namespace of what a file says about the state of its guests.
pub const NAMESPACE: &str = "http://libvirt.org/schemas/domain/test/1.0";

/// A guest as the simulator needs to know it.
#[derive(Clone, Debug)]
pub struct GuestDefinition {
    name: String,
    uuid: Uuid,
    /// The memory it may have at most.
    pub max_memory: KiB,
    /// The memory it has.
    pub memory: KiB,
    /// The processors it may have at most.
    pub max_vcpus: u16,
    /// The processors it has.
    pub vcpus: u16,
    /// What a shutdown leads to.
    pub on_poweroff: DomainLifecycleAction,
    /// What a reboot leads to.
    pub on_reboot: DomainLifecycleAction,
}

impl Definition for GuestDefinition {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        Some(self.uuid)
    }
}

impl GuestDefinition {
    /// From a `<domain>` element.
    pub fn read(element: Element<'_>) -> Result<Self> {
        let identity = Identity::of(element)?;
        let wrong = |what: String| error(ErrorCode::XML_ERROR, what);
        if identity.root != "domain" {
            return Err(wrong(format!(
                "unexpected root element <{}>, expecting <domain>",
                identity.root
            )));
        }
        match identity.kind.as_deref() {
            Some("test") => {}
            Some(kind) => {
                return Err(error(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    format_args!("domain type '{kind}' is not supported, 'test' expected"),
                ));
            }
            None => return Err(wrong("missing domain type attribute".to_owned())),
        }
        let Some(name) = identity.name else {
            return Err(error(ErrorCode::NO_NAME, ""));
        };
        if name.contains(['/', '\n']) {
            return Err(wrong(format!("name '{name}' cannot contain '/' or a line break")));
        }
        let memory = |name: &str| match element.child(name) {
            None => Ok(None),
            Some(child) => KiB::parse(&child.text(), child.attr("unit").as_deref()).map(Some),
        };
        let max_memory =
            memory("memory")?.ok_or_else(|| wrong(format!("domain '{name}' has no <memory> element")))?;
        let count = |text: &str| match text.trim().parse::<u16>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(wrong(format!(
                "invalid number of virtual CPUs '{text}', 1 to 65535 expected"
            ))),
        };
        let (mut max_vcpus, mut vcpus) = (1, None);
        if let Some(child) = element.child("vcpu") {
            max_vcpus = count(&child.text())?;
            vcpus = child.attr("current").map(|current| count(&current)).transpose()?;
        }
        let vcpus = vcpus.unwrap_or(max_vcpus);
        if vcpus > max_vcpus {
            return Err(wrong(format!(
                "{vcpus} virtual CPUs are more than the {max_vcpus} that domain '{name}' may have"
            )));
        }
        Ok(Self {
            uuid: identity.uuid.unwrap_or_else(virt_util::uuid::generate),
            memory: memory("currentMemory")?.unwrap_or(max_memory).min(max_memory),
            max_memory,
            max_vcpus,
            vcpus,
            on_poweroff: action(element, "on_poweroff", DomainLifecycleAction::DESTROY)?,
            on_reboot: action(element, "on_reboot", DomainLifecycleAction::RESTART)?,
            name,
        })
    }
}

fn action(element: Element<'_>, name: &str, default: DomainLifecycleAction) -> Result<DomainLifecycleAction> {
    let Some(child) = element.child(name) else {
        return Ok(default);
    };
    Ok(match &*child.text() {
        "destroy" => DomainLifecycleAction::DESTROY,
        "restart" => DomainLifecycleAction::RESTART,
        "rename-restart" => DomainLifecycleAction::RESTART_RENAME,
        "preserve" => DomainLifecycleAction::PRESERVE,
        other => {
            return Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("unknown lifecycle action '{other}' in <{name}>"),
            ));
        }
    })
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
                return wrong(format!("runstate '{number}' out of range"));
            }
        }
        let initial = Self {
            state,
            transient: present("transient"),
            managed_save: present("hasmanagedsave"),
        };
        if initial.transient && state == DomainState::SHUTOFF {
            return wrong("transient domain cannot have runstate 'shutoff'".to_owned());
        }
        if initial.managed_save && state != DomainState::SHUTOFF {
            return wrong("domain with managedsave data can only have runstate 'shutoff'".to_owned());
        }
        Ok(initial)
    }
}
