//! Event registration: ordinary calls, answered from the connection's registry for every driver alike.
//!
//! Registrations of the old kind, without callback ids, are the daemon's to translate and do not come here.

use virt_util::{ErrorCode, Result, VirtError};

use super::Call;
use crate::call::{PROGRAM_QEMU, PROGRAM_REMOTE};
use crate::events::{EventClass, EventSubject, NameFilter};
use crate::protocol::qemu::{
    QemuConnectDomainMonitorEventDeregisterArgs, QemuConnectDomainMonitorEventRegisterArgs,
    QemuConnectDomainMonitorEventRegisterReply, procedure as qemu,
};
use crate::protocol::remote::*;
use crate::protocol::table::Rule;

/// `VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX`.
const MONITOR_EVENT_REGEX: u32 = 1;
/// `VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_NOCASE`.
const MONITOR_EVENT_NOCASE: u32 = 2;

/// Answers a call whose owner is the event registry.
pub(super) fn answer(call: &mut Call<'_, '_>, bytes: &[u8]) -> Result<Vec<u8>> {
    use crate::protocol::remote::procedure as remote;
    macro_rules! register {
        ($args:ident, $reply:ident, $class:ident, |$found:ident| $subject:expr) => {{
            let args: $args = call.decode(bytes)?;
            check_id(call, "event_id", args.event_id)?;
            call.admit()?;
            let subject = args.$class().map(|$found| $subject);
            let callback_id =
                call.cx
                    .events()
                    .register($args::CLASS, args.event_id, subject, NameFilter::default())?;
            call.encode(&$reply { callback_id })
        }};
    }
    macro_rules! deregister {
        ($args:ident, $class:ident) => {{
            let args: $args = call.decode(bytes)?;
            check_id(call, "callback_id", args.callback_id)?;
            call.admit()?;
            call.cx
                .events()
                .deregister(EventClass::$class, args.callback_id)?;
            call.done()
        }};
    }
    match (call.cx.program(), call.cx.procedure()) {
        (PROGRAM_REMOTE, remote::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY) => register!(
            ConnectDomainEventCallbackRegisterAnyArgs,
            ConnectDomainEventCallbackRegisterAnyReply,
            filter,
            |domain| EventSubject::Uuid(domain.uuid)
        ),
        (PROGRAM_REMOTE, remote::CONNECT_NETWORK_EVENT_REGISTER_ANY) => register!(
            ConnectNetworkEventRegisterAnyArgs,
            ConnectNetworkEventRegisterAnyReply,
            filter,
            |network| EventSubject::Uuid(network.uuid)
        ),
        (PROGRAM_REMOTE, remote::CONNECT_STORAGE_POOL_EVENT_REGISTER_ANY) => register!(
            ConnectStoragePoolEventRegisterAnyArgs,
            ConnectStoragePoolEventRegisterAnyReply,
            filter,
            |pool| EventSubject::Uuid(pool.uuid)
        ),
        (PROGRAM_REMOTE, remote::CONNECT_NODE_DEVICE_EVENT_REGISTER_ANY) => register!(
            ConnectNodeDeviceEventRegisterAnyArgs,
            ConnectNodeDeviceEventRegisterAnyReply,
            filter,
            |device| EventSubject::Name(device.name.clone())
        ),
        (PROGRAM_REMOTE, remote::CONNECT_SECRET_EVENT_REGISTER_ANY) => register!(
            ConnectSecretEventRegisterAnyArgs,
            ConnectSecretEventRegisterAnyReply,
            filter,
            |secret| EventSubject::Uuid(secret.uuid)
        ),
        (PROGRAM_REMOTE, remote::CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY) => {
            deregister!(ConnectDomainEventCallbackDeregisterAnyArgs, Domain)
        }
        (PROGRAM_REMOTE, remote::CONNECT_NETWORK_EVENT_DEREGISTER_ANY) => {
            deregister!(ConnectNetworkEventDeregisterAnyArgs, Network)
        }
        (PROGRAM_REMOTE, remote::CONNECT_STORAGE_POOL_EVENT_DEREGISTER_ANY) => {
            deregister!(ConnectStoragePoolEventDeregisterAnyArgs, StoragePool)
        }
        (PROGRAM_REMOTE, remote::CONNECT_NODE_DEVICE_EVENT_DEREGISTER_ANY) => {
            deregister!(ConnectNodeDeviceEventDeregisterAnyArgs, NodeDevice)
        }
        (PROGRAM_REMOTE, remote::CONNECT_SECRET_EVENT_DEREGISTER_ANY) => {
            deregister!(ConnectSecretEventDeregisterAnyArgs, Secret)
        }
        (PROGRAM_QEMU, qemu::CONNECT_DOMAIN_MONITOR_EVENT_REGISTER) => monitor_register(call, bytes),
        (PROGRAM_QEMU, qemu::CONNECT_DOMAIN_MONITOR_EVENT_DEREGISTER) => {
            deregister!(QemuConnectDomainMonitorEventDeregisterArgs, QemuMonitor)
        }
        _ => Err(call.procedure.missing()),
    }
}

