//! Features: some are facts about this implementation and not for a driver to decide; the rest it is asked about.
//!
//! What only exists between a client and a daemon (keepalive, the forms of event registration, being remote) is absent
//! here, and the daemon and the remote driver answer for it before anybody comes here.

use virt_util::{ErrorCode, Result};

use super::Call;
use crate::protocol::remote::{ConnectSupportsFeatureArgs, ConnectSupportsFeatureReply};
use crate::protocol::traits::HypervisorDriver;

/// `VIR_DRV_FEATURE_REMOTE`: the connection goes through a daemon.
pub const REMOTE: i32 = 2;
/// `VIR_DRV_FEATURE_FD_PASSING`: descriptors can be passed.
pub const FD_PASSING: i32 = 8;
/// `VIR_DRV_FEATURE_TYPED_PARAM_STRING`: typed parameters may be strings.
pub const TYPED_PARAM_STRING: i32 = 9;
/// `VIR_DRV_FEATURE_PROGRAM_KEEPALIVE`: the other side answers keepalive.
pub const PROGRAM_KEEPALIVE: i32 = 10;
/// `VIR_DRV_FEATURE_REMOTE_EVENT_CALLBACK`: the daemon knows event registrations with callback ids.
pub const REMOTE_EVENT_CALLBACK: i32 = 14;
/// `VIR_DRV_FEATURE_REMOTE_CLOSE_CALLBACK`: the daemon tells when the driver's own connection ends.
pub const REMOTE_CLOSE_CALLBACK: i32 = 15;
/// `VIR_DRV_FEATURE_NETWORK_UPDATE_HAS_CORRECT_ORDER`: the arguments of network updates are in their order.
pub const NETWORK_UPDATE_HAS_CORRECT_ORDER: i32 = 16;

/// Whether a feature is there, if that is not for the driver to say.
fn global(feature: i32) -> Option<bool> {
    match feature {
        REMOTE | PROGRAM_KEEPALIVE | REMOTE_EVENT_CALLBACK | REMOTE_CLOSE_CALLBACK => Some(false),
        FD_PASSING | TYPED_PARAM_STRING | NETWORK_UPDATE_HAS_CORRECT_ORDER => Some(true),
        _ => None,
    }
}

/// Answers whether a feature is there. A driver that says nothing about features has none of its own.
pub(super) fn answer(
    call: &mut Call<'_, '_>,
    driver: Option<&dyn HypervisorDriver>,
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let args: ConnectSupportsFeatureArgs = call.decode(bytes)?;
    call.admit()?;
    let none = ConnectSupportsFeatureReply { supported: 0 };
    let reply = match (global(args.feature), driver) {
        (Some(supported), _) => ConnectSupportsFeatureReply {
            supported: supported.into(),
        },
        (None, None) => none,
        (None, Some(driver)) => match driver.connect_supports_feature(call.cx, args.feature) {
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => none,
            answered => answered?,
        },
    };
    call.encode(&reply)
}
