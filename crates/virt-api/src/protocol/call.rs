//! What the generated clients are made of.

use std::os::fd::BorrowedFd;

use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::TypedParams;
use virt_util::xdr::{XdrDecoder, XdrEncoder};
use virt_util::{ErrorCode, Result, VirtError};

use super::wire::{STRING_MAX, Wire};
use crate::call::{CallReply, Caller, OutgoingCall, StreamMode};
use crate::stream_end::StreamEnd;

/// Through whom and how a typed client calls.
#[derive(Clone)]
pub struct CallSettings<'a> {
    caller: &'a dyn Caller,
    program: u32,
    deadline: Deadline,
    cancel: Cancel,
    ext: TypedParams,
}

impl<'a> CallSettings<'a> {
    /// Calls through `caller`, without deadline or way to cancel.
    pub fn new(caller: &'a dyn Caller, program: u32) -> Self {
        Self {
            caller,
            program,
            deadline: Deadline::NONE,
            cancel: Cancel::never(),
            ext: TypedParams::new(),
        }
    }

    /// Gives up at `deadline`.
    #[must_use]
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// Gives up when `cancel` is set.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sends `ext` beside the arguments of each call.
    #[must_use]
    pub fn ext(mut self, ext: TypedParams) -> Self {
        self.ext = ext;
        self
    }

    pub(in crate::protocol) fn for_program(mut self, program: u32) -> Self {
        self.program = program;
        self
    }

    /// A call with everything that a call can have.
    pub(in crate::protocol) fn full(
        &self,
        procedure: u32,
        args: XdrEncoder,
        fds: &[BorrowedFd<'_>],
        stream: StreamMode,
    ) -> Result<CallReply> {
        self.caller.call(OutgoingCall {
            program: self.program,
            procedure,
            args: args.into_bytes(),
            fds,
            deadline: self.deadline,
            cancel: self.cancel.clone(),
            stream,
            ext: self.ext.clone(),
        })
    }

    /// A call with an empty answer.
    pub(in crate::protocol) fn send(&self, procedure: u32, args: XdrEncoder) -> Result<()> {
        no_reply(&self.full(procedure, args, &[], StreamMode::None)?.payload)
    }

    /// A call with an answer.
    pub(in crate::protocol) fn ask<R: Wire<Value = R>>(&self, procedure: u32, args: XdrEncoder) -> Result<R> {
        decode_reply(&self.full(procedure, args, &[], StreamMode::None)?.payload)
    }
}

/// Reads an answer. The limits of the network were checked where it came from the network.
pub(in crate::protocol) fn decode_reply<R: Wire<Value = R>>(payload: &[u8]) -> Result<R> {
    let mut input = XdrDecoder::without_limits(payload);
    let reply = R::get(&mut input)?;
    input.finish()?;
    Ok(reply)
}

/// Checks that an answer is empty.
pub(in crate::protocol) fn no_reply(payload: &[u8]) -> Result<()> {
    XdrDecoder::new(payload).finish()
}

/// The stream that must have come with the answer.
pub(in crate::protocol) fn take_stream(reply: &mut CallReply) -> Result<StreamEnd> {
    reply.stream.take().ok_or_else(|| {
        VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            "the call was answered without its stream",
        )
    })
}

pub(in crate::protocol) fn put_str(value: &str, out: &mut XdrEncoder) -> Result<()> {
    out.string(value, STRING_MAX)
}

pub(in crate::protocol) fn put_opt_str(value: Option<&str>, out: &mut XdrEncoder) -> Result<()> {
    out.bool(value.is_some());
    value.map_or(Ok(()), |value| put_str(value, out))
}

pub(in crate::protocol) fn put_opt<T: Wire>(value: Option<&T::Value>, out: &mut XdrEncoder) -> Result<()> {
    out.bool(value.is_some());
    value.map_or(Ok(()), |value| T::put(value, out))
}

pub(in crate::protocol) fn put_list<T: Wire>(
    value: &[T::Value],
    max: usize,
    out: &mut XdrEncoder,
) -> Result<()> {
    out.length(value.len(), max)?;
    value.iter().try_for_each(|item| T::put(item, out))
}
