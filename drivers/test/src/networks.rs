//! Networks: they have definitions and a state, and carry nothing.

use std::sync::Arc;

use virt_api::access::{Authorized, Found, Network, Resolved, Unchecked};
use virt_api::call::CallContext;
use virt_api::events::{EventClass, EventSubject};
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::table::EventMessage;
use virt_api::protocol::traits::NetworkDriver;
use virt_conf::domain::normalize::SystemRandomness;
use virt_conf::network::Network as Definition;
use virt_conf::network::update::{Command, Section, Update};
use virt_conf::registry::networks::{NetworkKind, NetworkState};
use virt_conf::registry::{Life, Object, Purpose, Registry, Snapshot, passes};
use virt_conf::schema::Check;
use virt_util::types::{
    ConnectListAllNetworksFlags as List, DomainModificationImpact, NetworkCreateFlags, NetworkDefineFlags,
    NetworkEventId, NetworkEventLifecycleType as Lifecycle, NetworkMetadataType,
};
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::changes::asker;
use crate::connection::{TestConnection, check_flags};
use crate::error;
use crate::shared::{self, Happened, check_schema, hold};
use crate::world::World;

/// The kind of object that networks of this driver are.
pub type Kind = NetworkKind<(), Happened>;
/// A network.
pub type VirtualNetwork = Object<Kind>;
/// The networks of a host.
pub type Networks = Registry<Kind>;

/// The network as clients and policies know it.
fn attributes(snapshot: &Snapshot<Kind>) -> Network {
    claimed(snapshot.life.current())
}

fn claimed(network: &Definition) -> Network {
    Network {
        name: network.name.clone(),
        uuid: network.uuid.unwrap_or_default(),
    }
}

/// Takes a network of a host file in: it runs.
pub fn adopt(networks: &Networks, mut network: Definition) -> Result<()> {
    network.complete(&SystemRandomness);
    let snapshot = shared::running(network, NetworkState::default(), true);
    networks.adopt(snapshot, ()).map(|_| ())
}

/// The network that arguments name.
pub fn resolve(world: &World, key: &Network) -> Result<Found<Network>> {
    let network = by_uuid(world, &key.uuid, Some(&key.name))?;
    Ok(Found::new(attributes(&network.snapshot()), network))
}

fn by_uuid(world: &World, uuid: &Uuid, name: Option<&str>) -> Result<Arc<VirtualNetwork>> {
    let found = world.networks().find_uuid(uuid, name);
    found.map_err(|error| error.in_domain(ErrorDomain::TEST))
}

fn note(network: &VirtualNetwork, what: Lifecycle) {
    let object = attributes(&network.snapshot());
    let told = object.clone();
    network.events().note(Happened {
        event: (EventClass::Network, NetworkEventId::LIFECYCLE.0),
        subject: EventSubject::Uuid(object.uuid),
        object: Box::new(object),
        procedure: NetworkEventLifecycleMessage::PROCEDURE,
        encode: Box::new(move || {
            NetworkEventLifecycleMessage {
                callback_id: 0,
                network: told.clone().into(),
                event: what.0,
                detail: 0,
            }
            .behind_callback_id()
        }),
    });
}

fn note_metadata(network: &VirtualNetwork, kind: i32, uri: Option<String>) {
    let object = attributes(&network.snapshot());
    let told = object.clone();
    network.events().note(Happened {
        event: (EventClass::Network, NetworkEventId::METADATA_CHANGE.0),
        subject: EventSubject::Uuid(object.uuid),
        object: Box::new(object),
        procedure: NetworkEventCallbackMetadataChangeMessage::PROCEDURE,
        encode: Box::new(move || {
            NetworkEventCallbackMetadataChangeMessage {
                callback_id: 0,
                network: told.clone().into(),
                kind,
                nsuri: uri.clone(),
            }
            .behind_callback_id()
        }),
    });
}

/// Reads a definition that a client sent.
fn parse(xml: &str, check: Check) -> Result<Arc<Definition>> {
    check_schema(xml, "(network_definition)", ErrorDomain::NETWORK, check)?;
    let mut network = Definition::parse(
        xml,
        XmlFlags::INACTIVE | XmlFlags::NO_NAMESPACES,
        "(network_definition)",
    )?;
    network.complete(&SystemRandomness);
    Ok(Arc::new(network))
}

impl TestConnection {
    /// Does `change` with the network's lane held, and tells what happened when it is let go.
    fn change_network<T>(
        &self,
        cx: &CallContext<'_>,
        network: &Resolved<Network>,
        api: &'static str,
        change: impl FnOnce(&Networks, &Arc<VirtualNetwork>) -> Result<T>,
    ) -> Result<T> {
        let network = network.handle_arc::<VirtualNetwork>()?;
        let job = hold(&network, cx, api)?;
        let done = change(self.world().networks(), &network);
        drop(job);
        self.world().tell_of(&network)?;
        done
    }

