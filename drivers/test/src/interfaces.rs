//! Interfaces of the host, and the one change of them that can be under way and taken back.

use std::sync::Arc;

use parking_lot::Mutex;
use virt_api::access::{Authorized, Found, Interface, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::InterfaceDriver;
use virt_conf::interface::HostInterface;
use virt_conf::registry::{self, Life, Object, Purpose, Registry, Snapshot, passes};
use virt_conf::schema::Check;
use virt_util::types::{ConnectListAllInterfacesFlags as List, InterfaceDefineFlags};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::changes::asker;
use crate::connection::{TestConnection, check_flags};
use crate::error;
use crate::shared::{self, Happened, check_schema, hold};
use crate::world::World;

/// The kind of object that interfaces are.
#[derive(Debug)]
pub struct Kind;

impl registry::Kind for Kind {
    type Definition = HostInterface;
    type State = ();
    type Private = ();
    type Key = ();
    type Event = Happened;

    const NOUN: &'static str = "interface";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_INTERFACE;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::TEST;
    const CLASH_DOMAIN: ErrorDomain = ErrorDomain::INTERFACE;
}

/// An interface.
pub type Device = Object<Kind>;

/// The interfaces of a host.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Held for looking and putting, never across anything else.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Arc<Registry<Kind>>,
    /// As they were when the change under way began.
    before: Option<Arc<Registry<Kind>>>,
}

impl Interfaces {
    /// The interfaces as they are.
    pub fn now(&self) -> Arc<Registry<Kind>> {
        Arc::clone(&self.state.lock().now)
    }

    /// Takes an interface of a host file in: it is up.
    pub fn adopt(&self, interface: HostInterface) -> Result<()> {
        let snapshot = shared::running(interface, (), true);
        self.now().adopt(snapshot, ()).map(|_| ())
    }

    fn begin(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.before.is_some() {
            return Err(invalid("a change has begun already"));
        }
        let copy = Registry::new();
        for interface in state.now.list() {
            // Definitions come back, and what was up is down afterwards: so it is in libvirt.
            let snapshot = Snapshot {
                life: Life::Inactive(Arc::clone(interface.snapshot().life.current())),
                state: (),
                autostart: false,
                autostart_once: false,
            };
            copy.adopt(snapshot, ())?;
        }
        state.before = Some(Arc::new(copy));
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        match self.state.lock().before.take() {
            Some(_) => Ok(()),
            None => Err(invalid("no change has begun that could be committed")),
        }
    }

    fn roll_back(&self) -> Result<()> {
        let mut state = self.state.lock();
        match state.before.take() {
            Some(before) => {
                state.now = before;
                Ok(())
            }
            None => Err(invalid("no change has begun that could be rolled back")),
        }
    }
}

fn invalid(what: &str) -> virt_util::VirtError {
    error(ErrorCode::OPERATION_INVALID, what)
}

/// The interface as clients and policies know it.
fn attributes(snapshot: &Snapshot<Kind>) -> Interface {
    claimed(snapshot.life.current())
}

fn claimed(interface: &HostInterface) -> Interface {
    Interface {
        name: interface.name.clone(),
        mac: interface.mac().unwrap_or_default().to_owned(),
    }
}

/// The interface that arguments name.
pub fn resolve(world: &World, key: &Interface) -> Result<Found<Interface>> {
    let interface = world.interfaces().now().find_name(&key.name)?;
    Ok(Found::new(attributes(&interface.snapshot()), interface))
}

fn is_active(snapshot: &Snapshot<Kind>) -> bool {
    snapshot.is_active()
}

impl TestConnection {
    fn change_interface(
        &self,
        cx: &CallContext<'_>,
        interface: &Resolved<Interface>,
        api: &'static str,
        change: impl FnOnce(&Registry<Kind>, &Arc<Device>) -> Result<()>,
    ) -> Result<()> {
        let interface = interface.handle_arc::<Device>()?;
        let _job = hold(&interface, cx, api)?;
        change(&self.world().interfaces().now(), &interface)
    }

