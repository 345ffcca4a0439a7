//! `derive(Xml)`: structs are elements, enums are unions.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Ident, LitStr, Result};

use super::field::{Field, Leaf, Pick};
use super::options::{TypeOptions, VariantOptions};
use super::write::{Presence, lead};
use super::{doc_of, kebab, runtime};

pub(crate) fn derive_element(input: DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "derive(Xml) does not know generic types",
        ));
    }
    let options = TypeOptions::parse(&input.attrs)?;
    match &input.data {
        Data::Struct(data) => derive_struct(&input, &data.fields, &options),
        Data::Enum(data) => derive_union(&input, data, &options),
        Data::Union(_) => Err(Error::new_spanned(
            &input.ident,
            "derive(Xml) is for structs and enums",
        )),
    }
}

fn element_name(input: &DeriveInput, options: &TypeOptions) -> String {
    options
        .name
        .as_ref()
        .map_or_else(|| kebab(&input.ident.to_string()), LitStr::value)
}

/// Refuses an order that names what is no field.
fn check_order<'f>(order: &[Ident], fields: impl Iterator<Item = &'f Field> + Clone) -> Result<()> {
    for (at, ident) in order.iter().enumerate() {
        if !fields.clone().any(|field| field.ident == *ident) {
            return Err(Error::new_spanned(ident, "`order` names fields of the type"));
        }
        if order.iter().take(at).any(|before| before == ident) {
            return Err(Error::new_spanned(ident, "`order` names each field once"));
        }
    }
    Ok(())
}

