//! Which pages of this process were written: userfaultfd in its asynchronous write-protect mode, read by `PAGEMAP_SCAN`.
//!
//! Linux 6.7 or newer. A page counts as written from the moment it is protected until it is scanned, whoever writes: this
//! thread, another one, or the kernel on behalf of `read(2)`. What is not seen: writes to pages that are shared with
//! another process, and by devices to pinned pages. [`Pages::arm`] therefore refuses all but private anonymous memory,
//! and [`Pages::has_pinned_memory`] says when nothing may be relied on.

use std::ops::Range;

/// Bytes of a page, as the kernel hands them out on the platforms that we know.
pub const PAGE: usize = 4096;

/// Why a range cannot be tracked (any more); its content must be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// The pages that lie wholly within a range of addresses.
#[must_use]
pub fn whole_pages(span: Range<usize>) -> Range<usize> {
    let start = span.start.next_multiple_of(PAGE);
    let end = span.end / PAGE * PAGE;
    start..end.max(start)
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::{Lost, PAGE};

    // <linux/userfaultfd.h>
    const UFFD_API: u64 = 0xAA;
    const UFFD_USER_MODE_ONLY: libc::c_int = 1;
    const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
    const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
    const FEATURE_WP_ASYNC: u64 = 1 << 15;
    const REGISTER_MODE_WP: u64 = 1 << 1;
    const WRITEPROTECT_MODE_WP: u64 = 1;
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
    const UFFDIO_UNREGISTER: libc::c_ulong = 0x8010_aa01;
    const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xc018_aa06;
    // <linux/fs.h>
    const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
    const SCAN_WP_MATCHING: u64 = 1 << 0;
    const SCAN_CHECK_WPASYNC: u64 = 1 << 1;
    const PAGE_IS_WRITTEN: u64 = 1 << 1;

    #[repr(C)]
    struct ApiRequest {
        api: u64,
        features: u64,
        ioctls: u64,
    }

    #[repr(C)]
    struct RangeRequest {
        start: u64,
        len: u64,
        mode: u64,
        ioctls: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct PageRegion {
        start: u64,
        end: u64,
        categories: u64,
    }

    #[repr(C)]
    struct ScanRequest {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        vec: u64,
        vec_len: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }

    /// The kernel's page tracking, for the process that made it.
    #[derive(Debug)]
    pub struct Pages {
        faults: OwnedFd,
        pagemap: File,
        process: u32,
    }

    fn check(result: libc::c_int) -> io::Result<libc::c_int> {
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(result)
    }

    impl Pages {
        /// None where the kernel has no such tracking, forbids it, or does not pass the test of its own.
        #[must_use]
        pub fn new() -> Option<Self> {
            let pages = Self::open().ok()?;
            pages.is_exact().then_some(pages)
        }

        fn open() -> io::Result<Self> {
            // SAFETY: plain system calls; the descriptor is owned from here on.
            let faults = unsafe {
                let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
                let fd = check(libc::syscall(libc::SYS_userfaultfd, flags) as libc::c_int)?;
                OwnedFd::from_raw_fd(fd)
            };
            let mut request = ApiRequest {
                api: UFFD_API,
                features: FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC,
                ioctls: 0,
            };
            // SAFETY: the request is a valid struct of the size that the number of the call names.
            unsafe {
                check(libc::ioctl(
                    faults.as_raw_fd(),
                    UFFDIO_API,
                    &raw mut request,
                ))?;
            }
            Ok(Self {
                faults,
                pagemap: File::open("/proc/self/pagemap")?,
                process: std::process::id(),
            })
        }

        /// False after a fork: the descriptors still speak of the parent's memory.
        #[must_use]
        pub fn is_of_this_process(&self) -> bool {
            self.process == std::process::id()
        }

        /// True when some memory of this process is pinned for devices, whose writes nothing sees.
        #[must_use]
        pub fn has_pinned_memory(&self) -> bool {
            let Ok(status) = fs::read_to_string("/proc/self/status") else {
                return true;
            };
            let pinned = status
                .lines()
                .find_map(|line| line.strip_prefix("VmPin:"))
                .and_then(|rest| rest.split_whitespace().next());
            pinned != Some("0")
        }

        /// Begin to track whole pages: from now on a write to them is seen. Refuses what others may write to unseen.
        pub fn arm(&self, span: &Range<usize>) -> Result<(), Lost> {
            if !Private::now().holds(span) {
                return Err(Lost);
            }
            let mut request = RangeRequest {
                start: span.start as u64,
                len: span.len() as u64,
                mode: REGISTER_MODE_WP,
                ioctls: 0,
            };
            // SAFETY: the struct is valid; the kernel checks the range.
            let registered =
                unsafe { libc::ioctl(self.faults.as_raw_fd(), UFFDIO_REGISTER, &raw mut request) };
            if registered < 0 {
                return Err(Lost);
            }
            request.mode = WRITEPROTECT_MODE_WP;
            // SAFETY: the call reads the first three fields of the struct.
            let protected = unsafe {
                libc::ioctl(
                    self.faults.as_raw_fd(),
                    UFFDIO_WRITEPROTECT,
                    &raw mut request,
                )
            };
            if protected < 0 {
                self.disarm(span);
                return Err(Lost);
            }
            Ok(())
        }

        /// Stop tracking. Memory that is gone by now is no error.
        pub fn disarm(&self, span: &Range<usize>) {
            let mut request = RangeRequest {
                start: span.start as u64,
                len: span.len() as u64,
                mode: 0,
                ioctls: 0,
            };
            // SAFETY: the call reads the first two fields of the struct.
            unsafe {
                libc::ioctl(self.faults.as_raw_fd(), UFFDIO_UNREGISTER, &raw mut request);
            }
        }

        /// The parts that were written since they were armed or last scanned; they are protected again.
        pub fn written(&self, span: &Range<usize>) -> Result<Vec<Range<usize>>, Lost> {
            const AT_ONCE: usize = 512;
            let mut found = Vec::new();
            let mut regions = [PageRegion::default(); AT_ONCE];
            let mut start = span.start as u64;
            let end = span.end as u64;
            while start < end {
                let mut request = ScanRequest {
                    size: size_of::<ScanRequest>() as u64,
                    flags: SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
                    start,
                    end,
                    walk_end: 0,
                    vec: regions.as_mut_ptr() as u64,
                    vec_len: AT_ONCE as u64,
                    max_pages: 0,
                    category_inverted: 0,
                    category_mask: PAGE_IS_WRITTEN,
                    category_anyof_mask: 0,
                    return_mask: PAGE_IS_WRITTEN,
                };
                // SAFETY: `vec` points to `vec_len` regions, which live as long as the call.
                let n = unsafe {
                    libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut request)
                };
                // EPERM: a part of the range is no longer registered, because it was unmapped or moved meanwhile.
                let n = usize::try_from(n).map_err(|_| Lost)?;
                found.extend(
                    regions[..n]
                        .iter()
                        .map(|region| region.start as usize..region.end as usize),
                );
                if request.walk_end <= start {
                    return Err(Lost);
                }
                start = request.walk_end;
            }
            Ok(found)
        }

        /// Whether exactly the pages that are written are reported, by this process and by the kernel.
        fn is_exact(&self) -> bool {
            const N_PAGES: usize = 16;
            // SAFETY: a private mapping of our own, unmapped at the end; all writes stay within it.
            unsafe {
                let area = libc::mmap(
                    std::ptr::null_mut(),
                    N_PAGES * PAGE,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                if area == libc::MAP_FAILED {
                    return false;
                }
                let start = area as usize;
                let span = start..start + N_PAGES * PAGE;
                let page = |index: usize| start + index * PAGE;
                let write = |index: usize| ((page(index) + 7) as *mut u8).write_volatile(1);
                // Pages that exist already, and pages that do not.
                (0..N_PAGES / 2).for_each(write);
                let test = || -> Result<bool, Lost> {
                    self.arm(&span)?;
                    let mut is_exact = self.written(&span)?.is_empty();
                    write(3);
                    write(12);
                    is_exact &= self.written(&span)? == [page(3)..page(4), page(12)..page(13)];
                    is_exact &= self.written(&span)?.is_empty();
                    let zeros = File::open("/dev/zero").map_err(|_| Lost)?;
                    let n = libc::read(zeros.as_raw_fd(), page(5) as *mut libc::c_void, 8);
                    is_exact &= n == 8 && self.written(&span)?.first() == Some(&(page(5)..page(6)));
                    Ok(is_exact)
                };
                let is_exact = test() == Ok(true);
                libc::munmap(area, N_PAGES * PAGE);
                is_exact
            }
        }
    }

    /// The parts of this process's memory that nobody else can write to: private and anonymous.
    #[derive(Debug)]
    pub struct Private(Vec<Range<usize>>);

    impl Private {
        /// As it is now. Nothing when the kernel does not tell.
        #[must_use]
        pub fn now() -> Self {
            let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
            let mut parts: Vec<Range<usize>> = Vec::new();
            for part in maps.lines().filter_map(private) {
                match parts.last_mut() {
                    Some(last) if last.end == part.start => last.end = part.end,
                    _ => parts.push(part),
                }
            }
            Self(parts)
        }

        /// True when every byte of the range is there.
        #[must_use]
        pub fn holds(&self, span: &Range<usize>) -> bool {
            let after = self.0.partition_point(|part| part.start <= span.start);
            after > 0 && span.end <= self.0[after - 1].end
        }
    }

    /// The addresses of one line of `/proc/self/maps`, when they are private and of no file.
    fn private(line: &str) -> Option<Range<usize>> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let is_private = fields.next()?.ends_with('p');
        let is_anonymous = fields.nth(2)? == "0";
        let address = |text| usize::from_str_radix(text, 16).ok();
        (is_private && is_anonymous).then_some(address(start)?..address(end)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::ops::Range;

    use super::Lost;

    /// No page tracking on this platform.
    #[derive(Debug)]
    pub struct Pages {
        never: std::convert::Infallible,
    }

    /// Unknown on this platform.
    #[derive(Debug)]
    pub struct Private;

    #[allow(missing_docs, clippy::must_use_candidate, clippy::unused_self)]
    impl Private {
        pub fn now() -> Self {
            Self
        }

        pub fn holds(&self, _span: &Range<usize>) -> bool {
            false
        }
    }

    #[allow(missing_docs, clippy::must_use_candidate, clippy::unused_self)]
    impl Pages {
        pub fn new() -> Option<Self> {
            None
        }

        pub fn is_of_this_process(&self) -> bool {
            match self.never {}
        }

        pub fn has_pinned_memory(&self) -> bool {
            match self.never {}
        }

        pub fn arm(&self, _span: &Range<usize>) -> Result<(), Lost> {
            match self.never {}
        }

        pub fn disarm(&self, _span: &Range<usize>) {
            match self.never {}
        }

        pub fn written(&self, _span: &Range<usize>) -> Result<Vec<Range<usize>>, Lost> {
            match self.never {}
        }
    }
}

pub use system::{Pages, Private};
