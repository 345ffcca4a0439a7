//! Subscriptions: the first watcher of something registers it over there, the last one takes it back.
//!
//! A registration is known by its procedure and arguments. The daemon filters by object; one that is too old for that
//! sends events of one kind for all domains, without saying for whom, and the filter is here.

use std::collections::VecDeque;

use parking_lot::Mutex;
use virt_api::call::{PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::protocol::qemu::procedure as qemu;
use virt_api::protocol::remote::{ConnectDomainEventCallbackRegisterAnyArgs, DomainRef, procedure as remote};
use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncoder};
use virt_util::{Result, VirtError};

/// Events that arrived before the answer that says whose they are.
const EARLY_MAX: usize = 1024;

/// Procedures that register, and those that take it back.
const PAIRS: [(u32, u32, u32); 6] = [
    (
        PROGRAM_REMOTE,
        remote::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
        remote::CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY,
    ),
    (
        PROGRAM_REMOTE,
        remote::CONNECT_NETWORK_EVENT_REGISTER_ANY,
        remote::CONNECT_NETWORK_EVENT_DEREGISTER_ANY,
    ),
    (
        PROGRAM_REMOTE,
        remote::CONNECT_STORAGE_POOL_EVENT_REGISTER_ANY,
        remote::CONNECT_STORAGE_POOL_EVENT_DEREGISTER_ANY,
    ),
    (
        PROGRAM_REMOTE,
        remote::CONNECT_NODE_DEVICE_EVENT_REGISTER_ANY,
        remote::CONNECT_NODE_DEVICE_EVENT_DEREGISTER_ANY,
    ),
    (
        PROGRAM_REMOTE,
        remote::CONNECT_SECRET_EVENT_REGISTER_ANY,
        remote::CONNECT_SECRET_EVENT_DEREGISTER_ANY,
    ),
    (
        PROGRAM_QEMU,
        qemu::CONNECT_DOMAIN_MONITOR_EVENT_REGISTER,
        qemu::CONNECT_DOMAIN_MONITOR_EVENT_DEREGISTER,
    ),
];

/// Messages of old daemons, and those of today that say the same behind a callback's number. The position is the kind.
const LEGACY: [(u32, u32); 16] = [
    (
        remote::DOMAIN_EVENT_LIFECYCLE,
        remote::DOMAIN_EVENT_CALLBACK_LIFECYCLE,
    ),
    (remote::DOMAIN_EVENT_REBOOT, remote::DOMAIN_EVENT_CALLBACK_REBOOT),
    (
        remote::DOMAIN_EVENT_RTC_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_RTC_CHANGE,
    ),
    (
        remote::DOMAIN_EVENT_WATCHDOG,
        remote::DOMAIN_EVENT_CALLBACK_WATCHDOG,
    ),
    (
        remote::DOMAIN_EVENT_IO_ERROR,
        remote::DOMAIN_EVENT_CALLBACK_IO_ERROR,
    ),
    (
        remote::DOMAIN_EVENT_GRAPHICS,
        remote::DOMAIN_EVENT_CALLBACK_GRAPHICS,
    ),
    (
        remote::DOMAIN_EVENT_IO_ERROR_REASON,
        remote::DOMAIN_EVENT_CALLBACK_IO_ERROR_REASON,
    ),
    (
        remote::DOMAIN_EVENT_CONTROL_ERROR,
        remote::DOMAIN_EVENT_CALLBACK_CONTROL_ERROR,
    ),
    (
        remote::DOMAIN_EVENT_BLOCK_JOB,
        remote::DOMAIN_EVENT_CALLBACK_BLOCK_JOB,
    ),
    (
        remote::DOMAIN_EVENT_DISK_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_DISK_CHANGE,
    ),
    (
        remote::DOMAIN_EVENT_TRAY_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_TRAY_CHANGE,
    ),
    (
        remote::DOMAIN_EVENT_PMWAKEUP,
        remote::DOMAIN_EVENT_CALLBACK_PMWAKEUP,
    ),
    (
        remote::DOMAIN_EVENT_PMSUSPEND,
        remote::DOMAIN_EVENT_CALLBACK_PMSUSPEND,
    ),
    (
        remote::DOMAIN_EVENT_BALLOON_CHANGE,
        remote::DOMAIN_EVENT_CALLBACK_BALLOON_CHANGE,
    ),
    (
        remote::DOMAIN_EVENT_PMSUSPEND_DISK,
        remote::DOMAIN_EVENT_CALLBACK_PMSUSPEND_DISK,
    ),
    (
        remote::DOMAIN_EVENT_DEVICE_REMOVED,
        remote::DOMAIN_EVENT_CALLBACK_DEVICE_REMOVED,
    ),
];

