//! A call that somebody works on: who answers it first, the worker or the clock that gives it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use virt_api::protocol::table::Procedure;
use virt_api::rpc::Header;
use virt_util::VirtError;
use virt_util::time::Cancel;

use super::ledger::Ledger;
use super::session::Session;
use crate::logging::request::{self, RequestId};

/// A call that runs in a worker, or waits for one.
pub(super) struct RunningCall {
    pub(super) id: u64,
    pub(super) header: Header,
    pub(super) procedure: &'static Procedure,
    pub(super) session: Arc<Session>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) begun: Instant,
    cancel: Cancel,
    answered: AtomicBool,
}

impl RunningCall {
    /// A call of `session` that begins now.
    pub(super) fn new(
        session: &Arc<Session>,
        procedure: &'static Procedure,
        header: Header,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            id: session.server().next_call_id(),
            header,
            procedure,
            session: Arc::clone(session),
            ledger,
            begun: Instant::now(),
            cancel: Cancel::new(),
            answered: AtomicBool::new(false),
        }
    }

    /// What tells the driver that nobody waits any more, and us that it moves.
    pub(super) fn token(&self) -> &Cancel {
        &self.cancel
    }

    /// Tells the driver that nobody waits any more.
    pub(super) fn cancel(&self) {
        self.cancel.set();
    }

    /// How long nothing was heard of it: since it began, or since its driver said that it moves.
    pub(super) fn still(&self) -> Duration {
        let since = self.begun.elapsed();
        self.cancel
            .since_progress()
            .map_or(since, |moved| moved.min(since))
    }

    /// What is logged on this thread from now on belongs to the call.
    pub(super) fn enter(&self) -> request::Entered {
        request::enter(RequestId {
            client: self.session.id(),
            serial: self.header.serial,
        })
    }

    /// Whether the caller of this is the first to answer.
    pub(super) fn claim(&self) -> bool {
        !self.answered.swap(true, Ordering::AcqRel)
    }

    /// Gives the call up: its client is answered now, and what the driver says later is dropped. False if it was
    /// answered before.
    pub(super) fn give_up(&self, error: VirtError) -> bool {
        if !self.claim() {
            return false;
        }
        self.cancel();
        self.ledger.lost_one();
        self.session.forget_call(self.id);
        self.session.answer(&self.header, Err(error));
        self.session.finished();
        true
    }
}
