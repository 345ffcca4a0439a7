//! polkit on a bus of a test's own: it says yes as soon as somebody who could ask a person has come.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};

use zbus::OwnedVariant;
use zbus::export::futures_core::Stream;

use crate::bus::Bus;

/// A bus, and the authority on it. They end with this value.
pub struct Polkit {
    bus: Bus,
    asked: Arc<Mutex<Vec<(String, u32)>>>,
}

/// A question: the subject, the action, details, flags, what takes it back.
type Question = (
    (String, HashMap<String, OwnedVariant>),
    String,
    HashMap<String, String>,
    u32,
    String,
);

impl Polkit {
    /// Starts both. The answer is yes while there is a file `agent`, and otherwise that a person would have to be asked
    /// and nobody can.
    ///
    /// # Panics
    /// If there is no bus; a test asks for `need!(program "dbus-daemon")` before.
    #[track_caller]
    pub fn start(agent: &Path) -> Self {
        let bus = Bus::start();
        let asked: Arc<Mutex<Vec<(String, u32)>>> = Arc::default();
        let (there, agent, questions) = (bus.address().to_owned(), agent.to_owned(), Arc::clone(&asked));
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            // Its end is the bus's.
            let _ = runtime.block_on(serve(&there, &agent, &questions, &ready));
        });
        is_ready.recv().expect("the authority is on the bus");
        Self { bus, asked }
    }

    /// Where the bus is, for `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn address(&self) -> &str {
        self.bus.address()
    }

    /// The actions that were asked about, and of which user, since the last time.
    ///
    /// # Panics
    /// If the authority has panicked.
    pub fn asked(&self) -> Vec<(String, u32)> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

async fn serve(
    address: &str,
    agent: &Path,
    asked: &Mutex<Vec<(String, u32)>>,
    ready: &mpsc::Sender<()>,
) -> zbus::Result<()> {
    let bus = zbus::connection::Builder::address(address).build().await?;
    let mut messages = zbus::MessageStream::from(&bus);
    bus.request_name("org.freedesktop.PolicyKit1").await?;
    let _ = ready.send(());
    while let Some(message) = poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await {
        let message = message?;
        let header = message.header();
        if header.member().is_none_or(|name| name != "CheckAuthorization") {
            continue;
        }
        let ((_, subject), action, ..): Question = message.body().deserialize()?;
        let user = subject.get("uid").and_then(|uid| i32::try_from(uid).ok());
        let user = user.unwrap_or(-1).cast_unsigned();
        asked.lock().expect("no panic").push((action, user));
        let allowed = agent.exists();
        let facts = HashMap::<String, String>::new();
        bus.reply(&header, &((allowed, !allowed, facts),)).await?;
    }
    Ok(())
}
