//! Who is at the other end of a Unix socket, as the kernel knows it.

use std::os::fd::AsFd;

use virt_api::call::Identity;
use virt_util::sys::socket::{peer_credentials, peer_security_label};
use virt_util::typed_param::TypedParams;

/// The identity, and a text for people.
pub(super) fn of_unix(socket: impl AsFd) -> (Identity, String) {
    let Ok(peer) = peer_credentials(&socket) else {
        return (Identity::default(), "unix".to_owned());
    };
    let user = |uid| {
        nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
            .ok()
            .flatten()
    };
    let group = |gid| {
        nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid))
            .ok()
            .flatten()
    };
    let mut params = TypedParams::new();
    if let Some(user) = user(peer.uid) {
        params.push("user-name", user.name);
    }
    params.push("unix-user-id", u64::from(peer.uid));
    if let Some(group) = group(peer.gid) {
        params.push("group-name", group.name);
    }
    params.push("unix-group-id", u64::from(peer.gid));
    params.push("process-id", i64::from(peer.pid));
    if let Some(label) = peer_security_label(&socket) {
        params.push("selinux-context", label);
    }
    (
        Identity(params),
        format!("unix, process {} of user {}", peer.pid, peer.uid),
    )
}
