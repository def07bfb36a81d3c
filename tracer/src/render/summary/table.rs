//! Tables for people, at most 80 columns wide.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use crate::render::plain::columns;

/// What fits a terminal nobody has made wider.
pub(super) const WIDTH: usize = 80;
/// Between two columns.
const GAP: usize = 2;
/// Stands for what is cut off.
const CUT: &str = "...";

/// A table whose last column takes what room is left, and the first gives some where there is none.
/// There, what does not fit is cut, and says so.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Appends a row of as many cells as there are columns, of plain text.
    pub(super) fn push<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table and an empty line, or nothing if it has no rows. `notes` follow it.
    pub(super) fn write(mut self, out: &mut BytesMut, color: bool, notes: &[String]) {
        if self.rows.is_empty() {
            return;
        }
        let mut widths: Vec<usize> = self.columns.iter().map(|(title, _)| title.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = columns(cell).max(*width);
            }
        }
        self.fit(&mut widths);
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect();
        let style = if color {
            anstyle::Style::new().bold()
        } else {
            anstyle::Style::new()
        };
        let _ = writeln!(out, "{style}{}{style:#}", self.line(&titles, &widths));
        for row in &self.rows {
            let _ = writeln!(out, "{}", self.line(row, &widths));
        }
        for note in notes {
            out.put_slice(crate::render::states::wrapped(note, WIDTH, "# ").as_bytes());
        }
        out.put_u8(b'\n');
    }

    /// Cuts the last column to what room is left, and the first if even the title of the last has none.
    fn fit(&mut self, widths: &mut [usize]) {
        let last = self.columns.len().saturating_sub(1);
        let title = self.columns.last().map_or(0, |(title, _)| title.len());
        let before =
            |widths: &[usize]| -> usize { widths.iter().take(last).map(|width| width + GAP).sum() };
        let too_wide = (before(widths) + title).saturating_sub(WIDTH);
        if let Some(first) = widths.first_mut() {
            *first = first.saturating_sub(too_wide);
        }
        let room = WIDTH.saturating_sub(before(widths));
        let first = widths.first().copied().unwrap_or_default();
        for row in &mut self.rows {
            if let Some(cell) = row.first_mut() {
                cut(cell, first);
            }
            if let Some(cell) = row.get_mut(last) {
                cut(cell, room);
            }
        }
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let padding = width.saturating_sub(columns(cell));
            let (left, right) = match align {
                Align::Left => (0, padding + GAP),
                Align::Right => (padding, GAP),
            };
            let _ = write!(line, "{:left$}{cell}{:right$}", "", "");
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Shortens plain text to a number of columns.
fn cut(text: &mut String, room: usize) {
    if columns(text) <= room {
        return;
    }
    let keep = room.saturating_sub(CUT.len());
    while columns(text) > keep && text.pop().is_some() {}
    text.push_str(CUT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(table: Table) -> String {
        let mut out = BytesMut::new();
        table.write(&mut out, false, &[]);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        assert_eq!(written(Table::new(&[("A", Align::Left)])), "");
    }

    #[test]
    fn what_is_cut_says_so() {
        let mut table = Table::new(&[("N", Align::Right), ("NAME", Align::Left)]);
        table.push(["1".to_owned(), "x".repeat(200)]);
        table.push(["20".to_owned(), "日".repeat(60)]);
        table.push(["300".to_owned(), "short".to_owned()]);
        let text = written(table);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "  N  NAME");
        assert_eq!(lines[1], format!("  1  {}...", "x".repeat(72)));
        assert_eq!(lines[2], format!(" 20  {}...", "日".repeat(36)));
        assert_eq!(lines[3], "300  short");
        assert!(lines.iter().all(|line| columns(line) <= WIDTH));
    }
}
