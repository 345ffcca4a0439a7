//! Comparison with a file that was looked at once.

use std::path::Path;

/// Compares `found` with the file at `path`. With `VIRT_REGENERATE=1` the file is written instead, for those golden
/// files that hold our own output; files recorded from a peer are only ever replaced by recording again.
///
/// # Panics
/// If they differ; the message shows the first line that does.
#[allow(clippy::panic, reason = "this is an assertion")]
#[track_caller]
pub fn golden(path: impl AsRef<Path>, found: &str) {
    let path = path.as_ref();
    if std::env::var_os("VIRT_REGENERATE").is_some_and(|value| value == "1") {
        if let Err(error) = std::fs::write(path, found) {
            panic!("cannot write {}: {error}", path.display());
        }
        return;
    }
    let wanted = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("cannot read {}: {error}\nfound:\n{found}", path.display()),
    };
    if wanted == found {
        return;
    }
    let (mut wanted_lines, mut found_lines) = (wanted.lines(), found.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (wanted_lines.next(), found_lines.next()) {
            (None, None) => panic!("{}: the files differ in how they end", path.display()),
            (wanted, found) if wanted == found => {}
            (wanted, found) => panic!(
                "{}:{number}: not as recorded\n  wanted: {}\n  found:  {}",
                path.display(),
                wanted.unwrap_or("(end)"),
                found.unwrap_or("(end)")
            ),
        }
    }
}