fn monitor_register(call: &mut Call<'_, '_>, bytes: &[u8]) -> Result<Vec<u8>> {
    let args: QemuConnectDomainMonitorEventRegisterArgs = call.decode(bytes)?;
    let filter = name_filter(args.event, args.flags)?;
    call.admit()?;
    let subject = args.domain.map(|domain| EventSubject::Uuid(domain.uuid));
    let callback_id = call
        .cx
        .events()
        .register(EventClass::QemuMonitor, 0, subject, filter)?;
    call.encode(&QemuConnectDomainMonitorEventRegisterReply { callback_id })
}

/// The filter that the flags of a monitor event registration ask for. Of regular expressions those are understood that
/// say "exactly this" or "starts with this"; others are refused rather than misread.
fn name_filter(event: Option<String>, flags: u32) -> Result<NameFilter> {
    let unknown = flags & !(MONITOR_EVENT_REGEX | MONITOR_EVENT_NOCASE);
    if unknown != 0 {
        return Err(VirtError::invalid_arg(format_args!(
            "unsupported flags ({unknown:#x})"
        )));
    }
    let ignore_case = flags & MONITOR_EVENT_NOCASE != 0;
    let Some(event) = event else {
        return Ok(NameFilter::default());
    };
    if flags & MONITOR_EVENT_REGEX == 0 {
        return Ok(NameFilter {
            pattern: Some(event),
            ignore_case,
            glob: false,
        });
    }
    let literal = |text: &str| {
        text.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let anchored = event.strip_prefix('^').unwrap_or("?");
    let pattern = if event == ".*" {
        "*".to_owned()
    } else if let Some(whole) = anchored.strip_suffix('$').filter(|whole| literal(whole)) {
        whole.to_owned()
    } else if let Some(start) =
        Some(anchored.strip_suffix(".*").unwrap_or(anchored)).filter(|start| literal(start))
    {
        format!("{start}*")
    } else {
        return Err(VirtError::new(
            ErrorCode::OPERATION_UNSUPPORTED,
            format_args!(
                "the event filter '{event}': only '^NAME$', '^PREFIX' and '.*' are supported as expressions"
            ),
        ));
    };
    Ok(NameFilter {
        pattern: Some(pattern),
        ignore_case,
        glob: true,
    })
}

/// Runs the rules of an argument that is an id.
fn check_id(call: &Call<'_, '_>, argument: &str, value: i32) -> Result<()> {
    let broken = call.procedure.rules.iter().position(|rule| match rule {
        Rule::NonNegative(name) => *name == argument && value < 0,
        Rule::Below(name, limit) => *name == argument && i64::from(value) >= i64::from(limit.value),
        _ => false,
    });
    match broken {
        Some(index) => call.broken_rule(index).map(drop),
        None => Ok(()),
    }
}

/// What registrations of the different classes have in common.
trait Registration {
    const CLASS: EventClass;
    type Object;

    fn filter(&self) -> Option<&Self::Object>;
}

macro_rules! registrations {
    ($($args:ident: $class:ident by $field:ident as $object:ident;)*) => {
        $(impl Registration for $args {
            const CLASS: EventClass = EventClass::$class;
            type Object = $object;

            fn filter(&self) -> Option<&$object> {
                self.$field.as_ref()
            }
        })*
    };
}

registrations! {
    ConnectDomainEventCallbackRegisterAnyArgs: Domain by domain as DomainRef;
    ConnectNetworkEventRegisterAnyArgs: Network by network as NetworkRef;
    ConnectStoragePoolEventRegisterAnyArgs: StoragePool by pool as StoragePoolRef;
    ConnectNodeDeviceEventRegisterAnyArgs: NodeDevice by device as NodeDeviceRef;
    ConnectSecretEventRegisterAnyArgs: Secret by secret as SecretRef;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_expressions_become_filters_and_others_are_refused() {
        let filter =
            |text: &str| name_filter(Some(text.to_owned()), MONITOR_EVENT_REGEX).map(|filter| filter.pattern);
        assert_eq!(filter("^STOP$").unwrap().as_deref(), Some("STOP"));
        assert_eq!(filter("^BLOCK_JOB").unwrap().as_deref(), Some("BLOCK_JOB*"));
        assert_eq!(filter("^BLOCK_JOB.*").unwrap().as_deref(), Some("BLOCK_JOB*"));
        assert_eq!(filter(".*").unwrap().as_deref(), Some("*"));
        assert!(filter("A|B").is_err());
        assert!(filter("STOP").is_err());
        assert!(name_filter(None, 4).is_err());
    }
}
