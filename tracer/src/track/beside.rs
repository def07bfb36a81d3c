//! What happens to sockets beside their state changes: accepts, and evidence.

use super::tracker::Tracker;
use super::{Ending, Role, Sink};
use crate::event::{AcceptEvent, Evidence, EvidenceEvent};

impl Tracker {
    /// Takes in who accepted a connection.
    pub(super) fn handle_accept(&mut self, event: &AcceptEvent, sink: &mut (impl Sink + ?Sized)) {
        self.teller.stats.accepts += 1;
        if let Some(place) = self.sockets.find(event.sk) {
            if let Some(entry) = self.sockets.at_mut(place)
                && entry.can_be_accepted(event)
            {
                self.teller.accept(entry, event, sink);
                self.sockets.touch(place);
                return;
            }
        } else if let Some(closed) = self.lingering.get_mut(event.sk)
            && closed.entry.can_be_accepted(event)
        {
            // Reset in the queue, and handed out all the same.
            self.teller.accept(&mut closed.entry, event, sink);
            return;
        }
        self.teller.stats.accepts_unmatched += 1;
        self.snapshot.remember_accept(event.sk, event.task);
    }

    /// Takes in evidence of any kind.
    pub(super) fn handle_evidence(
        &mut self,
        event: &EvidenceEvent,
        sink: &mut (impl Sink + ?Sized),
    ) {
        self.teller.stats.evidence += 1;
        self.teller.half_open.watching(event.mono_ns);
        match &event.what {
            Evidence::SynAckRetransmit {
                netns,
                local,
                remote,
            } => {
                // With TCP fast open it is the socket of the connection that sends it.
                if let Some(entry) = self.sockets.get_mut(event.sk)
                    && entry.role == Role::Server
                {
                    entry.note(event);
                    return;
                }
                let half_open = &mut self.teller.half_open;
                let dropped = half_open.retransmitted(*netns, local, remote, event.mono_ns);
                self.teller.stats.half_open_dropped += u64::from(dropped.is_some());
            }
            Evidence::RequestBorn {
                netns,
                local,
                remote,
            } => {
                let half_open = &mut self.teller.half_open;
                let dropped = half_open.born(*netns, local, remote, event.mono_ns);
                self.teller.stats.half_open_dropped += u64::from(dropped.is_some());
            }
            Evidence::MiniTimer { state } => {
                let (mini, now_ns) = (event.sk, event.mono_ns);
                self.news_of_mini(mini, now_ns, |mini| mini.rearm(*state, now_ns), sink);
            }
            Evidence::MiniEnd { state } => {
                let (mini, now_ns) = (event.sk, event.mono_ns);
                self.news_of_mini(mini, now_ns, |mini| mini.ended(*state, now_ns), sink);
            }
            Evidence::Destroyed => {
                if let Some(entry) = self.sockets.remove(event.sk) {
                    self.teller
                        .end(event.sk, &entry, Ending::EndUnseen, event.mono_ns, sink);
                }
            }
            Evidence::MiniBorn { mini, .. } => {
                self.mini_born(*mini, event.sk, sink);
                self.note(event);
            }
            Evidence::Retransmit { local_port } => {
                self.note(event);
                if let Some(port) = local_port {
                    self.learn_port(event, *port, sink);
                }
            }
            Evidence::ResetReceived
            | Evidence::ResetSent { .. }
            | Evidence::SocketError { .. }
            | Evidence::HandedOver { .. } => self.note(event),
        }
    }

    /// The kernel chose the port of a client after it told of its `connect`.
    fn learn_port(&mut self, event: &EvidenceEvent, port: u16, sink: &mut (impl Sink + ?Sized)) {
        let Some(entry) = self.sockets.get_mut(event.sk) else {
            return;
        };
        if entry.is_connecting() && entry.local.port == 0 {
            entry.local.port = port;
            self.snapshot
                .match_port(&mut self.teller, entry, event.mono_ns, sink);
            self.teller.decide(entry, sink);
        }
    }

    /// Evidence of a socket.
    fn note(&mut self, event: &EvidenceEvent) {
        if let Some(entry) = self.sockets.get_mut(event.sk) {
            entry.note(event);
        } else if let Some(closed) = self.lingering.get_mut(event.sk) {
            closed.entry.note(event);
        } else {
            self.teller.stats.evidence_unmatched += 1;
            if !matches!(event.what, Evidence::Retransmit { .. }) {
                self.stray.remember(event);
            }
        }
    }
}
