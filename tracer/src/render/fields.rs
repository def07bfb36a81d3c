//! The fields of a transition, listed once for `jsonl`, `csv` and the header of `csv`.

use std::fmt::Display;

use super::time::UtcStamp;
use super::{unseen, vocab};
use crate::event::{Comm, Endpoint};
use crate::session::ClockMap;
use crate::state::{Names, State};
use crate::track::{Connection, Transition};

/// Takes the fields of a line one by one, in their order.
pub(crate) trait Fields {
    /// A number; `None` where it is not known.
    fn number(&mut self, name: &'static str, value: Option<u64>);
    /// Yes or no.
    fn flag(&mut self, name: &'static str, value: bool);
    /// A word of ours: printable ASCII without quotes, commas and backslashes.
    fn word(&mut self, name: &'static str, value: &str);
    /// The same, still to be formatted.
    fn shown(&mut self, name: &'static str, value: impl Display);
    /// A list of such words.
    fn words(&mut self, name: &'static str, values: impl Iterator<Item = &'static str>);
    /// A command name: any bytes; `None` where it is not known.
    fn comm(&mut self, name: &'static str, value: Option<Comm>);
    /// An address and a port.
    fn endpoint(&mut self, name: &'static str, value: Endpoint);

    /// The name of a state.
    fn state(&mut self, name: &'static str, state: State, names: Names) {
        match state.known_name(names) {
            Some(known) => self.word(name, known),
            None => self.shown(name, vocab::state(state, names)),
        }
    }
}

/// All fields of a transition.
pub(crate) fn transition(
    fields: &mut impl Fields,
    stamp: &mut UtcStamp,
    clock: &ClockMap,
    conn: &Connection,
    transition: &Transition,
) {
    let event = &transition.event;
    let unseen = unseen::next(event.protocol, event.from, event.to);
    let is_minimum = transition.in_state_ns.is_some()
        && unseen::is_minimum(conn.role, event.protocol, event.from, event.to);

    fields.word("ts", stamp.format(clock.wall_ns(event.mono_ns)));
    fields.number("mono_ns", Some(event.mono_ns));
    fields.shown("conn", conn.id.0);
    fields.shown("sk", format_args!("0x{:016x}", event.sk));
    fields.number("netns", event.netns.map(u64::from));
    fields.shown("family", vocab::family(event.family));
    fields.shown("protocol", vocab::protocol(event.protocol));
    fields.word("role", vocab::role(conn.role));
    fields.endpoint("local", event.local);
    fields.flag("local_port_known", event.local_port_known);
    fields.endpoint("remote", event.remote);
    fields.state("from", event.from, Names::Documented);
    fields.state("to", event.to, Names::Documented);
    fields.state("kernel_from", event.from, Names::Kernel);
    fields.state("kernel_to", event.to, Names::Kernel);
    fields.number("in_state_ns", transition.in_state_ns);
    fields.flag("in_state_is_minimum", is_minimum);
    fields.words(
        "unseen_next",
        unseen
            .iter()
            .filter_map(|state| state.known_name(Names::Documented)),
    );
    fields.word("legality", vocab::legality(transition.legality));
    fields.flag("after_gap", transition.after_gap);
    fields.flag("recovered", event.from_twin);
    fields.number("pid", conn.owner.pid.map(u64::from));
    fields.comm("comm", conn.owner.comm);
    fields.word("owner_source", vocab::owner_source(conn.owner.source));
}
