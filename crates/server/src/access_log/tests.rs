use super::*;
use crate::exchange_record::TlsDescription;
use http_clock::HttpDate;
use karez_http::{Request, Status, Version, date};
use karez_reactor::Peer;
use karez_transfer::Via;
use std::time::Duration;

fn now() -> HttpDate {
    HttpDate { unix: 784_111_777, http: date::format(784_111_777) }
}

/// Passes the record of a request with these fields to `with`.
fn of_request<T>(fields: &[(&str, &str)], with: impl FnOnce(ExchangeRecord<'_>) -> T) -> T {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let request = Request::assemble(b"GET", b"/a\"b\x80/%41/../?x=1", Version::Http11, fields);
    let request = request.unwrap();
    with(ExchangeRecord {
        client: Peer::new(Some("[::1]:9".parse().unwrap()), 0),
        request_line: request.request_line(),
        request: Some(&request),
        status: Status::NotFound,
        head_bytes: 100,
        body_bytes: 14,
        head_time: Some(Duration::from_millis(2)),
        time: Duration::from_micros(250_999),
        via: Some(Via::Sendfile),
        asked_password: true,
        is_health: false,
        site: "a.example",
        tls: Some(TlsDescription { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" }),
        cost: None,
    })
}

const FIELDS: [(&str, &str); 5] = [
    ("host", "A.example:80"),
    ("referer", "\\r"),
    ("user-agent", "curl/8"),
    ("x-many", "1"),
    ("X-Many", "2\""),
];

/// Returns a line.
fn written(push: impl FnOnce(&mut Vec<u8>, &ExchangeRecord<'_>)) -> String {
    of_request(&FIELDS, |record| {
        let mut out = Vec::new();
        push(&mut out, &record);
        String::from_utf8(out).unwrap()
    })
}

fn line_of(template: &str, json: bool) -> String {
    let template: LogTemplate = template.parse().unwrap();
    written(|out, record| template.push(out, record, now(), json))
}

#[test]
fn text_from_the_client_is_escaped() {
    let line =
        r#"::1 - - [06/Nov/1994:08:49:37 +0000] "GET /a\x22b\x80/%41/../?x=1 HTTP/1.1" 404 14"#;
    assert_eq!(written(|out, record| common(out, record, now())), line);
    let combined = written(|out, record| super::combined(out, record, now()));
    assert_eq!(combined, format!(r#"{line} "\x5Cr" "curl/8""#));
}

#[test]
fn the_user_is_one_word() {
    // "a b]:c", "a\nb:c"
    for (token, user) in [("YSBiXTpj", r"a\x20b]"), ("YQpiOmM=", r"a\x0Ab")] {
        let fields = [("authorization", &*format!("Basic {token}"))];
        let line = of_request(&fields, |record| {
            let mut out = Vec::new();
            common(&mut out, &record, now());
            let not_asked = ExchangeRecord { asked_password: false, ..record };
            assert_eq!(not_asked.user(), None, "a claim that nothing was compared with");
            String::from_utf8(out).unwrap()
        });
        assert!(line.starts_with(&format!("::1 - {user} [06/Nov")), "{line}");
    }
}

#[test]
fn json_lines_parse() {
    let line = written(|out, record| json::push(out, record, now()));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["time"], "1994-11-06T08:49:37Z");
    assert_eq!(line["peer"], "::1");
    assert_eq!(line["request"], "GET /a\"b\u{fffd}/%41/../?x=1 HTTP/1.1");
    assert_eq!(line["protocol"], "HTTP/1.1");
    assert_eq!(line["status"], 404);
    assert_eq!(line["bytes"], 14);
    assert_eq!(line["seconds"], 0.250_999);
    assert_eq!(line["head_seconds"], 0.002);
    assert_eq!(line["referer"], "\\r");
    assert_eq!(line["user_agent"], "curl/8");
    assert_eq!(line["host"], "A.example");
    assert_eq!(line["via"], "sendfile");
    assert_eq!(line["tls_version"], "TLSv1.3");
    assert_eq!(line.get("user"), None);
}

#[test]
fn variables() {
    for (template, expected) in [
        ("$remote_addr $remote_port $remote_user", "::1 9 -"),
        ("[$time_local] $time_iso8601", "[06/Nov/1994:08:49:37 +0000] 1994-11-06T08:49:37+00:00"),
        ("\"$request\"", r#""GET /a\x22b\x80/%41/../?x=1 HTTP/1.1""#),
        ("$request_method $request_uri", r"GET /a\x22b\x80/%41/../?x=1"),
        ("$uri $args $query_string", r"/a\x22b\x80/ x=1 x=1"),
        ("$server_protocol $scheme $https", "HTTP/1.1 https on"),
        ("$status $body_bytes_sent $bytes_sent", "404 14 114"),
        ("$request_time $head_time", "0.250 0.002"),
        ("$host $http_host $server_name", "a.example A.example:80 a.example"),
        ("$ssl_protocol/$ssl_cipher", "TLSv1.3/TLS_AES_128_GCM_SHA256"),
        ("$http_referer|$http_user_agent|$http_X_Many", r"\x5Cr|curl/8|1, 2\x22"),
        ("$http_none $cost $via", "- - sendfile"),
        ("$$5 ${status}x", "$5 404x"),
        ("$status\t", "404\t"),
    ] {
        assert_eq!(line_of(template, false), expected, "{template}");
    }
    let seconds: f64 = line_of("$msec", false).parse().unwrap();
    assert!(seconds > 1e9, "{seconds}");
}

#[test]
fn values_in_json_are_parts_of_strings() {
    let template =
        r#"{"status":$status,"request":"$request","many":"$http_x_many","none":"$http_none"}"#;
    let line: serde_json::Value = serde_json::from_str(&line_of(template, true)).unwrap();
    let request = "GET /a\"b\u{fffd}/%41/../?x=1 HTTP/1.1";
    let expected =
        serde_json::json!({"status": 404, "request": request, "many": "1, 2\"", "none": ""});
    assert_eq!(line, expected);
}

#[test]
fn bad_templates() {
    for (template, expected) in [
        ("$remote_adr", "unknown variable $remote_adr; known: $args "),
        ("$http_", "unknown variable $http_;"),
        ("$sent_http_etag", "unknown variable $sent_http_etag;"),
        ("$http_authorization", "$http_authorization would log passwords"),
        ("$http_Proxy_Authorization", "would log passwords"),
        ("$", "a $ without a variable"),
        ("a $ b", "a $ without a variable"),
        ("${status", "a $ without a variable"),
        ("${}", "a $ without a variable"),
        ("common", "no variable"),
        ("", "no variable"),
        ("$status\n$status", "a control character"),
    ] {
        let error = template.parse::<LogTemplate>().unwrap_err().to_string();
        assert!(error.contains(expected), "{template}: {error}");
    }
}
