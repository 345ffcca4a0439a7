//! The user's `ssh`, and other programs that bring us to a daemon by their standard input and output.
//!
//! What runs over there is `virt-ssh-helper`, which knows that host's sockets, or netcat on a socket that we guess.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use virt_util::command::{Command, Input, Sink, Spawner, SystemSpawner};
use virt_util::error::SystemResult;
use virt_util::shell::quote;
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorDomain, Result, VirtError};

use crate::place::{Place, Proxy, Transport};
use crate::wire::{Helper, Wire};

/// Variables that ssh needs to find keys, agents, tickets and a place to ask.
const PASSED: [&str; 8] = [
    "XDG_RUNTIME_DIR",
    "KRB5CCNAME",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "OPENSSL_CONF",
    "DISPLAY",
    "XAUTHORITY",
];

/// Quoted for two shells: the one that ssh starts over there, and the `sh -c` in it.
fn quote_twice(text: &str) -> String {
    quote(&quote(text)).into_owned()
}

/// What ssh runs over there.
pub(crate) fn remote_command(place: &Place, proxy: Proxy, socket: &str, read_only: bool) -> Result<String> {
    let proxy = match (proxy, &place.netcat) {
        // Who names a netcat wants it.
        (Proxy::Auto, Some(_)) => Proxy::Netcat,
        (Proxy::Native, Some(_)) => {
            return Err(invalid("netcat='…' and proxy='native' exclude each other"));
        }
        (proxy, _) => proxy,
    };
    let netcat = quote_twice(place.netcat.as_deref().unwrap_or("nc"));
    let by_netcat = format!(
        "if '{netcat}' -q 2>&1 | grep \"requires an argument\" >/dev/null 2>&1; then ARG=-q0;else ARG=;fi;\
         '{netcat}' $ARG -U {socket}"
    );
    let by_helper = format!(
        "virt-ssh-helper{}'{}'",
        if read_only { " -r " } else { " " },
        quote_twice(&place.helper_name)
    );
    Ok(match proxy {
        Proxy::Netcat => format!("sh -c '{by_netcat}'"),
        Proxy::Native => format!("sh -c '{by_helper}'"),
        Proxy::Auto => format!(
            "sh -c 'which virt-ssh-helper 1>/dev/null 2>&1; if test $? = 0; then     {by_helper}; else    {by_netcat}; fi'"
        ),
    })
}

/// Options for what libvirt does inside the process with the other two libraries.
///
/// # Errors
/// Words that these libraries' users do not know.
fn library_options(place: &Place, command: &mut Command) -> Result<()> {
    let known_hosts = place.known_hosts.clone().or_else(|| {
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(std::path::PathBuf::from)
            .or_else(|| Some(std::path::Path::new(&std::env::var_os("HOME")?).join(".config")))?;
        let file = config.join("libvirt/known_hosts");
        file.exists().then(|| file.display().to_string())
    });
    if let Some(file) = known_hosts {
        command.args(["-o", &format!("UserKnownHostsFile={file}")]);
    }
    let verify = place.known_hosts_verify.as_deref().unwrap_or("normal");
    match verify.to_ascii_lowercase().as_str() {
        "normal" => {}
        "auto" => {
            command.args(["-o", "StrictHostKeyChecking=accept-new"]);
        }
        "ignore" => {
            command.args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ]);
        }
        _ => {
            return Err(invalid(format_args!(
                "known_hosts_verify='{verify}': expected 'normal', 'auto' or 'ignore'"
            )));
        }
    }
    let Some(methods) = &place.ssh_auth else {
        return Ok(());
    };
    let mut preferred = Vec::new();
    let mut agent = false;
    for method in methods.split(',') {
        let name = match method.to_ascii_lowercase().as_str() {
            "agent" => {
                agent = true;
                "publickey"
            }
            "privkey" => "publickey",
            "password" => "password",
            "keyboard-interactive" => "keyboard-interactive",
            _ => {
                return Err(invalid(format_args!(
                    "sshauth method '{method}': expected 'agent', 'privkey', 'password' or 'keyboard-interactive'"
                )));
            }
        };
        if !preferred.contains(&name) {
            preferred.push(name);
        }
    }
    if !preferred.is_empty() {
        command.args(["-o", &format!("PreferredAuthentications={}", preferred.join(","))]);
        if !agent {
            command.args(["-o", "IdentityAgent=none"]);
        }
    }
    Ok(())
}

fn invalid(what: impl std::fmt::Display) -> VirtError {
    VirtError::invalid_arg(what).in_domain(ErrorDomain::RPC)
}

