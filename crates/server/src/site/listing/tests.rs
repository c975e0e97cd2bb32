//! Listings: their order against a naive sort, the bound of a step, and names meant to do harm.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode, Timespec, mknodat};
use serde_json::Value;

use super::*;
use crate::site::tests::test_site::{LONG_AGO, TestSite, set_modified};
use crate::site::{LookupResult, ResourceRequest, Site};

fn listing(site: &Site, url: &str, query: &str) -> Listing {
    let path = url.trim_end_matches('/').as_bytes().to_vec();
    let view = ListingView::default().changed_by(query.as_bytes());
    let codings = karez_http::Codings::default();
    let request = ResourceRequest { path, directory: true, codings, ranged: false, view };
    match site.run_lookup(site.lookup(request)).0 {
        LookupResult::Directory(listing) => *listing,
        other => panic!("not a listing but {}", other.name()),
    }
}

/// The whole page. Sees to it that each step does a bounded amount of work.
fn page(mut listing: Listing) -> Vec<u8> {
    let mut page = Vec::new();
    loop {
        let (runs, rows) = (listing.entries.runs(), listing.rows);
        let step = listing.step().unwrap();
        assert!(listing.entries.runs() <= runs + 1);
        assert!(listing.rows <= rows + ROWS as u64);
        assert!(listing.entries.longest() <= 128);
        match step {
            ListingStep::Working | ListingStep::Ready => {}
            ListingStep::Refused(refusal) => panic!("{refusal:?}"),
            ListingStep::Chunk(bytes) => {
                assert!(!bytes.is_empty());
                page.extend(bytes);
            }
            ListingStep::Done => return page,
        }
    }
}

fn text(site: &Site, url: &str, query: &str) -> String {
    String::from_utf8(page(listing(site, url, query))).unwrap()
}

fn json(site: &Site, url: &str, query: &str) -> Vec<Value> {
    serde_json::from_slice(&page(listing(site, url, &format!("format=json&{query}")))).unwrap()
}

fn names(site: &Site, url: &str, query: &str) -> Vec<String> {
    let name = |entry: Value| entry["name"].as_str().unwrap().to_owned();
    json(site, url, query).into_iter().map(name).collect()
}

#[test]
fn a_hundred_thousand_names_sorted_each_way() {
    type Order = fn(&Known, &Known) -> Ordering;
    let orders: [(&str, Order); 6] = [
        ("sort=name", |a, b| a.name().cmp(&b.name())),
        ("sort=-name", |a, b| b.name().cmp(&a.name())),
        ("sort=size", |a, b| a.size.cmp(&b.size).then(a.name().cmp(&b.name()))),
        ("sort=-size", |a, b| b.size.cmp(&a.size).then(a.name().cmp(&b.name()))),
        ("sort=time", |a, b| a.time.cmp(&b.time).then(a.name().cmp(&b.name()))),
        ("sort=-time", |a, b| b.time.cmp(&a.time).then(a.name().cmp(&b.name()))),
    ];
    let ground = TestSite::new();
    many_files(&ground, 100_000);
    let mut known: Vec<_> = fs::read_dir(ground.path("many"))
        .unwrap()
        .map(|entry| Known::of(&entry.unwrap()))
        .collect();
    assert_eq!(known.len(), 100_100);
    let site = ground.site();
    for (query, order) in orders {
        known.sort_by(order);
        known.sort_by_key(|entry| entry.file);
        let page = text(&site, "many/", &format!("format=json&{query}"));
        // `{"name":"…`: to parse all of it would take most of the time.
        let listed = page.lines().filter_map(|line| line.split('"').nth(3));
        assert!(listed.eq(known.iter().map(|entry| entry.name.as_str())), "{query}");
    }
}

struct Known {
    file: bool,
    folded: String,
    name: String,
    size: u64,
    time: (i64, i64),
}

impl Known {
    fn of(entry: &fs::DirEntry) -> Self {
        let meta = entry.metadata().unwrap();
        let name = entry.file_name().into_string().unwrap();
        Self {
            file: meta.is_file(),
            folded: name.to_ascii_lowercase(),
            name,
            size: if meta.is_file() { meta.size() } else { 0 },
            time: (meta.mtime(), meta.mtime_nsec()),
        }
    }

