//! Storage pools and volumes: sizes are counted, nothing is stored.

use std::sync::Arc;

use virt_api::access::{Authorized, Found, Resolved, StoragePool, StorageVol, Unchecked};
use virt_api::call::CallContext;
use virt_api::events::{EventClass, EventSubject};
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::table::EventMessage;
use virt_api::protocol::traits::StorageDriver;
use virt_conf::domain::normalize::SystemRandomness;
use virt_conf::registry::volumes::VolumeIndex;
use virt_conf::registry::{self, Life, Object, Purpose, Registry, Snapshot, passes};
use virt_conf::schema::Check;
use virt_conf::storage_pool::StoragePool as Definition;
use virt_conf::storage_pool::adapter::PoolAdapter;
use virt_conf::storage_pool::{PoolDevice, PoolFormat, PoolHost, PoolSource, PoolType, format_sources};
use virt_conf::storage_volume::{CapacityRule, Volume};
use virt_util::types::{
    ConnectListAllStoragePoolsFlags as List, StoragePoolDefineFlags, StoragePoolEventId,
    StoragePoolEventLifecycleType as Lifecycle, StoragePoolState, StorageVolCreateFlags, StorageVolType,
};
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::changes::asker;
use crate::connection::{TestConnection, check_flags};
use crate::devices;
use crate::error;
use crate::shared::{self, Happened, check_schema, hold};
use crate::world::World;

/// The size of every pool: 100 GiB.
const CAPACITY: u64 = 100 << 30;

/// The kind of object that pools are.
#[derive(Debug)]
pub struct Kind;

impl registry::Kind for Kind {
    type Definition = Definition;
    type State = PoolState;
    type Private = ();
    type Key = ();
    type Event = Happened;

    const NOUN: &'static str = "storage pool";
    const SHORT_NOUN: &'static str = "pool";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_STORAGE_POOL;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::TEST;
    const CLASH_DOMAIN: ErrorDomain = ErrorDomain::STORAGE;
    const HAS_NEIGHBOUR_RULE: bool = true;

    fn check_neighbour(known: &Snapshot<Self>, new: &Definition) -> Result<()> {
        known.life.current().check_neighbour(new)
    }
}

/// What is published of a pool beside its definitions.
#[derive(Clone, Debug, Default)]
pub struct PoolState {
    /// Its volumes.
    pub volumes: VolumeIndex,
    /// Bytes that they take.
    pub allocation: u64,
}

/// A pool.
pub type Pool = Object<Kind>;
/// The pools of a host.
pub type Pools = Registry<Kind>;

/// A volume that arguments name.
#[derive(Debug)]
pub struct PoolVolume {
    pool: Arc<Pool>,
    volume: Arc<Volume>,
}

/// The pool as clients and policies know it.
fn attributes(snapshot: &Snapshot<Kind>) -> StoragePool {
    claimed(snapshot.life.current())
}

fn claimed(pool: &Definition) -> StoragePool {
    StoragePool {
        name: pool.name.clone(),
        uuid: pool.uuid.unwrap_or_default(),
    }
}

fn volume_attributes(pool: StoragePool, volume: &Volume) -> StorageVol {
    StorageVol {
        pool,
        name: volume.name.clone(),
        key: volume.key.clone().unwrap_or_default(),
    }
}

/// Takes a pool of a host file in: it runs, and has these volumes.
pub fn adopt(pools: &Pools, mut pool: Definition, volumes: Vec<Volume>) -> Result<()> {
    pool.normalize(&SystemRandomness);
    let mut state = PoolState::default();
    for mut volume in volumes {
        place(&pool, &mut volume, false);
        state.allocation = state.allocation.saturating_add(volume.allocated());
        state.volumes.insert(Arc::new(volume))?;
    }
    let snapshot = shared::running(pool, state, true);
    pools.adopt(snapshot, ()).map(|_| ())
}

