//! A socket to something that runs, its monitor or its agent, on the driver's reactor.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use virt_util::error::SystemResult as _;
use virt_util::reactor::{ReactorHandle, Readiness, SourceId};
use virt_util::sys::socket::receive_with_fds;
use virt_util::{Result, VirtError};

/// Bytes read at once.
pub(crate) const CHUNK: usize = 64 << 10;

/// Chunks read before the loop sees to others.
const CHUNKS_PER_TURN: usize = 8;

/// The socket and the reactor that watches it.
pub(crate) struct Line {
    /// Never waits.
    pub(crate) socket: UnixStream,
    pub(crate) reactor: ReactorHandle,
}

impl Line {
    /// Over `socket`, which is called `what` in errors.
    pub(crate) fn new(socket: UnixStream, reactor: &ReactorHandle, what: &str) -> Result<Self> {
        socket
            .set_nonblocking(true)
            .or_system(|| format!("cannot use the {what}"))?;
        Ok(Self {
            socket,
            reactor: reactor.clone(),
        })
    }

    /// Has `turn` told of what there is to read or write, for as long as `shared` lives.
    pub(crate) fn watch<T: Send + Sync + 'static>(
        &self,
        what: &str,
        shared: &Arc<T>,
        turn: impl Fn(Arc<T>, SourceId, Readiness) + Send + 'static,
    ) -> Result<SourceId> {
        let watched = self
            .socket
            .try_clone()
            .or_system(|| format!("cannot duplicate the {what}"))?;
        let weak = Arc::downgrade(shared);
        self.reactor
            .add_fd(watched, Readiness::READABLE, move |id, readiness| {
                if let Some(shared) = weak.upgrade() {
                    turn(shared, id, readiness);
                }
            })
    }

    /// Gives `take` what has come, a turn's worth at the most. `Err(None)` at the end.
    pub(crate) fn read(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<(), Option<VirtError>> {
        let mut buffer = vec![0; CHUNK];
        for _ in 0..CHUNKS_PER_TURN {
            let received = match receive_with_fds(&self.socket, &mut buffer, 0).map_err(Some)? {
                None => break,
                Some(received) if received.count == 0 => return Err(None),
                Some(received) => received.count,
            };
            take(buffer.get(..received).unwrap_or_default()).map_err(Some)?;
            if received < CHUNK {
                break;
            }
        }
        Ok(())
    }

    /// Sees to it that `source` is told when there is room to write, if there is something to be written.
    pub(crate) fn watch_for_room(
        &self,
        source: Option<SourceId>,
        interest: &mut Readiness,
        to_write: bool,
    ) -> Result<()> {
        let mut wanted = Readiness::READABLE;
        wanted.set(Readiness::WRITABLE, to_write);
        if let Some(source) = source.filter(|_| wanted != *interest) {
            self.reactor.set_interest(source, wanted)?;
            *interest = wanted;
        }
        Ok(())
    }
}
