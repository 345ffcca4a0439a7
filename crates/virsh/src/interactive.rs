//! The prompt: lines with history and completion.

use crate::shell::Shell;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::cell::RefCell;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

/// The most lines of history that can be asked for.
const HISTORY_MAX: i32 = 500_000;

/// Reads and runs lines until the user leaves. The exit status does not depend on what failed.
pub fn run(shell: &mut Shell) -> bool {
    if !shell.options.quiet {
        let program = shell.program.clone();
        shell.print(format!(
            "Welcome to {program}, the virtualization interactive terminal.\n\n\
             Type:  'help' for help with commands\n       'quit' to quit\n\n"
        ));
    }
    let history = match history_size() {
        Ok(size) => size,
        Err(problem) => {
            shell.error(&problem);
            return false;
        }
    };
    if std::io::stdin().is_terminal() {
        from_terminal(shell, history);
    } else {
        from_pipe(shell);
    }
    // Behind a prompt that got no line, and behind the last command.
    shell.print(
        "
",
    );
    shell.flush();
    true
}

fn history_size() -> Result<usize, String> {
    let Ok(text) = std::env::var("VIRSH_HISTSIZE") else {
        return Ok(500);
    };
    match crate::numbers::int(&text, 10) {
        None => Err("Bad $VIRSH_HISTSIZE value.".into()),
        Some(size @ 0..=HISTORY_MAX) => Ok(usize::try_from(size).unwrap_or(0)),
        Some(_) => Err(format!(
            "$VIRSH_HISTSIZE value should be between 0 and {HISTORY_MAX}"
        )),
    }
}

fn prompt(shell: &Shell) -> &'static str {
    if shell.is_read_only() {
        "virsh > "
    } else {
        "virsh # "
    }
}

/// Lines of a script: the prompt is shown as readline shows it.
fn from_pipe(shell: &mut Shell) {
    let mut line = Vec::new();
    loop {
        let prompt = prompt(shell);
        shell.print(prompt);
        shell.flush();
        line.clear();
        match std::io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        shell.print(format!("{text}\n"));
        if !text.is_empty() {
            shell.run_line(text);
        }
        if shell.leaving {
            return;
        }
    }
}

fn history_file() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("libvirt/virsh/history"))
}

/// Lines of a user. The shell is lent to the completer while a line is being typed.
fn from_terminal(shell: &mut Shell, history: usize) {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(history)
        .map(|builder| builder.auto_add_history(true).build());
    let Ok(config) = config else {
        return from_pipe(shell);
    };
    let mut editor: Editor<Lines<'_>, FileHistory> = match Editor::with_config(config) {
        Ok(editor) => editor,
        Err(error) => {
            shell.error(&format!("the terminal cannot be used: {error}"));
            return;
        }
    };
    let file = history_file();
    if let Some(file) = &file {
        // There is none the first time.
        let _ = editor.load_history(file);
    }
    let cell = RefCell::new(shell);
    editor.set_helper(Some(Lines(&cell)));
    loop {
        let prompt = {
            let mut shell = cell.borrow_mut();
            shell.flush();
            prompt(&shell)
        };
        match editor.readline(prompt) {
            Ok(line) => {
                let mut shell = cell.borrow_mut();
                if !line.is_empty() {
                    shell.run_line(&line);
                }
                if shell.leaving {
                    break;
                }
            }
            // Ctrl-C drops the line.
            Err(ReadlineError::Interrupted) => {}
            Err(_) => break,
        }
    }
    if let Some(file) = &file {
        if let Some(dir) = file.parent()
            && let Err(error) = std::fs::create_dir_all(dir)
        {
            cell.borrow_mut()
                .error(&format!("Failed to create '{}': {error}", dir.display()));
        } else {
            let _ = editor.save_history(file);
        }
    }
}

struct Lines<'a>(&'a RefCell<&'a mut Shell>);

impl Completer for Lines<'_> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..cursor).unwrap_or(line);
        let start = typed.rfind([' ', '\t', '\n', ';']).map_or(0, |at| at + 1);
        let word = typed.get(start..).unwrap_or_default();
        let mut shell = self.0.borrow_mut();
        let mut found = crate::complete::candidates(&mut shell, typed, word);
        if found.is_empty() && word.contains('/') {
            found = crate::complete::files(word);
        }
        if let [only] = found.as_mut_slice()
            && !only.ends_with('/')
        {
            only.push(' ');
        }
        Ok((start, found))
    }
}

impl Hinter for Lines<'_> {
    type Hint = String;
}

impl Highlighter for Lines<'_> {}
impl Validator for Lines<'_> {}
impl Helper for Lines<'_> {}
