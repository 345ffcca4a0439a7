//! Typed parameters: libvirt's name/value lists, used wherever a call or an answer may grow.

use crate::xdr::{XdrDecode, XdrDecoder, XdrEncode, XdrEncoder};
use crate::{ErrorCode, ErrorDomain, Result, VirtError, bail};

/// The longest field name on the wire: `VIR_TYPED_PARAM_FIELD_LENGTH` counts the terminating NUL (80).
pub const FIELD_LENGTH_MAX: usize = 79;

/// The longest string value on the wire (`REMOTE_STRING_MAX`).
pub const STRING_MAX: usize = 4_194_304;

/// A value of one of libvirt's seven types; the discriminants are `virTypedParameterType`.
#[derive(Clone, Debug, PartialEq)]
pub enum TypedValue {
    /// `VIR_TYPED_PARAM_INT` (1).
    Int(i32),
    /// `VIR_TYPED_PARAM_UINT` (2).
    UInt(u32),
    /// `VIR_TYPED_PARAM_LLONG` (3).
    LLong(i64),
    /// `VIR_TYPED_PARAM_ULLONG` (4).
    ULLong(u64),
    /// `VIR_TYPED_PARAM_DOUBLE` (5).
    Double(f64),
    /// `VIR_TYPED_PARAM_BOOLEAN` (6).
    Boolean(bool),
    /// `VIR_TYPED_PARAM_STRING` (7).
    String(String),
}

impl TypedValue {
    /// libvirt's number of the value's type.
    pub fn type_number(&self) -> i32 {
        match self {
            Self::Int(_) => 1,
            Self::UInt(_) => 2,
            Self::LLong(_) => 3,
            Self::ULLong(_) => 4,
            Self::Double(_) => 5,
            Self::Boolean(_) => 6,
            Self::String(_) => 7,
        }
    }

    /// libvirt's word for the value's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::UInt(_) => "uint",
            Self::LLong(_) => "llong",
            Self::ULLong(_) => "ullong",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
            Self::String(_) => "string",
        }
    }
}

