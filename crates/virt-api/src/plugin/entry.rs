//! `driver!`: what makes a crate a plugin.

use super::{NOTE_NAME, NOTE_TYPE};

/// An ELF note with a manifest of `N` bytes, padding included.
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_length: u32,
    text_length: u32,
    kind: u32,
    name: [u8; 12],
    text: [u8; N],
}

impl<const N: usize> Note<N> {
    /// The note that holds `text`.
    pub const fn new(text: &str) -> Self {
        let (from, mut to) = (text.as_bytes(), [0; N]);
        let mut at = 0;
        while at < from.len() {
            to[at] = from[at];
            at += 1;
        }
        let (from, mut name) = (NOTE_NAME.as_bytes(), [0; 12]);
        let mut at = 0;
        while at < from.len() {
            name[at] = from[at];
            at += 1;
        }
        Self {
            name_length: NOTE_NAME.len() as u32 + 1,
            text_length: text.len() as u32,
            kind: NOTE_TYPE,
            name,
            text: to,
        }
    }
}

/// Makes the crate a plugin: `driver!("name", Type)`, where `Type` implements [`Driver`](crate::driver::Driver) and
/// `Default`.
///
/// The crate's type must be `cdylib` (and `rlib`, to be tested and built in). What the manifest says may be given
/// behind the type, in this order: `kind = "hypervisor"`, `role = "client"` (or `"stateful"`), `schemes = ["name"]`,
/// and `new = expression` for a type without `Default`. Those are the defaults.
///
/// ```
/// use virt_api::Result;
/// use virt_api::driver::{Driver, DriverConnection, OpenContext};
///
/// #[derive(Default)]
/// struct Nothing;
/// impl DriverConnection for Nothing {}
/// impl Driver for Nothing {
///     fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
///         Ok(Box::new(Nothing))
///     }
/// }
/// virt_api::driver!("nothing", Nothing);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! driver {
    (
        $name:literal, $driver:ty
        $(, kind = $kind:literal)?
        $(, role = $role:literal)?
        $(, schemes = [$($scheme:literal),* $(,)?])?
        $(, new = $new:expr)?
        $(,)?
    ) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!("a plugin must be compiled with panic = \"unwind\": a panic has to end its call, not the process");

        /// What the plugin loader, or a program that has this driver built in, enters by.
        pub struct PluginEntry;

        impl $crate::plugin::Entry for PluginEntry {
            const NAME: &'static str = $name;
            const MANIFEST: &'static str = ::core::concat!(
                "name = \"", $name, "\"\n",
                "kind = \"", $crate::__or!("hypervisor" $(, $kind)?), "\"\n",
                "role = \"", $crate::__or!("client" $(, $role)?), "\"\n",
                "schemes = [", $crate::__schemes!($name $(, [$($scheme),*])?), "]\n",
                "abi = \"", $crate::__abi_version!(), "\"\n",
                "version = \"", ::core::env!("CARGO_PKG_VERSION"), "\"\n",
            );

            fn create() -> ::std::boxed::Box<dyn $crate::driver::Driver> {
                ::std::boxed::Box::new($crate::__new!($driver $(, $new)?))
            }
        }

        const _: () = {
            const TEXT: &str = <PluginEntry as $crate::plugin::Entry>::MANIFEST;

            #[used]
            #[unsafe(link_section = ".note.ferrovirt")]
            static NOTE: $crate::plugin::Note<{ TEXT.len().next_multiple_of(4) }> = $crate::plugin::Note::new(TEXT);

            #[unsafe(export_name = ::core::concat!("virt_driver_handshake_v1_", $name))]
            pub static HANDSHAKE: $crate::abi::Handshake = $crate::abi::Handshake::of::<PluginEntry>();
        };
    };
}

/// The second if there is one, else the first. For [`driver!`](crate::driver!).
#[doc(hidden)]
#[macro_export]
macro_rules! __or {
    ($default:literal) => {
        $default
    };
    ($default:literal, $given:literal) => {
        $given
    };
}

/// A TOML list's inside. For [`driver!`](crate::driver!).
#[doc(hidden)]
#[macro_export]
macro_rules! __schemes {
    ($name:literal) => {
        ::core::concat!("\"", $name, "\"")
    };
    ($name:literal, [$($scheme:literal),*]) => {
        ::core::concat!("", $("\"", $scheme, "\", ",)*)
    };
}

/// How to make a driver. For [`driver!`](crate::driver!).
#[doc(hidden)]
#[macro_export]
macro_rules! __new {
    ($driver:ty) => {
        <$driver as ::core::default::Default>::default()
    };
    ($driver:ty, $new:expr) => {{
        let driver: $driver = $new;
        driver
    }};
}

/// [`ABI_MAJOR`](crate::plugin::ABI_MAJOR) and [`ABI_MINOR`](crate::plugin::ABI_MINOR) as a literal.
#[doc(hidden)]
#[macro_export]
macro_rules! __abi_version {
    () => {
        "1.2"
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_literal_is_the_version() {
        use crate::plugin::{ABI_MAJOR, ABI_MINOR};
        assert_eq!(__abi_version!(), format!("{ABI_MAJOR}.{ABI_MINOR}"));
    }
}
