//! One call, seen from both sides of the waist.
//!
//! The caller builds an [`OutgoingCall`] and hands it to something that is a [`Caller`]: a driver behind the waist, a
//! daemon behind a socket, a fake in a test. The driver's methods get a [`CallContext`]: everything about the call that
//! is not one of its arguments. Nothing here is a thread-local, since every plugin has its own copy of all statics.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use virt_util::time::{Cancel, Deadline};
use virt_util::typed_param::TypedParams;
use virt_util::{ErrorCode, Result, VirtError};

use crate::access::{AccessObject, Authority, Authorized, ObjectKind, Permission};
use crate::events::EventRegistry;
use crate::host::HostServices;
use crate::stream_end::{Stream, StreamEnd};

/// Program number of libvirt's main RPC program.
pub const PROGRAM_REMOTE: u32 = 0x2000_8086;
/// Program number of libvirt's QEMU program.
pub const PROGRAM_QEMU: u32 = 0x2000_8087;
/// Program number of libvirt's LXC program.
pub const PROGRAM_LXC: u32 = 0x0006_8000;
/// Program number of libvirt's administration program.
pub const PROGRAM_ADMIN: u32 = 0x0690_0690;

/// Program number of what libvirt has no call for: only daemons of ours know it.
pub const PROGRAM_FERROVIRT: u32 = 0x4665_7273;

/// Who calls, in libvirt's identity parameters (`VIR_CONNECT_IDENTITY_*`): `user-name`, `unix-user-id`,
/// `unix-group-id`, `process-id`, `process-time`, `sasl-user-name`, `x509-distinguished-name`, `selinux-context` …
///
/// Empty for a caller inside the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity(pub TypedParams);

/// What a host adds to a call for the driver: that access is checked, and on whose behalf the call is made where that is
/// not who opened the connection.
pub fn call_extras(check_access: bool, identity: Option<&Identity>) -> TypedParams {
    let mut extras = TypedParams::new();
    if check_access {
        extras.push(crate::abi::convert::ext::ACCESS, true);
    }
    if let Some(identity) = identity {
        crate::abi::convert::push_identity(&mut extras, identity);
    }
    extras
}

/// Whether a call opens a stream, and how its sender will use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamMode {
    /// The call opens none.
    #[default]
    None,
    /// `send` and `recv` wait.
    Blocking,
    /// `send` and `recv` answer [`crate::stream_end::Transfer::WouldBlock`].
    NonBlocking,
}

/// A call on its way to whoever answers it.
#[derive(Debug)]
pub struct OutgoingCall<'a> {
    /// The RPC program ([`PROGRAM_REMOTE`] …).
    pub program: u32,
    /// The procedure's number in its program.
    pub procedure: u32,
    /// The arguments in XDR.
    pub args: Vec<u8>,
    /// Descriptors lent for the length of the call.
    pub fds: &'a [BorrowedFd<'a>],
    /// When the caller gives up.
    pub deadline: Deadline,
    /// How the caller may give up earlier.
    pub cancel: Cancel,
    /// Whether a stream is wanted.
    pub stream: StreamMode,
    /// Everything that may grow: identity, read-only, trace id … Unknown names are ignored by the other side.
    pub ext: TypedParams,
}

impl OutgoingCall<'_> {
    /// A call without descriptors, stream, deadline or way to cancel.
    pub fn new(program: u32, procedure: u32, args: Vec<u8>) -> Self {
        Self {
            program,
            procedure,
            args,
            fds: &[],
            deadline: Deadline::NONE,
            cancel: Cancel::never(),
            stream: StreamMode::None,
            ext: TypedParams::new(),
        }
    }
}

/// The answer to an [`OutgoingCall`].
#[derive(Debug, Default)]
pub struct CallReply {
    /// The result in XDR.
    pub payload: Vec<u8>,
    /// Descriptors that now belong to the caller.
    pub fds: Vec<OwnedFd>,
    /// The stream the call opened.
    pub stream: Option<StreamEnd>,
}

/// Whoever answers calls. The generated typed clients are written against this.
pub trait Caller: Send + Sync {
    /// Makes the call and waits for its answer.
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply>;
}

impl<T: Caller + ?Sized> Caller for Arc<T> {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        (**self).call(call)
    }
}

impl<T: Caller + ?Sized> Caller for &T {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        (**self).call(call)
    }
}

/// What a driver's method knows about the call besides its arguments.
pub struct CallContext<'a> {
    pub(crate) program: u32,
    pub(crate) procedure: u32,
    pub(crate) deadline: Deadline,
    pub(crate) cancel: Cancel,
    pub(crate) fds: &'a [BorrowedFd<'a>],
    pub(crate) stream_mode: StreamMode,
    pub(crate) ext: TypedParams,
    pub(crate) identity: Arc<Identity>,
    pub(crate) read_only: bool,
    pub(crate) host: HostServices,
    pub(crate) events: Arc<EventRegistry>,
    pub(crate) authority: Authority,
    pub(crate) fds_out: Vec<OwnedFd>,
    pub(crate) stream_out: Option<StreamEnd>,
}

impl<'a> CallContext<'a> {
    /// The context of a call that the hosting process answers itself: the administration of a daemon. Nothing is
    /// attached to it, and no access policy applies.
    pub fn in_host(program: u32, procedure: u32, identity: Identity, host: HostServices) -> Self {
        Self {
            program,
            procedure,
            deadline: Deadline::NONE,
            cancel: Cancel::never(),
            fds: &[],
            stream_mode: StreamMode::None,
            ext: TypedParams::new(),
            identity: Arc::new(identity),
            read_only: false,
            host,
            events: Arc::new(EventRegistry::new(Arc::new(NoEvents))),
            authority: Authority::default(),
            fds_out: Vec::new(),
            stream_out: None,
        }
    }

