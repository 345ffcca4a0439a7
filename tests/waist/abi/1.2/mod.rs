//! The binary interface, version 1: everything that crosses `dlopen`, and nothing else.
//!
//! Traits grow only at their end, below the line marked *last*, and new methods have default bodies. The structs are
//! frozen: what may grow travels in `ext` as typed parameters in XDR, where unknown names are ignored. Every change of
//! this file raises [`ABI_MINOR`] and is kept as a frozen copy under `tests/waist/abi/`.
//!
//! Conventions: numbers for everything that could be an enum or a `bool`; times are nanoseconds of `CLOCK_MONOTONIC`,
//! 0 for none; descriptors in what goes in are lent for the call, in what comes out given away.

#![allow(
    non_local_definitions,
    missing_docs,
    reason = "the macros of abi_stable 0.11 put their impls into a constant and make undocumented companions"
)]

use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use abi_stable::type_layout::TypeLayout;

/// Changes when an old plugin could not work any more.
pub const ABI_MAJOR: u32 = 1;
/// Changes when a trait grew.
pub const ABI_MINOR: u32 = 2;

/// The result of everything that can fail.
pub type AbiResult<T> = RResult<T, AbiError>;
/// An owned [`Driver`].
pub type DriverBox = Driver_TO<'static, RBox<()>>;
/// An owned [`Connection`].
pub type ConnectionBox = Connection_TO<'static, RBox<()>>;
/// An owned [`EventSink`].
pub type EventSinkBox = EventSink_TO<'static, RBox<()>>;
/// An owned [`StreamEnd`].
pub type StreamEndBox = StreamEnd_TO<'static, RBox<()>>;
/// An owned [`Cancel`].
pub type CancelBox = Cancel_TO<'static, RBox<()>>;
/// An owned [`Callback`].
pub type CallbackBox = Callback_TO<'static, RBox<()>>;
/// An owned [`HostServices`].
pub type HostServicesBox = HostServices_TO<'static, RBox<()>>;

/// A call.
#[repr(C)]
#[derive(StableAbi)]
pub struct CallIn<'a> {
    /// RPC program.
    pub program: u32,
    /// Procedure in the program.
    pub procedure: u32,
    /// Arguments in XDR.
    pub args: RSlice<'a, u8>,
    /// Lent descriptors.
    pub fds: RSlice<'a, i32>,
    /// When the caller gives up.
    pub deadline: u64,
    /// How the caller gives up earlier.
    pub cancel: ROption<CancelBox>,
    /// 0 no stream, 1 a blocking, 2 a nonblocking one.
    pub stream: u32,
    /// Typed parameters in XDR; empty for none.
    pub ext: RSlice<'a, u8>,
}

/// The answer to a call.
#[repr(C)]
#[derive(StableAbi)]
pub struct CallOut {
    /// Result in XDR.
    pub payload: RVec<u8>,
    /// Descriptors given away.
    pub fds: RVec<i32>,
    /// The stream that the call opened.
    pub stream: ROption<StreamEndBox>,
    /// Typed parameters in XDR; empty for none.
    pub ext: RVec<u8>,
}

/// Why something failed: libvirt's error, the rest in `ext`.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiError {
    /// Error number.
    pub code: i32,
    /// Part of the system.
    pub domain: i32,
    /// Level.
    pub level: i32,
    /// First number.
    pub int1: i32,
    /// Second number.
    pub int2: i32,
    /// The whole message.
    pub message: RString,
    /// First string.
    pub str1: ROption<RString>,
    /// Second string.
    pub str2: ROption<RString>,
    /// Third string.
    pub str3: ROption<RString>,
    /// Typed parameters in XDR; empty for none.
    pub ext: RVec<u8>,
}

impl AbiError {
    /// What an older side answers for what it does not know.
    pub fn no_support() -> Self {
        // `VIR_ERR_NO_SUPPORT`.
        const NO_SUPPORT: i32 = 3;
        // `VIR_ERR_ERROR`.
        const ERROR: i32 = 2;
        Self {
            code: NO_SUPPORT,
            domain: 0,
            level: ERROR,
            int1: -1,
            int2: -1,
            message: RString::from("this function is not supported by the connection driver: an older host"),
            str1: ROption::RNone,
            str2: ROption::RNone,
            str3: ROption::RNone,
            ext: RVec::new(),
        }
    }
}

