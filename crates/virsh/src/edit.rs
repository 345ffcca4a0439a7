//! Texts in the user's editor.

use crate::shell::{Failure, Shell};
use crate::terminal::RawMode;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::Command;
use virt_util::VirtError;

/// What became of a text.
#[derive(Debug)]
pub enum Edited<T> {
    /// The user left it as it was.
    Unchanged,
    /// It was accepted.
    Changed(T),
}

/// Whether a refused text may be sent again without validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relax {
    /// The user may ask for it.
    Possible,
    /// It is not validated anyhow.
    Already,
    /// This kind of text is never validated.
    Impossible,
}

/// The longest text that is read back: 10 MiB.
const TEXT_MAX: u64 = 10 * 1024 * 1024;

/// Characters with no meaning to a shell: a command of these is run without one.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-/_.:@".contains(&byte))
}

fn temporary(text: &str) -> Result<tempfile::NamedTempFile, Failure> {
    let dir = std::env::var_os("TMPDIR").unwrap_or_else(|| "/tmp".into());
    let mut file = tempfile::Builder::new()
        .prefix("virsh")
        .suffix(".xml")
        .tempfile_in(dir)
        .map_err(|error| format!("failed to create temporary file: {error}"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.flush())
        .map_err(|error| {
            format!(
                "write: {}: failed to write to temporary file: {error}",
                file.path().display()
            )
        })?;
    Ok(file)
}

fn run_editor(path: &Path) -> Result<(), Failure> {
    let editor = std::env::var("VISUAL")
        .or_else(|_| std::env::var("EDITOR"))
        .unwrap_or_else(|_| "vi".into());
    let shown = path.display().to_string();
    let mut command = if is_plain(&editor) {
        let mut command = Command::new(&editor);
        command.arg(path);
        command
    } else {
        if !is_plain(&shown) {
            return Err(format!(
                "{shown}: temporary filename contains shell meta or other unacceptable characters (is $TMPDIR wrong?)"
            )
            .into());
        }
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{editor} {shown}"));
        command
    };
    let status = command
        .status()
        .map_err(|error| VirtError::io(&error, format_args!("Cannot run editor '{editor}'")))?;
    if status.success() {
        return Ok(());
    }
    Err(VirtError::internal(format_args!("the editor '{editor}' ended with {status}")).into())
}

fn read_back(path: &Path) -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| format!("{}: failed to read temporary file: {error}", path.display());
    let mut bytes = Vec::new();
    // Editors replace files rather than write them, so the path is opened anew.
    std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > TEXT_MAX {
        return Err(format!(
            "{}: the edited text is longer than {TEXT_MAX} bytes",
            path.display()
        )
        .into());
    }
    String::from_utf8(bytes).map_err(|_| format!("{}: the edited text is not UTF-8", path.display()).into())
}

/// Lets the user edit `text` once.
pub fn once(shell: &mut Shell, text: &str) -> Result<String, Failure> {
    shell.flush();
    let file = temporary(text)?;
    run_editor(file.path())?;
    read_back(file.path())
}

enum Answer {
    Again,
    Discard,
    WithoutValidation,
    Force,
    /// Nobody can be asked.
    Nobody,
}

fn ask(shell: &mut Shell, message: &str, relax: Relax) -> Answer {
    if !std::io::stdin().is_terminal() {
        return Answer::Nobody;
    }
    shell.flush();
    let Ok(_raw) = RawMode::enter() else {
        return Answer::Nobody;
    };
    let relaxable = relax == Relax::Possible;
    let choices = if relaxable { "[y,n,i,f,?]" } else { "[y,n,f,?]" };
    loop {
        shell.print(format!("\r{message} Try again? {choices}: "));
        shell.flush();
        let mut byte = [0];
        match std::io::stdin().read(&mut byte) {
            Ok(1) => {}
            _ => return Answer::Nobody,
        }
        let answer = match byte[0].to_ascii_lowercase() {
            b'y' => Answer::Again,
            b'n' => Answer::Discard,
            b'f' => Answer::Force,
            b'i' if relaxable => Answer::WithoutValidation,
            // Ctrl-C and Ctrl-D, which mean nothing to a raw terminal.
            3 | 4 => Answer::Discard,
            b'?' => {
                shell.print("\r\ny - yes, back to the editor\r\nn - no, drop my changes\r\n");
                if relaxable {
                    shell.print("i - ignore the schema and try again\r\n");
                }
                shell.print("f - force, try the same again\r\n? - this help\r\n");
                continue;
            }
            _ => continue,
        };
        shell.print("\r\n");
        return answer;
    }
}

/// Lets the user edit what `get` answers until `set` accepts it or the user gives up. `set` is told whether to
/// validate. Somebody else's change in the meantime is shown to the user rather than overwritten.
pub fn until_accepted<T>(
    shell: &mut Shell,
    mut relax: Relax,
    get: impl Fn() -> Result<String, VirtError>,
    set: impl Fn(&str, bool) -> Result<T, VirtError>,
) -> Result<Edited<T>, Failure> {
    let mut original = get()?;
    shell.flush();
    let file = temporary(&original)?;
    'edit: loop {
        run_editor(file.path())?;
        let edited = read_back(file.path())?;
        if edited == original {
            return Ok(Edited::Unchanged);
        }
        loop {
            let now = get()?;
            let (message, failure) = if now == original {
                match set(&edited, relax == Relax::Possible) {
                    Ok(accepted) => return Ok(Edited::Changed(accepted)),
                    Err(error) => ("Failed.", Failure::from(error)),
                }
            } else {
                original = now;
                (
                    "The XML configuration was changed by another user.",
                    Failure::silent(),
                )
            };
            if std::io::stdin().is_terminal() {
                shell.report(&failure);
            }
            match ask(shell, message, relax) {
                Answer::Again => continue 'edit,
                Answer::Force => {}
                Answer::WithoutValidation => relax = Relax::Already,
                Answer::Discard => return Err(Failure::silent()),
                Answer::Nobody => {
                    return Err(Failure {
                        said: vec![message.to_owned()],
                        cause: failure.cause,
                    });
                }
            }
        }
    }
}
