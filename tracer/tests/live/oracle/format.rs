//! An event's `format` file: where its fields are and what the kernel calls the states.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

/// What the `format` file of an event says.
#[derive(Default)]
pub(crate) struct Format {
    /// Value of `common_type` in records of this event.
    pub(crate) id: u64,
    fields: HashMap<String, (usize, usize)>,
    states: HashMap<u64, String>,
}

impl Format {
    pub(crate) fn parse(description: &str) -> Result<Self> {
        let mut format = Self::default();
        for line in description.lines() {
            let line = line.trim();
            if let Some(id) = line.strip_prefix("ID: ") {
                format.id = id.parse()?;
            } else if let Some(field) = line.strip_prefix("field:") {
                let (declaration, place) =
                    field.split_once(';').context("a field without place")?;
                let name = declaration.split(' ').next_back().unwrap_or_default();
                let name = name.split('[').next().unwrap_or_default();
                let number = |key: &str| -> Result<usize> {
                    let text = place
                        .split(';')
                        .find_map(|part| part.trim().strip_prefix(key))
                        .with_context(|| format!("field {name} has no {key}"))?;
                    Ok(text.parse()?)
                };
                let place = (number("offset:")?, number("size:")?);
                format.fields.insert(name.to_owned(), place);
            } else if line.starts_with("print fmt:") {
                format.states = state_names(line);
            }
        }
        Ok(format)
    }

    /// Fails unless the event names its states.
    pub(crate) fn ensure_states(&self) -> Result<()> {
        ensure!(
            self.states.len() >= 12,
            "the event's format names only {} states",
            self.states.len()
        );
        Ok(())
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(crate) fn bytes<'a>(&self, payload: &'a [u8], name: &str) -> Result<&'a [u8]> {
        let (offset, size) = self
            .fields
            .get(name)
            .with_context(|| format!("the event has no field {name}"))?;
        payload
            .get(*offset..offset + size)
            .with_context(|| format!("the record ends before {name}"))
    }

    pub(crate) fn number(&self, payload: &[u8], name: &str) -> Result<u64> {
        let bytes = self.bytes(payload, name)?;
        let mut all = [0_u8; 8];
        let (from, to) = if cfg!(target_endian = "little") {
            (0, bytes.len())
        } else {
            (8 - bytes.len(), 8)
        };
        all.get_mut(from..to)
            .with_context(|| format!("field {name} is no number"))?
            .copy_from_slice(bytes);
        Ok(u64::from_ne_bytes(all))
    }

    pub(crate) fn state(&self, number: u64) -> String {
        self.states
            .get(&number)
            .cloned()
            .unwrap_or_else(|| number.to_string())
    }
}

/// From `__print_symbolic(REC->oldstate, { 1, "TCP_ESTABLISHED" }, ...)`.
fn state_names(print_format: &str) -> HashMap<u64, String> {
    let Some((_, list)) = print_format.split_once("REC->oldstate,") else {
        return HashMap::new();
    };
    let list = list.split(')').next().unwrap_or_default();
    list.split('}')
        .filter_map(|pair| {
            let (number, name) = pair.split_once('{')?.1.split_once(',')?;
            let name = name.trim().trim_matches('"');
            Some((number.trim().parse().ok()?, name.to_owned()))
        })
        .collect()
}
