//! `#[virt_api::implements]`: records which methods of a driver trait were written.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ItemImpl, Result, parse_quote, parse2};

/// The marker of methods that may run on an I/O thread.
const INLINE_SAFE: &str = "inline_safe";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    implements(arguments, item.clone()).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        quote! { #error #item }
    })
}

fn implements(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new(arguments.span(), "`implements` takes no arguments"));
    }
    let mut block: ItemImpl = parse2(item)?;
    if block.trait_.is_none() {
        return Err(Error::new(
            block.self_ty.span(),
            "`implements` stands before the implementation of a driver trait: `impl HypervisorDriver for X`",
        ));
    }
    let mut entries = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else {
            continue;
        };
        let before = method.attrs.len();
        method
            .attrs
            .retain(|attribute| !attribute.path().is_ident(INLINE_SAFE));
        let inline_safe = method.attrs.len() != before;
        let name = method.sig.ident.to_string();
        if name == "implemented_methods" {
            return Err(Error::new(
                method.sig.ident.span(),
                "`implements` writes this method itself",
            ));
        }
        entries.push(quote_spanned! { method.sig.ident.span() =>
            ::virt_api::driver::MethodEntry { name: #name, inline_safe: #inline_safe }
        });
    }
    block.items.push(parse_quote! {
        fn implemented_methods(&self) -> &'static [::virt_api::driver::MethodEntry] {
            &[#(#entries),*]
        }
    });
    Ok(quote! { #block })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_their_marks_are_recorded() {
        let expanded = expand(
            TokenStream::new(),
            quote! {
                impl HypervisorDriver for X {
                    #[inline_safe]
                    fn a(&self) {}
                    fn b(&self) {}
                }
            },
        )
        .to_string();
        assert!(!expanded.contains("# [inline_safe]"), "{expanded}");
        assert!(
            expanded.contains("name : \"a\" , inline_safe : true"),
            "{expanded}"
        );
        assert!(
            expanded.contains("name : \"b\" , inline_safe : false"),
            "{expanded}"
        );
    }

    #[test]
    fn an_inherent_impl_is_refused() {
        let expanded = expand(TokenStream::new(), quote! { impl X { fn a(&self) {} } }).to_string();
        assert!(expanded.contains("compile_error"), "{expanded}");
    }
}
