//! The public enums, flag sets and typed-parameter names of the API, with libvirt's numbers.
//!
//! Everything here is made by `cargo xtask codegen` from one table, `types/types.tbl`; this file holds the two macros
//! that the generated files call and [`TypeInfo`], which lets code walk the types (C headers, name lookup, tests).
//!
//! An enum is a newtype over `i32`, a flag set is a `bitflags` type over `u32`. Neither loses what it does not know: a
//! number or bit from a newer peer is carried along, and code that must refuse it says so itself.
//!
//! ```
//! use virt_util::types::{DomainState, DomainXmlFlags};
//!
//! assert_eq!(DomainState(1), DomainState::RUNNING);
//! assert_eq!(DomainState::RUNNING.to_string(), "RUNNING");
//! assert_eq!(DomainState::from_name("PAUSED"), Some(DomainState::PAUSED));
//! assert_eq!(DomainState(77).to_string(), "77");
//!
//! let flags = DomainXmlFlags::from_bits_retain(0x8000_0001);
//! assert!(flags.contains(DomainXmlFlags::SECURE));
//! assert_eq!(flags.unknown(), 0x8000_0000);
//! ```

use crate::{ErrorCode, Result, VirtError};

/// What a public type is called in C and which members it has.
#[derive(Clone, Copy, Debug)]
pub struct TypeInfo {
    /// The name of the Rust type.
    pub name: &'static str,
    /// The name of the C type.
    pub c_name: &'static str,
    /// What C puts in front of each member's name.
    pub prefix: &'static str,
    /// The C header that declares it, without `.h`.
    pub header: &'static str,
    /// Whether members are bits that can be combined.
    pub flags: bool,
    /// Names and numbers in C's order. Two names may have one number; the first is the usual one.
    pub members: &'static [(&'static str, i64)],
}

impl TypeInfo {
    /// The name of `value`.
    pub fn name_of(&self, value: i64) -> Option<&'static str> {
        self.members
            .iter()
            .find(|member| member.1 == value)
            .map(|member| member.0)
    }

    /// The number of the member `name`, with or without C's prefix.
    pub fn value_of(&self, name: &str) -> Option<i64> {
        let name = name.strip_prefix(self.prefix).unwrap_or(name);
        self.members
            .iter()
            .find(|member| member.0 == name)
            .map(|member| member.1)
    }
}

/// A type of the public interface.
pub trait PublicType: Copy {
    /// Its names and members.
    const INFO: TypeInfo;

    /// The number as C has it.
    fn value(self) -> i64;
}

/// Refuses bits in `flags` outside of `allowed` with libvirt's code for it, naming the bits and the call. As in libvirt
/// the text stands without the code's lead.
pub fn check_flags(call: &str, flags: u32, allowed: u32) -> Result<()> {
    match flags & !allowed {
        0 => Ok(()),
        unsupported => Err(VirtError::from_parts(
            ErrorCode::INVALID_ARG,
            crate::error::ErrorDomain::NONE,
            crate::error::ErrorLevel::ERROR,
            format!("unsupported flags ({unsupported:#x}) in function {call}"),
        )),
    }
}