/// Gives a volume its path and its key, which is the path; those that it has stay if it is not `fresh`.
fn place(pool: &Definition, volume: &mut Volume, fresh: bool) {
    let folder = pool.target.as_ref().map(|target| target.path.as_str());
    let path = format!("{}/{}", folder.unwrap_or_default(), volume.name);
    if fresh {
        volume.target.path = None;
        volume.key = None;
    }
    let path = volume.target.path.get_or_insert(path).clone();
    volume.key.get_or_insert(path);
}

/// The pool that arguments name.
pub fn resolve(world: &World, key: &StoragePool) -> Result<Found<StoragePool>> {
    let pool = world.pools().find_uuid(&key.uuid, Some(&key.name))?;
    Ok(Found::new(attributes(&pool.snapshot()), pool))
}

/// The volume that arguments name, in a pool that runs.
pub fn resolve_volume(world: &World, key: &StorageVol) -> Result<Found<StorageVol>> {
    let pool = world.pools().find_name(&key.pool.name)?;
    let snapshot = active(&pool)?;
    let volume = find_volume(&snapshot, &key.name)?;
    let attributes = volume_attributes(attributes(&snapshot), &volume);
    Ok(Found::new(attributes, Arc::new(PoolVolume { pool, volume })))
}

fn find_volume(snapshot: &Snapshot<Kind>, name: &str) -> Result<Arc<Volume>> {
    let found = snapshot.state.volumes.by_name(name);
    found.map_err(|error| error.in_domain(ErrorDomain::TEST))
}

fn active(pool: &Pool) -> Result<Arc<Snapshot<Kind>>> {
    let snapshot = pool.snapshot();
    if snapshot.is_active() {
        return Ok(snapshot);
    }
    Err(error(
        ErrorCode::OPERATION_INVALID,
        format_args!("storage pool '{}' is not active", snapshot.name()),
    ))
}

fn inactive(pool: &Pool) -> Result<Arc<Snapshot<Kind>>> {
    let snapshot = pool.snapshot();
    if !snapshot.is_active() {
        return Ok(snapshot);
    }
    Err(error(
        ErrorCode::OPERATION_INVALID,
        format_args!("storage pool '{}' is active", snapshot.name()),
    ))
}

fn note(pool: &Pool, what: Lifecycle) {
    let object = attributes(&pool.snapshot());
    let told = object.clone();
    pool.events().note(Happened {
        event: (EventClass::StoragePool, StoragePoolEventId::LIFECYCLE.0),
        subject: EventSubject::Uuid(object.uuid),
        object: Box::new(object),
        procedure: StoragePoolEventLifecycleMessage::PROCEDURE,
        encode: Box::new(move || {
            StoragePoolEventLifecycleMessage {
                callback_id: 0,
                pool: told.clone().into(),
                event: what.0,
                detail: 0,
            }
            .behind_callback_id()
        }),
    });
}

fn note_refresh(pool: &Pool) {
    let object = attributes(&pool.snapshot());
    let told = object.clone();
    pool.events().note(Happened {
        event: (EventClass::StoragePool, StoragePoolEventId::REFRESH.0),
        subject: EventSubject::Uuid(object.uuid),
        object: Box::new(object),
        procedure: StoragePoolEventRefreshMessage::PROCEDURE,
        encode: Box::new(move || {
            StoragePoolEventRefreshMessage {
                callback_id: 0,
                pool: told.clone().into(),
            }
            .behind_callback_id()
        }),
    });
}

/// Reads a definition that a client sent.
fn parse(xml: &str, check: Check) -> Result<Arc<Definition>> {
    check_schema(xml, "(storage_pool_definition)", check)?;
    let mut pool = Definition::parse_with(
        xml,
        virt_util::xml::XmlFlags::NO_NAMESPACES,
        "(storage_pool_definition)",
    )?;
    pool.normalize(&SystemRandomness);
    Ok(Arc::new(pool))
}

/// The names of a virtual Fibre Channel adapter that a pool needs made.
fn virtual_port(pool: &Definition) -> Option<(&str, &str)> {
    match &pool.source.adapter {
        Some(PoolAdapter::FcHost { wwnn, wwpn, .. }) => Some((wwnn.as_deref()?, wwpn.as_deref()?)),
        _ => None,
    }
}

