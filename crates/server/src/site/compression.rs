//! Files that are compressed for a response (RFC 9110 §8.4.1), where no precompressed file lies beside them.
//!
//! A worker compresses a file once for each version and coding; the result is an anonymous file
//! (memfd_create(2), Linux 3.17), which is sent like any other: by every via, over every protocol, with
//! ranges and conditions, and a tag of its own. While it is made, other requests get the plain file. A result
//! that is not 5 % smaller is dropped, and the file not tried again.
//!
//! # Limitations
//!
//! The least recently used results are dropped when all of them need more than 64 MiB. A compressed file is no
//! [hot file](super::hot_files): each request makes the lookup of the plain one and of the precompressed
//! files that could be beside it. A request with `Range` gets the plain file. Without worker threads the event loop
//! compresses.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use karez_http::{Coding, Codings};
use karez_transfer::CachePolicy;
use rustix::fd::AsFd as _;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, pread};

use super::compressed::{Compressor, Found, Key};
use super::content::{Content, hash_of_bytes};
use super::identity::{FileEtag, Identity};
use super::mime;
use super::open_file::{Description, OpenFile};
use super::racy_mtime::FileClock;
use super::root::stat_fd;
use super::state::Site;

/// A shorter file fits into one segment anyway, in bytes.
const MIN: u64 = 1 << 10;
/// A longer file would take a worker for too long, in bytes.
const MAX: u64 = 10 << 20;
/// A file that is to be sent compressed.
pub(super) struct Compression {
    pub(super) path: Vec<u8>,
    pub(super) original: Arc<OpenFile>,
    pub(super) coding: Coding,
}

impl Site {
    /// Returns the coding in which a plain file is sent to a client that accepts these, if it is worth it.
    pub(super) fn coding_to_send(
        &self,
        path: &[u8],
        file: &OpenFile,
        codings: Codings,
    ) -> Option<Coding> {
        self.compressed.as_ref()?;
        let coding = codings.iter().next()?;
        let fits = (MIN..=MAX).contains(&file.size())
            && file.coding().is_none()
            && file.edits().is_none()
            && !file.is_racy()
            && !file.device().remote
            && mime::own_coding(path).is_none()
            && mime::is_compressible(path, self.options.rules.media_types());
        fits.then_some(coding)
    }

    /// Returns whether a plain file is sent only until it has been compressed.
    pub(super) fn awaits_compression(
        &self,
        path: &[u8],
        file: &OpenFile,
        codings: Codings,
    ) -> bool {
        let (Some(compressed), Some(coding)) =
            (&self.compressed, self.coding_to_send(path, file, codings))
        else {
            return false;
        };
        let key = Key { path: path.to_vec(), version: file.identity().clone(), coding };
        !compressed.is_refused(&key)
    }

    /// Returns what there is for a file. If it has to be compressed, does so, if it may.
    pub(super) fn compress(&self, compression: &Compression, may_block: bool) -> Found {
        let Some(compressed) = &self.compressed else { return Found::Plain };
        let Compression { path, original, coding } = compression;
        let version = original.identity().clone();
        let key = Key { path: path.clone(), version, coding: *coding };
        if !may_block {
            return compressed.find(&key);
        }
        let mut claim = match compressed.claim(&key) {
            Ok(claim) => claim,
            Err(found) => return found,
        };
        claim.made = self.pack(compression, compressed.compressor).ok().flatten().map(Arc::new);
        claim.made.clone().map_or(Found::Plain, Found::Ready)
    }

    /// Compresses a file. `None` if the result is not smaller, or the file changed meanwhile.
    fn pack(
        &self,
        compression: &Compression,
        compressor: Compressor,
    ) -> io::Result<Option<OpenFile>> {
        let Compression { path, original, coding } = compression;
        let plain = read(original)?;
        let mut meta = stat_fd(original.as_fd())?;
        if plain.len() as u64 != original.size() || Identity::of(&meta) != *original.identity() {
            return Ok(None);
        }
        let packed = compressor(*coding, &plain)?;
        if packed.len().saturating_mul(100) > plain.len().saturating_mul(95) {
            return Ok(None);
        }
        let mut file = std::fs::File::from(memfd_create("karez", MemfdFlags::CLOEXEC)?);
        file.write_all(&packed)?;
        meta.stx_size = packed.len() as u64;
        let rules = &self.options.rules;
        let description = Description {
            path,
            coding: Some(*coding),
            content_type: mime::content_type(path, rules.media_types()),
            rule_fields: rules.fields_of_file(path).unwrap_or_default(),
            substituted: None,
            etag: self.options.etag,
            content: match self.options.etag {
                FileEtag::Content { .. } => Content::Known(hash_of_bytes(&packed)),
                _ => Content::Unhashed,
            },
            absolute: None,
            // The result lies in memory.
            cache_policy: CachePolicy::Keep,
            since: original.changed(),
        };
        let clock = FileClock::read(self.granularity);
        let mut packed = OpenFile::new(OwnedFd::from(file), &meta, description, &clock);
        packed.set_private();
        Ok(Some(packed))
    }
}

/// Reads a file to its end, and one byte more than it had.
fn read(file: &OpenFile) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()).map_err(|_| Errno::FBIG)?;
    let mut bytes = vec![0; size + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match pread(file, &mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
