//! `undefine`, with the storage that may go along.

use crate::command::Opt;
use crate::complete;
use crate::grammar::Invocation;
use crate::opts::split_commas;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use crate::xpath;
use virt_api::{Connect, Domain, StorageVol};
use virt_util::types::{DomainSnapshotListFlags, DomainUndefineFlags, DomainXmlFlags, StorageVolDeleteFlags};
use virt_util::{ErrorCode, VirtError};

use super::domain;
use super::lifecycle::is_unsupported;

pub(super) const OPTIONS: &[Opt] = &[
    Opt::text("domain", "name, ID or UUID of the domain")
        .required()
        .positional()
        .complete(complete::persistent_domain),
    Opt::flag("managed-save", "remove the managed save image as well"),
    Opt::text(
        "storage",
        "remove these volumes as well (targets or sources, separated by commas)",
    )
    .legacy_positional()
    .complete(targets),
    Opt::flag(
        "remove-all-storage",
        "remove all volumes of the domain as well (careful)",
    ),
    Opt::alias("delete-snapshots", "delete-storage-volume-snapshots", None),
    Opt::flag(
        "delete-storage-volume-snapshots",
        "remove the snapshots of those volumes as well",
    ),
    Opt::flag("wipe-storage", "overwrite the volumes before they are removed"),
    Opt::flag("snapshots-metadata", "forget the domain's snapshots as well"),
    Opt::flag("checkpoints-metadata", "forget the domain's checkpoints as well"),
    Opt::flag("nvram", "remove the NVRAM file as well"),
    Opt::flag("keep-nvram", "keep the NVRAM file"),
    Opt::flag("tpm", "remove the TPM's state as well"),
    Opt::flag("keep-tpm", "keep the TPM's state"),
];

struct Volume {
    handle: StorageVol,
    source: String,
    target: String,
}

/// What stands in the way of removing an inactive domain's definition.
#[derive(Default)]
struct Belongings {
    managed_save: bool,
    snapshots_with_metadata: u32,
    /// The driver understands all flags of the newer call.
    knows_flags: bool,
}

/// For completion: the targets of the domain's disks as a list.
fn targets(shell: &mut Shell, call: &Invocation) -> Vec<String> {
    let xml = domain(shell, call)
        .ok()
        .and_then(|(domain, _)| domain.xml(DomainXmlFlags::empty()).ok())
        .unwrap_or_default();
    let disks = xpath::count(&xml, "/domain/devices/disk").unwrap_or_default();
    let targets = (1..=disks)
        .filter_map(|at| {
            let target = format!("string(/domain/devices/disk[{at}]/target/@dev)");
            xpath::text(&xml, &target).ok()
        })
        .filter(|target| !target.is_empty());
    complete::list_of(call.text_if_any("storage").unwrap_or_default(), targets)
}

pub(super) fn undefine(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.requires("delete-storage-volume-snapshots", "remove-all-storage")?;
    call.exclusive("nvram", "keep-nvram")?;
    call.exclusive("tpm", "keep-tpm")?;
    let storage = call.text_if_any("storage");
    let all_storage = call.has("remove-all-storage");
    if call.has("wipe-storage") && storage.is_none() && !all_storage {
        return Err("'--wipe-storage' requires '--storage <string>' or '--remove-all-storage'".into());
    }
    let mut flags = DomainUndefineFlags::empty();
    for (option, flag) in [
        ("managed-save", DomainUndefineFlags::MANAGED_SAVE),
        ("snapshots-metadata", DomainUndefineFlags::SNAPSHOTS_METADATA),
        ("checkpoints-metadata", DomainUndefineFlags::CHECKPOINTS_METADATA),
        ("nvram", DomainUndefineFlags::NVRAM),
        ("keep-nvram", DomainUndefineFlags::KEEP_NVRAM),
        ("tpm", DomainUndefineFlags::TPM),
        ("keep-tpm", DomainUndefineFlags::KEEP_TPM),
    ] {
        if call.has(option) {
            flags |= flag;
        }
    }

    let (domain, name) = domain(shell, call)?;
    let running = domain.is_active()?;
    let has = if running {
        Belongings::default()
    } else {
        belongings(&domain)?
    };
    // A flag for what is not there may be one that the driver does not know.
    if !has.managed_save {
        flags -= DomainUndefineFlags::MANAGED_SAVE;
    }
    if has.snapshots_with_metadata == 0 {
        flags -= DomainUndefineFlags::SNAPSHOTS_METADATA;
    }

    let mut volumes = Vec::new();
    if storage.is_some() || all_storage {
        if running {
            return Err("Storage volume deletion is supported only on stopped domains".into());
        }
        if storage.is_some() && all_storage {
            return Err("Specified both --storage and --remove-all-storage".into());
        }
        volumes = find_volumes(shell, &domain, storage)?;
    }

    remove_definition(&domain, call, flags, &has).or_say(|| format!("Failed to undefine domain '{name}'"))?;
    shell.extra(format!("Domain '{name}' has been undefined\n"));
    remove_volumes(shell, call, &volumes)
}

fn or_unsupported<T>(result: Result<T, VirtError>) -> Result<Option<T>, VirtError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(None),
        Err(error) => Err(error),
    }
}