/// The ssh to start.
fn ssh(place: &Place, remote_command: &str) -> Result<Command> {
    let mut command = Command::new(match place.transport {
        Transport::Ssh => place.command.as_deref().unwrap_or("ssh"),
        _ => "ssh",
    });
    command.env_pass_common();
    for name in PASSED {
        command.env_pass(name);
    }
    if place.tty {
        // A curses prompt of the key's agent.
        command.env_pass("GPG_TTY").env_pass("TERM");
    }
    if place.port() != 0 {
        command.args(["-p", &place.port().to_string()]);
    }
    let usual_user = (place.transport != Transport::Ssh).then_some("root");
    if let Some(user) = place.uri.user.as_deref().or(usual_user) {
        command.args(["-l", user]);
    }
    if let Some(keyfile) = &place.keyfile {
        command.args(["-i", keyfile]);
    }
    command.args(["-T", "-e", "none"]);
    if !place.tty {
        command.args(["-o", "BatchMode=yes"]);
    }
    if !place.verify {
        command.args(["-o", "StrictHostKeyChecking=no"]);
    }
    if place.transport != Transport::Ssh {
        library_options(place, &mut command)?;
    }
    command.args(["--", place.hostname(), remote_command]);
    Ok(command)
}

/// A wire through ssh.
pub(crate) fn connect(
    place: &Place,
    remote_command: &str,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Wire> {
    spawn(ssh(place, remote_command)?, deadline, cancel)
}

/// A wire through the user's own program.
pub(crate) fn external(program: &str, deadline: Deadline, cancel: &Cancel) -> Result<Wire> {
    let mut command = Command::new(program);
    command.env_pass_common();
    spawn(command, deadline, cancel)
}

/// Starts a program whose standard input and output are the wire.
fn spawn(mut command: Command, deadline: Deadline, cancel: &Cancel) -> Result<Wire> {
    let what = || "cannot make a pair of sockets";
    let (ours, theirs) = UnixStream::pair().or_system(what)?;
    let output = theirs.try_clone().or_system(what)?;
    command
        .stdin(Input::Fd(theirs.into()))
        .stdout(Sink::Fd(output.into()))
        .stderr(Sink::Capture);
    let mut child = SystemSpawner.spawn(&command, deadline, cancel)?;
    // What the command still holds would keep the socket open after the program's end.
    drop(command);
    let complaints = child.stderr.take();
    if let Some(pipe) = &complaints {
        set_nonblocking(pipe)?;
    }
    ours.set_nonblocking(true).or_system(what)?;
    let helper = Helper {
        child,
        complaints,
        said: Vec::new(),
    };
    Ok(Wire::new(ours.into(), false, Some(helper)))
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    let what = || "cannot prepare a pipe";
    let flags = fcntl(fd.as_fd(), FcntlArg::F_GETFL).or_system(what)?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags)).or_system(what)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(uri: &str) -> String {
        let place = Place::of(uri).unwrap();
        ssh(&place, "COMMAND")
            .unwrap()
            .get_args()
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn ssh_gets_what_the_uri_says() {
        assert_eq!(words("qemu+ssh://far/system"), "-T -e none -- far COMMAND");
        assert_eq!(
            words("qemu+ssh://me@far:2222/system?keyfile=/k&no_tty=1&no_verify=1"),
            "-p 2222 -l me -i /k -T -e none -o BatchMode=yes -o StrictHostKeyChecking=no -- far COMMAND"
        );
        assert_eq!(
            words(
                "qemu+libssh2://far/system?known_hosts=/h&sshauth=privkey,password&known_hosts_verify=auto"
            ),
            "-l root -T -e none -o UserKnownHostsFile=/h -o StrictHostKeyChecking=accept-new \
             -o PreferredAuthentications=publickey,password -o IdentityAgent=none -- far COMMAND"
        );
    }

    #[test]
    fn words_that_the_libraries_do_not_know_are_refused() {
        for (parameter, wanted) in [
            ("known_hosts_verify=x", "known_hosts_verify='x'"),
            ("sshauth=agent,x", "sshauth method 'x'"),
        ] {
            let place = Place::of(&format!("qemu+libssh://far/system?{parameter}")).unwrap();
            let error = ssh(&place, "COMMAND").unwrap_err();
            assert!(error.message().contains(wanted), "{error}");
            // The user's own ssh gets no such words.
            let place = Place::of(&format!("qemu+ssh://far/system?{parameter}")).unwrap();
            assert!(ssh(&place, "COMMAND").is_ok());
        }
    }

    #[test]
    fn the_helper_is_preferred_and_netcat_when_named() {
        let command = |uri: &str, proxy| {
            let place = Place::of(uri).unwrap();
            remote_command(&place, proxy, "/var/run/libvirt/libvirt-sock", true)
        };
        let native = command("qemu+ssh://far/system", Proxy::Native).unwrap();
        assert_eq!(native, "sh -c 'virt-ssh-helper -r 'qemu:///system''");
        let auto = command("qemu+ssh://far/system", Proxy::Auto).unwrap();
        assert!(
            auto.contains("virt-ssh-helper -r ")
                && auto.contains("'nc' $ARG -U /var/run/libvirt/libvirt-sock")
        );
        let netcat = command("qemu+ssh://far/system?netcat=ncat", Proxy::Auto).unwrap();
        assert!(!netcat.contains("virt-ssh-helper") && netcat.contains("'ncat' $ARG -U"));
        assert!(command("qemu+ssh://far/system?netcat=ncat", Proxy::Native).is_err());
        let hostile = command("qemu+ssh://far/system?x=%27;reboot%27", Proxy::Native).unwrap();
        assert!(!hostile.contains(";reboot"), "{hostile}");
    }
}
