//! The procedures that the simulator answers.
//!
//! | module | what it is about |
//! |---|---|
//! | [`host`] | the host and the connection to it |
//! | [`cpus`] | CPU models: names, comparisons, what several have in common |
//! | [`virt_api::guests`] | lists of guests, looking them up, their states |
//! | [`state`] | what is known of a guest: its state, its numbers, its jobs |
//! | [`definitions`] | definitions of guests: made, shown, changed, taken away |
//! | [`lifecycle`] | starting, ending, pausing, and what is kept of a guest in between |
//! | [`tuning`] | how much of the host a guest has |
//! | [`hotplug`] | devices plugged in and out |
//! | [`console`] | a guest's terminals, screen and keys |
//! | [`processors`] | which processors of the host a guest's threads run on |
//! | [`parameters`] | limits and weights as typed parameters |
//! | [`statistics`] | what is counted and measured of a guest |
//! | [`inside`] | what only the guest itself could tell or do |
//! | [`saved`] | guests in files: saved, restored, dumped |
//! | [`snapshots`], [`checkpoints`] | moments of guests |

mod checkpoints;
mod console;
mod cpus;
mod definitions;
mod host;
mod hotplug;
mod inside;
mod lifecycle;
mod parameters;
mod processors;
mod saved;
mod snapshots;
mod state;
mod statistics;
mod tuning;

use std::sync::Arc;

use virt_api::access::{
    AccessObject, Domain, DomainCheckpoint, DomainSnapshot, Found, Interface, Network, NodeDevice, Resolved,
    Resolver, StoragePool, StorageVol,
};
use virt_api::call::CallContext;
use virt_api::driver::{DriverConnection, OpenContext};
use virt_api::guests::{Facts, Guests};
use virt_api::protocol::traits::{
    HypervisorDriver, InterfaceDriver, NetworkDriver, NodeDeviceDriver, StorageDriver,
};
use virt_conf::registry::job::JobGuard;
use virt_util::types::ConnectListAllDomainsFlags;
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::definition::GuestDefinition;
use crate::domain::{self, Guest, GuestId, Lasting};
use crate::error;
use crate::life;
use crate::world::World;
use crate::{devices, interfaces, moments, networks, pools};

/// The most processors a guest may have.
const VCPUS_MAX: i32 = 32;

/// One client's connection to a simulated host.
#[derive(Debug)]
pub struct TestConnection {
    world: Arc<World>,
    uri: String,
}

impl TestConnection {
    pub(crate) fn new(world: Arc<World>, cx: &OpenContext) -> Self {
        Self {
            world,
            uri: cx.uri().to_owned(),
        }
    }

    /// The host.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The guest of a moment that `find` finds.
    fn moment_of(&self, key: &Domain, find: impl Fn(&Lasting) -> Result<()>) -> Result<Arc<Guest>> {
        let guest = self.world.guests().find_uuid(&key.uuid, Some(&key.name))?;
        find(&guest.snapshot().state.lasting).map_err(moments::in_driver)?;
        Ok(guest)
    }

    /// Does `change` with the guest's lane held, and tells what happened when it is let go. What was resolved is the guest,
    /// or one of its moments.
    fn change<T, A: AccessObject>(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<A>,
        api: &'static str,
        change: impl FnOnce(&World, &Arc<Guest>) -> Result<T>,
    ) -> Result<T> {
        let guest = domain.handle_arc::<Guest>()?;
        let job: JobGuard = life::begin(&guest, cx, api)?;
        let done = change(&self.world, &guest);
        drop(job);
        self.world.tell(&guest)?;
        done
    }
}

impl DriverConnection for TestConnection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn network(&self) -> Option<&dyn NetworkDriver> {
        Some(self)
    }

    fn interface(&self) -> Option<&dyn InterfaceDriver> {
        Some(self)
    }

    fn storage(&self) -> Option<&dyn StorageDriver> {
        Some(self)
    }

    fn node_device(&self) -> Option<&dyn NodeDeviceDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(self)
    }

    fn error_domain(&self) -> ErrorDomain {
        Self::ERROR_DOMAIN
    }
}

impl Guests for TestConnection {
    type Guest = Guest;

    const PREFIX: &'static str = "test";
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::TEST;

    fn uri(&self) -> &str {
        &self.uri
    }