/// What a volume of a pool of this type is.
fn volume_type(pool: PoolType) -> StorageVolType {
    match pool {
        PoolType::Dir | PoolType::Fs | PoolType::Netfs | PoolType::Vstorage => StorageVolType::FILE,
        PoolType::Sheepdog | PoolType::IscsiDirect | PoolType::Gluster | PoolType::Rbd => {
            StorageVolType::NETWORK
        }
        PoolType::Logical
        | PoolType::Disk
        | PoolType::Mpath
        | PoolType::Iscsi
        | PoolType::Scsi
        | PoolType::Zfs => StorageVolType::BLOCK,
    }
}

fn type_flag(pool: PoolType) -> List {
    match pool {
        PoolType::Dir => List::DIR,
        PoolType::Fs => List::FS,
        PoolType::Netfs => List::NETFS,
        PoolType::Logical => List::LOGICAL,
        PoolType::Disk => List::DISK,
        PoolType::Iscsi => List::ISCSI,
        PoolType::IscsiDirect => List::ISCSI_DIRECT,
        PoolType::Scsi => List::SCSI,
        PoolType::Mpath => List::MPATH,
        PoolType::Rbd => List::RBD,
        PoolType::Sheepdog => List::SHEEPDOG,
        PoolType::Gluster => List::GLUSTER,
        PoolType::Zfs => List::ZFS,
        PoolType::Vstorage => List::VSTORAGE,
    }
}

fn is_active(snapshot: &Snapshot<Kind>) -> bool {
    snapshot.is_active()
}

impl TestConnection {
    /// Does `change` with the pool's lane held, and tells what happened when it is let go.
    fn change_pool<T>(
        &self,
        cx: &CallContext<'_>,
        pool: &Arc<Pool>,
        api: &'static str,
        change: impl FnOnce(&World, &Arc<Pool>) -> Result<T>,
    ) -> Result<T> {
        let job = hold(pool, cx, api)?;
        let done = change(self.world(), pool);
        drop(job);
        self.world().tell_of(pool)?;
        done
    }

    fn pools_seen(
        &self,
        cx: &mut CallContext<'_>,
        wanted: impl Fn(&Snapshot<Kind>) -> bool,
    ) -> Result<Vec<StoragePool>> {
        listing::visible(
            cx,
            self.world()
                .pools()
                .snapshots(wanted)
                .map(|snapshot| attributes(&snapshot)),
        )
    }

    /// The volumes of a pool that runs, as far as the caller may see them.
    fn volumes_seen(
        &self,
        cx: &mut CallContext<'_>,
        pool: &Resolved<StoragePool>,
    ) -> Result<Vec<StorageVol>> {
        let snapshot = active(pool.handle::<Pool>()?)?;
        let mut seen = Vec::new();
        for volume in snapshot.state.volumes.iter() {
            let volume = volume_attributes(attributes(&snapshot), volume);
            if cx.may_see(&volume)? {
                seen.push(volume);
            }
        }
        Ok(seen)
    }

    /// The first volume that `find` finds in a pool that runs.
    fn lookup_volume(
        &self,
        cx: &mut CallContext<'_>,
        what: std::fmt::Arguments<'_>,
        find: impl Fn(&VolumeIndex) -> Result<Arc<Volume>>,
    ) -> Result<Authorized<StorageVolRef>> {
        let pools = self.world().pools().select(is_active);
        let found = pools.iter().find_map(|pool| {
            let snapshot = pool.snapshot();
            let volume = find(&snapshot.state.volumes).ok()?;
            Some(volume_attributes(attributes(&snapshot), &volume))
        });
        let Some(found) = found else {
            return Err(error(ErrorCode::NO_STORAGE_VOL, what));
        };
        let permit = cx.authorize(&found)?;
        Ok(permit.reply((&found).into()))
    }

