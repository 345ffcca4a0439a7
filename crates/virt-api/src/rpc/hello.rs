//! How a client learns that a daemon is one of ours.
//!
//! libvirt's daemon handles up to five packets of a client at once and in no order, so a client of it has to wait for
//! each answer before it asks what depends on it. Ours promises more. A client of ours asks for the promise in a program
//! of its own, beside its first call: a daemon that does not know the program answers with an error, and the client goes
//! on as before.
//!
//! The call has no arguments and is allowed before authentication. Its answer is two words: [`RULES`] and the promises;
//! what a newer daemon adds behind them is to be ignored.

use virt_util::Result;
use virt_util::xdr::{XdrDecoder, XdrEncoder};

use super::Header;

/// The program's number.
pub const PROGRAM: u32 = 0x4665_7272;
/// The program's version.
pub const VERSION: u32 = 1;
/// The only procedure.
pub const PROCEDURE: u32 = 1;
/// The version of what the promises mean.
pub const RULES: u32 = 1;

bitflags::bitflags! {
    /// What a daemon promises.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Promises: u32 {
        /// Calls of one client are handled in the order of their arrival until its `CONNECT_OPEN` was answered, and what
        /// arrives behind a failed step of the opening fails too. The client may send all of it in one flight.
        const ORDERED_OPEN = 1;
        /// `CONNECT_SET_IDENTITY` may come before `CONNECT_OPEN`, whose connection is then opened for that identity.
        const IDENTITY_FIRST = 2;
        /// The daemon has rules of its own about who may do what, and holds each object against them: for the client, or
        /// for whom it acts.
        const CHECKS_ACCESS = 4;
    }
}

/// The head of the question.
pub fn question(serial: u32) -> Header {
    Header::call(PROGRAM, VERSION, PROCEDURE as i32, serial)
}

/// Whether a packet with this head asks.
pub fn is_question(header: &Header) -> bool {
    header.program == PROGRAM && header.version == VERSION && header.procedure == PROCEDURE as i32
}

/// The payload of the answer.
pub fn answer(promises: Promises) -> Vec<u8> {
    let mut out = XdrEncoder::new();
    out.u32(RULES);
    out.u32(promises.bits());
    out.into_bytes()
}

/// Reads the payload of an answer. Promises of other rules, and those that nobody knows, count for nothing.
pub fn read_answer(payload: &[u8]) -> Result<Promises> {
    let mut input = XdrDecoder::new(payload);
    let (rules, promises) = (input.u32()?, input.u32()?);
    if rules != RULES {
        return Ok(Promises::empty());
    }
    Ok(Promises::from_bits_truncate(promises))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_survive_the_wire_and_additions() {
        let mut bytes = answer(Promises::ORDERED_OPEN);
        assert_eq!(read_answer(&bytes).unwrap(), Promises::ORDERED_OPEN);
        bytes.extend_from_slice(&[0, 0, 0, 9]);
        assert_eq!(read_answer(&bytes).unwrap(), Promises::ORDERED_OPEN);
        bytes[3] = 2;
        assert_eq!(read_answer(&bytes).unwrap(), Promises::empty());
        assert!(read_answer(&bytes[..5]).is_err());
        assert!(is_question(&question(3)));
    }
}