    fn guests(&self, wanted: ConnectListAllDomainsFlags) -> impl Iterator<Item = Domain> {
        let guests = self.world.guests();
        guests
            .snapshots(move |guest| domain::matches(guest, wanted))
            .map(|guest| domain::attributes(&guest))
    }

    fn by_id(&self, id: i32) -> Result<Domain> {
        match self.world.guests().by_key(&GuestId(id)) {
            Some(guest) => Ok(domain::attributes(&guest.snapshot())),
            None => Err(error(
                ErrorCode::NO_DOMAIN,
                format_args!("no domain with matching id '{id}'"),
            )),
        }
    }

    fn by_uuid(&self, uuid: &Uuid) -> Result<Domain> {
        let guest = self.world.guests().find_uuid(uuid, None)?;
        Ok(domain::attributes(&guest.snapshot()))
    }

    fn by_name(&self, name: &str) -> Result<Domain> {
        let guest = self.world.guests().find_name(name)?;
        Ok(domain::attributes(&guest.snapshot()))
    }

    fn facts(guest: &Guest) -> Facts {
        let snapshot = guest.snapshot();
        Facts {
            active: snapshot.is_active(),
            persistent: snapshot.is_persistent(),
            autostart: snapshot.autostart,
            state: snapshot.state.state,
            reason: snapshot.state.reason,
        }
    }
}

impl Resolver for TestConnection {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        let guest = self.world.guests().find_uuid(&key.uuid, Some(&key.name))?;
        Ok(Found::new(domain::attributes(&guest.snapshot()), guest))
    }

    fn domain_snapshot(&self, key: &DomainSnapshot) -> Result<Found<DomainSnapshot>> {
        let guest = self.moment_of(&key.domain, |lasting| lasting.snapshots.find(&key.name).map(drop))?;
        let found = DomainSnapshot {
            domain: domain::attributes(&guest.snapshot()),
            name: key.name.clone(),
        };
        Ok(Found::new(found, guest))
    }

    fn domain_checkpoint(&self, key: &DomainCheckpoint) -> Result<Found<DomainCheckpoint>> {
        let guest = self.moment_of(&key.domain, |lasting| {
            lasting.checkpoints.find(&key.name).map(drop)
        })?;
        let found = DomainCheckpoint {
            domain: domain::attributes(&guest.snapshot()),
            name: key.name.clone(),
        };
        Ok(Found::new(found, guest))
    }

    fn network(&self, key: &Network) -> Result<Found<Network>> {
        networks::resolve(&self.world, key)
    }

    fn interface(&self, key: &Interface) -> Result<Found<Interface>> {
        interfaces::resolve(&self.world, key)
    }

    fn storage_pool(&self, key: &StoragePool) -> Result<Found<StoragePool>> {
        pools::resolve(&self.world, key)
    }

    fn storage_vol(&self, key: &StorageVol) -> Result<Found<StorageVol>> {
        pools::resolve_volume(&self.world, key)
    }

    fn node_device(&self, key: &NodeDevice) -> Result<Found<NodeDevice>> {
        devices::resolve(&self.world, key)
    }
}

/// Refuses flags that a call does not know.
pub(crate) fn check_flags(call: &str, flags: u32, allowed: u32) -> Result<()> {
    virt_util::types::check_flags(call, flags, allowed).map_err(|error| error.in_domain(ErrorDomain::TEST))
}

/// The error as one of what libvirt's drivers share about definitions.
pub(crate) fn of_definitions(error: VirtError) -> VirtError {
    error.in_domain(ErrorDomain::DOMAIN)
}

/// The one definition that a call with these flags reads.
fn one_definition(domain: &Resolved<Domain>, flags: u32) -> Result<Arc<GuestDefinition>> {
    let snapshot = domain.handle::<Guest>()?.snapshot();
    let (definition, _) = snapshot.one_definition(flags).map_err(of_definitions)?;
    Ok(Arc::clone(definition))
}

/// A count as the protocol carries it.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[virt_api::implements(parts(
    virt_api::guests,
    host,
    cpus,
    state,
    definitions,
    lifecycle,
    tuning,
    hotplug,
    console,
    processors,
    parameters,
    statistics,
    inside,
    saved,
    snapshots,
    checkpoints
))]
impl HypervisorDriver for TestConnection {}