    fn networks_seen(
        &self,
        cx: &mut CallContext<'_>,
        wanted: impl Fn(&Snapshot<Kind>) -> bool,
    ) -> Result<Vec<Network>> {
        listing::visible(
            cx,
            self.world()
                .networks()
                .snapshots(wanted)
                .map(|snapshot| attributes(&snapshot)),
        )
    }

    fn define_network(
        &self,
        cx: &mut CallContext<'_>,
        xml: &str,
        check: Check,
        api: &'static str,
    ) -> Result<Authorized<Network>> {
        let definition = parse(xml, check)?;
        let permit = cx.authorize(&claimed(&definition))?;
        let fresh = || (NetworkState::default(), ());
        let networks = self.world().networks();
        let entered = networks.enter(&definition, Purpose::Define, &asker(cx, api), fresh)?;
        let (network, job) = entered.commit();
        network.publish(|snapshot| snapshot.life = snapshot.life.defined(definition));
        note(&network, Lifecycle::DEFINED);
        let defined = attributes(&network.snapshot());
        drop(job);
        self.world().tell_of(&network)?;
        Ok(permit.reply(defined))
    }

    fn create_network(
        &self,
        cx: &mut CallContext<'_>,
        xml: &str,
        check: Check,
        api: &'static str,
    ) -> Result<Authorized<Network>> {
        let definition = parse(xml, check)?;
        let permit = cx.authorize(&claimed(&definition))?;
        let fresh = || (NetworkState::default(), ());
        let networks = self.world().networks();
        let entered = networks.enter(&definition, Purpose::Create, &asker(cx, api), fresh)?;
        let next = match entered.is_fresh() {
            true => None,
            false => entered.object().snapshot().life.stored().cloned(),
        };
        let (network, job) = entered.commit();
        network.publish(|snapshot| {
            snapshot.life = Life::Active {
                live: definition,
                next,
            }
        });
        note(&network, Lifecycle::STARTED);
        let started = attributes(&network.snapshot());
        drop(job);
        self.world().tell_of(&network)?;
        Ok(permit.reply(started))
    }

    /// Changes the definitions that `flags` mean.
    fn edit_network(
        network: &VirtualNetwork,
        flags: u32,
        edit: impl Fn(&Definition, XmlFlags) -> Result<Definition>,
    ) -> Result<()> {
        let snapshot = network.snapshot();
        let affected = snapshot
            .affected(flags)
            .map_err(|error| error.in_domain(ErrorDomain::TEST))?;
        let mut life = snapshot.life.clone();
        if affected.stored
            && let Some(stored) = life.stored()
        {
            let edited = edit(stored, XmlFlags::INACTIVE)?;
            life = life.defined(Arc::new(edited));
        }
        if affected.live
            && let Life::Active { live, .. } = &mut life
        {
            *live = Arc::new(edit(live, XmlFlags::empty())?);
        }
        network.publish(|snapshot| snapshot.life = life);
        Ok(())
    }
}

fn is_active(snapshot: &Snapshot<Kind>) -> bool {
    snapshot.is_active()
}

#[virt_api::implements]
impl NetworkDriver for TestConnection {
    #[inline_safe]
    fn connect_num_of_networks(&self, cx: &mut CallContext<'_>) -> Result<ConnectNumOfNetworksReply> {
        let num = listing::count(&self.networks_seen(cx, is_active)?);
        Ok(ConnectNumOfNetworksReply { num })
    }

