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
