//! Limits and weights of guests, as typed parameters.

use std::sync::Arc;

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::disk::DiskTune;
use virt_conf::domain::tune::{PerfEvent, PerfEventName};
use virt_util::bitmap::Bitmap;
use virt_util::typed_param::{TypedParam, TypedParams, TypedValue};
use virt_util::types::DomainModificationImpact;
use virt_util::types::params::{blkio, interface_bandwidth as bandwidth, memory, numa, scheduler};
use virt_util::{ErrorCode, Result};

use super::statistics::interface_at;
use super::{TestConnection, one_definition};
use crate::changes::edit_one;
use crate::definition::GuestDefinition;
use crate::domain::Guest;
use crate::error;

mod values;

use values::*;

const IMPACT: u32 = DomainModificationImpact::all().bits();
/// The weight that every guest has in the scheduler.
const WEIGHT: u32 = 50;

/// The definition whose parameters a call reads. How many there are does not depend on the guest, so a call that asks
/// for none of them is answered whatever the guest does.
fn definition_of(domain: &Resolved<Domain>, nparams: i32, flags: u32) -> Result<Arc<GuestDefinition>> {
    match nparams {
        0 => Ok(Arc::clone(domain.handle::<Guest>()?.snapshot().life.current())),
        _ => one_definition(domain, flags),
    }
}

/// At most so many of these parameters, and their number; asked for none, the call tells how many there are.
fn answer(params: Vec<TypedParam>, most: i32) -> (TypedParams, i32) {
    let all = i32::try_from(params.len()).unwrap_or(i32::MAX);
    let most = match most {
        0 => return (TypedParams::new(), all),
        most => usize::try_from(most).unwrap_or(0),
    };
    let params: Vec<_> = params.into_iter().take(most).collect();
    let count = i32::try_from(params.len()).unwrap_or(i32::MAX);
    (TypedParams(params), count)
}

/// What limits memory, in the order in which it is answered.
const MEMORY_PARAMETERS: [&str; 3] = [memory::HARD_LIMIT, memory::SOFT_LIMIT, memory::SWAP_HARD_LIMIT];

fn known_memory(args: &DomainSetMemoryParametersArgs) -> Result<()> {
    args.params.check(&long(&MEMORY_PARAMETERS))
}

fn known_numa(args: &DomainSetNumaParametersArgs) -> Result<()> {
    args.params.check(&[
        (numa::MODE, TypedValue::Int(0)),
        (numa::NODESET, TypedValue::String(String::new())),
    ])
}

fn known_bandwidth(args: &DomainSetInterfaceParametersArgs) -> Result<()> {
    args.params.check(&bandwidth_types())
}

fn known_iotune(args: &DomainSetBlockIoTuneArgs) -> Result<()> {
    let known = iotune(DiskTune::default());
    let known = known
        .iter()
        .map(|param| (param.field.as_str(), param.value.clone()));
    args.params.check(&known.collect::<Vec<_>>())
}

fn known_blkio(args: &DomainSetBlkioParametersArgs) -> Result<()> {
    let text = || TypedValue::String(String::new());
    let mut known = DEVICE_PARAMETERS.map(|name| (name, text())).to_vec();
    known.push((blkio::WEIGHT, TypedValue::UInt(0)));
    args.params.check(&known)
}

fn known_perf(args: &DomainSetPerfEventsArgs) -> Result<()> {
    let known = PerfEventName::ALL
        .iter()
        .map(|name| (name.as_str(), TypedValue::Boolean(false)));
    args.params.check(&known.collect::<Vec<_>>())
}

const SCHEDULER_PARAMETERS: [(&str, TypedValue); 1] = [(scheduler::WEIGHT, TypedValue::UInt(0))];

fn known_scheduler(args: &DomainSetSchedulerParametersArgs) -> Result<()> {
    args.params.check(&SCHEDULER_PARAMETERS)
}

