//! Help, laid out as virsh users know it.

use crate::command::{Command, Group, Opt, OptionKind, Position, find};
use std::fmt::Write;

/// What `virsh --help` prints.
pub fn usage(groups: &[Group], program: &str) -> String {
    let mut out = format!(
        "
{program} [options]... [<command_string>]
{program} [options]... <command> [args...]

  options:
    -c | --connect=URI      hypervisor connection URI
    -d | --debug=NUM        print messages of level NUM and above [0-4]
    -e | --escape <char>    escape character of the console
    -h | --help             show this help
    -k | --keepalive-interval=NUM
                            seconds between keepalive messages, 0 for none
    -K | --keepalive-count=NUM
                            keepalive messages that may stay unanswered
    -l | --log=FILE         write a log to FILE
         --output=FORMAT    print results for programs, FORMAT is json or yaml
    -q | --quiet            print only what was asked for
    -r | --readonly         connect read-only
    -t | --timing           print how long each command took
    -v                      print the version number
    -V                      print version and abilities
         --version[=TYPE]   the same, TYPE is short or long (default short)
  commands (non interactive mode):

"
    );
    for group in groups {
        let _ = writeln!(out, " {} (help keyword '{}')", group.name, group.keyword);
        push_commands(&mut out, group);
        out.push('\n');
    }
    out.push_str("\n  (help <group> tells more about the commands of a group)\n");
    out.push_str("\n  (help <command> tells more about the command)\n\n");
    out
}

/// What `help` prints.
pub fn overview(groups: &[Group]) -> String {
    let mut out = String::from("Grouped commands:\n\n");
    for one in groups {
        out.push_str(&group(one));
        out.push('\n');
    }
    out
}

/// What `help GROUP` prints.
pub fn group(group: &Group) -> String {
    let mut out = format!(" {} (help keyword '{}'):\n", group.name, group.keyword);
    push_commands(&mut out, group);
    out
}

fn push_commands(out: &mut String, group: &Group) {
    for command in group.commands.iter().filter(|command| command.is_listed()) {
        let _ = writeln!(out, "    {:<30} {}", command.name, command.summary);
    }
}

/// What `help NAME` prints, for a command or a group.
pub fn topic(groups: &'static [Group], name: &str) -> Option<String> {
    if let Some(found) = find(groups, name) {
        return Some(command(found));
    }
    groups
        .iter()
        .find(|one| one.name == name || one.keyword == name)
        .map(group)
}

/// What `help COMMAND` prints.
pub fn command(command: &Command) -> String {
    let mut out = format!("  NAME\n    {} - {}\n", command.name, command.summary);
    let _ = write!(out, "\n  SYNOPSIS\n    {}", command.name);
    for option in command.options {
        out.push_str(&synopsis(option));
    }
    out.push('\n');
    if !command.description.is_empty() {
        let _ = write!(out, "\n  DESCRIPTION\n    {}\n", command.description);
    }
    if !command.options.is_empty() || command.traits.structured {
        out.push_str("\n  OPTIONS\n");
        for option in command.options {
            if let Some(syntax) = syntax(option) {
                let _ = writeln!(out, "    {syntax:<15}  {}", option.help);
            }
        }
        if command.traits.structured {
            out.push_str("    --output <string>  print the result for programs: json or yaml\n");
        }
    }
    out
}

fn synopsis(option: &Opt) -> String {
    let name = option.name;
    let positional = option.position == Position::Positional;
    let body = match option.kind {
        OptionKind::Alias { .. } => return String::new(),
        OptionKind::Flag => return format!(" [--{name}]"),
        OptionKind::Text | OptionKind::Number | OptionKind::Rest if positional => format!("<{name}>"),
        OptionKind::Number => format!("--{name} <number>"),
        OptionKind::Text | OptionKind::Rest => format!("--{name} <string>"),
    };
    let dots = if option.kind == OptionKind::Rest {
        "..."
    } else {
        ""
    };
    if option.required {
        format!(" {body}{dots}")
    } else {
        format!(" [{body}]{dots}")
    }
}

fn syntax(option: &Opt) -> Option<String> {
    let name = option.name;
    let name = if option.position == Position::Positional {
        format!("[--{name}]")
    } else {
        format!("--{name}")
    };
    match option.kind {
        OptionKind::Alias { .. } => None,
        OptionKind::Flag => Some(name),
        OptionKind::Number => Some(format!("{name} <number>")),
        OptionKind::Text => Some(format!("{name} <string>")),
        OptionKind::Rest => Some(format!("{name} <string>...")),
    }
}
