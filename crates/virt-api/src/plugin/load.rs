//! The steps that lead from a file to a driver, in order: owner and mode, ELF file, `dlopen`, symbol, handshake, layout
//! of the binary interface, creation.

use std::os::raw::c_int;
use std::path::Path;
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use virt_util::{ErrorCode, Result, VirtError};

use super::manifest::Manifest;
use super::{ABI_MAJOR, ABI_MINOR, HANDSHAKE_PREFIX, elf, trust};
use crate::abi::v1::{HANDSHAKE_MAGIC, HANDSHAKE_SIZE_MIN, Handshake, RootFn};
use crate::abi::{DriverHandle, check_layout};
use crate::host::Host;

fn refused(path: &Path, found: impl std::fmt::Display, wanted: impl std::fmt::Display) -> VirtError {
    VirtError::new(
        ErrorCode::OPERATION_FAILED,
        format_args!("{}: {found}, {wanted} wanted", path.display()),
    )
}

/// Loads the driver that a manifest file describes from `path`.
pub(super) fn load(described: &Manifest, path: &Path, host: Arc<dyn Host>) -> Result<DriverHandle> {
    let name = described.name.as_str();
    let trusted = trust::open(path)?;
    let path = trusted.path.as_path();
    let inspected = elf::read(path, trusted.file, trusted.length)?;
    if !inspected.handshakes.iter().any(|known| known == name) {
        let found = match inspected.handshakes.as_slice() {
            [] => "it exports no driver".to_owned(),
            names => format!("it exports '{}'", names.join("', '")),
        };
        return Err(refused(
            path,
            found,
            format_args!("symbol '{HANDSHAKE_PREFIX}{name}'"),
        ));
    }
    let manifest = inspected
        .manifests
        .into_iter()
        .find(|manifest| manifest.name == name)
        .ok_or_else(|| {
            refused(
                path,
                format_args!("it has no manifest note of driver '{name}'"),
                "one",
            )
        })?;
    manifest.check_abi(&path.display().to_string())?;
    if (&manifest.kind, manifest.role, &manifest.schemes)
        != (&described.kind, described.role, &described.schemes)
    {
        return Err(refused(
            path,
            format_args!(
                "the plugin says it is a {:?} {} driver for {:?}",
                manifest.role, manifest.kind, manifest.schemes
            ),
            format_args!(
                "what its manifest file says ({:?}, {}, {:?})",
                described.role, described.kind, described.schemes
            ),
        ));
    }

    // The real path, so that the same file is never loaded twice under two names.
    let flags: c_int = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: running the file's constructors is what loading means; who wrote the file was checked above, and that
    // the linker can read it to its end.
    let library = unsafe { Library::open(Some(path), flags) }.map_err(|error| {
        VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!("cannot load driver '{}': {}", path.display(), whole_text(&error)),
        )
    })?;
    let symbol = format!("{HANDSHAKE_PREFIX}{name}");
    // SAFETY: the symbol is plain data that starts with the fields checked by `handshake_of` before more of it is read.
    let address: *const Handshake = unsafe { library.get::<*const Handshake>(symbol.as_bytes()) }
        .map_err(|error| refused(path, whole_text(&error), format_args!("symbol '{symbol}'")))?
        .as_raw_ptr()
        .cast();
    // Never unloaded: threads, thread-locals and callbacks of the plugin may outlive any moment we could pick.
    std::mem::forget(library);
    let root = root_of(path, name, address)?;
    DriverHandle::create(name, root, host)
        .map_err(|error| error.context(format_args!("driver '{name}' from {}", path.display())))
}

/// The root function out of a handshake, which is read field by field as far as it is known to be one: a plugin of an
/// older minor version has a shorter one.
fn root_of(path: &Path, name: &str, address: *const Handshake) -> Result<RootFn> {
    if address.is_null() || !address.is_aligned() {
        return Err(refused(path, "its handshake is nowhere", "an address"));
    }
    // SAFETY: the symbol exists and is aligned; the first field is eight bytes, fewer than any object's section has
    // behind a symbol that is meant to be a handshake.
    let magic = unsafe { (&raw const (*address).magic).read() };
    if magic != HANDSHAKE_MAGIC {
        return Err(refused(
            path,
            format_args!("its handshake starts with {magic:#018x}"),
            format_args!("{HANDSHAKE_MAGIC:#018x}"),
        ));
    }
    // SAFETY: the magic says that size and version follow, as they do in every version of the handshake.
    let (size, major, minor) = unsafe {
        (
            (&raw const (*address).size).read(),
            (&raw const (*address).abi_major).read(),
            (&raw const (*address).abi_minor).read(),
        )
    };
    if major != ABI_MAJOR {
        return Err(refused(
            path,
            format_args!("driver '{name}' was compiled for binary interface {major}.{minor}"),
            format_args!("{ABI_MAJOR}.x (this is {ABI_MAJOR}.{ABI_MINOR})"),
        ));
    }
    if (size as usize) < HANDSHAKE_SIZE_MIN {
        return Err(refused(
            path,
            format_args!("its handshake has {size} bytes"),
            format_args!("at least {HANDSHAKE_SIZE_MIN}"),
        ));
    }
    // SAFETY: magic and major version are right, and `size` covers these fields.
    let (layout, root) = unsafe {
        (
            (&raw const (*address).layout).read(),
            (&raw const (*address).root).read(),
        )
    };
    check_layout(layout(), minor).map_err(|difference| {
        VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!(
                "{}: driver '{name}' (binary interface {major}.{minor}) does not fit {ABI_MAJOR}.{ABI_MINOR}",
                path.display()
            ),
        )
        .caused_by(difference)
    })?;
    Ok(root)
}

/// An error with what led to it: libloading says only "dlopen failed" itself.
fn whole_text(error: &libloading::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
