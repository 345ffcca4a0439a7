//! Capability flags as a type and as a set.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

pub use super::flag_table::Flag;

/// Makes the enum out of the table.
macro_rules! define_flags {
    ($($(#$past:ident)? $name:ident = $text:literal,)*) => {
        /// One thing that a QEMU binary can do (or, for flags of the past, that every supported one does).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u16)]
        pub enum Flag {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Flag {
            /// Every flag in libvirt's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// libvirt's name, as in `<flag name='…'/>`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether the flag is no longer probed and exists only because old files name it.
            pub const fn is_past(self) -> bool {
                const PAST: &[&str] = &[$(concat!("", $(stringify!($past))?),)*];
                !PAST[self as usize].is_empty()
            }
        }
    };
}
pub(super) use define_flags;

static BY_NAME: LazyLock<HashMap<&'static str, Flag>> =
    LazyLock::new(|| Flag::ALL.iter().map(|flag| (flag.name(), *flag)).collect());

impl Flag {
    /// The flag called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        BY_NAME.get(name).copied()
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const WORDS: usize = Flag::ALL.len().div_ceil(64);

/// A set of flags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FlagSet([u64; WORDS]);

impl FlagSet {
    /// No flag.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Whether `flag` is in the set.
    pub fn contains(&self, flag: Flag) -> bool {
        self.0[flag as usize / 64] & (1 << (flag as usize % 64)) != 0
    }

    /// Puts `flag` in.
    pub fn insert(&mut self, flag: Flag) {
        self.0[flag as usize / 64] |= 1 << (flag as usize % 64);
    }

    /// Takes `flag` out.
    pub fn remove(&mut self, flag: Flag) {
        self.0[flag as usize / 64] &= !(1 << (flag as usize % 64));
    }

    /// The flags that are set, in libvirt's order.
    pub fn iter(&self) -> impl Iterator<Item = Flag> + '_ {
        Flag::ALL.iter().copied().filter(|flag| self.contains(*flag))
    }
}

impl Default for FlagSet {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl FromIterator<Flag> for FlagSet {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        let mut set = Self::EMPTY;
        flags.into_iter().for_each(|flag| set.insert(flag));
        set
    }
}

impl fmt::Debug for FlagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Flag::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        assert_eq!(BY_NAME.len(), Flag::ALL.len());
        for (index, flag) in Flag::ALL.iter().enumerate() {
            assert_eq!(*flag as usize, index);
            assert_eq!(Flag::from_name(flag.name()), Some(*flag));
        }
    }

    #[test]
    fn sets_keep_order() {
        let set: FlagSet = [Flag::Tcg, Flag::Kvm].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Flag::Kvm, Flag::Tcg]);
        assert!(Flag::VncColon.is_past() && !Flag::Kvm.is_past());
    }
}
