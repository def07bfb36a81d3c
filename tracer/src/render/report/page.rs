//! The page around the data. Its style and its scripts are files of their own, put in here as they are.

use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha256};

use crate::render::closing::closing_words;
use crate::render::plain::plain;
use crate::render::time::UtcStamp;
use crate::session::{Session, Totals};

const PAGE: &str = include_str!("page.html");

const STYLE: &str = concat!(
    include_str!("base.css"),
    include_str!("glance.css"),
    include_str!("lanes.css"),
    include_str!("charts.css"),
    include_str!("print.css"),
);

/// One script: its files share one scope, later ones use what earlier ones define.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("dom.js"),
    include_str!("model.js"),
    include_str!("format.js"),
    include_str!("view.js"),
    include_str!("tips.js"),
    include_str!("glance.js"),
    include_str!("attention.js"),
    include_str!("axis.js"),
    include_str!("lanes.js"),
    include_str!("details.js"),
    include_str!("diagram.js"),
    include_str!("histograms.js"),
    include_str!("main.js"),
    "})();\n",
);

/// Appends the page. `data` is JSON without a `<`.
pub(super) fn write(out: &mut BytesMut, session: &Session, totals: &Totals, data: &str) {
    let mut stamp = UtcStamp::default();
    let date = stamp
        .format(session.clock.wall_ns)
        .get(..10)
        .unwrap_or_default();
    let title = format!("tracer: {}, {date}", plain(&session.host));
    let summary = closing_words(totals, session.uncounted_losses());
    for piece in PAGE.split("{{").flat_map(|piece| piece.split("}}")) {
        match piece {
            "policy" => out.put_slice(policy().as_bytes()),
            "title" => out.put_slice(escaped(&title).as_bytes()),
            "style" => out.put_slice(STYLE.as_bytes()),
            "summary" => out.put_slice(escaped(&summary).as_bytes()),
            "data" => out.put_slice(data.as_bytes()),
            "script" => out.put_slice(SCRIPT.as_bytes()),
            markup => out.put_slice(markup.as_bytes()),
        }
    }
}

/// Nothing is loaded, nothing is sent; what runs and what styles is known by its hash, and the script
/// itself cannot make markup or code of strings.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source_hash(SCRIPT),
        source_hash(STYLE),
    )
}

/// A hash as a policy names it (Content Security Policy Level 3, section 2.3.1).
fn source_hash(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text)))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, place| {
            bits << 8 | usize::from(chunk.get(place).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let digit = DIGITS.get(bits >> (18 - 6 * place) & 63).copied();
            let is_padding = place > chunk.len();
            text.push(digit.filter(|_| !is_padding).map_or('=', char::from));
        }
    }
    text
}

/// Text as it stands between tags or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        let hostile = "</title><script>\"'&";
        assert_eq!(
            escaped(hostile),
            "&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;"
        );
    }

    #[test]
    fn style_and_script_stay_within_their_elements() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</s") && !text.contains("<!--"));
            // A browser would make another line end of it, and find another hash.
            assert!(!text.contains('\r') && text.is_ascii());
        }
    }

    #[test]
    fn the_page_is_small() {
        let bytes = PAGE.len() + STYLE.len() + SCRIPT.len();
        assert!(bytes < 150_000, "{bytes}");
    }
}
