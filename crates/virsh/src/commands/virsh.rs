//! Commands about the shell itself.

use crate::command::{Command, Opt, check};
use crate::grammar::Invocation;
use crate::help;
use crate::opts::{exclude, split_commas};
use crate::shell::{Failure, Outcome, Shell};

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("cd", cd, "change the working directory")
        .about("Makes another directory the working directory.")
        .options(&[Opt::text("dir", "where to go (default: the home directory, or else /)").positional()])
        .offline(),
    Command::new("echo", echo, "print the arguments; for tests")
        .about("Prints the arguments back, quoted if wanted. For tests.")
        .options(&[
            Opt::flag("shell", "quote for a shell"),
            Opt::flag("xml", "quote for XML"),
            Opt::flag(
                "split",
                "one line for each item between commas; ',,' stands for a comma",
            ),
            Opt::flag("err", "print as an error"),
            Opt::alias("str", "string", None),
            Opt::alias("hi", "string", Some("hello")),
            Opt::text("prefix", "text to print first"),
            Opt::rest("string", "what to print").positional(),
        ])
        .offline(),
    Command::new("exit", quit, "leave this interactive terminal").offline(),
    Command::new("help", show_help, "print help")
        .about("Prints the list of commands, or help for one command or one group\n    of commands")
        .options(&[Opt::text(
            "command",
            "the command or group to explain; all commands if omitted",
        )
        .positional()
        .complete(|shell, _| crate::complete::command_names(shell.groups))])
        .offline(),
    Command::new("pwd", pwd, "print the working directory")
        .about("Prints the working directory.")
        .offline(),
    Command::new("quit", quit, "leave this interactive terminal").offline(),
    Command::new("self-test", self_test, "check the command tables; for tests")
        .about("for tests only")
        .options(&[
            Opt::flag(
                "completers-missing",
                "print the options whose values cannot be completed",
            ),
            Opt::flag("dump-help", "print the help of each command"),
        ])
        .offline()
        .hidden(),
    Command::new("complete", complete, "print completions; for shells")
        .about("for shells only")
        .options(&[Opt::rest("string", "the words typed so far")
            .positional()
            .allow_empty()])
        .offline()
        .hidden(),
    Command::new("connect", connect, "connect or reconnect to a hypervisor")
        .about("Connects to the hypervisor that a URI names. A shell does this by itself when it starts.")
        .options(&[
            Opt::text("name", "URI of the hypervisor")
                .positional()
                .allow_empty()
                .complete(|_, _| Vec::new()),
            Opt::flag("readonly", "connect read-only"),
        ])
        .offline(),
];

fn cd(_: &mut Shell, call: &Invocation) -> Outcome {
    let home = || std::env::var("HOME").ok().filter(|home| !home.is_empty());
    let dir = call
        .text_if_any("dir")
        .map(str::to_owned)
        .or_else(home)
        .unwrap_or_else(|| "/".into());
    std::env::set_current_dir(&dir).map_err(|error| {
        let why = virt_util::VirtError::io(&error, "");
        Failure::from(format!("cd: {}: {dir}", why.message().trim_start_matches(": ")))
    })
}

fn pwd(shell: &mut Shell, _: &Invocation) -> Outcome {
    let here = std::env::current_dir()
        .map_err(|error| virt_util::VirtError::io(&error, "cannot read the working directory"))?;
    shell.print(format!("{}\n", here.display()));
    Ok(())
}

fn quit(shell: &mut Shell, _: &Invocation) -> Outcome {
    shell.leaving = true;
    Ok(())
}

fn show_help(shell: &mut Shell, call: &Invocation) -> Outcome {
    let text = match call.text_if_any("command") {
        None => help::overview(shell.groups),
        Some(name) => help::topic(shell.groups, name)
            .ok_or_else(|| format!("command or command group '{name}' doesn't exist"))?,
    };
    shell.print(text);
    Ok(())
}

fn echo(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (as_shell, as_xml, split) = (call.has("shell"), call.has("xml"), call.has("split"));
    exclude("shell", as_shell, "xml", as_xml)?;
    exclude("shell", as_shell, "split", split)?;
    exclude("xml", as_xml, "split", split)?;

    let mut out = String::new();
    match call.text("prefix") {
        Ok(Some(prefix)) => out = format!("{prefix} "),
        Ok(None) => {}
        // Complained about and left out.
        Err(failure) => shell.report(&failure),
    }
    for word in call.values("string") {
        if as_xml {
            out.push_str(&quote_xml(word));
        } else if as_shell {
            out.push_str(&quote_shell(word));
        } else if split {
            for item in split_commas(word) {
                out.push_str(&item);
                out.push('\n');
            }
        } else {
            out.push_str(word);
        }
        out.push(' ');
    }
    if out.ends_with(' ') {
        out.pop();
    }
    if call.has("err") && !out.is_empty() {
        shell.error(&out);
    } else {
        shell.print(out);
    }
    Ok(())
}

fn quote_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // Characters that no XML document can hold are left out.
            '\t' | '\n' | '\r' => out.push(c),
            c if c < ' ' => {}
            c => out.push(c),
        }
    }
    out
}

fn quote_shell(text: &str) -> String {
    const SPECIAL: &str = "\r\t\n !\"#$&'()*;<>?[\\]^`{|}~";
    if text.is_empty() {
        return "''".into();
    }
    if !text.contains(|c| SPECIAL.contains(c)) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn self_test(shell: &mut Shell, call: &Invocation) -> Outcome {
    let groups = shell.groups;
    for command in groups.iter().flat_map(|group| group.commands) {
        if call.has("dump-help") {
            shell.print(help::command(command));
        }
        if call.has("completers-missing") {
            let missing: Vec<_> = command
                .options
                .iter()
                .filter(|option| {
                    use crate::command::OptionKind::{Rest, Text};
                    matches!(option.kind, Text | Rest) && option.complete.is_none()
                })
                .map(|option| option.name)
                .collect();
            if !missing.is_empty() {
                shell.extra(format!("{}: {}\n", command.name, missing.join(", ")));
            }
        }
    }
    check(groups).map_err(Failure::from)
}

fn complete(shell: &mut Shell, call: &Invocation) -> Outcome {
    let words = call.values("string");
    let line = words.join(" ");
    let last = words.last().map_or("", String::as_str);
    // Commands and options are known without a connection too; values that would have come from there are not proposed.
    let matches = crate::complete::candidates(shell, &line, last);
    if matches.is_empty() {
        return Err(Failure::silent());
    }
    for one in matches {
        shell.print(format!("{one}\n"));
    }
    Ok(())
}

fn connect(shell: &mut Shell, call: &Invocation) -> Outcome {
    let name = call.text("name")?;
    shell.reconnect(name, call.has("readonly"), true)
}