    #[inline_safe]
    fn connect_list_networks(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListNetworksReply> {
        let seen = self.networks_seen(cx, is_active)?;
        let names = listing::at_most(seen.into_iter().map(|network| network.name), maxnames);
        Ok(ConnectListNetworksReply { names })
    }

    #[inline_safe]
    fn connect_num_of_defined_networks(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfDefinedNetworksReply> {
        let num = listing::count(&self.networks_seen(cx, |snapshot| !is_active(snapshot))?);
        Ok(ConnectNumOfDefinedNetworksReply { num })
    }

    #[inline_safe]
    fn connect_list_defined_networks(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListDefinedNetworksReply> {
        let seen = self.networks_seen(cx, |snapshot| !is_active(snapshot))?;
        let names = listing::at_most(seen.into_iter().map(|network| network.name), maxnames);
        Ok(ConnectListDefinedNetworksReply { names })
    }

    #[inline_safe]
    fn connect_list_all_networks(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllNetworksReply> {
        check_flags("testConnectListAllNetworks", flags, List::all().bits())?;
        let seen = self.networks_seen(cx, |snapshot| {
            let (active, persistent) = (snapshot.is_active(), snapshot.is_persistent());
            passes(
                List::from(flags),
                &[
                    &[(List::ACTIVE, active), (List::INACTIVE, !active)],
                    &[(List::PERSISTENT, persistent), (List::TRANSIENT, !persistent)],
                    &[
                        (List::AUTOSTART, snapshot.autostart),
                        (List::NO_AUTOSTART, !snapshot.autostart),
                    ],
                ],
            )
        })?;
        let (networks, ret) = listing::all(seen, need_results);
        Ok(ConnectListAllNetworksReply { networks, ret })
    }

    #[inline_safe]
    fn network_lookup_by_uuid(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        uuid: Uuid,
    ) -> Result<Authorized<NetworkLookupByUuidReply>> {
        let found = attributes(&by_uuid(self.world(), &uuid, None)?.snapshot());
        listing::found(cx, found, |network| NetworkLookupByUuidReply {
            network: network.into(),
        })
    }

    #[inline_safe]
    fn network_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<NetworkLookupByNameReply>> {
        let found = self.world().networks().find_name(&name);
        let network = found.map_err(|error| error.in_domain(ErrorDomain::TEST))?;
        let found = attributes(&network.snapshot());
        listing::found(cx, found, |network| NetworkLookupByNameReply {
            network: network.into(),
        })
    }

    fn network_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
    ) -> Result<Authorized<NetworkCreateXmlReply>> {
        let created = self.create_network(cx, &xml, Check::Usual, "virNetworkCreateXML")?;
        Ok(created.map(|network| NetworkCreateXmlReply {
            network: network.into(),
        }))
    }

    fn network_create_xml_flags(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<NetworkCreateXmlFlagsReply>> {
        let validate = NetworkCreateFlags::VALIDATE.bits();
        check_flags("testNetworkCreateXMLFlags", flags, validate)?;
        let check = Check::asked_by(flags & validate != 0);
        let created = self.create_network(cx, &xml, check, "virNetworkCreateXMLFlags")?;
        Ok(created.map(|network| NetworkCreateXmlFlagsReply {
            network: network.into(),
        }))
    }

    fn network_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
    ) -> Result<Authorized<NetworkDefineXmlReply>> {
        let defined = self.define_network(cx, &xml, Check::Usual, "virNetworkDefineXML")?;
        Ok(defined.map(|network| NetworkDefineXmlReply {
            network: network.into(),
        }))
    }

    fn network_define_xml_flags(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<NetworkDefineXmlFlagsReply>> {
        let validate = NetworkDefineFlags::VALIDATE.bits();
        check_flags("testNetworkDefineXMLFlags", flags, validate)?;
        let check = Check::asked_by(flags & validate != 0);
        let defined = self.define_network(cx, &xml, check, "virNetworkDefineXMLFlags")?;
        Ok(defined.map(|network| NetworkDefineXmlFlagsReply {
            network: network.into(),
        }))
    }

    fn network_undefine(&self, cx: &mut CallContext<'_>, network: Resolved<Network>) -> Result<()> {
        self.change_network(cx, &network, "virNetworkUndefine", |networks, network| {
            let snapshot = network.snapshot();
            if snapshot.is_active() {
                return Err(error(
                    ErrorCode::OPERATION_INVALID,
                    format_args!("network '{}' runs still", snapshot.name()),
                ));
            }
            note(network, Lifecycle::UNDEFINED);
            networks.remove(network);
            Ok(())
        })
    }

    #[flags("testNetworkUpdate", DomainModificationImpact::all().bits())]
    fn network_update(
        &self,
        cx: &mut CallContext<'_>,
        network: Resolved<Network>,
        command: u32,
        section: u32,
        parent_index: i32,
        xml: String,
        flags: u32,
    ) -> Result<()> {
        self.change_network(cx, &network, "virNetworkUpdate", |_, network| {
            let update = Update {
                command: Command::from_number(command),
                section: Section::from_number(section),
                parent: parent_index,
                xml: &xml,
            };
            Self::edit_network(network, flags, |definition, flags| {
                definition.updated(&update, flags)
            })
        })
    }

    fn network_create(&self, cx: &mut CallContext<'_>, network: Resolved<Network>) -> Result<()> {
        self.change_network(cx, &network, "virNetworkCreate", |_, network| {
            let snapshot = network.snapshot();
            if snapshot.is_active() {
                return Err(error(
                    ErrorCode::OPERATION_INVALID,
                    format_args!("network '{}' runs already", snapshot.name()),
                ));
            }
            let live = Arc::clone(snapshot.life.current());
            network.publish(|snapshot| snapshot.life = snapshot.life.started(live));
            note(network, Lifecycle::STARTED);
            Ok(())
        })
    }

    fn network_destroy(&self, cx: &mut CallContext<'_>, network: Resolved<Network>) -> Result<()> {
        self.change_network(cx, &network, "virNetworkDestroy", |networks, network| {
            note(network, Lifecycle::STOPPED);
            match network.snapshot().life.stopped() {
                Some(stopped) => network.publish(|snapshot| snapshot.life = stopped),
                None => networks.remove(network),
            }
            Ok(())
        })
    }

    #[inline_safe]
    #[flags("testNetworkGetXMLDesc", 0)]
    fn network_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        network: Resolved<Network>,
        _: u32,
    ) -> Result<NetworkGetXmlDescReply> {
        let snapshot = network.handle::<VirtualNetwork>()?.snapshot();
        Ok(NetworkGetXmlDescReply {
            xml: snapshot.life.current().format(XmlFlags::empty()),
        })
    }

    #[inline_safe]
    fn network_get_bridge_name(
        &self,
        _: &mut CallContext<'_>,
        network: Resolved<Network>,
    ) -> Result<NetworkGetBridgeNameReply> {
        let snapshot = network.handle::<VirtualNetwork>()?.snapshot();
        match snapshot.life.current().bridge.name.clone() {
            Some(name) => Ok(NetworkGetBridgeNameReply { name }),
            None => Err(error(
                ErrorCode::INTERNAL_ERROR,
                format_args!("network '{}' has no bridge", snapshot.name()),
            )),
        }
    }

    #[inline_safe]
    fn network_get_autostart(
        &self,
        _: &mut CallContext<'_>,
        network: Resolved<Network>,
    ) -> Result<NetworkGetAutostartReply> {
        Ok(NetworkGetAutostartReply {
            autostart: network.handle::<VirtualNetwork>()?.snapshot().autostart.into(),
        })
    }

    fn network_set_autostart(
        &self,
        cx: &mut CallContext<'_>,
        network: Resolved<Network>,
        autostart: i32,
    ) -> Result<()> {
        self.change_network(cx, &network, "virNetworkSetAutostart", |_, network| {
            network.publish(|snapshot| snapshot.autostart = autostart != 0);
            Ok(())
        })
    }

    #[inline_safe]
    fn network_is_active(
        &self,
        _: &mut CallContext<'_>,
        network: Resolved<Network>,
    ) -> Result<NetworkIsActiveReply> {
        let active = network.handle::<VirtualNetwork>()?.snapshot().is_active();
        Ok(NetworkIsActiveReply {
            active: active.into(),
        })
    }

    #[inline_safe]
    fn network_is_persistent(
        &self,
        _: &mut CallContext<'_>,
        network: Resolved<Network>,
    ) -> Result<NetworkIsPersistentReply> {
        let persistent = network.handle::<VirtualNetwork>()?.snapshot().is_persistent();
        Ok(NetworkIsPersistentReply {
            persistent: persistent.into(),
        })
    }

    #[flags("testNetworkSetMetadata", DomainModificationImpact::all().bits())]
    fn network_set_metadata(
        &self,
        cx: &mut CallContext<'_>,
        network: Resolved<Network>,
        kind: i32,
        metadata: Option<String>,
        key: Option<String>,
        uri: Option<String>,
        flags: u32,
    ) -> Result<()> {
        self.change_network(cx, &network, "virNetworkSetMetadata", |_, network| {
            Self::edit_network(network, flags, |definition, _| {
                let mut edited = definition.clone();
                edited
                    .set_metadata_piece(
                        NetworkMetadataType(kind),
                        metadata.as_deref(),
                        key.as_deref(),
                        uri.as_deref(),
                    )
                    .map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))?;
                Ok(edited)
            })?;
            note_metadata(network, kind, uri.clone());
            Ok(())
        })
    }

    #[inline_safe]
    #[flags("testNetworkGetMetadata", DomainModificationImpact::all().bits())]
    fn network_get_metadata(
        &self,
        _: &mut CallContext<'_>,
        network: Resolved<Network>,
        kind: i32,
        uri: Option<String>,
        flags: u32,
    ) -> Result<NetworkGetMetadataReply> {
        let snapshot = network.handle::<VirtualNetwork>()?.snapshot();
        let (definition, _) = snapshot
            .one_definition(flags)
            .map_err(|error| error.in_domain(ErrorDomain::TEST))?;
        let metadata = definition
            .metadata_piece(NetworkMetadataType(kind), uri.as_deref())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::TEST))?;
        Ok(NetworkGetMetadataReply { metadata })
    }
}
