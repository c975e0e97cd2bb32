//! The diagrams of the textbooks: buffers in user space, in the kernel and in the hardware, and how
//! the bytes move between them.

use karez_transfer::Via;

use crate::language::{msg, text, tr};
use crate::svg::{Canvas, Colour, TextAnchor};

/// Size of a diagram in user units.
const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 300.0;

/// Upper edges of the three levels, and the height of a box.
const USER: f64 = 34.0;
const KERNEL: f64 = 124.0;
const HARDWARE: f64 = 234.0;
const BOX: f64 = 40.0;

/// Horizontal centres of the sides, and half the width of a box.
const FROM: f64 = 86.0;
const TO: f64 = 254.0;
const HALF: f64 = 62.0;

/// How bytes move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dma,
    Cpu,
    /// Without a move: a mapping or a reference.
    Refer,
}

impl Kind {
    const fn colour(self) -> Colour {
        match self {
            Self::Dma => Colour::Disk,
            Self::Cpu => Colour::Copy,
            Self::Refer => Colour::Refer,
        }
    }
}

/// A place of a diagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Disk,
    ReadBuffer,
    UserBuffer,
    SocketBuffer,
    Card,
}

impl Place {
    const ALL: [Self; 5] =
        [Self::Disk, Self::ReadBuffer, Self::UserBuffer, Self::SocketBuffer, Self::Card];

    const fn name(self) -> &'static str {
        match self {
            Self::Disk => msg!("disk"),
            Self::ReadBuffer => msg!("page cache"),
            Self::UserBuffer => msg!("user buffer"),
            Self::SocketBuffer => msg!("socket buffer"),
            Self::Card => msg!("network card"),
        }
    }

    /// Returns the centre.
    const fn centre(self) -> (f64, f64) {
        match self {
            Self::Disk => (FROM, HARDWARE + BOX / 2.0),
            Self::ReadBuffer => (FROM, KERNEL + BOX / 2.0),
            Self::UserBuffer => (f64::midpoint(FROM, TO), USER + BOX / 2.0),
            Self::SocketBuffer => (TO, KERNEL + BOX / 2.0),
            Self::Card => (TO, HARDWARE + BOX / 2.0),
        }
    }
}

