//! Offsets of fields in the kernel's structures, from its BTF (`Documentation/bpf/btf.rst`).
//!
//! Reads only what is asked for: a general parser takes 100 ms and more over the 127,000 types of a
//! kernel, this walk takes one. Known gap: little-endian only, as the committed object is.

use thiserror::Error;

/// Why an offset is not known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// The bytes are not BTF of a version and layout known here.
    #[error("the kernel's BTF is malformed: {0}")]
    Malformed(&'static str),
    /// No such structure.
    #[error("the kernel has no `struct {0}`")]
    NoStruct(String),
    /// No such field.
    #[error("`struct {parent}` has no field `{path}`")]
    NoField {
        /// Structure searched.
        parent: String,
        /// Field searched, dotted.
        path: String,
    },
    /// The field is there, in another form.
    #[error("`{field}` of `struct {parent}` is {found}, not {wanted} bytes")]
    OtherSize {
        /// Structure searched.
        parent: String,
        /// Field found, dotted.
        field: String,
        /// What it is.
        found: String,
        /// Bytes wanted.
        wanted: u32,
    },
}

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// How deep types may nest: bounds the work on malformed input.
const MAX_DEPTH: u32 = 32;

/// An index over BTF data.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Start of each type in `types`; ids count from 1.
    starts: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Type {
    kind: u32,
    /// Of the name in `strings`.
    name: u32,
    members: u32,
    /// `size` or `type`, by kind.
    word: u32,
    bitfields: bool,
    /// Of what follows the header in `types`.
    body: usize,
}

/// A field found: bits from the start of the outermost structure.
#[derive(Clone, Copy)]
struct Found {
    bits: u64,
    type_id: u32,
    bitfield: bool,
}

impl<'a> Btf<'a> {
    /// Walks the types once.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let cut = BtfError::Malformed("cut short");
        let magic = data.get(..2).ok_or_else(|| cut.clone())?;
        if magic != MAGIC.to_le_bytes() {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let header = |offset| u32_at(data, offset).map(|value| value as usize);
        let section = |start: usize, offset: usize, length: usize| {
            let begin = start.checked_add(offset)?;
            data.get(begin..begin.checked_add(length)?)
        };
        let sections = || {
            let start = header(4)?;
            let types = section(start, header(8)?, header(12)?)?;
            let strings = section(start, header(16)?, header(20)?)?;
            Some((types, strings))
        };
        let (types, strings) = sections().ok_or(cut)?;
        let mut btf = Self {
            types,
            strings,
            starts: Vec::new(),
        };
        let mut at = 0;
        while at < types.len() {
            btf.starts
                .push(u32::try_from(at).map_err(|_| BtfError::Malformed("too large"))?);
            let header = btf
                .type_at(at)
                .ok_or(BtfError::Malformed("a type is cut short"))?;
            at = header.body + body_bytes(header)?;
        }
        Ok(btf)
    }

    /// Number of arguments of a tracepoint, as raw tracepoint programs get them (`typedef btf_trace_NAME`);
    /// `None` if there is no such tracepoint.
    pub fn arguments(&self, tracepoint: &str) -> Option<u32> {
        let name = format!("btf_trace_{tracepoint}");
        let types = self.starts.iter();
        let typedef = types
            .filter_map(|start| self.type_at(*start as usize))
            .find(|found| found.kind == KIND_TYPEDEF && self.is_named(found.name, &name))?;
        let pointer = self.type_by_id(typedef.word)?;
        let function = self.type_by_id(pointer.word)?;
        if pointer.kind != KIND_PTR || function.kind != KIND_FUNC_PROTO {
            return None;
        }
        // The first is the kernel's own.
        function.members.checked_sub(1)
    }

    /// Size in bytes of a structure.
    pub fn size(&self, name: &str) -> Result<u32, BtfError> {
        self.structs(name)
            .find_map(|id| self.size_of(id, MAX_DEPTH))
            .ok_or_else(|| BtfError::NoStruct(name.to_owned()))
    }

