//! The jobs of a connection: what may wait for a disk.

use std::io;
use std::sync::Arc;

use karez_reactor::Job;

use crate::site::{Found, Listing, ListingStep, Site, Wanted};

/// What a connection has others do.
pub(crate) enum SiteJob {
    /// Find out what a name means.
    Find { site: Arc<Site>, wanted: Wanted },
    /// Go on with a listing by one bounded step.
    List { listing: Box<Listing> },
}

/// What they found.
pub(crate) enum SiteAnswer {
    Found { found: Found, wanted: Wanted },
    Listed { step: io::Result<ListingStep>, listing: Box<Listing> },
}

impl Job for SiteJob {
    type Done = SiteAnswer;

    fn run(self) -> SiteAnswer {
        match self {
            Self::Find { site, wanted } => SiteAnswer::Found { found: site.find(&wanted), wanted },
            Self::List { mut listing } => {
                let step = listing.step();
                SiteAnswer::Listed { step, listing }
            }
        }
    }
}
