//! A stream in memory with back-pressure: what a driver uses when it makes the data itself.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use virt_util::{ErrorCode, Result, VirtError};

use super::{Readiness, Stream, StreamEnd, Transfer, Waker};

/// How many bytes one direction of a [`pipe`] holds before its sender has to wait.
pub const PIPE_CAPACITY: usize = 1 << 20;

/// Two ends joined in memory: what goes into one comes out of the other.
///
/// [`StreamEnd::finish`] on one end waits, in either mode, until the other end has finished as well or has failed, so
/// that the one who finishes hears of the other's error (`StreamEnd::abort_with`).
pub fn pipe() -> (StreamEnd, StreamEnd) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
    });
    (
        StreamEnd::new(End::new(Arc::clone(&shared), 0)),
        StreamEnd::new(End::new(shared, 1)),
    )
}

struct Shared {
    /// Held for moves of bytes only; wakers are called after it was released.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// One per direction; side `n` receives from `lanes[n]` and sends into the other.
    lanes: [Lane; 2],
    sides: [Side; 2],
}

#[derive(Default)]
struct Lane {
    items: VecDeque<Item>,
    /// Bytes of data in `items`.
    bytes: usize,
}

enum Item {
    Data { bytes: Vec<u8>, taken: usize },
    Hole(u64),
}

#[derive(Default)]
struct Side {
    nonblocking: bool,
    /// This side sends no more.
    finished: bool,
    /// Why this side ended before its time.
    failed: Option<VirtError>,
    watch: Option<(Readiness, Waker)>,
}

struct End {
    shared: Arc<Shared>,
    side: usize,
}

impl State {
    fn me(&mut self, side: usize) -> &mut Side {
        let [first, second] = &mut self.sides;
        if side == 0 { first } else { second }
    }

    fn peer(&mut self, side: usize) -> &mut Side {
        self.me(1 - side)
    }

    fn incoming(&mut self, side: usize) -> &mut Lane {
        let [first, second] = &mut self.lanes;
        if side == 0 { first } else { second }
    }

    fn outgoing(&mut self, side: usize) -> &mut Lane {
        self.incoming(1 - side)
    }

    fn ready(&mut self, side: usize) -> Readiness {
        let mut ready = Readiness::default();
        let peer_finished = self.peer(side).finished;
        if self.me(side).failed.is_some() || self.peer(side).failed.is_some() {
            return Readiness::ERROR.or(Readiness::READABLE).or(Readiness::WRITABLE);
        }
        if !self.incoming(side).items.is_empty() || peer_finished {
            ready = ready.or(Readiness::READABLE);
        }
        if peer_finished {
            ready = ready.or(Readiness::HANGUP);
        }
        if self.outgoing(side).bytes < PIPE_CAPACITY {
            ready = ready.or(Readiness::WRITABLE);
        }
        ready
    }

    /// The wakers whose moment has come.
    fn due(&mut self) -> Vec<(Waker, Readiness)> {
        let mut due = Vec::new();
        for side in 0..2 {
            let ready = self.ready(side);
            if let Some((interest, waker)) = self.me(side).watch.take() {
                let told = ready.and(interest.or(Readiness::ERROR).or(Readiness::HANGUP));
                if told.is_empty() {
                    self.me(side).watch = Some((interest, waker));
                } else {
                    due.push((waker, told));
                }
            }
        }
        due
    }

    fn error(&mut self, side: usize) -> Option<VirtError> {
        self.me(side)
            .failed
            .clone()
            .or_else(|| self.peer(side).failed.clone())
    }
}

impl Shared {
    /// Tells everybody who waits that something changed.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let due = state.due();
        drop(state);
        self.changed.notify_all();
        for (waker, ready) in due {
            waker(ready);
        }
    }
}

impl End {
    fn new(shared: Arc<Shared>, side: usize) -> Self {
        Self { shared, side }
    }
}