macro_rules! public_enums {
    ($($(#[$doc:meta])* $name:ident = $c_name:literal, $prefix:literal, $header:literal {
        $($member:ident = $value:literal,)*
    })*) => {
        $(
            $(#[$doc])*
            ///
            #[doc = concat!("C: `", $c_name, "`.")]
            #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
            pub struct $name(pub i32);

            impl $name {
                $(
                    #[doc = concat!("`", $prefix, stringify!($member), "` (", $value, ").")]
                    pub const $member: Self = Self($value);
                )*

                /// The member's name without C's prefix; `None` for a number this version does not know.
                pub fn name(self) -> Option<&'static str> {
                    <Self as $crate::types::PublicType>::INFO.name_of(self.0.into())
                }

                /// The member of that name, with or without C's prefix.
                pub fn from_name(name: &str) -> Option<Self> {
                    let value = <Self as $crate::types::PublicType>::INFO.value_of(name)?;
                    i32::try_from(value).ok().map(Self)
                }
            }

            impl $crate::types::PublicType for $name {
                const INFO: $crate::types::TypeInfo = $crate::types::TypeInfo {
                    name: stringify!($name),
                    c_name: $c_name,
                    prefix: $prefix,
                    header: $header,
                    flags: false,
                    members: &[$((stringify!($member), $value),)*],
                };

                fn value(self) -> i64 {
                    self.0.into()
                }
            }

            impl ::std::fmt::Display for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    match self.name() {
                        Some(name) => f.pad(name),
                        None => ::std::fmt::Display::fmt(&self.0, f),
                    }
                }
            }

            impl ::std::fmt::Debug for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    match self.name() {
                        Some(name) => f.write_str(name),
                        None => write!(f, concat!(stringify!($name), "({})"), self.0),
                    }
                }
            }

            impl From<i32> for $name {
                fn from(value: i32) -> Self {
                    Self(value)
                }
            }

            impl From<$name> for i32 {
                fn from(value: $name) -> Self {
                    value.0
                }
            }
        )*

        /// Every enum that is defined here.
        pub(super) const INFOS: &[$crate::types::TypeInfo] =
            &[$(<$name as $crate::types::PublicType>::INFO,)*];
    };
}

macro_rules! public_flags {
    ($($(#[$doc:meta])* $name:ident = $c_name:literal, $prefix:literal, $header:literal {
        $($member:ident = $value:literal,)*
    })*) => {
        $(
            $(#[$doc])*
            ///
            #[doc = concat!("C: `", $c_name, "`.")]
            #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
            pub struct $name(u32);

            ::bitflags::bitflags! {
                impl $name: u32 {
                    $(
                        #[doc = concat!("`", $prefix, stringify!($member), "` (", $value, ").")]
                        const $member = $value;
                    )*
                }
            }

            impl $name {
                /// The bits that this version has no name for.
                pub fn unknown(self) -> u32 {
                    self.bits() & !Self::all().bits()
                }

                /// The single flag of that name, with or without C's prefix.
                pub fn from_name_or_c(name: &str) -> Option<Self> {
                    let value = <Self as $crate::types::PublicType>::INFO.value_of(name)?;
                    u32::try_from(value).ok().map(Self::from_bits_retain)
                }
            }

            impl $crate::types::PublicType for $name {
                const INFO: $crate::types::TypeInfo = $crate::types::TypeInfo {
                    name: stringify!($name),
                    c_name: $c_name,
                    prefix: $prefix,
                    header: $header,
                    flags: true,
                    members: &[$((stringify!($member), $value),)*],
                };

                fn value(self) -> i64 {
                    self.bits().into()
                }
            }

            impl ::std::fmt::Debug for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.write_str(concat!(stringify!($name), "("))?;
                    ::bitflags::parser::to_writer(self, &mut *f)?;
                    f.write_str(")")
                }
            }

            impl From<u32> for $name {
                fn from(bits: u32) -> Self {
                    Self::from_bits_retain(bits)
                }
            }

            impl From<$name> for u32 {
                fn from(flags: $name) -> Self {
                    flags.bits()
                }
            }
        )*

        /// Every flag set that is defined here.
        pub(super) const INFOS: &[$crate::types::TypeInfo] =
            &[$(<$name as $crate::types::PublicType>::INFO,)*];
    };
}

mod enums;
mod flags;
pub mod params;

pub use enums::*;
pub use flags::*;

/// Every enum and flag set of the public interface, except the three error types of [`crate::error`] and the old names
/// of [`TypedParameterType`].
pub fn all_types() -> impl Iterator<Item = &'static TypeInfo> {
    enums::INFOS.iter().chain(flags::INFOS)
}

#[cfg(test)]
mod tests;