fn known_scheduler_flags(args: &DomainSetSchedulerParametersFlagsArgs) -> Result<()> {
    args.params.check(&SCHEDULER_PARAMETERS)
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[flags("testDomainSetMemoryParameters", IMPACT)]
    #[first(known_memory)]
    fn domain_set_memory_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        let [hard, soft, swap] = MEMORY_PARAMETERS;
        let [new_hard, new_soft, new_swap] = [
            params.get_u64(hard)?,
            params.get_u64(soft)?,
            params.get_u64(swap)?,
        ];
        self.change(cx, &domain, "virDomainSetMemoryParameters", |_, guest| {
            edit_one(guest, flags, |definition| {
                let tune = definition.domain.memory_tune.get_or_insert_default();
                let hard = new_hard.or(tune.hard_limit).unwrap_or(UNLIMITED);
                let swap = new_swap.or(tune.swap_hard_limit).unwrap_or(UNLIMITED);
                if (new_hard.is_some() || new_swap.is_some()) && hard > swap {
                    return invalid(format_args!(
                        "hard_limit {hard} KiB must be lower than or equal to swap_hard_limit {swap} KiB"
                    ));
                }
                let limit = |value: u64| (value < UNLIMITED).then_some(value);
                for (place, new) in [
                    (&mut tune.hard_limit, new_hard),
                    (&mut tune.soft_limit, new_soft),
                    (&mut tune.swap_hard_limit, new_swap),
                ] {
                    if let Some(new) = new {
                        *place = limit(new);
                    }
                }
                Ok(())
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetMemoryParameters", IMPACT)]
    fn domain_get_memory_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetMemoryParametersReply> {
        let definition = definition_of(&domain, nparams, flags)?;
        let tune = definition.domain.memory_tune.clone().unwrap_or_default();
        let all = [
            (memory::HARD_LIMIT, tune.hard_limit),
            (memory::SOFT_LIMIT, tune.soft_limit),
            (memory::SWAP_HARD_LIMIT, tune.swap_hard_limit),
        ]
        .map(|(name, limit)| TypedParam::new(name, limit.unwrap_or(UNLIMITED)));
        let (params, nparams) = answer(all.to_vec(), nparams);
        Ok(DomainGetMemoryParametersReply { params, nparams })
    }

    #[flags("testDomainSetNumaParameters", IMPACT)]
    #[first(known_numa)]
    fn domain_set_numa_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        let mode = params.get_i32(numa::MODE)?;
        let nodeset = params
            .get_string(numa::NODESET)?
            .map(Bitmap::parse_growing_or_empty)
            .transpose()?;
        if nodeset.as_ref().is_some_and(Bitmap::is_empty) {
            return Err(error(
                ErrorCode::OPERATION_INVALID,
                "the nodeset is empty: expected one node at least",
            ));
        }
        mode.map(mode_of).transpose()?;
        self.change(cx, &domain, "virDomainSetNumaParameters", |_, guest| {
            let (_, live) = guest
                .snapshot()
                .one_definition(flags)
                .map(|(_, live)| ((), live))?;
            edit_one(guest, flags, |definition| {
                set_numa(&mut definition.domain, live, mode, nodeset.clone())
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetNumaParameters", IMPACT)]
    fn domain_get_numa_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetNumaParametersReply> {
        let definition = definition_of(&domain, nparams, flags)?;
        let tune = definition
            .domain
            .numatune
            .as_ref()
            .and_then(|tune| tune.memory.as_ref());
        let mode = tune.map_or(0, |memory| mode_number(memory.mode));
        let nodeset = tune.and_then(|memory| memory.nodeset.as_ref());
        let all = vec![
            TypedParam::new(numa::MODE, mode),
            TypedParam::new(
                numa::NODESET,
                nodeset.map_or_else(String::new, |set| set.0.to_string()),
            ),
        ];
        let (params, nparams) = answer(all, nparams);
        Ok(DomainGetNumaParametersReply { params, nparams })
    }

    #[flags("testDomainSetInterfaceParameters", IMPACT)]
    #[first(known_bandwidth)]
    fn domain_set_interface_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        device: String,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        use bandwidth as name;
        let inbound = rate(
            &params,
            [name::IN_AVERAGE, name::IN_PEAK, name::IN_BURST, name::IN_FLOOR],
        )?;
        let outbound = rate(&params, [name::OUT_AVERAGE, name::OUT_PEAK, name::OUT_BURST, ""])?;
        self.change(cx, &domain, "virDomainSetInterfaceParameters", |_, guest| {
            edit_one(guest, flags, |definition| {
                let interfaces = &mut definition.domain.devices.interfaces;
                let place = interface_at(interfaces, &device)?;
                if let Some(interface) = interfaces.get_mut(place) {
                    let limits = interface.link.bandwidth.get_or_insert_default();
                    if let Some(inbound) = &inbound {
                        limits.inbound.clone_from(inbound);
                    }
                    if let Some(outbound) = &outbound {
                        limits.outbound.clone_from(outbound);
                    }
                }
                Ok(())
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetInterfaceParameters", IMPACT)]
    fn domain_get_interface_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        device: String,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetInterfaceParametersReply> {
        let definition = definition_of(&domain, nparams, flags)?;
        let interfaces = &definition.domain.devices.interfaces;
        let limits = match nparams {
            0 => None,
            _ => interfaces
                .get(interface_at(interfaces, &device)?)
                .and_then(|interface| interface.link.bandwidth.as_deref()),
        };
        let inbound = limits
            .and_then(|limits| limits.inbound.clone())
            .unwrap_or_default();
        let outbound = limits
            .and_then(|limits| limits.outbound.clone())
            .unwrap_or_default();
        let values = [
            inbound.average,
            inbound.peak,
            inbound.burst,
            inbound.floor,
            outbound.average,
            outbound.peak,
            outbound.burst,
        ];
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let names = bandwidth_types().into_iter().map(|(name, _)| name);
        let all = names
            .zip(values)
            .map(|(name, value)| TypedParam::new(name, short(value)));
        let (params, nparams) = answer(all.collect(), nparams);
        Ok(DomainGetInterfaceParametersReply { params, nparams })
    }

    #[flags("testDomainSetBlockIoTune", IMPACT)]
    #[first(known_iotune)]
    fn domain_set_block_io_tune(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        disk: String,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetBlockIoTune", |_, guest| {
            edit_one(guest, flags, |definition| {
                let place = disk_at(&definition.domain, &disk)?;
                if let Some(disk) = definition.domain.devices.disks.get_mut(place) {
                    set_iotune(disk.rest.tune.get_or_insert_default(), &params)?;
                }
                Ok(())
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetBlockIoTune", IMPACT)]
    fn domain_get_block_io_tune(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        disk: Option<String>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetBlockIoTuneReply> {
        let definition = definition_of(&domain, nparams, flags)?;
        let tune = match (nparams, disk) {
            (0, _) | (_, None) => DiskTune::default(),
            (_, Some(disk)) => {
                let disks = &definition.domain.devices.disks;
                let disk = disks.get(disk_at(&definition.domain, &disk)?);
                disk.and_then(|disk| disk.rest.tune.as_deref().cloned())
                    .unwrap_or_default()
            }
        };
        let (params, nparams) = answer(iotune(tune), nparams);
        Ok(DomainGetBlockIoTuneReply { params, nparams })
    }

    #[flags("testDomainSetBlkioParameters", IMPACT)]
    #[first(known_blkio)]
    fn domain_set_blkio_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetBlkioParameters", |_, guest| {
            edit_one(guest, flags, |definition| {
                set_blkio(definition.domain.blkio_tune.get_or_insert_default(), &params)
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetBlkioParameters", IMPACT)]
    fn domain_get_blkio_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetBlkioParametersReply> {
        let definition = definition_of(&domain, nparams, flags)?;
        let tune = definition.domain.blkio_tune.clone().unwrap_or_default();
        let mut all = vec![TypedParam::new(blkio::WEIGHT, tune.weight)];
        all.extend(DEVICE_PARAMETERS.iter().map(|name| {
            let values = tune
                .devices
                .iter()
                .map(|device| (device, device_value(device, name)));
            let said: Vec<_> = values
                .filter(|(_, value)| *value > 0)
                .map(|(device, value)| format!("{},{value}", device.path))
                .collect();
            TypedParam::new(*name, said.join(","))
        }));
        let (params, nparams) = answer(all, nparams);
        Ok(DomainGetBlkioParametersReply { params, nparams })
    }

    #[flags("testDomainSetPerfEvents", IMPACT)]
    #[first(known_perf)]
    fn domain_set_perf_events(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetPerfEvents", |_, guest| {
            edit_one(guest, flags, |definition| {
                let events = &mut definition.domain.perf;
                for name in PerfEventName::ALL.iter().copied() {
                    let Some(enabled) = params.get_bool(name.as_str())? else {
                        continue;
                    };
                    events.retain(|event| event.name != name);
                    events.push(PerfEvent { name, enabled });
                }
                Ok(())
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetPerfEvents", IMPACT)]
    fn domain_get_perf_events(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetPerfEventsReply> {
        let definition = one_definition(&domain, flags)?;
        let enabled = |name: &PerfEventName| {
            let events = &definition.domain.perf;
            events.iter().any(|event| event.name == *name && event.enabled)
        };
        let params = PerfEventName::ALL
            .iter()
            .map(|name| TypedParam::new(name.as_str(), enabled(name)))
            .collect();
        Ok(DomainGetPerfEventsReply {
            params: TypedParams(params),
        })
    }

    #[inline_safe]
    fn domain_get_scheduler_type(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetSchedulerTypeReply> {
        domain.handle::<Guest>()?;
        Ok(DomainGetSchedulerTypeReply {
            kind: "fair".to_owned(),
            nparams: 1,
        })
    }

    #[inline_safe]
    fn domain_get_scheduler_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
    ) -> Result<DomainGetSchedulerParametersReply> {
        let params = self
            .domain_get_scheduler_parameters_flags(cx, domain, nparams, 0)?
            .params;
        Ok(DomainGetSchedulerParametersReply { params })
    }

    #[inline_safe]
    #[flags("testDomainGetSchedulerParametersFlags", 0)]
    fn domain_get_scheduler_parameters_flags(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _nparams: i32,
        _: u32,
    ) -> Result<DomainGetSchedulerParametersFlagsReply> {
        domain.handle::<Guest>()?;
        Ok(DomainGetSchedulerParametersFlagsReply {
            params: TypedParams::new().with(scheduler::WEIGHT, WEIGHT),
        })
    }

    #[first(known_scheduler)]
    fn domain_set_scheduler_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
    ) -> Result<()> {
        self.domain_set_scheduler_parameters_flags(cx, domain, params, 0)
    }

    #[flags("testDomainSetSchedulerParametersFlags", 0)]
    #[first(known_scheduler_flags)]
    fn domain_set_scheduler_parameters_flags(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: TypedParams,
        _: u32,
    ) -> Result<()> {
        // Nothing is scheduled here, so the weight is what it was.
        domain.handle::<Guest>().map(drop)
    }

    #[flags("testDomainSetMemoryStatsPeriod", IMPACT)]
    fn domain_set_memory_stats_period(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        period: i32,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetMemoryStatsPeriod", |_, guest| {
            edit_one(guest, flags, |definition| {
                let present = definition.has_balloon();
                let balloon = definition.domain.devices.memballoon.as_mut();
                let Some(balloon) = balloon.filter(|_| present) else {
                    return Err(error(
                        ErrorCode::INTERNAL_ERROR,
                        "the domain has no <memballoon> whose statistics could be collected",
                    ));
                };
                balloon.stats_period = period;
                Ok(())
            })
        })
    }
}
