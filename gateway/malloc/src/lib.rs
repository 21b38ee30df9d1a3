//! The allocator: mimalloc, called by its plain `malloc` wherever that aligns well enough.
//!
//! A proxy allocates and frees some seventy times for each request. mimalloc's own crate for Rust asks for an alignment
//! each time, and a quarter of those calls take a slow path; what `mi_malloc` gives is aligned to 16 bytes, or to the
//! size where that is less, which is what nearly everything needs. This crate alone has unsafe code, and no other.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// mimalloc, as Rust's global allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mimalloc;

/// What `mi_malloc` aligns everything to that is at least so long.
const ALIGNED: usize = 16;

/// Whether what `mi_malloc` gives is aligned for this: the greatest alignment is 16, and that of a block shorter than 16
/// bytes is the greatest power of two within its size.
fn is_plain(layout: &Layout) -> bool {
    layout.align() <= ALIGNED && layout.align() <= layout.size()
}

// SAFETY: mimalloc gives blocks of at least the size that is asked for, none twice at a time, and null for none; it is
// safe to call from any thread, and never unwinds.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, and an alignment is a power of two.
        unsafe { if is_plain(&layout) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller gives a block of this allocator's, and gives it once.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as in `alloc`.
        unsafe { if is_plain(&layout) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        let plain = align <= ALIGNED && align <= size;
        // SAFETY: the caller gives a block of this allocator's; it may be any, however it was asked for.
        unsafe {
            if plain { mi_realloc(block.cast(), size) } else { mi_realloc_aligned(block.cast(), size, align) }
        }
        .cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_whole_and_keep_what_is_in_them() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in [1, 3, 7, 8, 9, 15, 16, 17, 24, 100, 4095, 70_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: each block is asked for with the layout that it is given back with, and written within it.
                unsafe {
                    let block = Mimalloc.alloc_zeroed(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                    assert!((0..size).all(|at| *block.add(at) == 0), "{layout:?}");
                    (0..size).for_each(|at| *block.add(at) = at as u8);
                    let bigger = Mimalloc.realloc(block, layout, size * 3);
                    assert!(!bigger.is_null() && bigger.addr().is_multiple_of(align), "{layout:?}");
                    assert!((0..size).all(|at| *bigger.add(at) == at as u8), "{layout:?}");
                    Mimalloc.dealloc(bigger, Layout::from_size_align(size * 3, align).unwrap());
                    let block = Mimalloc.alloc(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align), "{layout:?}");
                    Mimalloc.dealloc(block, layout);
                }
            }
        }
    }
}
