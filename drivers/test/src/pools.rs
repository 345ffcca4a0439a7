//! Storage pools and volumes: sizes are counted, nothing is stored.
//!
//! The calls are here; what pools are is in `model`, what a search for some finds in `sources`.

mod model;
mod sources;

use std::sync::Arc;

use virt_api::access::{Authorized, Resolved, StoragePool, StorageVol, Unchecked};
use virt_api::call::CallContext;
use virt_api::listing;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::StorageDriver;
use virt_conf::registry::volumes::VolumeIndex;
use virt_conf::registry::{Life, Purpose, Snapshot, passes};
use virt_conf::schema::Check;
use virt_conf::storage_pool::{PoolType, StoragePool as Definition};
use virt_conf::storage_volume::{CapacityRule, Volume};
use virt_util::types::{
    ConnectListAllStoragePoolsFlags as List, StoragePoolDefineFlags,
    StoragePoolEventLifecycleType as Lifecycle, StoragePoolState, StorageVolCreateFlags,
};
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result};

use self::model::{
    CAPACITY, Kind, PoolState, active, attributes, claimed, find_volume, inactive, is_active, note,
    note_refresh, parse, place, type_flag, virtual_port, volume_attributes, volume_type,
};
use self::sources::find_sources;
use crate::changes::asker;
use crate::connection::{TestConnection, check_flags};
use crate::devices;
use crate::error;
use crate::shared::{check_schema, hold};
use crate::world::World;

pub use self::model::{Pool, PoolVolume, Pools, adopt, resolve, resolve_volume};

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
        check_schema(
            xml,
            name,
            ErrorDomain::STORAGE,
            Check::asked_by(flags & validate != 0),
        )?;
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
        Ok(ConnectFindStoragePoolSourcesReply {
            xml: find_sources(&kind, src_spec.as_deref())?,
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

    #[flags("testStoragePoolCreate", 0)]
    fn storage_pool_create(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        _: u32,
    ) -> Result<()> {
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolCreate", |_, pool| {
            let live = Arc::clone(inactive(pool)?.life.current());
            pool.publish(|snapshot| snapshot.life = snapshot.life.started(live));
            note(pool, Lifecycle::STARTED);
            Ok(())
        })
    }

    #[flags("testStoragePoolBuild", 0)]
    fn storage_pool_build(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        _: u32,
    ) -> Result<()> {
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

    #[flags("testStoragePoolDelete", 0)]
    fn storage_pool_delete(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        _: u32,
    ) -> Result<()> {
        let pool = pool.handle_arc::<Pool>()?;
        self.change_pool(cx, &pool, "virStoragePoolDelete", |_, pool| {
            inactive(pool)?;
            note(pool, Lifecycle::DELETED);
            Ok(())
        })
    }

    #[flags("testStoragePoolRefresh", 0)]
    fn storage_pool_refresh(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        _: u32,
    ) -> Result<()> {
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
    #[flags("testStoragePoolGetXMLDesc", 0)]
    fn storage_pool_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        _: u32,
    ) -> Result<StoragePoolGetXmlDescReply> {
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
    #[flags("testStoragePoolListAllVolumes", 0)]
    fn storage_pool_list_all_volumes(
        &self,
        cx: &mut CallContext<'_>,
        pool: Resolved<StoragePool>,
        need_results: i32,
        _: u32,
    ) -> Result<StoragePoolListAllVolumesReply> {
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

    #[flags("testStorageVolDelete", 0)]
    fn storage_vol_delete(
        &self,
        cx: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
        _: u32,
    ) -> Result<()> {
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
    #[flags("testStorageVolGetXMLDesc", 0)]
    fn storage_vol_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        volume: Resolved<StorageVol>,
        _: u32,
    ) -> Result<StorageVolGetXmlDescReply> {
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
