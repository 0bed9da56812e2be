//! A library for `LD_PRELOAD` that makes every `fdatasync` of PostgreSQL, which is every commit, take longer.
//!
//! The disks of development machines commit in some tens of microseconds, those of most production machines in about a
//! millisecond. A figure that is measured on the former alone flatters whoever commits most often, so `cargo xtask bench
//! ledger` publishes every figure without and with added latency, from one server.
//!
//! The file that `STIPEND_COMMIT_DELAY_FILE` names holds the latency to add: four bytes, microseconds, in the machine's
//! byte order. It is mapped, so that the latency can be changed while the server runs and looking costs a load from
//! memory. Without the variable, or where the file cannot be mapped, nothing is added; the benchmark checks that the
//! latency is felt before it believes it.
//!
//! This is **the one exception to `unsafe_code = forbid`**: a function that the dynamic linker finds by its C name, a
//! mapping and a bare system call cannot be said otherwise. Nothing that ships depends on this crate.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "an exported C symbol, a mapping and a bare system call")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libc::c_int;

/// The variable that names the file with the latency.
const VARIABLE: &str = "STIPEND_COMMIT_DELAY_FILE";
/// What the file holds, in bytes.
const LENGTH: usize = size_of::<AtomicU32>();

/// Waits, and then does what the C library's `fdatasync` does.
///
/// # Safety
/// None is needed: it takes a number, and the system refuses those that are no open files.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    let micros = delay().map_or(0, |delay| delay.load(Ordering::Relaxed));
    if micros > 0 {
        std::thread::sleep(Duration::from_micros(micros.into()));
    }
    // SAFETY: the call reads no memory of ours. The C library's own function cannot be called by its name, because the
    // name is ours now; like it, the raw call sets errno.
    let answer = unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) };
    c_int::try_from(answer).unwrap_or(-1)
}

/// The latency to add, in microseconds. A server's children inherit the mapping.
fn delay() -> Option<&'static AtomicU32> {
    static DELAY: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();
    *DELAY.get_or_init(map)
}

fn map() -> Option<&'static AtomicU32> {
    let file = File::open(std::env::var_os(VARIABLE)?).ok()?;
    // A page that the file does not reach ends the process when it is read.
    let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
    if length < LENGTH {
        return None;
    }
    // SAFETY: the address is the system's to choose and the file is open. The mapping outlives the file and is never
    // taken away, so that a reference to it may live as long as the process.
    let address = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            LENGTH,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: a mapping begins at a page, which is aligned for any integer, and holds LENGTH bytes that are initialised
    // for as long as nobody truncates the file. Whoever else writes them writes whole integers.
    Some(unsafe { &*address.cast::<AtomicU32>() })
}
