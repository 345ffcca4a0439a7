//! The pretended authentication: a host file may name users, and then a connection must be one of them.

use virt_api::driver::OpenContext;
use virt_api::host::CredentialRequest;
use virt_util::types::ConnectCredentialType;
use virt_util::{ErrorCode, Result};

use crate::error;
use crate::world::World;

/// Somebody who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password; `None` lets the user in without.
    pub password: Option<String>,
}

/// Lets a connection in, or refuses it with `VIR_ERR_AUTH_FAILED`.
pub fn check(world: &World, cx: &OpenContext) -> Result<()> {
    if world.users().is_empty() {
        return Ok(());
    }
    let name = ask(
        cx,
        &[ConnectCredentialType::USERNAME, ConnectCredentialType::AUTHNAME],
        "Enter username for localhost",
    )?;
    let user = world.users().iter().find(|user| user.name == name);
    // Somebody unknown is asked for a password too: the dialog does not tell which names exist.
    let wanted = match user {
        Some(user) if user.password.is_none() => return Ok(()),
        user => user.and_then(|user| user.password.as_deref()),
    };
    let password = ask(
        cx,
        &[
            ConnectCredentialType::PASSPHRASE,
            ConnectCredentialType::NOECHOPROMPT,
        ],
        &format!("Enter {name}'s password for localhost"),
    )?;
    if wanted == Some(password.as_str()) {
        return Ok(());
    }
    Err(error(
        ErrorCode::AUTH_FAILED,
        "the document of the connection has no such user with this password",
    ))
}

fn ask(cx: &OpenContext, kinds: &[ConnectCredentialType], prompt: &str) -> Result<String> {
    let refused = |why: &str| Err(error(ErrorCode::AUTH_FAILED, why));
    let Some(source) = cx.credentials() else {
        return refused("the connection gave no way to ask for credentials");
    };
    let offered = source.kinds();
    let kind = kinds
        .iter()
        .filter_map(|kind| u32::try_from(kind.0).ok())
        .find(|kind| offered.contains(kind));
    let Some(kind) = kind else {
        return refused("the connection answers no question of the needed kind");
    };
    let question = CredentialRequest {
        kind,
        prompt: prompt.to_owned(),
        challenge: "localhost".to_owned(),
        default: String::new(),
    };
    match source.request(&[question])?.into_iter().next() {
        Some(answer) => Ok(answer),
        None => refused("the question for credentials was not answered"),
    }
}
