//! The media type of a file by the extension of its name: [`corrected`] first, then the table of the
//! `mime_guess` crate.
//!
//! The corrections are extensions that the table lacks, or for which its type is neither registered with
//! IANA nor used by browsers, package managers and players today.
//!
//! `charset=utf-8` is added to text and to JavaScript, whose bytes do not declare an encoding. It is left
//! out for formats that do: JSON is UTF-8 and its type has no such parameter (RFC 8259 §8.1, §11); XML,
//! including SVG, has a byte order mark or an encoding declaration, is UTF-8 without them, and the
//! parameter would override them (RFC 7303 §3).
//!
//! # Limitations
//!
//! The name decides, never the content: a text in Latin-1 is labelled UTF-8, and TypeScript has the
//! extension of MPEG transport streams, which browsers have to be able to play.

use std::borrow::Cow;

use karez_http::Coding;

use crate::rules::media_type::MediaTypes;

/// Returns the value of `Content-Type` for a file of this name. `types`: those of the configuration.
pub(super) fn content_type<'a>(name: &[u8], types: &'a MediaTypes) -> Cow<'a, str> {
    if let Some(configured) = extension(name).and_then(|extension| types.find(extension)) {
        return Cow::Borrowed(configured);
    }
    known_type(name)
}

fn known_type(name: &[u8]) -> Cow<'static, str> {
    let known = extension(name).and_then(|extension| {
        corrected(extension).or_else(|| mime_guess::from_ext(extension).first_raw())
    });
    let Some(media_type) = known else {
        return Cow::Borrowed(UNKNOWN);
    };
    match media_type {
        // The most frequent types need no allocation.
        "text/html" => Cow::Borrowed("text/html; charset=utf-8"),
        "text/css" => Cow::Borrowed("text/css; charset=utf-8"),
        "text/javascript" => Cow::Borrowed("text/javascript; charset=utf-8"),
        "text/plain" => Cow::Borrowed("text/plain; charset=utf-8"),
        "text/xml" => Cow::Borrowed(media_type),
        _ if media_type.starts_with("text/") || media_type == "application/javascript" => {
            Cow::Owned(format!("{media_type}; charset=utf-8"))
        }
        _ => Cow::Borrowed(media_type),
    }
}

/// Returns whether files of this name become smaller by compression, by their type.
pub(super) fn is_compressible(name: &[u8], types: &MediaTypes) -> bool {
    let content_type = content_type(name, types);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || media_type.ends_with("+xml")
        || COMPRESSIBLE.contains(&media_type)
}

/// Types that are compressible besides text, and those whose suffix says so (RFC 6839).
const COMPRESSIBLE: [&str; 14] = [
    "application/javascript",
    "application/json",
    "application/rtf",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-ndjson",
    "application/xml",
    "application/yaml",
    "font/otf",
    "font/sfnt",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
];

/// Returns the coding that files of this name have by definition: an `.svgz` is an SVG image under
/// gzip, and a browser shows it only if `Content-Encoding` says so (SVG 1.1 §1.2).
pub(super) fn own_coding(name: &[u8]) -> Option<Coding> {
    extension(name).filter(|it| it.eq_ignore_ascii_case("svgz")).map(|_| Coding::Gzip)
}

/// Returns the type for an extension that the general table has not, or not as it is used today.
fn corrected(extension: &str) -> Option<&'static str> {
    Some(match extension.to_ascii_lowercase().as_str() {
        // Scripts and related files (RFC 9239; WHATWG MIME Sniffing; ECMA-426 for maps).
        "mjs" | "cjs" | "jsx" => "text/javascript",
        "map" => "application/json",
        "wgsl" => "text/wgsl",
        "ipynb" => "application/x-ipynb+json",
        "jsonl" | "ndjson" => "application/x-ndjson",

        // Audio and video.
        "ts" | "m2t" | "m2ts" | "mts" => "video/mp2t",
        "m4s" => "video/iso.segment",
        "m3u8" => "application/vnd.apple.mpegurl",
        "m4a" | "m4b" => "audio/mp4",
        "mid" | "midi" => "audio/midi",
        "ttml" => "application/ttml+xml",

        // Fonts (RFC 8081) and images.
        "woff" => "font/woff",
        "otf" => "font/otf",
        "ico" => "image/vnd.microsoft.icon",
        "psd" => "image/vnd.adobe.photoshop",
        "exr" => "image/aces",
        "dds" => "image/vnd.ms-dds",
        "ktx2" => "image/ktx2",
        "jxr" => "image/jxr",
        "fits" => "image/fits",

        // Archives and packages.
        "tgz" | "crate" => "application/gzip",
        "tzst" | "zst" => "application/zstd",
        "txz" => "application/x-xz",
        "tbz2" => "application/x-bzip2",
        "lz4" => "application/x-lz4",
        "deb" | "udeb" | "ddeb" => "application/vnd.debian.binary-package",
        "rpm" | "srpm" => "application/x-rpm",
        "cab" => "application/vnd.ms-cab-compressed",
        "whl" | "nupkg" | "npz" => "application/zip",
        "gem" => "application/x-tar",
        "appx" => "application/appx",
        "msix" => "application/msix",

        // Data, models and tables. No type is registered for weights: they are bytes.
        "parquet" => "application/vnd.apache.parquet",
        "arrow" => "application/vnd.apache.arrow.file",
        "arrows" => "application/vnd.apache.arrow.stream",
        "gguf" | "ggml" | "safetensors" | "onnx" | "pt" | "pth" | "ckpt" | "npy" | "h5" => UNKNOWN,
        "sqlite" | "sqlite3" => "application/vnd.sqlite3",
        "pbf" => "application/vnd.google.protobuf",
        "mvt" => "application/vnd.mapbox-vector-tile",
        "cbor" => "application/cbor",
        "glb" => "model/gltf-binary",
        "usdz" => "model/vnd.usdz+zip",
        "3mf" => "model/3mf",
        "step" | "stp" => "model/step",
        "mtl" => "model/mtl",

        // Certificates and signatures.
        "cer" => "application/pkix-cert",
        "age" => "application/vnd.age",

        // Text that people read in the browser.
        "toml" => "application/toml",
        "yaml" | "yml" => "application/yaml",
        "java" | "go" | "kt" | "kts" | "swift" | "zig" | "rb" | "scala" | "jl" | "ps1" | "tsx"
        | "vue" | "svelte" | "patch" | "diff" | "lock" | "nix" | "cmake" | "gradle" | "proto"
        | "tf" | "minisig" | "sha1" | "sha256" | "sha512" | "md5" | "b2sum" | "nfo" => "text/plain",
        _ => return None,
    })
}

