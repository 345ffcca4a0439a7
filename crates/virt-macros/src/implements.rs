//! `#[virt_api::implements]`: records which methods of a driver trait were written, and puts a large implementation
//! together from parts that stand in modules of their own.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Error, Expr, FnArg, GenericParam, ImplItem, ImplItemFn, ItemImpl, Path, Result, Token, Type,
    parenthesized, parse_quote, parse2,
};

/// The marker of methods that may run on an I/O thread.
const INLINE_SAFE: &str = "inline_safe";
/// The marker that names the function that looks at the arguments before the object is found:
/// `#[first(known_parameters)]`.
const FIRST: &str = "first";
/// The marker that says which flags a method knows: `#[flags("testDomainReboot", DomainRebootFlags::all().bits())]`.
const FLAGS: &str = "flags";

/// What stands behind `implements`.
enum Arguments {
    /// Nothing: the block is the whole implementation.
    Whole,
    /// `part`: the block is one part.
    Part,
    /// `shared(path)`: the block is a part for several drivers, in the module of this path.
    Shared(Path),
    /// `parts(a, b)`: the implementation is what the block has and what these modules have.
    Parts(Vec<Path>),
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self::Whole);
        }
        let word: Ident = input.parse()?;
        if word == "part" && input.is_empty() {
            return Ok(Self::Part);
        }
        if word == "parts" && input.peek(syn::token::Paren) {
            let modules;
            parenthesized!(modules in input);
            let modules = Punctuated::<Path, Token![,]>::parse_terminated(&modules)?;
            return Ok(Self::Parts(modules.into_iter().collect()));
        }
        if word == "shared" && input.peek(syn::token::Paren) {
            let module;
            parenthesized!(module in input);
            return Ok(Self::Shared(module.parse()?));
        }
        Err(Error::new(
            word.span(),
            "`implements` stands alone, as `implements(part)`, as `implements(parts(module, …))`, or as `implements(shared(path))`",
        ))
    }
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    implements(arguments, item.clone()).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        quote! { #error #item }
    })
}

