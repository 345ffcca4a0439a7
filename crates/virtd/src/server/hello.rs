//! The question of a client of ours, whether we are one of its kind.

use virt_api::rpc::hello::Promises;

pub(super) use virt_api::rpc::hello::is_question;

/// The answer: calls of a client are handled in their order until its connection is open, and on a private socket a
/// client may say before that whom it acts for. A proxy has to know whether there are rules here.
pub(super) fn answer(private: bool, enforced: bool) -> Vec<u8> {
    let mut promises = Promises::ORDERED_OPEN;
    promises.set(Promises::IDENTITY_FIRST, private);
    promises.set(Promises::CHECKS_ACCESS, enforced);
    virt_api::rpc::hello::answer(promises)
}
