//! The methods of the page: the diagram of the textbooks beside the trace of this kernel.

use karez_reactor::{Model, Topology};
use karez_transfer::Via;

use super::answer::{METHODS, NONE};
use super::textbook;
use crate::language::{text, tr, tr_word};
use crate::report::{Part, Section};
use crate::trace::Trace;

/// Returns the section with one picture per method.
pub(super) fn section(traces: &[Trace]) -> Section {
    let mut parts = vec![Part::Paragraph(text!(
        "First what textbooks draw, then one real request on this machine, event by event."
    ))];
    for method in &METHODS {
        parts.push(Part::Heading(method.anchor.to_owned(), tr(method.name)));
        let [switches, copies, dma, _] = method.claimed;
        let caption = if method.claimed == [NONE; 4] {
            text!("As in textbooks, which give no figures for it.")
        } else {
            text!(
                "As in textbooks: mode switches {switches}, copies by the CPU {copies}, by DMA {dma}.",
                switches = switches,
                copies = tr_word(copies),
                dma = dma
            )
        };
        if let Some(svg) = textbook::draw(method.via, &caption) {
            parts.push(Part::Figure(caption, svg));
        }
        match picture(traces, method.via) {
            Some(trace) => parts.extend(trace.parts()),
            None if method.via == Via::Cow => {
                parts.push(Part::Paragraph(text!(
                    "Copy-on-write moves nothing to a socket: the claim about it is tested alone."
                )));
                parts.push(Part::Command(format!("karez lab claims --claim {}", method.claim)));
            }
            None => {
                parts.push(Part::Paragraph(text!("This method was not traced on this kernel.")));
            }
        }
    }
    Section {
        anchor: "methods".to_owned(),
        title: text!("The methods: textbook and reality"),
        parts,
    }
}

/// Returns the picture of a method: the first trace on epoll, with one thread.
pub(super) fn picture(traces: &[Trace], via: Via) -> Option<&Trace> {
    traces.iter().find(|trace| {
        trace.via == via
            && trace.effective_via == via
            && trace.topology == Topology::Single
            && trace.model == Model::EpollEdge
    })
}
