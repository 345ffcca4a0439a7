//! How deeply the host can sleep, as those say who would put it to sleep: systemd's logind, else pm-utils.

use std::path::Path;
use std::time::Duration;

use virt_util::command::{Command, Sink, Spawner, find_program};
use virt_util::time::{Cancel, Deadline};

/// How long an answer may take. It is asked for once in the life of a process.
const PATIENCE: Duration = Duration::from_secs(5);

/// libvirt's name of a way to sleep, logind's question, pm-utils' option.
const WAYS: [(&str, &str, &str); 3] = [
    ("suspend_mem", "CanSuspend", "--suspend"),
    ("suspend_disk", "CanHibernate", "--hibernate"),
    ("suspend_hybrid", "CanHybridSleep", "--suspend-hybrid"),
];

/// The ways in which the host can sleep.
pub fn sleep_states(spawner: &dyn Spawner) -> Vec<String> {
    let way: &dyn Fn(&str, &str) -> bool = if Path::new("/run/systemd/system").exists() {
        &|question, _| logind(spawner, question)
    } else if let Ok(program) = find_program(Path::new("pm-is-supported")) {
        &move |_, option| succeeds(spawner, Command::new(&program).arg(option))
    } else {
        return Vec::new();
    };
    WAYS.iter()
        .filter(|(_, question, option)| way(question, option))
        .map(|(name, ..)| (*name).to_owned())
        .collect()
}

fn logind(spawner: &dyn Spawner, question: &str) -> bool {
    let Ok(program) = find_program(Path::new("busctl")) else {
        return false;
    };
    let mut command = Command::new(program);
    command.args(["call", "--system", "--timeout=3", "org.freedesktop.login1"]);
    command.args([
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        question,
    ]);
    answer(spawner, &mut command).is_some_and(|text| text.trim() == "s \"yes\"")
}

fn succeeds(spawner: &dyn Spawner, command: &mut Command) -> bool {
    answer(spawner, command).is_some()
}

/// What a program says, if it succeeds.
fn answer(spawner: &dyn Spawner, command: &mut Command) -> Option<String> {
    command.env_pass_common().stdout(Sink::Capture).stderr(Sink::Null);
    let output = spawner.run(command, Deadline::after(PATIENCE), &Cancel::never());
    let output = output.map_err(|error| tracing::debug!("{error:#}")).ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.exit.success().then_some(text)
}
