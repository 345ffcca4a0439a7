//! The thread that encrypts. What clients of TLS send and get takes the processor for itself: with a thread of its own it
//! costs those who need no encryption nothing. There is none before the first such client.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use virt_util::{Result, VirtError};

/// Where the tasks of TLS clients run. The thread ends with its value.
#[derive(Debug, Default)]
pub(super) struct Encryption(OnceLock<Option<Thread>>);

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// The thread waits for its end.
    _end: oneshot::Sender<()>,
}

impl Thread {
    fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| VirtError::io(&error, "cannot start a runtime for TLS"))?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("virtd-tls".to_owned())
            .spawn(move || {
                // Nothing is ever sent.
                let _ = runtime.block_on(ended);
            })
            .map_err(|error| VirtError::io(&error, "cannot start a thread for TLS"))?;
        Ok(Self {
            runtime: handle,
            _end: end,
        })
    }
}

impl Encryption {
    /// The runtime for TLS clients: `usual` where there can be no other.
    pub(super) fn runtime<'a>(&'a self, usual: &'a Handle) -> &'a Handle {
        let thread = self.0.get_or_init(|| {
            Thread::start()
                .inspect_err(|error| tracing::warn!("{error}: everybody waits for those who use TLS"))
                .ok()
        });
        thread.as_ref().map_or(usual, |thread| &thread.runtime)
    }
}
