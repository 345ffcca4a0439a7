//! Limits and weights of guests, as typed parameters.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::Domain as Definition;
use virt_conf::domain::disk::DiskTune;
use virt_conf::domain::small::MemballoonModel;
use virt_conf::domain::tune::{BlkioDevice, BlkioTune, CpuPlacement, PerfEvent, PerfEventName};
use virt_conf::moment;
use virt_conf::netdev::BandwidthRate;
use virt_conf::numa::{NumaMemoryMode, NumaPlacement, NumatuneMemory};
use virt_conf::values::CpuSet;
use virt_util::bitmap::Bitmap;
use virt_util::typed_param::{TypedParam, TypedParams, TypedValue};
use virt_util::types::DomainModificationImpact;
use virt_util::types::params::{
    blkio, block_iotune, interface_bandwidth as bandwidth, memory, numa, scheduler,
};
use virt_util::{ErrorCode, Result};

use super::statistics::interface_at;
use super::{TestConnection, check_flags, of_definitions, one_definition};
use crate::changes::edit_one;
use crate::domain::Guest;
use crate::error;

const IMPACT: u32 = DomainModificationImpact::all().bits();
/// The greatest limit on a disk's throughput.
const IOTUNE_MAX: u64 = 1_000_000_000_000_000;
/// The weight that every guest has in the scheduler.
const WEIGHT: u32 = 50;

fn invalid<T>(what: std::fmt::Arguments<'_>) -> Result<T> {
    Err(error(ErrorCode::INVALID_ARG, what))
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

/// The parameters of a call that take numbers of 64 bits.
fn long(names: &[&'static str]) -> Vec<(&'static str, TypedValue)> {
    names.iter().map(|name| (*name, TypedValue::ULLong(0))).collect()
}

/// What a limit on memory is where none is set, in KiB.
const UNLIMITED: u64 = 9_007_199_254_740_991;

/// `path,value,path,value` of a parameter about devices.
fn devices(name: &str, text: &str) -> Result<Vec<(String, u64)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let words: Vec<&str> = text.split(',').collect();
    let mut found = Vec::new();
    for pair in words.chunks(2) {
        let [path, value] = pair else {
            return invalid(format_args!(
                "parameter '{name}' is '{text}': expected 'path,value,path,value'"
            ));
        };
        let Ok(value) = value.parse() else {
            return invalid(format_args!(
                "invalid value '{value}' for parameter '{name}' of device '{path}'"
            ));
        };
        found.push(((*path).to_owned(), value));
    }
    Ok(found)
}

/// The value of a device that a parameter means.
fn device_value(device: &BlkioDevice, name: &str) -> u64 {
    match name {
        blkio::DEVICE_WEIGHT => device.weight.into(),
        blkio::DEVICE_READ_IOPS => device.read_iops.into(),
        blkio::DEVICE_WRITE_IOPS => device.write_iops.into(),
        blkio::DEVICE_READ_BPS => device.read_bytes,
        _ => device.write_bytes,
    }
}

fn set_device_value(device: &mut BlkioDevice, name: &str, value: u64) -> Result<()> {
    let short = || match u32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => invalid(format_args!(
            "{value} of parameter '{name}' does not fit into 32 bits"
        )),
    };
    match name {
        blkio::DEVICE_WEIGHT => device.weight = short()?,
        blkio::DEVICE_READ_IOPS => device.read_iops = short()?,
        blkio::DEVICE_WRITE_IOPS => device.write_iops = short()?,
        blkio::DEVICE_READ_BPS => device.read_bytes = value,
        _ => device.write_bytes = value,
    }
    Ok(())
}

/// The parameters about devices, in libvirt's order.
const DEVICE_PARAMETERS: [&str; 5] = [
    blkio::DEVICE_WEIGHT,
    blkio::DEVICE_READ_IOPS,
    blkio::DEVICE_WRITE_IOPS,
    blkio::DEVICE_READ_BPS,
    blkio::DEVICE_WRITE_BPS,
];

