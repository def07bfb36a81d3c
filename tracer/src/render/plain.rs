//! Makes text that others chose safe to show.
//!
//! A process picks its own command name: any 15 bytes. Written as they are, they could move the
//! cursor, recolour the line, fake another one or reverse its reading order. Whatever is not plainly
//! visible is shown as an escape, and a backslash doubled, so that no two names look the same.

use std::fmt::Write;

/// Whether a character is visible, takes room of its own and leaves its neighbours alone.
///
/// Not so: control and format characters (bidirectional marks among them), line separators, spaces
/// other than U+0020, unassigned and private characters, and combining marks, which draw upon their
/// neighbour. The standard library's tables, those of `Debug`, know them; but not the letters and the
/// symbol that are blank.
#[inline]
pub(crate) fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' => false,
        _ => c.escape_debug().len() == 1,
    }
}

/// Whether bytes are visible ASCII, without what is escaped somewhere: they can be shown as they are. Nearly all
/// are.
pub(crate) fn is_simple(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// Appends bytes as text: what is not plain as `\x1b` or `\u{202e}`, bytes that are not UTF-8 as
/// `\xff`, a backslash as `\\`.
pub(crate) fn push_plain(out: &mut String, bytes: &[u8]) {
    if is_simple(bytes)
        && let Ok(text) = str::from_utf8(bytes)
    {
        out.push_str(text);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match c {
                '\\' => out.write_str("\\\\"),
                c if is_plain(c) => out.write_char(c),
                c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
                c => write!(out, "\\u{{{:x}}}", u32::from(c)),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Likewise a name, in quotes where its beginning or its end would not be seen. So that it cannot be taken for
/// another one, also where it begins with a quote itself.
pub(crate) fn push_name(out: &mut String, name: &[u8]) {
    let quote = match name {
        [] | [b' ' | b'"', ..] | [.., b' '] => "\"",
        _ => "",
    };
    out.push_str(quote);
    push_plain(out, name);
    out.push_str(quote);
}

/// Text as [`push_plain`] shows it.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_plain(&mut out, text.as_bytes());
    out
}

/// Columns that plain text takes on a terminal.
pub(crate) fn columns(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.chars().map(|c| 1 + usize::from(is_wide(c))).sum()
    }
}

/// East Asian wide and fullwidth characters and emoji, by block (Unicode Standard Annex 11).
fn is_wide(c: char) -> bool {
    matches!(
        c,
        '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{303e}'
            | '\u{3041}'..='\u{a4cf}'
            | '\u{a960}'..='\u{a97f}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff01}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1f64f}'
            | '\u{1f680}'..='\u{1f6ff}'
            | '\u{1f900}'..='\u{1f9ff}'
            | '\u{20000}'..='\u{3fffd}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> String {
        let mut out = String::new();
        push_plain(&mut out, bytes);
        out
    }

    #[test]
    fn hostile_names_become_visible() {
        assert_eq!(plain(b"\x1b[31mroot"), r"\x1b[31mroot");
        assert_eq!(plain(b"a\nb\tc\x7f"), r"a\x0ab\x09c\x7f");
        assert_eq!(plain("\u{9b}2J".as_bytes()), r"\u{9b}2J");
        assert_eq!(plain("\u{202e}gpj.exe".as_bytes()), r"\u{202e}gpj.exe");
        assert_eq!(
            plain("a\u{200b}b\u{feff}".as_bytes()),
            r"a\u{200b}b\u{feff}"
        );
        assert_eq!(plain("e\u{301}".as_bytes()), r"e\u{301}");
        assert_eq!(plain("\u{3164}".as_bytes()), r"\u{3164}");
        assert_eq!(plain(b"a\xff\xfeb"), r"a\xff\xfeb");
    }

    #[test]
    fn honest_names_stay() {
        for name in ["nginx", "kworker/0:1-ev", "my \"app\"", "naïve", "日本語"] {
            assert_eq!(plain(name.as_bytes()), name);
        }
    }

    #[test]
    fn the_ends_of_a_name_are_seen() {
        for (name, shown) in [
            ("", r#""""#),
            ("  ", r#""  ""#),
            (" a", r#"" a""#),
            ("a ", r#""a ""#),
            ("\" a\"", r#""" a"""#),
            ("a b", "a b"),
            ("a\"", "a\""),
            ("\t", r"\x09"),
        ] {
            let mut text = String::new();
            push_name(&mut text, name.as_bytes());
            assert_eq!(text, shown);
        }
    }

    #[test]
    fn an_escape_cannot_be_faked() {
        assert_eq!(plain(br"\x1b"), r"\\x1b");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(columns("naïve"), 5);
        assert_eq!(columns("日本語"), 6);
        assert_eq!(columns("🚀"), 2);
    }
}