impl Stream for End {
    fn send(&self, data: &[u8]) -> Result<Transfer> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(error) = state.error(self.side) {
                return Err(error);
            }
            if state.me(self.side).finished {
                return Err(finished());
            }
            if data.is_empty() {
                return Ok(Transfer::Bytes(0));
            }
            let room = PIPE_CAPACITY.saturating_sub(state.outgoing(self.side).bytes);
            if room > 0 {
                let part = data.get(..room).unwrap_or(data);
                let lane = state.outgoing(self.side);
                lane.bytes += part.len();
                lane.items.push_back(Item::Data {
                    bytes: part.to_vec(),
                    taken: 0,
                });
                self.shared.announce(state);
                return Ok(Transfer::Bytes(part.len()));
            }
            if state.me(self.side).nonblocking {
                return Ok(Transfer::WouldBlock);
            }
            self.shared.changed.wait(&mut state);
        }
    }

    fn recv(&self, buffer: &mut [u8], stop_at_hole: bool) -> Result<Transfer> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(error) = state.error(self.side) {
                return Err(error);
            }
            if buffer.is_empty() {
                return Ok(Transfer::Bytes(0));
            }
            let peer_finished = state.peer(self.side).finished;
            let lane = state.incoming(self.side);
            match lane.items.front_mut() {
                Some(Item::Data { bytes, taken }) => {
                    let rest = bytes.get(*taken..).unwrap_or_default();
                    let count = rest.len().min(buffer.len());
                    for (to, from) in buffer.iter_mut().zip(rest) {
                        *to = *from;
                    }
                    *taken += count;
                    if *taken >= bytes.len() {
                        lane.items.pop_front();
                    }
                    lane.bytes -= count;
                    self.shared.announce(state);
                    return Ok(Transfer::Bytes(count));
                }
                Some(Item::Hole(_)) if stop_at_hole => return Ok(Transfer::AtHole),
                Some(Item::Hole(length)) => {
                    let count = usize::try_from(*length).unwrap_or(usize::MAX).min(buffer.len());
                    buffer.iter_mut().take(count).for_each(|byte| *byte = 0);
                    *length -= count as u64;
                    if *length == 0 {
                        lane.items.pop_front();
                    }
                    self.shared.announce(state);
                    return Ok(Transfer::Bytes(count));
                }
                None if peer_finished => return Ok(Transfer::Bytes(0)),
                None => {}
            }
            if state.me(self.side).nonblocking {
                return Ok(Transfer::WouldBlock);
            }
            self.shared.changed.wait(&mut state);
        }
    }

    fn send_hole(&self, length: u64) -> Result<()> {
        let mut state = self.shared.state.lock();
        if let Some(error) = state.error(self.side) {
            return Err(error);
        }
        if state.me(self.side).finished {
            return Err(finished());
        }
        let lane = state.outgoing(self.side);
        match lane.items.back_mut() {
            _ if length == 0 => {}
            // Holes merge, so that a sender cannot fill memory with them.
            Some(Item::Hole(last)) => *last = last.saturating_add(length),
            _ => lane.items.push_back(Item::Hole(length)),
        }
        self.shared.announce(state);
        Ok(())
    }

    fn recv_hole(&self) -> Result<u64> {
        let mut state = self.shared.state.lock();
        if let Some(error) = state.error(self.side) {
            return Err(error);
        }
        let lane = state.incoming(self.side);
        match lane.items.front() {
            Some(Item::Hole(length)) => {
                let length = *length;
                lane.items.pop_front();
                self.shared.announce(state);
                Ok(length)
            }
            _ => Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                "the stream is not at a hole",
            )),
        }
    }

    fn in_data(&self) -> Result<(bool, u64)> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(error) = state.error(self.side) {
                return Err(error);
            }
            let peer_finished = state.peer(self.side).finished;
            let lane = state.incoming(self.side);
            let ahead = match lane.items.front() {
                Some(Item::Hole(length)) => Some((false, *length)),
                Some(Item::Data { .. }) => {
                    let bytes = lane
                        .items
                        .iter()
                        .map_while(|item| match item {
                            Item::Data { bytes, taken } => Some((bytes.len() - taken) as u64),
                            Item::Hole(_) => None,
                        })
                        .sum();
                    Some((true, bytes))
                }
                None if peer_finished => Some((false, 0)),
                None => None,
            };
            if let Some(ahead) = ahead {
                return Ok(ahead);
            }
            if state.me(self.side).nonblocking {
                return Err(VirtError::new(
                    ErrorCode::OPERATION_INVALID,
                    "nothing has arrived on the stream yet",
                ));
            }
            self.shared.changed.wait(&mut state);
        }
    }

    fn finish(&self) -> Result<()> {
        let mut state = self.shared.state.lock();
        if let Some(error) = state.error(self.side) {
            return Err(error);
        }
        state.me(self.side).finished = true;
        self.shared.announce(state);
        let mut state = self.shared.state.lock();
        while !state.peer(self.side).finished && state.error(self.side).is_none() {
            self.shared.changed.wait(&mut state);
        }
        match state.error(self.side) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn abort(&self) -> Result<()> {
        self.abort_with(VirtError::new(
            ErrorCode::OPERATION_ABORTED,
            "the stream was aborted",
        ))
    }

    fn abort_with(&self, error: VirtError) -> Result<()> {
        let mut state = self.shared.state.lock();
        let both_finished = state.me(self.side).finished && state.peer(self.side).finished;
        if state.error(self.side).is_none() && !both_finished {
            state.me(self.side).failed = Some(error);
        }
        self.shared.announce(state);
        Ok(())
    }

    fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        self.shared.state.lock().me(self.side).nonblocking = nonblocking;
        Ok(())
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        let ready = self.shared.state.lock().ready(self.side);
        Ok(ready.and(interest.or(Readiness::ERROR).or(Readiness::HANGUP)))
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.me(self.side).watch = Some((interest, waker));
        self.shared.announce(state);
        Ok(())
    }
}

