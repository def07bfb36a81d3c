//! The unsafe core: all reads of kernel memory go through here.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::config::ABSENT;

/// Types for which any bytes are a value.
///
/// # Safety
/// Every bit pattern is valid and there is no padding.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers and arrays of bytes have neither padding nor invalid patterns.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for [u8; 4] {}
// SAFETY: as above.
unsafe impl Plain for [u8; 16] {}

/// Copies a value from a kernel address. `None` if the address cannot be read, is null, or the
/// field is not there on this kernel.
#[inline(always)]
pub(crate) fn field<T: Plain>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination has `size_of::<T>()` bytes; the helper checks the source itself.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_add(u64::from(offset)) as *const _,
        )
    };
    // SAFETY: on success the helper wrote all bytes, on failure it zeroed them; `T` takes any bytes.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// `BYTES` consecutive bytes of kernel memory, copied in one go: one call costs about as much for
/// 100 bytes as for two.
#[repr(C, align(8))]
pub(crate) struct Window<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Window<BYTES> {
    /// Copies from `base + offset`.
    #[inline(always)]
    pub(crate) fn read(&mut self, base: u64, offset: u32) -> Option<()> {
        if offset == ABSENT {
            return None;
        }
        // SAFETY: the destination has `BYTES` bytes; the helper checks the source itself.
        let failed = unsafe {
            bpf_probe_read_kernel(
                self.0.as_mut_ptr().cast(),
                BYTES as u32,
                base.wrapping_add(u64::from(offset)) as *const _,
            )
        };
        (failed == 0).then_some(())
    }

    /// A value at an offset in the window; `None` if the kernel has no such field.
    #[inline(always)]
    pub(crate) fn get<T: Plain>(&self, offset: u32) -> Option<T> {
        // The offset is a constant to the verifier, which drops the branch not taken.
        if offset as usize > BYTES - size_of::<T>() {
            return None;
        }
        // SAFETY: in bounds by the check above; the kernel aligns its fields and the window starts
        // aligned, which the loader checks of every offset.
        Some(unsafe { self.0.as_ptr().add(offset as usize).cast::<T>().read() })
    }
}
