//! Pipes and buffers belong to the thread, bytes to a transfer: many of them, stepped in any order
//! on one thread and dropped at any time, never get each other's.

use karez_transfer::{Direction, Progress, Settings, Via};

use crate::case::Case;
use crate::chance::{Chance, pattern};
use crate::stage::{Plan, Stage};

/// One that has begun, and what is to arrive.
struct Running {
    stage: Stage,
    case: Case,
    content: Vec<u8>,
}

impl Running {
    fn begin(chance: &mut Chance) -> Self {
        let all: Vec<_> =
            Case::all().into_iter().filter(|case| !case.blocking || case.to_file()).collect();
        let all: Vec<_> = all.into_iter().filter(|case| !case.blocking || case.of_file()).collect();
        let case = chance.one_of(&all);
        let content = pattern(chance.amount(200_000), chance.next() >> 20);
        let settings = Settings {
            chunk: chance.coin().then(|| 1000 + chance.amount(100_000) as u32),
            share: chance.amount(100_000) as u64,
            pipe: chance.one_of(&[4096, 65_536, 1 << 20]),
            ..case.via.into()
        };
        let plan = Plan {
            settings,
            buffers: Some(chance.one_of(&[5000, 50_000])),
            source_at: chance.amount(5000) as u64,
            sink_at: chance.amount(5000) as u64,
            ..Plan::new(case, content.clone())
        };
        Self { stage: plan.stage(), case, content }
    }

    fn finish(self, chance: &mut Chance) {
        let outcome = self.stage.run(chance);
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{}", self.case);
        assert!(outcome.received == self.content, "{}: {:?}", self.case, outcome.report);
    }
}

#[test]
fn transfers_that_take_turns_on_a_thread_never_mix_their_bytes() {
    let mut chance = Chance::fresh();
    let mut running: Vec<Running> = Vec::new();
    for _ in 0..3000 {
        if running.len() < 12 {
            running.push(Running::begin(&mut chance));
        }
        let turn = (chance.next() % running.len() as u64) as usize;
        let stage = &mut running[turn].stage;
        match stage.step().unwrap() {
            Progress::Moved(_) => {}
            Progress::Done => running.swap_remove(turn).finish(&mut chance),
            Progress::NeedsReadable => stage.feed(&mut chance),
            Progress::NeedsWritable if !chance.next().is_multiple_of(8) => stage.drain(&mut chance),
            Progress::NeedsRelease => stage.drain(&mut chance),
            // It is given up, with whatever is in its pipe.
            Progress::NeedsWritable => drop(running.swap_remove(turn)),
            other => panic!("{}: {other:?}", running[turn].case),
        }
    }
    for left in running {
        left.finish(&mut chance);
    }
}

#[test]
fn a_pipe_dropped_half_full_is_nobodys_again() {
    for &direction in &[Direction::FileToSocket, Direction::SocketToSocket] {
        let case = Case::new(direction, Via::Splice, crate::case::Transport::Unix, false);
        let mut chance = Chance::of(6);
        let dropped = pattern(500_000, 1);
        let mut stage = Plan { buffers: Some(5000), ..Plan::new(case, dropped) }.stage();
        loop {
            match stage.step().unwrap() {
                Progress::NeedsWritable => break,
                Progress::NeedsReadable => stage.feed(&mut chance),
                _ => {}
            }
        }
        if direction == Direction::SocketToSocket {
            assert!(stage.moving.in_flight() > 0);
        }
        drop(stage);
        let content = pattern(500_000, 2);
        let running = Running { stage: Plan::new(case, content.clone()).stage(), case, content };
        running.finish(&mut chance);
    }
}
