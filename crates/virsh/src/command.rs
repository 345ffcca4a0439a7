//! What a command is, as data: name, options, texts and the function that carries it out.
//!
//! A new command is a [`Command`] row in one of the tables under [`crate::commands`] and a function of type [`Run`].
//! Grammar, help, completion and the self test read nothing but these rows.

use crate::grammar::Invocation;
use crate::shell::{Outcome, Shell};

/// Carries out a command.
pub type Run = fn(&mut Shell, &Invocation) -> Outcome;

/// Proposes values for an option that is being typed. Never fails: no proposals is an answer.
pub type Complete = fn(&mut Shell, &Invocation) -> Vec<String>;

/// The kind of value that an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// `--name`, no value.
    Flag,
    /// `--name value`.
    Text,
    /// `--name number`.
    Number,
    /// All values that are left; may be given several times. Must be the last option.
    Rest,
    /// Another spelling of a later option, optionally with the value that it stands for.
    Alias {
        /// The option meant.
        target: &'static str,
        /// The value implied.
        value: Option<&'static str>,
    },
}

/// Whether an option may be given without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Only as `--name`.
    Named,
    /// By position, and shown so in the help.
    Positional,
    /// By position as well, for scripts that rely on it; the help does not show it.
    Legacy,
}

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Name without the dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// Whether the command is refused without it.
    pub required: bool,
    /// Whether it may stand without its name.
    pub position: Position,
    /// Whether an empty value is a value.
    pub allow_empty: bool,
    /// One line of help.
    pub help: &'static str,
    /// Proposes values.
    pub complete: Option<Complete>,
}

impl Opt {
    const fn new(name: &'static str, kind: OptionKind, help: &'static str) -> Self {
        Self {
            name,
            kind,
            required: false,
            position: Position::Named,
            allow_empty: false,
            help,
            complete: None,
        }
    }

    /// `--name`.
    pub const fn flag(name: &'static str, help: &'static str) -> Self {
        Self::new(name, OptionKind::Flag, help)
    }

    /// `--name <string>`.
    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self::new(name, OptionKind::Text, help)
    }

    /// `--name <number>`.
    pub const fn number(name: &'static str, help: &'static str) -> Self {
        Self::new(name, OptionKind::Number, help)
    }

    /// Everything that is left.
    pub const fn rest(name: &'static str, help: &'static str) -> Self {
        Self::new(name, OptionKind::Rest, help)
    }

    /// Another spelling of `target`, standing for `value` if there is one.
    pub const fn alias(name: &'static str, target: &'static str, value: Option<&'static str>) -> Self {
        Self::new(name, OptionKind::Alias { target, value }, "")
    }

    /// Must be given.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// May stand without its name.
    pub const fn positional(mut self) -> Self {
        self.position = Position::Positional;
        self
    }

    /// May stand without its name, unadvertised.
    pub const fn legacy_positional(mut self) -> Self {
        self.position = Position::Legacy;
        self
    }

    /// Takes an empty value.
    pub const fn allow_empty(mut self) -> Self {
        self.allow_empty = true;
        self
    }

    /// Values come from `complete`.
    pub const fn complete(mut self, complete: Complete) -> Self {
        self.complete = Some(complete);
        self
    }
}

/// What a command needs and offers beside its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Works without a connection.
    pub offline: bool,
    /// Not listed in help and completion.
    pub hidden: bool,
    /// Has a machine-readable form (`--output`).
    pub structured: bool,
}

/// One command.
#[derive(Clone, Copy)]
pub struct Command {
    /// The word the user types.
    pub name: &'static str,
    /// The function; for an alias the name of the command meant.
    pub action: Action,
    /// Options in the order in which positions are filled.
    pub options: &'static [Opt],
    /// One line of help.
    pub summary: &'static str,
    /// A paragraph of help; may be empty.
    pub description: &'static str,
    /// The rest.
    pub traits: Traits,
}

