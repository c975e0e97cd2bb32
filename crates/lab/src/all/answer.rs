//! The answer of the page: the table of the textbooks, claimed beside measured.
//!
//! # Limitations
//! Textbooks count one call for a whole file. A transfer makes one round per chunk, so the measured
//! figures are per chunk, in the largest size and over loopback, where no device has DMA.

use karez_transfer::Via;

use crate::claims::{Claims, Finding};
use crate::language::{msg, text, tr, tr_word};
use crate::report::{Part, Section};
use crate::selftest::Counter;
use crate::table::{Table, size};
use crate::test_file::CacheState;
use crate::transport::Transport;
use crate::vias::{ViaRow, Vias};

/// A figure that textbooks do not give, or that was not measured.
pub(crate) const NONE: &str = "–";

/// A method with the figures of the textbooks.
pub(crate) struct Method {
    pub(crate) anchor: &'static str,
    pub(crate) name: &'static str,
    pub(crate) via: Via,
    /// Mode switches, copies by the CPU, copies by DMA, system calls; [`NONE`] where textbooks describe a
    /// method without a figure.
    pub(crate) claimed: [&'static str; 4],
    /// Number of the claim that tests it.
    pub(crate) claim: u8,
}

/// The methods in the order of the textbooks.
pub(crate) const METHODS: [Method; 7] = [
    Method {
        anchor: "method-copy",
        name: msg!("read + write"),
        via: Via::Copy,
        claimed: ["4", "2", "2", "2"],
        claim: 24,
    },
    Method {
        anchor: "method-mmap",
        name: msg!("mmap + write"),
        via: Via::Mmap,
        claimed: ["4", "1", "2", "2"],
        claim: 26,
    },
    Method {
        anchor: "method-sendfile",
        name: msg!("sendfile"),
        via: Via::Sendfile,
        claimed: ["2", "1", "2", "1"],
        claim: 30,
    },
    Method {
        anchor: "method-splice",
        name: msg!("splice"),
        via: Via::Splice,
        claimed: ["2", "0", "2", "1"],
        claim: 32,
    },
    Method {
        anchor: "method-direct",
        name: msg!("direct I/O (O_DIRECT)"),
        via: Via::Direct,
        claimed: [NONE; 4],
        claim: 25,
    },
    Method {
        anchor: "method-zerocopy",
        name: msg!("MSG_ZEROCOPY"),
        via: Via::Zerocopy,
        claimed: [NONE; 4],
        claim: 35,
    },
    Method {
        anchor: "method-cow",
        name: msg!("copy-on-write"),
        via: Via::Cow,
        claimed: [NONE, msg!("1 per written page"), NONE, NONE],
        claim: 34,
    },
];

/// The headings of the table; a book shows the first seven columns, without those of calls and claims.
pub(crate) const HEADING: [&str; 10] = [
    msg!("method"),
    msg!("mode switches, claimed"),
    msg!("mode switches, measured"),
    msg!("CPU copies, claimed"),
    msg!("CPU copies, measured"),
    msg!("DMA copies, claimed"),
    msg!("DMA copies, measured"),
    msg!("system calls, claimed"),
    msg!("system calls, measured"),
    msg!("claim"),
];

/// Returns the section with the table.
pub(super) fn section(vias: Option<&Vias>, claims: Option<&Claims>) -> Section {
    let mut parts = Vec::new();
    let of_claims = claims.map(|claims| &claims.tiers);
    if let Some(tiers) = vias.map(|vias| &vias.tiers).or(of_claims) {
        parts.push(Part::Paragraph(tiers.to_string()));
    }
    if let Some(vias) = vias {
        let chunk = vias.chunk.map_or_else(|| text!("the default length"), |one| size(one.into()));
        let bytes = measured_size(vias).map(size).unwrap_or_default();
        parts.push(Part::Paragraph(text!(
            "Textbooks count the calls for a whole file at once. Here a file of {bytes} was sent in \
             chunks of {chunk} over loopback; the measured figures are per chunk. A copy is one copy \
             of all bytes by the CPU on the side of the sender. DMA is what the disk \
             delivered for a file that was not in the page cache; loopback has no network card, and \
             thus no DMA to one.",
            bytes = bytes,
            chunk = chunk
        )));
    }
    parts.push(Part::Table(
        text!("Claimed by textbooks, and measured on this kernel"),
        table(vias, claims),
    ));
    parts.push(Part::Command("karez lab vias --transport lo".to_owned()));
    Section {
        anchor: "answer".to_owned(),
        title: text!("Zero copy: what is claimed, and what was measured"),
        parts,
    }
}

fn table(vias: Option<&Vias>, claims: Option<&Claims>) -> Table {
    let mut table = Table { heading: HEADING.to_vec(), ..Table::default() };
    for (place, method) in METHODS.iter().enumerate() {
        let finding = claims.and_then(|claims| claims.find(method.claim));
        let measured = match (vias, finding) {
            (_, Some(finding)) if method.via == Via::Cow => at_first_write(finding),
            (Some(vias), _) if method.via != Via::Cow => measured(vias, method.via),
            _ => [NONE; 4].map(str::to_owned),
        };
        let pairs = method.claimed.into_iter().zip(measured);
        let pairs = pairs.flat_map(|(claimed, measured)| [tr_word(claimed), measured]);
        let verdict = finding.map(|finding| tr(finding.verdict.name()));
        let row = std::iter::once(tr(method.name)).chain(pairs);
        table.rows.push(row.chain([verdict.unwrap_or_else(|| NONE.to_owned())]).collect());
        table.links.push((place, 0, method.anchor.to_owned()));
        if let Some(Finding { claim, .. }) = finding {
            table.links.push((place, table.heading.len() - 1, format!("claim-{}", claim.name)));
        }
    }
    table
}

/// Returns the size of the file that the table shows: the largest.
fn measured_size(vias: &Vias) -> Option<u64> {
    vias.rows.iter().map(|row| row.bytes).max()
}

fn row(vias: &Vias, via: Via, cache: CacheState) -> Option<&ViaRow> {
    let bytes = measured_size(vias)?;
    let mut rows = vias.of(via).filter(|row| (row.bytes, row.cache) == (bytes, cache));
    rows.find(|row| row.transport == Transport::Loopback)
}

/// Returns mode switches, copies by the CPU, DMA and system calls of a via per chunk.
fn measured(vias: &Vias, via: Via) -> [String; 4] {
    let none = || NONE.to_owned();
    let Some(warm) = row(vias, via, CacheState::Warm) else { return [(); 4].map(|()| none()) };
    if warm.counted.effective != via {
        let other = text!("(ran {effective})", effective = warm.counted.effective);
        return [other, none(), none(), none()];
    }
    let chunks = vias.chunk.map_or(1, |chunk| warm.bytes.div_ceil(u64::from(chunk)).max(1));
    let per_chunk = |count: u64| short(ratio(count, chunks));
    let calls: u64 = warm.counted.calls.values().sum();
    let (switches, calls) = match warm.counted.sender_counts() {
        Some(own) if vias.is_usable(&[Counter::Calls]) => {
            (per_chunk(own.mode_switches()), per_chunk(own.total_calls()))
        }
        _ => (format!("~{}", per_chunk(2 * calls)), per_chunk(calls)),
    };
    let about = if warm.copies.inferred { "~" } else { "" };
    let copies = if warm.copies.inferred || vias.is_usable(&[Counter::Kernel, Counter::PageCache]) {
        format!("{about}{}", short(ratio(warm.copies.before_receiver(), warm.bytes)))
    } else {
        none()
    };
    let disk = row(vias, via, CacheState::Cold).and_then(ViaRow::disk);
    let disk = disk.filter(|_| vias.is_usable(&[Counter::Disk]));
    let dma = disk.map(|disk| {
        text!(
            "{times} ({cache})",
            times = short(ratio(disk.read_bytes, warm.bytes)),
            cache = tr_word("cold")
        )
    });
    [switches, copies, dma.unwrap_or_else(none), calls]
}

/// Returns the same for copy-on-write: per page that is written first.
fn at_first_write(finding: &Finding) -> [String; 4] {
    let none = || NONE.to_owned();
    let count = |name: &str| finding.evidence.count(name);
    let Some((faults, edited)) = count("faults").zip(count("pages edited")) else {
        return [(); 4].map(|()| none());
    };
    let each =
        |number: u64| text!("{number} per written page", number = short(ratio(number, edited)));
    [each(2 * faults), each(faults), none(), "0".to_owned()]
}

/// Formats a number with at most one decimal.
pub(crate) fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[allow(clippy::cast_precision_loss, reason = "counts, for people to read")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_without_figures_in_textbooks_have_none_in_the_table() {
        let table = table(None, None);
        let claimed = |name: &str| -> Vec<&str> {
            let row = table.rows.iter().find(|row| row[0] == name).unwrap();
            let columns = table.heading.iter().zip(row);
            columns.filter(|(head, _)| head.ends_with("claimed")).map(|(_, cell)| &**cell).collect()
        };
        // They describe the path of direct I/O, and do not mention MSG_ZEROCOPY.
        assert_eq!(claimed("direct I/O (O_DIRECT)"), [NONE; 4]);
        assert_eq!(claimed("MSG_ZEROCOPY"), [NONE; 4]);
        assert_eq!(claimed("copy-on-write"), [NONE, "1 per written page", NONE, NONE]);
        assert_eq!(claimed("read + write"), ["4", "2", "2", "2"]);
        assert_eq!(claimed("mmap + write"), ["4", "1", "2", "2"]);
        assert_eq!(claimed("sendfile"), ["2", "1", "2", "1"]);
        assert_eq!(claimed("splice"), ["2", "0", "2", "1"]);
    }

    #[test]
    fn numbers_have_no_needless_zeros() {
        assert_eq!([0.0, 1.0, 2.04, 4.25, 10.0].map(short), ["0", "1", "2", "4.2", "10"]);
    }
}
