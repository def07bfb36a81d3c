//! Output, written on a thread of its own: a reader that stops reading must not keep tracer from answering
//! Ctrl-C.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, oneshot};

/// Batches on their way to the thread.
const QUEUED_BATCHES: usize = 16;
/// Bytes kept back while the queue is full, before the ring buffer has to wait.
const HELD_BYTES: usize = 4 << 20;
/// Bytes written at once, so that it is seen whether writing gets on.
const CHUNK_BYTES: usize = 64 << 10;
/// At the end, for a reader that has stopped reading.
const PATIENCE: Duration = Duration::from_secs(2);
/// Likewise, for a disk.
const PATIENCE_WITH_DISKS: Duration = Duration::from_mins(1);

/// Where batches of output go.
pub struct Output {
    queue: Option<mpsc::Sender<Bytes>>,
    result: oneshot::Receiver<io::Result<()>>,
    /// Bytes written.
    written: Arc<AtomicU64>,
    patience: Duration,
    /// To ask after the reader.
    reader: Option<File>,
}

/// How handing on went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// More can come.
    On,
    /// Nothing more is wanted.
    Enough,
    /// Nobody takes it.
    Stuck,
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
        let mut output = Self::start(file, PATIENCE)?;
        output.reader = Some(reader);
        Ok(output)
    }

    /// Writes to a regular file, from where it stands.
    pub fn to_file(file: File) -> io::Result<Self> {
        Self::start(file, PATIENCE_WITH_DISKS)
    }

    /// Starts the thread that writes to `target`; at the end it may stand still for `patience`.
    fn start(mut target: impl io::Write + Send + 'static, patience: Duration) -> io::Result<Self> {
        let (queue, mut batches) = mpsc::channel::<Bytes>(QUEUED_BATCHES);
        let (report, result) = oneshot::channel();
        let written = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&written);
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                let mut write = || -> io::Result<()> {
                    while let Some(batch) = batches.blocking_recv() {
                        for chunk in batch.chunks(CHUNK_BYTES) {
                            target.write_all(chunk)?;
                            progress.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                        }
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
            written,
            patience,
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

    /// Likewise, and waits only as long as the reader gets on.
    pub async fn send_at_last(&self, buffer: &mut BytesMut) -> Handed {
        loop {
            let before = self.written.load(Ordering::Relaxed);
            match tokio::time::timeout(self.patience, self.send(buffer)).await {
                Ok(true) => return Handed::On,
                Ok(false) => return Handed::Enough,
                Err(_) if self.written.load(Ordering::Relaxed) > before => {}
                Err(_) => return Handed::Stuck,
            }
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

    /// Writes the rest, however long that takes, as long as it gets on.
    pub async fn finish(mut self, buffer: &mut BytesMut) -> Ending {
        let (queue, result) = (self.queue.take(), self.result);
        let rest = async {
            if let Some(queue) = queue
                && !buffer.is_empty()
            {
                // Failure shows in the result below.
                let _ = queue.send(buffer.split().freeze()).await;
            }
            result.await
        };
        tokio::pin!(rest);
        loop {
            let before = self.written.load(Ordering::Relaxed);
            match tokio::time::timeout(self.patience, &mut rest).await {
                Err(_) if self.written.load(Ordering::Relaxed) > before => {}
                Err(_) => return Ending::Stuck,
                Ok(Ok(Ok(()))) => return Ending::Complete,
                Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ending::ReaderGone;
                }
                Ok(Ok(Err(error))) => return Ending::Failed(error),
                Ok(Err(_)) => {
                    return Ending::Failed(io::Error::other("the writing thread died"));
                }
            }
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

    /// Takes a chunk now and then.
    struct Slow;

    impl io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(PATIENCE / 4);
            Ok(bytes.len())
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
            let output = Output::start(target.clone(), Duration::from_secs(10)).unwrap();
            let mut expected = Vec::new();
            let mut buffer = BytesMut::new();
            for number in 0..1000u32 {
                buffer.extend_from_slice(&number.to_le_bytes());
                expected.extend_from_slice(&number.to_le_bytes());
                assert!(output.send(&mut buffer).await);
            }
            let ending = output.finish(&mut buffer).await;
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
                let output = Output::start(Broken(kind), PATIENCE).unwrap();
                let mut buffer = BytesMut::from(&b"x"[..]);
                assert!(output.send(&mut buffer).await);
                output.closed().await;
                buffer.extend_from_slice(b"y");
                assert!(!output.send(&mut buffer).await);
                match output.finish(&mut buffer).await {
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
            let output = Output::start(Deaf, PATIENCE).unwrap();
            let mut buffer = BytesMut::new();
            for _ in 0..QUEUED_BATCHES * 2 {
                buffer.extend_from_slice(b"x");
                assert!(output.send(&mut buffer).await);
            }
            let ending = output.finish(&mut buffer).await;
            assert!(matches!(ending, Ending::Stuck), "{ending:?}");
        });
    }

    #[test]
    fn a_slow_reader_gets_all_of_a_long_page() {
        run(async {
            let output = Output::start(Slow, PATIENCE).unwrap();
            let mut buffer = BytesMut::from(&vec![0; 10 * CHUNK_BYTES][..]);
            let ending = output.finish(&mut buffer).await;
            assert!(matches!(ending, Ending::Complete), "{ending:?}");
        });
    }
}