    /// Makes a volume; `original` is the name of one that must be in the pool.
    fn create_volume(
        &self,
        cx: &mut CallContext<'_>,
        pool: StoragePoolRef,
        xml: &str,
        flags: u32,
        original: Option<&str>,
        api: &'static str,
    ) -> Result<Authorized<StorageVol>> {
        let validate = StorageVolCreateFlags::VALIDATE.bits();
        check_flags("testStorageVolCreateXML", flags, validate)?;
        let pool = self.world().pools().find_uuid(&pool.uuid, Some(&pool.name))?;
        let snapshot = active(&pool)?;
        let kind = snapshot.life.current().kind;
        let name = "(storage_volume_definition)";
        check_schema(xml, name, Check::asked_by(flags & validate != 0))?;
        let mut volume = Volume::parse(xml, kind, CapacityRule::Required, name)?;
        place(snapshot.life.current(), &mut volume, true);
        let made = volume_attributes(attributes(&snapshot), &volume);
        let permit = cx.authorize(&made)?;
        self.change_pool(cx, &pool, api, |_, pool| {
            let snapshot = active(pool)?;
            let state = &snapshot.state;
            if state.volumes.by_name(&volume.name).is_ok() {
                return Err(error(ErrorCode::OPERATION_FAILED, "storage vol already exists"));
            }
            if let Some(original) = original {
                find_volume(&snapshot, original)?;
            }
            let allocation = state.allocation.checked_add(volume.allocated());
            let Some(allocation) = allocation.filter(|allocation| *allocation <= CAPACITY) else {
                return Err(error(
                    ErrorCode::INTERNAL_ERROR,
                    format_args!("the pool has no room for volume '{}'", volume.name),
                ));
            };
            let mut volumes = state.volumes.clone();
            volumes.insert(Arc::new(volume))?;
            pool.publish(|snapshot| snapshot.state = PoolState { volumes, allocation });
            Ok(())
        })?;
        Ok(permit.reply(made))
    }
}

