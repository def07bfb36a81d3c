//! A tracepoint's `format` file: where the running kernel puts each field of the record.

use thiserror::Error;

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Width in bytes.
    pub size: u32,
}

/// Why a field cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// No such field.
    #[error("the tracepoint has no field `{0}`")]
    NoField(String),
    /// The field is there, in another form.
    #[error("the tracepoint's field `{name}` is {found} bytes wide, not {wanted}")]
    OtherSize {
        /// Name.
        name: String,
        /// Its width.
        found: u32,
        /// The width wanted.
        wanted: u32,
    },
}

/// Fields of one tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    fields: Vec<Field>,
    print: String,
}

impl Format {
    /// Reads the text of a `format` file; lines that describe no field are passed over.
    pub fn parse(text: &str) -> Self {
        Self {
            fields: text.lines().filter_map(parse_field).collect(),
            print: text
                .lines()
                .find_map(|line| line.strip_prefix("print fmt: "))
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// All fields, in the kernel's order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Names that the kernel prints for the values of a field, by number
    /// (`__print_symbolic(REC->name, { 0, "NAME" }, ...)`); empty where it has none.
    pub fn symbols(&self, name: &str) -> Vec<(u32, String)> {
        let start = format!("__print_symbolic(REC->{name}, ");
        let Some((_, list)) = self.print.split_once(&start) else {
            return Vec::new();
        };
        let list = list.split_once("})").map_or(list, |(list, _)| list);
        list.split("},")
            .filter_map(|entry| {
                let entry = entry.trim().trim_start_matches('{').trim_end_matches('}');
                let (number, name) = entry.split_once(',')?;
                let name = name.trim().strip_prefix('"')?.strip_suffix('"')?;
                Some((number.trim().parse().ok()?, name.to_owned()))
            })
            .collect()
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Result<&Field, FormatError> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .ok_or_else(|| FormatError::NoField(name.to_owned()))
    }

    /// Offset of a field that has to have a certain width.
    pub fn offset(&self, name: &str, size: u32) -> Result<u32, FormatError> {
        let field = self.field(name)?;
        if field.size != size {
            return Err(FormatError::OtherSize {
                name: name.to_owned(),
                found: field.size,
                wanted: size,
            });
        }
        Ok(field.offset)
    }
}

/// `field:__u8 saddr[4];` then, apart by tabs, `offset:32;`, `size:4;` and `signed:0;`
fn parse_field(line: &str) -> Option<Field> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';');
    let declaration = parts.next()?;
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.trim().split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {}
        }
    }
    let declaration = declaration.split('[').next()?;
    let name = declaration.rsplit([' ', '*']).next()?;
    Some(Field {
        name: name.to_owned(),
        offset: offset?,
        size: size?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18.
    const TEXT: &str = "name: inet_sock_set_state
ID: 2287
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;

	field:const void * skaddr;	offset:8;	size:8;	signed:0;
	field:int oldstate;	offset:16;	size:4;	signed:1;
	field:__u16 protocol;	offset:30;	size:2;	signed:0;
	field:__u8 saddr[4];	offset:32;	size:4;	signed:0;

print fmt: \"family=%s\", REC->family
";

    #[test]
    fn reads_names_offsets_and_widths() {
        let format = Format::parse(TEXT);
        assert_eq!(format.offset("skaddr", 8), Ok(8));
        assert_eq!(format.offset("saddr", 4), Ok(32));
        assert_eq!(format.fields().len(), 5);
        assert_eq!(
            format.offset("protocol", 1).unwrap_err().to_string(),
            "the tracepoint's field `protocol` is 2 bytes wide, not 1"
        );
        assert_eq!(
            format.offset("daddr", 4).unwrap_err().to_string(),
            "the tracepoint has no field `daddr`"
        );
    }

    #[test]
    fn names_of_values() {
        let text = "print fmt: \"state=%s reason=%s\", __print_symbolic(REC->state, { 1, \"A\" }), \
                    __print_symbolic(REC->reason, { 0, \"NOT_SPECIFIED\" }, { 12, \"TCP_ABORT_ON_LINGER\" })\n";
        let format = Format::parse(text);
        assert_eq!(
            format.symbols("reason"),
            [
                (0, "NOT_SPECIFIED".to_owned()),
                (12, "TCP_ABORT_ON_LINGER".to_owned())
            ]
        );
        assert_eq!(format.symbols("state"), [(1, "A".to_owned())]);
        assert_eq!(format.symbols("other"), []);
    }

    #[test]
    fn nonsense_has_no_fields() {
        for text in [
            "",
            "field:",
            "field:;offset:;size:;",
            "field:int x; offset:-1; size:4;",
        ] {
            let format = Format::parse(text);
            assert!(format.fields().is_empty());
            assert!(format.symbols("x").is_empty());
        }
    }
}
