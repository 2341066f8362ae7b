//! Which files native code opens, and which variables of the environment it asks for: arrow, HDF5 and their kind go past
//! Python's audit events.
//!
//! While the watch is on, the import slots (GOT) of every loaded library point at the functions below instead of the C
//! library's `open`, `openat`, `fopen`, `opendir` and `getenv`; each notes the path or the variable and goes on to the
//! real function. The Python executable itself keeps its own opens, because Python's are seen as audit events, with the
//! code that asked. Its `dlopen` is replaced, so that a library that is imported in the middle of a cell is seen as well:
//! what it asked for while it was being loaded was not, so that it is said that it may have asked for anything.
//!
//! Invariant: the functions are called at any time, on any thread, without the GIL. They only take a lock of ours,
//! never call Python, and pass arguments and results through unchanged.

use pyo3::prelude::*;

/// What `stat` said of a path: device, inode, size, times of the content and of the entry in nanoseconds.
type Stat = Option<(u64, u64, u64, i64, i64)>;
/// One event: `read`, `write`, `update` or `list`, the path, and what `stat` said of it then; or `variable` and its name,
/// `loaded` and a library that can ask for variables, `environment` where all of them may be read.
type Event = (&'static str, String, Stat);
/// The same with the thread (as the system numbers it) that did it.
type ThreadEvent = (&'static str, String, Stat, i64);
/// A moment of a watch: which watch it is, and how many events it had noted.
type Mark = (u64, usize);

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod slots {
    use std::collections::BTreeSet;
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::os::unix::fs::MetadataExt;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Event, Mark, ThreadEvent};

    /// What was noted, in order: once per kind, path and thread since the last mark.
    struct Seen {
        watch: u64,
        noted: BTreeSet<(u8, i64, String)>,
        events: Vec<ThreadEvent>,
    }

    static ACTIVE: AtomicBool = AtomicBool::new(false);
    static EVENTS: Mutex<Seen> = Mutex::new(Seen {
        watch: 0,
        noted: BTreeSet::new(),
        events: Vec::new(),
    });
    static PATCHED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
    /// A library reads the environment itself, or a question came while another one was being noted.
    static READS_ALL: AtomicBool = AtomicBool::new(false);
    static MISSED: AtomicBool = AtomicBool::new(false);
    /// What these do with the environment itself is nothing that a notebook could tell: Arrow's allocator looks for
    /// settings of its own name, and `setproctitle` moves it.
    const OF_NO_ACCOUNT: [&[u8]; 3] = [b"libarrow", b"setproctitle", b"libpython"];

    const READ: u8 = 0;
    const WRITE: u8 = 1;
    const UPDATE: u8 = 2;
    const LIST: u8 = 3;
    const VARIABLE: u8 = 4;
    const LOADED: u8 = 5;
    const KINDS: [&str; 6] = ["read", "write", "update", "list", "variable", "loaded"];

    /// Files that no notebook owns: noting them would only cost time.
    fn is_system(path: &[u8]) -> bool {
        [
            &b"/proc/"[..],
            b"/sys/",
            b"/dev/",
            b"/usr/",
            b"/lib",
            b"/etc/",
        ]
        .iter()
        .any(|prefix| path.starts_with(prefix))
    }

    fn note(kind: u8, path: &[u8]) {
        if path.is_empty() || is_system(path) {
            return;
        }
        let path = String::from_utf8_lossy(path).into_owned();
        let Ok(mut events) = EVENTS.lock() else {
            return;
        };
        // SAFETY: asks for a number, and changes nothing.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        if !events.noted.insert((kind, thread, path.clone())) {
            return;
        }
        let found = std::fs::metadata(&path).ok().map(|data| {
            let nanoseconds =
                |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
            (
                data.dev(),
                data.ino(),
                data.size(),
                nanoseconds(data.mtime(), data.mtime_nsec()),
                nanoseconds(data.ctime(), data.ctime_nsec()),
            )
        });
        events
            .events
            .push((KINDS[kind as usize], path, found, thread));
    }

    fn kind_of_flags(flags: c_int) -> u8 {
        if flags & (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND)
            == 0
        {
            READ
        } else if flags & libc::O_TRUNC != 0 {
            WRITE
        } else {
            UPDATE
        }
    }

    /// Runs `report` with `errno` kept as it was, when the watch is on and the path can be read.
    unsafe fn see(path: *const c_char, report: impl FnOnce(&[u8])) {
        if !ACTIVE.load(Ordering::Relaxed) || path.is_null() {
            return;
        }
        // SAFETY: callers pass what they would pass to the C library: a terminated string.
        let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
        // SAFETY: the address of this thread's errno is always valid.
        let errno = unsafe { libc::__errno_location() };
        let before = unsafe { *errno };
        report(bytes);
        unsafe { *errno = before };
    }

    unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
        unsafe {
            see(path, |bytes| note(kind_of_flags(flags), bytes));
            libc::open(path, flags, mode as libc::c_uint)
        }
    }

    unsafe extern "C" fn openat(
        folder: c_int,
        path: *const c_char,
        flags: c_int,
        mode: libc::mode_t,
    ) -> c_int {
        unsafe {
            see(path, |bytes| {
                if bytes.starts_with(b"/") || folder == libc::AT_FDCWD {
                    note(kind_of_flags(flags), bytes);
                } else if let Ok(base) = std::fs::read_link(format!("/proc/self/fd/{folder}")) {
                    let full = base.join(String::from_utf8_lossy(bytes).as_ref());
                    note(kind_of_flags(flags), full.as_os_str().as_encoded_bytes());
                }
            });
            libc::openat(folder, path, flags, mode as libc::c_uint)
        }
    }

    unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
        unsafe {
            see(path, |bytes| {
                let how = CStr::from_ptr(mode).to_bytes();
                let kind = match (how.first(), how.contains(&b'+')) {
                    (Some(b'r'), false) => READ,
                    (Some(b'w'), _) => WRITE,
                    _ => UPDATE,
                };
                note(kind, bytes);
            });
            libc::fopen(path, mode)
        }
    }

    unsafe extern "C" fn opendir(path: *const c_char) -> *mut libc::DIR {
        unsafe {
            see(path, |bytes| note(LIST, bytes));
            libc::opendir(path)
        }
    }

    /// Never waits and never asks anything: allocators and signal handlers may call `getenv`.
    fn note_name(kind: u8, name: &[u8]) {
        let Ok(mut events) = EVENTS.try_lock() else {
            MISSED.store(true, Ordering::Relaxed);
            return;
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if events.noted.insert((kind, 0, name.clone())) {
            events.events.push((KINDS[kind as usize], name, None, 0));
        }
    }

    unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
        unsafe {
            see(name, |bytes| note_name(VARIABLE, bytes));
            libc::getenv(name)
        }
    }

    unsafe extern "C" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
        unsafe {
            let handle = libc::dlopen(path, flags);
            if ACTIVE.load(Ordering::Relaxed) && !handle.is_null() {
                patch_all();
            }
            handle
        }
    }

    /// What replaces a function of this name, by whether the importer is Python itself.
    fn replacement(name: &[u8], is_python: bool) -> Option<usize> {
        Some(match name {
            b"dlopen" => dlopen as *const () as usize,
            // A process that may do more than its user is not what a kernel is: the two are one.
            b"getenv" | b"secure_getenv" | b"__secure_getenv" => getenv as *const () as usize,
            _ if is_python => return None,
            b"open" | b"open64" | b"__open_2" | b"__open64_2" => open as *const () as usize,
            b"openat" | b"openat64" | b"__openat_2" | b"__openat64_2" => {
                openat as *const () as usize
            }
            b"fopen" | b"fopen64" => fopen as *const () as usize,
            b"opendir" => opendir as *const () as usize,
            _ => return None,
        })
    }

    // Of each: R_*_64 (in tables of functions), R_*_GLOB_DAT, R_*_JUMP_SLOT.
    #[cfg(target_arch = "x86_64")]
    const SLOT_KINDS: [u64; 3] = [1, 6, 7];
    #[cfg(target_arch = "aarch64")]
    const SLOT_KINDS: [u64; 3] = [257, 1025, 1026];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    const SLOT_KINDS: [u64; 3] = [u64::MAX; 3];
    pub const HEARS_VARIABLES: bool = SLOT_KINDS[0] != u64::MAX;

    #[repr(C)]
    struct Dynamic {
        tag: i64,
        value: u64,
    }

    #[repr(C)]
    struct Rela {
        offset: u64,
        info: u64,
        addend: i64,
    }

    const DT_PLTRELSZ: i64 = 2;
    const DT_STRTAB: i64 = 5;
    const DT_SYMTAB: i64 = 6;
    const DT_RELA: i64 = 7;
    const DT_RELASZ: i64 = 8;
    const DT_JMPREL: i64 = 23;

    unsafe extern "C" fn patch_object(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        own: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader gives valid tables of an object that stays loaded while it is being visited.
        unsafe {
            let info = &*info;
            let base = info.dlpi_addr as usize;
            let name = if info.dlpi_name.is_null() {
                &b""[..]
            } else {
                CStr::from_ptr(info.dlpi_name).to_bytes()
            };
            let is_loader = [
                &b"linux-vdso"[..],
                b"ld-linux",
                b"libc.so",
                b"libpthread",
                b"libdl.so",
            ]
            .iter()
            .any(|part| name.windows(part.len()).any(|window| window == *part));
            if is_loader || base == *(own as *const usize) {
                return 0;
            }
            let Ok(mut patched) = PATCHED.lock() else {
                return 0;
            };
            if !patched.insert(base) {
                return 0;
            }
            let is_python = name.is_empty() || name.windows(9).any(|window| window == b"libpython");
            let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize);
            let Some(dynamic) = headers
                .iter()
                .find(|header| header.p_type == libc::PT_DYNAMIC)
            else {
                return 0;
            };
            let mut entry = (base + dynamic.p_vaddr as usize) as *const Dynamic;
            let (mut strings, mut symbols, mut tables) =
                (0_usize, 0_usize, [(0_usize, 0_usize); 2]);
            while (*entry).tag != 0 {
                let value = (*entry).value as usize;
                match (*entry).tag {
                    DT_STRTAB => strings = value,
                    DT_SYMTAB => symbols = value,
                    DT_JMPREL => tables[0].0 = value,
                    DT_PLTRELSZ => tables[0].1 = value,
                    DT_RELA => tables[1].0 = value,
                    DT_RELASZ => tables[1].1 = value,
                    _ => {}
                }
                entry = entry.add(1);
            }
            // glibc stores addresses that are already relocated; anything below the base is not one.
            if strings < base || symbols < base {
                return 0;
            }
            let mut asks = false;
            for (table, size) in tables {
                if table < base || table == 0 {
                    continue;
                }
                let entries =
                    std::slice::from_raw_parts(table as *const Rela, size / size_of::<Rela>());
                for rela in entries {
                    if !SLOT_KINDS.contains(&(rela.info & 0xffff_ffff)) {
                        continue;
                    }
                    let symbol = &*((symbols
                        + (rela.info >> 32) as usize * size_of::<libc::Elf64_Sym>())
                        as *const libc::Elf64_Sym);
                    let symbol_name =
                        CStr::from_ptr((strings + symbol.st_name as usize) as *const c_char)
                            .to_bytes();
                    let is_pointer = rela.info & 0xffff_ffff == SLOT_KINDS[0];
                    match symbol_name {
                        b"getenv" | b"secure_getenv" | b"__secure_getenv" => asks = true,
                        b"environ" | b"__environ" | b"_environ" if symbol.st_shndx == 0 => {
                            let is_known = OF_NO_ACCOUNT
                                .iter()
                                .any(|part| name.windows(part.len()).any(|window| window == *part));
                            if !is_python && !is_known {
                                READS_ALL.store(true, Ordering::Relaxed);
                            }
                        }
                        // Files are opened through slots.
                        _ if is_pointer => continue,
                        _ => {}
                    }
                    if is_pointer && rela.addend != 0 {
                        continue;
                    }
                    if let Some(function) = replacement(symbol_name, is_python) {
                        set_slot(base + rela.offset as usize, function);
                    }
                }
            }
            if asks && ACTIVE.load(Ordering::Relaxed) {
                note_name(LOADED, name);
            }
            0
        }
    }

    /// Point one slot at `function`. Slots of libraries that were linked to be read-only are made writable for the moment.
    unsafe fn set_slot(slot: usize, function: usize) {
        // SAFETY: the slot is an aligned pointer inside the object's own data.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let start = slot & !(page - 1);
            if libc::mprotect(
                start as *mut c_void,
                page,
                libc::PROT_READ | libc::PROT_WRITE,
            ) != 0
            {
                return;
            }
            // The page stays writable: lazy binding may need it, and we cannot know how it was.
            std::sync::atomic::AtomicUsize::from_ptr(slot as *mut usize)
                .store(function, Ordering::SeqCst);
        }
    }

    fn patch_all() {
        let mut own: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: `patch_all` is an address inside this library.
        let mut base =
            if unsafe { libc::dladdr(patch_all as *const () as *const c_void, &mut own) } != 0 {
                own.dli_fbase as usize
            } else {
                return;
            };
        // SAFETY: the callback reads only what the loader hands it.
        unsafe { libc::dl_iterate_phdr(Some(patch_object), (&raw mut base).cast()) };
    }

    pub fn start() {
        if let Ok(mut seen) = EVENTS.lock() {
            seen.watch += 1;
            seen.noted.clear();
            seen.events.clear();
        }
        // What was loaded between two watches asked for nothing in the second.
        patch_all();
        MISSED.store(false, Ordering::SeqCst);
        ACTIVE.store(true, Ordering::SeqCst);
    }

    pub fn stop() -> Vec<Event> {
        if ACTIVE.load(Ordering::SeqCst) {
            patch_all();
        }
        ACTIVE.store(false, Ordering::SeqCst);
        let Ok(mut seen) = EVENTS.lock() else {
            return Vec::new();
        };
        seen.noted.clear();
        let mut known = BTreeSet::new();
        let mut found: Vec<Event> = std::mem::take(&mut seen.events)
            .into_iter()
            .filter(|(kind, path, _, _)| known.insert((*kind, path.clone())))
            .map(|(kind, path, found, _)| (kind, path, found))
            .collect();
        if MISSED.load(Ordering::SeqCst) || READS_ALL.load(Ordering::SeqCst) {
            found.push(("environment", String::new(), None));
        }
        found
    }

    pub fn mark() -> Option<Mark> {
        let mut seen = EVENTS.lock().ok()?;
        if !ACTIVE.load(Ordering::SeqCst) {
            return None;
        }
        // What was opened before may be opened again.
        seen.noted.clear();
        Some((seen.watch, seen.events.len()))
    }

    pub fn since(mark: Mark) -> Option<Vec<ThreadEvent>> {
        let seen = EVENTS.lock().ok()?;
        let is_same = ACTIVE.load(Ordering::SeqCst) && seen.watch == mark.0;
        is_same.then(|| {
            let found = seen.events[mark.1..].iter();
            found
                .filter(|event| {
                    event.0 != KINDS[VARIABLE as usize] && event.0 != KINDS[LOADED as usize]
                })
                .cloned()
                .collect()
        })
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod slots {
    use super::{Event, Mark, ThreadEvent};

    pub const HEARS_VARIABLES: bool = false;

    pub fn start() {}

    pub fn stop() -> Vec<Event> {
        Vec::new()
    }

    pub fn mark() -> Option<Mark> {
        None
    }

    pub fn since(_mark: Mark) -> Option<Vec<ThreadEvent>> {
        None
    }
}

/// Begin to note which files native code opens.
#[pyfunction]
pub fn watch_start(py: Python<'_>) {
    py.detach(slots::start);
}

/// End; the events in order, each once: `(kind, path, (device, inode, size, mtime_ns, ctime_ns) or None)`.
#[pyfunction]
pub fn watch_stop(py: Python<'_>) -> Vec<Event> {
    py.detach(slots::stop)
}

/// Whether a watch hears of variables that native code asks for.
#[pyfunction]
pub fn watch_hears_variables() -> bool {
    slots::HEARS_VARIABLES
}

/// This moment of the watch that is on; None: none is.
#[pyfunction]
pub fn watch_mark(py: Python<'_>) -> Option<Mark> {
    py.detach(slots::mark)
}

/// The events since a mark, each with the thread that did it; None: that watch was not on all the time. It goes on.
#[pyfunction]
pub fn watch_since(py: Python<'_>, mark: Mark) -> Option<Vec<ThreadEvent>> {
    py.detach(|| slots::since(mark))
}
