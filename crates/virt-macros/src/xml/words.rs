//! `derive(XmlEnum)`: enums of words.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use super::options::VariantOptions;
use super::{kebab, runtime};

pub(crate) fn derive_words(input: DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "XmlEnum is for enums"));
    };
    let rt = runtime();
    let name = &input.ident;
    let mut all_words = Vec::new();
    let (mut all, mut words, mut table, mut arms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut default = String::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(
                variant,
                "the variants of an XmlEnum have no fields; use derive(Xml) for a union",
            ));
        }
        let options = VariantOptions::parse(&variant.attrs)?;
        let ident = &variant.ident;
        let word = options
            .word
            .map_or_else(|| kebab(&ident.to_string()), |word| word.value());
        all_words.push(word.clone());
        all.push(quote!(#name::#ident));
        arms.push(quote!(#name::#ident => #word));
        if options.absent {
            continue;
        }
        table.push(quote!((#word, #name::#ident)));
        if variant
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("default"))
        {
            default.clone_from(&word);
        }
        words.push(word);
        for alias in options.aliases {
            table.push(quote!((#alias, #name::#ident)));
        }
    }
    // Hardly any word holds a character that must be escaped.
    let plain = all_words
        .iter()
        .all(|word| !word.contains(['&', '<', '>', '\'', '"']));
    let format = if plain {
        quote!(out.push_str(self.as_str());)
    } else {
        quote!(#rt::escape_into(out, self.as_str());)
    };
    Ok(quote! {
        impl #name {
            /// All values, in the order of their declaration.
            pub const ALL: &'static [#name] = &[#(#all),*];
            /// The words that XML may hold.
            pub const WORDS: &'static [&'static str] = &[#(#words),*];

            /// The word for this value.
            pub const fn as_str(self) -> &'static str {
                match self { #(#arms),* }
            }

            /// The value for a word.
            pub fn from_word(word: &str) -> ::core::option::Option<#name> {
                <#name as #rt::XmlValue>::parse_value(word).ok()
            }
        }

        impl #rt::XmlValue for #name {
            const SCHEMA: #rt::schema::ValueSchema = #rt::schema::ValueSchema::Words(#name::WORDS);
            const DEFAULT: &'static str = #default;

            fn parse_value(text: &str) -> ::core::result::Result<Self, #rt::ValueError> {
                const TABLE: &[(&str, #name)] = &[#(#table),*];
                #rt::find_word(text, TABLE, #name::WORDS)
            }

            fn format_value(&self, out: &mut ::std::string::String) {
                #format
            }
        }

        impl #rt::serde::Serialize for #name {
            fn serialize<S: #rt::serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> #rt::serde::Deserialize<'de> for #name {
            fn deserialize<D: #rt::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                #rt::deserialize_value(deserializer)
            }
        }

        impl ::core::fmt::Display for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.as_str())
            }
        }
    })
}