type Move = (Place, Place, Kind, &'static str);

/// Returns the moves of a method in their order.
fn moves(via: Via) -> Option<Vec<Move>> {
    use Kind::{Cpu, Dma, Refer};
    use Place::{Card, Disk, ReadBuffer, SocketBuffer, UserBuffer};
    let read = (Disk, ReadBuffer, Dma, msg!("DMA"));
    let send = (SocketBuffer, Card, Dma, msg!("DMA"));
    let write = (UserBuffer, SocketBuffer, Cpu, msg!("write"));
    Some(match via {
        Via::Copy => vec![read, (ReadBuffer, UserBuffer, Cpu, msg!("read")), write, send],
        Via::Mmap => vec![
            read,
            (ReadBuffer, UserBuffer, Refer, msg!("mmap")),
            (ReadBuffer, SocketBuffer, Cpu, msg!("write")),
            send,
        ],
        Via::Sendfile => vec![read, (ReadBuffer, SocketBuffer, Cpu, msg!("sendfile")), send],
        Via::Splice => vec![read, (ReadBuffer, SocketBuffer, Refer, msg!("pipe")), send],
        Via::Direct => vec![(Disk, UserBuffer, Dma, msg!("DMA")), write, send],
        Via::Zerocopy => vec![
            read,
            (ReadBuffer, UserBuffer, Refer, msg!("mmap")),
            (UserBuffer, Card, Dma, msg!("DMA")),
        ],
        Via::Cow => vec![read, (ReadBuffer, UserBuffer, Cpu, msg!("page, at the first write"))],
        _ => return None,
    })
}

/// Draws the diagram of a method; `None` if textbooks have none.
pub(crate) fn draw(via: Via, title: &str) -> Option<String> {
    let moves = moves(via)?;
    let mut canvas = Canvas::default();
    levels(&mut canvas);
    for place in Place::ALL {
        let is_used = moves.iter().any(|(from, to, ..)| *from == place || *to == place);
        let (x, y) = place.centre();
        let colour = if is_used { Colour::Ink } else { Colour::Line };
        canvas.frame(x - HALF, y - BOX / 2.0, 2.0 * HALF, BOX, colour);
        let text = if is_used { Colour::Ink } else { Colour::Faint };
        canvas.bold(x, y + 4.0, TextAnchor::Middle, text, &tr(place.name()));
    }
    for (number, one) in moves.iter().enumerate() {
        arrow(&mut canvas, number + 1, one);
    }
    legend(&mut canvas);
    Some(canvas.into_svg((WIDTH, HEIGHT + 20.0), 1.05, title))
}

fn levels(canvas: &mut Canvas) {
    let names = [
        (USER - 18.0, text!("user space")),
        (KERNEL - 12.0, text!("kernel")),
        (HARDWARE - 12.0, text!("hardware")),
    ];
    for (y, name) in names {
        canvas.small(6.0, y, TextAnchor::Start, Colour::Faint, &name);
    }
    canvas.line((0.0, KERNEL - 26.0), (WIDTH, KERNEL - 26.0), Colour::Line, 1.6, "");
    canvas.line((0.0, HARDWARE - 26.0), (WIDTH, HARDWARE - 26.0), Colour::Line, 0.8, "2 3");
}

/// Draws a move with its number.
fn arrow(canvas: &mut Canvas, number: usize, &(from, to, kind, label): &Move) {
    let (start, end) = (edge(from, to), edge(to, from));
    canvas.pointer(start, end, kind.colour(), if kind == Kind::Refer { "4 3" } else { "" });
    let middle = (f64::midpoint(start.0, end.0), f64::midpoint(start.1, end.1));
    // Beside the boundary between the levels, not on it.
    let beside = middle.1 + if middle.1 < KERNEL { 15.0 } else { -1.0 };
    let is_level = (start.1 - end.1).abs() < 1.0;
    let is_left = start.0.min(end.0) < f64::midpoint(FROM, TO) - 1.0;
    let (x, y, anchor) = match (is_level, is_left) {
        (true, _) => (middle.0, middle.1 - 8.0, TextAnchor::Middle),
        (false, true) => (middle.0 - 8.0, beside, TextAnchor::End),
        (false, false) => (middle.0 + 8.0, beside, TextAnchor::Start),
    };
    canvas.small(x, y, anchor, kind.colour(), &format!("{number}. {}", tr(label)));
}

/// Returns the point where a line between two places leaves the first.
fn edge(from: Place, to: Place) -> (f64, f64) {
    let ((x, y), (towards_x, towards_y)) = (from.centre(), to.centre());
    if (y - towards_y).abs() < 1.0 {
        return (if towards_x > x { x + HALF } else { x - HALF }, y);
    }
    let shift = ((towards_x - x) / 2.0).clamp(-HALF * 0.6, HALF * 0.6);
    (x + shift, if towards_y > y { y + BOX / 2.0 } else { y - BOX / 2.0 })
}

fn legend(canvas: &mut Canvas) {
    let kinds = [
        (Kind::Cpu, text!("copy by the CPU")),
        (Kind::Dma, text!("DMA")),
        (Kind::Refer, text!("by reference")),
    ];
    let mut x = 6.0;
    for (kind, name) in kinds {
        canvas.block(x, HEIGHT + 2.0, 9.0, 9.0, kind.colour(), "");
        canvas.small(x + 13.0, HEIGHT + 10.0, TextAnchor::Start, Colour::Faint, &name);
        x += 118.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::all::answer::NONE;

    #[test]
    fn diagrams_show_the_claimed_copies() {
        for method in &crate::all::answer::METHODS {
            let moves = moves(method.via).unwrap();
            let count = |wanted| moves.iter().filter(|(_, _, kind, _)| *kind == wanted).count();
            let [_, copies, dma, _] = method.claimed;
            if method.via != Via::Cow && copies != NONE {
                assert_eq!(count(Kind::Cpu).to_string(), copies, "{}", method.name);
            }
            if dma != NONE {
                assert_eq!(count(Kind::Dma).to_string(), dma, "{}", method.name);
            }
            let svg = draw(method.via, "x").unwrap();
            assert!(svg.contains(&format!("{}. ", moves.len())), "{svg}");
        }
    }
}
