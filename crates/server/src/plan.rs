//! The plan for a request: what it asks for, before anybody looks at the disk.

use karez_http::accept::prefers_json;
use karez_http::{Method, Request, Status, encoding, target};

use crate::site::{Format, View, Wanted};

/// What a request asks for.
pub(crate) enum Plan {
    /// Something below the root.
    Find(Wanted),
    /// The methods that there are.
    Options,
    /// A known method that is not for files.
    NotAllowed,
    /// Nothing that makes sense.
    Refuse(Status, &'static str),
}

impl Plan {
    /// What `request` asks for.
    pub(crate) fn of(request: &Request) -> Self {
        match request.method() {
            Method::Get | Method::Head => Self::find(request),
            Method::Options => Self::Options,
            Method::OtherKnown => Self::NotAllowed,
            Method::Unknown => Self::Refuse(Status::NotImplemented, "unknown method"),
        }
    }

    fn find(request: &Request) -> Self {
        let Ok(target) = target::parse(request.target()) else {
            return Self::Refuse(Status::BadRequest, "bad request target");
        };
        Self::Find(Wanted {
            path: target.path,
            directory: target.directory,
            codings: encoding::preferred(request),
            view: view(request),
        })
    }
}

/// The query of a request target, without its question mark.
pub(crate) fn query(target: &[u8]) -> Option<&[u8]> {
    let mark = target.iter().position(|&byte| byte == b'?')?;
    target.get(mark + 1..)
}

/// How a listing should look, if it comes to one.
fn view(request: &Request) -> View {
    let mut view = View::default();
    if prefers_json(request) {
        view.format = Format::Json;
    }
    query(request.target()).map_or(view, |query| view.changed_by(query))
}
