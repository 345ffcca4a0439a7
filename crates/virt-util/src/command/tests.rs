use super::*;
use crate::sys::process::{Exit, PidFd, Stat};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::time::Duration;

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn run(command: &Command) -> Result<Output> {
    SystemSpawner.run(command, limit(), &Cancel::never())
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    command.stdout(Sink::Capture).stderr(Sink::Capture);
    command
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap().trim_end()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

macro_rules! need_root {
    () => {
        if !is_root() {
            println!("SKIPPED: needs root");
            return;
        }
    };
}

#[test]
fn output_and_status_come_back() {
    let output = run(&shell("echo out; echo err >&2; exit 3")).unwrap();
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out", "err"));
    let command = shell("echo why >&2; kill -TERM $$");
    let error = run(&command).unwrap().check(&command).unwrap_err();
    assert_eq!(
        error.message(),
        "internal error: /bin/sh -c 'echo why >&2; kill -TERM $$' ended with fatal signal 15: why"
    );
}

#[test]
fn a_missing_program_and_a_failed_exec_name_themselves() {
    let error = run(&Command::new("/nonexistent/program")).unwrap_err();
    assert_eq!(
        error.message(),
        "cannot run '/nonexistent/program': No such file or directory"
    );
    assert_eq!(error.int1(), libc::ENOENT);
    let error = run(&Command::new("no-such-program-anywhere")).unwrap_err();
    assert!(error.message().contains("no-such-program-anywhere"), "{error}");
    let error = run(&Command::new("/etc/passwd")).unwrap_err();
    assert_eq!(error.int1(), libc::EACCES);
    let error = run(Command::new("/bin/true").cwd("/nonexistent")).unwrap_err();
    assert_eq!(
        error.message(),
        "cannot start '/bin/true': it cannot change to its working directory: No such file or directory"
    );
}

#[test]
fn the_environment_is_empty_but_for_what_was_set() {
    let mut command = Command::new("/usr/bin/env");
    command
        .stdout(Sink::Capture)
        .env("A", "1")
        .env("B", "x y")
        .env("A", "2");
    assert_eq!(text(&run(&command).unwrap().stdout), "A=2\nB=x y");
}

#[test]
fn only_named_descriptors_arrive_under_their_numbers() {
    let (mut reader, writer) = pipe().unwrap();
    let noise = File::open("/dev/null").unwrap();
    // Not close-on-exec: still must not get through.
    nix::fcntl::fcntl(&noise, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let other = File::open("/dev/zero").unwrap();
    let mut command = shell("echo to nine >&9; ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/5");
    command.pass_fd(writer.into(), 9).pass_fd(other.into(), 5);
    let output = run(&command).unwrap();
    // ls itself has the folder open as 3.
    assert_eq!(text(&output.stdout), "0 1 2 3 5 9 /dev/zero");
    drop(command);
    let mut got = String::new();
    reader.read_to_string(&mut got).unwrap();
    assert_eq!(got, "to nine\n");
}

#[test]
fn descriptor_numbers_may_cross() {
    // The numbers asked for are each other's present numbers.
    let zero: OwnedFd = File::open("/dev/zero").unwrap().into();
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    let (zero_number, null_number) = (zero.as_raw_fd(), null.as_raw_fd());
    let mut command = shell(&format!(
        "readlink /proc/self/fd/{null_number} /proc/self/fd/{zero_number}"
    ));
    command.pass_fd(zero, null_number).pass_fd(null, zero_number);
    assert_eq!(text(&run(&command).unwrap().stdout), "/dev/zero\n/dev/null");
    let mut command = shell("true");
    let next = command.pass_next_fd(File::open("/dev/zero").unwrap().into());
    assert_eq!(next, 3);
    command.pass_fd(File::open("/dev/null").unwrap().into(), 3);
    assert_eq!(run(&command).unwrap_err().code(), ErrorCode::INVALID_ARG);
}

#[test]
fn large_input_flows_while_output_is_read() {
    let bytes = vec![b'x'; 3 << 20];
    let mut command = Command::new("/bin/cat");
    command.stdin(Input::Bytes(bytes.clone())).stdout(Sink::Capture);
    assert_eq!(run(&command).unwrap().stdout, bytes);
    command.capture_limit(1 << 20);
    let error = run(&command).unwrap_err();
    assert!(error.message().contains("1048576"), "{error}");
    // One that does not read its input must not hang us.
    let mut command = Command::new("/bin/true");
    command.stdin(Input::Bytes(bytes));
    assert!(run(&command).unwrap().exit.success());
}

#[test]
fn a_program_that_takes_too_long_is_killed() {
    let mut command = Command::new("/bin/sleep");
    command.arg("3600").stdout(Sink::Capture);
    let soon = Deadline::after(Duration::from_millis(50));
    let error = SystemSpawner.run(&command, soon, &Cancel::never()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT);
    let cancel = Cancel::new();
    let setter = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        setter.set();
    });
    let error = SystemSpawner.run(&command, limit(), &cancel).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_ABORTED);
    thread.join().unwrap();
}

