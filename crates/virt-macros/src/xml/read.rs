//! The code that reads one field.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result};

use super::field::{Field, Leaf, Pick, Shape};
use super::runtime;

impl Field {
    /// The base that numbers of a special form are read in.
    pub(super) fn number_base(&self) -> Result<Option<u32>> {
        Ok(match (&self.options.base, self.number_format()?) {
            (Some(base), _) => Some(base.base10_parse::<u32>()?),
            // libvirt prints with 0x and takes any notation.
            (None, Some((prefix, 16, _))) if prefix == "0x" => Some(0),
            (None, Some((_, radix, _))) => Some(radix),
            (None, None) if self.options.has_range() => Some(10),
            (None, None) => None,
        })
    }

    pub(super) fn parse_function(&self) -> Result<TokenStream> {
        let rt = runtime();
        let inner = &self.inner;
        if let Some(with) = &self.options.with {
            return Ok(quote!(#with::parse));
        }
        if self.options.on_off {
            return Ok(quote!(#rt::parse_on_off));
        }
        let base = self.number_base()?;
        if self.options.has_range() {
            let base = base.unwrap_or(10);
            let (min, max) = self.range();
            let zero = !self.options.nonzero;
            return Ok(
                quote!(|text| #rt::parse_integer_in::<#inner>(text, #base, (#min) as i128, (#max) as i128, #zero)),
            );
        }
        Ok(match base {
            Some(base) => quote!(|text| #rt::parse_integer::<#inner>(text, #base)),
            None => quote!(<#inner as #rt::XmlValue>::parse_value),
        })
    }

    /// An expression for the field's value; `element` is the expression of the element that holds the leaf.
    pub(super) fn read(&self, element: &TokenStream) -> Result<TokenStream> {
        let value = self.read_plain(element)?;
        let whole = &self.full;
        Ok(match self.is_single() {
            true => value,
            false => self.coded(element, quote!(#whole), value),
        })
    }

    /// Is it a part that occurs at most once and has no shape of its own?
    fn is_single(&self) -> bool {
        if self.options.skip {
            return false;
        }
        match (&self.leaf, self.shape) {
            (Leaf::Own | Leaf::Attributes, _) if self.options.with.is_some() => false,
            (Leaf::Attributes, _) | (Leaf::Own, Shape::Plain) => false,
            (Leaf::Child(_), Shape::Plain) => !self.is_flag() && !self.options.ghost,
            (Leaf::Child(_) | Leaf::Any, Shape::Vec) => false,
            _ => true,
        }
    }

    /// The code of errors in the field and whose they are, if the field says either.
    fn code(&self) -> Option<(TokenStream, TokenStream)> {
        let by = match &self.options.reported_by {
            Some(domain) => quote!(::core::option::Option::Some(#domain)),
            None => quote!(::core::option::Option::None),
        };
        match &self.options.code {
            Some(code) => Some((quote!(#code), by)),
            None if self.options.own || self.options.reported_by.is_some() => {
                Some((quote!(::virt_util::ErrorCode::XML_ERROR), by))
            }
            None => None,
        }
    }

    /// `value`, a `whole`, with the field's code for errors.
    fn coded(&self, element: &TokenStream, whole: TokenStream, value: TokenStream) -> TokenStream {
        let rt = runtime();
        match self.code() {
            Some((code, by)) => {
                quote!(#rt::read::coded::<#whole>(#element, cx, (#code, #by), |cx| ::core::result::Result::Ok(#value))?)
            }
            None => value,
        }
    }

    fn read_plain(&self, element: &TokenStream) -> Result<TokenStream> {
        let rt = runtime();
        let inner = &self.inner;
        if self.options.skip {
            return Ok(match &self.options.default {
                Some(Some(expr)) => quote!(#expr),
                _ => quote!(::core::default::Default::default()),
            });
        }
        let value = match (&self.leaf, self.shape) {
            (Leaf::Own | Leaf::Attributes, _) if self.options.with.is_some() => {
                let with = &self.options.with;
                quote!(#with::read(#element, cx)?)
            }
            (Leaf::Attributes, _) => return Err(Error::new_spanned(&self.ident, "`@*` needs `with`")),
            (Leaf::Own, Shape::Plain) => {
                let read = quote!(<#inner as #rt::XmlElement>::read(#element, cx)?);
                if self.boxed {
                    quote!(::std::boxed::Box::new(#read))
                } else {
                    read
                }
            }
            (Leaf::Child(name), Shape::Plain) if self.is_flag() => quote!(#element.child(#name).is_some()),
            (Leaf::Child(name), Shape::Plain) if self.options.ghost => {
                let child = self.pick.of(element, name);
                let read = quote!(<#inner as #rt::XmlElement>::read(#child, cx)?);
                if self.boxed {
                    quote!(::std::boxed::Box::new(#read))
                } else {
                    read
                }
            }
            (Leaf::Child(name), Shape::Vec) => match (&self.options.with, &self.uri) {
                (Some(with), _) => quote!(#rt::read::children_with(#element, cx, #name, #with::read)?),
                (None, Some(uri)) => {
                    let local = name.split_once(':').map_or("", |(_, local)| local);
                    quote!(#rt::read::children_in::<#inner>(#element, cx, #uri, #local)?)
                }
                (None, None) => quote!(#rt::read::children::<#inner>(#element, cx, #name)?),
            },
            (Leaf::Any, Shape::Vec) => quote!(#rt::read::known_children::<#inner>(#element, cx)?),
            _ => self.read_single(element)?,
        };
        let Some(condition) = self.flag_condition(&quote!(cx), true) else {
            return Ok(value);
        };
        let absent = match (&self.options.default, self.shape) {
            (Some(Some(expr)), _) => quote!(#expr),
            (None, Shape::Plain) if !self.is_flag() && !matches!(self.leaf, Leaf::Own | Leaf::Attributes) => {
                return Err(Error::new_spanned(
                    &self.ident,
                    "a field that is not always read is an Option or has a default",
                ));
            }
            _ => quote!(::core::default::Default::default()),
        };
        Ok(quote!(if #condition { #value } else { #absent }))
    }

    /// A leaf that occurs at most once.
    fn read_single(&self, element: &TokenStream) -> Result<TokenStream> {
        let rt = runtime();
        let inner = &self.inner;
        let (optional, at) = match &self.leaf {
            Leaf::Attribute(name) => {
                let parse = self.parse_function()?;
                let function = if self.options.nonempty {
                    quote!(attr_nonempty)
                } else {
                    quote!(attr)
                };
                (
                    quote!(#rt::read::#function::<#inner>(#element, cx, #name, #parse)?),
                    quote!(#rt::At::Attribute(#name)),
                )
            }
            Leaf::Text => {
                let parse = self.parse_function()?;
                (
                    quote!(#rt::read::text::<#inner>(#element, cx, #parse)?),
                    quote!(#rt::At::Text),
                )
            }
            Leaf::Child(name)
                if (self.pick != Pick::First || self.options.unless_empty) && self.uri.is_none() =>
            {
                let function = match self.pick {
                    Pick::First => quote!(first_child),
                    Pick::Joined => quote!(joined_child),
                    Pick::Last => quote!(last_child),
                };
                let how = match &self.options.with {
                    Some(with) if self.options.unless_empty => quote!((#rt::read::is_blank, #with::read)),
                    Some(with) => quote!((#rt::read::never_absent, #with::read)),
                    None => {
                        quote!((<#inner as #rt::XmlElement>::counts_as_absent, <#inner as #rt::XmlElement>::read))
                    }
                };
                (
                    quote!(#rt::read::#function::<#inner>(#element, cx, #name, #how)?),
                    quote!(#rt::At::Child(#name)),
                )
            }
            Leaf::Child(name) => {
                let read = match (&self.options.with, &self.uri) {
                    (Some(with), _) => {
                        quote!(#rt::read::child_with::<#inner>(#element, cx, #name, #with::read)?)
                    }
                    (None, Some(uri)) => {
                        let local = name.split_once(':').map_or("", |(_, local)| local);
                        let function = match self.pick {
                            Pick::Joined => quote!(joined_child_in),
                            _ => quote!(child_in),
                        };
                        quote!(#rt::read::#function::<#inner>(#element, cx, #uri, #local)?)
                    }
                    (None, None) => quote!(#rt::read::child::<#inner>(#element, cx, #name)?),
                };
                (read, quote!(#rt::At::Child(#name)))
            }
            Leaf::Any => (
                quote!(#rt::read::known_child::<#inner>(#element, cx)?),
                quote!(#rt::At::Child("*")),
            ),
            Leaf::Own | Leaf::Attributes => (
                quote!(#rt::read::flattened::<#inner>(#element, cx)?),
                quote!(#rt::At::Text),
            ),
        };
        let optional = match (&self.leaf, &self.options.sole) {
            (Leaf::Child(name), Some(code)) => {
                let code = match code {
                    Some(code) => quote!(#code),
                    None => quote!(::virt_util::ErrorCode::XML_ERROR),
                };
                quote!({ #rt::read::sole(#element, cx, #name, #code)?; #optional })
            }
            _ => optional,
        };
        let optional = if self.options.expected {
            quote!(#rt::read::expected(#element, #at, #optional)?)
        } else {
            optional
        };
        let optional = self.coded(element, quote!(::core::option::Option<#inner>), optional);
        let optional = if self.boxed {
            quote!(#optional.map(::std::boxed::Box::new))
        } else {
            optional
        };
        Ok(match (self.shape, &self.options.default) {
            (Shape::Plain, Some(Some(expr))) => quote!(match #optional {
                ::core::option::Option::Some(value) => value,
                ::core::option::Option::None => #expr,
            }),
            (Shape::Plain, Some(None)) => quote!(#optional.unwrap_or_default()),
            (Shape::Plain, None) => {
                let required = quote!(#rt::read::required_in(cx, #element, #at, value));
                let required = match (&self.options.missing, self.code()) {
                    (Some(code), _) => {
                        quote!(#required.map_err(|error| #rt::recoded(error, #element, #code))?)
                    }
                    (None, Some((code, by))) => {
                        quote!(#rt::read::coded(#element, cx, (#code, #by), |cx| #required)?)
                    }
                    (None, None) => quote!(#required?),
                };
                quote!({ let value = #optional; #required })
            }
            (_, Some(Some(expr))) => quote!(#optional.or_else(|| #expr)),
            _ => optional,
        })
    }
}