    fn name(&self) -> (&str, &str) {
        (&self.folded, &self.name)
    }
}

/// Files of 500 sizes and times, in no order, and a hundred directories.
fn many_files(ground: &TestSite, count: u32) {
    for number in 0..500 {
        let name = format!("base/{number}");
        ground.file(&name, &"x".repeat(number * 7919 % 499));
        let tv_sec = LONG_AGO.tv_sec + i64::try_from(number * 104_729 % 97).unwrap();
        ground.modified(&name, Timespec { tv_sec, tv_nsec: 1 });
    }
    for number in 0..100 {
        ground.directory(&format!("many/d{number}"));
    }
    for number in 0..count {
        let scattered = number.wrapping_mul(2_654_435_761);
        let letter = if scattered & 1 == 0 { 'F' } else { 'f' };
        let name = ground.path(&format!("many/{letter}{scattered:x}"));
        fs::hard_link(ground.path(&format!("base/{}", number % 500)), name).unwrap();
    }
}

#[test]
fn only_what_could_be_served() {
    let ground = TestSite::new();
    ground.file("a", "x").file(".hidden", "x").file("d/x", "").file("d/deep/x", "");
    fs::write(ground.root().join("../out"), "").unwrap();
    mknodat(CWD, ground.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let _listener = UnixListener::bind(ground.path("socket")).unwrap();
    ground.link("to-out", "../out").link("to-a", "a").link("to-d", "d").link("dangling", "none");
    ground.link("to-fifo", "fifo").link("loop", "loop").link("absolute", ground.path("a"));
    ground.link("d/up", "../a").link("d/deep/upper", "../..");
    let site = ground.site();
    for sort in ["sort=name", "sort=size", "sort=time"] {
        let mut listed = names(&site, "", sort);
        assert_eq!(&listed[..2], ["d", "to-d"], "directories first");
        listed.sort();
        assert_eq!(listed, ["a", "d", "to-a", "to-d"]);
        let mut listed = names(&site, "d/", sort);
        listed.sort();
        assert_eq!(listed, ["deep", "up", "x"]);
        assert_eq!(names(&site, "d/deep/", sort).len(), 2);
    }
    let open = ground.site_with(|options| options.hidden = true);
    assert!(names(&open, "", "").contains(&".hidden".to_owned()));
    let to_d = json(&site, "", "").into_iter().find(|entry| entry["name"] == "to-d").unwrap();
    assert_eq!((&to_d["type"], &to_d["href"]), (&"directory".into(), &"./to-d/".into()));
}

#[test]
fn links_that_cannot_be_followed_are_left_out() {
    let ground = TestSite::new();
    ground.file("a", "").link("through-a-file", "a/b").link("too-long", "x".repeat(256));
    assert_eq!(names(&ground.site(), "", "format=json"), ["a"]);
}

#[test]
fn well_known_is_listed_at_the_top_alone() {
    let ground = TestSite::new();
    ground
        .file(".well-known/security.txt", "")
        .file(".well-known/.x", "")
        .file("d/.well-known", "");
    let site = ground.site();
    assert_eq!(names(&site, "", "format=json"), [".well-known", "d"]);
    assert_eq!(names(&site, ".well-known", "format=json"), ["security.txt"]);
    assert_eq!(names(&site, "d", "format=json"), [""; 0]);
}

#[test]
fn what_an_entry_says() {
    let ground = TestSite::new();
    ground.file("d/b.txt", &"x".repeat(1536)).directory("d/c");
    set_modified(&ground.path("d/c"), LONG_AGO);
    let site = ground.site();
    assert_eq!(
        text(&site, "d/", "format=json"),
        "[\n{\"name\":\"c\",\"type\":\"directory\",\"size\":null,\
         \"modified\":\"2001-09-09T01:46:40Z\",\"href\":\"./c/\"},\n\
         {\"name\":\"b.txt\",\"type\":\"file\",\"size\":1536,\
         \"modified\":\"2001-09-09T01:46:40Z\",\"href\":\"./b.txt\"}\n]\n"
    );
    let html = text(&site, "d/", "");
    assert!(html.contains("<title>Index of /d/</title>"));
    assert!(html.contains("<tr><td><a href=\"../\">../</a></td>"));
    assert!(html.contains(
        "<tr><td><a href=\"./b.txt\">b.txt</a></td><td title=\"1536 bytes\">1.5 KiB</td>\
         <td><time datetime=\"2001-09-09T01:46:40Z\">2001-09-09 01:46</time></td></tr>\n"
    ));
    assert!(html.ends_with("</html>\n"));
    assert!(!text(&site, "", "").contains("href=\"../\""), "nothing is above the root");
    assert_eq!(names(&site, "d/c/", ""), [""; 0]);
    assert_eq!(listing(&site, "", "").content_type(), "text/html; charset=utf-8");
    assert_eq!(listing(&site, "", "format=json").content_type(), "application/json");
}

#[test]
fn as_text() {
    let ground = TestSite::new();
    ground.file("d/b c.txt", &"x".repeat(1536)).directory("d/c");
    set_modified(&ground.path("d/c"), LONG_AGO);
    let site = ground.site();
    assert_eq!(
        text(&site, "d/", "format=text"),
        "2001-09-09T01:46:40Z            - ./c/\n2001-09-09T01:46:40Z         1536 ./b%20c.txt\n"
    );
    assert_eq!(text(&site, "d/c/", "format=text"), "");
    assert_eq!(listing(&site, "", "format=text").content_type(), "text/plain; charset=utf-8");
}

#[test]
fn filtered() {
    let ground = TestSite::new();
    ground.file("Karez_1.deb", "").file("karez_2.deb", "").file("other", "").directory("karez.d");
    let site = ground.site();
    for format in ["json", "text", "html"] {
        for sort in ["name", "-size"] {
            let query = format!("format={format}&sort={sort}&filter=KAREZ_");
            let page = text(&site, "", &query);
            assert!(page.contains("./Karez_1.deb") && page.contains("./karez_2.deb"), "{query}");
            assert!(!page.contains("./other") && !page.contains("./karez.d"), "{query}");
        }
    }
    assert_eq!(names(&site, "", "filter="), ["karez.d", "Karez_1.deb", "karez_2.deb", "other"]);
    let page = text(&site, "", "filter=%22%3E%3Cb%3E&sort=-time");
    assert!(page.contains("value=\"&quot;&gt;&lt;b&gt;\""), "{page}");
    assert!(page.contains("<input type=\"hidden\" name=\"sort\" value=\"-time\">"), "{page}");
    assert!(page.contains("href=\"?sort=size&amp;filter=%22%3E%3Cb%3E\""), "{page}");
}

#[test]
fn notes_above_and_below() {
    let ground = TestSite::new();
    ground.file("html/HEADER.html", "<p>Hello</p>").file("html/README.md", "not shown");
    ground.file("text/README.md", "# A & B\r\n\t<b>\x1b[31m").file("text/f", "");
    ground.file("big/README.md", &"x".repeat((64 << 10) + 1)).directory("none");
    ground.directory("odd/HEADER.html").link("odd/README.md", "../../out");
    fs::write(ground.root().join("../out"), "secret").unwrap();
    mknodat(CWD, ground.path("none/README.md"), FileType::Fifo, Mode::from_raw_mode(0o666), 0)
        .unwrap();
    let name = |name: &str| name.as_bytes().to_vec();
    let site = ground.site_with(|options| {
        let header = vec![name("HEADER.html"), name("README.md")];
        options.notes =
            Arc::new(ListingNotes { header, footer: vec![name("f"), name("README.md")] });
    });
    let html = text(&site, "html/", "");
    let [above, table, below] =
        ["<p>Hello</p>", "<table>", "<pre class=\"note\">\nnot shown</pre>"]
            .map(|part| html.find(part).unwrap());
    assert!(above < table && table < below, "{html}");
    let html = text(&site, "text/", "");
    assert!(
        html.contains("<pre class=\"note\">\n# A &amp; B\n\t&lt;b&gt;\u{fffd}[31m</pre>"),
        "{html}"
    );
    assert_eq!(html.matches("# A").count(), 1, "f is shown below, which is empty");
    for directory in ["big/", "none/", "odd/"] {
        let html = text(&site, directory, "");
        assert!(
            !html.contains("class=\"note\"") && !html.contains("secret"),
            "{directory}: {html}"
        );
    }
    assert_eq!(names(&site, "html/", ""), ["HEADER.html", "README.md"], "no other format has them");
}

#[test]
fn hostile_names() {
    let hostile: [&[u8]; 12] = [
        b"<script>alert(1)<",
        b"\"onclick=\"x",
        b"'quote'",
        b"100%41",
        b"line\nfeed\x1b[31m",
        b"bytes\xff\xfe",
        b"a:b",
        b"javascript:alert(1)",
        b"&amp;&lt;",
        b"q?x#y",
        b"back\\slash",
        "\u{202e}txt.exe".as_bytes(),
    ];
    let ground = TestSite::new();
    let directory = ground.directory("<d>&").path("<d>&");
    hostile.iter().for_each(|name| fs::write(directory.join(OsStr::from_bytes(name)), "").unwrap());
    let site = ground.site();

    let html = text(&site, "<d>&", "");
    assert!(html.contains("<title>Index of /&lt;d&gt;&amp;/</title>"));
    assert!(
        !html.contains("<script>alert") && !html.contains("<d>") && !html.contains("onclick=\"x")
    );
    assert!(html.contains(">line\u{fffd}feed\u{fffd}[31m</a>"), "controls are seen");
    assert!(html.contains(">bytes\u{fffd}\u{fffd}</a>"));
    let mut linked: Vec<_> = html.split("href=\"./").skip(2).map(decode_link).collect();
    linked.sort();
    let mut expected = hostile.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(linked, expected, "links are exact to the byte");

    let json = json(&site, "<d>&", "");
    let mut linked: Vec<_> =
        json.iter().map(|entry| decode_link(&entry["href"].as_str().unwrap()[2..])).collect();
    linked.sort();
    assert_eq!(linked, expected);
    let named = |name: &str| json.iter().any(|entry| entry["name"] == name);
    assert!(named("bytes\u{fffd}\u{fffd}") && named("line\nfeed\u{1b}[31m"));
}

/// Returns the path of a request for a link.
fn decode_link(link: &str) -> Vec<u8> {
    let link = link.split('"').next().unwrap();
    assert!(!link.contains(['<', '>', ':', '?', '#', '\'', '&']), "{link}");
    karez_http::target::parse(format!("/{link}").as_bytes()).unwrap().path
}

#[test]
fn what_vanishes_meanwhile_is_left_out() {
    let ground = TestSite::new();
    ground.file("a", "").file("b", "").file("c", "");
    let site = ground.site();
    let mut listing = listing(&site, "", "format=json");
    assert_eq!(listing.step().unwrap(), ListingStep::Working);
    fs::remove_file(ground.path("a")).unwrap();
    fs::remove_file(ground.path("b")).unwrap();
    ground.link("b", "c");
    let page: Vec<Value> = serde_json::from_slice(&page(listing)).unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0]["name"], "c");
}

#[test]
fn a_directory_removed_meanwhile_is_empty() {
    let ground = TestSite::new();
    ground.directory("d");
    let site = ground.site();
    let listing = listing(&site, "d/", "format=json");
    fs::remove_dir(ground.path("d")).unwrap();
    assert_eq!(page(listing), b"[\n]\n");
}

#[test]
fn the_longest_names_fit() {
    let ground = TestSite::new();
    let long = |number: u32| format!("{number:0255}");
    for number in 0..300 {
        ground.file(&long(number), "");
    }
    let listed = names(&ground.site(), "", "");
    assert!(listed.into_iter().eq((0..300).map(long)));
}