fn implements(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = parse2(arguments)?;
    let mut block: ItemImpl = parse2(item)?;
    if block.trait_.is_none() {
        return Err(Error::new(
            block.self_ty.span(),
            "`implements` stands before the implementation of a driver trait: `impl HypervisorDriver for X`",
        ));
    }
    let entries = entries(&mut block)?;
    match arguments {
        Arguments::Whole => {
            let count = entries.len();
            block.items.push(implemented_methods(&quote! {
                const ALL: [::virt_api::driver::MethodEntry; #count] =
                    ::virt_api::driver::MethodEntry::join(&[&[#(#entries),*]]);
                &ALL
            }));
            Ok(quote! { #block })
        }
        Arguments::Part => part(block, &entries),
        Arguments::Shared(module) => shared(block, &entries, &module),
        Arguments::Parts(modules) => Ok(whole(block, &entries, &modules)),
    }
}

/// What is recorded of each method, whose mark is taken away.
fn entries(block: &mut ItemImpl) -> Result<Vec<TokenStream>> {
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
        refuse_useless_marks(method)?;
        let flags = known_flags(method)?;
        let first = first(method)?;
        let name = method.sig.ident.to_string();
        if name == "implemented_methods" {
            return Err(Error::new(
                method.sig.ident.span(),
                "`implements` writes this method itself",
            ));
        }
        entries.push(quote_spanned! { method.sig.ident.span() =>
            ::virt_api::driver::MethodEntry { name: #name, inline_safe: #inline_safe, flags: #flags, first: #first }
        });
    }
    Ok(entries)
}

/// What is looked at before the object is looked at by nobody where there is no object.
fn refuse_useless_marks(method: &ImplItemFn) -> Result<()> {
    let has_object = method.sig.inputs.iter().any(|input| match input {
        FnArg::Typed(argument) => matches!(argument.ty.as_ref(), Type::Path(ty)
            if ty.path.segments.last().is_some_and(|last| last.ident == "Resolved")),
        FnArg::Receiver(_) => false,
    });
    let mut marks = method
        .attrs
        .iter()
        .filter(|attribute| [FLAGS, FIRST].iter().any(|mark| attribute.path().is_ident(mark)));
    match marks.next() {
        Some(mark) if !has_object => Err(Error::new(
            mark.span(),
            "the method is given no resolved object: it has to look at its arguments itself",
        )),
        _ => Ok(()),
    }
}

/// The flags that a method is marked with; the mark is taken away.
fn known_flags(method: &mut ImplItemFn) -> Result<TokenStream> {
    let Some(at) = method
        .attrs
        .iter()
        .position(|attribute| attribute.path().is_ident(FLAGS))
    else {
        return Ok(quote! { ::core::option::Option::None });
    };
    let mark = method.attrs.remove(at);
    let words = mark.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated)?;
    let mut words = words.into_iter();
    let (Some(function), Some(bits), None) = (words.next(), words.next(), words.next()) else {
        return Err(Error::new(
            mark.span(),
            "what messages call the method, and the flags that it knows: `#[flags(\"testDomainReset\", 0)]`",
        ));
    };
    Ok(quote! {
        ::core::option::Option::Some(::virt_api::driver::KnownFlags { function: #function, bits: #bits })
    })
}

/// The function that a method is marked with; the mark is taken away.
fn first(method: &mut ImplItemFn) -> Result<TokenStream> {
    let Some(at) = method
        .attrs
        .iter()
        .position(|attribute| attribute.path().is_ident(FIRST))
    else {
        return Ok(quote! { ::core::option::Option::None });
    };
    let function: Path = method.attrs.remove(at).parse_args()?;
    Ok(quote! {
        ::core::option::Option::Some(|bytes| #function(&::virt_api::driver::arguments(bytes)?))
    })
}

fn implemented_methods(list: &TokenStream) -> ImplItem {
    parse_quote! {
        fn implemented_methods(&self) -> &'static [::virt_api::driver::MethodEntry] {
            #list
        }
    }
}

/// A part: methods of the type itself, their record `METHODS`, and the macro `methods` with which the whole calls them.
fn part(mut block: ItemImpl, entries: &[TokenStream]) -> Result<TokenStream> {
    let of = block.trait_.take().map(|(path, _)| path);
    let ty = &block.self_ty;
    let belongs = quote! {
        const _: fn() = || {
            fn implements<T: #of>() {}
            implements::<#ty>();
        };
    };
    block.attrs.push(parse_quote! {
        #[allow(clippy::too_many_arguments, reason = "the arguments are those of the procedures")]
    });
    let mut calls = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else {
            return Err(Error::new(item.span(), "a part has methods only"));
        };
        calls.push(call(method, &quote!(Self)));
        method.vis = parse_quote!(pub(super));
    }
    let count = entries.len();
    Ok(quote! {
        #block
        #belongs

        /// The methods of this part.
        pub(super) const METHODS: [::virt_api::driver::MethodEntry; #count] = [#(#entries),*];

        macro_rules! methods {
            () => { #(#calls)* };
        }
        pub(super) use methods;
    })
}

/// A part for whatever type has the bounds of the block's one parameter: methods of a trait of its own.
fn shared(block: ItemImpl, entries: &[TokenStream], module: &Path) -> Result<TokenStream> {
    let bounds = match block.generics.params.first() {
        Some(GenericParam::Type(driver)) if block.generics.params.len() == 1 => &driver.bounds,
        _ => {
            return Err(Error::new(
                block.self_ty.span(),
                "a shared part is for any driver: `impl<T: Bound> HypervisorDriver for T`",
            ));
        }
    };
    let mut calls = Vec::new();
    for item in &block.items {
        let ImplItem::Fn(method) = item else {
            return Err(Error::new(item.span(), "a part has methods only"));
        };
        calls.push(call(method, &quote!(<Self as #module::Methods>)));
    }
    let (methods, count) = (&block.items, entries.len());
    let names: Vec<String> = module
        .segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect();
    let list = format_ident!("__{}_methods", names.join("_"));
    Ok(quote! {
        #[doc(hidden)]
        #[allow(clippy::too_many_arguments, reason = "the arguments are those of the procedures")]
        pub trait Methods: #bounds {
            #(#methods)*
        }

        impl<T: #bounds> Methods for T {}

        #[doc(hidden)]
        pub const METHODS: [::virt_api::driver::MethodEntry; #count] = [#(#entries),*];

        #[doc(hidden)]
        #[macro_export]
        macro_rules! #list {
            () => { #(#calls)* };
        }
        #[doc(hidden)]
        pub use #list as methods;
    })
}

/// The trait's method that calls the one of the part, which is one of `of`.
fn call(method: &ImplItemFn, of: &TokenStream) -> TokenStream {
    let mut signature = method.sig.clone();
    let name = &method.sig.ident;
    let mut arguments = Vec::new();
    for (at, input) in signature.inputs.iter_mut().enumerate() {
        match input {
            FnArg::Receiver(receiver) => arguments.push(Ident::new("self", receiver.self_token.span())),
            FnArg::Typed(typed) => {
                let argument = format_ident!("argument_{at}", span = Span::call_site());
                *typed.pat = parse_quote!(#argument);
                arguments.push(argument);
            }
        }
    }
    quote! {
        #signature {
            #of::#name(#(#arguments),*)
        }
    }
}

/// The implementation of the trait. It stands in a scope of its own in which the names of all signatures are known.
fn whole(mut block: ItemImpl, entries: &[TokenStream], modules: &[Path]) -> TokenStream {
    for module in modules {
        block.items.push(parse_quote! { #module::methods!(); });
    }
    let own = entries.len();
    block.items.push(implemented_methods(&quote! {
        const OWN: [::virt_api::driver::MethodEntry; #own] = [#(#entries),*];
        const ALL: [::virt_api::driver::MethodEntry; #own #(+ #modules::METHODS.len())*] =
            ::virt_api::driver::MethodEntry::join(&[&OWN #(, &#modules::METHODS)*]);
        &ALL
    }));
    quote! {
        const _: () = {
            #[allow(unused_imports, reason = "no driver has all methods")]
            use ::virt_api::driver::signatures::*;

            #block
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).to_string()
    }

    #[test]
    fn methods_and_their_marks_are_recorded() {
        let expanded = expanded(
            TokenStream::new(),
            quote! {
                impl HypervisorDriver for X {
                    #[inline_safe]
                    fn a(&self) {}
                    fn b(&self) {}
                }
            },
        );
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
    fn what_is_looked_at_before_objects_is_recorded() {
        let expanded = expanded(
            TokenStream::new(),
            quote! {
                impl HypervisorDriver for X {
                    #[flags("testA", 3)]
                    #[first(known)]
                    fn a(&self, domain: Resolved<Domain>) {}
                    fn b(&self) {}
                }
            },
        );
        assert!(
            expanded.contains("KnownFlags { function : \"testA\" , bits : 3 }"),
            "{expanded}"
        );
        assert!(
            expanded.contains("known (& :: virt_api :: driver :: arguments (bytes) ?)"),
            "{expanded}"
        );
        assert!(
            expanded.contains("flags : :: core :: option :: Option :: None"),
            "{expanded}"
        );
        assert!(
            !expanded.contains("# [flags") && !expanded.contains("# [first"),
            "{expanded}"
        );
    }

    #[test]
    fn a_mark_that_nobody_looks_at_is_refused() {
        for mark in [quote!(#[flags("testA", 3)]), quote!(#[first(known)])] {
            let item = quote! {
                impl HypervisorDriver for X {
                    #mark
                    fn a(&self, cx: &mut CallContext<'_>, flags: u32) {}
                }
            };
            let expanded = expanded(TokenStream::new(), item);
            assert!(expanded.contains("is given no resolved object"), "{expanded}");
        }
    }

    #[test]
    fn a_part_is_methods_of_the_type_and_calls_of_them() {
        let expanded = expanded(
            quote!(part),
            quote! {
                impl HypervisorDriver for X {
                    #[inline_safe]
                    fn a(&self, _: &mut CallContext<'_>, mut id: i32) -> Result<()> { Ok(()) }
                }
            },
        );
        assert!(expanded.contains("impl X"), "{expanded}");
        assert!(
            expanded.contains("Self :: a (self , argument_1 , argument_2)"),
            "{expanded}"
        );
        assert!(
            expanded.contains("name : \"a\" , inline_safe : true"),
            "{expanded}"
        );
    }

    #[test]
    fn a_shared_part_is_a_trait() {
        let expanded = expanded(
            quote!(shared(virt_api::guests)),
            quote! {
                impl<T: Guests> HypervisorDriver for T {
                    fn a(&self) {}
                }
            },
        );
        assert!(expanded.contains("pub trait Methods : Guests"), "{expanded}");
        assert!(
            expanded.contains("< Self as virt_api :: guests :: Methods > :: a (self)"),
            "{expanded}"
        );
        assert!(
            expanded.contains("pub use __virt_api_guests_methods as methods"),
            "{expanded}"
        );
    }

    #[test]
    fn a_whole_has_the_methods_of_its_parts() {
        let expanded = expanded(quote!(parts(a, b)), quote! { impl HypervisorDriver for X {} });
        assert!(
            expanded.contains("a :: methods ! () ; b :: methods ! () ;"),
            "{expanded}"
        );
        assert!(
            expanded.contains("0usize + a :: METHODS . len () + b :: METHODS . len ()"),
            "{expanded}"
        );
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        let inherent = quote! { impl X { fn a(&self) {} } };
        assert!(expanded(TokenStream::new(), inherent).contains("compile_error"));
        let block = quote! { impl HypervisorDriver for X {} };
        for arguments in [
            quote!(pieces),
            quote!(part of),
            quote!(parts),
            quote!(shared(virt_api::guests)),
        ] {
            assert!(expanded(arguments, block.clone()).contains("compile_error"));
        }
        let bare = quote! { impl HypervisorDriver for X { #[flags("testA")] fn a(&self) {} } };
        assert!(expanded(TokenStream::new(), bare).contains("compile_error"));
        let constant = quote! { impl HypervisorDriver for X { const A: u8 = 1; } };
        assert!(expanded(quote!(part), constant).contains("compile_error"));
    }
}
