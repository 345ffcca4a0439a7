//! Asking the user for what a connection needs to know.

use crate::terminal::RawMode;
use std::io::{IsTerminal, Read, Write, stdin, stdout};
use std::time::Duration;
use virt_api::CredentialRequest;
use virt_util::command::{Command, Input, Sink, Spawner, SystemSpawner};
use virt_util::error::SystemResult;
use virt_util::time::{Cancel, Deadline, Interest, wait_fd};
use virt_util::types::ConnectCredentialType;
use virt_util::{ErrorCode, Result, VirtError};

/// Answers requests from the terminal; secrets are not shown while they are typed.
pub fn ask(requests: &[CredentialRequest]) -> Result<Vec<String>> {
    requests.iter().map(one).collect()
}

fn one(request: &CredentialRequest) -> Result<String> {
    let kind = ConnectCredentialType(i32::try_from(request.kind).unwrap_or_default());
    let secret = matches!(
        kind,
        ConnectCredentialType::PASSPHRASE | ConnectCredentialType::NOECHOPROMPT
    );
    if kind == ConnectCredentialType::EXTERNAL {
        if request.challenge == "polkit" {
            start_polkit_agent()?;
        }
        return Ok(String::new());
    }
    let cancelled = || {
        VirtError::new(
            ErrorCode::AUTH_CANCELLED,
            format_args!("nobody answered '{}'", request.prompt),
        )
    };
    print!("{}:", request.prompt);
    let _ = stdout().flush();
    let mut text = String::new();
    if secret && stdin().is_terminal() {
        text = read_hidden().ok_or_else(cancelled)?;
        println!();
    } else if stdin().read_line(&mut text).unwrap_or(0) == 0 {
        return Err(cancelled());
    }
    let text = text.trim_end_matches(['\n', '\r']);
    Ok(if text.is_empty() {
        request.default.clone()
    } else {
        text.to_owned()
    })
}

/// How long the agent may take until it can ask.
const AGENT_START: Duration = Duration::from_secs(10);

/// Starts what asks for passwords on polkit's behalf, on this terminal and for this process. It ends with us.
fn start_polkit_agent() -> Result<()> {
    if !stdin().is_terminal() {
        return Err(VirtError::new(
            ErrorCode::AUTH_UNAVAILABLE,
            "nobody can be asked: standard input is no terminal",
        ));
    }
    let (ready, told) = std::io::pipe().or_system(|| "cannot make a pipe")?;
    let mut agent = Command::new("pkttyagent");
    let number = agent.pass_next_fd(told.into());
    agent
        .args(["--process", &std::process::id().to_string()])
        .args(["--notify-fd", &number.to_string(), "--fallback"])
        .env_pass_common()
        .env_pass("TERM")
        .stdin(Input::Inherit)
        .stdout(Sink::Inherit)
        .stderr(Sink::Inherit)
        .death_signal(SIGTERM);
    SystemSpawner.spawn(&agent, Deadline::after(AGENT_START), &Cancel::never())?;
    // Our own copy would keep the pipe open.
    drop(agent);
    wait_fd(
        &ready,
        Interest::Readable,
        Deadline::after(AGENT_START),
        &Cancel::never(),
    )?
    .ok("polkit's agent does not say that it is ready")
}

const SIGTERM: i32 = 15;

fn read_hidden() -> Option<String> {
    let _raw = RawMode::enter().ok()?;
    let mut typed = Vec::new();
    loop {
        let mut byte = [0];
        if stdin().read(&mut byte).ok()? == 0 {
            return None;
        }
        match byte[0] {
            b'\r' | b'\n' => return String::from_utf8(typed).ok(),
            // Ctrl-C, Ctrl-D
            3 | 4 => return None,
            8 | 127 => {
                typed.pop();
            }
            other if typed.len() < 4096 => typed.push(other),
            _ => {}
        }
    }
}
