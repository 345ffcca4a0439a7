//! Turns a panic into the error of the call it happened in.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use virt_util::{Result, VirtError};

use super::convert::error_out;
use super::v1::AbiResult;

thread_local! {
    /// Where the last panic of this thread happened, noted by [`note_panics`] until its call has caught it.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Lets panics in this copy of the standard library be logged with their place instead of being written to stderr.
/// For plugins only: the process's own hook belongs to the application.
pub(super) fn note_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        tracing::error!(
            target: "virt::panic",
            place = place.as_deref().unwrap_or("unknown"),
            "panic: {}",
            text(info.payload())
        );
        PLACE.with(|cell| cell.set(place));
    }));
}

/// What a panic said.
fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Runs `body`; a panic in it becomes an error that names `what` was being done and by whom.
pub(super) fn caught<T>(
    who: &str,
    what: impl FnOnce() -> String,
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => {
            let place = PLACE
                .with(Cell::take)
                .map(|place| format!(" at {place}"))
                .unwrap_or_default();
            let said = text(&*payload).to_owned();
            // A payload of a foreign type may panic again when dropped.
            if !payload.is::<&str>() && !payload.is::<String>() {
                std::mem::forget(payload);
            }
            Err(VirtError::internal(format_args!(
                "{who} panicked{place} in {}: {said}",
                what()
            )))
        }
    }
}

/// [`caught`] for what goes back over the waist.
pub(super) fn guarded<T>(
    who: &str,
    what: impl FnOnce() -> String,
    body: impl FnOnce() -> Result<T>,
) -> AbiResult<T> {
    caught(who, what, body).map_err(error_out).into()
}

/// [`caught`] for what answers nothing: the panic is logged.
pub(super) fn contained(who: &str, what: &'static str, body: impl FnOnce()) {
    if let Err(error) = caught(
        who,
        || what.to_owned(),
        || {
            body();
            Ok(())
        },
    ) {
        // Logging is code of the other side's making; it must not bring the unwind back.
        let _ = catch_unwind(AssertUnwindSafe(|| tracing::error!("{error}")));
    }
}

/// A value whose destructor may panic without anybody noticing more than a log line.
pub(super) struct Contained<T> {
    who: &'static str,
    value: Option<T>,
}

impl<T> Contained<T> {
    pub(super) fn new(who: &'static str, value: T) -> Self {
        Self {
            who,
            value: Some(value),
        }
    }

    /// The value, unless it is being dropped.
    pub(super) fn get(&self) -> Result<&T> {
        self.value
            .as_ref()
            .ok_or_else(|| VirtError::internal(format_args!("{} is gone", self.who)))
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        contained(self.who, "drop", || drop(value));
    }
}
