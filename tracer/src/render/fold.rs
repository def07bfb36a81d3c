//! Lines that are longer than the terminal is wide, broken where a person would.

use bytes::{BufMut, BytesMut};

use super::plain::columns;

/// Where the rest of a line begins, of one that begins with `#` and of any other.
const REMARK_INDENT: &str = "#     ";
const INDENT: &str = "      ";
/// Terminals narrower than this are left to wrap as they do.
const NARROWEST: usize = 40;

/// Breaks the lines that stand in `out` from `start` on and are wider than `width` columns: between two
/// columns of a table, else between words. Colours take no room. A word that is wider stays whole.
pub(crate) fn fold(out: &mut BytesMut, start: usize, width: Option<usize>) {
    let Some(width) = width.filter(|width| *width >= NARROWEST) else {
        return;
    };
    if out.get(start..).is_none_or(|new| is_narrow(new, width)) {
        return;
    }
    let new = out.split_off(start);
    let Ok(text) = str::from_utf8(&new) else {
        out.unsplit(new);
        return;
    };
    for line in text.split_inclusive('\n') {
        put_folded(out, line, width);
    }
}

/// Whether no line can be too wide: a character takes at most as many columns as it has bytes.
fn is_narrow(text: &[u8], width: usize) -> bool {
    text.split(|byte| *byte == b'\n')
        .all(|line| line.len() <= width)
}

fn put_folded(out: &mut BytesMut, line: &str, width: usize) {
    let (mut rest, end) = match line.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (line, ""),
    };
    let indent = if rest.starts_with('#') {
        REMARK_INDENT
    } else {
        INDENT
    };
    let mut room = width;
    while visible_columns(rest) > room {
        let Some((before, after)) = split(rest, room) else {
            break;
        };
        out.put_slice(before.as_bytes());
        out.put_u8(b'\n');
        out.put_slice(indent.as_bytes());
        rest = after;
        room = width - indent.len();
    }
    out.put_slice(rest.as_bytes());
    out.put_slice(end.as_bytes());
}

/// Breaks a line so that its first part fits, before what does not: at the last gap of two spaces or more
/// that has something before it, if what follows it fits into a line, else at the last space. If nothing
/// fits, at the first space.
fn split(line: &str, room: usize) -> Option<(&str, &str)> {
    let mut last_gap = None;
    let mut last_space = None;
    for (index, _) in line.match_indices(' ') {
        let (before, after) = line.split_at(index);
        if before.trim_end().is_empty() || before.ends_with(' ') {
            continue;
        }
        let fits = visible_columns(before) <= room;
        if !fits && last_space.is_some() {
            break;
        }
        last_space = Some(index);
        if fits && after.starts_with("  ") {
            last_gap = Some(index);
        }
    }
    let gap = last_gap.filter(|index| {
        let used = line.get(..*index).map_or(0, visible_columns);
        used * 3 >= room
    });
    let (before, after) = line.split_at(gap.or(last_space)?);
    Some((before, after.trim_start_matches(' ')))
}

/// Columns without those of the colours.
fn visible_columns(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().map_or(0, columns);
    let others = parts.map(|part| part.split_once('m').map_or(0, |(_, shown)| columns(shown)));
    first + others.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str, width: usize) -> String {
        let mut out = BytesMut::from("before\n");
        out.put_slice(text.as_bytes());
        fold(&mut out, "before\n".len(), Some(width));
        let text = String::from_utf8(out.to_vec()).unwrap();
        text.strip_prefix("before\n").unwrap().to_owned()
    }

    #[test]
    fn breaks_between_columns_before_words() {
        let row = "14:00:00.000001  curl/1234  10.0.0.1:1  usually goes on unseen\n";
        assert_eq!(folded(row, 80), row);
        assert_eq!(
            folded(row, 50),
            "14:00:00.000001  curl/1234  10.0.0.1:1\n      usually goes on unseen\n"
        );
        let remark =
            "#14:00:00.000001 hint: the application here has not closed what the peer has\n";
        assert_eq!(
            folded(remark, 40),
            "#14:00:00.000001 hint: the application\n#     here has not closed what the peer\n#     has\n"
        );
    }

    #[test]
    fn colours_take_no_room() {
        let line = "\u{1b}[1m0123456789 0123456789 0123456789 012345678\u{1b}[0m\n";
        assert_eq!(folded(line, 42), line);
        assert_ne!(folded(line, 41), line);
    }

    #[test]
    fn a_word_without_end_stays_whole() {
        let word = "x".repeat(100) + "\n";
        assert_eq!(folded(&word, 50), word);
        assert_eq!(folded(&format!("a {word}"), 50), format!("a\n      {word}"));
    }

    proptest! {
        #[test]
        fn all_words_stay_and_lines_fit(
            words in proptest::collection::vec("[#a-zé日]{1,20}", 0..30),
            gaps in proptest::collection::vec(1..4_usize, 30),
            width in 40..120_usize,
        ) {
            let mut line = String::new();
            for (word, gap) in words.iter().zip(&gaps) {
                line.push_str(word);
                line.push_str(&" ".repeat(*gap));
            }
            let line = line.trim_end().to_owned();
            let text = folded(&format!("{line}\n"), width);
            let indent = if line.starts_with('#') { REMARK_INDENT } else { INDENT };
            let mut found = Vec::new();
            for (index, part) in text.lines().enumerate() {
                let part = if index == 0 { part } else { part.strip_prefix(indent).unwrap() };
                found.extend(part.split_whitespace().map(str::to_owned));
                prop_assert!(columns(part) <= width, "{part:?}");
            }
            prop_assert_eq!(found, words);
        }

        #[test]
        fn no_text_panics(text: String, width in 0..200_usize) {
            folded(&text, width);
        }
    }
}