/// A request to open a connection.
#[repr(C)]
#[derive(StableAbi)]
pub struct OpenIn<'a> {
    /// Where to.
    pub uri: RStr<'a>,
    /// libvirt's connect flags.
    pub flags: u32,
    /// When the caller gives up.
    pub deadline: u64,
    /// What to name in [`HostServices::request_credentials`]; 0 if nobody can be asked.
    pub auth: u64,
    /// Typed parameters in XDR; empty for none.
    pub ext: RSlice<'a, u8>,
}

/// What lies ahead in a stream.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
pub struct Ahead {
    /// 1 for data, 0 for a hole or the end.
    pub data: u32,
    /// How long it is; 0 and no data: the end.
    pub length: u64,
}

/// A driver.
#[sabi_trait]
pub trait Driver: Send + Sync {
    /// Runs once before the first open.
    fn initialize(&self, ext: RSlice<'_, u8>) -> AbiResult<()>;

    /// Opens a connection.
    fn open(&self, open: OpenIn<'_>) -> AbiResult<ConnectionBox>;

    /// One of the `CONTROL_` operations. An unknown one answers `VIR_ERR_NO_SUPPORT`. *Last.*
    #[sabi(last_prefix_field)]
    fn control(&self, operation: u32, ext: RSlice<'_, u8>) -> AbiResult<RVec<u8>>;
}

/// [`Driver::control`]: the URI to use by default; answers a typed parameter `uri`, or nothing.
pub const CONTROL_URI_PROBE: u32 = 1;
/// [`Driver::control`]: read configuration again.
pub const CONTROL_RELOAD: u32 = 2;
/// [`Driver::control`]: how much to log; typed parameter `priority`.
pub const CONTROL_SET_LOG: u32 = 3;
/// [`Driver::control`]: save what would be lost.
pub const CONTROL_STOP: u32 = 4;
/// [`Driver::control`]: start nothing new.
pub const CONTROL_SHUTDOWN_PREPARE: u32 = 5;
/// [`Driver::control`]: wait for what runs; typed parameter `deadline`.
pub const CONTROL_SHUTDOWN_WAIT: u32 = 6;

/// [`Driver::control`]: whether opening the typed parameter `uri` neither waits nor reads anything; answers `at-once`.
pub const CONTROL_OPENS_AT_ONCE: u32 = 7;

/// [`Connection::supports`]: the driver wrote the method.
pub const SUPPORTS_IMPLEMENTED: u32 = 1;
/// [`Connection::supports`]: the method answers from a snapshot.
pub const SUPPORTS_INLINE: u32 = 2;

/// A connection: one per client connection.
#[sabi_trait]
pub trait Connection: Send + Sync {
    /// Answers a call.
    fn call(&self, call: CallIn<'_>) -> AbiResult<CallOut>;

    /// `SUPPORTS_` bits of a procedure.
    fn supports(&self, program: u32, procedure: u32) -> u32;

    /// Where events go; before the first registration.
    fn event_sink(&self, sink: EventSinkBox) -> AbiResult<()>;

    /// Turns on keepalive; 0 if there is no use for it.
    fn set_keepalive(&self, interval: i32, count: u32) -> AbiResult<u32>;

    /// 1 while the connection stands.
    fn is_alive(&self) -> AbiResult<u32>;

    /// Calls back once with the reason when the connection ends by itself.
    fn closed(&self, callback: CallbackBox) -> AbiResult<()>;

    /// The client closes. *Last.*
    #[sabi(last_prefix_field)]
    fn close(&self) -> AbiResult<()>;
}

/// Takes events.
#[sabi_trait]
pub trait EventSink: Send + Sync {
    /// An event for these callbacks; `payload` is the message in XDR without its leading callback id. *Last.*
    #[sabi(last_prefix_field)]
    fn event(&self, program: u32, procedure: u32, callbacks: RSlice<'_, i32>, payload: RSlice<'_, u8>);
}

/// What [`StreamEnd::send`] and [`StreamEnd::recv`] answer for "would block".
pub const STREAM_WOULD_BLOCK: i64 = -2;
/// What [`StreamEnd::recv`] answers for "a hole is next".
pub const STREAM_AT_HOLE: i64 = -3;
/// Flag of [`StreamEnd::recv`]: do not turn holes into zeros.
pub const STREAM_STOP_AT_HOLE: u32 = 1;
/// Flag of [`StreamEnd::splice`]: from the pipe to the stream instead of the other way.
pub const STREAM_SPLICE_SEND: u32 = 1;
/// Flag of [`StreamEnd::splice`]: a nonblocking end must not even wait a moment.
pub const STREAM_SPLICE_AT_ONCE: u32 = 2;

/// One end of a stream.
#[sabi_trait]
pub trait StreamEnd: Send + Sync {
    /// Sends some bytes; answers how many.
    fn send(&self, data: RSlice<'_, u8>) -> AbiResult<i64>;

    /// Receives some bytes; answers how many, 0 at the end.
    fn recv(&self, buffer: RSliceMut<'_, u8>, flags: u32) -> AbiResult<i64>;

    /// Sends a hole.
    fn send_hole(&self, length: u64) -> AbiResult<()>;

    /// Receives a hole; answers its length.
    fn recv_hole(&self) -> AbiResult<u64>;

    /// What comes next.
    fn in_data(&self) -> AbiResult<Ahead>;

    /// Ends in good order; answers with the other side's error.
    fn finish(&self) -> AbiResult<()>;

    /// Ends at once.
    fn abort(&self) -> AbiResult<()>;

    /// 1 for nonblocking.
    fn set_nonblocking(&self, nonblocking: u32) -> AbiResult<()>;

    /// What of `interest` the end is ready for.
    fn readiness(&self, interest: u32) -> AbiResult<u32>;

    /// Calls back once when the end is ready for something of `interest`. *Last.*
    #[sabi(last_prefix_field)]
    fn watch(&self, interest: u32, callback: CallbackBox) -> AbiResult<()>;

    /// Moves at most `most` bytes between the stream and the lent pipe without copying them; answers like `recv` and
    /// `send`. For 0 bytes nothing is moved, and the pipe is not looked at: the answer tells whether the end can do this,
    /// which does not change. Since 1.2.
    fn splice(&self, pipe: i32, most: u64, flags: u32) -> AbiResult<i64> {
        let _ = (pipe, most, flags);
        RResult::RErr(AbiError::no_support())
    }
}

/// The wish that a call end early.
#[sabi_trait]
pub trait Cancel: Send + Sync {
    /// 1 once the wish is there.
    fn is_set(&self) -> u32;

    /// A descriptor, lent for the call, that is readable once the wish is there. *Last.*
    #[sabi(last_prefix_field)]
    fn fd(&self) -> AbiResult<i32>;

    /// The other way round: the call still moves. Since 1.1; an older host does not hear it.
    fn progress(&self) {}
}

/// Something to be called back.
#[sabi_trait]
pub trait Callback: Send + Sync {
    /// Calls; the meaning of `value` is its taker's. *Last.*
    #[sabi(last_prefix_field)]
    fn call(&self, value: i64);
}

/// Operations of [`HostServices::claim`].
pub const CLAIM_TAKE: u32 = 1;
/// See [`CLAIM_TAKE`].
pub const CLAIM_RELEASE: u32 = 2;

/// What the hosting process offers.
#[sabi_trait]
pub trait HostServices: Send + Sync {
    /// Takes a log line.
    fn log(&self, priority: u32, target: RStr<'_>, message: RStr<'_>, file: RStr<'_>, line: u32);

    /// Opens another connection for `identity` (typed parameters in XDR).
    fn open_connection(
        &self,
        uri: RStr<'_>,
        flags: u32,
        deadline: u64,
        identity: RSlice<'_, u8>,
        elevated: u32,
        auth_mode: u32,
    ) -> AbiResult<ConnectionBox>;

    /// Watches a descriptor; answers the watch.
    fn add_handle(&self, fd: i32, events: u32, callback: CallbackBox) -> AbiResult<i32>;

    /// Changes a watch.
    fn update_handle(&self, watch: i32, events: u32) -> AbiResult<()>;

    /// Ends a watch.
    fn remove_handle(&self, watch: i32) -> AbiResult<()>;

    /// Starts a timer of so many milliseconds (-1: stopped); answers the timer.
    fn add_timeout(&self, milliseconds: i64, callback: CallbackBox) -> AbiResult<i32>;

    /// Changes a timer.
    fn update_timeout(&self, timer: i32, milliseconds: i64) -> AbiResult<()>;

    /// Ends a timer.
    fn remove_timeout(&self, timer: i32) -> AbiResult<()>;

    /// Asks the user of an open; questions and answers are typed parameters in XDR.
    fn request_credentials(&self, auth: u64, questions: RSlice<'_, u8>) -> AbiResult<RVec<u8>>;

    /// 1 if the identity may do this.
    fn check_acl(
        &self,
        identity: RSlice<'_, u8>,
        program: u32,
        procedure: u32,
        permission: RStr<'_>,
        object: RStr<'_>,
        attributes: RSlice<'_, u8>,
    ) -> AbiResult<u32>;

    /// Takes or gives back what only one may hold.
    fn claim(&self, operation: u32, kind: u32, key: RStr<'_>, owner: RStr<'_>) -> AbiResult<()>;

    /// What is held of a kind: typed parameters in XDR, key and owner.
    fn claims(&self, kind: u32) -> AbiResult<RVec<u8>>;

    /// 1: the process must not exit for lack of work. *Last.*
    #[sabi(last_prefix_field)]
    fn inhibit(&self, inhibited: u32);

    /// One of the `SERVICE_` operations, with typed parameters in XDR both ways. An unknown one answers
    /// `VIR_ERR_NO_SUPPORT`. Since 1.1; what comes later needs no method of its own.
    fn service(&self, operation: u32, ext: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        let _ = (operation, ext);
        RResult::RErr(AbiError::no_support())
    }
}

/// [`HostServices::service`]: a record for the audit trail, as `AuditRecord::to_params` makes it; answers nothing.
pub const SERVICE_AUDIT: u32 = 1;

/// Names every type above, so that one layout check covers them all.
#[repr(C)]
#[derive(StableAbi)]
pub struct Everything {
    /// The driver and, through its methods, what it takes and answers.
    pub driver: DriverBox,
    /// The host and, through its methods, what it takes and answers.
    pub host: HostServicesBox,
}

/// What the handshake of a plugin starts with: `VIRTDRV1` in ASCII.
pub const HANDSHAKE_MAGIC: u64 = 0x5649_5254_4452_5631;

/// Makes the driver. Called once per process.
pub type RootFn = extern "C" fn(HostServicesBox, RSlice<'_, u8>) -> AbiResult<DriverBox>;
/// Answers the layout of [`Everything`] as the plugin was compiled.
pub type LayoutFn = extern "C" fn() -> &'static TypeLayout;

/// What a plugin exports under `virt_driver_handshake_v1_<name>`: plain C, so that it can be read before anything is
/// known of the other side. Grows only at its end; `size` tells how much is there.
#[repr(C)]
pub struct Handshake {
    /// [`HANDSHAKE_MAGIC`].
    pub magic: u64,
    /// Bytes of this structure as the plugin was compiled.
    pub size: u32,
    /// [`ABI_MAJOR`] as the plugin was compiled.
    pub abi_major: u32,
    /// [`ABI_MINOR`] as the plugin was compiled.
    pub abi_minor: u32,
    /// Bytes in `manifest`.
    pub manifest_length: u32,
    /// The manifest, UTF-8 without NUL, the same as in the ELF note.
    pub manifest: *const u8,
    /// See [`LayoutFn`].
    pub layout: LayoutFn,
    /// See [`RootFn`].
    pub root: RootFn,
}

/// The bytes that the handshake of every minor version has.
pub const HANDSHAKE_SIZE_MIN: usize = std::mem::offset_of!(Handshake, root) + size_of::<RootFn>();

// SAFETY: everything behind the pointers is constant.
unsafe impl Sync for Handshake {}
