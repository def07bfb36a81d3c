//! The loop's end of recording: inputs are gathered, and a thread of their own makes files of them.
//!
//! The queue between the two is bounded. While the disk is behind, the loop waits, the ring buffer fills,
//! and what it cannot take the kernel counts as lost: nothing is dropped unseen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::columns::MAX_ROWS;
use super::frame::Counts;
use super::header::Header;
use super::row::{self, Row};
use super::writer::{Chunk, Limits, Message, Progress, Target, WriteError, Writer, Written};
use crate::batch::Batch;
use crate::input::Input;
use crate::output::Handed;
use crate::session::{ClockMap, Lost};

/// Bytes of rows after which a block is made.
const BLOCK_BYTES: usize = 256 << 10;
/// How long a record waits for its block at most.
const BLOCK_TIME: Duration = Duration::from_millis(200);
/// How long anything else does: all it tells is that nothing happens.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Blocks on their way to the thread.
const QUEUED: usize = 64;
/// For the disk to take the rest.
const PATIENCE: Duration = Duration::from_mins(1);

/// Writes a session to files.
pub struct Recorder {
    rows: Batch,
    /// When the first row came that waits.
    waiting: Option<Instant>,
    has_records: bool,
    ready: VecDeque<Chunk>,
    queue: Option<mpsc::Sender<Message>>,
    /// Batches to be used again.
    spare: sync_mpsc::Receiver<Batch>,
    result: oneshot::Receiver<Result<Written, WriteError>>,
    progress: Arc<Progress>,
    lost: Lost,
    clock: ClockMap,
    counts: Counts,
}

impl Recorder {
    /// Begins the first file, and the thread that writes.
    pub fn start(target: Target, limits: Limits, header: Header) -> Result<Self, WriteError> {
        let progress = Arc::new(Progress::default());
        let clock = header.session.clock;
        let mut writer = Writer::new(target, limits, header, Arc::clone(&progress))?;
        let (queue, mut messages) = mpsc::channel(QUEUED);
        let (report, result) = oneshot::channel();
        let (give_back, spare) = sync_mpsc::channel();
        std::thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || {
                let mut write = || -> Result<(), WriteError> {
                    while let Some(message) = messages.blocking_recv() {
                        if !writer.take(&message)? {
                            break;
                        }
                        if let Message::Rows(chunk) = message {
                            // Nobody may want it any more.
                            let _ = give_back.send(chunk.rows);
                        }
                    }
                    Ok(())
                };
                let written = write().and_then(|()| writer.finish());
                let _ = report.send(written);
            })
            .map_err(WriteError::Start)?;
        Ok(Self {
            rows: Batch::default(),
            waiting: None,
            has_records: false,
            ready: VecDeque::new(),
            queue: Some(queue),
            spare,
            result,
            progress,
            lost: Lost::default(),
            clock,
            counts: Counts::default(),
        })
    }

    /// Takes in one thing more.
    pub fn input(&mut self, input: Input<'_>) {
        match input {
            Input::Record(record) => {
                self.has_records = true;
                self.counts.records += 1;
                self.counts.transitions += u64::from(row::is_transition(record));
            }
            Input::Clock(clock) => self.clock = clock,
            Input::Losses { lost, .. } => {
                self.has_records = true;
                self.lost = lost;
            }
            Input::Tick(_) => {}
        }
        self.push(Row::Input(input));
    }

    fn push(&mut self, row: Row<'_>) {
        if self.waiting.is_none() {
            self.waiting = Some(Instant::now());
        }
        row::push(&mut self.rows, row);
        if self.rows.size() >= BLOCK_BYTES || self.rows.len() >= MAX_ROWS {
            self.cut();
        }
    }

    /// Makes the rows so far a block.
    fn cut(&mut self) {
        self.waiting = None;
        self.has_records = false;
        let mut next = self.spare.try_recv().unwrap_or_default();
        next.clear();
        self.ready.push_back(Chunk {
            rows: std::mem::replace(&mut self.rows, next),
            lost: self.lost,
            clock: self.clock,
        });
    }

    /// Hands on what is due; waits while the disk is behind. False once writing has ended.
    ///
    /// Nothing is lost if the future is dropped.
    pub async fn hand_on(&mut self) -> bool {
        let patience = if self.has_records {
            BLOCK_TIME
        } else {
            IDLE_TIME
        };
        if self
            .waiting
            .is_some_and(|since| since.elapsed() >= patience)
        {
            self.cut();
        }
        self.send_ready().await
    }

    /// Likewise, and waits only as long as a disk may be expected to take.
    pub async fn hand_on_at_last(&mut self) -> Handed {
        match tokio::time::timeout(PATIENCE, self.hand_on()).await {
            Ok(true) => Handed::On,
            Ok(false) => Handed::Enough,
            Err(_) => Handed::Stuck,
        }
    }

    async fn send_ready(&mut self) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        while !self.ready.is_empty() {
            let Ok(slot) = queue.reserve().await else {
                return false;
            };
            if let Some(chunk) = self.ready.pop_front() {
                slot.send(Message::Rows(chunk));
            }
        }
        !queue.is_closed()
    }

    /// Lets the writer see to the disk and to its limits of time.
    pub fn look_after(&self) {
        if let Some(queue) = &self.queue {
            // A queue that is full keeps the writer busy anyway.
            let _ = queue.try_send(Message::LookAfter);
        }
    }

    /// Resolves when writing has ended early.
    pub async fn closed(&self) {
        match &self.queue {
            Some(queue) => queue.closed().await,
            None => std::future::pending().await,
        }
    }

    /// What was taken in.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the kernel has lost.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// How far the writer is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Ends the session at `now_ns`, and waits until all is on the disk.
    pub async fn finish(mut self, now_ns: u64) -> Result<Written, WriteError> {
        self.push(Row::End(now_ns));
        self.cut();
        let rest = async {
            self.send_ready().await;
            self.queue = None;
            self.result.await
        };
        match tokio::time::timeout(PATIENCE, rest).await {
            Err(_) => Err(WriteError::Stuck),
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err(WriteError::Start(std::io::Error::other(
                "the writing thread died",
            ))),
        }
    }
}