    /// The RPC program of the call.
    pub fn program(&self) -> u32 {
        self.program
    }

    /// The procedure's number in its program.
    pub fn procedure(&self) -> u32 {
        self.procedure
    }

    /// Who calls.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the caller's connection is read-only.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// When the caller gives up.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Set when the caller gave up.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Everything that came beside the arguments and has no accessor of its own.
    pub fn ext(&self) -> &TypedParams {
        &self.ext
    }

    /// The descriptors that came with the call, lent for its length: `try_clone_to_owned` what must live longer.
    pub fn fds(&self) -> &'a [BorrowedFd<'a>] {
        self.fds
    }

    /// The descriptor at `index`, or an error naming how many came.
    pub fn fd(&self, index: usize) -> Result<BorrowedFd<'a>> {
        self.fds.get(index).copied().ok_or_else(|| {
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "file descriptor number {index} is missing: {} were passed",
                    self.fds.len()
                ),
            )
        })
    }

    /// Sends a descriptor back with the answer. Returns its index there.
    pub fn push_fd(&mut self, fd: OwnedFd) -> usize {
        self.fds_out.push(fd);
        self.fds_out.len() - 1
    }

    /// Whether and how the caller wants a stream.
    pub fn stream_mode(&self) -> StreamMode {
        self.stream_mode
    }

    /// Answers the call with this end of a stream, in the mode that the caller asked for. An error if the caller asked
    /// for none, or if one was attached already.
    pub fn attach_stream(&mut self, stream: impl Stream + 'static) -> Result<()> {
        self.attach_stream_end(StreamEnd::new(stream))
    }

    /// [`CallContext::attach_stream`] for an end that exists already.
    pub fn attach_stream_end(&mut self, end: StreamEnd) -> Result<()> {
        if self.stream_mode == StreamMode::None {
            return Err(VirtError::invalid_arg(
                "the call needs a stream and came without one",
            ));
        }
        if self.stream_out.is_some() {
            return Err(VirtError::internal("the call has a stream already"));
        }
        end.set_nonblocking(self.stream_mode == StreamMode::NonBlocking)?;
        self.stream_out = Some(end);
        Ok(())
    }

    /// What the hosting process offers.
    pub fn host(&self) -> &HostServices {
        &self.host
    }

    /// The event subscriptions of the caller's connection.
    pub fn events(&self) -> &Arc<EventRegistry> {
        &self.events
    }

    /// Checks the permissions of this procedure on `object`, which the driver made from what only it can read: XML, a
    /// lookup, a saved image. The answer is the only way to make the [`Authorized`] reply that such methods return. Fails also if `object` is not the kind of
    /// object that the permissions are about.
    pub fn authorize(&mut self, object: &dyn AccessObject) -> Result<Permit> {
        self.authorize_one(object)?;
        // A method that checked the wrong object must not go on.
        self.refuse_unauthorized()?;
        Ok(Permit(()))
    }

    /// Whether the caller may see `object` in the list, count or statistics that this procedure answers with. Answers
    /// are remembered for the length of the call.
    pub fn may_see(&mut self, object: &dyn AccessObject) -> Result<bool> {
        let mut authority = std::mem::take(&mut self.authority);
        let seen = authority.may_see(self, object);
        self.authority = authority;
        seen
    }

    /// Says which permissions this call needs, before the driver's method runs. For the generated dispatch.
    pub fn require(&mut self, permissions: &[Permission]) {
        self.authority.require(permissions);
    }

    /// Says which permissions an object needs to appear in this call's answer. For the generated dispatch.
    pub fn require_for_listing(&mut self, permissions: &[Permission]) {
        self.authority.require_for_listing(permissions);
    }

    /// Checks the permissions that hold for the connection as a whole. For the generated dispatch, before everything
    /// else.
    pub fn authorize_connection(&mut self) -> Result<()> {
        self.authorize_one(&crate::access::WholeConnection)
    }

    /// Checks what this call needs on `object`, and nothing about other objects of the call. For the generated
    /// dispatch: with several objects in the arguments each is checked by its own call.
    pub fn authorize_one(&mut self, object: &dyn AccessObject) -> Result<()> {
        let mut authority = std::mem::take(&mut self.authority);
        let checked = authority.check(self, object);
        self.authority = authority;
        checked
    }

    /// Refuses an answer whose permissions were never checked. For the dispatch, after the method.
    pub(crate) fn refuse_unauthorized(&self) -> Result<()> {
        match self.authority.unchecked() {
            None => Ok(()),
            Some(permission) => Err(access_denied(permission.object, permission.name)),
        }
    }
}

/// Where there is no connection there are no events.
struct NoEvents;

impl crate::events::EventSink for NoEvents {
    fn event(&self, _: u32, _: u32, _: &[i32], _: &[u8]) {}
}

impl std::fmt::Debug for CallContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallContext")
            .field("program", &self.program)
            .field("procedure", &self.procedure)
            .field("fds", &self.fds.iter().map(AsFd::as_fd).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The error of a refused access, in libvirt's shape.
pub(crate) fn access_denied(object: ObjectKind, permission: &str) -> VirtError {
    VirtError::new(
        ErrorCode::ACCESS_DENIED,
        format_args!("'{}:{permission}' is not allowed", object.name()),
    )
}

/// Proof that the access check of this call has passed. Turn the reply into an [`Authorized`] one with it.
#[derive(Debug)]
pub struct Permit(());

impl Permit {
    /// The reply, marked as authorized.
    pub fn reply<T>(self, reply: T) -> Authorized<T> {
        Authorized::new(self, reply)
    }
}
