//! Standard output, on a thread of its own: a reader that stops reading must not keep tracer from
//! answering Ctrl-C.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, oneshot};

/// Batches on their way to the thread.
const QUEUED_BATCHES: usize = 16;
/// Bytes kept back while the queue is full, before the ring buffer has to wait.
const HELD_BYTES: usize = 4 << 20;

/// Where batches of output go.
pub struct Output {
    queue: Option<mpsc::Sender<Bytes>>,
    result: oneshot::Receiver<io::Result<()>>,
    /// To ask after the reader.
    reader: Option<File>,
}

/// How writing ended.
#[derive(Debug)]
pub enum Ending {
    /// All is written.
    Complete,
    /// The reader closed the pipe: it has all that it wanted.
    ReaderGone,
    /// Writing failed.
    Failed(io::Error),
    /// The reader stopped reading, and the rest is not written.
    Stuck,
}

impl Output {
    /// Writes to standard output: unbuffered, every error told, and the end of a pipe's reader noticed
    /// even while there is nothing to write.
    pub fn to_stdout() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let reader = file.try_clone()?;
        let mut output = Self::start(file)?;
        output.reader = Some(reader);
        Ok(output)
    }

    /// Starts the thread that writes to `target`.
    pub fn start(mut target: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (queue, mut batches) = mpsc::channel::<Bytes>(QUEUED_BATCHES);
        let (report, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                let mut write = || -> io::Result<()> {
                    while let Some(batch) = batches.blocking_recv() {
                        target.write_all(&batch)?;
                        target.flush()?;
                    }
                    Ok(())
                };
                // Nobody may be waiting any more.
                let _ = report.send(write());
            })?;
        Ok(Self {
            queue: Some(queue),
            result,
            reader: None,
        })
    }

    /// Hands over what is in `buffer`; waits while the reader is far behind. False once writing has
    /// ended.
    pub async fn send(&self, buffer: &mut BytesMut) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        if buffer.is_empty() {
            return !queue.is_closed();
        }
        let slot = match queue.try_reserve() {
            Ok(slot) => Ok(slot),
            Err(mpsc::error::TrySendError::Full(())) if buffer.len() < HELD_BYTES => return true,
            Err(_) => queue.reserve().await,
        };
        match slot {
            Ok(slot) => {
                slot.send(buffer.split().freeze());
                true
            }
            Err(_) => false,
        }
    }

    /// Hands over what is in `buffer`, without waiting. False if there is too much of it because the
    /// reader is far behind, or writing has ended.
    pub fn offer(&self, buffer: &mut BytesMut) -> bool {
        /// Rather more than to be waited for.
        const MOST: usize = 16 * HELD_BYTES;
        let Some(queue) = &self.queue else {
            return false;
        };
        if buffer.is_empty() {
            return !queue.is_closed();
        }
        match queue.try_reserve() {
            Ok(slot) => {
                slot.send(buffer.split().freeze());
                true
            }
            Err(mpsc::error::TrySendError::Full(())) => buffer.len() < MOST,
            Err(mpsc::error::TrySendError::Closed(())) => false,
        }
    }

    /// Resolves when writing has ended early.
    pub async fn closed(&self) {
        match &self.queue {
            Some(queue) => queue.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Whether the other end of the pipe is closed: told even while there is nothing to write.
    pub fn is_reader_gone(&self) -> bool {
        let Some(reader) = &self.reader else {
            return false;
        };
        let mut asked = [PollFd::new(reader, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut asked, Some(&now)).is_ok()
            && asked.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
    }

    /// Writes the rest, for at most `patience` without an end in sight.
    pub async fn finish(mut self, buffer: &mut BytesMut, patience: Duration) -> Ending {
        let rest = async {
            if let Some(queue) = self.queue.take()
                && !buffer.is_empty()
            {
                // Failure shows in the result below.
                let _ = queue.send(buffer.split().freeze()).await;
            }
            self.result.await
        };
        match tokio::time::timeout(patience, rest).await {
            Err(_) => Ending::Stuck,
            Ok(Ok(Ok(()))) => Ending::Complete,
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => Ending::ReaderGone,
            Ok(Ok(Err(error))) => Ending::Failed(error),
            Ok(Err(_)) => Ending::Failed(io::Error::other("the writing thread died")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken(io::ErrorKind);

    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Deaf;

    impl io::Write for Deaf {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_hours(1));
            Ok(0)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_millis(200);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn everything_arrives_in_order() {
        run(async {
            let target = Shared::default();
            let output = Output::start(target.clone()).unwrap();
            let mut expected = Vec::new();
            let mut buffer = BytesMut::new();
            for number in 0..1000u32 {
                buffer.extend_from_slice(&number.to_le_bytes());
                expected.extend_from_slice(&number.to_le_bytes());
                assert!(output.send(&mut buffer).await);
            }
            let ending = output.finish(&mut buffer, Duration::from_secs(10)).await;
            assert!(matches!(ending, Ending::Complete), "{ending:?}");
            assert_eq!(*target.0.lock().unwrap(), expected);
        });
    }

    #[test]
    fn a_closed_pipe_and_a_full_disk_are_told_apart() {
        for (kind, gone) in [
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::StorageFull, false),
        ] {
            run(async {
                let output = Output::start(Broken(kind)).unwrap();
                let mut buffer = BytesMut::from(&b"x"[..]);
                assert!(output.send(&mut buffer).await);
                output.closed().await;
                buffer.extend_from_slice(b"y");
                assert!(!output.send(&mut buffer).await);
                match output.finish(&mut buffer, PATIENCE).await {
                    Ending::ReaderGone => assert!(gone),
                    Ending::Failed(error) => assert_eq!((error.kind(), gone), (kind, false)),
                    other @ (Ending::Complete | Ending::Stuck) => panic!("{other:?}"),
                }
            });
        }
    }

    #[test]
    fn a_reader_that_stopped_reading_does_not_hold_us() {
        run(async {
            let output = Output::start(Deaf).unwrap();
            let mut buffer = BytesMut::new();
            for _ in 0..QUEUED_BATCHES * 2 {
                buffer.extend_from_slice(b"x");
                assert!(output.send(&mut buffer).await);
            }
            let ending = output.finish(&mut buffer, PATIENCE).await;
            assert!(matches!(ending, Ending::Stuck), "{ending:?}");
        });
    }
}
