//! The language of the `xml` attribute.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, Ident, LitInt, LitStr, Path, Result, Token};

/// What may stand on a field.
#[derive(Default)]
pub(super) struct FieldOptions {
    pub path: Option<LitStr>,
    pub flatten: bool,
    pub skip: bool,
    /// `default` (`Some(None)`) or `default = expr`.
    pub default: Option<Option<Expr>>,
    pub always: bool,
    pub with: Option<Path>,
    pub only: Vec<Ident>,
    pub unless: Vec<Ident>,
    pub when: Option<Expr>,
    pub read_when: Option<Expr>,
    pub write_as: Option<Expr>,
    pub nonzero: bool,
    pub min: Option<Expr>,
    pub max: Option<Expr>,
    pub format: Option<LitStr>,
    pub base: Option<LitInt>,
    pub on_off: bool,
    pub nonempty: bool,
    /// Several children of the name are refused, with this code.
    pub sole: Option<Option<Expr>>,
    /// A child without text counts as absent.
    pub unless_empty: bool,
    pub keep_empty: bool,
    pub omit_empty: bool,
    pub ghost: bool,
    pub union: bool,
    pub first: bool,
    pub opaque: bool,
    /// The code of errors in the field.
    pub code: Option<Expr>,
    /// What is wrong with the field is said by the reader of the kind, not by a helper for all documents.
    pub own: bool,
    /// The opposite, in a type that is `own`.
    pub helper: bool,
    /// The part of the system that reports errors in the field.
    pub reported_by: Option<Expr>,
    /// The code where the field is missing, if another.
    pub missing: Option<Expr>,
    /// An attribute that its element must have, if that is there.
    pub expected: bool,
    /// The type whose declaration says what hand-written code reads.
    pub described: Option<syn::Type>,
    /// What JSON and docs call the field, where its own name is taken.
    pub called: Option<LitStr>,
    /// The function that describes what hand-written code reads.
    pub shape: Option<Path>,
    /// What hand-written code at `.` or `@*` reads: `"@name"`, `"child"`, `"child": Type`.
    pub reads: Vec<Reads>,
    /// A check that runs when the field has been read, before the next one is.
    pub then: Option<Expr>,
}

/// A part that hand-written code reads, and its type.
pub(super) struct Reads {
    pub path: LitStr,
    pub of: Option<syn::Type>,
}

impl Parse for Reads {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let path = input.parse()?;
        let of = match input.peek(Token![:]) {
            true => {
                input.parse::<Token![:]>()?;
                Some(input.parse()?)
            }
            false => None,
        };
        Ok(Self { path, of })
    }
}

/// What may stand on a type.
#[derive(Default)]
pub(super) struct TypeOptions {
    pub name: Option<LitStr>,
    pub union: Option<LitStr>,
    pub check: Option<Path>,
    pub namespaces: Vec<(Ident, Expr)>,
    pub declared: Vec<(Ident, Expr)>,
    /// Declarations stand in front of the other attributes.
    pub declared_first: bool,
    pub body: bool,
    /// Tells whether an element counts as absent.
    pub absent: Option<Path>,
    /// The code of errors in the element; of a union, in its tag.
    pub code: Option<Expr>,
    /// The code where a union's tag is missing, if another.
    pub missing: Option<Expr>,
    /// Attributes and texts of the type are `own`; of a union, its tag too.
    pub own: bool,
    /// The part of the system that reports them, if it is not that of the document.
    pub reported_by: Option<Expr>,
    /// The fields that are read before the others, in this order.
    pub order: Vec<Ident>,
}

/// What may stand on a variant.
#[derive(Default)]
pub(super) struct VariantOptions {
    pub word: Option<LitStr>,
    pub aliases: Vec<LitStr>,
    pub default: bool,
    pub absent: bool,
    pub other: bool,
}

fn idents(input: ParseStream<'_>) -> Result<Vec<Ident>> {
    let inner;
    syn::parenthesized!(inner in input);
    Ok(Punctuated::<Ident, Token![,]>::parse_terminated(&inner)?
        .into_iter()
        .collect())
}

