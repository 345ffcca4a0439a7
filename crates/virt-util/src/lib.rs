//! Tools that any part of Ferrovirt may use and that know nothing of domains, networks or pools.
//!
//! | module | for |
//! |---|---|
//! | [`cgroup`] | control groups v1, v2 and both |
//! | [`alertness`] | staying awake for what is expected soon |
//! | [`arch`] | processor architectures by libvirt's names |
//! | [`command`] | starting programs: what a program gets as data, captured output, daemons |
//! | [`durable`] | files that hold their old or their new content, and stay |
//! | [`fail_point`] | named places where tests make the code fail or die |
//! | [`host`] | the machine: CPUs, memory, NUMA cells, caches |
//! | [`ip`] | IP addresses as the C library reads and prints them; masks, prefixes, ranges |
//! | [`json_lines`] | JSON one message a line, in bounded memory |
//! | [`lock`] | pid files and locks between processes |
//! | [`netlink`] | network interfaces of the host: asking for them, changing them |
//! | [`reactor`] | the poll loop: descriptors, timers, child exits, posted work |
//! | [`sys`] | named system call modules: processes by descriptor, socket credentials and cargo, memory files |
//! | [`time`] | deadlines, cancellation, clocks |
//! | [`error`] | [`VirtError`], the one error value, with libvirt's codes, domains and lead texts |
//! | [`xdr`] | the RFC 4506 codec |
//! | [`typed_param`] | libvirt's typed parameters |
//! | [`bitmap`] | sets of small numbers, `0-3,^2` |
//! | [`auth_file`] | `auth.conf`: credentials that the user keeps |
//! | [`calendar`] | moments in the calendar and time zones |
//! | [`conf_file`] | libvirt's configuration file syntax |
//! | [`json`] | JSON whose numbers stay texts |
//! | [`kernel_command_line`], [`kernel_module`] | what the kernel was started with; its modules |
//! | [`keycode`] | key codes and their sets |
//! | [`log_settings`] | the syntax of log settings |
//! | [`mounts`] | mount tables, and which file systems are shared |
//! | [`number`] | numbers at the beginning of texts, as C reads them |
//! | [`path`] | paths as texts |
//! | [`shell`] | quoting of command lines |
//! | [`splice`] | bytes from one descriptor to another without a copy |
//! | [`sub_ids`] | users and groups that may be handed on |
//! | [`systemd`] | names of units and machines |
//! | [`text`] | small work on texts |
//! | [`table`] | tables on terminals |
//! | [`units`] | sizes with units |
//! | [`uri`] | URIs by libvirt's rules |
//! | [`uuid`] | UUIDs as libvirt reads them |
//! | [`xml`] | XML: strict reading, `derive(Xml)`, libvirt's canonical layout |
//! | [`types`] | every public enum, flag set and typed-parameter name |
//!
//! `unsafe` is allowed only in modules that wrap system calls; each says so at its top.

// Derived code names this crate by its public name.
extern crate self as virt_util;

pub mod alertness;
pub mod arch;
pub mod audit;
pub mod auth_file;
pub mod bitmap;
pub mod calendar;
pub mod cgroup;
pub mod command;
pub mod conf_file;
pub mod durable;
pub mod error;
pub mod fail_point;
#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod ip;
pub mod json;
pub mod json_lines;
pub mod kernel_command_line;
pub mod kernel_module;
pub mod keycode;
pub mod lock;
pub mod log_settings;
pub mod mounts;
pub mod netlink;
pub mod number;
pub mod path;
pub mod reactor;
pub mod shell;
pub mod splice;
pub mod sub_ids;
pub mod sys;
pub mod systemd;
pub mod table;
pub mod text;
pub mod time;
pub mod typed_param;
pub mod types;
pub mod units;
pub mod uri;
pub mod uuid;
pub mod xdr;
pub mod xml;

pub use arch::Arch;
pub use error::{ErrorCode, ErrorDomain, Result, VirtError};
