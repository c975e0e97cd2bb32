//! A directory to serve in tests, and short ways to look up its files.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use karez_http::encoding::{Codings, preferred};
use karez_http::{PreparedStart, Request, Version};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use super::super::lookup_error::LookupError;
use super::super::resolve::Resolved;
use super::super::root::LookupMode;
use super::super::{
    ListingView, LookupResult, OpenFile, PathLookup, ResourceRequest, Site, SiteSettings,
};
use super::ring::in_both_ways;

/// The served directory is `site` in a temporary one, so that there is something outside of it.
pub(in super::super) struct TestSite {
    outer: tempfile::TempDir,
}

impl TestSite {
    pub(in super::super) fn new() -> Self {
        let ground = Self { outer: tempfile::tempdir().unwrap() };
        fs::create_dir(ground.root()).unwrap();
        ground
    }

    pub(in super::super) fn root(&self) -> PathBuf {
        self.outer.path().join("site")
    }

    pub(in super::super) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file and whatever directories it needs. It is long unmodified.
    pub(in super::super) fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.modified(name, LONG_AGO)
    }

    pub(in super::super) fn directory(&self, name: &str) -> &Self {
        fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    pub(in super::super) fn link(&self, name: &str, target: impl AsRef<Path>) -> &Self {
        symlink(target, self.path(name)).unwrap();
        self
    }

    pub(in super::super) fn modified(&self, name: &str, time: Timespec) -> &Self {
        set_modified(&self.path(name), time);
        self
    }

    /// A site that takes every file for old enough, as no test should have to sleep.
    pub(in super::super) fn site(&self) -> Site {
        self.site_with(|_| {})
    }

    pub(in super::super) fn site_with(&self, change: impl FnOnce(&mut SiteSettings)) -> Site {
        let mut options = SiteSettings {
            index: b"index.html".to_vec(),
            listing: true,
            hidden: false,
            cached_files: Some(64),
            ..SiteSettings::default()
        };
        change(&mut options);
        site_at(&self.root(), options)
    }

    /// A site at the symbolic link `current` beside the ground.
    pub(in super::super) fn site_at_link(&self) -> Site {
        let index = b"index.html".to_vec();
        let options = SiteSettings {
            index,
            listing: true,
            cached_files: Some(64),
            ..SiteSettings::default()
        };
        site_at(&self.current(), options)
    }

    pub(in super::super) fn current(&self) -> PathBuf {
        self.outer.path().join("current")
    }

    /// Leads the link to a directory of the ground, in one step.
    pub(in super::super) fn swap(&self, name: &str) {
        let new = self.outer.path().join("new");
        symlink(Path::new("site").join(name), &new).unwrap();
        fs::rename(new, self.current()).unwrap();
    }
}

fn site_at(root: &Path, options: SiteSettings) -> Site {
    let mut site = Site::open(root, options).unwrap();
    site.granularity = Duration::ZERO;
    site
}

impl Site {
    /// Looks up a URL path without its leading slash.
    pub(in super::super) fn ask(&self, url: &[u8]) -> LookupResult {
        self.ask_for(url, Codings::default())
    }

    pub(in super::super) fn ask_for(&self, url: &[u8], codings: Codings) -> LookupResult {
        let directory = url.is_empty() || url.ends_with(b"/");
        let path = url.strip_suffix(b"/").unwrap_or(url).to_vec();
        in_both_ways(
            self,
            ResourceRequest {
                path,
                directory,
                codings,
                ranged: false,
                view: ListingView::default(),
            },
        )
    }

    /// Opens the current name of a lookup.
    pub(in super::super) fn resolve_current(
        &self,
        lookup: &mut PathLookup,
    ) -> Result<Resolved, LookupError> {
        let mut root = lookup.root.take();
        let resolved =
            self.resolve(&mut root, &lookup.candidate(), LookupMode::MayBlock, Instant::now());
        lookup.root = root;
        resolved
    }

    pub(in super::super) fn file(&self, url: &str) -> Arc<OpenFile> {
        self.ask(url.as_bytes()).file()
    }
}

impl LookupResult {
    pub(in super::super) fn file(self) -> Arc<OpenFile> {
        match self {
            Self::File { file, .. } => file,
            other => panic!("not a file but {}", other.name()),
        }
    }

    pub(in super::super) fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "File",
            Self::MissingSlash => "MissingSlash",
            Self::Directory(_) => "Directory",
            Self::Archive(_) => "Archive",
            Self::ListingForbidden => "ListingForbidden",
            Self::Missing => "Missing",
            Self::Denied => "Denied",
            Self::Busy => "Busy",
            Self::Failed(_) => "Failed",
        }
    }
}

/// Returns the content that would be sent.
pub(in super::super) fn content(file: &OpenFile) -> String {
    let file_of_its_own = fs::File::from(file.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; usize::try_from(file.size()).unwrap()];
    file_of_its_own.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8(bytes).unwrap()
}

pub(in super::super) fn accept(value: &str) -> Codings {
    let fields = [(&b"accept-encoding"[..], value.as_bytes())];
    preferred(&Request::assemble(b"GET", b"/", Version::Http11, fields).unwrap())
}

pub(in super::super) fn set_modified(path: &Path, time: Timespec) {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: omitted, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!(fs::symlink_metadata(path).unwrap().mtime(), time.tv_sec);
}

pub(in super::super) const LONG_AGO: Timespec = Timespec { tv_sec: 1_000_000_000, tv_nsec: 7 };

/// A second in which every date is over.
pub(in super::super) const NOW: u64 = 4_000_000_000;

pub(in super::super) fn tag_of(file: &OpenFile) -> Option<String> {
    file.validators(NOW).etag.map(|tag| tag.as_str().to_owned())
}

/// Returns the prepared lines of a response at this second.
pub(in super::super) fn lines(file: &OpenFile, from: PreparedStart, now: u64) -> &[u8] {
    file.prepared().lines(file.part(from, now))
}
