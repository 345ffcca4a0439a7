//! Events of one object, told in the order in which they happened.
//!
//! A change notes its event while it holds the lane and tells it after it has let go, so that no listener is called
//! with a lane held. Two changes in a row could then tell theirs in the wrong order; [`OrderedEvents`] sees to it that
//! one of them tells both.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;

/// Events waiting to be told, with a number each that grows by one per event of the object.
pub struct OrderedEvents<E> {
    /// Held for moving events in and out, never while one is told.
    state: Mutex<State<E>>,
}

struct State<E> {
    waiting: VecDeque<(u64, E)>,
    next: u64,
    telling: bool,
}

impl<E> OrderedEvents<E> {
    /// None yet.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                next: 1,
                telling: false,
            }),
        }
    }

    /// Notes what has happened; for whoever holds the lane. Answers the event's number.
    pub fn note(&self, event: E) -> u64 {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, event));
        number
    }

    /// Tells all that waits, in order, unless another thread is at it and will tell ours too. Call it after the lane
    /// was let go.
    pub fn tell(&self, mut listener: impl FnMut(u64, E)) {
        loop {
            let batch = {
                let mut state = self.state.lock();
                if state.telling || state.waiting.is_empty() {
                    return;
                }
                state.telling = true;
                std::mem::take(&mut state.waiting)
            };
            // A listener that panics must not silence the object for ever.
            let _done = Telling(self);
            for (number, event) in batch {
                listener(number, event);
            }
        }
    }
}

struct Telling<'a, E>(&'a OrderedEvents<E>);

impl<E> Drop for Telling<'_, E> {
    fn drop(&mut self) {
        self.0.state.lock().telling = false;
    }
}

impl<E> Default for OrderedEvents<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for OrderedEvents<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderedEvents({} waiting)", self.state.lock().waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_across_threads() {
        let events = OrderedEvents::new();
        let lane = Mutex::new(0u64);
        let told = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        {
                            let mut value = lane.lock();
                            *value += 1;
                            events.note(*value);
                        }
                        events.tell(|number, value| told.lock().push((number, value)));
                    }
                });
            }
        });
        events.tell(|number, value| told.lock().push((number, value)));
        let told = told.into_inner();
        assert_eq!(told, (1..=1600).map(|n| (n, n)).collect::<Vec<_>>());
    }
}
