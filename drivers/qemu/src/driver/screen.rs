//! A guest's screen and keyboard, from outside.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::OFlag;

use virt_api::call::CallContext;
use virt_api::stream_end::FileStream;
use virt_conf::domain::Domain;
use virt_util::error::SystemResult as _;
use virt_util::keycode::Codeset;
use virt_util::types::KeycodeSet;
use virt_util::{ErrorCode, Result};

use super::error;
use crate::monitor::Command;
use crate::process::guest::Guest;
use crate::process::status::Status;

/// A picture of a screen and its MIME type.
///
/// # Errors
/// `OPERATION_INVALID` for a guest without that screen; otherwise as [`Guest::execute`].
pub fn picture(
    guest: &Guest,
    domain: &Domain,
    status: Option<&Status>,
    screen: u32,
    cx: &CallContext<'_>,
) -> Result<(FileStream, &'static str)> {
    let invalid = |what: &str| error(ErrorCode::OPERATION_INVALID, what);
    if domain.devices.videos.is_empty() {
        return Err(invalid("the domain has no <video>, and no picture"));
    }
    let mut head = screen;
    let mut device = None;
    for video in &domain.devices.videos {
        let heads = video.model.heads.max(1);
        if head < heads {
            device = video.info.alias.as_deref().map(str::to_owned);
            break;
        }
        head -= heads;
    }
    let device = device.ok_or_else(|| invalid(&format!("the domain has no screen {screen}")))?;
    let has = |name: &str| {
        status
            .and_then(|status| status.capabilities.as_ref())
            .is_some_and(|flags| flags.flags.iter().any(|flag| flag.name == name))
    };
    let png = has("screenshot-format-png");
    let file = PictureFile(guest.paths().lib.join(format!("qemu.screendump.{screen}")));
    let mut command = Command::new("screendump").with("filename", file.0.display().to_string());
    if screen > 0 {
        command = command.with("device", device).with("head", head);
    }
    if png {
        command = command.with("format", "png");
    }
    guest.execute(command, cx.deadline(), cx.cancel())?;
    let picture = FileStream::reader(file.open()?, 0, None, false)?;
    let mime = if png {
        "image/png"
    } else {
        "image/x-portable-pixmap"
    };
    Ok((picture, mime))
}

/// A file that is gone once it is open.
struct PictureFile(PathBuf);

impl PictureFile {
    /// It lies where QEMU may write, so it is only read if it is a file of its own.
    fn open(&self) -> Result<File> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let name = self.0.display();
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(&self.0)
            .or_system(|| format!("cannot open the picture {name} that QEMU was to write"))?;
        let about = file.metadata().or_system(|| format!("cannot look at {name}"))?;
        if !about.is_file() {
            let what = format_args!("the picture {name} is not a file");
            return Err(error(ErrorCode::INTERNAL_ERROR, what));
        }
        Ok(file)
    }
}

impl Drop for PictureFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Presses keys together and lets them go after `hold`.
///
/// # Errors
/// `INVALID_ARG` for a code that the set does not have; otherwise as [`Guest::execute`].
pub fn press_keys(
    guest: &Guest,
    set: u32,
    codes: &[u32],
    hold: Duration,
    cx: &CallContext<'_>,
) -> Result<()> {
    let known = Codeset::from_number(set)
        .ok_or_else(|| error(ErrorCode::INVALID_ARG, format_args!("unknown keycode set {set}")))?;
    let qnum = Codeset::from_number(KeycodeSet::QNUM.0.unsigned_abs())
        .ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, "the keycode set of QEMU is missing"))?;
    let keys = codes
        .iter()
        .map(|code| {
            let number = if known == qnum {
                u16::try_from(*code).ok()
            } else {
                known.translate(qnum, *code)
            };
            number
                .map(|number| serde_json::json!({ "type": "number", "data": number }))
                .ok_or_else(|| {
                    error(
                        ErrorCode::INTERNAL_ERROR,
                        format_args!("key {code} is none of codeset {}", known.name()),
                    )
                })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut command = Command::new("send-key").with("keys", keys);
    if !hold.is_zero() {
        command = command.with("hold-time", u64::try_from(hold.as_millis()).unwrap_or(u64::MAX));
    }
    guest.execute(command, cx.deadline(), cx.cancel()).map(drop)
}
