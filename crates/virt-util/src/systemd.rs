//! Names that systemd has for the units and machines of guests.

use std::fmt::Write as _;

/// Most bytes of a machine's name.
const MACHINE_NAME_MAX: usize = 64;

/// A text as a part of a unit's name: slashes become dashes, what a unit cannot hold becomes `\x2d`.
fn push_escaped(out: &mut String, text: &str) {
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.');
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            byte if plain => out.push(char::from(byte)),
            byte => _ = write!(out, "\\x{byte:02x}"),
        }
    }
}

/// The scope of a guest: `machine-qemu\x2d1\x2dweb.scope`. Old names have the driver before the machine's name.
pub fn scope_name(machine: &str, driver: Option<&str>) -> String {
    let mut name = String::from("machine-");
    if let Some(driver) = driver {
        push_escaped(&mut name, driver);
        name.push_str("\\x2d");
    }
    push_escaped(&mut name, machine);
    name.push_str(".scope");
    name
}

/// The slice of a resource partition: `/machine` is `machine.slice`.
pub fn slice_name(partition: &str) -> String {
    let mut name = String::new();
    push_escaped(&mut name, partition.strip_prefix('/').unwrap_or(partition));
    name.push_str(".slice");
    name
}

/// Before what a machine's name stands for, so that names are unique on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineOwner<'t> {
    /// The system's daemon.
    System,
    /// A user's daemon: the user's name.
    User(&'t str),
    /// A program that holds the driver itself: the hash of its root folder, eight hexadecimal digits of SHA-256.
    Embedded(&'t str),
}

/// The name under which a guest is registered: `qemu-1-web`. Of the guest's name only letters, digits, single dots and
/// single dashes are kept, and all is cut at 64 bytes.
///
/// ```
/// use virt_util::systemd::{MachineOwner, machine_name};
///
/// assert_eq!(machine_name("qemu", MachineOwner::System, 3, "web server..1."), "qemu-3-webserver.1");
/// ```
pub fn machine_name(driver: &str, owner: MachineOwner<'_>, id: i32, guest: &str) -> String {
    let mut name = match owner {
        MachineOwner::System => format!("{driver}-{id}-"),
        MachineOwner::User(user) => format!("{driver}-{user}-{id}-"),
        MachineOwner::Embedded(hash) => format!("{driver}-embed-{hash}-{id}-"),
    };
    let mut after_mark = true;
    for c in guest.chars() {
        if name.len() >= MACHINE_NAME_MAX {
            break;
        }
        match c {
            '.' | '-' if !after_mark => {
                name.push(c);
                after_mark = true;
            }
            c if c.is_ascii_alphanumeric() => {
                name.push(c);
                after_mark = false;
            }
            _ => {}
        }
    }
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_hold_no_odd_characters() {
        assert_eq!(slice_name("/machine/a-b"), "machine-a\\x2db.slice");
        assert_eq!(scope_name("qemu-1-web", None), "machine-qemu\\x2d1\\x2dweb.scope");
        assert_eq!(scope_name(".a", None), "machine-\\x2ea.scope");
    }

    #[test]
    fn names_are_cut() {
        assert_eq!(
            machine_name("lxc", MachineOwner::User("joe"), 2, "a--b-"),
            "lxc-joe-2-a-b"
        );
        assert_eq!(
            machine_name("qemu", MachineOwner::System, 1, &"x".repeat(100)).len(),
            64
        );
    }
}
