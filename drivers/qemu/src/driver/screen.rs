//! A guest's screen and keyboard, from outside.

use std::path::PathBuf;
use std::time::Duration;

use virt_api::call::CallContext;
use virt_api::stream_end::Bytes;
use virt_conf::domain::Domain;
use virt_util::keycode::Codeset;
use virt_util::types::KeycodeSet;
use virt_util::{ErrorCode, Result, durable};

use super::error;
use crate::monitor::Command;
use crate::process::guest::Guest;
use crate::process::status::Status;

/// No screen has more bytes.
const PICTURE_LIMIT: u64 = 512 << 20;

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
) -> Result<(Bytes, &'static str)> {
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
    let bytes = durable::read(&file.0, PICTURE_LIMIT)?
        .ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, "QEMU has written no picture"))?;
    let mime = if png {
        "image/png"
    } else {
        "image/x-portable-pixmap"
    };
    Ok((Bytes::new(bytes), mime))
}

/// A file that is gone when it was read.
struct PictureFile(PathBuf);

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
