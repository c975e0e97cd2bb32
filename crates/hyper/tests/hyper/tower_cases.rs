//! The cases of tower-http's tests for `ServeDir`, each by the name that it has there. A case whose answer
//! differs is in the table of docs/MIGRATING.md, and its test is in `directories`.

use http::{Method, StatusCode};
use karez_hyper::{ServeDir, ServeFile};

use crate::directories::{Fallback, ask, get, tree};

/// A request, and what the response has: status, media type, coding, length.
type Case = (
    &'static str,
    Method,
    &'static str,
    &'static str,
    (u16, &'static str, &'static str, &'static str),
);

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;

/// The service has `precompressed_gzip` and `precompressed_br`.
#[rustfmt::skip]
const PRECOMPRESSED: &[Case] = &[
    ("precompresed_head_request", HEAD, "/plain.txt", "gzip", (200, "text/plain", "gzip", "7")),
    ("precompressed_gzip", GET, "/plain.txt", "gzip", (200, "text/plain", "gzip", "7")),
    ("precompressed_br", GET, "/both.txt", "br", (200, "text/plain", "br", "9")),
    ("unsupported_precompression_alogrithm_fallbacks_to_uncompressed", GET, "/packed.txt", "zstd", (200, "text/plain", "", "5")),
    ("only_precompressed_variant_existing", GET, "/only.txt", "", (404, "", "", "0")),
    ("only_precompressed_variant_existing", GET, "/only.txt", "gzip", (200, "text/plain", "gzip", "9")),
    ("missing_precompressed_variant_fallbacks_to_uncompressed", GET, "/both.txt", "gzip", (200, "text/plain", "", "7")),
    ("missing_precompressed_variant_fallbacks_to_uncompressed_for_head_request", HEAD, "/both.txt", "gzip", (200, "text/plain", "", "7")),
    ("precompressed_without_extension", GET, "/packed", "gzip", (200, "application/octet-stream", "gzip", "7")),
    ("missing_precompressed_without_extension_fallbacks_to_uncompressed", GET, "/noextension", "gzip", (200, "application/octet-stream", "", "1")),
    ("not_found_precompressed", GET, "/not-found", "gzip", (404, "", "", "0")),
    ("fallbacks_to_different_precompressed_variant_if_not_found_for_head_request", HEAD, "/both.txt", "gzip,br,deflate", (200, "text/plain", "br", "9")),
    ("fallbacks_to_different_precompressed_variant_if_not_found", GET, "/both.txt", "gzip,br,deflate", (200, "text/plain", "br", "9")),
];

/// The service has no option.
#[rustfmt::skip]
const PLAIN: &[Case] = &[
    ("basic", GET, "/readme.md", "", (200, "text/markdown", "", "16")),
    ("basic_with_index", GET, "/", "", (200, "text/html", "", "13")),
    ("head_request", HEAD, "/plain.txt", "", (200, "text/plain", "", "5")),
    ("access_to_sub_dirs", GET, "/sub/Cargo.toml", "", (200, "text/x-toml", "", "4")),
    ("not_found", GET, "/not-found", "", (404, "", "", "0")),
    ("not_found_when_not_a_directory", GET, "/index.html/some_file", "", (404, "", "", "0")),
    ("access_cjk_percent_encoded_uri_path", GET, "/%E5%90%8D.txt", "", (200, "text/plain", "", "3")),
    ("access_space_percent_encoded_uri_path", GET, "/a%20b.txt", "", (200, "text/plain", "", "5")),
    ("accept_encoding_identity", GET, "/readme.md", "identity", (200, "text/markdown", "", "16")),
    ("not_found_when_file_requested_with_trailing_slash", GET, "/index.html/", "", (404, "", "", "0")),
    ("directory_with_trailing_slash_appends_index_html", GET, "/sub/", "", (200, "text/html", "", "5")),
    ("test_build_and_validate_path_reserved_dos_names", GET, "/CON.txt", "", (200, "text/plain", "", "9")),
    ("identity_encoding_does_not_strip_extension", GET, "/packed.foobar", "identity", (404, "", "", "0")),
    ("identity_encoding_does_not_strip_extension_head_request", HEAD, "/packed.foobar", "identity", (404, "", "", "0")),
];

async fn expect(mut service: ServeDir, cases: &[Case]) {
    for (name, method, target, accepted, expected) in cases {
        let fields = [("accept-encoding", *accepted)];
        let fields = if accepted.is_empty() { &[][..] } else { &fields };
        let got = ask(&mut service, method.clone(), target, fields).await;
        let (length, body) = (got.header("content-length"), got.body.len().to_string());
        let length = if length.is_empty() { &body } else { length };
        let answer = (
            got.status.as_u16(),
            got.header("content-type"),
            got.header("content-encoding"),
            length,
        );
        assert_eq!(answer, *expected, "{name}");
        assert!(*method == GET || got.body.is_empty(), "{name}");
        assert!(*method == HEAD || got.body.len().to_string() == expected.3, "{name}");
    }
}

#[tokio::test]
async fn files() {
    let tree = tree();
    expect(ServeDir::new(tree.path()), PLAIN).await;
    let without = ServeDir::new(tree.path()).append_index_html_on_directories(false);
    let nothing = (404, "", "", "0");
    let cases = [
        ("empty_directory_without_index", GET, "/", "", nothing),
        ("empty_directory_without_index_no_information_leak", GET, "/sub", "", nothing),
    ];
    expect(without, &cases).await;
}

#[tokio::test]
async fn precompressed() {
    let tree = tree();
    let service = ServeDir::new(tree.path());
    expect(service.clone().precompressed_gzip().precompressed_br(), PRECOMPRESSED).await;
    let zstd = (200, "text/plain", "zstd", "7");
    let cases = [("precompressed_zstd", GET, "/packed.txt", "zstd, br, gzip", zstd)];
    expect(service.precompressed_zstd(), &cases).await;
    for coding in ["gzip", "br", "zstd"] {
        let mut absent = ServeFile::new(tree.path().join("absent")).precompressed_gzip();
        let got = get(&mut absent, "/", &[("accept-encoding", coding)]).await;
        assert_eq!(
            got.status,
            StatusCode::NOT_FOUND,
            "returns_404_if_file_doesnt_exist_when_precompression_is_used"
        );
    }
}

#[tokio::test]
async fn fallbacks() {
    let tree = tree();
    let plain = ServeDir::new(tree.path());
    let without = plain.clone().append_index_html_on_directories(false).fallback(Fallback);
    let called = plain.clone().call_fallback_on_method_not_allowed(true).fallback(Fallback);
    let plain = plain.fallback(Fallback);
    for (name, mut service, method, target) in [
        ("with_fallback_svc", plain.clone(), GET, "/doesnt-exist"),
        ("calling_fallback_on_not_allowed", called, Method::POST, "/doesnt-exist"),
        ("with_fallback_svc_and_not_append_index_html_on_directories", without, GET, "/"),
        ("calls_fallback_on_invalid_paths", plain.clone(), GET, "/weird_%c3%28_path"),
        ("calls_fallback_on_invalid_filenames", plain.clone(), GET, "/invalid|path"),
        ("calls_fallback_on_null", plain.clone(), GET, "/invalid-path%00"),
        ("file_requested_with_trailing_slash_with_fallback", plain, GET, "/index.html/"),
    ] {
        let got = ask(&mut service, method, target, &[]).await;
        let expected = format!("from fallback {target}");
        assert_eq!((got.status, got.body), (StatusCode::OK, expected), "{name}");
    }
}