macro_rules! from_value {
    ($($rust:ty => $variant:ident),*) => {
        $(impl From<$rust> for TypedValue {
            fn from(value: $rust) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

from_value!(i32 => Int, u32 => UInt, i64 => LLong, u64 => ULLong, f64 => Double, bool => Boolean, String => String);

impl From<&str> for TypedValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

/// One named value.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedParam {
    /// The name, at most [`FIELD_LENGTH_MAX`] bytes.
    pub field: String,
    /// The value.
    pub value: TypedValue,
}

impl TypedParam {
    /// A parameter.
    pub fn new(field: impl Into<String>, value: impl Into<TypedValue>) -> Self {
        Self {
            field: field.into(),
            value: value.into(),
        }
    }
}

impl XdrEncode for TypedParam {
    fn encode(&self, out: &mut XdrEncoder) -> Result<()> {
        if self.field.len() > FIELD_LENGTH_MAX {
            bail!(
                ErrorCode::RPC,
                "parameter name '{}' is longer than {FIELD_LENGTH_MAX} bytes",
                self.field
            );
        }
        out.string(&self.field, STRING_MAX)?;
        out.i32(self.value.type_number());
        match &self.value {
            TypedValue::Int(value) => out.i32(*value),
            TypedValue::UInt(value) => out.u32(*value),
            TypedValue::LLong(value) => out.i64(*value),
            TypedValue::ULLong(value) => out.u64(*value),
            TypedValue::Double(value) => out.f64(*value),
            TypedValue::Boolean(value) => out.i32((*value).into()),
            TypedValue::String(value) => out.string(value, STRING_MAX)?,
        }
        Ok(())
    }
}

impl XdrDecode for TypedParam {
    fn decode(input: &mut XdrDecoder<'_>) -> Result<Self> {
        let field = input.string(STRING_MAX)?;
        if field.len() > FIELD_LENGTH_MAX {
            bail!(
                ErrorCode::RPC,
                "parameter name of {} bytes, at most {FIELD_LENGTH_MAX} allowed",
                field.len()
            );
        }
        let field = field.to_owned();
        let value = match input.i32()? {
            1 => TypedValue::Int(input.i32()?),
            2 => TypedValue::UInt(input.u32()?),
            3 => TypedValue::LLong(input.i64()?),
            4 => TypedValue::ULLong(input.u64()?),
            5 => TypedValue::Double(input.f64()?),
            // The wire type is int: C peers may send any non-zero number for true.
            6 => TypedValue::Boolean(input.i32()? != 0),
            7 => TypedValue::String(input.string(STRING_MAX)?.to_owned()),
            other => bail!(
                ErrorCode::RPC,
                "parameter '{field}' has unknown type {other}, 1 to 7 expected"
            ),
        };
        Ok(Self { field, value })
    }
}

/// An ordered list of parameters. A list, not a map: libvirt's callers see the order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypedParams(pub Vec<TypedParam>);

impl TypedParams {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a parameter.
    pub fn push(&mut self, field: impl Into<String>, value: impl Into<TypedValue>) {
        self.0.push(TypedParam::new(field, value));
    }

    /// Appends a parameter, for building a list in one expression.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<TypedValue>) -> Self {
        self.push(field, value);
        self
    }

    /// The first value of that name.
    pub fn get(&self, field: &str) -> Option<&TypedValue> {
        self.0
            .iter()
            .find(|param| param.field == field)
            .map(|param| &param.value)
    }

    /// The string of that name; an error if it is there with another type.
    pub fn get_string(&self, field: &str) -> Result<Option<&str>> {
        match self.get(field) {
            None => Ok(None),
            Some(TypedValue::String(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(field, "string", other)),
        }
    }

    /// The unsigned 64-bit number of that name; an error if it is there with another type.
    pub fn get_u64(&self, field: &str) -> Result<Option<u64>> {
        match self.get(field) {
            None => Ok(None),
            Some(TypedValue::ULLong(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(field, "ullong", other)),
        }
    }

    /// The boolean of that name; an error if it is there with another type.
    pub fn get_bool(&self, field: &str) -> Result<Option<bool>> {
        match self.get(field) {
            None => Ok(None),
            Some(TypedValue::Boolean(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(field, "boolean", other)),
        }
    }

    /// The unsigned 32-bit number of that name; an error if it is there with another type.
    pub fn get_u32(&self, field: &str) -> Result<Option<u32>> {
        match self.get(field) {
            None => Ok(None),
            Some(TypedValue::UInt(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(field, "uint", other)),
        }
    }

    /// The signed 32-bit number of that name; an error if it is there with another type.
    pub fn get_i32(&self, field: &str) -> Result<Option<i32>> {
        match self.get(field) {
            None => Ok(None),
            Some(TypedValue::Int(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(field, "int", other)),
        }
    }

    /// Refuses parameters that a call does not know, that have another type than it wants, or that are there twice.
    /// A value in `known` stands for its type.
    ///
    /// # Errors
    /// `INVALID_ARG` for types and repetitions, `ARGUMENT_UNSUPPORTED` for names.
    pub fn check(&self, known: &[(&str, TypedValue)]) -> Result<()> {
        // libvirt counts its typed parameters to no part.
        self.find_unfit(known)
            .map_err(|error| error.in_domain(ErrorDomain::NONE))
    }

    fn find_unfit(&self, known: &[(&str, TypedValue)]) -> Result<()> {
        let mut sorted: Vec<&TypedParam> = self.0.iter().collect();
        sorted.sort_by(|one, other| one.field.cmp(&other.field));
        let mut last = None;
        for TypedParam { field, value } in sorted {
            let Some((_, wanted)) = known.iter().find(|(name, _)| name == field) else {
                bail!(
                    ErrorCode::ARGUMENT_UNSUPPORTED,
                    "parameter '{field}' not supported: expected one of {}",
                    known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
                );
            };
            if last == Some(field) {
                bail!(
                    ErrorCode::INVALID_ARG,
                    "parameter '{field}' occurs multiple times"
                );
            }
            if wanted.type_number() != value.type_number() {
                bail!(
                    ErrorCode::INVALID_ARG,
                    "invalid type '{}' for parameter '{field}', expected '{}'",
                    value.type_name(),
                    wanted.type_name()
                );
            }
            last = Some(field);
        }
        Ok(())
    }

    /// The parameters in order.
    pub fn iter(&self) -> std::slice::Iter<'_, TypedParam> {
        self.0.iter()
    }
}

fn wrong_type(field: &str, wanted: &str, found: &TypedValue) -> VirtError {
    VirtError::invalid_arg(format_args!(
        "parameter '{field}' must be of type {wanted}, found {found:?}"
    ))
}

/// More parameters than any caller sends; the limits of the single calls are lower.
const LIST_MAX: usize = 16_384;

impl XdrEncode for TypedParams {
    fn encode(&self, out: &mut XdrEncoder) -> Result<()> {
        out.length(self.0.len(), LIST_MAX)?;
        self.0.iter().try_for_each(|param| param.encode(out))
    }
}

impl XdrDecode for TypedParams {
    fn decode(input: &mut XdrDecoder<'_>) -> Result<Self> {
        let length = input.length(LIST_MAX, 12)?;
        (0..length)
            .map(|_| TypedParam::decode(input))
            .collect::<Result<_>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_what_it_knows_once_and_in_its_type() {
        let known = [
            ("a", TypedValue::UInt(0)),
            ("b", TypedValue::String(String::new())),
        ];
        let code = |params: TypedParams| params.check(&known).map_err(|error| error.code());
        assert_eq!(code(TypedParams::new().with("b", "x").with("a", 1u32)), Ok(()));
        assert_eq!(
            code(TypedParams::new().with("a", 1u64)),
            Err(ErrorCode::INVALID_ARG)
        );
        assert_eq!(
            code(TypedParams::new().with("a", 1u32).with("a", 2u32)),
            Err(ErrorCode::INVALID_ARG)
        );
        assert_eq!(
            code(TypedParams::new().with("c", 1u32)),
            Err(ErrorCode::ARGUMENT_UNSUPPORTED)
        );
    }

    #[test]
    fn every_type_survives_the_wire() {
        let params = TypedParams::new()
            .with("i", -1)
            .with("u", 1u32)
            .with("l", i64::MIN)
            .with("ul", u64::MAX)
            .with("d", 0.5)
            .with("b", true)
            .with("s", "text");
        assert_eq!(TypedParams::from_xdr(&params.to_xdr().unwrap()).unwrap(), params);
    }
}
