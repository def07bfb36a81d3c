//! Writes JSON objects, in the order of the calls and on one line.
//!
//! Strings are escaped beyond what JSON asks, so that a line is harmless on a terminal; they mean the
//! same.

use std::fmt::{Display, Write};

use bytes::{BufMut, BytesMut};

use super::digits::write_addr;
use super::fields::{self, Fields};
use super::plain::{is_plain, is_simple};
use super::span::Span;
use super::time::UtcStamp;
use crate::event::{Comm, Endpoint, Process};
use crate::hints::Hint;
use crate::place::{Container, Runtime};
use crate::session::ClockMap;

/// An object being written.
pub(crate) struct Object<'a> {
    out: &'a mut BytesMut,
    /// Stands before the next member.
    separator: u8,
}

#[expect(clippy::inline_always, reason = "see `key`")]
impl<'a> Object<'a> {
    /// Writes an object; `fill` calls for its members.
    pub(crate) fn write(out: &'a mut BytesMut, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object {
            out,
            separator: b'{',
        };
        fill(&mut object);
        if object.separator == b'{' {
            object.out.put_u8(b'{');
        }
        object.out.put_u8(b'}');
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

    /// Half of a line are names. They are copied at once where their length is known to the compiler: where this is
    /// a part of the function that names them.
    #[inline(always)]
    fn key(&mut self, name: &'static str) {
        self.out.put_u8(self.separator);
        self.separator = b',';
        self.out.put_u8(b'"');
        self.out.put_slice(name.as_bytes());
        self.out.put_slice(b"\":");
    }
}

#[expect(clippy::inline_always, reason = "see `Object::key`")]
impl Fields for Object<'_> {
    #[inline(always)]
    fn number(&mut self, name: &'static str, value: Option<u64>) {
        self.key(name);
        put_number(self.out, value);
    }

    #[inline(always)]
    fn flag(&mut self, name: &'static str, value: bool) {
        self.key(name);
        self.out.put_slice(if value { b"true" } else { b"false" });
    }

    #[inline(always)]
    fn word(&mut self, name: &'static str, value: &str) {
        self.key(name);
        put_word(self.out, value);
    }

    #[inline(always)]
    fn shown(&mut self, name: &'static str, value: impl Display) {
        self.key(name);
        self.out.put_u8(b'"');
        let _ = write!(self.out, "{value}");
        self.out.put_u8(b'"');
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

    #[inline(always)]
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
            object.key("addr");
            object.out.put_u8(b'"');
            let _ = write_addr(object.out, value.addr);
            object.out.put_u8(b'"');
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

fn put_number(out: &mut BytesMut, value: Option<u64>) {
    match value {
        Some(number) => out.put_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => out.put_slice(b"null"),
    }
}

fn put_word(out: &mut BytesMut, word: &str) {
    out.put_u8(b'"');
    out.put_slice(word.as_bytes());
    out.put_u8(b'"');
}

fn put_string(out: &mut BytesMut, text: &str) {
    if is_simple(text.as_bytes()) {
        return put_word(out, text);
    }
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
    fn objects_and_lists_may_be_empty() {
        let mut out = BytesMut::new();
        Object::write(&mut out, |object| {
            object.object("none", |_| {});
            object.objects("no", &[], |_, (): &()| {});
            object.objects("two", &[1, -2], |object, number| {
                object.signed("is", *number);
            });
        });
        let expected = r#"{"none":{},"no":[],"two":[{"is":1},{"is":-2}]}"#;
        assert_eq!(out, expected.as_bytes());
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
