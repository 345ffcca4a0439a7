//! How the daemon lives on its host: under which names and at which paths, who started it and how that one is told
//! what goes on, and what keeps it from being started twice or ended too early.
//!
//! | module | is |
//! |---|---|
//! | [`names`] | which daemon this is, by `argv[0]` or `--driver` |
//! | [`paths`] | sockets, pid file, configuration: libvirt's paths |
//! | [`activation`] | sockets that systemd opened, by their names |
//! | [`notify`] | ready, reloading, stopping, and the watchdog |
//! | [`background`] | `--daemon`: a parent that waits until the daemon is ready |
//! | [`inhibit`] | what keeps the daemon from ending for lack of work, and the host from going down |
//! | [`startup`] | the steps of a start that can fail, and the pid file |

pub mod activation;
pub mod background;
pub mod inhibit;
pub mod names;
pub mod notify;
pub mod paths;
pub mod startup;