/// What the other side has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Nothing: others watch the same.
    Nothing,
    /// This call.
    Call {
        program: u32,
        procedure: u32,
        args: Vec<u8>,
    },
}

/// An event for watchers here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub program: u32,
    pub procedure: u32,
    pub callbacks: Vec<i32>,
    /// The message behind its callback's number.
    pub payload: Vec<u8>,
}

/// How the daemon knows a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// By this number.
    Callback(i32),
    /// By the kind of event; the domain is filtered here.
    Kind(i32),
}

struct Watched {
    program: u32,
    register: u32,
    deregister: u32,
    args: Vec<u8>,
    known: Known,
    /// With [`Known::Kind`].
    domain: Option<DomainRef>,
    callbacks: Vec<i32>,
}

/// All subscriptions of a connection.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<State>);

/// Held for looking, never while a call is made.
#[derive(Default)]
struct State {
    watched: Vec<Watched>,
    next: i32,
    /// Registrations whose answer is awaited.
    registering: usize,
    early: VecDeque<(i32, Told)>,
}

/// The procedure that takes back what `procedure` registers.
pub(crate) fn deregistration(program: u32, procedure: u32) -> Option<u32> {
    PAIRS
        .iter()
        .find(|(known, register, _)| (*known, *register) == (program, procedure))
        .map(|(_, _, deregister)| *deregister)
}

/// Whether `procedure` takes a registration back.
pub(crate) fn is_deregistration(program: u32, procedure: u32) -> bool {
    PAIRS
        .iter()
        .any(|(known, _, deregister)| (*known, *deregister) == (program, procedure))
}

/// The answer of a registration.
pub(crate) fn number(value: i32) -> Vec<u8> {
    let mut out = XdrEncoder::new();
    out.i32(value);
    out.into_bytes()
}

fn read_number(bytes: &[u8]) -> Result<i32> {
    let mut input = XdrDecoder::new(bytes);
    let value = input.i32()?;
    input.finish()?;
    Ok(value)
}

/// A registration under way: [`Subscriptions::registered`] or [`Subscriptions::gave_up`] ends it.
pub(crate) struct Registration {
    program: u32,
    procedure: u32,
    deregister: u32,
    args: Vec<u8>,
    kind: Option<(i32, Option<DomainRef>)>,
}

/// What a registration comes to.
pub(crate) enum Begun {
    /// Somebody watches it already: this is the new callback's number.
    Shared(i32),
    /// The other side has to be told.
    Ask(Registration, Tell),
}

impl Subscriptions {
    /// Begins to watch. `filtered` says that the daemon knows callbacks.
    pub fn register(&self, program: u32, procedure: u32, args: &[u8], filtered: bool) -> Result<Begun> {
        let deregister = deregistration(program, procedure)
            .ok_or_else(|| VirtError::internal(format_args!("procedure {procedure} registers nothing")))?;
        let mut registration = Registration {
            program,
            procedure,
            deregister,
            args: args.to_vec(),
            kind: None,
        };
        let of_domain = procedure == remote::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY;
        if program == PROGRAM_REMOTE && of_domain && !filtered {
            let args = ConnectDomainEventCallbackRegisterAnyArgs::from_xdr(args)?;
            registration.kind = Some((args.event_id, args.domain));
        }
        let mut state = self.0.lock();
        let same = state.watched.iter().position(|one| {
            (one.program, one.register) == (program, procedure) && one.args == registration.args
        });
        if let Some(at) = same {
            let number = state.number()?;
            if let Some(watched) = state.watched.get_mut(at) {
                watched.callbacks.push(number);
            }
            return Ok(Begun::Shared(number));
        }
        let Some((kind, _)) = registration.kind else {
            state.registering += 1;
            let tell = Tell::Call {
                program,
                procedure,
                args: registration.args.clone(),
            };
            return Ok(Begun::Ask(registration, tell));
        };
        // One registration of the kind serves all domains.
        let known = state.watched.iter().any(|one| one.known == Known::Kind(kind));
        state.registering += 1;
        let tell = if known {
            Tell::Nothing
        } else {
            Tell::Call {
                program,
                procedure: remote::CONNECT_DOMAIN_EVENT_REGISTER_ANY,
                args: number(kind),
            }
        };
        Ok(Begun::Ask(registration, tell))
    }