#[test]
fn limits_mask_and_directory() {
    let mut command = shell("ulimit -n; ulimit -c; umask; pwd");
    command
        .limit(Limit::both(libc::RLIMIT_NOFILE, 77))
        .limit(Limit::both(libc::RLIMIT_CORE, 0))
        .umask(0o27)
        .cwd("/usr");
    assert_eq!(text(&run(&command).unwrap().stdout), "77\n0\n0027\n/usr");
}

#[test]
fn signals_are_at_their_defaults() {
    // Our own process ignores SIGPIPE, as all Rust programs do.
    let mut command = Command::new("/bin/grep");
    command
        .args(["-E", "^Sig(Blk|Ign):", "/proc/self/status"])
        .stdout(Sink::Capture);
    let output = run(&command).unwrap();
    for line in text(&output.stdout).lines() {
        let (name, bits) = line.split_once(":\t").unwrap();
        // 32 and 33 belong to the C library, which lets nobody touch them.
        let bits = u64::from_str_radix(bits, 16).unwrap() & !(0b11 << 31);
        assert_eq!(bits, 0, "{name}");
    }
}

#[test]
fn another_user_with_groups_and_without_capabilities() {
    need_root!();
    let mut command = shell("id -u; id -g; id -G; grep -E '^Cap(Eff|Bnd|Amb)' /proc/self/status");
    command
        .user(User {
            uid: 65534,
            gid: 65533,
            groups: Some(vec![65533, 12345]),
        })
        .capabilities(Capabilities::Only(0));
    let output = run(&command).unwrap();
    assert_eq!(
        text(&output.stdout).replace('\t', " "),
        "65534\n65533\n65533 12345\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nCapAmb: 0000000000000000"
    );
}

#[test]
fn another_user_may_keep_a_capability() {
    need_root!();
    let raw_network = 1 << 13;
    let mut command = shell("grep -E '^Cap(Eff|Prm|Amb)' /proc/self/status");
    command
        .user(User {
            uid: 65534,
            gid: 65534,
            groups: Some(Vec::new()),
        })
        .capabilities(Capabilities::Only(raw_network));
    let output = run(&command).unwrap();
    for line in text(&output.stdout).lines() {
        assert!(line.ends_with("0000000000002000"), "{line}");
    }
}

#[test]
fn a_held_child_has_everything_but_exec() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = shell("cat flag");
    command.cwd(folder.path()).hold_before_exec();
    let mut child = SystemSpawner.spawn(&command, limit(), &Cancel::never()).unwrap();
    assert!(child.is_held());
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", child.pid())).unwrap();
    assert_eq!(cwd, folder.path().canonicalize().unwrap());
    std::fs::write(folder.path().join("flag"), "go").unwrap();
    child.release(limit(), &Cancel::never()).unwrap();
    let mut out = String::new();
    File::from(child.stdout.take().unwrap())
        .read_to_string(&mut out)
        .unwrap();
    assert_eq!(out, "go");
    assert_eq!(
        child.wait(limit(), &Cancel::never()).unwrap(),
        Some(Exit::Code(0))
    );
    assert!(child.release(limit(), &Cancel::never()).is_err());
}