/// What typing a command's name does.
#[derive(Clone, Copy)]
pub enum Action {
    /// Calls the function.
    Run(Run),
    /// Means another command.
    AliasOf(&'static str),
}

impl Command {
    /// A command without options.
    pub const fn new(name: &'static str, run: Run, summary: &'static str) -> Self {
        Self {
            name,
            action: Action::Run(run),
            options: &[],
            summary,
            description: "",
            traits: Traits {
                offline: false,
                hidden: false,
                structured: false,
            },
        }
    }

    /// Another name for `target`.
    pub const fn alias(name: &'static str, target: &'static str) -> Self {
        Self {
            name,
            action: Action::AliasOf(target),
            options: &[],
            summary: "",
            description: "",
            traits: Traits {
                offline: false,
                hidden: true,
                structured: false,
            },
        }
    }

    /// Sets the options.
    pub const fn options(mut self, options: &'static [Opt]) -> Self {
        self.options = options;
        self
    }

    /// Sets the paragraph of help.
    pub const fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Works without a connection.
    pub const fn offline(mut self) -> Self {
        self.traits.offline = true;
        self
    }

    /// Is not listed.
    pub const fn hidden(mut self) -> Self {
        self.traits.hidden = true;
        self
    }

    /// Understands `--output`.
    pub const fn structured(mut self) -> Self {
        self.traits.structured = true;
        self
    }

    /// Whether help and completion show it.
    pub fn is_listed(&self) -> bool {
        !self.traits.hidden && matches!(self.action, Action::Run(_))
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Commands that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Heading.
    pub name: &'static str,
    /// The word for `help`.
    pub keyword: &'static str,
    /// Its commands in help order.
    pub commands: &'static [Command],
}

/// The command that `name` means; aliases are followed.
pub fn find(groups: &'static [Group], name: &str) -> Option<&'static Command> {
    let search = |name: &str| {
        groups
            .iter()
            .flat_map(|group| group.commands)
            .find(|command| command.name == name)
    };
    let command = search(name)?;
    match command.action {
        Action::Run(_) => Some(command),
        Action::AliasOf(target) => search(target),
    }
}

/// Checks the rules that the grammar relies on. Answers the first violation.
pub fn check(groups: &'static [Group]) -> Result<(), String> {
    for command in groups.iter().flat_map(|group| group.commands) {
        check_command(groups, command).map_err(|problem| format!("command '{}': {problem}", command.name))?;
    }
    Ok(())
}

fn check_command(groups: &'static [Group], command: &Command) -> Result<(), String> {
    if let Action::AliasOf(target) = command.action {
        return match find(groups, target) {
            Some(found) if found.name == target => Ok(()),
            Some(_) => Err(format!("is an alias of the alias '{target}'")),
            None => Err(format!("is an alias of '{target}', which does not exist")),
        };
    }
    if command.summary.is_empty() {
        return Err("has no help".into());
    }
    let mut optional_positional = None;
    for (index, option) in command.options.iter().enumerate() {
        let name = option.name;
        let later = command.options.get(index + 1..).unwrap_or_default();
        if later.iter().any(|other| other.name == name) {
            return Err(format!("option '{name}' is listed twice"));
        }
        if option.position == Position::Positional {
            match (option.required, optional_positional) {
                (_, Some(earlier)) => {
                    return Err(format!(
                        "position '{name}' follows the optional position '{earlier}'"
                    ));
                }
                (false, None) => optional_positional = Some(name),
                (true, None) => {}
            }
        }
        match option.kind {
            OptionKind::Flag
                if option.required || option.position != Position::Named || option.complete.is_some() =>
            {
                return Err(format!("flag '{name}' is required, positional or completed"));
            }
            OptionKind::Alias { target, .. } if !later.iter().any(|other| other.name == target) => {
                return Err(format!("option alias '{name}' has no later option '{target}'"));
            }
            OptionKind::Rest if !later.is_empty() => return Err(format!("'{name}' must be the last option")),
            _ => {}
        }
        if !matches!(option.kind, OptionKind::Alias { .. }) && option.help.is_empty() {
            return Err(format!("option '{name}' has no help"));
        }
    }
    Ok(())
}
