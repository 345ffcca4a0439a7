//! The question of a client of ours, whether we are one of its kind.

use virt_api::rpc::hello::Promises;

pub(super) use virt_api::rpc::hello::is_question;

/// The answer: calls of a client are handled in their order until its connection is open.
pub(super) fn answer() -> Vec<u8> {
    virt_api::rpc::hello::answer(Promises::ORDERED_OPEN)
}
