//! A program on a terminal of its own, watched for a while.

use crate::task::{self, Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The key that leaves a console.
const LEAVE: u8 = 0x1d;

/// How long a program may take to say its first word.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a program for `duration` from its first word on, typing `input` in even steps, then leaves it with its escape
/// key; gives all that it wrote. A program that does not go is ended.
pub fn listen(command: &mut Command, duration: Duration, input: &[&[u8]]) -> Result<String> {
    let pair = openpty(None, None).context(|| "a terminal".to_owned())?;
    let mine = File::from(pair.master);
    let theirs = File::from(pair.slave);
    let copy = |file: &File| {
        file.try_clone()
            .map(Stdio::from)
            .context(|| "a terminal".to_owned())
    };
    command
        .stdin(copy(&theirs)?)
        .stdout(copy(&theirs)?)
        .stderr(copy(&theirs)?);
    let mut child = command.spawn().context(|| task::describe(command))?;
    // Only the child has the terminal now, so that its end is seen here.
    drop(theirs);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    let began = Instant::now();
    let mut started: Option<Instant> = None;
    let step = duration / (input.len() as u32 + 1);
    let mut typed = 0;
    let mut left = false;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let elapsed = started.map_or(Duration::ZERO, |started| started.elapsed());
        if started.is_none() && began.elapsed() > PATIENCE {
            let _ = child.kill();
            break;
        }
        if let Some(text) = input.get(typed)
            && elapsed >= step * (typed as u32 + 1)
        {
            let _ = (&mine).write_all(text);
            typed += 1;
        }
        if elapsed >= duration && !left {
            let _ = (&mine).write_all(&[LEAVE]);
            left = true;
        }
        if elapsed >= duration + Duration::from_secs(5) {
            let _ = child.kill();
            break;
        }
        let mut wait = [PollFd::new(mine.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut wait, PollTimeout::from(50_u8)).unwrap_or(0);
        if ready > 0 {
            // Reading fails once the program has closed its terminal.
            match (&mine).read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    started.get_or_insert_with(Instant::now);
                    heard.extend(buffer.iter().take(length));
                }
            }
        }
    }
    let _ = child.wait();
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

#[cfg(test)]
mod tests {
    use super::listen;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_program_is_heard_typed_to_and_left() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "test -t 0 && echo on a terminal; read line; echo \"got $line\"; exec sleep 1",
        ]);
        let heard = listen(&mut command, Duration::from_millis(600), &[b"typed\n"]).expect("a terminal");
        assert!(heard.contains("on a terminal"), "{heard}");
        assert!(heard.contains("got typed"), "{heard}");
    }
}
