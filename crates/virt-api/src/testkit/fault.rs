//! A driver that fails on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use virt_util::time::Clock;
use virt_util::{Result, VirtError};

use crate::call::CallContext;
use crate::driver::{Driver, DriverConnection, InitContext, OpenContext, Passthrough};
use crate::host::HostServices;
use crate::protocol::{dispatch, table};

/// What goes wrong in a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails with this error, and nothing was done.
    Error(VirtError),
    /// It panics, and nothing was done.
    Panic(String),
    /// It is answered late.
    Delay(Duration),
    /// It is answered late, and says all the time that it moves.
    Work(Duration),
    /// It never returns by itself: only its deadline or its cancel end it.
    Hang,
    /// It is done, and its answer is lost: this error comes instead.
    LoseAnswer(VirtError),
}

/// Which calls fail, by the procedure's method name (`domain_create`). Shared with the test, which changes it while
/// connections are open.
#[derive(Clone, Default)]
pub struct FaultPlan(Arc<RwLock<BTreeMap<String, Fault>>>);

impl FaultPlan {
    /// Nothing fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on calls of `method` go wrong like this. `open` stands for opening a connection.
    pub fn set(&self, method: impl Into<String>, fault: Fault) {
        self.0.write().insert(method.into(), fault);
    }

    /// Calls of `method` go right again.
    pub fn clear(&self, method: &str) {
        self.0.write().remove(method);
    }

    fn get(&self, method: &str) -> Option<Fault> {
        self.0.read().get(method).cloned()
    }
}

/// Puts faults in front of another driver.
pub struct FaultDriver<D> {
    inner: D,
    plan: FaultPlan,
    clock: Arc<dyn Clock>,
}

impl<D: Driver> FaultDriver<D> {
    /// `inner` with the faults of `plan`, waiting on the machine's clock.
    pub fn new(inner: D, plan: FaultPlan) -> Self {
        Self::on_clock(inner, plan, Arc::new(virt_util::time::SystemClock))
    }

    /// [`FaultDriver::new`] with another clock.
    pub fn on_clock(inner: D, plan: FaultPlan, clock: Arc<dyn Clock>) -> Self {
        Self { inner, plan, clock }
    }
}

#[allow(clippy::panic, reason = "panicking is what it is asked for")]
fn strike(fault: Fault, clock: &dyn Clock, cx: Option<&CallContext<'_>>) -> Result<Option<VirtError>> {
    let never = virt_util::time::Cancel::never();
    let cancel = cx.map_or(&never, |cx| cx.cancel());
    match fault {
        Fault::Error(error) => Err(error),
        Fault::Panic(text) => panic!("{text}"),
        Fault::Delay(duration) => {
            clock.sleep(duration, cancel);
            cancel.check("the call was given up")?;
            Ok(None)
        }
        Fault::Work(duration) => {
            const STEP: Duration = Duration::from_millis(10);
            let mut left = duration;
            while !left.is_zero() {
                cancel.progress();
                let step = left.min(STEP);
                clock.sleep(step, cancel);
                cancel.check("the call was given up")?;
                left -= step;
            }
            Ok(None)
        }
        Fault::Hang => loop {
            if let Some(cx) = cx {
                cx.deadline().check("the call hangs")?;
            }
            clock.sleep(Duration::from_millis(10), cancel);
            cancel.check("the call hangs")?;
        },
        Fault::LoseAnswer(error) => Ok(Some(error)),
    }
}

impl<D: Driver> Driver for FaultDriver<D> {
    fn initialize(&self, host: &HostServices, context: &InitContext) -> Result<()> {
        self.inner.initialize(host, context)
    }

    fn open(&self, cx: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        if let Some(fault) = self.plan.get("open")
            && let Some(error) = strike(fault, &*self.clock, None)?
        {
            return Err(error);
        }
        Ok(Box::new(FaultConnection {
            inner: self.inner.open(cx)?,
            plan: self.plan.clone(),
            clock: Arc::clone(&self.clock),
        }))
    }

    fn uri_probe(&self) -> Result<Option<String>> {
        self.inner.uri_probe()
    }
}

struct FaultConnection {
    inner: Box<dyn DriverConnection>,
    plan: FaultPlan,
    clock: Arc<dyn Clock>,
}

impl DriverConnection for FaultConnection {
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        Some(self)
    }

    fn is_alive(&self) -> Result<bool> {
        self.inner.is_alive()
    }

    fn close(&self) {
        self.inner.close();
    }
}

impl Passthrough for FaultConnection {
    fn call(&self, cx: &mut CallContext<'_>, args: &[u8]) -> Result<Vec<u8>> {
        let method = table::procedure(cx.program(), cx.procedure()).map_or("", |procedure| procedure.method);
        let lost = match self.plan.get(method) {
            Some(fault) => strike(fault, &*self.clock, Some(cx))?,
            None => None,
        };
        let reply = dispatch(&*self.inner, cx, args)?;
        match lost {
            Some(error) => Err(error),
            None => Ok(reply),
        }
    }
}
