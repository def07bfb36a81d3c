//! What is known about states, as text for a terminal and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::state::facts::Facts;
use crate::state::vocabulary::{System, Term};
use crate::state::{GROUPS, State};

/// Below this many columns lines are as long as they have to be.
const NARROWEST: usize = 40;

/// All states: what they are and how each system calls them. As many tables as `width` asks for.
pub fn table(width: usize) -> String {
    let mut text = String::new();
    for columns in fitted(columns(), width) {
        write_table(&mut text, &columns);
        text.push('\n');
    }
    text.push_str(&wrapped(
        "-: no such state there. (NAME): shown there under the name of another state.",
        width,
        "",
    ));
    let groups = GROUPS.map(|group| group.name).join(", ");
    text.push_str(&wrapped(
        &format!("Names for several states at once: {groups}."),
        width,
        "",
    ));
    text.push_str(&wrapped(
        "`tracer states NAME` tells what a state means and what to check when a connection stays in it.",
        width,
        "",
    ));
    text
}

struct Column {
    title: &'static str,
    /// One for each of [`State::BY_LIFE`].
    cells: Vec<String>,
}

impl Column {
    fn new(title: &'static str, cell: impl Fn(State) -> String) -> Self {
        let cells = State::BY_LIFE.into_iter().map(cell).collect();
        Self { title, cells }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(String::len);
        cells.chain([self.title.len()]).max().unwrap_or_default()
    }
}

fn columns() -> Vec<Column> {
    let fact = |text: fn(&Facts) -> &'static str| {
        move |state: State| state.facts().map(text).unwrap_or_default().to_owned()
    };
    let mut columns = vec![
        Column::new("SEEN BY", fact(|facts| facts.side.text())),
        Column::new("MEANING", fact(|facts| facts.summary)),
    ];
    for system in System::ALL {
        let title = match system {
            System::Kernel => "LINUX KERNEL",
            System::Ss => "SS",
            System::Netstat => "NETSTAT",
            System::Rfc => "RFC 9293",
            System::Bsd => "macOS, BSD",
            System::Windows => "WINDOWS",
            System::PowerShell => "POWERSHELL",
            System::OpenTelemetry => "OPENTELEMETRY",
        };
        columns.push(Column::new(title, |state| match state.term(system) {
            Term::Name(name) => name.to_owned(),
            Term::ShownAs(name) => format!("({name})"),
            Term::Absent => "-".to_owned(),
        }));
    }
    columns
}

const GAP: usize = 2;

/// Divides columns among tables no wider than `width`, each beginning with the states.
fn fitted(columns: Vec<Column>, width: usize) -> Vec<Vec<Column>> {
    let states = || Column::new("STATE", |state| state.to_string());
    let mut tables = Vec::new();
    let mut table = vec![states()];
    let mut used = states().width();
    for column in columns {
        if table.len() > 1 && used + GAP + column.width() > width {
            used = states().width();
            tables.push(std::mem::replace(&mut table, vec![states()]));
        }
        used += GAP + column.width();
        table.push(column);
    }
    tables.push(table);
    tables
}

