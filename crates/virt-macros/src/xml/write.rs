//! The code that writes one field, and what the schema says of it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Result;

use super::field::{Field, Leaf, Shape};
use super::runtime;

/// An attribute's name with all that stands before its value.
pub(super) fn lead(name: &str) -> String {
    format!(" {name}='")
}

/// When a field is written.
pub(super) enum Presence {
    Always,
    If(TokenStream),
}

impl Field {
    /// Is there something to write while the start tag of the leaf's element is open?
    pub(super) fn has_attribute_part(&self) -> bool {
        if self.options.skip {
            return false;
        }
        match self.leaf {
            Leaf::Attribute(_) | Leaf::Attributes => true,
            Leaf::Own => self.options.with.is_none(),
            Leaf::Child(_) => self.options.union,
            _ => false,
        }
    }

    /// Is there something to write between the tags of the leaf's element?
    pub(super) fn has_content_part(&self) -> bool {
        !self.options.skip && !matches!(self.leaf, Leaf::Attribute(_) | Leaf::Attributes)
    }

    pub(super) fn guarded(&self, write: TokenStream) -> TokenStream {
        let full = &self.full;
        let write = match &self.options.write_as {
            Some(expr) if !write.is_empty() => quote!({ let written: #full = #expr; #write }),
            _ => write,
        };
        // What stands in for the field may be something even where the field is nothing.
        let said = self.rare.clone().filter(|_| self.options.write_as.is_none());
        match (self.flag_condition(&quote!(w), false), said) {
            (Some(condition), Some(said)) => quote!(if #said && #condition { #write }),
            (Some(condition), None) | (None, Some(condition)) => quote!(if #condition { #write }),
            (None, None) => write,
        }
    }

    /// When exactly something of the field is written; `None` if that is only known by writing it.
    pub(super) fn presence(&self) -> Option<Presence> {
        let options = &self.options;
        let certain = match (&self.leaf, self.shape) {
            (Leaf::Attribute(_), _) => true,
            (Leaf::Child(_), Shape::Option | Shape::Vec) => !options.omit_empty,
            (Leaf::Child(_), Shape::Plain) => self.is_flag(),
            _ => false,
        };
        if !certain || options.write_as.is_some() || options.skip {
            return None;
        }
        let access = &self.access;
        let full = &self.full;
        let value = match (self.shape, &options.default) {
            (Shape::Option, _) => Some(quote!(#access.is_some())),
            (Shape::Vec, _) => Some(quote!(!#access.is_empty())),
            (Shape::Plain, _) if self.is_flag() => Some(quote!(*#access)),
            (Shape::Plain, None) => None,
            (Shape::Plain, Some(_)) if options.always => None,
            (Shape::Plain, Some(None)) => {
                Some(quote!(*#access != <#full as ::core::default::Default>::default()))
            }
            (Shape::Plain, Some(Some(expr))) => Some(quote!(*#access != #expr)),
        };
        Some(match (value, self.flag_condition(&quote!(w), false)) {
            (None, None) => Presence::Always,
            (Some(one), None) | (None, Some(one)) => Presence::If(one),
            (Some(value), Some(flags)) => Presence::If(quote!((#flags && #value))),
        })
    }

    /// Runs `write` unless the value is the default one.
    pub(super) fn unless_default(&self, write: TokenStream) -> TokenStream {
        let access = &self.access;
        let full = &self.full;
        match &self.options.default {
            None => write,
            Some(_) if self.options.always || self.shape != Shape::Plain => write,
            Some(None) => quote!(if *#access != <#full as ::core::default::Default>::default() { #write }),
            Some(Some(expr)) => quote!(if *#access != #expr { #write }),
        }
    }

    /// For each value there is: `body` with `value` bound to a reference.
    pub(super) fn each(&self, body: TokenStream) -> TokenStream {
        let access = &self.access;
        let value = if self.boxed {
            quote!(&**value)
        } else {
            quote!(value)
        };
        match self.shape {
            Shape::Plain => quote!({ let value = #access; let value = #value; #body }),
            Shape::Option => {
                quote!(if let ::core::option::Option::Some(value) = #access { let value = #value; #body })
            }
            Shape::Vec => quote!(for value in #access { let value = #value; #body }),
        }
    }

    /// Statements that write the attribute, its lead written out, by one of two functions: one for a value that is there,
    /// one for a value that may be.
    fn write_led(&self, lead: &str, one: TokenStream, optional: TokenStream) -> Result<TokenStream> {
        let rt = runtime();
        let access = &self.access;
        let format = self.format_function()?;
        let inner = &self.inner;
        Ok(match (self.shape, self.boxed) {
            (Shape::Option, false) => {
                quote!(#rt::write::#optional::<#inner>(w, #lead, #access, #format);)
            }
            (Shape::Plain, false) => {
                self.unless_default(quote!(#rt::write::#one::<#inner>(w, #lead, #access, #format);))
            }
            _ => self.each(quote!(#rt::write::#one::<#inner>(w, #lead, value, #format);)),
        })
    }

    /// Statements that write the child `step` of which the field is the only attribute and all there is; `None` if it is
    /// something else.
    pub(super) fn write_leaf(&self, step: &str) -> Result<Option<TokenStream>> {
        let Leaf::Attribute(name) = &self.leaf else {
            return Ok(None);
        };
        let write = self.write_led(
            &format!("{step}{}", lead(name)),
            quote!(leaf_led),
            quote!(leaf_led_optional),
        )?;
        Ok(Some(self.guarded(write)))
    }

    /// Statements that write attributes of the leaf's element.
    pub(super) fn write_attribute_part(&self) -> Result<TokenStream> {
        let rt = runtime();
        let access = &self.access;
        let write = match &self.leaf {
            Leaf::Attribute(name) => {
                self.write_led(&lead(name), quote!(attr_led), quote!(attr_led_optional))?
            }
            Leaf::Attributes => {
                let with = &self.options.with;
                quote!(#with::write(#access, w);)
            }
            Leaf::Own => self.each(quote!(#rt::XmlElement::write_attributes(value, w);)),
            Leaf::Child(_) => self.each(quote!(#rt::XmlElement::write_parent_attributes(value, w);)),
            Leaf::Text | Leaf::Any => TokenStream::new(),
        };
        Ok(self.guarded(write))
    }

    /// Statements that write the content of the leaf's element.
    pub(super) fn write_content_part(&self) -> Result<TokenStream> {
        let rt = runtime();
        let access = &self.access;
        let inner = &self.inner;
        let write = match &self.leaf {
            Leaf::Text => {
                let format = self.format_function()?;
                match (self.shape, self.boxed) {
                    (Shape::Option, false) => {
                        quote!(#rt::write::text_optional::<#inner>(w, #access, #format);)
                    }
                    _ => {
                        self.unless_default(self.each(quote!(#rt::write::text::<#inner>(w, value, #format);)))
                    }
                }
            }
            Leaf::Child(name) if self.is_flag() => quote!(#rt::write::flag(w, #name, *#access);),
            Leaf::Child(name) => match (&self.options.with, self.shape, self.boxed) {
                (Some(with), ..) => self.unless_default(self.each(quote!(#with::write(value, w, #name);))),
                (None, Shape::Option, false) if self.options.omit_empty => {
                    quote!(#rt::write::child_nonempty::<#inner>(w, #name, #access);)
                }
                (None, Shape::Option, false) => {
                    quote!(#rt::write::child_optional::<#inner>(w, #name, #access);)
                }
                (None, Shape::Vec, false) if !self.options.omit_empty => {
                    quote!(#rt::write::children::<#inner>(w, #name, #access);)
                }
                (None, shape, _) => {
                    let keep = match shape {
                        Shape::Plain => self.options.keep_empty,
                        _ => !self.options.omit_empty,
                    };
                    let function = if keep {
                        quote!(write)
                    } else {
                        quote!(write_nonempty)
                    };
                    self.unless_default(self.each(quote!(#rt::XmlElement::#function(value, w, #name);)))
                }
            },
            Leaf::Any => {
                self.each(quote!(#rt::XmlElement::write(value, w, <#inner as #rt::XmlElement>::NAME);))
            }
            Leaf::Own => match &self.options.with {
                Some(with) => quote!(#with::write(#access, w);),
                None => self.each(quote!(#rt::XmlElement::write_content(value, w);)),
            },
            Leaf::Attribute(_) | Leaf::Attributes => TokenStream::new(),
        };
        Ok(self.guarded(write))
    }

    /// For a namespaced child: an expression that is true if something of it will be written.
    pub(super) fn is_written(&self) -> Option<TokenStream> {
        let access = &self.access;
        match self.shape {
            Shape::Plain => None,
            Shape::Option => Some(quote!(#access.is_some())),
            Shape::Vec => Some(quote!(!#access.is_empty())),
        }
    }

    pub(super) fn schema(&self) -> Result<TokenStream> {
        let rt = runtime();
        let name = match &self.options.called {
            Some(name) => name.value(),
            None => self.ident.to_string(),
        };
        let name = name.trim_start_matches("r#");
        let doc = &self.doc;
        let described = self.options.described.is_some() || self.options.shape.is_some();
        let mut path = self.wrappers.join("/");
        match &self.leaf {
            Leaf::Attribute(name) => path = format!("{path}@{name}"),
            Leaf::Attributes if !described => path.push_str("@*"),
            leaf => {
                let last = match leaf {
                    Leaf::Text => "text()",
                    Leaf::Any => "*",
                    Leaf::Own | Leaf::Attributes => ".",
                    Leaf::Child(name) => name,
                    Leaf::Attribute(_) => "",
                };
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(last);
            }
        }
        let (only, unless) = (Self::flags(&self.options.only), Self::flags(&self.options.unless));
        if !self.options.reads.is_empty() {
            let wrappers = self.wrappers.join("/");
            let each = self.options.reads.iter().map(|reads| {
                let of = reads.of.as_ref();
                let reads = reads.path.value();
                let path = if wrappers.is_empty() || reads.starts_with('@') {
                    format!("{wrappers}{reads}")
                } else {
                    format!("{wrappers}/{reads}")
                };
                let kind = match (of, reads.contains('@')) {
                    (Some(of), true) => quote!(Value(<#of as #rt::XmlValue>::SCHEMA)),
                    (Some(of), false) => quote!(Element(<#of as #rt::XmlElement>::schema)),
                    (None, true) => quote!(Value(#rt::schema::ValueSchema::Text)),
                    (None, false) => quote!(Opaque),
                };
                quote!(#rt::schema::FieldSchema {
                    path: #path,
                    field: #name,
                    doc: #doc,
                    kind: #rt::schema::Kind::#kind,
                    only: #only,
                    unless: #unless,
                    ..#rt::schema::FieldSchema::UNSAID
                })
            });
            return Ok(quote!(#(#each),*));
        }
        let occurs = match self.shape {
            Shape::Vec => quote!(Repeated),
            Shape::Option => quote!(Optional),
            Shape::Plain if self.options.default.is_some() || self.options.ghost || self.is_flag() => {
                quote!(Optional)
            }
            Shape::Plain => quote!(Required),
        };
        let kind = self.schema_kind()?;
        let default = self.schema_default();
        let namespace = match &self.uri {
            Some(uri) => quote!(#uri),
            None => quote!(""),
        };
        Ok(quote!(#rt::schema::FieldSchema {
            path: #path,
            field: #name,
            doc: #doc,
            occurs: #rt::schema::Occurs::#occurs,
            kind: #rt::schema::Kind::#kind,
            default: #default,
            only: #only,
            unless: #unless,
            namespace: #namespace,
        }))
    }

    /// What the field is, behind `Kind::`.
    fn schema_kind(&self) -> Result<TokenStream> {
        let rt = runtime();
        let inner = &self.inner;
        let value_leaf = matches!(self.leaf, Leaf::Attribute(_) | Leaf::Text);
        Ok(if self.is_flag() {
            quote!(Flag)
        } else if let Some(described) = &self.options.described {
            if value_leaf {
                quote!(Value(<#described as #rt::XmlValue>::SCHEMA))
            } else {
                quote!(Element(<#described as #rt::XmlElement>::schema))
            }
        } else if let Some(shape) = &self.options.shape {
            quote!(Element(#shape))
        } else if self.options.with.is_some() || self.options.opaque {
            if value_leaf {
                quote!(Value(#rt::schema::ValueSchema::Text))
            } else {
                quote!(Opaque)
            }
        } else if self.options.on_off {
            quote!(Value(#rt::schema::ValueSchema::Switch(&["on", "off"])))
        } else if let Some(base) = self.number_base()? {
            let (min, max) = self.range();
            let min = match (&self.options.min, self.options.nonzero) {
                // Of numbers without a sign, 1 is then the smallest.
                (None, true) => quote!(if #min == 0 { 1 } else { #min }),
                _ => min,
            };
            quote!(Value(#rt::schema::ValueSchema::Integer {
                min: (#min) as i64,
                max: (#max) as u64,
                base: #base,
            }))
        } else if value_leaf {
            quote!(Value(<#inner as #rt::XmlValue>::SCHEMA))
        } else {
            quote!(Element(<#inner as #rt::XmlElement>::schema))
        })
    }

    /// The text that absence stands for.
    fn schema_default(&self) -> TokenStream {
        let rt = runtime();
        let inner = &self.inner;
        let value_leaf = matches!(self.leaf, Leaf::Attribute(_) | Leaf::Text);
        if self.shape != Shape::Plain || self.is_flag() {
            return quote!("");
        }
        match &self.options.default {
            Some(None) if value_leaf && self.options.with.is_none() && !self.options.on_off => {
                quote!(<#inner as #rt::XmlValue>::DEFAULT)
            }
            Some(None) if self.options.on_off => quote!("off"),
            Some(Some(syn::Expr::Lit(literal))) => match &literal.lit {
                syn::Lit::Int(number) => {
                    let text = number.base10_digits();
                    quote!(#text)
                }
                syn::Lit::Bool(value) => {
                    let text = match (value.value, self.options.on_off) {
                        (true, true) => "on",
                        (true, false) => "yes",
                        (false, true) => "off",
                        (false, false) => "no",
                    };
                    quote!(#text)
                }
                syn::Lit::Str(text) => quote!(#text),
                _ => quote!(""),
            },
            // `Word::Variant` of an enum of words.
            Some(Some(syn::Expr::Path(word))) if self.is_word_of_type(&word.path) => quote!(#word.as_str()),
            _ => quote!(""),
        }
    }

    /// Is `path` a variant `Name::Variant` of the field's type?
    fn is_word_of_type(&self, path: &syn::Path) -> bool {
        let syn::Type::Path(of) = &self.inner else {
            return false;
        };
        let (Some(name), Some(variant)) = (of.path.segments.last(), path.segments.last()) else {
            return false;
        };
        let leads = path.segments.iter().rev().nth(1).map(|segment| &segment.ident);
        let first = |ident: &syn::Ident| ident.to_string().chars().next().unwrap_or(' ');
        leads == Some(&name.ident)
            && first(&name.ident).is_ascii_uppercase()
            && variant.ident.to_string().chars().any(|c| c.is_ascii_lowercase())
            && first(&variant.ident).is_ascii_uppercase()
    }
}
