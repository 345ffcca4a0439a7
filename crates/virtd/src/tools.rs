//! What an administrator asks of the program instead of running it: the sample configuration, SASL passwords, a look at a
//! policy.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use virt_util::command::SystemSpawner;
use virt_util::{Result, VirtError};

use crate::access;
use crate::auth::{cyrus, passwords};
use crate::config::{self, Role};
use crate::daemon::places;
use crate::options::Options;
use crate::service::names::DaemonName;
use crate::service::paths::{Paths, Scope, UserFolders};

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
    } else if let Some(file) = &options.import_passwords {
        import_passwords(options, program, file.as_deref())
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
    let name = places::daemon_name(options, program)?;
    let reach = Scope::current();
    let role = Role::new(name.name.clone(), reach == Scope::System);
    let paths = Paths::new(&name, reach, &UserFolders::from_environment(), None)?;
    let root = options.root.as_deref();
    let usual = places::under(root, &paths.config_file);
    let config = places::load(options, &role, &usual)?.config;
    Ok(places::password_file(&config, &role, root))
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

/// Takes over what libvirt's daemon has. Users who are in our file already keep the password that they have there.
fn import_passwords(options: &Options, program: &Path, file: Option<&Path>) -> Result<()> {
    let setup = cyrus::Setup::of_file(Path::new(cyrus::CONFIG));
    let file = file.unwrap_or_else(|| setup.database());
    let path = password_file(options, program)?;
    let (users, mut wrong) = cyrus::read_users(file, &SystemSpawner)?;
    let host = cyrus::realm_of_this_host()?;
    let (mut added, mut lines) = (Vec::new(), Vec::new());
    for user in &users {
        let (logins, shown) = (user.logins(&host), format!("{}@{}", user.name, user.realm));
        let unfit = match user.password.is_empty() {
            true => Some("the password is empty".to_owned()),
            false => logins.iter().find_map(|name| passwords::check_user(name).err()),
        };
        if let Some(what) = unfit {
            wrong.push(format!("'{shown}': {what}"));
            continue;
        }
        let note = match user.realm == host || user.realm.is_empty() {
            true => String::new(),
            false => format!(" only: its realm is not this host, '{host}'"),
        };
        lines.push(format!("  {shown}: logs in as '{}'{note}", logins.join("' or '")));
        added.push((logins, user.password.as_str()));
    }
    for what in &wrong {
        eprintln!("{}: not taken over: {what}", file.display());
    }
    if added.is_empty() {
        return Err(VirtError::invalid_arg(format_args!(
            "'{}' has no user who can be taken over",
            file.display()
        )));
    }
    let kept = passwords::add_users(&path, &added)?;
    println!("{}: users of '{}':", path.display(), file.display());
    for line in lines {
        println!("{line}");
    }
    if !kept.is_empty() {
        println!(
            "already there, with the password as it was: '{}'",
            kept.join("', '")
        );
    }
    Ok(())
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