fn write_table(text: &mut String, columns: &[Column]) {
    let header = columns.iter().map(|column| column.title).collect();
    let rows = (0..State::BY_LIFE.len()).map(|row| {
        let cells = columns.iter().filter_map(|column| column.cells.get(row));
        cells.map(String::as_str).collect()
    });
    for cells in std::iter::once::<Vec<&str>>(header).chain(rows) {
        let mut line = String::new();
        for (cell, column) in cells.into_iter().zip(columns) {
            let _ = write!(line, "{cell:<width$}", width = column.width() + GAP);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Everything about one state.
pub fn details(state: State, width: usize) -> String {
    let Some(facts) = state.facts() else {
        return wrapped(
            &format!("{state}: a number of the kernel that this version of tracer has no name for"),
            width,
            "",
        );
    };
    let mut text = format!("{state}: {}\n", facts.summary);
    text.push('\n');
    for system in System::ALL {
        let term = match state.term(system) {
            Term::Name(name) if system == System::Kernel => {
                format!("{name}, {}", kernel_number(state))
            }
            Term::Name(name) => name.to_owned(),
            Term::ShownAs(name) => format!("no name of its own: shown as {name}"),
            Term::Absent => "not shown".to_owned(),
        };
        let _ = writeln!(text, "  {:<20}{term}", system.title());
    }
    let _ = writeln!(text, "  {:<20}{}", "Seen by", facts.side.text());

    section(&mut text, "Meaning", &[facts.meaning], width);
    section(&mut text, "How long", &[facts.lasts], width);
    let is_connection = !matches!(state, State::Listen | State::Closed | State::BoundInactive);
    text.push_str(if is_connection {
        "\nWhat to check when a connection stays here\n"
    } else {
        "\nWhat to check\n"
    });
    for check in facts.checks {
        if let Some(command) = check.command {
            let _ = writeln!(text, "  $ {command}");
        }
        let lead = if check.command.is_some() {
            "    "
        } else {
            "  "
        };
        text.push_str(&wrapped(check.text, width, lead));
    }
    let mut next = state.next_on_linux().peekable();
    if next.peek().is_some() {
        text.push_str("\nWhat may follow\n");
    }
    for edge in next {
        let lead = format!("  {:<14}", edge.to.to_string());
        text.push_str(&wrapped(edge.why, width, &lead));
    }
    section(
        &mut text,
        "What tracer's tracepoint shows of it",
        &[facts.on_tracepoint],
        width,
    );
    section(&mut text, "Sources", facts.sources, width);
    text
}

/// The number, and its form in `/proc/net/tcp` where that file shows it.
fn kernel_number(state: State) -> String {
    let number = state.to_kernel();
    match state.term(System::Netstat) {
        Term::Name(_) => format!("{number} ({number:02X} in /proc/net/tcp)"),
        Term::ShownAs(_) | Term::Absent => number.to_string(),
    }
}

fn section(text: &mut String, title: &str, paragraphs: &[&str], width: usize) {
    let _ = writeln!(text, "\n{title}");
    for paragraph in paragraphs {
        text.push_str(&wrapped(paragraph, width, "  "));
    }
}

/// Breaks lines at spaces. `lead` stands before the first line, the others are indented as far. A
/// word longer than the width stays whole.
pub(super) fn wrapped(paragraph: &str, width: usize, lead: &str) -> String {
    let width = width.max(NARROWEST);
    let mut text = String::new();
    let mut line = lead.to_owned();
    let mut empty = true;
    for word in paragraph.split(' ') {
        if !empty && line.len() + 1 + word.len() > width {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(lead.len());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(&line);
    text.push('\n');
    text
}

/// The same for programs: an array with one object for each state.
pub fn json(states: &[State]) -> Value {
    states.iter().copied().map(json_state).collect()
}

fn json_state(state: State) -> Value {
    let mut names = Map::new();
    let mut shown_as = Map::new();
    for system in System::ALL {
        let term = state.term(system);
        names.insert(system.key().to_owned(), term.own_name().into());
        if let Term::ShownAs(name) = term {
            shown_as.insert(system.key().to_owned(), name.into());
        }
    }
    let mut object = json!({
        "state": state.to_string(),
        "kernel_number": state.to_kernel(),
        "names": names,
        "shown_as": shown_as,
    });
    if let (Some(facts), Some(object)) = (state.facts(), object.as_object_mut()) {
        let checks: Vec<_> = facts
            .checks
            .iter()
            .map(|check| json!({"text": check.text, "command": check.command}))
            .collect();
        let next: Vec<_> = state
            .next_on_linux()
            .map(|edge| json!({"state": edge.to.to_string(), "why": edge.why, "rfc": edge.rfc}))
            .collect();
        object.insert("seen_by".to_owned(), facts.side.key().into());
        object.insert("summary".to_owned(), facts.summary.into());
        object.insert("meaning".to_owned(), facts.meaning.into());
        object.insert("lasts".to_owned(), facts.lasts.into());
        object.insert("checks".to_owned(), checks.into());
        object.insert("next".to_owned(), next.into());
        object.insert("on_tracepoint".to_owned(), facts.on_tracepoint.into());
        object.insert("sources".to_owned(), facts.sources.into());
    }
    object
}

#[cfg(test)]
mod tests;
