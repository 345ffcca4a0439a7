//! From the program's arguments to its exit status.

use crate::commands::GROUPS;
use crate::options::{self, Request};
use crate::shell::Shell;
use crate::{help, interactive};
use std::io::Write;
use std::process::ExitCode;

/// The libvirt version whose interface and behaviour this program has.
pub const LIBVIRT_VERSION: &str = "11.3.0";

/// Runs virsh.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = arguments.next().unwrap_or_else(|| "virsh".into());
    let program = program.rsplit('/').next().unwrap_or("virsh").to_owned();
    let good = match options::parse(arguments.collect()) {
        Err(problem) => {
            eprintln!("error: {problem}");
            false
        }
        Ok(Request::Help) => print(&help::usage(GROUPS, &program)),
        Ok(Request::ShortVersion) => print(&format!("{LIBVIRT_VERSION}\n")),
        Ok(Request::LongVersion) => print(&long_version()),
        Ok(Request::Run(options, words)) => run(options, words, program),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(text: &str) -> bool {
    std::io::stdout().write_all(text.as_bytes()).is_ok()
}

fn long_version() -> String {
    let mut out = format!(
        "Virsh command line tool of Ferrovirt {}, compatible with libvirt {LIBVIRT_VERSION}\n\n",
        env!("CARGO_PKG_VERSION")
    );
    out.push_str("Drivers found:\n");
    let drivers = crate::commands::drivers::installed();
    if drivers.is_empty() {
        out.push_str(" none\n");
    }
    for (name, kind) in drivers {
        out.push_str(&format!(" {name} ({kind})\n"));
    }
    out.push_str("Miscellaneous: Debug Readline JSON YAML\n");
    out
}

fn run(options: options::Options, words: Vec<String>, program: String) -> bool {
    let connect_now = options.connect.is_some();
    let mut shell = Shell::new(GROUPS, options, program);
    if let Err(problem) = shell.prepare() {
        shell.error(&problem);
        return false;
    }
    let commands = if words.is_empty() {
        shell.interactive = true;
        Vec::new()
    } else {
        match shell.parse(words) {
            Ok(commands) => commands,
            Err(problem) => {
                shell.error(&problem);
                return false;
            }
        }
    };
    // A connection that was asked for must succeed; the default one waits until a command needs it.
    if connect_now && let Err(failure) = shell.reconnect(None, false, false) {
        shell.report(&failure);
        return false;
    }
    shell.default_uri(std::env::var("VIRSH_DEFAULT_CONNECT_URI").ok());
    if shell.interactive {
        interactive::run(&mut shell)
    } else {
        shell.run(&commands)
    }
}
