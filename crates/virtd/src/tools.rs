//! What an administrator asks of the program instead of running it: the sample configuration, SASL passwords, a look at a
//! policy.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use virt_util::{Result, VirtError};

use crate::access;
use crate::auth::{default_password_file, passwords};
use crate::config::{self, DaemonConfig, Role};
use crate::options::Options;
use crate::service::names::DaemonName;
use crate::service::paths::Scope;

/// A longer password is refused.
const PASSWORD_MAX: usize = 1024;

/// Does what was asked for, if anything was.
pub fn run(options: &Options, program: &Path) -> Option<ExitCode> {
    let done = if options.print_config {
        print!("{}", config::sample(&role(program)));
        Ok(())
    } else if let Some(path) = &options.check_policy {
        access::read_policy(path).map(|policy| println!("{}: {} rules", path.display(), policy.len()))
    } else if let Some(user) = &options.set_password {
        set_password(options, program, user)
    } else if let Some(user) = &options.delete_password {
        delete_password(options, program, user)
    } else {
        return None;
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            if let Some(hint) = error.hint() {
                eprintln!("{hint}");
            }
            ExitCode::FAILURE
        }
    })
}

fn role(program: &Path) -> Role {
    let name = DaemonName::of_program(program.as_os_str());
    Role::new(name.name, Scope::current() == Scope::System)
}

/// The file that the daemon with these options would use.
fn password_file(options: &Options, program: &Path) -> Result<PathBuf> {
    let role = role(program);
    let config = DaemonConfig::load(&role, options.config.as_deref())?.config;
    let path = match config.sasl_password_file {
        Some(path) => PathBuf::from(path),
        None => default_password_file(&role),
    };
    Ok(match &options.root {
        Some(root) if options.config.is_none() => root.join(path.strip_prefix("/").unwrap_or(&path)),
        _ => path,
    })
}

fn set_password(options: &Options, program: &Path, user: &str) -> Result<()> {
    let path = password_file(options, program)?;
    let password = read_password(user)?;
    let known = passwords::set_password(&path, user, Some(&password))?;
    println!(
        "{}: user '{user}' {}",
        path.display(),
        if known { "has a new password" } else { "added" }
    );
    Ok(())
}

fn delete_password(options: &Options, program: &Path, user: &str) -> Result<()> {
    let path = password_file(options, program)?;
    match passwords::set_password(&path, user, None)? {
        true => {
            println!("{}: user '{user}' taken out", path.display());
            Ok(())
        }
        false => Err(VirtError::invalid_arg(format_args!(
            "there is no user '{user}' in '{}'",
            path.display()
        ))),
    }
}

/// From the terminal twice and unseen, or the first line of the input.
fn read_password(user: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return read_line();
    }
    let first = read_unseen(&format!("Password of {user}: "))?;
    let again = read_unseen("Again: ")?;
    match first == again {
        true => Ok(first),
        false => Err(VirtError::invalid_arg("the passwords are not the same")),
    }
}

fn read_unseen(prompt: &str) -> Result<String> {
    eprint!("{prompt}");
    let _ = std::io::stderr().flush();
    let stdin = std::io::stdin();
    let terminal = |errno: nix::errno::Errno| {
        VirtError::system(errno as i32, "the terminal's echo cannot be turned off")
    };
    let before = tcgetattr(&stdin).map_err(terminal)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent).map_err(terminal)?;
    let line = read_line();
    let _ = tcsetattr(&stdin, SetArg::TCSAFLUSH, &before);
    eprintln!();
    line
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    let limit = u64::try_from(PASSWORD_MAX + 2).unwrap_or(u64::MAX);
    let read = std::io::Read::take(std::io::stdin().lock(), limit).read_line(&mut line);
    read.map_err(|error| VirtError::io(&error, "cannot read the password"))?;
    let password = line.trim_end_matches(['\n', '\r']);
    match password.len() {
        0 => Err(VirtError::invalid_arg("the password is empty")),
        1..=PASSWORD_MAX => Ok(password.to_owned()),
        _ => Err(VirtError::invalid_arg(format_args!(
            "the password has more than {PASSWORD_MAX} bytes"
        ))),
    }
}
