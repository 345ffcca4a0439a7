//! A clock that stands still until somebody moves it.

use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use virt_util::time::{Cancel, Clock};

/// Time that a test moves with [`FakeClock::advance`]. Those who sleep on it wake when their time has come.
#[derive(Debug)]
pub struct FakeClock {
    nanos: Mutex<u64>,
    moved: Condvar,
    start: SystemTime,
}

/// How often a sleeper looks whether it was cancelled: no descriptor tells a condition variable.
const CANCEL_INTERVAL: Duration = Duration::from_millis(5);

impl FakeClock {
    /// A clock at one second after boot, on 1 January 2024.
    pub fn new() -> Self {
        Self {
            nanos: Mutex::new(1_000_000_000),
            moved: Condvar::new(),
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200),
        }
    }

    /// Lets `duration` go by.
    pub fn advance(&self, duration: Duration) {
        let mut nanos = self.nanos.lock();
        *nanos = nanos.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        self.moved.notify_all();
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for FakeClock {
    fn monotonic_nanos(&self) -> u64 {
        *self.nanos.lock()
    }

    fn wall(&self) -> SystemTime {
        self.start + Duration::from_nanos(self.monotonic_nanos())
    }

    fn sleep(&self, duration: Duration, cancel: &Cancel) -> bool {
        let mut nanos = self.nanos.lock();
        let until = nanos.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        while *nanos < until {
            if cancel.is_set() {
                return false;
            }
            self.moved.wait_for(&mut nanos, CANCEL_INTERVAL);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_sleeper_wakes_when_time_is_moved() {
        let clock = Arc::new(FakeClock::new());
        let sleeper = std::thread::spawn({
            let clock = Arc::clone(&clock);
            move || clock.sleep(Duration::from_secs(3600), &Cancel::never())
        });
        while !sleeper.is_finished() {
            clock.advance(Duration::from_secs(600));
            std::thread::yield_now();
        }
        assert!(sleeper.join().unwrap());
    }

    #[test]
    fn a_cancelled_sleeper_says_so() {
        let cancel = Cancel::new();
        cancel.set();
        assert!(!FakeClock::new().sleep(Duration::from_secs(1), &cancel));
    }
}
