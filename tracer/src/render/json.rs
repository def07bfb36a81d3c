//! Writes JSON objects, in the order of the calls and on one line.
//!
//! Strings are escaped beyond what JSON asks, so that a line is harmless on a terminal; they mean the
//! same.

use std::fmt::{Display, Write};

use bytes::{BufMut, BytesMut};

use super::fields::{self, Fields};
use super::plain::is_plain;
use super::span::Span;
use super::time::UtcStamp;
use crate::event::{Comm, Endpoint, Process};
use crate::hints::Hint;
use crate::place::{Container, Runtime};
use crate::session::ClockMap;

/// An object being written.
pub(crate) struct Object<'a> {
    out: &'a mut BytesMut,
    separator: &'static [u8],
}

impl<'a> Object<'a> {
    /// Writes an object; `fill` calls for its members.
    pub(crate) fn write(out: &'a mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
        out.put_u8(b'{');
        fill(&mut Object {
            out,
            separator: b"\"",
        });
        out.put_u8(b'}');
    }

    /// An object within.
    pub(crate) fn object(&mut self, name: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(name);
        Object::write(self.out, fill);
    }

    /// A list of objects.
    pub(crate) fn objects<T>(
        &mut self,
        name: &'static str,
        items: &[T],
        mut fill: impl FnMut(&mut Object<'_>, &T),
    ) {
        self.key(name);
        self.out.put_u8(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.put_u8(b',');
            }
            Object::write(self.out, |object| fill(object, item));
        }
        self.out.put_u8(b']');
    }

    /// A number that can be negative.
    pub(crate) fn signed(&mut self, name: &'static str, value: i64) {
        self.key(name);
        let _ = write!(self.out, "{value}");
    }

    /// A word of ours that may not be known.
    pub(crate) fn shown_or_null(&mut self, name: &'static str, value: Option<impl Display>) {
        match value {
            Some(value) => self.shown(name, value),
            None => self.number(name, None),
        }
    }

    /// An address and a port, or neither.
    pub(crate) fn endpoint_or_null(&mut self, name: &'static str, value: Option<Endpoint>) {
        match value {
            Some(value) => self.endpoint(name, value),
            None => self.number(name, None),
        }
    }

    fn key(&mut self, name: &str) {
        self.out.put_slice(self.separator);
        self.separator = b",\"";
        self.out.put_slice(name.as_bytes());
        self.out.put_slice(b"\":");
    }
}

impl Fields for Object<'_> {
    fn number(&mut self, name: &'static str, value: Option<u64>) {
        self.key(name);
        match value {
            Some(number) => {
                let _ = write!(self.out, "{number}");
            }
            None => self.out.put_slice(b"null"),
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.key(name);
        self.out.put_slice(if value { b"true" } else { b"false" });
    }

    fn word(&mut self, name: &'static str, value: &str) {
        self.key(name);
        self.out.put_u8(b'"');
        self.out.put_slice(value.as_bytes());
        self.out.put_u8(b'"');
    }

    fn shown(&mut self, name: &'static str, value: impl Display) {
        self.key(name);
        let _ = write!(self.out, "\"{value}\"");
    }

    fn words(&mut self, name: &'static str, values: impl Iterator<Item = &'static str>) {
        self.key(name);
        self.out.put_u8(b'[');
        for (index, word) in values.enumerate() {
            self.out.put_slice(if index > 0 { b",\"" } else { b"\"" });
            self.out.put_slice(word.as_bytes());
            self.out.put_u8(b'"');
        }
        self.out.put_u8(b']');
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) {
        self.key(name);
        match value {
            Some(text) => put_string(self.out, text),
            None => self.out.put_slice(b"null"),
        }
    }

    fn comm(&mut self, name: &'static str, value: Option<Comm>) {
        self.text(name, value.as_ref().map(Comm::to_string_lossy).as_deref());
    }

    fn container(&mut self, name: &'static str, value: Option<&Container>) {
        match value {
            None => self.text(name, None),
            Some(container) => self.object(name, |object| {
                object.text("id", Some(&container.id));
                object.text("runtime", container.runtime.map(Runtime::name));
                object.text("pod", container.pod.as_deref());
            }),
        }
    }

    fn endpoint(&mut self, name: &'static str, value: Endpoint) {
        self.object(name, |object| {
            object.shown("addr", value.addr);
            object.number("port", Some(u64::from(value.port)));
        });
    }

    fn owners(&mut self, name: &'static str, values: &[Process]) {
        self.objects(name, values, |object, process| {
            object.number("pid", Some(process.pid.into()));
            object.comm("comm", Some(process.comm));
        });
    }

    fn spans(
        &mut self,
        name: &'static str,
        values: &[Span],
        clock: &ClockMap,
        stamp: &mut UtcStamp,
    ) {
        self.objects(name, values, |object, span| {
            fields::span(object, span, clock, stamp);
        });
    }

    fn hints(&mut self, name: &'static str, values: &[Hint]) {
        self.objects(name, values, put_hint);
    }

    fn absent(&mut self, _fields: usize) {}
}

/// The fields of a hint.
pub(super) fn put_hint(object: &mut Object<'_>, hint: &Hint) {
    object.word("name", hint.name);
    object.text("text", Some(&hint.text));
    object.text("check", hint.check.as_deref());
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    for c in text.chars() {
        let _ = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            c if is_plain(c) => out.write_char(c),
            c => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .try_for_each(|unit| write!(out, "\\u{unit:04x}")),
        };
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> String {
        let mut out = BytesMut::new();
        put_string(&mut out, text);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn strings_are_harmless_on_a_terminal() {
        assert_eq!(string("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(
            string("\u{1b}\n\u{9b}\u{7f}"),
            r#""\u001b\u000a\u009b\u007f""#
        );
        assert_eq!(string("\u{202e}\u{e0001}"), r#""\u202e\udb40\udc01""#);
        assert_eq!(string("naïve 日本 🚀"), "\"naïve 日本 🚀\"");
    }

    proptest! {
        #[test]
        fn strings_mean_the_same(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }
    }
}
