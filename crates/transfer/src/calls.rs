//! Counters of system calls, kept in the report of a transfer at the place that makes each call.

/// Declares the fields of [`Calls`] and the iterator over them.
macro_rules! calls {
    ($($name:ident: $doc:literal),+ $(,)?) => {
        /// Counts system calls by name. Calls that only free a resource (`close`, `munmap`) are not
        /// counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Calls {
            $(#[doc = $doc] pub $name: u64,)+
        }

        impl Calls {
            /// Returns the name and the number of each system call that has been made.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),+].into_iter().filter(|call| call.1 > 0)
            }

            /// Returns the sum of all counts.
            #[must_use]
            pub fn total(&self) -> u64 {
                self.iter().map(|call| call.1).sum()
            }

            /// Adds the counts of another transfer.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

calls! {
    pread64: "`pread(2)`",
    preadv2: "`preadv2(2)` with `RWF_NOWAIT` or `RWF_DONTCACHE`",
    pwrite64: "`pwrite(2)`",
    pwritev2: "`pwritev2(2)` with `RWF_DONTCACHE`",
    read: "`read(2)` of a pipe, of its remaining bytes before a fallback, of bytes that edit a private mapping, or of events by callers that watch files",
    write: "`write(2)` to a pipe, or of bytes that edit a private mapping",
    recvfrom: "`recv(2)`; with `splice` also one peek at the end of the stream",
    sendto: "`send(2)`",
    sendmsg: "`sendmsg(2)` of memory in several places",
    recvmsg: "`recvmsg(2)` of the error queue",
    setsockopt: "`setsockopt(2)` of `SO_ZEROCOPY`",
    sendfile: "`sendfile(2)`",
    splice: "`splice(2)`, into the pipe and out of it",
    pipe2: "`pipe2(2)`",
    fcntl: "`fcntl(2)`, for the size of a pipe or the status flags of a file",
    copy_file_range: "`copy_file_range(2)`",
    ioctl: "`ioctl(2)` with `FICLONERANGE`",
    lseek: "`lseek(2)`",
    mmap: "`mmap(2)`",
    madvise: "`madvise(2)`, for sequential reads of a mapping",
    open: "`openat(2)` of `/proc/self/fd`, for a second descriptor of a file",
    openat2: "`openat2(2)`, by callers that resolve names",
    getdents64: "`getdents64(2)`, by callers that read directories",
    ppoll: "`poll(2)` of the watches of an open-file cache, by callers that keep one",
    statx: "`statx(2)`, for the alignment, or by callers that resolve names",
    fstat: "`fstat(2)`, for the size or the identity of a file",
    fstatfs: "`fstatfs(2)`, to detect an overlay",
    fadvise64: "`posix_fadvise(2)`",
    sync_file_range: "`sync_file_range(2)`",
    cachestat: "`cachestat(2)`",
    mincore: "`mincore(2)`",
}
