//! Which files are worth an attempt, by their names.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use karez_http::Coding;

/// Extensions of formats whose content is compressed: archives, packages, images, audio, video, fonts,
/// documents.
#[rustfmt::skip]
const COMPRESSED: &[&str] = &[
    "7z", "aac", "apk", "appx", "avif", "avifs", "br", "bz2", "cab", "crate", "deb", "docx", "epub", "flac",
    "gif", "gz", "heic", "heif", "jar", "jpeg", "jpg", "jxl", "lz", "lz4", "lzma", "m4a", "m4s", "m4v", "mkv",
    "mov", "mp3", "mp4", "msix", "npz", "nupkg", "odp", "ods", "odt", "oga", "ogg", "ogv", "opus", "png", "pptx",
    "rar", "rpm", "svgz", "tbz2", "tgz", "txz", "tzst", "udeb", "webm", "webp", "whl", "wmv", "woff", "woff2",
    "xlsx", "xz", "zip", "zst",
];

/// Returns whether a file of this name may become smaller.
pub(crate) fn may_shrink(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    extension.is_none_or(|extension| {
        !COMPRESSED.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

/// Returns whether a name begins with a dot.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Returns the path of the compressed file beside an original.
pub(crate) fn beside(original: &Path, coding: Coding) -> PathBuf {
    let mut path = OsString::from(original);
    path.push(coding.suffix());
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_compared_without_case() {
        for (name, may) in [
            ("a.js", true),
            ("a.JPG", false),
            ("a.tar.gz", false),
            ("Makefile", true),
            ("a.wasm", true),
            ("a.zst", false),
            (".png", true),
        ] {
            assert_eq!(may_shrink(OsStr::new(name)), may, "{name}");
        }
        assert!(COMPRESSED.is_sorted());
    }

    #[test]
    fn suffix_is_added_to_the_whole_name() {
        assert_eq!(beside(Path::new("d/a.js"), Coding::Brotli), Path::new("d/a.js.br"));
        assert_eq!(beside(Path::new("d/a"), Coding::Gzip), Path::new("d/a.gz"));
    }
}