    /// The other side took the registration. Answers the callback's number here, and events that were faster.
    pub fn registered(&self, registration: Registration, answer: &[u8]) -> Result<(i32, Vec<Told>)> {
        let mut state = self.0.lock();
        state.registering = state.registering.saturating_sub(1);
        let known = match &registration.kind {
            Some((kind, _)) => Known::Kind(*kind),
            None => Known::Callback(read_number(answer)?),
        };
        let number = state.number()?;
        state.watched.push(Watched {
            program: registration.program,
            register: registration.procedure,
            deregister: registration.deregister,
            args: registration.args,
            known,
            domain: registration.kind.and_then(|(_, domain)| domain),
            callbacks: vec![number],
        });
        let mut early = Vec::new();
        if let Known::Callback(id) = known {
            let (ours, others) = state.early.drain(..).partition(|(known, _)| *known == id);
            let ours: VecDeque<(i32, Told)> = ours;
            state.early = others;
            early.extend(ours.into_iter().map(|(_, told)| Told {
                callbacks: vec![number],
                ..told
            }));
        }
        if state.registering == 0 {
            state.early.clear();
        }
        Ok((number, early))
    }

    /// The other side refused the registration.
    pub fn gave_up(&self) {
        let mut state = self.0.lock();
        state.registering = state.registering.saturating_sub(1);
        if state.registering == 0 {
            state.early.clear();
        }
    }

    /// Ends the watch that `args` name.
    pub fn deregister(&self, program: u32, procedure: u32, args: &[u8]) -> Result<Tell> {
        let callback = read_number(args)?;
        let mut state = self.0.lock();
        let found = state.watched.iter().position(|one| {
            (one.program, one.deregister) == (program, procedure) && one.callbacks.contains(&callback)
        });
        let Some(at) = found else {
            return Err(VirtError::invalid_arg(format_args!(
                "no event callback {callback} is registered"
            )));
        };
        let Some(watched) = state.watched.get_mut(at) else {
            return Ok(Tell::Nothing);
        };
        watched.callbacks.retain(|one| *one != callback);
        if !watched.callbacks.is_empty() {
            return Ok(Tell::Nothing);
        }
        let gone = state.watched.remove(at);
        Ok(match gone.known {
            Known::Callback(id) => Tell::Call {
                program,
                procedure,
                args: number(id),
            },
            Known::Kind(_) if state.watched.iter().any(|one| one.known == gone.known) => Tell::Nothing,
            Known::Kind(kind) => Tell::Call {
                program,
                procedure: remote::CONNECT_DOMAIN_EVENT_DEREGISTER_ANY,
                args: number(kind),
            },
        })
    }

    /// Who is to hear of an event; `None` if nobody is.
    pub fn address(&self, program: u32, procedure: u32, payload: Vec<u8>) -> Option<Told> {
        if program == PROGRAM_REMOTE
            && let Some(kind) = LEGACY.iter().position(|(old, _)| *old == procedure)
        {
            return self.address_old(kind, payload);
        }
        let id = XdrDecoder::new(&payload).i32().ok()?;
        let payload = payload.get(4..)?.to_vec();
        let mut told = Told {
            program,
            procedure,
            callbacks: Vec::new(),
            payload,
        };
        let mut state = self.0.lock();
        let found = state
            .watched
            .iter()
            .find(|one| one.program == program && one.known == Known::Callback(id));
        match found {
            Some(watched) => {
                told.callbacks.clone_from(&watched.callbacks);
                Some(told)
            }
            None => {
                if state.registering > 0 && state.early.len() < EARLY_MAX {
                    state.early.push_back((id, told));
                }
                None
            }
        }
    }

    fn address_old(&self, kind: usize, payload: Vec<u8>) -> Option<Told> {
        let (_, procedure) = LEGACY.get(kind)?;
        let kind = Known::Kind(i32::try_from(kind).ok()?);
        let state = self.0.lock();
        let callbacks: Vec<i32> = state
            .watched
            .iter()
            .filter(|one| one.known == kind)
            .filter(|one| match &one.domain {
                None => true,
                // Every message begins with its domain: the name, then the UUID.
                Some(domain) => {
                    let mut input = XdrDecoder::without_limits(&payload);
                    let begun = input.string(usize::MAX).and_then(|_| input.opaque_fixed(16));
                    begun.is_ok_and(|uuid| uuid == domain.uuid.as_bytes())
                }
            })
            .flat_map(|one| one.callbacks.iter().copied())
            .collect();
        (!callbacks.is_empty()).then_some(Told {
            program: PROGRAM_REMOTE,
            procedure: *procedure,
            callbacks,
            payload,
        })
    }
}

impl State {
    fn number(&mut self) -> Result<i32> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or_else(|| {
            VirtError::new(virt_util::ErrorCode::OPERATION_FAILED, "no callback id is left")
        })?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::xdr::XdrEncode;

