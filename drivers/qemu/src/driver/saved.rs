//! Guests whose memory lies in a file: the managed save images that libvirt has left in its folder.
//!
//! This driver makes none and starts no guest from one yet. It knows of those that are there: it tells them, keeps what
//! they belong to from being undefined or booted behind their back, and removes them when that is asked for.
//!
//! An image begins with a header of 92 bytes (a mark, then 32-bit numbers in the order of bytes of the host that wrote
//! it), behind it the guest's definition, then what the driver noted beside it, then the memory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virt_conf::domain::Domain;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::error;
use super::object::GuestObject;
use crate::process::layout::Layout;

/// The mark of a whole image.
const WHOLE: &[u8; 16] = b"LibvirtQemudSave";
/// The mark of one that was not finished.
const PARTIAL: &[u8; 16] = b"LibvirtQemudPart";
/// The newest form that is known.
const VERSION: u32 = 2;
/// Bytes of the header.
const HEADER: usize = 92;
/// Most bytes of a definition that is read from an image.
const MOST_TEXT: u32 = 64 << 20;

/// The file of a guest's memory, whether it is there or not.
pub fn path(layout: &Layout, name: &str) -> PathBuf {
    layout.save.join(format!("{name}.save"))
}

/// Whether the memory of a guest of that name lies in a file.
pub fn exists(layout: &Layout, name: &str) -> bool {
    path(layout, name).exists()
}

/// Throws a guest's memory away. The caller holds the lane.
///
/// # Errors
/// `SYSTEM_ERROR` where the file cannot be removed, or is not there.
pub fn remove(layout: &Layout, guest: &Arc<GuestObject>) -> Result<()> {
    let path = path(layout, guest.snapshot().name());
    std::fs::remove_file(&path).map_err(|error| {
        let what = format_args!("Failed to remove managed save file '{}'", path.display());
        VirtError::io(&error, what).in_domain(ErrorDomain::QEMU)
    })?;
    guest.publish(|snapshot| snapshot.state.managed_save = false);
    Ok(())
}

/// Refuses to boot a guest whose memory is saved: what the image knows of its disks would no longer be so.
///
/// # Errors
/// `OPERATION_UNSUPPORTED` naming the image and the ways out.
pub fn refuse_boot(layout: &Layout, name: &str) -> Result<()> {
    let path = path(layout, name);
    if !path.exists() {
        return Ok(());
    }
    Err(error(
        ErrorCode::OPERATION_UNSUPPORTED,
        format_args!(
            "domain '{name}' has a managed save image '{}', which this driver does not restore: remove it \
             (managedsave-remove) or drop it at the start (start --force-boot)",
            path.display()
        ),
    ))
}

/// The definition with which a guest's memory was saved.
///
/// # Errors
/// `OPERATION_INVALID` for a guest without an image, `OPERATION_FAILED` for a file that is none, and those of the
/// definition.
pub fn definition(layout: &Layout, name: &str) -> Result<Domain> {
    let path = path(layout, name);
    if !path.exists() {
        return Err(error(
            ErrorCode::OPERATION_INVALID,
            format_args!("domain '{name}' does not have managed save image"),
        ));
    }
    let text = text_of(&path)?;
    Domain::parse(&text, XmlFlags::empty(), &path.display().to_string())
}

fn text_of(path: &Path) -> Result<String> {
    let read = |error: std::io::Error| {
        VirtError::io(&error, format_args!("cannot read '{}'", path.display())).in_domain(ErrorDomain::QEMU)
    };
    let mut file = File::open(path).map_err(read)?;
    let mut head = Vec::with_capacity(HEADER);
    file.by_ref()
        .take(HEADER as u64)
        .read_to_end(&mut head)
        .map_err(read)?;
    let length = text_length(&head).map_err(|error| error.context(format_args!("'{}'", path.display())))?;
    let mut text = Vec::new();
    file.take(length.into()).read_to_end(&mut text).map_err(read)?;
    if text.len() < length as usize {
        return Err(failed(format_args!(
            "'{}' ends within the definition: {} of {length} bytes",
            path.display(),
            text.len()
        )));
    }
    // The text ends with a zero, and room may be left behind it for a longer one.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec())
        .map_err(|_| failed(format_args!("the definition in '{}' is no text", path.display())))
}

