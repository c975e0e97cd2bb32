//! Targets to paths, and back.

use karez_http::BadTarget::{Authority, Climb, Control, Escape, Form, Fragment, Separator};
use karez_http::target::{directory_reference, encode_path, parse};
use proptest::prelude::*;

#[test]
fn paths() {
    for (target, path, directory) in [
        ("/", "", true),
        ("//", "", true),
        ("/.", "", true),
        ("/a", "a", false),
        ("/a/", "a", true),
        ("/a/b", "a/b", false),
        ("//a///b//", "a/b", true),
        ("/a/.", "a", true),
        ("/a/./b", "a/b", false),
        ("/a/..", "", true),
        ("/a/../b", "b", false),
        ("/a/b/..", "a", true),
        ("/a/b/../c", "a/c", false),
        ("/a/%2e%2E/b", "b", false),
        ("/a/%2e/b", "a/b", false),
        ("/%252e%252e", "%2e%2e", false),
        ("/%2561", "%61", false),
        ("/%61%20b", "a b", false),
        ("/a+b", "a+b", false),
        ("/...", "...", false),
        ("/..a", "..a", false),
        ("/.git/config", ".git/config", false),
        ("/a/%2egit", "a/.git", false),
        ("/.git/../a", "a", false),
        ("/a\\b", "a\\b", false),
        ("/a%5Cb", "a\\b", false),
        ("/a%3Fb%23", "a?b#", false),
        ("/\u{fc}", "\u{fc}", false),
        ("/%C3%BC", "\u{fc}", false),
        ("/a%0Ab", "a\nb", false),
        ("http://a", "", true),
        ("http://a/b", "b", false),
        ("HTTPS://a:443/b/", "b", true),
        ("http://[::1]/b", "b", false),
    ] {
        let parsed = parse(target.as_bytes()).expect(target);
        assert_eq!(String::from_utf8_lossy(&parsed.path), path, "{target}");
        assert_eq!(parsed.directory, directory, "{target}");
    }
}

#[test]
fn bad_targets() {
    for (target, expected) in [
        ("", Form),
        ("a", Form),
        ("*", Form),
        ("**", Form),
        ("a:80", Form),
        ("ftp://a/", Form),
        ("http:/a", Form),
        ("?a", Form),
        ("http://", Authority),
        ("http:///a", Authority),
        ("http://?a", Authority),
        ("http://u@a/", Authority),
        ("http://u:p@a/", Authority),
        ("http://a:b/", Authority),
        ("/a#b", Fragment),
        ("/a?b#c", Fragment),
        ("/%", Escape),
        ("/%4", Escape),
        ("/%4/1", Escape),
        ("/%zz", Escape),
        ("/%+1", Escape),
        ("/a%00b", Separator),
        ("/a%2Fb", Separator),
        ("/a%2fb", Separator),
        ("/..%2f", Separator),
        ("/a b", Control),
        ("/a\0", Control),
        ("/a\x7f", Control),
        ("/..", Climb),
        ("/../a", Climb),
        ("/a/../../b", Climb),
        ("/%2e%2e/a", Climb),
        ("/.%2E", Climb),
        ("/./../a", Climb),
        ("//..", Climb),
        ("http://a/..", Climb),
    ] {
        assert_eq!(parse(target.as_bytes()), Err(expected), "{target}");
    }
}

#[test]
fn queries() {
    let whole = b"http://a:80/b?c?d/../%zz";
    let target = parse(whole).expect("valid");
    assert_eq!(target.path, b"b");
    assert_eq!(&whole[target.query.expect("a query")], b"c?d/../%zz");
    assert_eq!(parse(b"/a?").expect("valid").query, Some(3..3));
    assert_eq!(parse(b"/a").expect("valid").query, None);
}

#[test]
fn what_is_encoded() {
    let mut out = Vec::new();
    encode_path(b"a b/\xff%\"<&'?#;:\n~_-.!$()*+,=@", &mut out);
    assert_eq!(out, b"a%20b/%FF%25%22%3C%26%27%3F%23%3B%3A%0A~_-.!$()*+,=@");
}

/// A name that a file can have.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_filter("in a name", |b| !matches!(b, 0 | b'/')), 1..12)
        .prop_filter("not a dot segment", |name| name != b"." && name != b"..")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(names in prop::collection::vec(name(), 0..6), slash in any::<bool>()) {
        let path = names.join(&b'/');
        let mut target = b"/".to_vec();
        encode_path(&path, &mut target);
        if slash {
            target.push(b'/');
        }
        let parsed = parse(&target).expect("valid");
        prop_assert_eq!(&parsed.path, &path);
        prop_assert_eq!(parsed.directory, slash || path.is_empty());
    }

    #[test]
    fn no_target_leaves_the_root(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["/", "..", ".", "%2e", "%2E", "a", "%2f", "%00", "%", "?", "//"]),
            0..12,
        ),
    ) {
        let target = format!("/{}", pieces.concat());
        if let Ok(parsed) = parse(target.as_bytes()) {
            let path = parsed.path;
            prop_assert!(!path.contains(&0));
            prop_assert!(path.is_empty() || path.split(|b| *b == b'/').all(
                |segment| !segment.is_empty() && segment != b"." && segment != b".."
            ), "{target}");
        }
    }

    #[test]
    fn anything(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = parse(&bytes);
    }
}

#[test]
fn a_reference_to_a_directory_is_one_encoded_name() {
    for (path, query, expected) in [
        (&b"d"[..], None, "d/"),
        (b"a/b/d", None, "d/"),
        (b"a/d", Some(&b"sort=size&x=%20?//"[..]), "d/?sort=size&x=%20?//"),
        (b"d", Some(b""), "d/?"),
        (b"a/javascript:x", None, "javascript%3Ax/"),
        (b"evil:80", None, "evil%3A80/"),
        (b"\\evil", None, "%5Cevil/"),
        (b"?#%2e", None, "%3F%23%252e/"),
        (b" \t\r\n", None, "%20%09%0D%0A/"),
        (b"\xff\xfe", None, "%FF%FE/"),
        (b"...", None, ".../"),
        (b"", None, "./"),
    ] {
        let reference = directory_reference(path, query);
        assert_eq!(String::from_utf8_lossy(&reference), expected, "{}", path.escape_ascii());
    }
}
