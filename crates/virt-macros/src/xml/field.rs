//! One field: where it is in the element, and the code that reads and writes it.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, Expr, GenericArgument, Ident, PathArguments, Result, Type};

use super::options::{FieldOptions, TypeOptions};
use super::{doc_of, runtime};

/// The last part of a path.
#[derive(Clone, PartialEq)]
pub(super) enum Leaf {
    /// `@name`
    Attribute(String),
    /// `@*`: hand-written code for attributes.
    Attributes,
    /// `text()`
    Text,
    /// `name`
    Child(String),
    /// `*`: children that the type knows by name.
    Any,
    /// `.` or `flatten`: the element itself.
    Own,
}

/// How a Rust type stands for "absent" and "many".
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Plain,
    Option,
    Vec,
}

pub(super) struct Field {
    pub ident: Ident,
    pub doc: String,
    /// Children that lie between the element and the leaf.
    pub wrappers: Vec<String>,
    pub leaf: Leaf,
    pub shape: Shape,
    /// The type inside `Option`, `Vec` and `Box`.
    pub inner: Type,
    pub full: Type,
    pub boxed: bool,
    pub options: FieldOptions,
    /// An expression that gives a reference to the value.
    pub access: TokenStream,
    /// The namespace of a `prefix:name` leaf.
    pub uri: Option<Expr>,
}

/// `Name<Inner>` to `Inner`.
fn inside<'t>(ty: &'t Type, name: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("bool"))
}

fn split_path(text: &str) -> std::result::Result<(Vec<String>, Leaf), String> {
    let (steps, leaf) = match text.split_once('@') {
        Some((steps, "*")) => (steps, Leaf::Attributes),
        Some((_, "")) => return Err("an attribute name is missing".into()),
        Some((steps, name)) => (steps, Leaf::Attribute(name.to_owned())),
        None => match text.rsplit_once('/') {
            Some((steps, last)) => (steps, leaf_of(last)?),
            None => ("", leaf_of(text)?),
        },
    };
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    let wrappers: Vec<String> = if steps.is_empty() {
        Vec::new()
    } else {
        steps.split('/').map(str::to_owned).collect()
    };
    if wrappers
        .iter()
        .any(|step| step.is_empty() || step.contains(['*', '(', '.', ':']))
    {
        return Err(format!(
            "'{text}' is no path: write steps as `name/name@attribute`"
        ));
    }
    Ok((wrappers, leaf))
}

fn leaf_of(text: &str) -> std::result::Result<Leaf, String> {
    match text {
        "text()" => Ok(Leaf::Text),
        "*" => Ok(Leaf::Any),
        "." => Ok(Leaf::Own),
        "" => Err("a path ends in a name".into()),
        name => Ok(Leaf::Child(name.to_owned())),
    }
}

impl Field {
    pub(super) fn new(
        field: &syn::Field,
        ident: Ident,
        access: TokenStream,
        on: &TypeOptions,
    ) -> Result<Self> {
        let options = FieldOptions::parse(&field.attrs)?;
        Self::with_options(field, ident, access, on, options)
    }

    /// The field of a variant `Name(Type)`: the type's fields are the variant's.
    pub(super) fn flattened(
        field: &syn::Field,
        ident: Ident,
        access: TokenStream,
        on: &TypeOptions,
    ) -> Result<Self> {
        let mut options = FieldOptions::parse(&field.attrs)?;
        if options.path.is_none() && !options.skip {
            options.flatten = true;
        }
        Self::with_options(field, ident, access, on, options)
    }

    fn with_options(
        field: &syn::Field,
        ident: Ident,
        access: TokenStream,
        on: &TypeOptions,
        options: FieldOptions,
    ) -> Result<Self> {
        let access = if options.write_as.is_some() {
            quote!((&written))
        } else {
            access
        };
        let (mut wrappers, mut leaf) = match &options.path {
            None if options.flatten || options.skip => (Vec::new(), Leaf::Own),
            None => {
                return Err(Error::new_spanned(
                    &ident,
                    "say where the field is: #[xml(\"@name\")], #[xml(\"child\")], #[xml(flatten)] … or #[xml(skip)]",
                ));
            }
            Some(path) if options.flatten => {
                let text = path.value();
                (text.split('/').map(str::to_owned).collect(), Leaf::Own)
            }
            Some(path) => split_path(&path.value()).map_err(|what| Error::new(path.span(), what))?,
        };
        let value_options = options.on_off
            || options.format.is_some()
            || options.base.is_some()
            || options.nonempty
            || options.has_range();
        if value_options && let Leaf::Child(name) = &leaf {
            // A child that holds a value of a special form: its text.
            wrappers.push(name.clone());
            leaf = Leaf::Text;
        }
        let mut uri = None;
        if let Leaf::Child(name) = &leaf
            && let Some((prefix, _)) = name.split_once(':')
        {
            let known = on.namespaces.iter().find(|(known, _)| known == prefix);
            uri = Some(known.map(|(_, uri)| uri.clone()).ok_or_else(|| {
                Error::new_spanned(&ident, format!("say #[xml(ns({prefix} = \"…\"))] on the type"))
            })?);
        }
        let full = field.ty.clone();
        let own_code = options.with.is_some() && matches!(leaf, Leaf::Own | Leaf::Attributes);
        let (mut shape, mut inner) = (Shape::Plain, &field.ty);
        if !own_code && !options.skip {
            if let Some(of) = inside(inner, "Option") {
                (shape, inner) = (Shape::Option, of);
            } else if matches!(leaf, Leaf::Child(_) | Leaf::Any)
                && let Some(of) = inside(inner, "Vec")
            {
                (shape, inner) = (Shape::Vec, of);
            }
        }
        let boxed = inside(inner, "Box").filter(|_| !own_code);
        let inner = boxed.unwrap_or(inner).clone();
        let boxed = boxed.is_some();
        Ok(Self {
            doc: doc_of(&field.attrs),
            ident,
            wrappers,
            leaf,
            shape,
            inner,
            full,
            boxed,
            options,
            access,
            uri,
        })
    }

