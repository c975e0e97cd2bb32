//! Claims about cached files: page cache, mappings, copy-on-write. They need no privileges.

use karez_lab_sys::thread_usage;
use karez_sys::{Mapping, PrivateMapping, page_size};
use karez_transfer::{FileToFile, Progress, Via};
use rustix::net::SendFlags;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::bench::{ClaimsBench, confirmed_if, refuted_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::paths::open;
use crate::error::ErrorContext as _;
use crate::language::msg;
use crate::selftest::ExperimentError;
use crate::test_file::{CacheState, TestFile};

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 23,
        name: "read-own-memory",
        statement: msg!("read returns data that is already in the process' memory from there"),
        reason: msg!("read(2) always copies from the page cache; stdio does the buffering"),
        needs: &[],
        experiment: read_again,
        rule: |evidence| Some(refuted_if(evidence.count("new bytes in the second read")? > 0)),
    },
    Claim {
        number: 27,
        name: "mmap-memory",
        statement: msg!("mmap wastes memory: 8 KiB for a file of 5 KiB"),
        reason: msg!("the page cache consists of whole pages, for read and for mmap"),
        needs: &[],
        experiment: small_file,
        rule: |evidence| {
            let (read, mapped) =
                (evidence.count("pages by read")?, evidence.count("pages by mmap")?);
            Some(refuted_if(read == mapped))
        },
    },
    Claim {
        number: 28,
        name: "mmap-sigbus",
        statement: msg!("write from a mapping of a truncated file is killed by SIGBUS"),
        reason: msg!(
            "a fault in kernel mode is fixed up as EFAULT; only a fault in user mode gets \
            SIGBUS"
        ),
        needs: &[],
        experiment: cut_off,
        rule: |evidence| Some(refuted_if(evidence.word("send of a truncated range")? == "EFAULT")),
    },
    Claim {
        number: 29,
        name: "sendfile-socket",
        statement: msg!("sendfile moves data from a file to a socket only"),
        reason: msg!("since 2.6.33 it writes to any descriptor; its input must be like a file"),
        needs: &[],
        experiment: sendfile_to_file,
        rule: |evidence| Some(refuted_if(evidence.count("bytes from file to file")? > 0)),
    },
    Claim {
        number: 34,
        name: "copy-on-write",
        statement: msg!(
            "copy-on-write copies a page at the first write and shares the other pages"
        ),
        reason: msg!(
            "the first write to a page of a private mapping faults, and do_cow_fault copies"
        ),
        needs: &[],
        experiment: on_write,
        rule: |evidence| {
            let each = evidence.count("faults")? >= evidence.count("pages edited")?;
            Some(confirmed_if(each && evidence.count("pages of the file changed")? == 0))
        },
    },
];

fn read_again(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let file = made(bench, &[1; 4096])?;
    let mut bytes = [0; 4096];
    file.read_exact_at(&mut bytes, 0).context("read", "a file")?;
    file.write_all_at(&[2; 4096], 0).context("write", "a file")?;
    file.read_exact_at(&mut bytes, 0).context("read", "a file")?;
    let new = bytes.iter().filter(|&&byte| byte == 2).count();
    Ok(Evidence::default()
        .with(msg!("bytes"), bytes.len())
        .with(msg!("new bytes in the second read"), new))
}

fn small_file(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let cold = || {
        let test_file = TestFile::new(&bench.plan.directory, 5 << 10)?;
        let state = test_file.prepare(CacheState::Cold);
        state.map(|()| test_file).map_err(|error| ExperimentError::Skipped(error.to_string()))
    };
    let by_read = cold()?;
    open(&by_read)?.read_to_end(&mut Vec::new()).context("read", "a file")?;
    let by_mmap = cold()?;
    let mapping = Mapping::of(open(&by_mmap)?.as_fd(), 0, 5 << 10).context("map", "a file")?;
    let (out, _peer) = UnixStream::pair().context("open", "a socket pair")?;
    mapping.send(out.as_fd(), 0..5 << 10, SendFlags::empty()).context("send", "a mapping")?;
    Ok(Evidence::default()
        .with(msg!("bytes"), 5_u64 << 10)
        .with(msg!("page size"), page_size())
        .with(msg!("pages by read"), by_read.cached()?)
        .with(msg!("pages by mmap"), by_mmap.cached()?))
}

fn cut_off(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let page = page_size();
    let file = made(bench, &vec![1; 4 * page])?;
    let mapping = Mapping::of(file.as_fd(), 0, 4 * page).context("map", "a file")?;
    file.set_len(page as u64).context("cut off", "a file")?;
    let (out, _peer) = UnixStream::pair().context("open", "a socket pair")?;
    let sent = mapping.send(out.as_fd(), 2 * page..3 * page, SendFlags::empty());
    let written = mapping.write_at(made(bench, &[])?.as_fd(), 0, 0..4 * page);
    Ok(Evidence::default()
        .with(msg!("send of a truncated range"), sent)
        .with(msg!("bytes written across the truncation"), written.unwrap_or(0)))
}

fn sendfile_to_file(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let (from, to) = (made(bench, &[1; 4096])?, made(bench, &[])?);
    let (near, mut far) = UnixStream::pair().context("open", "a socket pair")?;
    far.write_all(b"water").context("write to", "a socket")?;
    let from_socket = rustix::fs::sendfile(&to, &near, None, 5);
    let mut transfer = FileToFile::new(Arc::new(from), 0..4096, Arc::new(to), 0, Via::Sendfile);
    while matches!(transfer.step().context("copy by", "sendfile")?, Progress::Moved(_)) {}
    let report = transfer.report();
    let bytes = if report.effective == Via::Sendfile { report.bytes } else { 0 };
    Ok(Evidence::default()
        .with(msg!("bytes from file to file"), bytes)
        .with(msg!("sendfile from a socket"), from_socket))
}

fn on_write(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let (page, pages, edited) = (page_size(), 64, 32);
    let file = made(bench, &vec![1; pages * page])?;
    let mapping = PrivateMapping::of(file.as_fd(), 0, pages * page);
    let mut mapping = mapping.context("map", "a file")?;
    let before = thread_usage();
    for place in 0..edited {
        mapping.edit(place * page, &[2]).context("edit", "a mapping")?;
    }
    let faults = thread_usage().since(&before).minor_faults;
    let mut bytes = vec![0; pages * page];
    file.read_exact_at(&mut bytes, 0).context("read", "a file")?;
    let changed = bytes.chunks(page).filter(|page| page.contains(&2)).count();
    Ok(Evidence::default()
        .with(msg!("pages"), pages)
        .with(msg!("pages edited"), edited)
        .with(msg!("faults"), faults)
        .with(msg!("pages of the file changed"), changed))
}

/// Creates an unnamed file with this content.
fn made(bench: &ClaimsBench<'_>, bytes: &[u8]) -> Result<File, ExperimentError> {
    let directory = &bench.plan.directory;
    let file = tempfile::tempfile_in(directory).context("make a file in", directory.display())?;
    file.write_all_at(bytes, 0).context("write", "a file")?;
    Ok(file)
}
