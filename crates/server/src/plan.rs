//! The plan for a request: what it asks for, before anybody looks at the disk.

use karez_http::accept::prefers_json;
use karez_http::{Method, Request, Status, Target, encoding, target};

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
    Refuse(Status, String),
}

impl Plan {
    /// What `request` asks for.
    pub(crate) fn of(request: &Request) -> Self {
        match request.method() {
            Method::Get | Method::Head => {
                Self::of_target(request, |target| Self::find(request, target))
            }
            Method::Options if request.target() == b"*" => Self::Options,
            Method::Options => Self::of_target(request, |_| Self::Options),
            Method::OtherKnown => Self::NotAllowed,
            Method::Unknown => Self::Refuse(Status::NotImplemented, "unknown method".to_owned()),
        }
    }

    fn of_target(request: &Request, make: impl FnOnce(Target) -> Self) -> Self {
        match target::parse(request.target()) {
            Ok(target) => make(target),
            Err(bad) => Self::Refuse(Status::BadRequest, bad.to_string()),
        }
    }

    fn find(request: &Request, target: Target) -> Self {
        Self::Find(Wanted {
            view: view(request, &target),
            path: target.path,
            directory: target.directory,
            codings: encoding::preferred(request),
        })
    }
}

/// How a listing should look, if it comes to one.
fn view(request: &Request, target: &Target) -> View {
    let mut view = View::default();
    if prefers_json(request) {
        view.format = Format::Json;
    }
    let query = target.query.clone().map(|query| &request.target()[query]);
    query.map_or(view, |query| view.changed_by(query))
}
