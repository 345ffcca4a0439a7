//! Commands that reach into a running guest: console, keys, screen, monitor.

use crate::console;
use crate::grammar::Invocation;
use crate::shell::{Failure, OrSay, Outcome, Shell};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use virt_api::{Domain, Received};
use virt_util::keycode;
use virt_util::types::{DomainConsoleFlags, DomainQemuMonitorCommandFlags};

use super::domain;

pub(super) fn console(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let device = call.text("devname")?;
    let mut flags = DomainConsoleFlags::empty();
    if call.has("force") {
        flags |= DomainConsoleFlags::FORCE;
    }
    if call.has("safe") {
        flags |= DomainConsoleFlags::SAFE;
    }
    run_console(shell, &domain, device, call.has("resume"), flags)
}

/// Opens the console and stays in it until it ends.
pub(super) fn run_console(
    shell: &mut Shell,
    domain: &Domain,
    device: Option<&str>,
    resume: bool,
    flags: DomainConsoleFlags,
) -> Outcome {
    if super::lifecycle::is_shut_off(domain)? {
        return Err("The domain is not running".into());
    }
    if !std::io::stdin().is_terminal() {
        return Err("Cannot run interactive console without a controlling TTY".into());
    }
    console::run(shell, domain, device, resume, flags)
}

pub(super) fn screenshot(shell: &mut Shell, call: &Invocation) -> Outcome {
    let given = call.text("file")?;
    let screen = call.uint("screen")?.unwrap_or(0);
    let (domain, name) = domain(shell, call)?;
    let (mime, stream) = domain
        .screenshot(screen)
        .or_say(|| format!("could not take a screenshot of {name}"))?;
    let path = given.map_or_else(|| file_name(domain.name(), &mime), str::to_owned);

    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let is_new = created.is_ok();
    let mut file = created
        .or_else(|_| OpenOptions::new().write(true).truncate(true).open(&path))
        .map_err(|_| Failure::from(format!("cannot create file {path}")))?;
    let mut save = || -> Outcome {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let received = stream
                .receive(&mut buffer)
                .or_say(|| format!("could not receive data from domain '{name}'"))?;
            match received {
                Received::Data(0) => break,
                Received::Data(length) => file
                    .write_all(buffer.get(..length).unwrap_or_default())
                    .map_err(|error| {
                        virt_util::VirtError::io(&error, format_args!("cannot write file {path}"))
                    })
                    .or_say(|| format!("could not receive data from domain '{name}'"))?,
                Received::WouldBlock => {}
            }
        }
        stream
            .finish()
            .or_say(|| format!("cannot close stream on domain '{name}'"))
    };
    if let Err(failure) = save() {
        if is_new {
            let _ = std::fs::remove_file(&path);
        }
        return Err(failure);
    }
    shell.extra(format!("Screenshot saved to {path}, with type of {mime}"));
    Ok(())
}

fn file_name(domain: &str, mime: &str) -> String {
    let extension = match mime {
        "image/x-portable-pixmap" => ".ppm",
        "image/png" => ".png",
        _ => "",
    };
    let now = jiff::Zoned::now().strftime("%Y-%m-%d-%H:%M:%S").to_string();
    // A name with a slash is no file name.
    format!("{}-{now}{extension}", domain.replace('/', "_"))
}

/// The most keys that can be pressed at once (`VIR_DOMAIN_SEND_KEY_MAX_KEYS`).
const KEYS_MAX: usize = 16;

fn codeset(name: &str) -> Option<keycode::Codeset> {
    // The set was called rfb before it was called qnum.
    keycode::Codeset::from_name(if name == "rfb" { "qnum" } else { name })
}

