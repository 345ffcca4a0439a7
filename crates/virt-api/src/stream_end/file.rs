//! A file as a stream: what uploads and downloads of volumes are.
//!
//! A file is always ready, and may take its time all the same: its data is moved by threads that may wait.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};
use parking_lot::Mutex;
use virt_util::error::SystemResult as _;
use virt_util::splice::splice;
use virt_util::{ErrorCode, Result, VirtError};

use super::{Readiness, Stream, Transfer, Waker};

/// So many zeros are written at once where a hole cannot be.
const ZEROS: usize = 1 << 20;

/// A part of a file, to be read or to be written from its beginning to its end. Holes of the file are holes of the
/// stream where its user asks for them ([`Stream::recv`]'s `stop_at_hole`, [`Stream::send_hole`]).
#[derive(Debug)]
pub struct FileStream {
    way: Way,
    sparse: bool,
    place: Mutex<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// A file whose position is that of the stream.
#[derive(Debug)]
struct Place {
    file: File,
    position: u64,
    /// Where the part ends; the file may end before.
    end: u64,
    /// Up to here all is known to be data.
    data_until: u64,
}

impl FileStream {
    /// Reads `length` bytes from `offset` on, or all that there is; fewer where the file ends before. A `sparse` one tells
    /// of holes.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if the file cannot be read at any place, as a pipe cannot.
    pub fn reader(file: File, offset: u64, length: Option<u64>, sparse: bool) -> Result<Self> {
        Self::new(file, Way::Read, offset, length, sparse)
    }

    /// Writes from `offset` on, at most `length` bytes where that is given. The file keeps what is before and behind; a
    /// `sparse` one takes holes.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` if the file cannot be written at any place.
    pub fn writer(file: File, offset: u64, length: Option<u64>, sparse: bool) -> Result<Self> {
        Self::new(file, Way::Write, offset, length, sparse)
    }

    fn new(mut file: File, way: Way, offset: u64, length: Option<u64>, sparse: bool) -> Result<Self> {
        file.seek(SeekFrom::Start(offset))
            .or_system(|| format!("cannot go to byte {offset} of the file"))?;
        Ok(Self {
            way,
            sparse,
            place: Mutex::new(Place {
                file,
                position: offset,
                end: length.map_or(u64::MAX, |length| offset.saturating_add(length)),
                data_until: offset,
            }),
        })
    }

    fn only(&self, way: Way) -> Result<()> {
        if self.way == way {
            return Ok(());
        }
        let only = match self.way {
            Way::Read => "reading",
            Way::Write => "writing",
        };
        Err(VirtError::new(
            ErrorCode::OPERATION_INVALID,
            format_args!("this stream is for {only}"),
        ))
    }

    fn ready(&self) -> Readiness {
        match self.way {
            Way::Read => Readiness::READABLE,
            Way::Write => Readiness::WRITABLE,
        }
    }
}

impl Place {
    /// How many of `wanted` bytes belong to the part.
    fn within(&self, wanted: usize) -> usize {
        usize::try_from(self.end.saturating_sub(self.position)).map_or(wanted, |left| left.min(wanted))
    }

    /// As [`Place::within`], for what is written: nothing goes behind the part.
    fn room(&self, wanted: usize) -> Result<usize> {
        match self.within(wanted) {
            0 if wanted > 0 => Err(VirtError::system(
                Errno::ENOSPC as i32,
                format_args!("cannot write to the stream: it ends at byte {}", self.end),
            )),
            room => Ok(room),
        }
    }

    fn moved(&mut self, count: usize) -> Transfer {
        self.position = self.position.saturating_add(count as u64);
        Transfer::Bytes(count)
    }

    /// What is next, as [`Stream::in_data`] says it.
    fn ahead(&mut self) -> Result<(bool, u64)> {
        if self.position < self.data_until {
            return Ok((true, self.data_until - self.position));
        }
        // Of a device nothing else tells the size.
        let size = self
            .file
            .seek(SeekFrom::End(0))
            .or_system(|| "cannot find the file's end")?;
        let end = size.min(self.end);
        if self.position >= end {
            self.to(self.position)?;
            return Ok((false, 0));
        }
        let data = self.find(Whence::SeekData)?.unwrap_or(end).min(end);
        let ahead = if data > self.position {
            (false, data - self.position)
        } else {
            self.data_until = self
                .find(Whence::SeekHole)?
                .unwrap_or(end)
                .clamp(self.position, end);
            (true, self.data_until - self.position)
        };
        self.to(self.position)?;
        Ok(ahead)
    }

    /// Where the next data or hole begins; none is there behind the last data. File systems that know no holes have data
    /// everywhere.
    fn find(&self, what: Whence) -> Result<Option<u64>> {
        let position = i64::try_from(self.position).unwrap_or(i64::MAX);
        match lseek(&self.file, position, what) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            Err(Errno::ENXIO) => Ok(None),
            Err(Errno::EINVAL) if matches!(what, Whence::SeekData) => Ok(Some(self.position)),
            Err(Errno::EINVAL) => Ok(None),
            Err(errno) => Err(VirtError::system(
                errno as i32,
                format_args!("cannot look for holes at byte {position} of the file"),
            )),
        }
    }

