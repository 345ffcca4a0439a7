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

/// Which children a step of a path means, if there are several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pick {
    /// `name`
    First,
    /// `name+`: all of them, as one.
    Joined,
    /// `name$`
    Last,
}

impl Pick {
    /// The name of a step, and which of several it means.
    pub(super) fn split(step: &str) -> (&str, Self) {
        match (step.strip_suffix('+'), step.strip_suffix('$')) {
            (Some(name), _) => (name, Self::Joined),
            (_, Some(name)) => (name, Self::Last),
            _ => (step, Self::First),
        }
    }

    /// An expression for the child of `parent`, or its ghost.
    pub(super) fn of(self, parent: &TokenStream, name: &str) -> TokenStream {
        match self {
            Self::First => quote!(#parent.child_or_ghost(#name)),
            Self::Joined => quote!(#parent.joined_child_or_ghost(#name)),
            Self::Last => quote!(#parent.last_child_or_ghost(#name)),
        }
    }
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
    /// Which of several each of them is.
    pub picks: Vec<Pick>,
    pub leaf: Leaf,
    /// Which of several a child is.
    pub pick: Pick,
    pub shape: Shape,
    /// The type inside `Option`, `Vec` and `Box`.
    pub inner: Type,
    /// The whole type, without a `Rare` around it.
    pub full: Type,
    /// Tells whether the `Rare` around it holds something; for those that are in one.
    pub rare: Option<TokenStream>,
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
        mut options: FieldOptions,
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
        let mut picks = Vec::new();
        for step in &mut wrappers {
            let (name, pick) = Pick::split(step);
            picks.push(pick);
            *step = name.to_owned();
        }
        let mut pick = Pick::First;
        if let Leaf::Child(step) = &mut leaf {
            let (name, which) = Pick::split(step);
            pick = which;
            *step = name.to_owned();
        }
        let value_options = options.on_off
            || options.format.is_some()
            || options.base.is_some()
            || options.nonempty
            || options.has_range();
        if value_options && let Leaf::Child(name) = &leaf {
            // A child that holds a value of a special form: its text.
            wrappers.push(name.clone());
            picks.push(pick);
            leaf = Leaf::Text;
        }
        if on.own && !options.helper && matches!(leaf, Leaf::Attribute(_) | Leaf::Text) {
            options.own = true;
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
        let full = inside(&field.ty, "Rare");
        let rare = full.map(|_| quote!((#access).is_said()));
        let full = full.unwrap_or(&field.ty).clone();
        let access = match rare {
            Some(_) => quote!((&**#access)),
            None => access,
        };
        let own_code = options.with.is_some() && matches!(leaf, Leaf::Own | Leaf::Attributes);
        let (mut shape, mut inner) = (Shape::Plain, &full);
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
            rare,
            doc: doc_of(&field.attrs),
            ident,
            wrappers,
            picks,
            leaf,
            pick,
            shape,
            inner,
            full,
            boxed,
            options,
            access,
            uri,
        })
    }

    /// The children that lie between the element and the leaf, and which of several each is.
    pub(super) fn steps(&self) -> Vec<(String, Pick)> {
        self.wrappers
            .iter()
            .cloned()
            .zip(self.picks.iter().copied())
            .collect()
    }

    /// `bool` as a child: being there means yes.
    pub(super) fn is_flag(&self) -> bool {
        self.shape == Shape::Plain
            && matches!(self.leaf, Leaf::Child(_))
            && self.options.with.is_none()
            && is_bool(&self.inner)
    }

    pub(super) fn flags(names: &[Ident]) -> TokenStream {
        let rt = runtime();
        let names = names
            .iter()
            .map(|name| format_ident!("{}", name.to_string().to_uppercase(), span = name.span()));
        quote!(#rt::XmlFlags::empty() #(.union(#rt::XmlFlags::#names))*)
    }

    /// The condition on flags in `holder` (`cx` or `w`); SECURE and MIGRATABLE are about writing only.
    pub(super) fn flag_condition(&self, holder: &TokenStream, reading: bool) -> Option<TokenStream> {
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
    pub(super) fn number_format(&self) -> Result<Option<(String, u32, usize)>> {
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

    pub(super) fn range(&self) -> (TokenStream, TokenStream) {
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

    pub(super) fn format_function(&self) -> Result<TokenStream> {
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
}