#[test]
fn a_held_child_that_is_dropped_ends_and_a_bad_exec_shows_at_release() {
    let mut command = Command::new("/bin/true");
    command.hold_before_exec();
    let child = SystemSpawner.spawn(&command, limit(), &Cancel::never()).unwrap();
    let process = child.into_process();
    assert_eq!(
        process.wait(limit(), &Cancel::never()).unwrap(),
        crate::time::Waited::Ready
    );
    assert_eq!(process.collect().unwrap(), Some(Exit::Code(126)));
    let mut command = Command::new("/nonexistent/program");
    command.hold_before_exec();
    let mut child = SystemSpawner.spawn(&command, limit(), &Cancel::never()).unwrap();
    let error = child.release(limit(), &Cancel::never()).unwrap_err();
    assert_eq!(error.int1(), libc::ENOENT);
}

#[test]
fn a_daemon_is_nobodys_child_and_holds_its_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.pid");
    let (reader, writer) = pipe().unwrap();
    let mut command = Command::new("/bin/cat");
    command
        .stdin(Input::Fd(reader.into()))
        .session(Session::Daemon)
        .pid_file(&path)
        .hold_before_exec();
    let mut child = SystemSpawner.spawn(&command, limit(), &Cancel::never()).unwrap();
    drop(command);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), child.pid().to_string());
    child.release(limit(), &Cancel::never()).unwrap();
    let parent = Stat::of(child.pid()).and_then(|stat| stat.parent()).unwrap();
    assert_ne!(parent, std::process::id().cast_signed());
    assert_eq!(
        std::fs::read_link(format!("/proc/{}/cwd", child.pid())).unwrap(),
        Path::new("/")
    );
    // A second daemon does not get the file.
    let mut second = Command::new("/bin/true");
    second.session(Session::Daemon).pid_file(&path);
    let error = SystemSpawner
        .spawn(&second, limit(), &Cancel::never())
        .unwrap_err();
    assert!(error.message().contains("pid file"), "{error}");
    drop(writer);
    assert_eq!(
        child.wait(limit(), &Cancel::never()).unwrap(),
        Some(Exit::Unknown)
    );
}

#[test]
fn a_new_session_and_pipes() {
    let mut command = shell("read line; echo got $line; ps -o sid= -p $$ 2>/dev/null || echo $$");
    command.stdin(Input::Pipe).session(Session::New);
    let mut child = SystemSpawner.spawn(&command, limit(), &Cancel::never()).unwrap();
    File::from(child.stdin.take().unwrap())
        .write_all(b"word\n")
        .unwrap();
    let mut out = String::new();
    File::from(child.stdout.take().unwrap())
        .read_to_string(&mut out)
        .unwrap();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words, ["got", "word", &child.pid().to_string()]);
    assert_eq!(
        child.wait(limit(), &Cancel::never()).unwrap(),
        Some(Exit::Code(0))
    );
}

#[test]
fn killing_a_child() {
    let mut command = Command::new("/bin/sleep");
    command.arg("3600");
    let child = SystemSpawner.spawn(&command, limit(), &Cancel::never()).unwrap();
    let soon = Deadline::after(Duration::from_millis(10));
    assert_eq!(child.wait(soon, &Cancel::never()).unwrap(), None);
    assert!(PidFd::open(child.pid()).unwrap().is_some());
    assert_eq!(child.kill(limit()).unwrap(), Some(Exit::Signal(9)));
}

#[test]
fn many_threads_start_programs_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|number| {
            std::thread::spawn(move || {
                for round in 0..5 {
                    let word = format!("{number}-{round}");
                    let output = run(&shell(&format!("echo {word}"))).unwrap();
                    assert_eq!(text(&output.stdout), word);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn command_lines_read_like_libvirts() {
    let mut command = Command::new("/usr/bin/qemu");
    command
        .env("LC_ALL", "C")
        .args(["-name", "guest=a b", "-S", "-m", "1", "-x", "one", "two"]);
    assert_eq!(
        command.to_shell_lines(),
        "LC_ALL=C \\\n/usr/bin/qemu \\\n-name 'guest=a b' \\\n-S \\\n-m 1 \\\n-x one \\\ntwo"
    );
    let mut command = Command::new("tool");
    command.args(["verb", "noun", "--flag", "value"]);
    assert_eq!(
        command.to_shell_lines(),
        "tool \\\nverb \\\nnoun \\\n--flag value"
    );
    assert_eq!(command.to_shell_line(), "tool verb noun --flag value");
}
