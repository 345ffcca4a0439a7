//! Looks into a plugin's file before the dynamic linker does, which dies of SIGBUS on a file that was cut.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Sym};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};
use virt_util::{ErrorCode, Result, VirtError};

use super::manifest::Manifest;
use super::{HANDSHAKE_PREFIX, NOTE_NAME, NOTE_TYPE};

/// A manifest is a few hundred bytes; more in a note is not one.
const NOTE_MAX: usize = 64 * 1024;

/// What a plugin file tells without being loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// The manifests in it: one per driver.
    pub(crate) manifests: Vec<Manifest>,
    /// The drivers it exports a handshake for.
    pub(crate) handshakes: Vec<String>,
}

/// Reads the manifest out of a plugin file without loading it. An error if the file holds none.
pub fn inspect(path: &Path) -> Result<Manifest> {
    let file = File::open(path)
        .map_err(|error| VirtError::io(&error, format_args!("cannot open driver '{}'", path.display())))?;
    let length = file
        .metadata()
        .map_err(|error| VirtError::io(&error, format_args!("cannot examine '{}'", path.display())))?
        .len();
    let inspected = read(path, file, length)?;
    inspected
        .manifests
        .into_iter()
        .next()
        .ok_or_else(|| broken(path, "it has no manifest note", "the file of a driver"))
}

fn broken(path: &Path, found: impl std::fmt::Display, wanted: impl std::fmt::Display) -> VirtError {
    VirtError::new(
        ErrorCode::OPERATION_FAILED,
        format_args!("{}: {found}, {wanted} wanted", path.display()),
    )
}

/// Checks that the dynamic linker can read the file to its end, and reads what it says of itself.
pub(crate) fn read<F: Read + Seek>(path: &Path, file: F, length: u64) -> Result<Inspected> {
    let cache = ReadCache::new(file);
    let data = &cache;
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => parse::<FileHeader64<Endianness>, _>(path, data, length),
        Ok(FileKind::Elf32) => parse::<FileHeader32<Endianness>, _>(path, data, length),
        Ok(other) => Err(broken(
            path,
            format_args!("it is a file of kind {other:?}"),
            "ELF",
        )),
        Err(_) => Err(broken(
            path,
            format_args!("its {length} bytes are no ELF file"),
            "ELF",
        )),
    }
}

/// The machine we run on, in ELF's numbers.
const MACHINE: elf::Machine = if cfg!(target_arch = "x86_64") {
    elf::EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64
} else if cfg!(any(target_arch = "riscv64", target_arch = "riscv32")) {
    elf::EM_RISCV
} else if cfg!(any(target_arch = "powerpc64")) {
    elf::EM_PPC64
} else if cfg!(target_arch = "s390x") {
    elf::EM_S390
} else if cfg!(target_arch = "loongarch64") {
    elf::EM_LOONGARCH
} else if cfg!(target_arch = "arm") {
    elf::EM_ARM
} else if cfg!(target_arch = "x86") {
    elf::EM_386
} else {
    elf::EM_NONE
};

fn parse<'a, Header, R>(path: &Path, data: R, length: u64) -> Result<Inspected>
where
    Header: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let bad = |error: object::read::Error| broken(path, format_args!("damaged: {error}"), "a whole ELF file");
    let header = Header::parse(data).map_err(bad)?;
    let endian = header.endian().map_err(bad)?;
    let machine = header.e_machine(endian);
    if MACHINE != elf::EM_NONE && machine != MACHINE {
        return Err(broken(
            path,
            format_args!("it is for machine {machine:?}"),
            format_args!("{MACHINE:?}"),
        ));
    }
    let bits = if header.is_class_64() { 64 } else { 32 };
    if bits != usize::BITS {
        return Err(broken(
            path,
            format_args!("it is a file of {bits} bits"),
            usize::BITS,
        ));
    }
    if (endian == Endianness::Big) != cfg!(target_endian = "big") {
        return Err(broken(path, "it has the other byte order", "this machine's"));
    }
    let kind = header.e_type(endian);
    if kind != elf::ET_DYN {
        return Err(broken(
            path,
            format_args!("it is an ELF file of type {kind:?}"),
            "a shared object",
        ));
    }
    let mut manifests = Vec::new();
    let mut loads = 0;
    let mut dynamic = false;
    for segment in header.program_headers(endian, data).map_err(bad)? {
        let (offset, size) = segment.file_range(endian);
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end > length) {
            return Err(broken(
                path,
                format_args!("it ends after {length} bytes"),
                format_args!(
                    "at least {}",
                    end.map_or("more".to_owned(), |end| end.to_string())
                ),
            ));
        }
        let kind = segment.p_type(endian);
        if kind == elf::PT_LOAD {
            loads += 1;
        }
        if let Some(entries) = segment.dynamic(endian, data).map_err(bad)? {
            dynamic = entries.iter().any(|entry| entry.tag(endian) == elf::DT_SYMTAB);
        }
        if let Some(mut notes) = segment.notes(endian, data).map_err(bad)? {
            while let Some(note) = notes.next().map_err(bad)? {
                if note.name() == NOTE_NAME.as_bytes() && note.n_type(endian).0 == NOTE_TYPE {
                    manifests.push(manifest(path, note.desc())?);
                }
            }
        }
    }
    if loads == 0 || !dynamic {
        return Err(broken(path, "it has nothing to load", "a shared object"));
    }
    Ok(Inspected {
        manifests,
        handshakes: handshakes::<Header, R>(endian, header, data).map_err(bad)?,
    })
}

fn manifest(path: &Path, text: &[u8]) -> Result<Manifest> {
    let place = path.display().to_string();
    match std::str::from_utf8(text) {
        Ok(text) if text.len() <= NOTE_MAX => Manifest::parse(text, &place),
        _ => Err(broken(path, "its manifest note is no text", "TOML")),
    }
}

/// The names behind the handshake symbols that the file exports.
fn handshakes<'a, Header, R>(
    endian: Endianness,
    header: &Header,
    data: R,
) -> Result<Vec<String>, object::read::Error>
where
    Header: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let sections = header.sections(endian, data)?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    let mut names = Vec::new();
    for symbol in symbols.iter() {
        if symbol.is_undefined(endian) {
            continue;
        }
        let name = symbol.name(endian, symbols.strings())?;
        if let Some(driver) = name.strip_prefix(HANDSHAKE_PREFIX.as_bytes()) {
            names.push(String::from_utf8_lossy(driver).into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// The header of a shared object for this machine with one segment and no sections, as far as it is well.
    fn header() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        for (at, part) in [
            (0, &b"\x7fELF\x02\x01\x01"[..]),
            (16, &[3, 0]),
            (18, &super::MACHINE.0.to_le_bytes()),
            (20, &[1]),
            (32, &[64]),
            (52, &[64, 0, 56, 0, 2, 0, 64, 0]),
        ] {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        }
        bytes
    }

    proptest! {
        /// Nothing in a file makes the inspection panic, hang or take memory that the file has not.
        #[test]
        fn noise_is_survived(
            noise in proptest::collection::vec(any::<u8>(), 0..600),
            at in 4usize..64,
            patch in any::<u16>(),
        ) {
            let mut bytes = header();
            bytes.extend_from_slice(&noise);
            crate::fuzz::fuzz_plugin_file(&bytes);
            for (to, from) in bytes.iter_mut().skip(at).zip(patch.to_le_bytes()) {
                *to = from;
            }
            crate::fuzz::fuzz_plugin_file(&bytes);
            crate::fuzz::fuzz_plugin_file(&noise);
        }
    }
}
