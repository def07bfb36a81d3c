//! The kernel proper out of a `vmlinuz`: it boots in a third of the time, since an emulated processor
//! does not have to unpack it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::process::filter;

/// Writes the ELF image inside `vmlinuz` to `vmlinux`.
pub(super) fn unpack(vmlinuz: &Path, vmlinux: &Path) -> Result<()> {
    let image = fs::read(vmlinuz)?;
    let payload = payload(&image)
        .with_context(|| format!("{} is not a bzImage of x86", vmlinuz.display()))?;
    let program = unpacker(payload)
        .with_context(|| format!("{} is packed in an unknown way", vmlinuz.display()))?;
    let elf = filter(Command::new(program).arg("-dc"), payload)?;
    if !elf.starts_with(b"\x7fELF") {
        bail!("{} does not hold an ELF image", vmlinuz.display());
    }
    fs::write(vmlinux, elf)?;
    Ok(())
}

/// By the header that `Documentation/arch/x86/boot.rst` describes. The last four bytes are the size
/// after unpacking, which the packer does not know.
fn payload(image: &[u8]) -> Option<&[u8]> {
    const SETUP_SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_BYTES: usize = 0x24c;
    let number = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    let sectors = usize::from(*image.get(SETUP_SECTORS)?);
    let start = (sectors + 1) * 512 + number(PAYLOAD_OFFSET)?;
    let bytes = number(PAYLOAD_BYTES)?.checked_sub(4)?;
    image.get(start..start.checked_add(bytes)?)
}

fn unpacker(payload: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ", "xz"),
        (b"\x1f\x8b", "gzip"),
    ];
    let (_, program) = KINDS
        .into_iter()
        .find(|(magic, _)| payload.starts_with(magic))?;
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_by_the_header() {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&10_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&9_u32.to_le_bytes());
        image[1034..1039].copy_from_slice(b"\x28\xb5\x2f\xfdx");
        assert_eq!(payload(&image), Some(b"\x28\xb5\x2f\xfdx".as_slice()));
        assert_eq!(unpacker(payload(&image).unwrap()), Some("zstd"));

        assert_eq!(payload(&image[..1040]), Some(&image[1034..1039]));
        assert_eq!(payload(&image[..1038]), None, "cut off");
        image[0x202] = 0;
        assert_eq!(payload(&image), None, "no header");
    }
}
