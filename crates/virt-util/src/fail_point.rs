//! Named places where a test makes the code fail, or the process die: the proof that a change of state is durable.
//!
//! A module lists its points with [`fail_points!`](crate::fail_points) and calls [`FailPoint::pass`] at each; the
//! list is what a test walks. In builds without debug assertions a point is nothing at all. In others it looks at
//! [`with`] (this thread) and at the environment variable `VIRT_FAIL_POINT` (the process, plugins included), whose
//! form is `NAME=ACTION` or `NAME=ACTION@N` for the N-th pass, with several separated by commas. Actions: `error`,
//! `kill` (SIGKILL to the process), `panic`, `stop` (SIGSTOP), `sleep:MILLISECONDS`.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Result, VirtError};

/// One named place.
#[derive(Debug)]
pub struct FailPoint {
    name: &'static str,
    passes: AtomicU64,
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The step fails with EIO.
    Error,
    /// The process is killed, as by the kernel: nothing is cleaned up.
    Kill,
    /// The code panics.
    Panic,
    /// The process stops until somebody continues it.
    Stop,
    /// The step takes this much longer.
    Sleep(Duration),
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "error" => Self::Error,
            "kill" => Self::Kill,
            "panic" => Self::Panic,
            "stop" => Self::Stop,
            _ => Self::Sleep(Duration::from_millis(text.strip_prefix("sleep:")?.parse().ok()?)),
        })
    }
}

/// Declares fail points and the list of them.
///
/// ```
/// virt_util::fail_points! {
///     /// The points of this module.
///     pub const FAIL_POINTS;
///     SAVE = "example.save";
///     FORGET = "example.forget";
/// }
/// # fn main() {
/// assert_eq!(FAIL_POINTS[1].name(), "example.forget");
/// assert!(SAVE.pass().is_ok());
/// # }
/// ```
#[macro_export]
macro_rules! fail_points {
    ($(#[$doc:meta])* $visibility:vis const $list:ident; $($name:ident = $text:literal;)+) => {
        $(static $name: $crate::fail_point::FailPoint = $crate::fail_point::FailPoint::new($text);)+
        $(#[$doc])*
        $visibility static $list: &[&$crate::fail_point::FailPoint] = &[$(&$name),+];
    };
}

impl FailPoint {
    /// For [`fail_points!`](crate::fail_points).
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            passes: AtomicU64::new(0),
        }
    }

    /// `module.operation.step`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Call it where the named step is about to happen. Nothing in release builds; otherwise what a test has asked for.
    #[inline]
    pub fn pass(&self) -> Result<()> {
        if cfg!(debug_assertions) {
            self.obey()
        } else {
            Ok(())
        }
    }

    fn obey(&self) -> Result<()> {
        let here = OVERRIDE.with_borrow(|active| match active {
            Some((name, action)) if *name == self.name => Some(*action),
            _ => None,
        });
        let action = here.or_else(|| {
            let wanted = from_environment()
                .iter()
                .find(|wanted| wanted.name == self.name)?;
            let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
            (wanted.pass.is_none_or(|nth| nth == pass)).then_some(wanted.action)
        });
        match action {
            None => Ok(()),
            Some(Action::Error) => Err(VirtError::system(
                libc::EIO,
                format_args!("fail point '{}'", self.name),
            )),
            Some(Action::Kill) => {
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                // The signal is delivered before this returns; for all cases:
                std::process::abort()
            }
            Some(Action::Panic) => panic!("fail point '{}'", self.name),
            Some(Action::Stop) => {
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
                Ok(())
            }
            Some(Action::Sleep(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }
}

thread_local! {
    static OVERRIDE: RefCell<Option<(&'static str, Action)>> = const { RefCell::new(None) };
}

struct Wanted {
    name: String,
    action: Action,
    pass: Option<u64>,
}

fn from_environment() -> &'static [Wanted] {
    static WANTED: OnceLock<Vec<Wanted>> = OnceLock::new();
    WANTED.get_or_init(|| {
        std::env::var("VIRT_FAIL_POINT")
            .map(|text| parse(&text))
            .unwrap_or_default()
    })
}

fn parse(text: &str) -> Vec<Wanted> {
    text.split(',')
        .filter_map(|item| {
            let (name, action) = item.split_once('=')?;
            let (action, pass) = match action.split_once('@') {
                Some((action, pass)) => (action, Some(pass.parse().ok()?)),
                None => (action, None),
            };
            Some(Wanted {
                name: name.to_owned(),
                action: Action::parse(action)?,
                pass,
            })
        })
        .collect()
}

/// Runs `work` with `action` at the point `name`, on this thread only. For tests; does nothing to release builds.
pub fn with<T>(name: &'static str, action: Action, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<(&'static str, Action)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0.take());
        }
    }
    let _restore = Restore(OVERRIDE.replace(Some((name, action))));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::fail_points! {
        const POINTS;
        FIRST = "test.first";
        SECOND = "test.second";
    }

    #[test]
    fn a_point_obeys_its_own_name_only() {
        let both = || (FIRST.pass().is_ok(), SECOND.pass().is_ok());
        assert_eq!(both(), (true, true));
        assert_eq!(with("test.second", Action::Error, both), (true, false));
        assert_eq!(both(), (true, true));
        assert_eq!(POINTS.len(), 2);
    }

    #[test]
    fn the_variable_is_a_list() {
        let wanted = parse("a=kill,b=error@3,c=sleep:20,nonsense,d=what");
        assert_eq!(wanted.len(), 3);
        assert_eq!(wanted[1].pass, Some(3));
        assert_eq!(wanted[2].action, Action::Sleep(Duration::from_millis(20)));
    }
}
