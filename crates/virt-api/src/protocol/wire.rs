//! The types of the description and their codecs.
//!
//! A field of a message has a Rust type and a wire type; the wire type carries the limit: `Params<16>` is a list of at
//! most 16 typed parameters, held as [`TypedParams`]. Limits and the bytes at hand are checked before anything is
//! allocated. [`wire_struct!`](crate::protocol::wire) puts fields together.

use std::marker::PhantomData;

use uuid::Uuid;
use virt_util::Result;
use virt_util::typed_param::{TypedParam, TypedParams};
use virt_util::xdr::{XdrDecode, XdrDecoder, XdrEncode, XdrEncoder};

use super::shape::Shape;

/// The longest string of the protocol.
pub const STRING_MAX: usize = 4_194_304;

/// A type of the description.
pub trait Wire {
    /// What it is in Rust.
    type Value;
    /// What it looks like.
    const SHAPE: &'static Shape;
    /// The fewest bytes it takes.
    const MIN: usize;

    /// Appends a value.
    fn put(value: &Self::Value, out: &mut XdrEncoder) -> Result<()>;

    /// Reads a value.
    fn get(input: &mut XdrDecoder<'_>) -> Result<Self::Value>;
}

macro_rules! scalar {
    ($($(#[$doc:meta])* $name:ident: $value:ty = $shape:ident, $min:literal, |$out:ident, $it:ident| $put:expr, |$input:ident| $get:expr;)*) => {
        $($(#[$doc])*
        pub enum $name {}

        impl Wire for $name {
            type Value = $value;
            const SHAPE: &'static Shape = &Shape::$shape;
            const MIN: usize = $min;

            fn put($it: &$value, $out: &mut XdrEncoder) -> Result<()> {
                $put;
                Ok(())
            }

            fn get($input: &mut XdrDecoder<'_>) -> Result<$value> {
                $get
            }
        })*
    };
}

scalar! {
    /// `int`.
    I32: i32 = I32, 4, |out, it| out.i32(*it), |input| input.i32();
    /// `unsigned int`.
    U32: u32 = U32, 4, |out, it| out.u32(*it), |input| input.u32();
    /// `hyper`.
    I64: i64 = I64, 8, |out, it| out.i64(*it), |input| input.i64();
    /// `unsigned hyper`.
    U64: u64 = U64, 8, |out, it| out.u64(*it), |input| input.u64();
    /// `double`.
    F64: f64 = F64, 8, |out, it| out.f64(*it), |input| input.f64();
    /// `char`. C peers keep the low byte of the word.
    Char: i8 = Char, 4, |out, it| out.i32(i32::from(*it)), |input| Ok(input.i32()? as i8);
    /// `unsigned char`. C peers keep the low byte of the word.
    Uchar: u8 = Uchar, 4, |out, it| out.u32(u32::from(*it)), |input| Ok(input.u32()? as u8);
    /// `unsigned short`. C peers keep the low half of the word.
    Ushort: u16 = Ushort, 4, |out, it| out.u32(u32::from(*it)), |input| Ok(input.u32()? as u16);
}

/// A UUID.
pub enum UuidBytes {}

impl Wire for UuidBytes {
    type Value = Uuid;
    const SHAPE: &'static Shape = &Shape::Uuid;
    const MIN: usize = 16;

    fn put(value: &Uuid, out: &mut XdrEncoder) -> Result<()> {
        out.opaque_fixed(value.as_bytes());
        Ok(())
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<Uuid> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(input.opaque_fixed(16)?);
        Ok(Uuid::from_bytes(bytes))
    }
}

/// A string.
pub enum Str {}

impl Wire for Str {
    type Value = String;
    const SHAPE: &'static Shape = &Shape::String { max: STRING_MAX };
    const MIN: usize = 4;

    fn put(value: &String, out: &mut XdrEncoder) -> Result<()> {
        out.string(value, STRING_MAX)
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<String> {
        input.string(STRING_MAX).map(str::to_owned)
    }
}

/// Opaque bytes, at most `MAX`.
pub enum Bytes<const MAX: usize> {}

impl<const MAX: usize> Wire for Bytes<MAX> {
    type Value = Vec<u8>;
    const SHAPE: &'static Shape = &Shape::Bytes { max: MAX };
    const MIN: usize = 4;

    fn put(value: &Vec<u8>, out: &mut XdrEncoder) -> Result<()> {
        out.opaque(value, MAX)
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<Vec<u8>> {
        input.opaque(MAX).map(<[u8]>::to_vec)
    }
}

/// Bytes that travel as C `char`s, a word each; at most `MAX`.
pub enum Chars<const MAX: usize> {}

impl<const MAX: usize> Wire for Chars<MAX> {
    type Value = Vec<u8>;
    const SHAPE: &'static Shape = &Shape::Chars { max: MAX };
    const MIN: usize = 4;

    fn put(value: &Vec<u8>, out: &mut XdrEncoder) -> Result<()> {
        put_chars(value, MAX, out)
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<Vec<u8>> {
        get_chars(MAX, input)
    }
}

/// Text that travels as C `char`s with a NUL at its end; at most `MAX` with the NUL.
pub enum Text<const MAX: usize> {}

impl<const MAX: usize> Wire for Text<MAX> {
    type Value = String;
    const SHAPE: &'static Shape = &Shape::Chars { max: MAX };
    const MIN: usize = 4;

    fn put(value: &String, out: &mut XdrEncoder) -> Result<()> {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        put_chars(&bytes, MAX, out)
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<String> {
        get_chars(MAX, input).map(|bytes| text(&bytes))
    }
}

/// Text in `LENGTH` C `char`s, filled up with NULs; longer text is cut, as C peers do it.
pub enum TextFixed<const LENGTH: usize> {}

impl<const LENGTH: usize> Wire for TextFixed<LENGTH> {
    type Value = String;
    const SHAPE: &'static Shape = &Shape::CharsFixed { length: LENGTH };
    const MIN: usize = 4 * LENGTH;

    fn put(value: &String, out: &mut XdrEncoder) -> Result<()> {
        let bytes = value.as_bytes();
        for index in 0..LENGTH {
            // The last one is always NUL.
            let byte = bytes.get(index).filter(|_| index + 1 < LENGTH);
            out.i32(i32::from(byte.copied().unwrap_or(0) as i8));
        }
        Ok(())
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<String> {
        let bytes = input.opaque_fixed(4 * LENGTH)?;
        Ok(text(&low_bytes(bytes)))
    }
}

pub(in crate::protocol) fn put_chars(value: &[u8], max: usize, out: &mut XdrEncoder) -> Result<()> {
    out.length(value.len(), max)?;
    for byte in value {
        // C peers have signed characters here.
        out.i32(i32::from(*byte as i8));
    }
    Ok(())
}

fn get_chars(max: usize, input: &mut XdrDecoder<'_>) -> Result<Vec<u8>> {
    let length = input.length(max, 4)?;
    Ok(low_bytes(input.opaque_fixed(4 * length)?))
}

fn low_bytes(words: &[u8]) -> Vec<u8> {
    words
        .chunks_exact(4)
        .filter_map(|word| word.last().copied())
        .collect()
}

/// What stands before the first NUL. Labels and models are ASCII; anything else is shown as well as it can be.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Typed parameters, at most `MAX`.
pub enum Params<const MAX: usize> {}

impl<const MAX: usize> Wire for Params<MAX> {
    type Value = TypedParams;
    const SHAPE: &'static Shape = &Shape::Params { max: MAX };
    const MIN: usize = 4;

    fn put(value: &TypedParams, out: &mut XdrEncoder) -> Result<()> {
        put_params(value, MAX, out)
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<TypedParams> {
        get_params(MAX, input)
    }
}

fn put_params(value: &TypedParams, max: usize, out: &mut XdrEncoder) -> Result<()> {
    out.length(value.0.len(), max)?;
    value.0.iter().try_for_each(|param| param.encode(out))
}

fn get_params(max: usize, input: &mut XdrDecoder<'_>) -> Result<TypedParams> {
    let length = input.length(max, 12)?;
    let mut params = Vec::with_capacity(length);
    for _ in 0..length {
        params.push(TypedParam::decode(input)?);
    }
    Ok(TypedParams(params))
}

/// A value that may be missing.
pub struct Opt<T>(PhantomData<T>);

impl<T: Wire> Wire for Opt<T> {
    type Value = Option<T::Value>;
    const SHAPE: &'static Shape = &Shape::Optional(T::SHAPE);
    const MIN: usize = 4;

    fn put(value: &Self::Value, out: &mut XdrEncoder) -> Result<()> {
        out.bool(value.is_some());
        match value {
            Some(value) => T::put(value, out),
            None => Ok(()),
        }
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<Self::Value> {
        if input.bool()? {
            T::get(input).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// A list of at most `MAX` values.
pub struct List<T, const MAX: usize>(PhantomData<T>);

impl<T: Wire, const MAX: usize> Wire for List<T, MAX> {
    type Value = Vec<T::Value>;
    const SHAPE: &'static Shape = &Shape::List {
        of: T::SHAPE,
        max: MAX,
    };
    const MIN: usize = 4;

    fn put(value: &Self::Value, out: &mut XdrEncoder) -> Result<()> {
        out.length(value.len(), MAX)?;
        let Some((first, rest)) = value.split_first() else {
            return Ok(());
        };
        // What follows is about as long as the first, so that long lists are not moved while they grow.
        let before = out.len();
        T::put(first, out)?;
        out.reserve((out.len() - before).saturating_mul(rest.len()));
        rest.iter().try_for_each(|item| T::put(item, out))
    }

    fn get(input: &mut XdrDecoder<'_>) -> Result<Self::Value> {
        // The count fits in the bytes at hand, so the capacity is bounded by them.
        let length = input.length(MAX, T::MIN)?;
        let mut list = Vec::with_capacity(length);
        for _ in 0..length {
            list.push(T::get(input)?);
        }
        Ok(list)
    }
}

/// Reads a message and writes it again. Limits hold both ways.
pub type Recode = fn(&[u8]) -> Result<Vec<u8>>;

/// [`Recode`] for one type.
pub fn recode<T: Wire<Value = T>>(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut input = XdrDecoder::new(bytes);
    let value = T::get(&mut input)?;
    input.finish()?;
    let mut out = XdrEncoder::new();
    T::put(&value, &mut out)?;
    Ok(out.into_bytes())
}

/// Declares messages: each field is `name: RustType as WireType`.
macro_rules! wire_struct {
    ($($(#[$meta:meta])* pub struct $name:ident { $($field:ident: $value:ty as $wire:ty),* $(,)? })*) => {
        $($(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $(pub $field: $value,)*
        }

        impl $crate::protocol::wire::Wire for $name {
            type Value = Self;
            const SHAPE: &'static $crate::protocol::shape::Shape = &$crate::protocol::shape::Shape::Struct {
                name: stringify!($name),
                fields: &[$((stringify!($field), <$wire as $crate::protocol::wire::Wire>::SHAPE)),*],
            };
            const MIN: usize = 0 $(+ <$wire as $crate::protocol::wire::Wire>::MIN)*;

            fn put(value: &Self, out: &mut ::virt_util::xdr::XdrEncoder) -> ::virt_util::Result<()> {
                $(<$wire as $crate::protocol::wire::Wire>::put(&value.$field, out)?;)*
                Ok(())
            }

            fn get(input: &mut ::virt_util::xdr::XdrDecoder<'_>) -> ::virt_util::Result<Self> {
                Ok(Self {
                    $($field: <$wire as $crate::protocol::wire::Wire>::get(input)?,)*
                })
            }
        }

        impl ::virt_util::xdr::XdrEncode for $name {
            fn encode(&self, out: &mut ::virt_util::xdr::XdrEncoder) -> ::virt_util::Result<()> {
                <Self as $crate::protocol::wire::Wire>::put(self, out)
            }
        }

        impl ::virt_util::xdr::XdrDecode for $name {
            fn decode(input: &mut ::virt_util::xdr::XdrDecoder<'_>) -> ::virt_util::Result<Self> {
                <Self as $crate::protocol::wire::Wire>::get(input)
            }
        })*
    };
}

/// Declares integers with named values. Unknown values are kept: a newer peer may know more.
macro_rules! wire_enum {
    ($($(#[$meta:meta])* pub struct $name:ident { $($member:ident = $value:literal),* $(,)? })*) => {
        $($(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub i32);

        impl $name {
            $(#[doc = concat!("Number ", stringify!($value), ".")]
            pub const $member: Self = Self($value);)*
        }

        impl $crate::protocol::wire::Wire for $name {
            type Value = Self;
            const SHAPE: &'static $crate::protocol::shape::Shape = &$crate::protocol::shape::Shape::I32;
            const MIN: usize = 4;

            fn put(value: &Self, out: &mut ::virt_util::xdr::XdrEncoder) -> ::virt_util::Result<()> {
                out.i32(value.0);
                Ok(())
            }

            fn get(input: &mut ::virt_util::xdr::XdrDecoder<'_>) -> ::virt_util::Result<Self> {
                input.i32().map(Self)
            }
        })*
    };
}

pub(crate) use {wire_enum, wire_struct};
