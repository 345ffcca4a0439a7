//! What pools are here: their kind and state, how they are found, what is told of them.

use std::sync::Arc;

use virt_api::access::{Found, StoragePool, StorageVol};
use virt_api::events::{EventClass, EventSubject};
use virt_api::protocol::remote::{StoragePoolEventLifecycleMessage, StoragePoolEventRefreshMessage};
use virt_api::protocol::table::EventMessage;
use virt_conf::domain::normalize::SystemRandomness;
use virt_conf::registry::volumes::VolumeIndex;
use virt_conf::registry::{self, Object, Registry, Snapshot};
use virt_conf::schema::Check;
use virt_conf::storage_pool::PoolType;
use virt_conf::storage_pool::StoragePool as Definition;
use virt_conf::storage_pool::adapter::PoolAdapter;
use virt_conf::storage_volume::Volume;
use virt_util::types::{
    ConnectListAllStoragePoolsFlags as List, StoragePoolEventId, StoragePoolEventLifecycleType as Lifecycle,
    StorageVolType,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::error;
use crate::shared::{self, Happened, check_schema};
use crate::world::World;

/// The size of every pool: 100 GiB.
pub(super) const CAPACITY: u64 = 100 << 30;

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
    pub(super) pool: Arc<Pool>,
    pub(super) volume: Arc<Volume>,
}

/// The pool as clients and policies know it.
pub(super) fn attributes(snapshot: &Snapshot<Kind>) -> StoragePool {
    claimed(snapshot.life.current())
}

pub(super) fn claimed(pool: &Definition) -> StoragePool {
    StoragePool {
        name: pool.name.clone(),
        uuid: pool.uuid.unwrap_or_default(),
    }
}

pub(super) fn volume_attributes(pool: StoragePool, volume: &Volume) -> StorageVol {
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
pub(super) fn place(pool: &Definition, volume: &mut Volume, fresh: bool) {
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

pub(super) fn find_volume(snapshot: &Snapshot<Kind>, name: &str) -> Result<Arc<Volume>> {
    let found = snapshot.state.volumes.by_name(name);
    found.map_err(|error| error.in_domain(ErrorDomain::TEST))
}

pub(super) fn active(pool: &Pool) -> Result<Arc<Snapshot<Kind>>> {
    let snapshot = pool.snapshot();
    if snapshot.is_active() {
        return Ok(snapshot);
    }
    Err(error(
        ErrorCode::OPERATION_INVALID,
        format_args!("storage pool '{}' is not active", snapshot.name()),
    ))
}

pub(super) fn inactive(pool: &Pool) -> Result<Arc<Snapshot<Kind>>> {
    let snapshot = pool.snapshot();
    if !snapshot.is_active() {
        return Ok(snapshot);
    }
    Err(error(
        ErrorCode::OPERATION_INVALID,
        format_args!("storage pool '{}' is active", snapshot.name()),
    ))
}

/// Tells what happens in the pool's life.
pub(super) fn note(pool: &Pool, what: Lifecycle) {
    happened(pool, StoragePoolEventId::LIFECYCLE, move |pool| {
        StoragePoolEventLifecycleMessage {
            callback_id: 0,
            pool: pool.into(),
            event: what.0,
            detail: 0,
        }
    });
}

/// Tells that the pool's volumes were looked for again.
pub(super) fn note_refresh(pool: &Pool) {
    happened(pool, StoragePoolEventId::REFRESH, |pool| {
        StoragePoolEventRefreshMessage {
            callback_id: 0,
            pool: pool.into(),
        }
    });
}

fn happened<M: EventMessage>(
    pool: &Pool,
    event: StoragePoolEventId,
    message: impl Fn(StoragePool) -> M + Send + Sync + 'static,
) {
    let object = attributes(&pool.snapshot());
    let told = object.clone();
    pool.events().note(Happened {
        event: (EventClass::StoragePool, event.0),
        subject: EventSubject::Uuid(object.uuid),
        object: Box::new(object),
        procedure: M::PROCEDURE,
        encode: Box::new(move || message(told.clone()).behind_callback_id()),
    });
}

/// Reads a definition that a client sent.
pub(super) fn parse(xml: &str, check: Check) -> Result<Arc<Definition>> {
    check_schema(xml, "(storage_pool_definition)", ErrorDomain::STORAGE, check)?;
    let mut pool = Definition::parse_with(
        xml,
        virt_util::xml::XmlFlags::NO_NAMESPACES,
        "(storage_pool_definition)",
    )?;
    pool.normalize(&SystemRandomness);
    Ok(Arc::new(pool))
}

/// The names of a virtual Fibre Channel adapter that a pool needs made.
pub(super) fn virtual_port(pool: &Definition) -> Option<(&str, &str)> {
    match &pool.source.adapter {
        Some(PoolAdapter::FcHost { wwnn, wwpn, .. }) => Some((wwnn.as_deref()?, wwpn.as_deref()?)),
        _ => None,
    }
}

/// What a volume of a pool of this type is.
pub(super) fn volume_type(pool: PoolType) -> StorageVolType {
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

pub(super) fn type_flag(pool: PoolType) -> List {
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

pub(super) fn is_active(snapshot: &Snapshot<Kind>) -> bool {
    snapshot.is_active()
}