#[virt_api::implements]
impl StorageDriver for TestConnection {
    #[inline_safe]
    fn connect_num_of_storage_pools(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfStoragePoolsReply> {
        let num = listing::count(&self.pools_seen(cx, is_active)?);
        Ok(ConnectNumOfStoragePoolsReply { num })
    }

    #[inline_safe]
    fn connect_list_storage_pools(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListStoragePoolsReply> {
        let seen = self.pools_seen(cx, is_active)?;
        let names = listing::at_most(seen.into_iter().map(|pool| pool.name), maxnames);
        Ok(ConnectListStoragePoolsReply { names })
    }

    #[inline_safe]
    fn connect_num_of_defined_storage_pools(
        &self,
        cx: &mut CallContext<'_>,
    ) -> Result<ConnectNumOfDefinedStoragePoolsReply> {
        let num = listing::count(&self.pools_seen(cx, |snapshot| !is_active(snapshot))?);
        Ok(ConnectNumOfDefinedStoragePoolsReply { num })
    }

    #[inline_safe]
    fn connect_list_defined_storage_pools(
        &self,
        cx: &mut CallContext<'_>,
        maxnames: i32,
    ) -> Result<ConnectListDefinedStoragePoolsReply> {
        let seen = self.pools_seen(cx, |snapshot| !is_active(snapshot))?;
        let names = listing::at_most(seen.into_iter().map(|pool| pool.name), maxnames);
        Ok(ConnectListDefinedStoragePoolsReply { names })
    }

    #[inline_safe]
    fn connect_list_all_storage_pools(
        &self,
        cx: &mut CallContext<'_>,
        need_results: i32,
        flags: u32,
    ) -> Result<ConnectListAllStoragePoolsReply> {
        check_flags("testConnectListAllStoragePools", flags, List::all().bits())?;
        let kinds = PoolType::ALL.iter().map(|kind| type_flag(*kind).bits());
        let kinds = kinds.fold(0, |all, flag| all | flag);
        let seen = self.pools_seen(cx, |snapshot| {
            let (active, persistent) = (snapshot.is_active(), snapshot.is_persistent());
            let kind = type_flag(snapshot.life.current().kind).bits();
            let filters: &[&[(List, bool)]] = &[
                &[(List::ACTIVE, active), (List::INACTIVE, !active)],
                &[(List::PERSISTENT, persistent), (List::TRANSIENT, !persistent)],
                &[
                    (List::AUTOSTART, snapshot.autostart),
                    (List::NO_AUTOSTART, !snapshot.autostart),
                ],
            ];
            passes(List::from(flags), filters) && (flags & kinds == 0 || flags & kind != 0)
        })?;
        let (pools, ret) = listing::all(seen, need_results);
        Ok(ConnectListAllStoragePoolsReply { pools, ret })
    }

    fn connect_find_storage_pool_sources(
        &self,
        _: &mut CallContext<'_>,
        kind: String,
        src_spec: Option<String>,
        flags: u32,
    ) -> Result<ConnectFindStoragePoolSourcesReply> {
        check_flags("testConnectFindStoragePoolSources", flags, 0)?;
        // The codes are libvirt's, odd as they are: its simulator takes the first type for none.
        let refused = |code| {
            let what =
                format_args!("pools of type '{kind}' are not searched for: expected 'netfs' or 'iscsi'");
            Err(error(code, what))
        };
        let Some(pool) = PoolType::from_word(&kind) else {
            return refused(ErrorCode::NO_SUPPORT);
        };
        let source = match &src_spec {
            None => None,
            Some(text) => Some(PoolSource::parse(text, pool, "(storage_source_specification)")?),
        };
        let sources = match pool {
            PoolType::Logical => [("testvg1", "/dev/sda20"), ("testvg2", "/dev/sda21")]
                .map(|(group, device)| PoolSource {
                    devices: vec![PoolDevice {
                        path: device.to_owned(),
                        ..PoolDevice::default()
                    }],
                    name: Some(group.to_owned()),
                    format: Some(PoolFormat::Lvm2),
                    ..PoolSource::default()
                })
                .to_vec(),
            PoolType::Netfs => {
                let host = source.and_then(|source| source.hosts.into_iter().next());
                let Some(host) = host.filter(|host| !host.name.is_empty()) else {
                    return Err(error(
                        ErrorCode::INVALID_ARG,
                        "sources of type 'netfs' need the <host> that has them",
                    ));
                };
                vec![PoolSource {
                    hosts: vec![PoolHost {
                        name: host.name,
                        ..PoolHost::default()
                    }],
                    dir: Some("/testshare".to_owned()),
                    format: Some(PoolFormat::Nfs),
                    ..PoolSource::default()
                }]
            }
            PoolType::Dir => return refused(ErrorCode::INTERNAL_ERROR),
            _ => return refused(ErrorCode::NO_SUPPORT),
        };
        Ok(ConnectFindStoragePoolSourcesReply {
            xml: format_sources(&sources),
        })
    }

    #[inline_safe]
    fn storage_pool_lookup_by_uuid(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        uuid: Uuid,
    ) -> Result<Authorized<StoragePoolLookupByUuidReply>> {
        let found = attributes(&self.world().pools().find_uuid(&uuid, None)?.snapshot());
        listing::found(cx, found, |pool| StoragePoolLookupByUuidReply {
            pool: pool.into(),
        })
    }

    #[inline_safe]
    fn storage_pool_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        name: String,
    ) -> Result<Authorized<StoragePoolLookupByNameReply>> {
        let found = attributes(&self.world().pools().find_name(&name)?.snapshot());
        listing::found(cx, found, |pool| StoragePoolLookupByNameReply {
            pool: pool.into(),
        })
    }

    #[inline_safe]
    fn storage_pool_lookup_by_volume(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        volume: StorageVolRef,
    ) -> Result<Authorized<StoragePoolLookupByVolumeReply>> {
        let found = attributes(&self.world().pools().find_name(&volume.pool)?.snapshot());
        listing::found(cx, found, |pool| StoragePoolLookupByVolumeReply {
            pool: pool.into(),
        })
    }

    fn storage_pool_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<StoragePoolCreateXmlReply>> {
        check_flags("testStoragePoolCreateXML", flags, 0)?;
        let definition = parse(&xml, Check::Usual)?;
        let permit = cx.authorize(&claimed(&definition))?;
        let asker = asker(cx, "virStoragePoolCreateXML");
        let pools = self.world().pools();
        let fresh = || (PoolState::default(), ());
        let entered = pools.enter(&definition, Purpose::Create, &asker, fresh)?;
        if let Some((node, port)) = virtual_port(&definition) {
            devices::make_virtual_port(self.world(), node, port)?;
        }
        let next = match entered.is_fresh() {
            true => None,
            false => entered.object().snapshot().life.stored().cloned(),
        };
        let (pool, job) = entered.commit();
        pool.publish(|snapshot| {
            snapshot.life = Life::Active {
                live: definition,
                next,
            }
        });
        note(&pool, Lifecycle::STARTED);
        let started = attributes(&pool.snapshot());
        drop(job);
        self.world().tell_of(&pool)?;
        Ok(permit.reply(StoragePoolCreateXmlReply { pool: started.into() }))
    }

    fn storage_pool_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<StoragePoolDefineXmlReply>> {
        let validate = StoragePoolDefineFlags::VALIDATE.bits();
        check_flags("testStoragePoolDefineXML", flags, validate)?;
        let definition = parse(&xml, Check::asked_by(flags & validate != 0))?;
        let permit = cx.authorize(&claimed(&definition))?;
        let asker = asker(cx, "virStoragePoolDefineXML");
        let fresh = || (PoolState::default(), ());
        let pools = self.world().pools();
        let (pool, job) = pools.enter(&definition, Purpose::Define, &asker, fresh)?.commit();
        pool.publish(|snapshot| snapshot.life = snapshot.life.defined(definition));
        note(&pool, Lifecycle::DEFINED);
        let defined = attributes(&pool.snapshot());
        drop(job);
        self.world().tell_of(&pool)?;
        Ok(permit.reply(StoragePoolDefineXmlReply { pool: defined.into() }))
    }

    fn storage_pool_undefine(&self, cx: &mut CallContext<'_>, pool: Resolved<StoragePool>) -> Result<()> {
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolUndefine", |world, pool| {
            inactive(pool)?;
            note(pool, Lifecycle::UNDEFINED);
            world.pools().remove(pool);
            Ok(())
        })
    }

    fn storage_pool_create(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testStoragePoolCreate", flags, 0)?;
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolCreate", |_, pool| {
            let live = Arc::clone(inactive(pool)?.life.current());
            pool.publish(|snapshot| snapshot.life = snapshot.life.started(live));
            note(pool, Lifecycle::STARTED);
            Ok(())
        })
    }

    fn storage_pool_build(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testStoragePoolBuild", flags, 0)?;
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolBuild", |_, pool| {
            inactive(pool)?;
            note(pool, Lifecycle::CREATED);
            Ok(())
        })
    }

    fn storage_pool_destroy(&self, cx: &mut CallContext<'_>, pool: Resolved<StoragePool>) -> Result<()> {
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolDestroy", |world, pool| {
            let snapshot = active(pool)?;
            note(pool, Lifecycle::STOPPED);
            match snapshot.life.stopped() {
                Some(stopped) => pool.publish(|snapshot| snapshot.life = stopped),
                None => world.pools().remove(pool),
            }
            match virtual_port(snapshot.life.current()) {
                Some((node, port)) => devices::remove_virtual_port(world, node, port),
                None => Ok(()),
            }
        })
    }

    fn storage_pool_delete(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testStoragePoolDelete", flags, 0)?;
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolDelete", |_, pool| {
            inactive(pool)?;
            note(pool, Lifecycle::DELETED);
            Ok(())
        })
    }

    fn storage_pool_refresh(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testStoragePoolRefresh", flags, 0)?;
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolRefresh", |_, pool| {
            active(pool)?;
            note_refresh(pool);
            Ok(())
        })
    }

    #[inline_safe]
    fn storage_pool_get_info(
        &self,
        _: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
    ) -> Result<StoragePoolGetInfoReply> {
        let snapshot = pool.handle::<Pool>()?.snapshot();
        let state = match snapshot.is_active() {
            true => StoragePoolState::RUNNING,
            false => StoragePoolState::INACTIVE,
        };
        let allocation = snapshot.state.allocation;
        Ok(StoragePoolGetInfoReply {
            state: u8::try_from(state.0).unwrap_or_default(),
            capacity: CAPACITY,
            allocation,
            available: CAPACITY.saturating_sub(allocation),
        })
    }

    #[inline_safe]
    fn storage_pool_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        flags: u32,
    ) -> Result<StoragePoolGetXmlDescReply> {
        check_flags("testStoragePoolGetXMLDesc", flags, 0)?;
        let snapshot = pool.handle::<Pool>()?.snapshot();
        let mut shown = Definition::clone(snapshot.life.current());
        shown.capacity = CAPACITY;
        shown.allocation = snapshot.state.allocation;
        shown.available = CAPACITY.saturating_sub(shown.allocation);
        Ok(StoragePoolGetXmlDescReply { xml: shown.format() })
    }

    #[inline_safe]
    fn storage_pool_get_autostart(
        &self,
        _: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
    ) -> Result<StoragePoolGetAutostartReply> {
        let snapshot = pool.handle::<Pool>()?.snapshot();
        let autostart = snapshot.is_persistent() && snapshot.autostart;
        Ok(StoragePoolGetAutostartReply {
            autostart: autostart.into(),
        })
    }

    fn storage_pool_set_autostart(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        autostart: i32,
    ) -> Result<()> {
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolSetAutostart", |_, pool| {
            if !pool.snapshot().is_persistent() {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    "a transient pool does not start with the host",
                ));
            }
            pool.publish(|snapshot| snapshot.autostart = autostart != 0);
            Ok(())
        })
    }

    #[inline_safe]
    fn storage_pool_is_active(
        &self,
        _: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
    ) -> Result<StoragePoolIsActiveReply> {
        let active = pool.handle::<Pool>()?.snapshot().is_active();
        Ok(StoragePoolIsActiveReply {
            active: active.into(),
        })
    }

    #[inline_safe]
    fn storage_pool_is_persistent(
        &self,
        _: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
    ) -> Result<StoragePoolIsPersistentReply> {
        let persistent = pool.handle::<Pool>()?.snapshot().is_persistent();
        Ok(StoragePoolIsPersistentReply {
            persistent: persistent.into(),
        })
    }

    #[inline_safe]
    fn storage_pool_num_of_volumes(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
    ) -> Result<StoragePoolNumOfVolumesReply> {
        let num = listing::count(&self.volumes_seen(cx, &pool)?);
        Ok(StoragePoolNumOfVolumesReply { num })
    }

    #[inline_safe]
    fn storage_pool_list_volumes(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        maxnames: i32,
    ) -> Result<StoragePoolListVolumesReply> {
        let seen = self.volumes_seen(cx, &pool)?;
        let names = listing::at_most(seen.into_iter().map(|volume| volume.name), maxnames);
        Ok(StoragePoolListVolumesReply { names })
    }

    #[inline_safe]
    fn storage_pool_list_all_volumes(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        need_results: i32,
        flags: u32,
    ) -> Result<StoragePoolListAllVolumesReply> {
        check_flags("testStoragePoolListAllVolumes", flags, 0)?;
        let seen = self.volumes_seen(cx, &pool)?;
        let ret = u32::try_from(seen.len()).unwrap_or(u32::MAX);
        let seen = if need_results == 0 { Vec::new() } else { seen };
        Ok(StoragePoolListAllVolumesReply {
            volumes: seen.iter().map(StorageVolRef::from).collect(),
            ret,
        })
    }

    #[inline_safe]
    fn storage_vol_lookup_by_name(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        pool: StoragePoolRef,
        name: String,
    ) -> Result<Authorized<StorageVolLookupByNameReply>> {
        let pool = self.world().pools().find_uuid(&pool.uuid, Some(&pool.name))?;
        let snapshot = active(&pool)?;
        let volume = find_volume(&snapshot, &name)?;
        let found = volume_attributes(attributes(&snapshot), &volume);
        let permit = cx.authorize(&found)?;
        Ok(permit.reply(StorageVolLookupByNameReply {
            volume: (&found).into(),
        }))
    }

    #[inline_safe]
    fn storage_vol_lookup_by_key(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        key: String,
    ) -> Result<Authorized<StorageVolLookupByKeyReply>> {
        let what = format_args!("no storage vol with matching key '{key}'");
        let found = self.lookup_volume(cx, what, |volumes| volumes.by_key(&key))?;
        Ok(found.map(|volume| StorageVolLookupByKeyReply { volume }))
    }

    #[inline_safe]
    fn storage_vol_lookup_by_path(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        path: String,
    ) -> Result<Authorized<StorageVolLookupByPathReply>> {
        let what = format_args!("no storage vol with matching path '{path}'");
        let found = self.lookup_volume(cx, what, |volumes| volumes.by_path(&path))?;
        Ok(found.map(|volume| StorageVolLookupByPathReply { volume }))
    }

    fn storage_vol_create_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        pool: StoragePoolRef,
        xml: String,
        flags: u32,
    ) -> Result<Authorized<StorageVolCreateXmlReply>> {
        let made = self.create_volume(cx, pool, &xml, flags, None, "virStorageVolCreateXML")?;
        Ok(made.map(|volume| StorageVolCreateXmlReply {
            volume: (&volume).into(),
        }))
    }

    fn storage_vol_create_xml_from(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        pool: StoragePoolRef,
        xml: String,
        source_volume: StorageVolRef,
        flags: u32,
    ) -> Result<Authorized<StorageVolCreateXmlFromReply>> {
        let original = Some(source_volume.name.as_str());
        let made = self.create_volume(cx, pool, &xml, flags, original, "virStorageVolCreateXMLFrom")?;
        Ok(made.map(|volume| StorageVolCreateXmlFromReply {
            volume: (&volume).into(),
        }))
    }

    fn storage_vol_delete(
        &self,
        cx: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
        flags: u32,
    ) -> Result<()> {
        check_flags("testStorageVolDelete", flags, 0)?;
        let found = volume.handle_arc::<PoolVolume>()?;
        self.change_pool(cx, &found.pool, "virStorageVolDelete", |_, pool| {
            let mut state = active(pool)?.state.clone();
            let gone = state.volumes.remove(&found.volume.name);
            let gone = gone.map_err(|error| error.in_domain(ErrorDomain::TEST))?;
            state.allocation = state.allocation.saturating_sub(gone.allocated());
            pool.publish(|snapshot| snapshot.state = state);
            Ok(())
        })
    }

    #[inline_safe]
    fn storage_vol_get_info(
        &self,
        _: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
    ) -> Result<StorageVolGetInfoReply> {
        let found = volume.handle::<PoolVolume>()?;
        let kind = volume_type(found.pool.snapshot().life.current().kind);
        Ok(StorageVolGetInfoReply {
            kind: i8::try_from(kind.0).unwrap_or_default(),
            capacity: found.volume.capacity,
            allocation: found.volume.allocated(),
        })
    }

    #[inline_safe]
    fn storage_vol_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
        flags: u32,
    ) -> Result<StorageVolGetXmlDescReply> {
        check_flags("testStorageVolGetXMLDesc", flags, 0)?;
        let found = volume.handle::<PoolVolume>()?;
        Ok(StorageVolGetXmlDescReply {
            xml: found.volume.format(),
        })
    }

    #[inline_safe]
    fn storage_vol_get_path(
        &self,
        _: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
    ) -> Result<StorageVolGetPathReply> {
        let found = volume.handle::<PoolVolume>()?;
        Ok(StorageVolGetPathReply {
            name: found.volume.target.path.clone().unwrap_or_default(),
        })
    }
}
