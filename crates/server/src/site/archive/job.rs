//! The job that makes an archive for a request, or waits for one that another request makes.

use std::sync::Arc;
use std::time::Instant;

use karez_transfer::Device;

use super::super::state::Site;
use super::directory::ArchiveDirectory;
use super::error::ArchiveError;
use super::index::Archive;
use super::shared::{Maker, Shared};
use super::viewer::Viewer;
use super::walk::Walk;

/// A request that waits for an archive.
pub(crate) struct IndexJob {
    site: Arc<Site>,
    shared: Arc<Shared>,
}

/// The result of a step.
pub(crate) enum IndexStep {
    Working,
    Ready(Arc<Archive>),
    Failed(ArchiveError),
}

impl Site {
    /// Returns the job that makes the archive of a directory, for a client. `ranged`: a part is asked for, so an
    /// archive that was made a short time ago is enough.
    pub(crate) fn index(
        self: Arc<Self>,
        directory: ArchiveDirectory,
        viewer: Viewer,
        ranged: bool,
    ) -> IndexJob {
        let viewer = viewer.under(self.rules());
        let make = |directory, viewer| self.maker(directory, viewer);
        let shared = self.archives.share((directory, viewer), ranged, Instant::now(), make);
        IndexJob { site: self, shared }
    }

    /// Returns the steps of a walk. The site owns them, so they do not own the site.
    fn maker(self: &Arc<Self>, directory: ArchiveDirectory, viewer: Viewer) -> Maker {
        let (site, mut walk) = (Arc::downgrade(self), None);
        let mut start = Some((directory, viewer));
        Box::new(move || {
            let site = site.upgrade().ok_or(ArchiveError::Busy)?;
            if let Some((directory, viewer)) = start.take() {
                walk = Some(Walk::new(&site, directory, viewer, site.archives.new_memory())?);
            }
            let is_complete = walk.as_mut().map_or(Ok(false), |walk| walk.step(&site))?;
            Ok(walk.take_if(|_| is_complete).map(Walk::finish))
        })
    }
}

impl IndexJob {
    /// Returns the device that a step waits for.
    pub(crate) fn device(&self) -> Device {
        self.shared.device
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Advances the walk by a bounded amount of work.
    pub(crate) fn step(&self) -> IndexStep {
        match self.shared.advance() {
            Ok(None) => IndexStep::Working,
            Ok(Some(archive)) => IndexStep::Ready(archive),
            Err(error) => IndexStep::Failed(error),
        }
    }
}

/// Drops a walk for which no other request waits.
impl Drop for IndexJob {
    fn drop(&mut self) {
        self.site.archives.leave(&self.shared);
    }
}
