//! `unix-netcat [-q0] -U SOCKET`: what is left of netcat between an ssh and a daemon. Asked with `-q` alone it complains
//! as those do that know the option.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    reason = "a helper of tests ends with what it could not do"
)]

use std::io::{Read, Write, stdin, stdout};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["-q0", "-U", socket] = words[..] else {
        eprintln!("nc: option requires an argument -- 'q'");
        std::process::exit(1);
    };
    let mut there = UnixStream::connect(socket).expect("the daemon's socket");
    let mut back = there.try_clone().expect("a socket");
    std::thread::spawn(move || {
        pass(&mut stdin(), &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    pass(&mut back, &mut stdout());
}

/// Until either end is gone.
fn pass(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
