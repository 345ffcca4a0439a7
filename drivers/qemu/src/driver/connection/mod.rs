//! The procedures that the driver answers.
//!
//! | module | what it is about |
//! |---|---|
//! | [`host`] | the host and the connection to it |
//! | [`node`] | the machine below the guests: processors, memory, pages |
//! | [`cpus`] | CPU models: names, comparisons, what several have in common |
//! | [`virt_api::guests`] | virt_api::guests of guests, looking them up, their states |
//! | [`state`] | what is known of a guest: its state, its numbers, its jobs |
//! | [`definitions`] | definitions of guests: made, shown, changed, taken away |
//! | [`lifecycle`] | starting, ending, pausing, and what is kept of a guest in between |
//! | [`tuning`] | how much of the host a guest has |
//! | [`console`] | a guest's terminals, screen and keys |
//! | [`guest_agent`] | what the agent inside a guest tells and does |
//! | [`commands`] | commands that clients wrote themselves: for QEMU's monitor, and for the agent inside |

mod commands;
mod console;
mod cpus;
mod definitions;
mod guest_agent;
mod host;
mod lifecycle;
mod node;
mod state;
mod tuning;

use std::sync::Arc;

use virt_api::access::{Domain, Found, Resolved, Resolver};
use virt_api::call::CallContext;
use virt_api::driver::{DriverConnection, OpenContext};
use virt_api::guests::{Facts, Guests};
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::job::{AgentJob, Job};
use virt_util::types::ConnectListAllDomainsFlags;
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::agent::GuestAgent;
use crate::driver::object::{self, GuestId, GuestObject};
use crate::driver::world::World;
use crate::driver::{agent, error, life};

/// One client's connection.
#[derive(Debug)]
pub struct QemuConnection {
    world: Arc<World>,
    uri: String,
}

impl QemuConnection {
    pub(crate) fn new(world: Arc<World>, cx: &OpenContext) -> Self {
        Self {
            world,
            uri: cx.uri().to_owned(),
        }
    }

    /// Does `change` with the guest's lane held, and tells what happened when it is let go.
    fn change<T>(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        job: Job,
        api: &'static str,
        change: impl FnOnce(&Arc<GuestObject>) -> Result<T>,
    ) -> Result<T> {
        let guest = domain.handle_arc::<GuestObject>()?;
        let held = life::begin(&guest, job, cx, api)?;
        let done = change(&guest).map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU));
        match &done {
            Ok(_) if job == Job::Destroy => held.settle_doubt(),
            Err(_) if !matches!(job, Job::Query | Job::Destroy) && life::is_in_doubt(&guest) => {
                // What was sent may still happen: nobody changes anything until QEMU has said what it did.
                drop(held.into_doubt(format!("QEMU has not answered {api}")));
                if !life::is_in_doubt(&guest) {
                    life::end_doubt(&guest);
                }
                self.world.tell(&guest);
                return done;
            }
            _ => {}
        }
        drop(held);
        self.world.tell(&guest);
        done
    }

    /// Asks the agent of a running guest, or has it do something, with the agent's lane held: other jobs go on.
    fn agent<T>(
        &self,
        cx: &CallContext<'_>,
        domain: &Resolved<Domain>,
        job: AgentJob,
        api: &'static str,
        talk: impl FnOnce(&GuestObject, &GuestAgent<'_>) -> Result<T>,
    ) -> Result<T> {
        let guest = domain.handle_arc::<GuestObject>()?;
        let held = life::begin_agent(&guest, job, cx, api)?;
        let done = agent::available(&guest).and_then(|client| {
            let agent = GuestAgent::new(&client, cx.deadline(), cx.cancel());
            talk(&guest, &agent)
        });
        drop(held);
        self.world.tell(&guest);
        done.map_err(|error| error.in_domain_if_none(ErrorDomain::QEMU))
    }
}

impl DriverConnection for QemuConnection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(self)
    }

    fn error_domain(&self) -> ErrorDomain {
        Self::ERROR_DOMAIN
    }
}

impl Guests for QemuConnection {
    type Guest = GuestObject;

    const PREFIX: &'static str = "qemu";
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::QEMU;

    fn uri(&self) -> &str {
        &self.uri
    }

    fn guests(&self, wanted: ConnectListAllDomainsFlags) -> impl Iterator<Item = Domain> {
        let guests = self.world.guests();
        guests
            .snapshots(move |guest| object::matches(guest, wanted))
            .map(|guest| object::attributes(&guest))
    }

    fn by_id(&self, id: i32) -> Result<Domain> {
        match self.world.guests().by_key(&GuestId(id)) {
            Some(guest) => Ok(object::attributes(&guest.snapshot())),
            None => Err(error(
                ErrorCode::NO_DOMAIN,
                format_args!("no domain with matching id {id}"),
            )),
        }
    }

    fn by_uuid(&self, uuid: &Uuid) -> Result<Domain> {
        let guest = self.world.guests().find_uuid(uuid, None)?;
        Ok(object::attributes(&guest.snapshot()))
    }

    fn by_name(&self, name: &str) -> Result<Domain> {
        let guest = self.world.guests().find_name(name)?;
        Ok(object::attributes(&guest.snapshot()))
    }

    fn facts(guest: &GuestObject) -> Facts {
        let snapshot = guest.snapshot();
        Facts {
            active: snapshot.is_active(),
            persistent: snapshot.is_persistent(),
            autostart: snapshot.autostart,
            state: snapshot.state.state.state,
            reason: snapshot.state.state.reason,
        }
    }
}

impl Resolver for QemuConnection {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        let guest = self.world.guests().find_uuid(&key.uuid, Some(&key.name))?;
        Ok(Found::new(object::attributes(&guest.snapshot()), guest))
    }
}

/// Refuses flags that a call does not know.
fn check_flags(call: &str, flags: u32, allowed: u32) -> Result<()> {
    virt_util::types::check_flags(call, flags, allowed).map_err(|error| error.in_domain(ErrorDomain::QEMU))
}

#[virt_api::implements(parts(
    virt_api::guests,
    host,
    node,
    cpus,
    state,
    definitions,
    lifecycle,
    tuning,
    console,
    guest_agent,
    commands
))]
impl HypervisorDriver for QemuConnection {}