    /// `bool` as a child: being there means yes.
    fn is_flag(&self) -> bool {
        self.shape == Shape::Plain
            && matches!(self.leaf, Leaf::Child(_))
            && self.options.with.is_none()
            && is_bool(&self.inner)
    }

    fn flags(names: &[Ident]) -> TokenStream {
        let rt = runtime();
        let names = names
            .iter()
            .map(|name| format_ident!("{}", name.to_string().to_uppercase(), span = name.span()));
        quote!(#rt::XmlFlags::empty() #(.union(#rt::XmlFlags::#names))*)
    }

    /// The condition on flags in `holder` (`cx` or `w`); SECURE and MIGRATABLE are about writing only.
    fn flag_condition(&self, holder: &TokenStream, reading: bool) -> Option<TokenStream> {
        let pick = |names: &[Ident]| -> Vec<Ident> {
            names
                .iter()
                .filter(|name| !reading || (*name != "secure" && *name != "migratable"))
                .cloned()
                .collect()
        };
        let (only, unless) = (pick(&self.options.only), pick(&self.options.unless));
        let mut conditions = Vec::new();
        if !only.is_empty() {
            let flags = Self::flags(&only);
            conditions.push(quote!(#holder.flags().contains(#flags)));
        }
        if !unless.is_empty() {
            let flags = Self::flags(&unless);
            conditions.push(quote!(!#holder.flags().intersects(#flags)));
        }
        let own = if reading {
            &self.options.read_when
        } else {
            &self.options.when
        };
        if let Some(expr) = own {
            conditions.push(quote!((#expr)));
        }
        if conditions.is_empty() {
            None
        } else {
            Some(quote!(#(#conditions)&&*))
        }
    }

    /// The number format `0x%02x` as (prefix, radix, width).
    fn number_format(&self) -> Result<Option<(String, u32, usize)>> {
        let Some(format) = &self.options.format else {
            return Ok(None);
        };
        let text = format.value();
        let wrong = || {
            Error::new(
                format.span(),
                "a number format is written like \"0x%02x\", \"0%o\" or \"%d\"",
            )
        };
        let (prefix, rest) = text.split_once('%').ok_or_else(wrong)?;
        let (width, kind) = rest.split_at(rest.len().checked_sub(1).ok_or_else(wrong)?);
        let radix = match kind {
            "x" => 16,
            "o" => 8,
            "d" | "u" => 10,
            _ => return Err(wrong()),
        };
        let width = match width.strip_prefix('0') {
            Some(width) => width.parse().map_err(|_| wrong())?,
            None if width.is_empty() => 0,
            None => return Err(wrong()),
        };
        Ok(Some((prefix.to_owned(), radix, width)))
    }

    fn parse_function(&self) -> Result<TokenStream> {
        let rt = runtime();
        let inner = &self.inner;
        if let Some(with) = &self.options.with {
            return Ok(quote!(#with::parse));
        }
        if self.options.on_off {
            return Ok(quote!(#rt::parse_on_off));
        }
        let base = match (&self.options.base, self.number_format()?) {
            (Some(base), _) => Some(base.base10_parse::<u32>()?),
            // libvirt prints with 0x and takes any notation.
            (None, Some((prefix, 16, _))) if prefix == "0x" => Some(0),
            (None, Some((_, radix, _))) => Some(radix),
            (None, None) => None,
        };
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

    fn range(&self) -> (TokenStream, TokenStream) {
        let rt = runtime();
        let inner = &self.inner;
        let min = match &self.options.min {
            Some(min) => quote!(#min),
            None => quote!(<#inner as #rt::XmlInteger>::MIN),
        };
        let max = match &self.options.max {
            Some(max) => quote!(#max),
            None => quote!(<#inner as #rt::XmlInteger>::MAX),
        };
        (min, max)
    }

    fn format_function(&self) -> Result<TokenStream> {
        let rt = runtime();
        let inner = &self.inner;
        if let Some(with) = &self.options.with {
            return Ok(quote!(#with::format));
        }
        if self.options.on_off {
            return Ok(quote!(#rt::format_on_off));
        }
        Ok(match self.number_format()? {
            Some((prefix, radix, width)) => {
                quote!(|value, out| #rt::push_formatted::<#inner>(out, *value, #prefix, #radix, #width))
            }
            None => quote!(<#inner as #rt::XmlValue>::format_value),
        })
    }

    /// An expression for the field's value; `element` is the expression of the element that holds the leaf.
    pub(super) fn read(&self, element: &TokenStream) -> Result<TokenStream> {
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
                let read = quote!(<#inner as #rt::XmlElement>::read(#element.child_or_ghost(#name), cx)?);
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
            Leaf::Child(name) => {
                let read = match (&self.options.with, &self.uri) {
                    (Some(with), _) => {
                        quote!(#rt::read::child_with::<#inner>(#element, cx, #name, #with::read)?)
                    }
                    (None, Some(uri)) => {
                        let local = name.split_once(':').map_or("", |(_, local)| local);
                        quote!(#rt::read::child_in::<#inner>(#element, cx, #uri, #local)?)
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
                quote!({ let value = #optional; #rt::read::required(#element, #at, value)? })
            }
            (_, Some(Some(expr))) => quote!(#optional.or_else(|| #expr)),
            _ => optional,
        })
    }

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

    fn guarded(&self, write: TokenStream) -> TokenStream {
        let full = &self.full;
        let write = match &self.options.write_as {
            Some(expr) if !write.is_empty() => quote!({ let written: #full = #expr; #write }),
            _ => write,
        };
        match self.flag_condition(&quote!(w), false) {
            Some(condition) => quote!(if #condition { #write }),
            None => write,
        }
    }

    /// Runs `write` unless the value is the default one.
    fn unless_default(&self, write: TokenStream) -> TokenStream {
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
    fn each(&self, body: TokenStream) -> TokenStream {
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

    /// Statements that write attributes of the leaf's element.
    pub(super) fn write_attribute_part(&self) -> Result<TokenStream> {
        let rt = runtime();
        let access = &self.access;
        let write = match &self.leaf {
            Leaf::Attribute(name) => {
                let format = self.format_function()?;
                let inner = &self.inner;
                match (self.shape, self.boxed) {
                    (Shape::Option, false) => {
                        quote!(#rt::write::attr_optional::<#inner>(w, #name, #access, #format);)
                    }
                    (Shape::Plain, false) => {
                        self.unless_default(quote!(#rt::write::attr::<#inner>(w, #name, #access, #format);))
                    }
                    _ => self.each(quote!(#rt::write::attr::<#inner>(w, #name, value, #format);)),
                }
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

    pub(super) fn schema(&self) -> TokenStream {
        let rt = runtime();
        let inner = &self.inner;
        let name = self.ident.to_string();
        let doc = &self.doc;
        let mut path = self.wrappers.join("/");
        match &self.leaf {
            Leaf::Attribute(name) => path = format!("{path}@{name}"),
            Leaf::Attributes => path.push_str("@*"),
            leaf => {
                let last = match leaf {
                    Leaf::Text => "text()",
                    Leaf::Any => "*",
                    Leaf::Own => ".",
                    Leaf::Child(name) => name,
                    Leaf::Attribute(_) | Leaf::Attributes => "",
                };
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(last);
            }
        }
        let occurs = match self.shape {
            Shape::Vec => quote!(Repeated),
            Shape::Option => quote!(Optional),
            Shape::Plain if self.options.default.is_some() || self.options.ghost || self.is_flag() => {
                quote!(Optional)
            }
            Shape::Plain => quote!(Required),
        };
        let value_leaf = matches!(self.leaf, Leaf::Attribute(_) | Leaf::Text);
        let kind = if self.is_flag() {
            quote!(#rt::schema::Kind::Flag)
        } else if self.options.with.is_some() || self.options.opaque {
            if value_leaf {
                quote!(#rt::schema::Kind::Value(#rt::schema::ValueSchema::Text))
            } else {
                quote!(#rt::schema::Kind::Opaque)
            }
        } else if self.options.on_off {
            quote!(#rt::schema::Kind::Value(#rt::schema::ValueSchema::Words(&["on", "off"])))
        } else if self.options.has_range() {
            let (min, max) = self.range();
            quote!(#rt::schema::Kind::Value(#rt::schema::ValueSchema::Integer {
                min: (#min) as i64,
                max: (#max) as u64,
            }))
        } else if value_leaf {
            quote!(#rt::schema::Kind::Value(<#inner as #rt::XmlValue>::SCHEMA))
        } else {
            quote!(#rt::schema::Kind::Element(<#inner as #rt::XmlElement>::schema))
        };
        quote!(#rt::schema::FieldSchema {
            path: #path,
            field: #name,
            doc: #doc,
            occurs: #rt::schema::Occurs::#occurs,
            kind: #kind,
        })
    }
}
