//! Names of users and groups, remembered for a while: whoever knows them may be a directory on another host.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_util::Result;
use virt_util::sys::socket::peer_credentials;

use crate::auth::identity::ClientIdentity;

/// How long a name is taken for right.
const FRESH: Duration = Duration::from_secs(60);
/// More are not remembered.
const MOST: usize = 1024;

/// What is remembered: by user and group, their names.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<(u32, u32), (Instant, String, String)>>);

impl Names {
    /// Who is at the other end, without asking anybody but the kernel; `None` if the name is not known.
    pub(super) fn identity(&self, socket: impl AsFd) -> Option<Result<ClientIdentity>> {
        let peer = match peer_credentials(&socket) {
            Ok(peer) => peer,
            Err(error) => return Some(Err(error)),
        };
        let (user, group) = {
            let known = self.0.lock();
            let (since, user, group) = known.get(&(peer.uid, peer.gid))?;
            if since.elapsed() > FRESH {
                return None;
            }
            (user.clone(), group.clone())
        };
        Some(Ok(ClientIdentity::of_peer(socket, peer, user, group)))
    }

    /// Who is at the other end, and remembers the names. May take long.
    pub(super) fn learn(&self, socket: impl AsFd) -> Result<ClientIdentity> {
        let identity = ClientIdentity::of_unix(socket)?;
        if let (Some(unix), Some(user), Some(group)) = (&identity.unix, &identity.user, &identity.group) {
            let mut known = self.0.lock();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(
                (unix.uid, unix.gid),
                (Instant::now(), user.clone(), group.clone()),
            );
        }
        Ok(identity)
    }
}
