//! Types of the protocol as data: what a message looks like on the wire, with its limits.
//!
//! Every codec type carries its [`Shape`], so that what is compared, digested or checked is what is really encoded.

use virt_util::xdr::XdrDecoder;
use virt_util::{ErrorCode, Result, VirtError};

/// How a value looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `int`, and enums.
    I32,
    /// `unsigned int`.
    U32,
    /// `hyper`.
    I64,
    /// `unsigned hyper`.
    U64,
    /// `double`.
    F64,
    /// `char`: a word of its own.
    Char,
    /// `unsigned char`: a word of its own.
    Uchar,
    /// `unsigned short`: a word of its own.
    Ushort,
    /// 16 opaque bytes.
    Uuid,
    /// A string of at most so many bytes.
    String {
        /// The limit.
        max: usize,
    },
    /// Opaque bytes, at most so many.
    Bytes {
        /// The limit.
        max: usize,
    },
    /// A counted list of `char`s, each a word.
    Chars {
        /// The limit.
        max: usize,
    },
    /// So many `char`s, each a word.
    CharsFixed {
        /// The count.
        length: usize,
    },
    /// Typed parameters.
    Params {
        /// The most there may be.
        max: usize,
    },
    /// A value that may be missing.
    Optional(&'static Shape),
    /// A counted list.
    List {
        /// What it holds.
        of: &'static Shape,
        /// The most there may be.
        max: usize,
    },
    /// Fields in order.
    Struct {
        /// The name of the type.
        name: &'static str,
        /// Names and types of the fields.
        fields: &'static [(&'static str, &'static Shape)],
    },
}

impl Shape {
    /// The fewest bytes that a value takes.
    pub fn min_size(&self) -> usize {
        match self {
            Self::I64 | Self::U64 | Self::F64 => 8,
            Self::Uuid => 16,
            Self::CharsFixed { length } => 4 * length,
            Self::Struct { fields, .. } => fields.iter().map(|(_, shape)| shape.min_size()).sum(),
            _ => 4,
        }
    }

    /// Checks that `bytes` are exactly one value of this shape within its limits, and allocates nothing. For messages
    /// that go to or come from the network, where inside a process no limits apply.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let mut input = XdrDecoder::new(bytes);
        self.walk(&mut input)?;
        input.finish()
    }

    /// The number in the field of that name, read past what stands before it; `None` if there is no such number. For
    /// conditions on arguments that are asked before anything is decoded.
    pub fn number_of(&self, field: &str, bytes: &[u8]) -> Result<Option<u64>> {
        let mut input = XdrDecoder::new(bytes);
        Ok(match self.find(field, &mut input)? {
            Some(Self::I32 | Self::U32) => Some(input.u32()?.into()),
            Some(Self::I64 | Self::U64) => Some(input.u64()?),
            _ => None,
        })
    }

    /// The number, with its sign, or the length of the list in the field of that name; `None` if there is no such field.
    pub fn count_of(&self, field: &str, bytes: &[u8]) -> Result<Option<i64>> {
        let mut input = XdrDecoder::new(bytes);
        Ok(match self.find(field, &mut input)? {
            Some(Self::I32) => Some(input.i32()?.into()),
            Some(Self::U32 | Self::List { .. }) => Some(input.u32()?.into()),
            _ => None,
        })
    }

    /// The type of the field of that name, at which the input is then.
    fn find(&self, field: &str, input: &mut XdrDecoder<'_>) -> Result<Option<&'static Shape>> {
        let Self::Struct { fields, .. } = self else {
            return Ok(None);
        };
        for (name, shape) in *fields {
            if *name == field {
                return Ok(Some(shape));
            }
            shape.walk(input)?;
        }
        Ok(None)
    }

    fn walk(&self, input: &mut XdrDecoder<'_>) -> Result<()> {
        match self {
            Self::I32 | Self::U32 | Self::Char | Self::Uchar | Self::Ushort => input.u32().map(drop),
            Self::I64 | Self::U64 | Self::F64 => input.u64().map(drop),
            Self::Uuid => input.opaque_fixed(16).map(drop),
            Self::String { max } => input.string(*max).map(drop),
            Self::Bytes { max } => input.opaque(*max).map(drop),
            Self::Chars { max } => {
                let length = input.length(*max, 4)?;
                input.opaque_fixed(4 * length).map(drop)
            }
            Self::CharsFixed { length } => input.opaque_fixed(4 * length).map(drop),
            Self::Params { max } => {
                for _ in 0..input.length(*max, 12)? {
                    walk_param(input)?;
                }
                Ok(())
            }
            Self::Optional(inner) => {
                if input.bool()? {
                    inner.walk(input)?;
                }
                Ok(())
            }
            Self::List { of, max } => {
                for _ in 0..input.length(*max, of.min_size())? {
                    of.walk(input)?;
                }
                Ok(())
            }
            Self::Struct { fields, .. } => fields.iter().try_for_each(|(name, shape)| {
                shape
                    .walk(input)
                    .map_err(|error| error.context(format_args!("field '{name}'")))
            }),
        }
    }

    /// The type in one line, as the digest and the documentation have it.
    pub fn describe(&self, out: &mut String) {
        use std::fmt::Write;
        // Writing into a string cannot fail.
        let _ = match self {
            Self::I32 => write!(out, "i32"),
            Self::U32 => write!(out, "u32"),
            Self::I64 => write!(out, "i64"),
            Self::U64 => write!(out, "u64"),
            Self::F64 => write!(out, "f64"),
            Self::Char => write!(out, "char"),
            Self::Uchar => write!(out, "uchar"),
            Self::Ushort => write!(out, "ushort"),
            Self::Uuid => write!(out, "uuid"),
            Self::String { max } => write!(out, "string<{max}>"),
            Self::Bytes { max } => write!(out, "bytes<{max}>"),
            Self::Chars { max } => write!(out, "char<{max}>"),
            Self::CharsFixed { length } => write!(out, "char[{length}]"),
            Self::Params { max } => write!(out, "params<{max}>"),
            Self::Optional(inner) => {
                inner.describe(out);
                write!(out, "?")
            }
            Self::List { of, max } => {
                let _ = write!(out, "[");
                of.describe(out);
                write!(out, "; {max}]")
            }
            Self::Struct { fields, .. } => {
                let _ = write!(out, "{{");
                for (index, (name, shape)) in fields.iter().enumerate() {
                    let _ = write!(out, "{}{name}: ", if index == 0 { "" } else { ", " });
                    shape.describe(out);
                }
                write!(out, "}}")
            }
        };
    }
}

