//! A connection to a driver in a process of its own, whose errors say so when the process is their cause.

use std::sync::Arc;

use virt_api::call::{CallReply, Caller, OutgoingCall};
use virt_api::events::EventSink;
use virt_api::host::{OpenedConnection, Supports};
use virt_util::{ErrorCode, Result, VirtError};

/// The connection.
pub(crate) struct ToProcess<C> {
    driver: String,
    opened: C,
}

impl<C: OpenedConnection> ToProcess<C> {
    pub(crate) fn new(driver: String, opened: C) -> Self {
        Self { driver, opened }
    }
}

/// What a caller hears of a process that cannot be reached any more.
pub(crate) fn ended(driver: &str, error: &VirtError) -> VirtError {
    VirtError::new(
        ErrorCode::OPERATION_FAILED,
        format_args!("the process of driver '{driver}' has ended or does not answer: {error}"),
    )
}

impl<C: OpenedConnection> Caller for ToProcess<C> {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        self.opened.call(call).map_err(|error| match self.is_alive() {
            // It is the driver that has answered.
            Ok(true) => error,
            _ => ended(&self.driver, &error),
        })
    }
}

impl<C: OpenedConnection> OpenedConnection for ToProcess<C> {
    fn is_alive(&self) -> Result<bool> {
        self.opened.is_alive()
    }

    fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool> {
        self.opened.set_keepalive(interval, count)
    }

    fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) -> Result<()> {
        self.opened.on_closed(callback)
    }

    fn set_event_sink(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        self.opened.set_event_sink(sink)
    }

    fn supports(&self, program: u32, procedure: u32) -> Supports {
        self.opened.supports(program, procedure)
    }

    fn close(&self) -> Result<()> {
        self.opened.close()
    }

    fn driver_name(&self) -> &str {
        self.opened.driver_name()
    }
}
