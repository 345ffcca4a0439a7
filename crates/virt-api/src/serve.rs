//! Answers one call inside the plugin: bytes for drivers that take bytes, registration of events, the generated
//! dispatch for everything else, and the refusal of an answer whose access nobody checked.

use virt_util::Result;

use crate::call::CallContext;
use crate::driver::DriverConnection;

/// Answers the call of `cx`.
pub(crate) fn answer(
    connection: &dyn DriverConnection,
    cx: &mut CallContext<'_>,
    args: &[u8],
) -> Result<Vec<u8>> {
    let reply = match connection.passthrough() {
        Some(passthrough) => passthrough.call(cx, args),
        None => crate::protocol::dispatch(connection, cx, args),
    }?;
    cx.refuse_unauthorized()?;
    Ok(reply)
}

/// What to call a procedure in messages.
pub(crate) fn procedure_name(program: u32, procedure: u32) -> String {
    format!("procedure {procedure} of program {program:#x}")
}

/// The `SUPPORTS_` bits of a procedure.
pub(crate) fn supports(_connection: &dyn DriverConnection, _program: u32, _procedure: u32) -> u32 {
    0
}