/// Bytes of the definition behind a header.
fn text_length(head: &[u8]) -> Result<u32> {
    let (mark, numbers) = head.split_first_chunk::<16>().ok_or_else(too_short)?;
    if mark == PARTIAL {
        return Err(failed("save image is incomplete"));
    }
    if mark != WHOLE {
        return Err(failed("image magic is incorrect"));
    }
    if head.len() < HEADER {
        return Err(too_short());
    }
    let mut numbers = numbers
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_ne_bytes(*bytes));
    let mut next = || numbers.next().unwrap_or_default();
    let [version, data, _running, _format, cookie] = [next(), next(), next(), next(), next()];
    // A version beyond all is one of a host that writes numbers the other way round.
    let turned = version > VERSION;
    let number = |number: u32| match turned {
        true => number.swap_bytes(),
        false => number,
    };
    let (version, data, cookie) = (number(version), number(data), number(cookie));
    if version > VERSION {
        return Err(failed(format_args!(
            "image version is not supported ({version} > {VERSION})"
        )));
    }
    let length = if cookie == 0 { data } else { cookie.min(data) };
    if length == 0 || length > MOST_TEXT {
        return Err(failed(format_args!(
            "invalid header data length: {length}, 1 to {MOST_TEXT} expected"
        )));
    }
    Ok(length)
}

fn too_short() -> VirtError {
    failed(format_args!(
        "failed to read qemu header: {HEADER} bytes expected"
    ))
}

fn failed(what: impl std::fmt::Display) -> VirtError {
    error(ErrorCode::OPERATION_FAILED, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(mark: &[u8; 16], numbers: [u32; 5]) -> Vec<u8> {
        let mut head = mark.to_vec();
        for number in numbers {
            head.extend(number.to_ne_bytes());
        }
        head.resize(HEADER, 0);
        head
    }

    fn length(head: &[u8]) -> Option<u32> {
        text_length(head).ok()
    }

    #[test]
    fn headers_are_those_of_whole_images() {
        assert_eq!(length(&header(WHOLE, [2, 100, 1, 0, 0])), Some(100));
        // Behind the definition may be notes.
        assert_eq!(length(&header(WHOLE, [2, 100, 1, 0, 60])), Some(60));
        let turned = [2_u32, 100, 1, 0, 60].map(u32::swap_bytes);
        assert_eq!(length(&header(WHOLE, turned)), Some(60));
        assert_eq!(length(&header(PARTIAL, [2, 100, 1, 0, 0])), None);
        assert_eq!(length(&header(b"LibvirtQemudWhat", [2, 100, 1, 0, 0])), None);
        assert_eq!(length(&header(WHOLE, [3, 100, 1, 0, 0])), None);
        assert_eq!(length(&header(WHOLE, [2, 0, 1, 0, 0])), None);
        assert_eq!(length(&header(WHOLE, [2, u32::MAX, 1, 0, 0])), None);
        assert_eq!(length(WHOLE), None);
    }

    #[test]
    fn definitions_are_found_behind_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.save");
        let text = b"<domain/>\0\0\0";
        let mut image = header(WHOLE, [2, 16, 1, 0, 12]);
        image.extend(text);
        image.extend(b"memory and more");
        std::fs::write(&file, &image).unwrap();
        assert_eq!(text_of(&file).unwrap(), "<domain/>");
        std::fs::write(&file, &image[..HEADER + 3]).unwrap();
        let error = text_of(&file).unwrap_err();
        assert!(error.message().contains("3 of 12 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn no_header_breaks_anything(bytes in proptest::collection::vec(any::<u8>(), 0..120), whole: bool) {
            let mut head = bytes;
            if whole {
                head.splice(..head.len().min(16), *WHOLE);
            }
            let _ = text_length(&head);
        }
    }
}