fn finished() -> VirtError {
    VirtError::new(ErrorCode::OPERATION_INVALID, "the stream is finished")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one end does.
    #[derive(Clone, Debug)]
    enum Step {
        Send(usize),
        Hole(u64),
        Recv(usize),
        RecvHole,
        Look,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..3000).prop_map(Step::Send),
            (0u64..5000).prop_map(Step::Hole),
            (1usize..3000).prop_map(Step::Recv),
            Just(Step::RecvHole),
            Just(Step::Look),
        ]
    }

    /// The stream as a list of bytes, `None` in holes.
    type Model = VecDeque<Option<u8>>;

    fn data_ahead(model: &Model) -> usize {
        model.iter().take_while(|byte| byte.is_some()).count()
    }

    fn hole_ahead(model: &Model) -> u64 {
        model.iter().take_while(|byte| byte.is_none()).count() as u64
    }

    proptest! {
        /// Whatever is sent and received in whatever pieces: bytes and holes come out as they went in.
        #[test]
        fn what_goes_in_comes_out(steps in proptest::collection::vec(step(), 1..200)) {
            let (near, far) = pipe();
            near.set_nonblocking(true).unwrap();
            far.set_nonblocking(true).unwrap();
            let mut model = Model::new();
            let mut next = 0u8;
            for step in steps {
                match step {
                    Step::Send(count) => {
                        let bytes: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(1); next }).collect();
                        if let Transfer::Bytes(sent) = near.send(&bytes).unwrap() {
                            prop_assert_eq!(sent, count);
                            model.extend(bytes.into_iter().map(Some));
                        }
                    }
                    Step::Hole(length) => {
                        near.send_hole(length).unwrap();
                        model.extend((0..length).map(|_| None));
                    }
                    Step::Recv(count) => {
                        let mut buffer = vec![0; count];
                        match far.recv(&mut buffer, true).unwrap() {
                            Transfer::Bytes(got) => {
                                prop_assert!(got > 0);
                                for byte in buffer.into_iter().take(got) {
                                    prop_assert_eq!(model.pop_front(), Some(Some(byte)));
                                }
                            }
                            Transfer::AtHole => prop_assert!(hole_ahead(&model) > 0),
                            Transfer::WouldBlock => prop_assert!(model.is_empty()),
                        }
                    }
                    Step::RecvHole => match far.recv_hole() {
                        Ok(length) => {
                            prop_assert_eq!(length, hole_ahead(&model));
                            model.drain(..usize::try_from(length).unwrap());
                        }
                        Err(_) => prop_assert_eq!(hole_ahead(&model), 0),
                    },
                    Step::Look => match far.in_data() {
                        Ok((true, length)) => prop_assert_eq!(length, data_ahead(&model) as u64),
                        Ok((false, length)) => prop_assert_eq!(length, hole_ahead(&model)),
                        Err(_) => prop_assert!(model.is_empty()),
                    },
                }
            }
        }
    }

    #[test]
    fn both_directions_are_independent() {
        let (near, far) = pipe();
        near.send_all(b"there").unwrap();
        far.send_all(b"and back").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(near.recv(&mut buffer, false).unwrap(), Transfer::Bytes(8));
        assert_eq!(far.recv(&mut buffer, false).unwrap(), Transfer::Bytes(5));
        let finishing = std::thread::spawn(move || far.finish());
        near.finish().unwrap();
        finishing.join().unwrap().unwrap();
        assert_eq!(near.recv(&mut buffer, false).unwrap(), Transfer::Bytes(0));
    }

    #[test]
    fn an_end_that_is_dropped_is_aborted() {
        let (near, far) = pipe();
        drop(far);
        let error = near.recv(&mut [0; 4], false).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OPERATION_ABORTED);
        assert_eq!(near.finish().unwrap_err(), error);
    }

    #[test]
    fn a_waker_is_called_once_and_at_once_if_it_is_late() {
        let (near, far) = pipe();
        let (tell, told) = std::sync::mpsc::channel();
        let waker = |tell: &std::sync::mpsc::Sender<Readiness>| {
            let tell = tell.clone();
            Box::new(move |ready| {
                let _ = tell.send(ready);
            })
        };
        near.watch(Readiness::READABLE, waker(&tell)).unwrap();
        assert!(told.try_recv().is_err());
        far.send_all(b"x").unwrap();
        assert_eq!(told.try_recv(), Ok(Readiness::READABLE));
        far.send_all(b"y").unwrap();
        assert!(told.try_recv().is_err());
        near.watch(Readiness::READABLE, waker(&tell)).unwrap();
        assert_eq!(told.try_recv(), Ok(Readiness::READABLE));
    }
}
