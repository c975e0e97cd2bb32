//! The response to a request for an archive: conditions and ranges as for a file, and the pieces of its body.

use karez_http::condition::{self, Precondition};
use karez_http::multipart::{self, Multipart};
use karez_http::range::{ByteRange, Selection};
use karez_http::{
    Body, BodyLength, Dates, PreparedPart, PreparedStart, ResponseHead, Status, Validators,
};

use super::{Response, ResponseBuilder, boundary, selection};
use crate::http_clock;
use crate::site::{Archive, ArchivePiece};

impl ResponseBuilder<'_> {
    /// Responds with an archive. Returns also the pieces of its body, which has to be appended; `None` if
    /// there is no archive in the response.
    pub(crate) fn archive(&self, archive: &Archive) -> (Response, Option<Vec<ArchivePiece>>) {
        let Some(request) = self.request else {
            return (self.text(Status::InternalServerError, ""), None);
        };
        let validators = Validators {
            etag: archive.etag(),
            modified: None,
            changed: u64::MAX,
            dates: Dates::default(),
            now: http_clock::now().unix,
        };
        match condition::evaluate(request, &validators) {
            Precondition::PreconditionFailed => {
                let reason = "the archive is not the one you know";
                return (self.text(Status::PreconditionFailed, reason), None);
            }
            Precondition::NotModified => {
                let head = self.begin_archive(Status::NotModified, archive);
                return (self.end(head, Body::Empty, None), None);
            }
            Precondition::Proceed => {}
        }
        let whole = ByteRange { start: 0, length: archive.size() };
        let (response, pieces) = match selection(request, &validators, archive.size()) {
            Selection::Whole => self.range_of_archive(archive, whole, Status::Ok),
            Selection::One(range) => self.range_of_archive(archive, range, Status::PartialContent),
            Selection::Many(ranges) => self
                .ranges_of_archive(archive, &ranges)
                .unwrap_or_else(|| self.range_of_archive(archive, whole, Status::Ok)),
            Selection::Unsatisfiable => return (self.unsatisfiable(archive.size()), None),
        };
        (response, Some(pieces))
    }

    fn range_of_archive(
        &self,
        archive: &Archive,
        range: ByteRange,
        status: Status,
    ) -> (Response, Vec<ArchivePiece>) {
        let mut head = self.begin_archive(status, archive);
        head.length(BodyLength::Known(range.length)).field("Content-Type", MEDIA_TYPE);
        if status == Status::PartialContent {
            let mut content_range = Vec::with_capacity(64);
            multipart::content_range(range, archive.size(), &mut content_range);
            head.field("Content-Range", content_range);
        }
        let response = self.end(head, Body::Sized, None);
        (response, vec![ArchivePiece::Range(range.start..range.end())])
    }

    /// Responds with several ranges; `None` if that would be longer than the archive.
    fn ranges_of_archive(
        &self,
        archive: &Archive,
        ranges: &[ByteRange],
    ) -> Option<(Response, Vec<ArchivePiece>)> {
        let boundary = boundary();
        let multipart = Multipart::new(ranges, archive.size(), MEDIA_TYPE, &boundary);
        if multipart.length() > archive.size() {
            return None;
        }
        let mut head = self.begin_archive(Status::PartialContent, archive);
        let mut content_type = Vec::with_capacity(80);
        multipart::content_type(&boundary, &mut content_type);
        head.length(BodyLength::Known(multipart.length())).field("Content-Type", content_type);
        let (parts, tail) = multipart.into_parts();
        let parts = parts.into_iter().flat_map(|(part_head, range)| {
            [ArchivePiece::Bytes(part_head), ArchivePiece::Range(range.start..range.end())]
        });
        let pieces = parts.chain([ArchivePiece::Bytes(tail)]).collect();
        Some((self.end(head, Body::Sized, None), pieces))
    }

    /// Starts a head with the fields of an archive.
    fn begin_archive(&self, status: Status, archive: &Archive) -> ResponseHead {
        let (mut head, hidden) = self.begin_without_file(status);
        let all = PreparedPart { from: PreparedStart::Type, last_modified: false };
        let has_disposition = head.prepared().is_some_and(|block| {
            block.fields(all).any(|(name, _)| name.eq_ignore_ascii_case(DISPOSITION))
        });
        if status != Status::NotModified {
            head.field("Accept-Ranges", "bytes");
            if !has_disposition {
                head.field(DISPOSITION, disposition(archive.name()));
            }
        }
        if let Some(etag) = archive.etag() {
            head.field("ETag", etag.as_bytes());
        }
        if !hidden.cache_control {
            head.field("Cache-Control", "no-cache");
        }
        head
    }
}

/// Returns the value of `Content-Disposition` (RFC 6266) for an archive of a directory of this name.
fn disposition(name: &[u8]) -> Vec<u8> {
    let name = if name.is_empty() { b"archive" } else { name };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let plain = |byte: &u8| match byte {
        b' '..=b'~' if !b"\"\\%".contains(byte) => char::from(*byte),
        _ => '_',
    };
    let mut value =
        format!("attachment; filename=\"{}.tar\"", name.iter().map(plain).collect::<String>());
    if !name.iter().all(|byte| is_plain(*byte)) {
        value.push_str("; filename*=UTF-8''");
        for byte in name {
            match byte {
                byte if is_plain(*byte) => value.push(char::from(*byte)),
                byte => value.push_str(&format!("%{byte:02X}")),
            }
        }
        value.push_str(".tar");
    }
    value.into_bytes()
}

/// The type of archives, which is not registered but common.
const MEDIA_TYPE: &str = "application/x-tar";
const DISPOSITION: &str = "Content-Disposition";

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn dispositions() {
        for (name, expected) in [
            ("", "filename=\"archive.tar\""),
            ("karez-1.0", "filename=\"karez-1.0.tar\""),
            ("a b", "filename=\"a b.tar\"; filename*=UTF-8''a%20b.tar"),
            ("a\"\\\r\né", "filename=\"a______.tar\"; filename*=UTF-8''a%22%5C%0D%0A%C3%A9.tar"),
        ] {
            let value = String::from_utf8(disposition(name.as_bytes())).unwrap();
            assert_eq!(value, format!("attachment; {expected}"));
        }
    }
}