fn extension(path: &[u8]) -> Option<&str> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    // ".profile" is a name, not an extension.
    if dot == 0 {
        return None;
    }
    std::str::from_utf8(name.get(dot + 1..)?).ok()
}

const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.b/INDEX.HTM", "text/html; charset=utf-8"),
            ("x.css", "text/css; charset=utf-8"),
            ("x.js", "text/javascript; charset=utf-8"),
            ("x.mjs", "text/javascript; charset=utf-8"),
            ("x.md", "text/markdown; charset=utf-8"),
            ("x.json", "application/json"),
            ("x.svg", "image/svg+xml"),
            ("x.xml", "text/xml"),
            ("x.png", "image/png"),
            ("x.wasm", "application/wasm"),
            ("x.tar.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("dir.html/README", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("x.", "application/octet-stream"),
            ("x.nonesuch", "application/octet-stream"),
        ] {
            assert_eq!(known_type(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(known_type(b"x.\xff"), "application/octet-stream");
    }

    /// The most frequent types of sites, mirrors, players and model hubs.
    #[test]
    fn the_types_that_users_meet() {
        for (extensions, expected) in [
            ("html htm", "text/html; charset=utf-8"),
            ("xhtml", "application/xhtml+xml"),
            ("js mjs cjs jsx MJS", "text/javascript; charset=utf-8"),
            ("css", "text/css; charset=utf-8"),
            ("json map", "application/json"),
            ("jsonl ndjson", "application/x-ndjson"),
            ("webmanifest", "application/manifest+json"),
            ("wasm", "application/wasm"),
            ("wgsl", "text/wgsl; charset=utf-8"),
            ("atom", "application/atom+xml"),
            ("rss", "application/rss+xml"),
            ("png", "image/png"),
            ("jpg jpeg", "image/jpeg"),
            ("gif", "image/gif"),
            ("webp", "image/webp"),
            ("avif", "image/avif"),
            ("jxl", "image/jxl"),
            ("heic", "image/heic"),
            ("svg svgz", "image/svg+xml"),
            ("ico", "image/vnd.microsoft.icon"),
            ("woff", "font/woff"),
            ("woff2", "font/woff2"),
            ("ttf", "font/ttf"),
            ("otf", "font/otf"),
            ("mp4", "video/mp4"),
            ("webm", "video/webm"),
            ("mkv", "video/x-matroska"),
            ("mov", "video/quicktime"),
            ("ts m2ts mts TS", "video/mp2t"),
            ("m4s", "video/iso.segment"),
            ("m3u8", "application/vnd.apple.mpegurl"),
            ("mpd", "application/dash+xml"),
            ("vtt", "text/vtt; charset=utf-8"),
            ("mp3", "audio/mpeg"),
            ("m4a", "audio/mp4"),
            ("ogg opus", "audio/ogg"),
            ("flac", "audio/flac"),
            ("wav", "audio/wav"),
            ("pdf", "application/pdf"),
            ("epub", "application/epub+zip"),
            ("zip whl npz", "application/zip"),
            ("gz tgz crate", "application/gzip"),
            ("tar", "application/x-tar"),
            ("xz", "application/x-xz"),
            ("bz2", "application/x-bzip2"),
            ("zst", "application/zstd"),
            ("7z", "application/x-7z-compressed"),
            ("deb", "application/vnd.debian.binary-package"),
            ("rpm", "application/x-rpm"),
            ("apk", "application/vnd.android.package-archive"),
            ("jar", "application/java-archive"),
            ("iso img dmg msi exe bin", "application/octet-stream"),
            ("gguf safetensors onnx npy", "application/octet-stream"),
            ("parquet", "application/vnd.apache.parquet"),
            ("arrow", "application/vnd.apache.arrow.file"),
            ("ipynb", "application/x-ipynb+json"),
            ("csv", "text/csv; charset=utf-8"),
            ("md", "text/markdown; charset=utf-8"),
            ("toml", "application/toml"),
            ("yaml yml", "application/yaml"),
            ("txt log conf py c h go lock patch sha256", "text/plain; charset=utf-8"),
            ("asc sig", "application/pgp-signature"),
        ] {
            for extension in extensions.split(' ') {
                assert_eq!(
                    known_type(format!("x.{extension}").as_bytes()),
                    expected,
                    "{extension}"
                );
            }
        }
    }

    #[test]
    fn only_svgz_is_compressed_by_definition() {
        assert_eq!(own_coding(b"a/x.svgz"), Some(Coding::Gzip));
        assert_eq!(own_coding(b"x.SVGZ"), Some(Coding::Gzip));
        for name in ["x.svg", "x.svg.gz", "x.tgz", "svgz", ".svgz"] {
            assert_eq!(own_coding(name.as_bytes()), None, "{name}");
        }
    }
}
