//! The configuration of a ring, and its setup with the features of this kernel.

use io_uring::IoUring;
use rustix::io::{self, Errno};

/// Configures a ring.
///
/// ```
/// use karez_sys::RingOptions;
///
/// let options = RingOptions::default().completions(1024).multishot(false);
/// assert_eq!((options.completions, options.submissions), (1024, 256));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RingOptions {
    /// The entries of the submission queue; default 256.
    pub submissions: u32,
    /// The entries of the completion queue; default 4096.
    pub completions: u32,
    /// The number of provided buffers, a power of two; 0 for one buffer per receive. Default 256.
    pub buffers: u16,
    /// The size of a provided buffer in bytes; default 4096.
    pub buffer_size: u32,
    /// Use multishot operations; default true.
    pub multishot: bool,
}

impl RingOptions {
    /// Sets the entries of the submission queue.
    #[must_use]
    pub fn submissions(self, submissions: u32) -> Self {
        Self { submissions, ..self }
    }

    /// Sets the entries of the completion queue.
    #[must_use]
    pub fn completions(self, completions: u32) -> Self {
        Self { completions, ..self }
    }

    /// Sets the number of provided buffers, a power of two.
    #[must_use]
    pub fn buffers(self, buffers: u16) -> Self {
        Self { buffers, ..self }
    }

    /// Sets the size of a provided buffer in bytes.
    #[must_use]
    pub fn buffer_size(self, buffer_size: u32) -> Self {
        Self { buffer_size, ..self }
    }

    /// Sets whether multishot operations are used.
    #[must_use]
    pub fn multishot(self, multishot: bool) -> Self {
        Self { multishot, ..self }
    }
}

impl Default for RingOptions {
    fn default() -> Self {
        let (buffers, buffer_size) = (256, 4 << 10);
        Self { submissions: 256, completions: 4096, buffers, buffer_size, multishot: true }
    }
}

/// Makes a ring with the fastest setup of this kernel: one thread submits, and runs
/// the deferred work when it waits (6.1), or completions do not interrupt a running thread (5.19).
pub(super) fn build(options: RingOptions) -> io::Result<IoUring> {
    let base = || {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(options.completions);
        builder
    };
    let mut best = base();
    best.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    let mut good = base();
    good.setup_coop_taskrun().setup_submit_all();
    for builder in [best, good] {
        match builder.build(options.submissions).map_err(errno) {
            Err(Errno::INVAL) => {}
            built => return built,
        }
    }
    base().build(options.submissions).map_err(errno)
}

/// Returns the errno of an error.
pub(super) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
