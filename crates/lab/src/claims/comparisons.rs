//! Claims that compare two ways of doing the same by their system calls, and by CPU time.

use karez_reactor::Model;
use karez_transfer::Via;

use super::bench::{ClaimsBench, confirmed_if};
use super::claim::Claim;
use super::evidence::{Evidence, ExperimentResult};
use super::ratio::{Order, noise};
use super::verdict::Verdict;
use crate::language::msg;
use crate::models::{Models, WaitRow};
use crate::selftest::{Counter, ExperimentError};
use crate::test_file::CacheState;
use crate::transport::Transport;

/// Names of shared figures.
const CALLS: &str = msg!("system calls per wake-up");
const CPU: &str = msg!("CPU us per wake-up");
const SWITCHES: &str = msg!("mode switches");
const EDGE: &str = "epoll-edge/epoll-level";

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 36,
        name: "edge-faster",
        statement: msg!("edge-triggered epoll is faster than level-triggered"),
        reason: msg!(
            "both make the same calls if each event is read completely; level-triggered epoll only \
             polls the item once more at the next epoll_wait"
        ),
        needs: &[],
        experiment: edge_and_level,
        rule: |evidence| {
            let saves = calls(evidence, "edge")? < calls(evidence, "level")?;
            Some(match evidence.order(EDGE)? {
                Order::Less => Verdict::Confirmed,
                Order::Unclear if saves => noise(),
                _ => Verdict::Refuted,
            })
        },
    },
    Claim {
        number: 37,
        name: "direct-mode-switches",
        statement: msg!("direct I/O avoids mode switches"),
        reason: msg!(
            "O_DIRECT reads with the same system calls as read(2); it avoids the copy from the page \
             cache, not the call"
        ),
        needs: &[Counter::Calls],
        experiment: direct_and_copy,
        rule: |evidence| {
            let switches = |of: &str| evidence.count(&format!("{of}: {SWITCHES}"));
            Some(confirmed_if(switches("direct")? < switches("copy")?))
        },
    },
];

fn calls(evidence: &Evidence, of: &str) -> Option<f64> {
    evidence.number(&format!("{of}: {CALLS}"))
}

fn edge_and_level(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let models = bench.sweep()?;
    let (level, edge) = (wake_ups(models, Model::EpollLevel)?, wake_ups(models, Model::EpollEdge)?);
    let mut evidence = Evidence::default();
    for (of, row) in [(msg!("level"), level), (msg!("edge"), edge)] {
        let calls = row.total_calls();
        let no_calls = || ExperimentError::Skipped("tracing is not permitted".to_owned());
        evidence = evidence
            .with(format!("{of}: {CALLS}"), calls.ok_or_else(no_calls)?)
            .with(format!("{of}: {CPU}"), row.cpu().median);
    }
    let pairs = edge.timed.iter().zip(&level.timed);
    let pairs: Vec<_> = pairs.map(|(edge, level)| (edge.cpu, level.cpu)).collect();
    Ok(evidence.with_ratio(EDGE, &pairs))
}

/// Returns the wake-ups of a model with the largest number of descriptors.
fn wake_ups(models: &Models, model: Model) -> Result<&WaitRow, ExperimentError> {
    let rows = models.rows.iter().filter(|row| row.model == model && !row.timed.is_empty());
    let row = rows.max_by_key(|row| row.descriptors);
    row.ok_or_else(|| ExperimentError::Skipped(format!("{model} was not measured")))
}

fn direct_and_copy(bench: &mut ClaimsBench<'_>) -> ExperimentResult {
    let mut evidence = Evidence::default();
    for via in [Via::Copy, Via::Direct] {
        let counted = bench.counted(via, Transport::Loopback, CacheState::Cold)?;
        let own = counted.outcome.sender_counts();
        let own = own.ok_or_else(|| ExperimentError::Failed("no process".to_owned()))?;
        evidence = evidence.with(format!("{via}: {SWITCHES}"), own.mode_switches());
    }
    Ok(evidence)
}