fn value<T: Parse>(input: ParseStream<'_>) -> Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

/// Calls `one` for each item of all `xml` attributes: a leading string, then `word…`.
fn items(
    attributes: &[Attribute],
    mut text: impl FnMut(LitStr) -> Result<()>,
    mut one: impl FnMut(&str, Span, ParseStream<'_>) -> Result<()>,
) -> Result<()> {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("xml"))
    {
        attribute.parse_args_with(|input: ParseStream<'_>| {
            while !input.is_empty() {
                if input.peek(LitStr) {
                    text(input.parse()?)?;
                } else {
                    // `union`, `default` … may be keywords.
                    let name = <Ident as syn::ext::IdentExt>::parse_any(input)?;
                    one(&name.to_string(), name.span(), input)?;
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn unknown(name: &str, span: Span, known: &str) -> Error {
    Error::new(span, format!("unknown option '{name}'; known here: {known}"))
}

impl FieldOptions {
    /// Are numbers restricted further than by their type?
    pub(super) fn has_range(&self) -> bool {
        self.nonzero || self.min.is_some() || self.max.is_some()
    }

    pub(super) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        let mut path = None;
        items(
            attributes,
            |text| {
                if path.is_some() {
                    return Err(Error::new(text.span(), "a field has one path"));
                }
                path = Some(text);
                Ok(())
            },
            |name, span, input| {
                match name {
                    "flatten" => options.flatten = true,
                    "skip" => options.skip = true,
                    "default" => {
                        options.default = Some(if input.peek(Token![=]) {
                            Some(value(input)?)
                        } else {
                            None
                        });
                    }
                    "always" => options.always = true,
                    "with" => options.with = Some(value(input)?),
                    "only" => options.only.extend(idents(input)?),
                    "unless" => options.unless.extend(idents(input)?),
                    "when" => options.when = Some(value(input)?),
                    "read_when" => options.read_when = Some(value(input)?),
                    "write_as" => options.write_as = Some(value(input)?),
                    "nonzero" => options.nonzero = true,
                    "min" => options.min = Some(value(input)?),
                    "max" => options.max = Some(value(input)?),
                    "format" => options.format = Some(value(input)?),
                    "base" => options.base = Some(value(input)?),
                    "on_off" => options.on_off = true,
                    "nonempty" => options.nonempty = true,
                    "unless_empty" => options.unless_empty = true,
                    "sole" => {
                        options.sole = Some(match input.peek(Token![=]) {
                            true => Some(value(input)?),
                            false => None,
                        });
                    }
                    "keep_empty" => options.keep_empty = true,
                    "omit_empty" => options.omit_empty = true,
                    "ghost" => options.ghost = true,
                    "union" => options.union = true,
                    "first" => options.first = true,
                    "opaque" => options.opaque = true,
                    "code" => options.code = Some(value(input)?),
                    "own" => options.own = true,
                    "helper" => options.helper = true,
                    "reported_by" => options.reported_by = Some(value(input)?),
                    "missing" => options.missing = Some(value(input)?),
                    "expected" => options.expected = true,
                    "described" => options.described = Some(value(input)?),
                    "called" => options.called = Some(value(input)?),
                    "shape" => options.shape = Some(value(input)?),
                    "then" => options.then = Some(value(input)?),
                    "reads" => {
                        let inner;
                        syn::parenthesized!(inner in input);
                        options
                            .reads
                            .extend(Punctuated::<Reads, Token![,]>::parse_terminated(&inner)?);
                    }
                    _ => {
                        return Err(unknown(
                            name,
                            span,
                            "flatten, skip, default, always, with, only, unless, when, read_when, write_as, format, base, \
                             nonzero, min, max, on_off, nonempty, unless_empty, sole, keep_empty, omit_empty, ghost, union, first, opaque, described, \
                             shape, called, reads, code, missing, own, helper, reported_by, expected, then",
                        ));
                    }
                }
                Ok(())
            },
        )?;
        options.path = path;
        Ok(options)
    }
}

impl TypeOptions {
    pub(super) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        items(
            attributes,
            |text| Err(Error::new(text.span(), "write `name = \"…\"`")),
            |name, span, input| {
                match name {
                    "name" => options.name = Some(value(input)?),
                    "union" => options.union = Some(value(input)?),
                    "check" => options.check = Some(value(input)?),
                    "body" => options.body = true,
                    "ns" => options.namespaces.extend(pairs(input)?),
                    "absent" => options.absent = Some(value(input)?),
                    "code" => options.code = Some(value(input)?),
                    "missing" => options.missing = Some(value(input)?),
                    "own" => options.own = true,
                    "reported_by" => options.reported_by = Some(value(input)?),
                    "order" => options.order.extend(idents(input)?),
                    "declare" | "declare_first" => {
                        options.declared_first |= name == "declare_first";
                        let pairs = pairs(input)?;
                        options.namespaces.extend(pairs.iter().cloned());
                        options.declared.extend(pairs);
                    }
                    _ => {
                        return Err(unknown(
                            name,
                            span,
                            "name, union, check, body, ns, declare, declare_first, absent, code, missing, own, reported_by, order",
                        ));
                    }
                }
                Ok(())
            },
        )?;
        Ok(options)
    }
}

fn pairs(input: ParseStream<'_>) -> Result<Vec<(Ident, Expr)>> {
    let inner;
    syn::parenthesized!(inner in input);
    let mut out = Vec::new();
    while !inner.is_empty() {
        let prefix = <Ident as syn::ext::IdentExt>::parse_any(&inner)?;
        out.push((prefix, value(&inner)?));
        if !inner.is_empty() {
            inner.parse::<Token![,]>()?;
        }
    }
    Ok(out)
}

impl VariantOptions {
    pub(super) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        let mut word = None;
        items(
            attributes,
            |text| {
                word = Some(text);
                Ok(())
            },
            |name, span, input| {
                match name {
                    "alias" => options.aliases.push(value(input)?),
                    "default" => options.default = true,
                    "absent" => options.absent = true,
                    "other" => options.other = true,
                    _ => return Err(unknown(name, span, "alias, default, absent, other")),
                }
                Ok(())
            },
        )?;
        options.word = word;
        Ok(options)
    }
}