fn walk_param(input: &mut XdrDecoder<'_>) -> Result<()> {
    use virt_util::typed_param::STRING_MAX;
    input.string(STRING_MAX)?;
    match input.i32()? {
        1 | 2 | 6 => input.u32().map(drop),
        3..=5 => input.u64().map(drop),
        7 => input.string(STRING_MAX).map(drop),
        other => Err(VirtError::new(
            ErrorCode::RPC,
            format_args!("a typed parameter has the unknown type {other}, 1 to 7 expected"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::remote::{ConnectListDomainsReply, procedure};
    use crate::protocol::table;
    use virt_util::xdr::{XdrEncode, XdrEncoder};

    #[test]
    fn a_number_is_found_behind_other_fields() {
        use crate::protocol::table::{Condition, ReadOnly};
        let mut found = 0;
        for procedure in table::programs().flat_map(|program| program.procedures) {
            let rules = procedure.acl.iter().filter_map(|rule| rule.when);
            let denied = match procedure.read_only {
                ReadOnly::DenyIf(when) => Some(when),
                _ => None,
            };
            let conditions: Vec<Condition> = rules.chain(denied).collect();
            for condition in conditions {
                let shape = procedure.args.unwrap();
                let zeros = vec![0; shape.min_size()];
                let number = shape.number_of(condition.argument, &zeros).unwrap();
                assert_eq!(number, Some(0), "{} {}", procedure.name, condition.argument);
                assert!(shape.number_of(condition.argument, &zeros[..3]).is_err());
                found += 1;
            }
        }
        assert!(found > 50, "{found}");
    }

    #[test]
    fn nobody_is_made_to_hold_more_than_an_answer_may_have() {
        use crate::protocol::remote::{ConnectListDomainsArgs, DomainGetVcpusArgs, DomainRef};
        use virt_util::{ErrorCode, ErrorDomain};
        let check = |number: u32, args: &dyn Fn(&mut XdrEncoder)| {
            let mut out = XdrEncoder::new();
            args(&mut out);
            let procedure = table::procedure(0x2000_8086, number).unwrap();
            procedure
                .check_counts(&out.into_bytes())
                .map_err(|error| (error.code(), error.domain()))
        };
        let vcpus = |maxinfo, maplen| {
            let domain = DomainRef {
                name: "a".to_owned(),
                uuid: uuid::Uuid::nil(),
                id: -1,
            };
            let args = DomainGetVcpusArgs {
                domain,
                maxinfo,
                maplen,
            };
            check(procedure::DOMAIN_GET_VCPUS, &|out| args.encode(out).unwrap())
        };
        let internal = Err((ErrorCode::INTERNAL_ERROR, ErrorDomain::RPC));
        assert_eq!(vcpus(16_384, 512), Ok(()));
        assert_eq!(vcpus(16_384, 513), internal);
        assert_eq!(vcpus(16_385, 0), internal);
        assert_eq!(vcpus(1, i32::MAX), internal);
        assert_eq!(vcpus(1, -1), internal);
        let list = |maxids| {
            let args = ConnectListDomainsArgs { maxids };
            check(procedure::CONNECT_LIST_DOMAINS, &|out| args.encode(out).unwrap())
        };
        assert_eq!(list(16_384), Ok(()));
        assert_eq!(list(16_385), Err((ErrorCode::RPC, ErrorDomain::RPC)));
    }

    #[test]
    fn limits_of_the_network_name_the_field_and_the_limit() {
        let reply = ConnectListDomainsReply { ids: vec![1; 16_385] };
        let mut out = XdrEncoder::without_limits();
        reply.encode(&mut out).unwrap();
        let procedure = table::procedure(0x2000_8086, procedure::CONNECT_LIST_DOMAINS).unwrap();
        let error = procedure.check_reply(&out.into_bytes()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("ids") && text.contains("16385") && text.contains("16384"),
            "{text}"
        );
        assert!(reply.to_xdr().is_err());
    }
}
