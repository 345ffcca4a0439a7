//! Arguments for any procedure, made from the table: the smallest that pass the checks before the driver's method.

use virt_util::Result;
use virt_util::time::Deadline;
use virt_util::typed_param::TypedParams;
use virt_util::xdr::{XdrEncode, XdrEncoder};

use crate::call::{CallReply, Caller, OutgoingCall, StreamMode};
use crate::protocol::shape::Shape;
use crate::protocol::table::{Procedure, Rule};

/// What the fields of sample arguments are.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Strings.
    pub text: String,
    /// UUIDs.
    pub uuid: [u8; 16],
    /// Ids of domains.
    pub id: i32,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            text: "sample".into(),
            uuid: [0x42; 16],
            id: -1,
        }
    }
}

/// Arguments of `procedure` in XDR, with every optional field given and every list of one element where the rules
/// demand one.
pub fn sample(procedure: &Procedure, sample: &Sample) -> Result<Vec<u8>> {
    let mut out = XdrEncoder::new();
    if let Some(shape) = procedure.args {
        put(procedure, "", shape, sample, &mut out)?;
    }
    Ok(out.into_bytes())
}

fn wants(procedure: &Procedure, field: &str) -> bool {
    procedure.rules.iter().any(|rule| match rule {
        Rule::NonEmpty(name) | Rule::Positive(name) | Rule::NonZero(name) => *name == field,
        _ => false,
    })
}

/// The number, or the count of items, that a field has.
fn number(procedure: &Procedure, field: &str) -> u8 {
    /// `VIR_DOMAIN_METADATA_ELEMENT`: the kind of metadata for which every field may be given.
    const METADATA_ELEMENT: u8 = 2;
    for rule in procedure.rules {
        match (rule, field) {
            (Rule::Check("new_metadata" | "metadata_uri", _), "kind") => return METADATA_ELEMENT,
            (Rule::Check("new_capacity", _), "capacity") => return 1,
            _ => {}
        }
    }
    wants(procedure, field).into()
}

fn put(
    procedure: &Procedure,
    field: &str,
    shape: &Shape,
    sample: &Sample,
    out: &mut XdrEncoder,
) -> Result<()> {
    let number = number(procedure, field);
    match *shape {
        Shape::I32 if field == "id" => {
            let refused = procedure.rules.contains(&Rule::NonNegative("id"));
            out.i32(if refused { sample.id.max(0) } else { sample.id });
        }
        Shape::I32 | Shape::Char => out.i32(number.into()),
        Shape::U32 | Shape::Uchar | Shape::Ushort => out.u32(number.into()),
        Shape::I64 => out.i64(number.into()),
        Shape::U64 => out.u64(number.into()),
        Shape::F64 => out.f64(number.into()),
        Shape::Uuid => out.opaque_fixed(&sample.uuid),
        Shape::String { max } => out.string(&sample.text, max)?,
        Shape::Bytes { max } => out.opaque(&vec![b'x'; number.into()], max)?,
        Shape::Chars { max } => {
            out.length(number.into(), max)?;
            (0..number).for_each(|_| out.i32(0));
        }
        Shape::CharsFixed { length } => (0..length).for_each(|_| out.i32(0)),
        Shape::Params { .. } if number > 0 => TypedParams::new().with(sample.text.as_str(), 1).encode(out)?,
        Shape::Params { .. } => TypedParams::new().encode(out)?,
        Shape::Optional(inner) => {
            out.bool(true);
            put(procedure, field, inner, sample, out)?;
        }
        Shape::List { of, max } => {
            out.length(number.into(), max)?;
            for _ in 0..number {
                put(procedure, "", of, sample, out)?;
            }
        }
        Shape::Struct { fields, .. } => {
            for (name, shape) in fields {
                put(procedure, name, shape, sample, out)?;
            }
        }
    }
    Ok(())
}

/// Calls `procedure` on `caller` with `args` and whatever else the table says belongs to it (a stream, descriptors), and
/// gives up at `deadline`.
pub fn call(
    caller: &dyn Caller,
    procedure: &Procedure,
    args: Vec<u8>,
    deadline: Deadline,
) -> Result<CallReply> {
    let null = std::fs::File::open("/dev/null")
        .map_err(|error| virt_util::VirtError::io(&error, "cannot open /dev/null"))?;
    let null = std::os::fd::AsFd::as_fd(&null);
    let fds = vec![null; procedure.fds_in.map_or(0, |fds| fds.min)];
    let mut call = OutgoingCall::new(procedure.program, procedure.number, args);
    call.fds = &fds;
    call.deadline = deadline;
    if procedure.stream.is_some() {
        call.stream = StreamMode::NonBlocking;
    }
    caller.call(call)
}