    fn interfaces_seen(
        &self,
        cx: &mut CallContext<'_>,
        wanted: impl Fn(&Snapshot<Kind>) -> bool,
    ) -> Result<Vec<Interface>> {
        listing::visible(
            cx,
            self.world()
                .interfaces()
                .now()
                .snapshots(wanted)
                .map(|snapshot| attributes(&snapshot)),
        )
    }
}

#[virt_api::implements]
impl InterfaceDriver for TestConnection {
    #[inline_safe]
    fn connect_num_of_interfaces(&self, cx: &mut CallContext<'_>) -> Result<ConnectNumOfInterfacesReply> {
        let num = listing::count(&self.interfaces_seen(cx, is_active)?);
        Ok(ConnectNumOfInterfacesReply { num })
    }

    #[inline_safe]
    fn connect_list_interfaces(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListInterfacesReply> {
        let seen = self.interfaces_seen(cx, is_active)?;
        let names = listing::at_most(seen.into_iter().map(|interface| interface.name), maxnames);
        Ok(ConnectListInterfacesReply { names })
    }

    #[inline_safe]
    fn connect_num_of_defined_interfaces(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfDefinedInterfacesReply> {
        let num = listing::count(&self.interfaces_seen(cx, |snapshot| !is_active(snapshot))?);
        Ok(ConnectNumOfDefinedInterfacesReply { num })
    }

    #[inline_safe]
    fn connect_list_defined_interfaces(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListDefinedInterfacesReply> {
        let seen = self.interfaces_seen(cx, |snapshot| !is_active(snapshot))?;
        let names = listing::at_most(seen.into_iter().map(|interface| interface.name), maxnames);
        Ok(ConnectListDefinedInterfacesReply { names })
    }

    #[inline_safe]
    fn connect_list_all_interfaces(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllInterfacesReply> {
        check_flags("testConnectListAllInterfaces", flags, List::all().bits())?;
        let seen = self.interfaces_seen(cx, |snapshot| {
            let active = snapshot.is_active();
            passes(
                List::from(flags),
                &[&[(List::ACTIVE, active), (List::INACTIVE, !active)]],
            )
        })?;
        let (interfaces, ret) = listing::all(seen, need_results);
        Ok(ConnectListAllInterfacesReply { interfaces, ret })
    }

    #[inline_safe]
    fn interface_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<InterfaceLookupByNameReply>> {
        let interface = self.world().interfaces().now().find_name(&name)?;
        let found = attributes(&interface.snapshot());
        listing::found(cx, found, |interface| InterfaceLookupByNameReply {
            interface: interface.into(),
        })
    }

    #[inline_safe]
    fn interface_lookup_by_mac_string(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        mac: String,
    ) -> Result<Authorized<InterfaceLookupByMacStringReply>> {
        let same = |snapshot: &Snapshot<Kind>| {
            let known = snapshot.life.current().mac().unwrap_or_default();
            known.eq_ignore_ascii_case(&mac)
        };
        let matching = self.world().interfaces().now().select(same);
        let found = match matching.as_slice() {
            [one] => attributes(&one.snapshot()),
            [] => {
                return Err(error(
                    ErrorCode::NO_INTERFACE,
                    format_args!("no interface with matching mac '{mac}'"),
                ));
            }
            _ => {
                return Err(error(
                    ErrorCode::MULTIPLE_INTERFACES,
                    format_args!("{} interfaces have the mac '{mac}'", matching.len()),
                ));
            }
        };
        listing::found(cx, found, |interface| InterfaceLookupByMacStringReply {
            interface: interface.into(),
        })
    }

    #[inline_safe]
    #[flags("testInterfaceGetXMLDesc", 0)]
    fn interface_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        interface: Resolved<Interface>,
        _: u32,
    ) -> Result<InterfaceGetXmlDescReply> {
        let snapshot = interface.handle::<Device>()?.snapshot();
        Ok(InterfaceGetXmlDescReply {
            xml: snapshot.life.current().format(),
        })
    }

    fn interface_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<InterfaceDefineXmlReply>> {
        let validate = InterfaceDefineFlags::VALIDATE.bits();
        check_flags("testInterfaceDefineXML", flags, validate)?;
        check_schema(
            &xml,
            "(interface_definition)",
            ErrorDomain::INTERFACE,
            Check::asked_by(flags & validate != 0),
        )?;
        let definition = Arc::new(HostInterface::parse(&xml, "(interface_definition)")?);
        let permit = cx.authorize(&claimed(&definition))?;
        let asker = asker(cx, "virInterfaceDefineXML");
        let interfaces = self.world().interfaces().now();
        let entered = interfaces.enter(&definition, Purpose::Define, &asker, || ((), ()))?;
        let (interface, job) = entered.commit();
        // The host has one configuration: it is that of an interface that is up, too.
        interface.publish(|snapshot| {
            snapshot.life = match snapshot.is_active() {
                true => Life::Active {
                    live: Arc::clone(&definition),
                    next: Some(definition),
                },
                false => Life::Inactive(definition),
            };
        });
        let defined = attributes(&interface.snapshot());
        drop(job);
        Ok(permit.reply(InterfaceDefineXmlReply {
            interface: defined.into(),
        }))
    }

    fn interface_undefine(&self, cx: &mut CallContext<'_>, interface: Resolved<Interface>) -> Result<()> {
        self.change_interface(cx, &interface, "virInterfaceUndefine", |all, interface| {
            all.remove(interface);
            Ok(())
        })
    }

    #[flags("testInterfaceCreate", 0)]
    fn interface_create(
        &self,
        cx: &mut CallContext<'_>,
        interface: Resolved<Interface>,
        _: u32,
    ) -> Result<()> {
        self.change_interface(cx, &interface, "virInterfaceCreate", |_, interface| {
            let snapshot = interface.snapshot();
            if snapshot.is_active() {
                return Err(invalid("the interface is up"));
            }
            let live = Arc::clone(snapshot.life.current());
            interface.publish(|snapshot| snapshot.life = snapshot.life.started(live));
            Ok(())
        })
    }

    #[flags("testInterfaceDestroy", 0)]
    fn interface_destroy(
        &self,
        cx: &mut CallContext<'_>,
        interface: Resolved<Interface>,
        _: u32,
    ) -> Result<()> {
        self.change_interface(cx, &interface, "virInterfaceDestroy", |_, interface| {
            let snapshot = interface.snapshot();
            if !snapshot.is_active() {
                return Err(invalid("the interface is not up"));
            }
            let down = Life::Inactive(Arc::clone(snapshot.life.current()));
            interface.publish(|snapshot| snapshot.life = down);
            Ok(())
        })
    }

    #[inline_safe]
    fn interface_is_active(
        &self,
        _: &mut CallContext<'_>,
        interface: Resolved<Interface>,
    ) -> Result<InterfaceIsActiveReply> {
        let active = interface.handle::<Device>()?.snapshot().is_active();
        Ok(InterfaceIsActiveReply {
            active: active.into(),
        })
    }

    fn interface_change_begin(&self, _: &mut CallContext<'_>, flags: u32) -> Result<()> {
        check_flags("testInterfaceChangeBegin", flags, 0)?;
        self.world().interfaces().begin()
    }

    fn interface_change_commit(&self, _: &mut CallContext<'_>, flags: u32) -> Result<()> {
        check_flags("testInterfaceChangeCommit", flags, 0)?;
        self.world().interfaces().commit()
    }

    fn interface_change_rollback(&self, _: &mut CallContext<'_>, flags: u32) -> Result<()> {
        check_flags("testInterfaceChangeRollback", flags, 0)?;
        self.world().interfaces().roll_back()
    }
}
