//! Macros for the declarations of this crate.

/// An enum of XML words: `pub enum Name { Variant = "word", … }`. The first variant is the `Default`; each variant's
/// documentation is its word.
macro_rules! xml_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $first:ident = $first_word:tt $(, $variant:ident = $word:tt)* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, virt_util::xml::XmlEnum)]
        pub enum $name {
            #[default]
            #[xml($first_word)]
            #[doc = concat!("`", $first_word, "`")]
            $first,
            $(
                #[xml($word)]
                #[doc = concat!("`", $word, "`")]
                $variant,
            )*
        }
    };
}
