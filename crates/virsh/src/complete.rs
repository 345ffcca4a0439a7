//! Completion of commands, options and their values.

use crate::command::Group;
use crate::grammar::{Invocation, parse_partial};
use crate::shell::Shell;
use virt_util::types::ConnectListAllDomainsFlags;

/// What could stand in the place of `word`, the last word of `line`, the line up to the cursor.
pub fn candidates(shell: &mut Shell, line: &str, word: &str) -> Vec<String> {
    let groups = shell.groups;
    let all = match parse_partial(groups, line) {
        // Behind a command's name without a blank, longer names are meant: "dump" is the start of "dumpxml".
        Some(call) if call.command.name != word => for_call(shell, &call, word),
        _ => command_names(groups),
    };
    all.into_iter()
        .map(|one| one.replace(' ', "\\ "))
        .filter(|one| one.starts_with(word))
        .collect()
}

fn for_call(shell: &mut Shell, call: &Invocation, word: &str) -> Vec<String> {
    if let Some((option, Some(value))) = call.last_option()
        && let Some(complete) = option.complete
        && (value == word || (value == " " && word.is_empty()))
    {
        return complete(shell, call);
    }
    call.open_options()
        .map(|option| format!("--{}", option.name))
        .collect()
}

/// The names of all listed commands.
pub fn command_names(groups: &[Group]) -> Vec<String> {
    groups
        .iter()
        .flat_map(|group| group.commands)
        .filter(|command| command.is_listed())
        .map(|command| command.name.to_owned())
        .collect()
}

fn names(shell: &mut Shell, flags: ConnectListAllDomainsFlags) -> Vec<String> {
    let domains = shell
        .connection()
        .ok()
        .and_then(|connection| connection.list_all_domains(flags).ok());
    domains
        .unwrap_or_default()
        .iter()
        .map(|domain| domain.name().to_owned())
        .collect()
}

/// Any domain's name.
pub fn any_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::empty())
}

/// Names of domains that are active.
pub fn active_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::ACTIVE)
}

/// Names of domains that are not active.
pub fn inactive_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::INACTIVE)
}

/// Names of running domains.
pub fn running_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::RUNNING)
}

/// Names of paused domains.
pub fn paused_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::PAUSED)
}

/// Names of domains that are shut off.
pub fn shutoff_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::SHUTOFF)
}

/// Names of persistent domains.
pub fn persistent_domain(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    names(shell, ConnectListAllDomainsFlags::PERSISTENT)
}

/// UUIDs of domains.
pub fn domain_uuid(shell: &mut Shell, _: &Invocation) -> Vec<String> {
    let domains = shell.connection().ok().and_then(|connection| {
        connection
            .list_all_domains(ConnectListAllDomainsFlags::empty())
            .ok()
    });
    domains
        .unwrap_or_default()
        .iter()
        .map(|domain| domain.uuid().to_string())
        .collect()
}

/// Ways to shut a guest down; several may be given, separated by commas.
pub fn shutdown_modes(_: &mut Shell, call: &Invocation) -> Vec<String> {
    let modes = ["acpi", "agent", "initctl", "signal", "paravirt"];
    list_of(call.text_if_any("mode").unwrap_or_default(), modes)
}

/// A list separated by commas, of which `typed` is the beginning: each of `all` that is not in it already may come next.
pub fn list_of<T: std::fmt::Display>(typed: &str, all: impl IntoIterator<Item = T>) -> Vec<String> {
    let before = typed
        .rfind(',')
        .map_or("", |at| typed.get(..=at).unwrap_or_default());
    let used: Vec<_> = before.split(',').collect();
    all.into_iter()
        .map(|one| one.to_string())
        .filter(|one| !used.contains(&one.as_str()))
        .map(|one| format!("{before}{one}"))
        .collect()
}

/// Nothing: the value is free text.
pub fn nothing(_: &mut Shell, _: &Invocation) -> Vec<String> {
    Vec::new()
}

/// Files, as far as `text` goes.
pub fn files(text: &str) -> Vec<String> {
    let (dir, start) = text
        .rsplit_once('/')
        .map_or(("", text), |(dir, start)| (dir, start));
    let shown = if text.contains('/') {
        format!("{dir}/")
    } else {
        String::new()
    };
    let place = if shown.is_empty() { "." } else { shown.as_str() };
    let Ok(entries) = std::fs::read_dir(place) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !start.starts_with('.');
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (name.starts_with(start) && !hidden).then(|| format!("{shown}{name}{slash}"))
        })
        .collect();
    found.sort();
    found
}

/// Files for the option `file`.
pub fn file_option(_: &mut Shell, call: &Invocation) -> Vec<String> {
    files(call.text_if_any("file").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_has_is_not_proposed_again() {
        let all = ["one", "two", "three"];
        assert_eq!(list_of("", all), ["one", "two", "three"]);
        assert_eq!(list_of("t", all), ["one", "two", "three"]);
        assert_eq!(list_of("two,", all), ["two,one", "two,three"]);
        assert_eq!(list_of("two,one,th", all), ["two,one,three"]);
        assert_eq!(list_of("three,two,one,", all), [""; 0]);
    }
}