pub(super) fn send_key(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    let name = call.text_if_any("codeset").unwrap_or("linux");
    let hold = call.uint("holdtime")?.unwrap_or(0);
    let set = codeset(name).ok_or_else(|| format!("unknown codeset: '{name}'"))?;
    let mut codes = Vec::new();
    for key in call.values("keycode") {
        if codes.len() == KEYS_MAX {
            return Err("too many keycodes".into());
        }
        let number = crate::numbers::uint(key, 0).filter(|code| *code <= 0xffff);
        let code = number
            .or_else(|| set.code(key).map(u32::from))
            .ok_or_else(|| format!("invalid keycode: '{key}'"))?;
        codes.push(code);
    }
    domain.send_key(set.number(), hold, &codes)?;
    Ok(())
}

pub(super) fn complete_codeset(_: &mut Shell, _: &Invocation) -> Vec<String> {
    keycode::Codeset::ALL
        .iter()
        .map(|set| set.name().to_owned())
        .collect()
}

pub(super) fn complete_keycode(_: &mut Shell, call: &Invocation) -> Vec<String> {
    let set = codeset(call.text_if_any("codeset").unwrap_or("linux"));
    set.map(|set| set.names().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// The command as QEMU's JSON protocol has it. What is no JSON object yet is taken as a name and its arguments.
fn wrap_qmp(words: &[String]) -> Result<String, Failure> {
    let whole = words.join(" ");
    if matches!(serde_json::from_str(&whole), Ok(Value::Object(_))) {
        return Ok(whole);
    }
    let (name, arguments) = words.split_first().ok_or("the command is empty")?;
    let joined = arguments.join(" ");
    let mut command = json!({ "execute": name });
    if !arguments.is_empty() {
        let parsed = match serde_json::from_str(&joined) {
            Ok(Value::Object(object)) => Value::Object(object),
            _ => serde_json::from_str(&format!("{{{}}}", arguments.join(","))).map_err(|_| {
                Failure::from(format!(
                    "failed to wrap arguments '{joined}' into a QMP command wrapper"
                ))
            })?,
        };
        if let Value::Object(fields) = &mut command {
            fields.insert("arguments".into(), parsed);
        }
    }
    Ok(command.to_string())
}

pub(super) fn qemu_monitor_command(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.exclusive("hmp", "pretty")?;
    call.exclusive("hmp", "return-value")?;
    let (domain, _) = domain(shell, call)?;
    let words = call.values("cmd");
    let (command, flags) = if call.has("hmp") {
        (words.join(" "), DomainQemuMonitorCommandFlags::HMP)
    } else {
        (wrap_qmp(words)?, DomainQemuMonitorCommandFlags::empty())
    };
    let fds = super::lifecycle::passed_fds(call)?;
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let answer = domain.qemu_monitor_command(&command, flags, &borrowed)?;

    let (pretty, only_return) = (call.has("pretty"), call.has("return-value"));
    if !pretty && !only_return {
        shell.print(format!("{answer}\n"));
        return Ok(());
    }
    let parsed: Value = match serde_json::from_str(&answer) {
        Ok(parsed) => parsed,
        Err(_) if only_return => return Err("failed to parse JSON returned by qemu".into()),
        Err(_) => {
            shell.print(format!("{answer}\n"));
            return Ok(());
        }
    };
    let shown = if only_return {
        parsed.get("return").ok_or("'return' member missing")?
    } else {
        &parsed
    };
    let text = if pretty {
        serde_json::to_string_pretty(shown)
    } else {
        serde_json::to_string(shown)
    };
    shell.print(text.map_err(|error| error.to_string())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::wrap_qmp;

    fn wrap(words: &[&str]) -> String {
        wrap_qmp(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_name_with_arguments_becomes_a_command() {
        assert_eq!(wrap(&["query-status"]), r#"{"execute":"query-status"}"#);
        assert_eq!(wrap(&[r#"{"execute":"x"}"#]), r#"{"execute":"x"}"#);
        assert_eq!(
            wrap(&["x", r#"{"a":1}"#]),
            r#"{"execute":"x","arguments":{"a":1}}"#
        );
        assert_eq!(
            wrap(&["x", r#""a":1"#, r#""b":2"#]),
            r#"{"execute":"x","arguments":{"a":1,"b":2}}"#
        );
        assert!(wrap_qmp(&["x".into(), "}".into()]).is_err());
    }
}
