//! Memory by size class: freed blocks wait in their class's list, new ones come from the bottom of what is untouched.
//!
//! Blocks are never split or joined, so a run holds at most the sum of each class's own maximum; the classes are narrow
//! enough that a block wastes at most a fifth. The heap ends below 1 GiB; beyond it allocation fails, and std aborts.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

/// Every block's alignment, and the step of small classes.
const STEP: usize = 16;
/// Up to here classes are multiples of [`STEP`]; above, four to each power of two.
const SMALL: usize = 1024;
const SMALL_CLASSES: usize = SMALL / STEP;
/// Up to 1 GiB.
const CLASSES: usize = SMALL_CLASSES + 4 * 20;

unsafe extern "C" {
    static mut _heap_start: u8;
    static mut _heap_end: u8;
}

struct State {
    /// First address that was never handed out; its memory, and all above, is zero.
    next: usize,
    /// Freed blocks; each holds the address of the one after it.
    free: [*mut u8; CLASSES],
}

pub struct Heap(UnsafeCell<State>);

// SAFETY: the guest has one thread.
unsafe impl Sync for Heap {}

/// Class and size of the blocks that hold `size` bytes.
#[inline(always)]
fn class(size: usize) -> (usize, usize) {
    if size <= SMALL {
        let steps = size.max(1).div_ceil(STEP);
        return (steps - 1, steps * STEP);
    }
    let quarter = (size - 1).ilog2() - 2;
    let quarters = ((size - 1) >> quarter) + 1;
    let power = quarter as usize + 2 - SMALL.ilog2() as usize;
    (SMALL_CLASSES + power * 4 + (quarters - 5), quarters << quarter)
}

impl Heap {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State { next: 0, free: [ptr::null_mut(); CLASSES] }))
    }

    /// From untouched memory.
    fn fresh(&self, size: usize, align: usize) -> *mut u8 {
        // SAFETY: one thread, and no reference to the state outlives a call. The symbols are used as addresses only.
        let state = unsafe { &mut *self.0.get() };
        if state.next == 0 {
            state.next = &raw mut _heap_start as usize;
        }
        let start = state.next.next_multiple_of(align.max(STEP));
        match start.checked_add(size) {
            Some(end) if end <= &raw mut _heap_end as usize => {
                state.next = end;
                start as *mut u8
            }
            _ => ptr::null_mut(),
        }
    }

    fn reused(&self, class: usize) -> *mut u8 {
        // SAFETY: as above; a block in a list is at least a pointer long and aligned for one.
        unsafe {
            let state = &mut *self.0.get();
            let Some(slot) = state.free.get_mut(class) else { return ptr::null_mut() };
            let block = *slot;
            if !block.is_null() {
                *slot = block.cast::<*mut u8>().read();
            }
            block
        }
    }
}

// SAFETY: blocks do not overlap, are as long as their class and aligned to STEP; greater alignment gets blocks of its own.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > STEP {
            return self.fresh(layout.size(), layout.align());
        }
        let (class, size) = class(layout.size());
        let block = self.reused(class);
        if block.is_null() { self.fresh(size, STEP) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() > STEP {
            return self.fresh(layout.size(), layout.align());
        }
        let (class, size) = class(layout.size());
        let block = self.reused(class);
        if block.is_null() {
            return self.fresh(size, STEP);
        }
        // SAFETY: the block is at least that long.
        unsafe { block.write_bytes(0, layout.size()) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Nothing that a block's execution repeats asks for more alignment; what does is not used again.
        if layout.align() > STEP {
            return;
        }
        let (class, _) = class(layout.size());
        // SAFETY: as in `reused`; the caller gives the block up.
        unsafe {
            let state = &mut *self.0.get();
            if let Some(slot) = state.free.get_mut(class) {
                block.cast::<*mut u8>().write(*slot);
                *slot = block;
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (old_class, old_size) = class(layout.size());
        let (new_class, size) = class(new_size);
        if layout.align() <= STEP {
            if old_class == new_class {
                return block;
            }
            // SAFETY: as in `fresh`.
            let state = unsafe { &mut *self.0.get() };
            let is_last = state.next == block as usize + old_size;
            if is_last && size > old_size && !self.fresh(size - old_size, STEP).is_null() {
                return block;
            }
        }
        // SAFETY: `new_size` is not zero and, rounded up to the alignment, no overflow: the caller's duty.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}
