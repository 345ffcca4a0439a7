//! What parameters are in a definition: there and back, for each kind of limit.

use virt_conf::domain::Domain as Definition;
use virt_conf::domain::disk::DiskTune;
use virt_conf::domain::tune::{BlkioDevice, BlkioTune, CpuPlacement};
use virt_conf::moment;
use virt_conf::netdev::BandwidthRate;
use virt_conf::numa::{NumaMemoryMode, NumaPlacement, NumatuneMemory};
use virt_conf::values::CpuSet;
use virt_util::bitmap::Bitmap;
use virt_util::typed_param::{TypedParam, TypedParams, TypedValue};
use virt_util::types::params::{blkio, block_iotune, interface_bandwidth as bandwidth};
use virt_util::{ErrorCode, Result};

use super::super::of_definitions;
use crate::error;

/// The greatest limit on a disk's throughput.
const IOTUNE_MAX: u64 = 1_000_000_000_000_000;

pub(super) fn invalid<T>(what: std::fmt::Arguments<'_>) -> Result<T> {
    Err(error(ErrorCode::INVALID_ARG, what))
}

/// The parameters of a call that take numbers of 64 bits.
pub(super) fn long(names: &[&'static str]) -> Vec<(&'static str, TypedValue)> {
    names.iter().map(|name| (*name, TypedValue::ULLong(0))).collect()
}

/// What a limit on memory is where none is set, in KiB.
pub(super) const UNLIMITED: u64 = 9_007_199_254_740_991;

/// `path,value,path,value` of a parameter about devices.
pub(super) fn devices(name: &str, text: &str) -> Result<Vec<(String, u64)>> {
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
pub(super) fn device_value(device: &BlkioDevice, name: &str) -> u64 {
    match name {
        blkio::DEVICE_WEIGHT => device.weight.into(),
        blkio::DEVICE_READ_IOPS => device.read_iops.into(),
        blkio::DEVICE_WRITE_IOPS => device.write_iops.into(),
        blkio::DEVICE_READ_BPS => device.read_bytes,
        _ => device.write_bytes,
    }
}

pub(super) fn set_device_value(device: &mut BlkioDevice, name: &str, value: u64) -> Result<()> {
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
pub(super) const DEVICE_PARAMETERS: [&str; 5] = [
    blkio::DEVICE_WEIGHT,
    blkio::DEVICE_READ_IOPS,
    blkio::DEVICE_WRITE_IOPS,
    blkio::DEVICE_READ_BPS,
    blkio::DEVICE_WRITE_BPS,
];

pub(super) fn set_blkio(tune: &mut BlkioTune, params: &TypedParams) -> Result<()> {
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
pub(super) fn iotune(mut tune: DiskTune) -> Vec<TypedParam> {
    let group = TypedParam::new(block_iotune::GROUP_NAME, tune.group.take().unwrap_or_default());
    let number = |name: &str, value: &mut u64| TypedParam::new(name, *value);
    limits!(&mut tune, number, [group]).collect()
}

/// Sets limits of a disk.
pub(super) fn set_iotune(tune: &mut DiskTune, params: &TypedParams) -> Result<()> {
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
pub(super) fn disk_at(definition: &Definition, name: &str) -> Result<usize> {
    let found = moment::disk_by_name(definition, name);
    found.ok_or_else(|| {
        error(
            ErrorCode::INVALID_ARG,
            format_args!("disk '{name}' was not found in the domain config"),
        )
    })
}

/// The parameters of an interface's limits.
pub(super) fn bandwidth_types() -> Vec<(&'static str, TypedValue)> {
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
pub(super) fn rate(
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
pub(super) fn set_numa(
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

pub(super) fn mode_of(number: i32) -> Result<NumaMemoryMode> {
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

pub(super) fn mode_number(mode: NumaMemoryMode) -> i32 {
    match mode {
        NumaMemoryMode::Strict => 0,
        NumaMemoryMode::Preferred => 1,
        NumaMemoryMode::Interleave => 2,
        NumaMemoryMode::Restrictive => 3,
    }
}
