//! Procedural macros of Ferrovirt. They are re-exported where they are used:
//! `virt_util::xml::{Xml, XmlEnum}` and `virt_api::implements`. Each is documented there.
#![forbid(unsafe_code)]

mod xml;

use proc_macro::TokenStream;

/// Reads and writes a type as an XML element: see `virt_util::xml` for the language of the `xml` attribute.
#[proc_macro_derive(Xml, attributes(xml))]
pub fn derive_xml(input: TokenStream) -> TokenStream {
    xml::derive_element(syn::parse_macro_input!(input))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Gives an enum without fields its words in XML: see `virt_util::xml`.
#[proc_macro_derive(XmlEnum, attributes(xml))]
pub fn derive_xml_enum(input: TokenStream) -> TokenStream {
    xml::derive_words(syn::parse_macro_input!(input))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

mod implements;

/// Stands before `impl HypervisorDriver for X` (or another driver trait): records which methods were written, and which
/// of them are marked `#[inline_safe]`: answered from a snapshot, without I/O, lock or spawn.
///
/// Two marks say what is looked at before the object of a call is: `#[flags("testDomainReset", 0)]` names the function for
/// messages and the flags that it knows, `#[first(check)]` a function from the arguments to a result, for what the driver
/// wants of them whatever they are about. Both are for methods that are given a resolved object.
///
/// A large implementation may stand in several modules. Each has `#[implements(part)] impl HypervisorDriver for X` with
/// its share of the methods, and the module above them has
/// `#[implements(parts(first, second))] impl HypervisorDriver for X {}`. Within parts the methods are the type's own:
/// one may call those of another. Signatures name types as the trait's do.
///
/// A part that several drivers have is `#[implements(shared(path::of::its::module))]` before
/// `impl<T: Bound> HypervisorDriver for T`; they name that path among their parts.
#[proc_macro_attribute]
pub fn implements(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    implements::expand(arguments.into(), item.into()).into()
}
