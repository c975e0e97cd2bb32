//! The ladder: which refusals mean "not this way" rather than "not at all".

use rustix::io::Errno;

/// Whether this error says that the file system, the socket or the kernel does not offer the via,
/// so that the next rung may try from the same byte. `EMFILE` and `ENFILE` are those of a pipe,
/// `ENODEV` is that of a file that cannot be mapped: the rungs below need neither.
///
/// `EIO`, `ENOMEM`, `EPIPE` and the like would meet every via alike: they are errors.
pub(crate) fn refuses_via(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL
            | Errno::XDEV
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::PERM
            | Errno::SPIPE
            | Errno::OVERFLOW
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NODEV
    )
}