/// Statements that bind each field to a variable of its name: those of `order` first.
fn read_fields(fields: &[Field], order: &[Ident]) -> Result<TokenStream> {
    let rt = runtime();
    let mut out = TokenStream::new();
    // Children on the way to leaves are looked up once each, outer ones first.
    let mut prefixes = BTreeSet::new();
    for field in fields.iter().filter(|field| !field.options.skip) {
        for len in 1..=field.wrappers.len() {
            prefixes.insert((len, field.steps()[..len].to_vec()));
        }
    }
    for (len, prefix) in &prefixes {
        let name = group_ident(prefix);
        let parent = group_expr(&prefix[..len - 1]);
        let (step, pick) = &prefix[len - 1];
        let child = pick.of(&parent, step);
        out.extend(quote!(let #name = #child;));
    }
    let mut sorted: Vec<&Field> = fields.iter().collect();
    sorted.sort_by_key(|field| {
        order
            .iter()
            .position(|ident| *ident == field.ident)
            .unwrap_or(order.len())
    });
    for field in sorted {
        let ident = &field.ident;
        let ty = &field.full;
        let value = field.read(&group_expr(&field.steps()))?;
        out.extend(match field.rare {
            None => quote!(let #ident: #ty = #value;),
            Some(_) => quote!(let #ident = { let value: #ty = #value; #rt::Rare::from(value) };),
        });
        if let Some(then) = &field.options.then {
            out.extend(quote!(#then?;));
        }
    }
    Ok(out)
}

fn group_ident(prefix: &[(String, Pick)]) -> Ident {
    let mut clean = String::new();
    for (step, pick) in prefix {
        clean.push_str(match pick {
            Pick::First => "__",
            Pick::Joined => "__all_",
            Pick::Last => "__last_",
        });
        clean.extend(
            step.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
        );
    }
    format_ident!("__in{clean}")
}

fn group_expr(prefix: &[(String, Pick)]) -> TokenStream {
    if prefix.is_empty() {
        quote!(element)
    } else {
        let name = group_ident(prefix);
        quote!(#name)
    }
}

/// Statements that write the attributes of the element at `depth` wrappers.
fn write_attributes(fields: &[&Field], depth: usize) -> Result<TokenStream> {
    let own = |field: &&&Field| field.wrappers.len() == depth && field.has_attribute_part();
    let mut out = TokenStream::new();
    for field in fields.iter().filter(own).filter(|field| field.options.first) {
        out.extend(field.write_attribute_part()?);
    }
    for field in fields.iter().filter(own).filter(|field| !field.options.first) {
        out.extend(field.write_attribute_part()?);
    }
    Ok(out)
}

/// Statements that write the content of the element at `depth` wrappers. Neighbours whose paths go through the same child
/// share it.
fn write_content(fields: &[&Field], depth: usize) -> Result<TokenStream> {
    let mut out = TokenStream::new();
    let mut rest = fields;
    while let Some((&field, after)) = rest.split_first() {
        if field.options.skip || field.wrappers.len() <= depth {
            if field.has_content_part() {
                out.extend(field.write_content_part()?);
            }
            rest = after;
            continue;
        }
        let step = &field.wrappers[depth];
        let shared = rest
            .iter()
            .take_while(|other| other.wrappers.get(depth) == Some(step))
            .count();
        let (group, after) = rest.split_at(shared);
        rest = after;
        if let [field] = group
            && field.wrappers.len() == depth + 1
            && let Some(leaf) = field.write_leaf(step)?
        {
            out.extend(leaf);
            continue;
        }
        let attributes = write_attributes(group, depth + 1)?;
        let content = write_content(group, depth + 1)?;
        out.extend(match group_presence(group) {
            Some(Presence::Always) => quote!({ w.start(#step); #attributes #content w.end(#step); }),
            Some(Presence::If(condition)) => {
                quote!(if #condition { w.start(#step); #attributes #content w.end(#step); })
            }
            None => quote! {{
                let mark = w.begin_optional(#step);
                #attributes
                #content
                w.end_optional(#step, mark);
            }},
        });
    }
    Ok(out)
}

/// When something is written into a child that these fields share; `None` if that is only known by writing it.
fn group_presence(group: &[&Field]) -> Option<Presence> {
    let mut conditions = Vec::new();
    let mut always = false;
    for field in group {
        match field.presence()? {
            Presence::Always => always = true,
            Presence::If(condition) => conditions.push(condition),
        }
    }
    Some(if always {
        Presence::Always
    } else {
        Presence::If(quote!(#(#conditions)||*))
    })
}

/// An expression that is true only if something will be written. The first attributes tell for most elements.
fn surely_something(fields: &[Field]) -> TokenStream {
    let mut conditions = Vec::new();
    let attributes = fields
        .iter()
        .filter(|field| matches!(field.leaf, Leaf::Attribute(_)));
    for presence in attributes.filter_map(Field::presence).take(3) {
        match presence {
            Presence::Always => return quote!(true),
            Presence::If(condition) => conditions.push(condition),
        }
    }
    quote!(false #(|| #conditions)*)
}

/// `xmlns:x='…'` for each declared namespace of which something will be written.
fn write_declarations(fields: &[Field], options: &TypeOptions) -> Result<TokenStream> {
    let mut out = TokenStream::new();
    for (prefix, uri) in &options.declared {
        let lead = format!("{prefix}:");
        let mut written = Vec::new();
        for field in fields {
            if matches!(&field.leaf, Leaf::Child(name) if name.starts_with(&lead)) {
                written.push(field.is_written().ok_or_else(|| {
                    Error::new_spanned(
                        &field.ident,
                        "a child of a foreign namespace is an Option or a Vec",
                    )
                })?);
            }
        }
        if !written.is_empty() {
            let name = format!("xmlns:{prefix}");
            out.extend(quote!(if #(#written)||* { w.attribute(#name, #uri); }));
        }
    }
    Ok(out)
}

fn derive_struct(input: &DeriveInput, fields: &Fields, options: &TypeOptions) -> Result<TokenStream> {
    let rt = runtime();
    if let Some(union) = &options.union {
        return Err(Error::new(union.span(), "a union is an enum"));
    }
    let Fields::Named(named) = fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "derive(Xml) wants named fields; write XmlValue for a new type by hand",
        ));
    };
    let fields = named
        .named
        .iter()
        .map(|field| {
            let ident = field
                .ident
                .clone()
                .ok_or_else(|| Error::new_spanned(field, "a field has a name"))?;
            let access = quote!((&self.#ident));
            Field::new(field, ident, access, options)
        })
        .collect::<Result<Vec<_>>>()?;
    let refs: Vec<&Field> = fields.iter().collect();
    check_order(&options.order, fields.iter())?;
    let reads = read_fields(&fields, &options.order)?;
    let idents = fields.iter().map(|field| &field.ident);
    let attributes = write_attributes(&refs, 0)?;
    let declarations = write_declarations(&fields, options)?;
    let (before, behind) = match options.declared_first {
        true => (declarations, TokenStream::new()),
        false => (TokenStream::new(), declarations),
    };
    let content = write_content(&refs, 0)?;
    let body = options.body.then(|| quote!(w.open_body();));
    let sure = surely_something(&fields);
    let check = options
        .check
        .as_ref()
        .map(|check| quote!(#check(&mut value, element, cx)?;));
    let read = quote! {
        #reads
        let mut value = Self { #(#idents),* };
        #check
        ::core::result::Result::Ok(value)
    };
    // Errors of the element get its code, unless they have one that says more than `XML_ERROR`.
    let read = match &options.code {
        None => read,
        Some(code) => quote! {
            let read = |cx: &mut #rt::Reader| -> ::virt_util::Result<Self> { #read };
            read(cx).map_err(|error| #rt::recoded(error, element, #code))
        },
    };
    // A part that other documents have too may have errors of its own part of the system.
    let read = match &options.reported_by {
        None => read,
        Some(domain) => quote! {
            let read = |cx: &mut #rt::Reader| -> ::virt_util::Result<Self> { #read };
            read(cx).map_err(|error| #rt::reported_by(error, element, #domain))
        },
    };
    let absent = options.absent.as_ref().map(|absent| {
        quote! {
            fn counts_as_absent(element: #rt::Element<'_>) -> bool {
                #absent(element)
            }
        }
    });
    let name = &input.ident;
    let element = element_name(input, options);
    let type_name = name.to_string();
    let doc = doc_of(&input.attrs);
    let schema = fields
        .iter()
        .filter(|field| !field.options.skip)
        .map(Field::schema)
        .collect::<Result<Vec<_>>>()?;
    Ok(quote! {
        #[allow(unused_variables, unused_mut, clippy::all, reason = "derived code")]
        impl #rt::XmlElement for #name {
            const NAME: &'static str = #element;

            fn read(element: #rt::Element<'_>, cx: &mut #rt::Reader) -> ::virt_util::Result<Self> {
                #read
            }

            fn write_attributes(&self, w: &mut #rt::Writer) {
                #before
                #attributes
                #behind
            }

            #absent

            fn write_content(&self, w: &mut #rt::Writer) {
                #body
                #content
            }

            fn is_surely_something(&self, w: &#rt::Writer) -> bool {
                #sure
            }

            fn schema() -> &'static #rt::schema::ElementSchema {
                static SCHEMA: #rt::schema::ElementSchema = #rt::schema::ElementSchema {
                    type_name: #type_name,
                    name: #element,
                    doc: #doc,
                    content: #rt::schema::Content::Fields(&[#(#schema),*]),
                };
                &SCHEMA
            }
        }
    })
}

/// What a union is chosen by.
enum Tag {
    /// `@name`
    Own(String),
    /// `../@name`
    Parent(String),
    /// `name()`
    Name,
}

struct Variant {
    words: Vec<String>,
    default: bool,
    doc: String,
    fields: Vec<Field>,
    /// `Self::Name { a, b }`
    pattern: TokenStream,
    /// Takes the elements that no other variant is for.
    other: bool,
}

fn variant(variant: &syn::Variant, options: &TypeOptions) -> Result<Variant> {
    let own = VariantOptions::parse(&variant.attrs)?;
    let word = own
        .word
        .map_or_else(|| kebab(&variant.ident.to_string()), |word| word.value());
    let words = std::iter::once(word)
        .chain(own.aliases.iter().map(LitStr::value))
        .collect();
    let ident = &variant.ident;
    let (fields, pattern) = match &variant.fields {
        Fields::Unit => (Vec::new(), quote!(Self::#ident)),
        Fields::Named(named) => {
            let fields = named
                .named
                .iter()
                .map(|field| {
                    let ident = field
                        .ident
                        .clone()
                        .ok_or_else(|| Error::new_spanned(field, "a field has a name"))?;
                    Field::new(field, ident.clone(), quote!(#ident), options)
                })
                .collect::<Result<Vec<_>>>()?;
            let idents = fields.iter().map(|field| &field.ident);
            let pattern = quote!(Self::#ident { #(#idents),* });
            (fields, pattern)
        }
        Fields::Unnamed(unnamed) => {
            let mut each = unnamed.unnamed.iter();
            let (Some(field), None) = (each.next(), each.next()) else {
                return Err(Error::new_spanned(
                    variant,
                    "a variant holds one type, or named fields",
                ));
            };
            let inner = format_ident!("inner");
            let mut field = Field::flattened(field, inner.clone(), quote!(#inner), options)?;
            if field.doc.is_empty() {
                field.doc = doc_of(&variant.attrs);
            }
            (vec![field], quote!(Self::#ident(#inner)))
        }
    };
    let newtype = matches!(&variant.fields, Fields::Unnamed(_));
    if own.other
        && !(newtype
            && options
                .union
                .as_ref()
                .is_some_and(|union| union.value() == "name()"))
    {
        return Err(Error::new_spanned(
            variant,
            "`other` is for a variant that holds one type, in a union by name()",
        ));
    }
    Ok(Variant {
        words,
        default: own.default,
        other: own.other,
        doc: doc_of(&variant.attrs),
        fields,
        pattern,
    })
}

fn derive_union(input: &DeriveInput, data: &DataEnum, options: &TypeOptions) -> Result<TokenStream> {
    let rt = runtime();
    let Some(union) = &options.union else {
        return Err(Error::new_spanned(
            &input.ident,
            "say what chooses the variant: #[xml(union = \"@type\")], \"../@type\" or \"name()\"; \
             for an enum of words use derive(XmlEnum)",
        ));
    };
    let tag_text = union.value();
    let tag = match tag_text.strip_prefix('@') {
        Some(name) => Tag::Own(name.to_owned()),
        None => match tag_text.strip_prefix("../@") {
            Some(name) => Tag::Parent(name.to_owned()),
            None if tag_text == "name()" => Tag::Name,
            None => {
                return Err(Error::new(
                    union.span(),
                    "a union is chosen by \"@name\", \"../@name\" or \"name()\"",
                ));
            }
        },
    };
    let variants = data
        .variants
        .iter()
        .map(|each| variant(each, options))
        .collect::<Result<Vec<_>>>()?;
    if variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a union has variants"));
    }
    check_order(
        &options.order,
        variants.iter().flat_map(|variant| &variant.fields),
    )?;

    let words: Vec<&String> = variants.iter().flat_map(|variant| &variant.words).collect();
    let default = variants
        .iter()
        .filter(|variant| !variant.other)
        .position(|variant| variant.default);
    let other = variants.iter().find(|variant| variant.other);
    // Index of the first word of each variant.
    let mut first = 0;
    let mut default_index = None;
    let mut read_arms = Vec::new();
    let known: Vec<&Variant> = variants.iter().filter(|variant| !variant.other).collect();
    if known.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a union has variants"));
    }
    for (at, &variant) in known.iter().enumerate() {
        let indices = (first..first + variant.words.len()).collect::<Vec<_>>();
        if default == Some(at) {
            default_index = Some(first);
        }
        first += variant.words.len();
        let reads = read_fields(&variant.fields, &options.order)?;
        let pattern = &variant.pattern;
        let choice = if at + 1 == known.len() {
            quote!(_)
        } else {
            quote!(#(#indices)|*)
        };
        read_arms.push(quote!(#choice => { #reads ::core::result::Result::Ok(#pattern) }));
    }
    let absent = |at: TokenStream| match default_index {
        Some(index) => quote!(#index),
        None => quote!(return ::core::result::Result::Err(#at)),
    };
    let own: Option<syn::Expr> = options
        .own
        .then(|| syn::parse_quote!(::virt_util::ErrorCode::XML_ERROR));
    let code = options.code.as_ref().or(own.as_ref());
    let recode = |error: TokenStream, code: Option<&syn::Expr>| match code {
        Some(code) => quote!(#rt::recoded(#error, element, #code)),
        None => error,
    };
    let missing_code = options.missing.as_ref().or(code);
    let wrong = code.map(|code| quote!(.map_err(|error| #rt::recoded(error, element, #code))));
    let choose = match &tag {
        Tag::Own(name) => {
            let missing = quote!(#rt::missing(element, #rt::At::Attribute(#name)));
            let absent = absent(recode(missing, missing_code));
            quote!(match #rt::read::tag(element, #name, WORDS)#wrong? {
                ::core::option::Option::Some(index) => index,
                ::core::option::Option::None => #absent,
            })
        }
        Tag::Parent(name) => {
            let missing =
                quote!(#rt::missing(element.parent().unwrap_or(element), #rt::At::Attribute(#name)));
            let absent = absent(recode(missing, missing_code));
            quote!(match #rt::read::parent_tag(element, #name, WORDS)#wrong? {
                ::core::option::Option::Some(index) => index,
                ::core::option::Option::None => #absent,
            })
        }
        Tag::Name => {
            let absent = match other {
                Some(variant) => {
                    let (pattern, reads) = (&variant.pattern, read_fields(&variant.fields, &options.order)?);
                    quote!({ #reads return ::core::result::Result::Ok(#pattern) })
                }
                None => absent(quote!(#rt::read::unknown_name(element, WORDS))),
            };
            quote!(match WORDS.iter().position(|word| *word == element.name()) {
                ::core::option::Option::Some(index) => index,
                ::core::option::Option::None => #absent,
            })
        }
    };

    let (mut attribute_arms, mut content_arms, mut word_arms, mut schemas, mut sure_arms) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for variant in &variants {
        let refs: Vec<&Field> = variant.fields.iter().collect();
        let attributes = write_attributes(&refs, 0)?;
        let content = write_content(&refs, 0)?;
        let pattern = &variant.pattern;
        let word = variant.words.first().map_or("", String::as_str);
        attribute_arms.push(quote!(#pattern => { #attributes }));
        content_arms.push(quote!(#pattern => { #content }));
        let sure = surely_something(&variant.fields);
        sure_arms.push(quote!(#pattern => #sure));
        word_arms.push(quote!(#pattern => #word));
        let fields = variant
            .fields
            .iter()
            .filter(|field| !field.options.skip)
            .map(Field::schema)
            .collect::<Result<Vec<_>>>()?;
        let (doc, default) = (&variant.doc, variant.default);
        let any = "*".to_owned();
        let schema_words = if variant.other {
            std::slice::from_ref(&any)
        } else {
            &variant.words[..]
        };
        for word in schema_words {
            let fields = &fields;
            schemas.push(quote!(#rt::schema::VariantSchema {
                value: #word,
                default: #default,
                doc: #doc,
                fields: &[#(#fields),*],
            }));
        }
    }
    let own_tag = match &tag {
        Tag::Own(name) => {
            let lead = lead(name);
            Some(quote!(#rt::write::tag_led(w, #lead, self.xml_tag());))
        }
        _ => None,
    };
    let sure = match &tag {
        Tag::Own(_) => quote!(true),
        _ => quote!(match self { #(#sure_arms),* }),
    };
    let special = match &tag {
        Tag::Own(name) => quote! {
            fn is_present(element: #rt::Element<'_>) -> bool {
                element.has_attr(#name)
            }
        },
        Tag::Parent(name) => {
            let lead = lead(name);
            quote! {
                fn write_parent_attributes(&self, w: &mut #rt::Writer) {
                    #rt::write::tag_led(w, #lead, self.xml_tag());
                }
            }
        }
        Tag::Name => {
            let write_other = other.map(|variant| {
                let pattern = &variant.pattern;
                quote!(if let #pattern = self {
                    return #rt::XmlElement::write(inner, w, "");
                })
            });
            let any = other.is_some();
            quote! {
              fn write(&self, w: &mut #rt::Writer, _name: &str) {
                  #write_other
                  let name = self.xml_tag();
                  w.start(name);
                  self.write_attributes(w);
                  self.write_content(w);
                  w.end(name);
              }

              fn knows_name(element: #rt::Element<'_>) -> bool {
                  #any || [#(#words),*].iter().any(|word| element.is(word))
              }
            }
        }
    };
    let name = &input.ident;
    let element = match &tag {
        Tag::Name => String::new(),
        _ => element_name(input, options),
    };
    let type_name = name.to_string();
    let doc = doc_of(&input.attrs);
    let check = options
        .check
        .as_ref()
        .map(|check| quote!(#check(&mut value, element, cx)?;));
    Ok(quote! {
        #[allow(unused_variables, clippy::all, reason = "derived code")]
        impl #name {
            /// The word by which XML tells the variants apart.
            pub fn xml_tag(&self) -> &'static str {
                match self { #(#word_arms),* }
            }
        }

        #[allow(unused_variables, unused_mut, clippy::all, reason = "derived code")]
        impl #rt::XmlElement for #name {
            const NAME: &'static str = #element;

            fn read(element: #rt::Element<'_>, cx: &mut #rt::Reader) -> ::virt_util::Result<Self> {
                const WORDS: &[&str] = &[#(#words),*];
                let index: usize = #choose;
                let read: ::virt_util::Result<Self> = match index { #(#read_arms)* };
                let mut value = read?;
                #check
                ::core::result::Result::Ok(value)
            }

            fn write_attributes(&self, w: &mut #rt::Writer) {
                #own_tag
                match self { #(#attribute_arms)* }
            }

            fn write_content(&self, w: &mut #rt::Writer) {
                match self { #(#content_arms)* }
            }

            fn is_surely_something(&self, w: &#rt::Writer) -> bool {
                #sure
            }

            #special

            fn schema() -> &'static #rt::schema::ElementSchema {
                static SCHEMA: #rt::schema::ElementSchema = #rt::schema::ElementSchema {
                    type_name: #type_name,
                    name: #element,
                    doc: #doc,
                    content: #rt::schema::Content::Union { tag: #tag_text, variants: &[#(#schemas),*] },
                };
                &SCHEMA
            }
        }
    })
}