    const REGISTER: u32 = remote::CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY;
    const DEREGISTER: u32 = remote::CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY;

    fn domain(name: &str, last: u32) -> DomainRef {
        DomainRef {
            name: name.to_owned(),
            uuid: virt_util::uuid::parse(&format!("00000000-0000-0000-0000-{last:012}")).unwrap(),
            id: 1,
        }
    }

    fn args(kind: i32, domain: Option<DomainRef>) -> Vec<u8> {
        ConnectDomainEventCallbackRegisterAnyArgs {
            event_id: kind,
            domain,
        }
        .to_xdr()
        .unwrap()
    }

    fn ask(subscriptions: &Subscriptions, args: &[u8], filtered: bool) -> (Registration, Tell) {
        match subscriptions
            .register(PROGRAM_REMOTE, REGISTER, args, filtered)
            .unwrap()
        {
            Begun::Ask(registration, tell) => (registration, tell),
            Begun::Shared(number) => panic!("shared as {number}"),
        }
    }

    #[test]
    fn the_first_watcher_registers_and_the_last_takes_it_back() {
        let all = Subscriptions::default();
        let (registration, tell) = ask(&all, &args(0, None), true);
        assert!(matches!(
            tell,
            Tell::Call {
                procedure: REGISTER,
                ..
            }
        ));
        let (one, _) = all.registered(registration, &number(77)).unwrap();
        let Begun::Shared(two) = all
            .register(PROGRAM_REMOTE, REGISTER, &args(0, None), true)
            .unwrap()
        else {
            panic!("the daemon was asked twice");
        };
        let mut message = number(77);
        message.extend_from_slice(b"rest");
        let told = all
            .address(PROGRAM_REMOTE, remote::DOMAIN_EVENT_CALLBACK_LIFECYCLE, message)
            .unwrap();
        assert_eq!((told.callbacks, told.payload), (vec![one, two], b"rest".to_vec()));
        assert_eq!(
            all.deregister(PROGRAM_REMOTE, DEREGISTER, &number(one)).unwrap(),
            Tell::Nothing
        );
        assert!(all.deregister(PROGRAM_REMOTE, DEREGISTER, &number(one)).is_err());
        let Tell::Call { args, .. } = all.deregister(PROGRAM_REMOTE, DEREGISTER, &number(two)).unwrap()
        else {
            panic!("the daemon must hear of it");
        };
        assert_eq!(args, number(77));
    }

    #[test]
    fn events_may_be_faster_than_the_answer() {
        let all = Subscriptions::default();
        let (registration, _) = ask(&all, &args(0, None), true);
        let mut message = number(5);
        message.push(1);
        assert!(all.address(PROGRAM_REMOTE, 318, message.clone()).is_none());
        let (id, early) = all.registered(registration, &number(5)).unwrap();
        assert_eq!(early.len(), 1);
        assert_eq!(early[0].callbacks, [id]);
        let (_, _) = ask(&all, &args(1, None), true);
        all.gave_up();
        assert!(all.address(PROGRAM_REMOTE, 318, number(9)).is_none());
    }

    #[test]
    fn old_daemons_tell_everything_and_the_filter_is_here() {
        let all = Subscriptions::default();
        let (mine, other) = (domain("mine", 1), domain("other", 2));
        let (registration, tell) = ask(&all, &args(0, Some(mine.clone())), false);
        assert!(matches!(
            tell,
            Tell::Call {
                procedure: remote::CONNECT_DOMAIN_EVENT_REGISTER_ANY,
                ..
            }
        ));
        let (one, _) = all.registered(registration, &[]).unwrap();
        let (registration, tell) = ask(&all, &args(0, None), false);
        assert_eq!(tell, Tell::Nothing);
        let (two, _) = all.registered(registration, &[]).unwrap();
        let told = |domain: &DomainRef| {
            let message = domain.to_xdr().unwrap();
            all.address(PROGRAM_REMOTE, remote::DOMAIN_EVENT_LIFECYCLE, message)
                .map(|told| told.callbacks)
        };
        assert_eq!(told(&mine), Some(vec![one, two]));
        assert_eq!(told(&other), Some(vec![two]));
        assert_eq!(
            all.deregister(PROGRAM_REMOTE, DEREGISTER, &number(two)).unwrap(),
            Tell::Nothing
        );
        assert_eq!(told(&other), None);
        let tell = all.deregister(PROGRAM_REMOTE, DEREGISTER, &number(one)).unwrap();
        assert!(matches!(
            tell,
            Tell::Call {
                procedure: remote::CONNECT_DOMAIN_EVENT_DEREGISTER_ANY,
                ..
            }
        ));
    }
}
