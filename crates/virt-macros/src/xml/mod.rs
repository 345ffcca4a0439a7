//! `derive(Xml)` and `derive(XmlEnum)`.
//!
//! [`options`] reads the `xml` attributes, [`field`] makes of each field a place in the element, [`read`] and
//! [`mod@write`] the code for it, [`element`] puts structs and unions together, [`words`] is for enums of words. The code made here is
//! calls into `virt_util::xml::{read, write}` and nothing else, because there is one copy of it per field of every
//! declaration.

mod element;
mod field;
mod options;
mod read;
mod words;
mod write;

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) use element::derive_element;
pub(crate) use words::derive_words;

/// The module that derived code calls.
fn runtime() -> TokenStream {
    quote!(::virt_util::xml)
}

/// `HostDevice` to `host-device`: the word of a variant or type that names none.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The doc comment: lines joined, leading blanks cut.
fn doc_of(attributes: &[syn::Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(meta) = &attribute.meta
            && meta.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) = &meta.value
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines.join("\n").trim().to_owned()
}