fn belongings(domain: &Domain) -> Result<Belongings, Failure> {
    let managed_save = or_unsupported(domain.has_managed_save_image())?.unwrap_or(false);
    let snapshots = or_unsupported(domain.snapshot_count(0.into()))?.unwrap_or(0);
    let mut knows_flags = true;
    let mut snapshots_with_metadata = 0;
    if snapshots > 0 {
        snapshots_with_metadata = match domain.snapshot_count(DomainSnapshotListFlags::METADATA) {
            Ok(count) => count,
            // An old driver keeps metadata for all of them.
            Err(_) => {
                knows_flags = false;
                snapshots
            }
        };
    }
    Ok(Belongings {
        managed_save,
        snapshots_with_metadata,
        knows_flags,
    })
}

fn remove_definition(
    domain: &Domain,
    call: &Invocation,
    flags: DomainUndefineFlags,
    has: &Belongings,
) -> Result<(), Failure> {
    let safe = (!has.managed_save || has.knows_flags || call.has("managed-save"))
        && (has.snapshots_with_metadata == 0 || has.knows_flags || call.has("snapshots-metadata"));
    if safe || call.has("nvram") {
        match domain.undefine(flags) {
            Err(error) if is_unsupported(&error) && !call.has("nvram") => {}
            other => return other.map_err(Failure::from),
        }
    }
    // A driver from before the flags: do what they mean step by step, and nothing that would strand something.
    if has.managed_save {
        if !call.has("managed-save") {
            return Err("Refusing to undefine while domain managed save image exists".into());
        }
        domain.managed_save_remove()?;
    }
    if has.snapshots_with_metadata > 0 {
        let count = has.snapshots_with_metadata;
        return Err(if call.has("snapshots-metadata") {
            format!("Unable to remove metadata of {count} snapshots").into()
        } else {
            format!("Refusing to undefine while {count} snapshots exist").into()
        });
    }
    domain.undefine_plain().map_err(Failure::from)
}

/// The volumes of the domain's disks that `wanted` names, or all.
fn find_volumes(shell: &mut Shell, domain: &Domain, wanted: Option<&str>) -> Result<Vec<Volume>, Failure> {
    let connection = shell.connection()?;
    let xml = domain
        .xml(DomainXmlFlags::empty())
        .or_say(|| "Failed to get domain description xml")?;
    let mut missing = wanted.map(split_commas);
    let mut found = Vec::new();
    let disks = xpath::count(&xml, "/domain/devices/disk")?;
    for index in 1..=disks {
        let disk = format!("/domain/devices/disk[{index}]");
        let get = |rest: &str| xpath::text(&xml, &format!("string({disk}/{rest})"));
        let target = get("target/@dev")?;
        let mut source = String::new();
        for attribute in ["file", "dir", "name", "dev", "volume"] {
            if source.is_empty() {
                source = get(&format!("source/@{attribute}"))?;
            }
        }
        if target.is_empty() || source.is_empty() {
            continue;
        }
        if let Some(missing) = &mut missing {
            let before = missing.len();
            if let Some(at) = missing.iter().position(|one| *one == target || *one == source) {
                missing.remove(at);
            }
            if missing.len() == before {
                continue;
            }
        }
        let pool = get("source/@pool")?;
        match open_volume(&connection, &pool, &source, &target) {
            Ok(handle) => found.push(Volume {
                handle,
                source,
                target,
            }),
            Err(problem) => shell.error(&problem),
        }
    }
    let missing = missing.unwrap_or_default();
    if missing.is_empty() {
        return Ok(found);
    }
    Err(Failure {
        said: missing
            .iter()
            .map(|one| format!("Volume '{one}' was not found in domain's definition."))
            .collect(),
        cause: None,
    })
}

fn open_volume(connection: &Connect, pool: &str, source: &str, target: &str) -> Result<StorageVol, String> {
    let handle = if pool.is_empty() {
        connection.lookup_storage_vol_by_path(source)
    } else {
        let pool = connection
            .lookup_storage_pool_by_name(pool)
            .map_err(|_| format!("Storage pool '{pool}' for volume '{target}' not found."))?;
        pool.lookup_vol_by_name(source)
    };
    handle.map_err(|_| {
        format!("Storage volume '{target}'({source}) is not managed by libvirt. Remove it manually.")
    })
}

fn remove_volumes(shell: &mut Shell, call: &Invocation, volumes: &[Volume]) -> Outcome {
    let mut flags = StorageVolDeleteFlags::empty();
    if call.has("delete-storage-volume-snapshots") {
        flags |= StorageVolDeleteFlags::WITH_SNAPSHOTS;
    }
    // Each volume is tried; the last failure's reason is the command's.
    let mut outcome = Ok(());
    for volume in volumes {
        let what = format!("'{}'({})", volume.target, volume.source);
        if call.has("wipe-storage") {
            shell.extra(format!("Wiping volume {what} ... "));
            shell.flush();
            if let Err(error) = volume.handle.wipe() {
                shell.error("Failed! Volume not removed.");
                outcome = Err(error.into());
                continue;
            }
            shell.extra("Done.\n");
        }
        match volume.handle.delete(flags) {
            Ok(()) => shell.extra(format!("Volume {what} removed.\n")),
            Err(error) => {
                shell.error(&format!("Failed to remove storage volume {what}"));
                outcome = Err(error.into());
            }
        }
    }
    outcome
}
