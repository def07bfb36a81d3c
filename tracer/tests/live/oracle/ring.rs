//! The pages of ftrace's ring buffer, as `trace_pipe_raw` hands them out.
//!
//! A page is a time, the number of bytes used, and entries. An entry's first 32 bits are a length
//! code (5 bits) and the time since the entry before (27 bits). Codes 1 to 28 mean that many words
//! of payload, 0 a length in the next word, 29 padding, 30 a longer time difference, 31 an absolute
//! time. See `Documentation/trace/ring-buffer-design.rst` and `ring_buffer.h`.

use anyhow::{Context, Result, bail, ensure};

/// Where the parts of a page are, from `events/header_page`.
pub(crate) struct PageLayout {
    commit: (usize, usize),
    data: (usize, usize),
}

/// One entry: a time and the bytes of an event.
pub(crate) struct Entry<'a> {
    pub(crate) mono_ns: u64,
    pub(crate) payload: &'a [u8],
}

/// In the commit word: events are missing before this page.
const MISSED_EVENTS: u64 = 1 << 31;
/// In the commit word: below these bits is the number of bytes used.
const COMMIT_MASK: u64 = (1 << 30) - 1;
/// Bits of a time that an absolute time stamp carries.
const STAMP_BITS: u32 = 59;

impl PageLayout {
    pub(crate) fn parse(header_page: &str) -> Result<Self> {
        let place = |name: &str| -> Result<(usize, usize)> {
            let line = header_page
                .lines()
                .find(|line| line.contains(&format!(" {name};")))
                .with_context(|| format!("header_page has no {name}"))?;
            let number = |key: &str| -> Result<usize> {
                let (_, rest) = line
                    .split_once(key)
                    .context("header_page is not as known")?;
                Ok(rest.split(';').next().unwrap_or_default().parse()?)
            };
            Ok((number("offset:")?, number("size:")?))
        };
        let layout = Self {
            commit: place("commit")?,
            data: place("data")?,
        };
        ensure!(
            place("timestamp")? == (0, 8) && layout.commit.1 == 8,
            "ftrace's pages are not as on a 64-bit kernel"
        );
        Ok(layout)
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.data.0 + self.data.1
    }

    /// The entries of one page. Fails if events are missing before or within it.
    pub(crate) fn entries<'a>(&self, page: &'a [u8]) -> Result<Vec<Entry<'a>>> {
        let page_ns = word64(page, 0)?;
        let commit = word64(page, self.commit.0)?;
        ensure!(commit & MISSED_EVENTS == 0, "the oracle missed events");
        let used = usize::try_from(commit & COMMIT_MASK)?;
        let start = self.data.0;
        let data = page
            .get(start..start + used)
            .context("a page shorter than it says")?;

        let mut entries = Vec::new();
        let mut now_ns = page_ns;
        let mut at = 0;
        while at < data.len() {
            let head = word32(data, at)?;
            let (code, delta) = (head & 0x1f, u64::from(head >> 5));
            at += 4;
            let length = match code {
                29 if delta == 0 => break,
                29 => {
                    at += usize::try_from(word32(data, at)?)?;
                    now_ns += delta;
                    continue;
                }
                30 => {
                    now_ns += (u64::from(word32(data, at)?) << 27) + delta;
                    at += 4;
                    continue;
                }
                31 => {
                    let stamp = (u64::from(word32(data, at)?) << 27) + delta;
                    now_ns = (now_ns >> STAMP_BITS << STAMP_BITS) | stamp;
                    at += 4;
                    continue;
                }
                0 => {
                    let length = usize::try_from(word32(data, at)?)?;
                    at += 4;
                    length.checked_sub(4).context("an entry without length")?
                }
                words => usize::try_from(words)? * 4,
            };
            now_ns += delta;
            let Some(payload) = data.get(at..at + length) else {
                bail!("an entry beyond the end of its page");
            };
            entries.push(Entry {
                mono_ns: now_ns,
                payload,
            });
            at += length.next_multiple_of(4);
        }
        Ok(entries)
    }
}

fn word32(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).context("a page cut short")?;
    Ok(u32::from_ne_bytes(word.try_into()?))
}

fn word64(bytes: &[u8], at: usize) -> Result<u64> {
    let word = bytes.get(at..at + 8).context("a page cut short")?;
    Ok(u64::from_ne_bytes(word.try_into()?))
}