    /// Offset in bytes of a field of `size` bytes (`None`: of any size). `path` is dotted; members of
    /// anonymous structures and unions are found by their own names.
    pub fn offset(&self, parent: &str, path: &str, size: Option<u32>) -> Result<u32, BtfError> {
        let found = self.locate(parent, path)?;
        let bytes = self.size_of(found.type_id, MAX_DEPTH);
        let whole = !found.bitfield && found.bits % 8 == 0;
        if let Some(wanted) = size
            && !(whole && bytes == Some(wanted))
        {
            return Err(BtfError::OtherSize {
                parent: parent.to_owned(),
                field: path.to_owned(),
                found: match bytes {
                    _ if !whole => "a bit field".to_owned(),
                    Some(bytes) => format!("{bytes} bytes wide"),
                    None => "of unknown size".to_owned(),
                },
                wanted,
            });
        }
        u32::try_from(found.bits / 8).map_err(|_| BtfError::Malformed("offset too large"))
    }

    /// Number of arguments of a function.
    pub fn function_arguments(&self, function: &str) -> Option<u32> {
        self.functions(&[function]).next().and_then(|(_, found)| {
            let prototype = self.type_by_id(found.word)?;
            Some(prototype.members)
        })
    }

    /// BTF in which those of these functions that the kernel has keep their ids, and nothing else is of use.
    /// aya looks functions up by name in BTF that it has parsed itself; this it parses in a tenth of the time.
    pub fn index_of(&self, functions: &[&str]) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::new(), vec![0]);
        let mut push = |name: u32, kind: u32| {
            for word in [name, kind << 24, 0] {
                types.extend_from_slice(&word.to_le_bytes());
            }
        };
        let mut next = 1;
        for (id, function) in self.functions(functions) {
            for _ in next..id {
                push(0, KIND_PTR);
            }
            next = id + 1;
            push(u32::try_from(strings.len()).unwrap_or(0), KIND_FUNC);
            strings.extend_from_slice(self.string(function.name));
            strings.push(0);
        }
        let header = [
            u32::from(MAGIC) | 1 << 16,
            24,
            0,
            u32::try_from(types.len()).unwrap_or(0),
            u32::try_from(types.len()).unwrap_or(0),
            u32::try_from(strings.len()).unwrap_or(0),
        ];
        let mut index: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        index.extend_from_slice(&types);
        index.extend_from_slice(&strings);
        index
    }

    fn functions<'s>(&'s self, names: &'s [&'s str]) -> impl Iterator<Item = (u32, Type)> + 's {
        (1u32..).zip(&self.starts).filter_map(move |(id, start)| {
            let candidate = self.type_at(*start as usize)?;
            let named = || names.iter().any(|name| self.is_named(candidate.name, name));
            (candidate.kind == KIND_FUNC && named()).then_some((id, candidate))
        })
    }

    /// Offset in bits of a field of any kind, bit fields included; `path` as in [`Self::offset`].
    pub fn bits(&self, parent: &str, path: &str) -> Result<u32, BtfError> {
        let found = self.locate(parent, path)?;
        u32::try_from(found.bits).map_err(|_| BtfError::Malformed("offset too large"))
    }

    fn locate(&self, parent: &str, path: &str) -> Result<Found, BtfError> {
        let mut structs = self.structs(parent).peekable();
        if structs.peek().is_none() {
            return Err(BtfError::NoStruct(parent.to_owned()));
        }
        // A name can stand for several types; the one with the field is meant.
        structs
            .find_map(|id| self.follow(id, path))
            .ok_or_else(|| BtfError::NoField {
                parent: parent.to_owned(),
                path: path.to_owned(),
            })
    }

    fn structs<'s>(&'s self, name: &'s str) -> impl Iterator<Item = u32> + 's {
        (1u32..).zip(&self.starts).filter_map(move |(id, start)| {
            let candidate = self.type_at(*start as usize)?;
            (candidate.kind == KIND_STRUCT && self.is_named(candidate.name, name)).then_some(id)
        })
    }

    fn follow(&self, id: u32, path: &str) -> Option<Found> {
        let mut names = path.split('.');
        let mut found = self.member(id, names.next()?, MAX_DEPTH)?;
        for name in names {
            let inner = self.member(found.type_id, name, MAX_DEPTH)?;
            found = Found {
                bits: found.bits.checked_add(inner.bits)?,
                ..inner
            };
        }
        Some(found)
    }

    fn member(&self, id: u32, name: &str, depth: u32) -> Option<Found> {
        let depth = depth.checked_sub(1)?;
        let parent = self.type_by_id(self.strip(id, depth)?)?;
        if parent.kind != KIND_STRUCT && parent.kind != KIND_UNION {
            return None;
        }
        let member = |index: u32| -> Option<(u32, Found)> {
            let at = parent.body.checked_add(index as usize * 12)?;
            let position = u32_at(self.types, at + 8)?;
            let (bits, bitfield) = if parent.bitfields {
                (position & 0x00ff_ffff, position >> 24 != 0)
            } else {
                (position, false)
            };
            let found = Found {
                bits: u64::from(bits),
                type_id: u32_at(self.types, at + 4)?,
                bitfield,
            };
            Some((u32_at(self.types, at)?, found))
        };
        for index in 0..parent.members {
            let (member_name, found) = member(index)?;
            if self.is_named(member_name, name) {
                return Some(found);
            }
            if self.is_named(member_name, "")
                && let Some(inner) = self.member(found.type_id, name, depth)
            {
                return Some(Found {
                    bits: found.bits.checked_add(inner.bits)?,
                    ..inner
                });
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn strip(&self, mut id: u32, depth: u32) -> Option<u32> {
        for _ in 0..=depth {
            let found = self.type_by_id(id)?;
            match found.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.word;
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn size_of(&self, id: u32, depth: u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let found = self.type_by_id(self.strip(id, depth)?)?;
        match found.kind {
            KIND_PTR => Some(8),
            KIND_INT | KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_ENUM64 => Some(found.word),
            KIND_ARRAY => {
                let element = self.size_of(u32_at(self.types, found.body)?, depth)?;
                element.checked_mul(u32_at(self.types, found.body + 8)?)
            }
            _ => None,
        }
    }

    fn type_by_id(&self, id: u32) -> Option<Type> {
        let index = id.checked_sub(1)? as usize;
        self.type_at(*self.starts.get(index)? as usize)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = u32_at(self.types, at + 4)?;
        Some(Type {
            name: u32_at(self.types, at)?,
            kind: (info >> 24) & 0x1f,
            members: info & 0xffff,
            bitfields: info >> 31 != 0,
            word: u32_at(self.types, at + 8)?,
            body: at + 12,
        })
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Bytes that follow the header of a type.
fn body_bytes(header: Type) -> Result<usize, BtfError> {
    let members = header.members as usize;
    Ok(match header.kind {
        // ptr, fwd, typedef, volatile, const, restrict, func, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        // int, var, decl tag
        1 | 14 | 17 => 4,
        KIND_ARRAY => 12,
        // struct, union, datasec, enum64
        4 | 5 | 15 | 19 => 12 * members,
        // enum, func_proto
        KIND_ENUM | KIND_FUNC_PROTO => 8 * members,
        _ => return Err(BtfError::Malformed("unknown kind of type")),
    })
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes BTF as the kernel's tools do.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Builder {
        fn new() -> Self {
            Self {
                types: Vec::new(),
                strings: vec![0],
            }
        }
        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let at = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            at
        }
        fn words(&mut self, words: &[u32]) {
            for word in words {
                self.types.extend_from_slice(&word.to_le_bytes());
            }
        }
        fn int(&mut self, name: &str, bytes: u32) {
            let name = self.name(name);
            self.words(&[name, 1 << 24, bytes, bytes * 8]);
        }
        fn composite(
            &mut self,
            kind: u32,
            name: &str,
            bytes: u32,
            flag: u32,
            members: &[(&str, u32, u32)],
        ) {
            let name = self.name(name);
            let count = u32::try_from(members.len()).unwrap();
            self.words(&[name, flag << 31 | kind << 24 | count, bytes]);
            for (member, type_id, bits) in members {
                let member = self.name(member);
                self.words(&[member, *type_id, *bits]);
            }
        }
        fn build(&self) -> Vec<u8> {
            let types = u32::try_from(self.types.len()).unwrap();
            let strings = u32::try_from(self.strings.len()).unwrap();
            let mut out = vec![0x9f, 0xeb, 1, 0];
            for word in [24, 0, types, types, strings] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&self.types);
            out.extend_from_slice(&self.strings);
            out
        }
    }

    fn sample() -> Vec<u8> {
        let mut btf = Builder::new();
        btf.int("u16", 2); // 1
        btf.int("u32", 4); // 2
        btf.composite(KIND_STRUCT, "", 8, 0, &[("daddr", 2, 0), ("saddr", 2, 32)]); // 3
        btf.composite(KIND_UNION, "", 8, 0, &[("pair", 2, 0), ("", 3, 0)]); // 4
        btf.composite(KIND_STRUCT, "common", 12, 0, &[("", 4, 0), ("port", 1, 64)]); // 5
        let name = btf.name("common_t");
        btf.words(&[name, KIND_TYPEDEF << 24, 5]); // 6
        btf.composite(KIND_STRUCT, "sock", 20, 0, &[("inner", 6, 64)]); // 7
        btf.composite(KIND_STRUCT, "old", 4, 1, &[("protocol", 2, 8 << 24 | 8)]); // 8
        let tip = btf.name("tip");
        btf.words(&[tip, KIND_PTR << 24, 7]); // 9
        btf.composite(
            KIND_STRUCT,
            "many",
            16,
            0,
            &[("list", 11, 0), ("link", 9, 64)],
        ); // 10
        btf.words(&[0, KIND_ARRAY << 24, 0, 1, 2, 3]); // 11: three u16
        btf.build()
    }

    #[test]
    fn finds_fields_wherever_they_nest() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.offset("common", "saddr", Some(4)), Ok(4));
        assert_eq!(btf.offset("common", "port", Some(2)), Ok(8));
        assert_eq!(btf.offset("sock", "inner.saddr", Some(4)), Ok(12));
        assert_eq!(btf.offset("many", "list", Some(6)), Ok(0));
        assert_eq!(btf.offset("many", "link", Some(8)), Ok(8));
        assert_eq!(btf.bits("common", "port"), Ok(64));
        assert_eq!(btf.bits("old", "protocol"), Ok(8));
        assert_eq!(
            btf.bits("old", "nope").unwrap_err().to_string(),
            "`struct old` has no field `nope`"
        );
    }

    #[test]
    fn says_why_not() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(
            btf.offset("nope", "a", None),
            Err(BtfError::NoStruct("nope".into()))
        );
        let missing = btf.offset("sock", "inner.nope", None).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "`struct sock` has no field `inner.nope`"
        );
        let narrow = btf.offset("common", "port", Some(4)).unwrap_err();
        assert_eq!(
            narrow.to_string(),
            "`port` of `struct common` is 2 bytes wide, not 4 bytes"
        );
        let bits = btf.offset("old", "protocol", Some(2)).unwrap_err();
        assert_eq!(
            bits.to_string(),
            "`protocol` of `struct old` is a bit field, not 2 bytes"
        );
    }

    #[test]
    fn functions_by_name() {
        let mut btf = Builder::new();
        btf.int("int", 4); // 1
        btf.words(&[0, KIND_FUNC_PROTO << 24 | 2, 1, 0, 1, 0, 1]); // 2
        for name in ["a", "ab", "b"] {
            let name = btf.name(name);
            btf.words(&[name, KIND_FUNC << 24, 2]); // 3, 4, 5
        }
        let data = btf.build();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.function_arguments("a"), Some(2));
        assert_eq!(btf.function_arguments("int"), None);
        let index = btf.index_of(&["b", "a", "c"]);
        let ids = |data: &[u8], name| {
            let btf = Btf::parse(data).unwrap();
            btf.functions(&[name]).map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&index, "a"), [3]);
        assert_eq!(ids(&index, "ab"), [0; 0]);
        assert_eq!(ids(&index, "b"), [5]);
        assert_eq!(ids(&btf.index_of(&[]), "a"), [0; 0]);
    }

    #[test]
    fn truncated_at_every_byte_is_an_error_or_lacks_the_field() {
        let data = sample();
        for length in 0..data.len() {
            if let Ok(btf) = Btf::parse(&data[..length]) {
                assert!(btf.offset("many", "link", None).is_err());
            }
        }
    }

    #[test]
    fn running_kernel() {
        let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            return;
        };
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.offset("sock", "__sk_common.skc_daddr", Some(4)), Ok(0));
        assert!(btf.offset("inet_sock", "inet_sport", Some(2)).is_ok());
    }

    proptest! {
        #[test]
        fn flipped_bytes_never_panic(at in 0usize..400, value: u8) {
            let mut data = sample();
            if let Some(byte) = data.get_mut(at) {
                *byte = value;
            }
            if let Ok(btf) = Btf::parse(&data) {
                let _ = btf.offset("sock", "inner.saddr", Some(4));
                let _ = btf.offset("many", "list", Some(6));
            }
        }
    }
}