    fn to(&mut self, position: u64) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(position))
            .or_system(|| format!("cannot go to byte {position} of the file"))?;
        self.position = position;
        Ok(())
    }

    /// Makes the next `length` bytes read as zeros; the file grows where it ends before.
    fn make_hole(&mut self, length: u64) -> Result<()> {
        let file = self.file.metadata().or_system(|| "cannot look at the file")?;
        let end = self.position.saturating_add(length);
        // A device does not grow, and all of it is there.
        let old = if file.is_file() { file.len().min(end) } else { end };
        if self.position < old {
            let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let (from, count) = (
                i64::try_from(self.position).unwrap_or(i64::MAX),
                i64::try_from(old - self.position).unwrap_or(i64::MAX),
            );
            if fallocate(&self.file, punch, from, count).is_err() {
                // It cannot have holes there, but zeros.
                let mut left = old - self.position;
                let zeros = vec![0; ZEROS];
                while left > 0 {
                    let part = usize::try_from(left).unwrap_or(ZEROS).min(ZEROS);
                    self.file
                        .write_all(zeros.get(..part).unwrap_or_default())
                        .or_system(|| "cannot write zeros to the file")?;
                    left -= part as u64;
                }
            }
        }
        if file.is_file() && end > file.len() {
            self.file
                .set_len(end)
                .or_system(|| format!("cannot make the file {end} bytes long"))?;
        }
        self.to(end)
    }
}

