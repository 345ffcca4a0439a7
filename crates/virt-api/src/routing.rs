//! From a procedure to the driver that answers it.
//!
//! A connection belongs to one hypervisor driver, but networks, storage, secrets … may be served by drivers of their
//! own. The [`Router`] has a slot for each kind and fills it when the first call of that kind is made: with the
//! hypervisor's own connection where its driver serves the kind too, otherwise with a connection of the driver that
//! does. Which kind a procedure belongs to is a column of the protocol's table.

use crate::call::{CallReply, Caller, OutgoingCall};
use crate::events::EventSink;
use crate::host::{OpenedConnection, Supports};
use crate::protocol::table::{self, DriverKind};
use once_cell::sync::OnceCell;
use std::sync::Arc;
use virt_util::Result;

/// Opens the connection of a driver that serves `kind` beside the hypervisor; `None` if there is none.
pub type OpenSecondary = Box<dyn Fn(DriverKind) -> Result<Option<Arc<dyn OpenedConnection>>> + Send + Sync>;

/// The kinds that may have a driver of their own.
const SECONDARY: [DriverKind; 6] = [
    DriverKind::Network,
    DriverKind::Interface,
    DriverKind::Storage,
    DriverKind::NodeDevice,
    DriverKind::Nwfilter,
    DriverKind::Secret,
];

/// The connections behind one public connection.
pub struct Router {
    primary: Arc<dyn OpenedConnection>,
    slots: [OnceCell<Arc<dyn OpenedConnection>>; SECONDARY.len()],
    open_secondary: Option<OpenSecondary>,
    /// Given to secondary connections when they are opened.
    sink: OnceCell<Arc<dyn EventSink>>,
}

impl Router {
    /// Routes everything to `primary`, and what it does not serve to what `open_secondary` opens.
    pub fn new(primary: Arc<dyn OpenedConnection>, open_secondary: Option<OpenSecondary>) -> Self {
        Self {
            primary,
            slots: Default::default(),
            open_secondary,
            sink: OnceCell::new(),
        }
    }

    /// The hypervisor's connection.
    pub fn primary(&self) -> &Arc<dyn OpenedConnection> {
        &self.primary
    }

    /// The connection that answers a procedure, if that is known without opening one.
    pub fn peek(&self, program: u32, procedure: u32) -> Option<&Arc<dyn OpenedConnection>> {
        if self.open_secondary.is_none() {
            return Some(&self.primary);
        }
        let kind = table::procedure(program, procedure)?.on;
        match SECONDARY.iter().position(|known| *known == kind) {
            Some(at) => self.slots.get(at)?.get(),
            None => Some(&self.primary),
        }
    }

    /// The connection that answers a procedure.
    pub fn route(&self, program: u32, procedure: u32) -> Result<&Arc<dyn OpenedConnection>> {
        let Some(open) = &self.open_secondary else {
            return Ok(&self.primary);
        };
        let Some(kind) = table::procedure(program, procedure).map(|procedure| procedure.on) else {
            return Ok(&self.primary);
        };
        let Some(slot) = SECONDARY
            .iter()
            .position(|known| *known == kind)
            .and_then(|at| self.slots.get(at))
        else {
            return Ok(&self.primary);
        };
        slot.get_or_try_init(|| {
            if self
                .primary
                .supports(program, procedure)
                .contains(Supports::IMPLEMENTED)
            {
                return Ok(Arc::clone(&self.primary));
            }
            match open(kind)? {
                Some(secondary) => {
                    if let Some(sink) = self.sink.get() {
                        secondary.set_event_sink(Arc::clone(sink))?;
                    }
                    Ok(secondary)
                }
                None => Ok(Arc::clone(&self.primary)),
            }
        })
    }
}

impl Caller for Router {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        self.route(call.program, call.procedure)?.call(call)
    }
}

impl OpenedConnection for Router {
    fn is_alive(&self) -> Result<bool> {
        self.primary.is_alive()
    }

    fn set_keepalive(&self, interval: i32, count: u32) -> Result<bool> {
        self.primary.set_keepalive(interval, count)
    }

    fn on_closed(&self, callback: Box<dyn FnOnce(i32) + Send>) -> Result<()> {
        self.primary.on_closed(callback)
    }

    fn set_event_sink(&self, sink: Arc<dyn EventSink>) -> Result<()> {
        let sink = self.sink.get_or_init(|| sink);
        self.primary.set_event_sink(Arc::clone(sink))?;
        for slot in self.slots.iter().filter_map(OnceCell::get) {
            if !Arc::ptr_eq(slot, &self.primary) {
                slot.set_event_sink(Arc::clone(sink))?;
            }
        }
        Ok(())
    }

    fn supports(&self, program: u32, procedure: u32) -> Supports {
        match self.route(program, procedure) {
            Ok(connection) => connection.supports(program, procedure),
            Err(_) => Supports::empty(),
        }
    }

    fn close(&self) -> Result<()> {
        let mut closed = self.primary.close();
        for slot in self.slots.iter().filter_map(OnceCell::get) {
            if !Arc::ptr_eq(slot, &self.primary) {
                closed = closed.and(slot.close());
            }
        }
        closed
    }

    fn driver_name(&self) -> &str {
        self.primary.driver_name()
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.slots.iter().filter(|slot| slot.get().is_some()).count();
        write!(f, "Router({open} secondary slots in use)")
    }
}