fn set_blkio(tune: &mut BlkioTune, params: &TypedParams) -> Result<()> {
    for TypedParam { field, value } in params.iter() {
        match value {
            TypedValue::UInt(weight) => tune.weight = *weight,
            TypedValue::String(text) => {
                for (path, value) in devices(field, text).map_err(of_definitions)? {
                    let known = tune.devices.iter_mut().find(|device| device.path == path);
                    match known {
                        Some(device) => set_device_value(device, field, value)?,
                        None if value == 0 => {}
                        None => {
                            let mut device = BlkioDevice {
                                path,
                                ..BlkioDevice::default()
                            };
                            set_device_value(&mut device, field, value)?;
                            tune.devices.push(device);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The limits of a disk by the names of their parameters, in libvirt's order.
macro_rules! limits {
    ($tune:expr, $before:expr, $after:expr) => {{
        use block_iotune as name;
        let tune = $tune;
        [
            $before(name::TOTAL_BYTES_SEC, &mut tune.total_bytes),
            $before(name::READ_BYTES_SEC, &mut tune.read_bytes),
            $before(name::WRITE_BYTES_SEC, &mut tune.write_bytes),
            $before(name::TOTAL_IOPS_SEC, &mut tune.total_iops),
            $before(name::READ_IOPS_SEC, &mut tune.read_iops),
            $before(name::WRITE_IOPS_SEC, &mut tune.write_iops),
            $before(name::TOTAL_BYTES_SEC_MAX, &mut tune.total_bytes_max),
            $before(name::READ_BYTES_SEC_MAX, &mut tune.read_bytes_max),
            $before(name::WRITE_BYTES_SEC_MAX, &mut tune.write_bytes_max),
            $before(name::TOTAL_IOPS_SEC_MAX, &mut tune.total_iops_max),
            $before(name::READ_IOPS_SEC_MAX, &mut tune.read_iops_max),
            $before(name::WRITE_IOPS_SEC_MAX, &mut tune.write_iops_max),
            $before(name::SIZE_IOPS_SEC, &mut tune.size_iops),
        ]
        .into_iter()
        .chain($after)
        .chain([
            $before(name::TOTAL_BYTES_SEC_MAX_LENGTH, &mut tune.total_bytes_max_length),
            $before(name::READ_BYTES_SEC_MAX_LENGTH, &mut tune.read_bytes_max_length),
            $before(name::WRITE_BYTES_SEC_MAX_LENGTH, &mut tune.write_bytes_max_length),
            $before(name::TOTAL_IOPS_SEC_MAX_LENGTH, &mut tune.total_iops_max_length),
            $before(name::READ_IOPS_SEC_MAX_LENGTH, &mut tune.read_iops_max_length),
            $before(name::WRITE_IOPS_SEC_MAX_LENGTH, &mut tune.write_iops_max_length),
        ])
    }};
}

/// The parameters of a disk's limits as they are.
fn iotune(mut tune: DiskTune) -> Vec<TypedParam> {
    let group = TypedParam::new(block_iotune::GROUP_NAME, tune.group.take().unwrap_or_default());
    let number = |name: &str, value: &mut u64| TypedParam::new(name, *value);
    limits!(&mut tune, number, [group]).collect()
}

/// Sets limits of a disk.
fn set_iotune(tune: &mut DiskTune, params: &TypedParams) -> Result<()> {
    for TypedParam { field, value } in params.iter() {
        let value = match value {
            TypedValue::ULLong(value) => *value,
            TypedValue::String(name) => {
                tune.group = Some(name.clone());
                continue;
            }
            _ => continue,
        };
        if value > IOTUNE_MAX {
            return Err(error(
                ErrorCode::ARGUMENT_UNSUPPORTED,
                format_args!("{field} {value}: a limit must be no more than {IOTUNE_MAX}"),
            ));
        }
        let set = |name: &str, place: &mut u64| {
            if name == field {
                *place = value;
            }
        };
        limits!(&mut *tune, set, []).for_each(drop);
    }
    let both = |what: &str, total: u64, read: u64, write: u64| match total > 0 && (read > 0 || write > 0) {
        true => invalid(format_args!(
            "total and read/write of {what} cannot be set at the same time"
        )),
        false => Ok(()),
    };
    both("bytes_sec", tune.total_bytes, tune.read_bytes, tune.write_bytes)?;
    both("iops_sec", tune.total_iops, tune.read_iops, tune.write_iops)?;
    both(
        "bytes_sec_max",
        tune.total_bytes_max,
        tune.read_bytes_max,
        tune.write_bytes_max,
    )?;
    both(
        "iops_sec_max",
        tune.total_iops_max,
        tune.read_iops_max,
        tune.write_iops_max,
    )?;
    for (name, value, max) in [
        ("total_bytes_sec", tune.total_bytes, tune.total_bytes_max),
        ("read_bytes_sec", tune.read_bytes, tune.read_bytes_max),
        ("write_bytes_sec", tune.write_bytes, tune.write_bytes_max),
        ("total_iops_sec", tune.total_iops, tune.total_iops_max),
        ("read_iops_sec", tune.read_iops, tune.read_iops_max),
        ("write_iops_sec", tune.write_iops, tune.write_iops_max),
    ] {
        if value > max {
            return invalid(format_args!(
                "{name} {value} cannot be set higher than {name}_max {max}"
            ));
        }
    }
    Ok(())
}

/// The disk that a call about its limits names.
fn disk_at(definition: &Definition, name: &str) -> Result<usize> {
    let found = moment::disk_by_name(definition, name);
    found.ok_or_else(|| {
        error(
            ErrorCode::INVALID_ARG,
            format_args!("disk '{name}' was not found in the domain config"),
        )
    })
}

/// The parameters of an interface's limits.
fn bandwidth_types() -> Vec<(&'static str, TypedValue)> {
    use bandwidth as name;
    [
        name::IN_AVERAGE,
        name::IN_PEAK,
        name::IN_BURST,
        name::IN_FLOOR,
        name::OUT_AVERAGE,
        name::OUT_PEAK,
        name::OUT_BURST,
    ]
    .map(|name| (name, TypedValue::UInt(0)))
    .to_vec()
}

/// What a call sets of one direction: nothing, that there is no limit, or a limit.
fn rate(
    params: &TypedParams,
    [average, peak, burst, floor]: [&str; 4],
) -> Result<Option<Option<BandwidthRate>>> {
    let value = |name: &str| Ok::<_, virt_util::VirtError>(params.get_u32(name)?.map(u64::from));
    let (average, floor) = (value(average)?, value(floor)?);
    let rate = BandwidthRate {
        average: average.unwrap_or(0),
        peak: value(peak)?.unwrap_or(0),
        burst: value(burst)?.unwrap_or(0),
        floor: floor.unwrap_or(0),
    };
    let said = average.is_some() || floor.is_some();
    Ok(match rate.average > 0 || rate.floor > 0 {
        true => Some(Some(rate)),
        false if said => Some(None),
        false => None,
    })
}

/// Where a guest's memory comes from.
fn set_numa(
    definition: &mut Definition,
    live: bool,
    mode: Option<i32>,
    nodeset: Option<Bitmap>,
) -> Result<()> {
    if mode.is_none() && nodeset.is_none() {
        return Ok(());
    }
    let wanted = mode.map(mode_of).transpose()?;
    let placed = definition.vcpus.placement == CpuPlacement::Static;
    let known = definition.numatune.as_ref().and_then(|tune| tune.memory.as_ref());
    if live
        && let (Some(known), Some(wanted)) = (known, wanted)
        && known.mode != wanted
    {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            format_args!("the numatune mode of a running domain stays '{}'", known.mode),
        ));
    }
    let mut memory = known.cloned().unwrap_or(NumatuneMemory {
        mode: NumaMemoryMode::Strict,
        nodeset: None,
        placement: Some(match placed {
            true => NumaPlacement::Static,
            false => NumaPlacement::Auto,
        }),
    });
    memory.mode = wanted.unwrap_or(memory.mode);
    if let Some(nodeset) = nodeset {
        memory.nodeset = Some(CpuSet(nodeset));
        memory.placement = Some(NumaPlacement::Static);
    }
    if memory.placement != Some(NumaPlacement::Auto) && memory.nodeset.is_none() {
        return Err(of_definitions(error(
            ErrorCode::CONFIG_UNSUPPORTED,
            "memory with placement 'static' needs a nodeset: set it as well",
        )));
    }
    definition.numatune.get_or_insert_default().memory = Some(memory);
    Ok(())
}

fn mode_of(number: i32) -> Result<NumaMemoryMode> {
    Ok(match number {
        0 => NumaMemoryMode::Strict,
        1 => NumaMemoryMode::Preferred,
        2 => NumaMemoryMode::Interleave,
        3 => NumaMemoryMode::Restrictive,
        other => {
            return invalid(format_args!(
                "unsupported numatune mode: '{other}': expected 0 to 3"
            ));
        }
    })
}

fn mode_number(mode: NumaMemoryMode) -> i32 {
    match mode {
        NumaMemoryMode::Strict => 0,
        NumaMemoryMode::Preferred => 1,
        NumaMemoryMode::Interleave => 2,
        NumaMemoryMode::Restrictive => 3,
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    fn domain_set_memory_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetMemoryParameters", flags, IMPACT)?;
        let [hard, soft, swap] = [memory::HARD_LIMIT, memory::SOFT_LIMIT, memory::SWAP_HARD_LIMIT];
        params.check(&long(&[hard, soft, swap]))?;
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
    fn domain_get_memory_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetMemoryParametersReply> {
        let definition = one_definition("testDomainGetMemoryParameters", &domain, flags)?;
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

    fn domain_set_numa_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetNumaParameters", flags, IMPACT)?;
        params.check(&[
            (numa::MODE, TypedValue::Int(0)),
            (numa::NODESET, TypedValue::String(String::new())),
        ])?;
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
    fn domain_get_numa_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetNumaParametersReply> {
        let definition = one_definition("testDomainGetNumaParameters", &domain, flags)?;
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

    fn domain_set_interface_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        device: String,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        use bandwidth as name;
        check_flags("testDomainSetInterfaceParameters", flags, IMPACT)?;
        params.check(&bandwidth_types())?;
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
    fn domain_get_interface_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        device: String,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetInterfaceParametersReply> {
        let definition = one_definition("testDomainGetInterfaceParameters", &domain, flags)?;
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

    fn domain_set_block_io_tune(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        disk: String,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetBlockIoTune", flags, IMPACT)?;
        let known: Vec<_> = iotune(DiskTune::default())
            .into_iter()
            .map(|param| (param.field, param.value))
            .collect();
        let known: Vec<_> = known
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        params.check(&known)?;
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
    fn domain_get_block_io_tune(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        disk: Option<String>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetBlockIoTuneReply> {
        let definition = one_definition("testDomainGetBlockIoTune", &domain, flags)?;
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

    fn domain_set_blkio_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetBlkioParameters", flags, IMPACT)?;
        let text = || TypedValue::String(String::new());
        let mut known = DEVICE_PARAMETERS.map(|name| (name, text())).to_vec();
        known.push((blkio::WEIGHT, TypedValue::UInt(0)));
        params.check(&known)?;
        self.change(cx, &domain, "virDomainSetBlkioParameters", |_, guest| {
            edit_one(guest, flags, |definition| {
                set_blkio(definition.domain.blkio_tune.get_or_insert_default(), &params)
            })
        })
    }

    #[inline_safe]
    fn domain_get_blkio_parameters(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: i32,
        flags: u32,
    ) -> Result<DomainGetBlkioParametersReply> {
        let definition = one_definition("testDomainGetBlkioParameters", &domain, flags)?;
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

    fn domain_set_perf_events(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetPerfEvents", flags, IMPACT)?;
        let known = PerfEventName::ALL
            .iter()
            .map(|name| (name.as_str(), TypedValue::Boolean(false)));
        params.check(&known.collect::<Vec<_>>())?;
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
    fn domain_get_perf_events(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetPerfEventsReply> {
        let definition = one_definition("testDomainGetPerfEvents", &domain, flags)?;
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
    fn domain_get_scheduler_parameters_flags(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _nparams: i32,
        flags: u32,
    ) -> Result<DomainGetSchedulerParametersFlagsReply> {
        check_flags("testDomainGetSchedulerParametersFlags", flags, 0)?;
        domain.handle::<Guest>()?;
        Ok(DomainGetSchedulerParametersFlagsReply {
            params: TypedParams::new().with(scheduler::WEIGHT, WEIGHT),
        })
    }

    fn domain_set_scheduler_parameters(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
    ) -> Result<()> {
        self.domain_set_scheduler_parameters_flags(cx, domain, params, 0)
    }

    fn domain_set_scheduler_parameters_flags(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetSchedulerParametersFlags", flags, 0)?;
        params.check(&[(scheduler::WEIGHT, TypedValue::UInt(0))])?;
        // Nothing is scheduled here, so the weight is what it was.
        domain.handle::<Guest>().map(drop)
    }

    fn domain_set_memory_stats_period(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        period: i32,
        flags: u32,
    ) -> Result<()> {
        check_flags("testDomainSetMemoryStatsPeriod", flags, IMPACT)?;
        self.change(cx, &domain, "virDomainSetMemoryStatsPeriod", |_, guest| {
            edit_one(guest, flags, |definition| {
                let balloon = definition.domain.devices.memballoon.as_mut();
                let balloon = balloon.filter(|balloon| balloon.model != MemballoonModel::None);
                let Some(balloon) = balloon else {
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
