//! Fuzzes the fields by which proxies report their client: whatever a client sends, it cannot change the address
//! that its proxy appends.
#![no_main]

use karez_http::{Request, Version, forwarded};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|input: &[u8]| {
    let fields = [(&b"x-forwarded-for"[..], input), (b"forwarded", input), (b"x-real-ip", input)];
    for field in fields {
        let request = Request::assemble(b"GET", b"/", Version::Http11, [field]);
        let Ok(request) = request else { return };
        let all = forwarded::client_address(&request, |_| true);
        let first = forwarded::client_address(&request, |_| false);
        assert_eq!(all.is_some(), first.is_some());
    }
    let expected: IpAddr = [192, 0, 2, 1].into();
    for (name, appended) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("forwarded", "for=\"192.0.2.1:80\";by=\"[::1]\""),
    ] {
        let value = [input, b", ", appended.as_bytes()].concat();
        let fields = [(name.as_bytes(), &value[..])];
        let Ok(request) = Request::assemble(b"GET", b"/", Version::Http11, fields) else { return };
        assert_eq!(forwarded::client_address(&request, |_| false), Some(expected));
    }
});
