//! Values of secrets that guests need when they start: they are fetched from the secret driver of the process, on the
//! guest's behalf, and go nowhere but into the plan.

use virt_api::host::{HostServices, NestedConnection, NestedOpen};
use virt_api::protocol::clients::RemoteClient;
use virt_util::{ErrorCode, Result, VirtError};

use super::error;
use super::planner::Patience;
use crate::plan::secrets::{MASTER_KEY_LENGTH, SecretKey, SecretName, SecretValue, Secrets};

/// Random bytes of the kernel.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    use std::io::Read as _;
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(bytes))
        .map_err(|why| VirtError::io(&why, "no random numbers from the kernel"))
}

/// A key of its own for a guest, and the values it needs.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` if it needs some and no driver has secrets, `NO_SECRET`, `INVALID_ARG` for a secret that is for
/// something else.
pub fn fetch(wanted: &[SecretKey], services: Option<&HostServices>, patience: &Patience) -> Result<Secrets> {
    let mut key = vec![0; MASTER_KEY_LENGTH];
    random(&mut key)?;
    let mut secrets = Secrets {
        master_key: Some(SecretValue::new(key)),
        random,
        values: Vec::new(),
    };
    let Some(first) = wanted.first() else {
        return Ok(secrets);
    };
    let keeper = connect(services, patience).map_err(|why| {
        error(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("the guest needs secret {first}, and no driver here keeps secrets"),
        )
        .caused_by(why)
    })?;
    for key in wanted {
        secrets.values.push((key.clone(), value(&keeper, key)?));
    }
    Ok(secrets)
}

fn connect(services: Option<&HostServices>, patience: &Patience) -> Result<NestedConnection> {
    let services = services.ok_or_else(|| VirtError::internal("the driver has no host"))?;
    let path = match nix::unistd::geteuid().is_root() {
        true => "system",
        false => "session",
    };
    services.open_connection(&NestedOpen {
        uri: format!("secret:///{path}"),
        // Values of private secrets are for drivers alone.
        elevated: true,
        deadline: patience.deadline,
        ..NestedOpen::default()
    })
}

fn value(keeper: &NestedConnection, key: &SecretKey) -> Result<SecretValue> {
    let client = RemoteClient::new(keeper);
    let secret = match &key.name {
        SecretName::Uuid(uuid) => client.secret_lookup_by_uuid(*uuid)?.secret,
        SecretName::Usage(text) => client.secret_lookup_by_usage(key.usage.number(), text)?.secret,
    };
    // A secret without a usage is for anything.
    if secret.usage_type != 0 && secret.usage_type != key.usage.number() {
        return Err(error(
            ErrorCode::INVALID_ARG,
            format_args!("secret {key} is not of type '{}'", key.usage),
        ));
    }
    Ok(SecretValue::new(client.secret_get_value(&secret, 0)?.value))
}
