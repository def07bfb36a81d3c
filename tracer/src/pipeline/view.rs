//! A consumer that renders.

use super::Consumer;
use crate::flow::Flow;
use crate::input::Input;
use crate::output::{self, Handed, Output};
use crate::render::Render;
use crate::session::{Missing, Totals};

/// Renders to an output.
pub struct View<R> {
    flow: Flow<R>,
    output: Output,
}

impl<R: Render> View<R> {
    /// Of a flow that was just started.
    pub fn new(flow: Flow<R>, output: Output) -> Self {
        Self { flow, output }
    }

    /// Hands on what was rendered without waiting for a slow reader: see [`Output::offer`].
    pub fn offer(&mut self) -> bool {
        self.output.offer(self.flow.buffer())
    }

    /// As many lines were shown as asked for.
    pub fn is_done(&self) -> bool {
        self.flow.is_done()
    }

    /// See [`Flow::set_missing`].
    pub fn set_missing(&mut self, missing: Missing) {
        self.flow.set_missing(missing);
    }

    /// Writes the end of the output.
    pub async fn finish(mut self, now_ns: u64) -> (Totals, output::Ending) {
        let totals = self.flow.finish(now_ns);
        let ending = self.output.finish(self.flow.buffer()).await;
        (totals, ending)
    }
}

impl<R: Render> Consumer for View<R> {
    fn warm<'a>(&self, records: impl Iterator<Item = &'a [u8]>) {
        self.flow.warm(records);
    }

    fn input(&mut self, input: Input<'_>) {
        self.flow.input(input);
    }

    async fn hand_on(&mut self) -> bool {
        self.output.send(self.flow.buffer()).await && !self.flow.is_done()
    }

    async fn hand_on_at_last(&mut self) -> Handed {
        let handed = self.output.send_at_last(self.flow.buffer()).await;
        if handed == Handed::On && self.flow.is_done() {
            return Handed::Enough;
        }
        handed
    }

    async fn closed(&self) {
        self.output.closed().await;
    }

    fn look_after(&mut self) -> bool {
        !self.output.is_reader_gone()
    }
}
