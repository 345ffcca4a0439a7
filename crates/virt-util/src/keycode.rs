//! Key codes: the sets that keys can be named in, and the way from one set to another.
//!
//! The table is text (`keycode/keys.tbl`) and is read when the first key is looked up.

use crate::types::KeycodeSet;
use std::sync::LazyLock;

/// One key. 0 stands for no code in a set.
struct Key {
    linux_name: Option<&'static str>,
    osx_name: Option<&'static str>,
    win32_name: Option<&'static str>,
    qemu_name: Option<&'static str>,
    linux: u16,
    osx: u16,
    atset1: u16,
    atset2: u16,
    atset3: u16,
    usb: u16,
    win32: u16,
    xt_kbd: u16,
}

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    include_str!("keycode/keys.tbl")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(read_key)
        .collect()
});

fn read_key(line: &'static str) -> Option<Key> {
    let mut cells = line
        .split(' ')
        .map(|cell| if cell == "-" { None } else { Some(cell) });
    let mut name = || cells.next();
    let number = |cell: Option<&str>| cell.map_or(Some(0), |cell| cell.parse().ok());
    let linux_name = name()?;
    let linux = number(name()?)?;
    let osx_name = name()?;
    let osx = number(name()?)?;
    let atset1 = number(name()?)?;
    let atset2 = number(name()?)?;
    let atset3 = number(name()?)?;
    let usb = number(name()?)?;
    let win32_name = name()?;
    let win32 = number(name()?)?;
    let xt_kbd = number(name()?)?;
    let qemu_name = name()?;
    Some(Key {
        linux_name,
        osx_name,
        win32_name,
        qemu_name,
        linux,
        osx,
        atset1,
        atset2,
        atset3,
        usb,
        win32,
        xt_kbd,
    })
}

/// A set of key codes that this version knows.
///
/// ```
/// use virt_util::keycode::Codeset;
///
/// let linux = Codeset::from_name("linux").unwrap();
/// assert_eq!(linux.code("KEY_A"), Some(30));
/// assert_eq!(linux.translate(Codeset::from_name("usb").unwrap(), 30), Some(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codeset(KeycodeSet);

impl Codeset {
    /// All sets in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self(KeycodeSet::LINUX),
        Self(KeycodeSet::XT),
        Self(KeycodeSet::ATSET1),
        Self(KeycodeSet::ATSET2),
        Self(KeycodeSet::ATSET3),
        Self(KeycodeSet::OSX),
        Self(KeycodeSet::XT_KBD),
        Self(KeycodeSet::USB),
        Self(KeycodeSet::WIN32),
        Self(KeycodeSet::QNUM),
    ];

    /// The set with libvirt's number (`virKeycodeSet`).
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.number() == number)
    }

    /// The set that libvirt calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// libvirt's number of the set.
    pub fn number(self) -> u32 {
        self.0.0.unsigned_abs()
    }

    /// libvirt's name of the set.
    pub fn name(self) -> &'static str {
        match self.0 {
            KeycodeSet::LINUX => "linux",
            KeycodeSet::XT => "xt",
            KeycodeSet::ATSET1 => "atset1",
            KeycodeSet::ATSET2 => "atset2",
            KeycodeSet::ATSET3 => "atset3",
            KeycodeSet::OSX => "os_x",
            KeycodeSet::XT_KBD => "xt_kbd",
            KeycodeSet::USB => "usb",
            KeycodeSet::WIN32 => "win32",
            _ => "qnum",
        }
    }

    fn name_in(self, key: &Key) -> Option<&'static str> {
        match self.0 {
            KeycodeSet::LINUX => key.linux_name,
            KeycodeSet::OSX => key.osx_name,
            KeycodeSet::WIN32 => key.win32_name,
            _ => None,
        }
    }

    fn code_in(self, key: &Key) -> u16 {
        match self.0 {
            KeycodeSet::LINUX => key.linux,
            // libvirt's "xt" has always been AT set 1.
            KeycodeSet::XT | KeycodeSet::ATSET1 => key.atset1,
            KeycodeSet::ATSET2 => key.atset2,
            KeycodeSet::ATSET3 => key.atset3,
            KeycodeSet::OSX => key.osx,
            KeycodeSet::XT_KBD => key.xt_kbd,
            KeycodeSet::USB => key.usb,
            KeycodeSet::WIN32 => key.win32,
            _ => qnum(key.atset1),
        }
    }

    /// The names of keys in this set; only the Linux, OS X and Windows sets have names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        KEYS.iter().filter_map(move |key| self.name_in(key))
    }

    /// The code of the key called `name`.
    pub fn code(self, name: &str) -> Option<u16> {
        KEYS.iter()
            .find(|key| self.name_in(key) == Some(name))
            .map(|key| self.code_in(key))
    }

    /// The code in the set `to` of the key whose code in this set is `code`; `None` for a key without one.
    pub fn translate(self, to: Self, code: u32) -> Option<u16> {
        let found = KEYS.iter().find(|key| u32::from(self.code_in(key)) == code)?;
        Some(to.code_in(found)).filter(|translated| *translated != 0)
    }

    /// QEMU's name (`QKeyCode`) of the key whose code in this set is `code`.
    pub fn qemu_name(self, code: u32) -> Option<&'static str> {
        KEYS.iter()
            .find(|key| u32::from(self.code_in(key)) == code)?
            .qemu_name
    }
}

/// QEMU's one-byte form of an AT set 1 code: extended keys have the high bit, the two Korean keys never had.
fn qnum(atset1: u16) -> u16 {
    match atset1 {
        0xf1 | 0xf2 => atset1 & 0x7f,
        code if code > 0x7f => 0x80 | (code & 0x7f),
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Codeset {
        Codeset::from_name(name).unwrap()
    }

    #[test]
    fn every_row_is_read() {
        let rows = include_str!("keycode/keys.tbl")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        assert_eq!(KEYS.len(), rows);
        assert!(rows > 500);
    }

    #[test]
    fn keys_are_known_by_name_and_code() {
        assert_eq!(set("linux").code("KEY_ESC"), Some(1));
        assert_eq!(set("win32").code("VK_ESCAPE"), Some(0x1b));
        assert_eq!(set("usb").code("KEY_ESC"), None);
        assert_eq!(set("linux").translate(set("qnum"), 29), Some(0x1d));
        assert_eq!(set("linux").translate(set("qnum"), 97), Some(0x9d));
        assert_eq!(set("linux").qemu_name(1), Some("esc"));
        assert_eq!(set("linux").translate(set("usb"), 0xffff), None);
    }

    #[test]
    fn numbers_and_names_of_sets_agree() {
        for set in Codeset::ALL {
            assert_eq!(Codeset::from_name(set.name()), Some(set));
            assert_eq!(Codeset::from_number(set.number()), Some(set));
        }
        assert_eq!(set("os_x").number(), 5);
    }
}