impl Stream for FileStream {
    fn send(&self, data: &[u8]) -> Result<Transfer> {
        self.only(Way::Write)?;
        let mut place = self.place.lock();
        let room = place.room(data.len())?;
        loop {
            match place.file.write(data.get(..room).unwrap_or_default()) {
                Ok(count) => return Ok(place.moved(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).or_system(|| "cannot write the file"),
            }
        }
    }

    fn recv(&self, buffer: &mut [u8], stop_at_hole: bool) -> Result<Transfer> {
        self.only(Way::Read)?;
        let mut place = self.place.lock();
        let mut most = place.within(buffer.len());
        if self.sparse && stop_at_hole && most > 0 {
            most = match place.ahead()? {
                (false, 0) => 0,
                (false, _) => return Ok(Transfer::AtHole),
                (true, data) => usize::try_from(data).map_or(most, |data| data.min(most)),
            };
        }
        loop {
            match place.file.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(count) => return Ok(place.moved(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).or_system(|| "cannot read the file"),
            }
        }
    }

    fn send_hole(&self, length: u64) -> Result<()> {
        self.only(Way::Write)?;
        if !self.sparse {
            return Err(VirtError::internal("unexpected stream hole"));
        }
        let mut place = self.place.lock();
        if length > place.end.saturating_sub(place.position) {
            return Err(VirtError::system(
                Errno::ENOSPC as i32,
                format_args!(
                    "a hole of {length} bytes goes beyond the stream's end at byte {}",
                    place.end
                ),
            ));
        }
        place.make_hole(length)
    }

    fn recv_hole(&self) -> Result<u64> {
        self.only(Way::Read)?;
        let mut place = self.place.lock();
        match place.ahead()? {
            (false, length) => {
                let behind = place.position.saturating_add(length);
                place.to(behind)?;
                Ok(length)
            }
            (true, _) => Err(VirtError::new(
                ErrorCode::OPERATION_INVALID,
                "the stream is not at a hole",
            )),
        }
    }

    fn in_data(&self) -> Result<(bool, u64)> {
        self.only(Way::Read)?;
        self.place.lock().ahead()
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn abort(&self) -> Result<()> {
        Ok(())
    }

    fn set_nonblocking(&self, _nonblocking: bool) -> Result<()> {
        Ok(())
    }

    fn readiness(&self, interest: Readiness) -> Result<Readiness> {
        Ok(interest.and(self.ready()))
    }

    fn watch(&self, interest: Readiness, waker: Waker) -> Result<()> {
        if !interest.and(self.ready()).is_empty() {
            waker(self.ready());
        }
        Ok(())
    }

    fn can_splice(&self) -> bool {
        // A file takes what lies in one buffer sooner than the single pages of a pipe.
        self.way == Way::Read && !self.sparse
    }

    fn recv_to_pipe(&self, pipe: BorrowedFd<'_>, most: usize) -> Result<Transfer> {
        self.only(Way::Read)?;
        let mut place = self.place.lock();
        let most = place.within(most);
        if most == 0 {
            return Ok(Transfer::Bytes(0));
        }
        let count = splice(&place.file, pipe, most).or_system(|| "cannot read the file")?;
        Ok(place.moved(count))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use proptest::prelude::*;
    use virt_util::splice::Pipe;

    use super::*;

    /// A block of the usual file systems: holes are whole ones.
    const BLOCK: u64 = 4096;

    /// A file with these blocks, of which some are holes.
    fn image(blocks: &[Option<u8>]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(blocks.len() as u64 * BLOCK).unwrap();
        for (at, byte) in blocks.iter().enumerate() {
            if let Some(byte) = byte {
                let block = vec![*byte; usize::try_from(BLOCK).unwrap()];
                file.write_all_at(&block, at as u64 * BLOCK).unwrap();
            }
        }
        file
    }

    fn content(file: &File) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut all, 0).unwrap();
        all
    }

    /// From one end to the other, as a daemon does it.
    fn copy(from: &FileStream, to: &FileStream, step: usize) {
        let mut buffer = vec![0; step];
        loop {
            match from.recv(&mut buffer, true).unwrap() {
                Transfer::Bytes(0) => return,
                Transfer::Bytes(count) => {
                    let mut sent = 0;
                    while sent < count {
                        match to.send(buffer.get(sent..count).unwrap()).unwrap() {
                            Transfer::Bytes(more) => sent += more,
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Transfer::AtHole => to.send_hole(from.recv_hole().unwrap()).unwrap(),
                Transfer::WouldBlock => panic!("files are always ready"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever part of whatever file is copied onto whatever: it is that part afterwards, and nothing else changed.
        #[test]
        fn a_copy_is_like_its_source(
            source in proptest::collection::vec(proptest::option::of(1u8..), 0..12),
            target in proptest::collection::vec(proptest::option::of(1u8..), 0..12),
            offset in 0u64..5 * BLOCK,
            length in proptest::option::of(1u64..9 * BLOCK),
            sparse: bool,
            step in 1usize..10_000,
        ) {
            let (from, to) = (image(&source), image(&target));
            let (original, before) = (content(&from), content(&to));
            let reader = FileStream::reader(from, offset, length, sparse).unwrap();
            let writer = FileStream::writer(to.try_clone().unwrap(), offset, length, sparse).unwrap();
            copy(&reader, &writer, step);
            let start = usize::try_from(offset).unwrap();
            let end = length.map_or(original.len(), |length| original.len().min(start + usize::try_from(length).unwrap()));
            let part = original.get(start..end).unwrap_or_default();
            let mut wanted = before;
            if !part.is_empty() {
                if wanted.len() < end {
                    wanted.resize(end, 0);
                }
                wanted.splice(start..end, part.iter().copied());
            }
            prop_assert!(content(&to) == wanted);
        }
    }

    #[test]
    fn holes_stay_holes() {
        let mut blocks = vec![None; 64];
        blocks.push(Some(7));
        blocks.extend(vec![None; 64]);
        let from = image(&blocks);
        let to = image(&vec![Some(9); 129]);
        let reader = FileStream::reader(from, 0, None, true).unwrap();
        assert_eq!(reader.in_data().unwrap(), (false, 64 * BLOCK));
        let writer = FileStream::writer(to.try_clone().unwrap(), 0, None, true).unwrap();
        copy(&reader, &writer, 100_000);
        assert_eq!(reader.in_data().unwrap(), (false, 0));
        assert_eq!(content(&to).len() as u64, 129 * BLOCK);
        assert!(to.metadata().unwrap().blocks() * 512 < 32 * BLOCK);
    }

    #[test]
    fn nothing_goes_beyond_the_part() {
        let file = image(&[Some(1)]);
        let writer = FileStream::writer(file.try_clone().unwrap(), 10, Some(4), true).unwrap();
        assert_eq!(writer.send(b"abcdef").unwrap(), Transfer::Bytes(4));
        let error = writer.send(b"ef").unwrap_err();
        assert_eq!(
            (error.code(), error.int1()),
            (ErrorCode::SYSTEM_ERROR, Errno::ENOSPC as i32)
        );
        assert!(writer.send_hole(1).is_err());
        assert_eq!(content(&file).get(9..15).unwrap(), b"\x01abcd\x01");
        assert!(writer.recv(&mut [0], false).is_err());
    }

    #[test]
    fn pages_go_through_a_pipe() {
        let blocks: Vec<_> = (1..=64).map(Some).collect();
        let from = image(&blocks);
        let original = content(&from);
        let reader = FileStream::reader(from, 100, Some(200_000), false).unwrap();
        assert!(reader.can_splice());
        let pipe = Pipe::new(1 << 16).unwrap();
        let mut all = Vec::new();
        loop {
            let Transfer::Bytes(count) = reader.recv_to_pipe(pipe.writer(), 1 << 20).unwrap() else {
                panic!("files are always ready");
            };
            if count == 0 {
                break;
            }
            let mut part = vec![0; count];
            File::from(pipe.reader().try_clone_to_owned().unwrap())
                .read_exact(&mut part)
                .unwrap();
            all.extend(part);
        }
        assert!(all == original.get(100..200_100).unwrap());
    }
}
