//! Whether to stay awake for what is expected soon.
//!
//! Who waits for something that comes in a few microseconds loses more by going to sleep than by looking again and again:
//! to be woken, on another processor at that, takes several times as long. Who does so in vain takes a processor from
//! others. [`Alertness`] decides by what came of it the last times.

use std::sync::OnceLock;

/// After as many vigils for nothing, one is kept after every 2^RAREST occasions at most.
const RAREST: u32 = 8;

/// What came of staying awake so far. Each time it was for nothing makes the next ones rarer, by two; each time it was
/// worth while makes them usual again. Where there is one processor only, nobody stays awake: who is waited for needs it.
///
/// ```
/// use virt_util::alertness::Alertness;
///
/// let mut alertness = Alertness::default();
/// if alertness.is_due() {
///     let came = false; // after having looked for some microseconds
///     alertness.kept(came);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Alertness {
    /// Vigils for nothing, one after the other.
    missed: u32,
    /// How many occasions are passed over before the next vigil.
    passed_over: u32,
}

impl Alertness {
    /// At an occasion: whether to stay awake this time.
    pub fn is_due(&mut self) -> bool {
        if !has_processors() {
            return false;
        }
        match self.passed_over.checked_sub(1) {
            None => true,
            Some(left) => {
                self.passed_over = left;
                false
            }
        }
    }

    /// A vigil was kept, and what was expected came or did not.
    pub fn kept(&mut self, came: bool) {
        self.missed = match came {
            true => 0,
            false => self.missed.saturating_add(1).min(RAREST),
        };
        self.passed_over = match self.missed {
            0 => 0,
            missed => (1 << missed) - 1,
        };
    }
}

/// Whether there is a processor for the other side too.
fn has_processors() -> bool {
    static PROCESSORS: OnceLock<bool> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vigils(occasions: usize, mut came: impl FnMut(usize) -> bool) -> usize {
        let mut alertness = Alertness::default();
        (0..occasions)
            .filter(|occasion| {
                let due = alertness.is_due();
                if due {
                    alertness.kept(came(*occasion));
                }
                due
            })
            .count()
    }

    #[test]
    fn what_never_comes_is_hardly_waited_for() {
        // 1, 2, 4 … 256 occasions for one vigil, then one for each 256.
        if has_processors() {
            assert_eq!(vigils(511 + 4 * 256, |_| false), 9 + 4);
        }
    }

    #[test]
    fn what_always_comes_is_always_waited_for() {
        if has_processors() {
            assert_eq!(vigils(1000, |_| true), 1000);
        }
    }

    #[test]
    fn once_it_comes_again_it_is_waited_for_again() {
        if has_processors() {
            let kept = vigils(2000, |occasion| occasion >= 1000);
            assert!((1000 - 256..1000 + 10).contains(&kept), "{kept}");
        }
    }
}
