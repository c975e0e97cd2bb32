//! Pipes and buffers belong to the thread, bytes to a transfer: many of them, stepped in any order
//! on one thread and dropped at any time, never mix their bytes.

use karez_transfer::{Direction, Progress, Settings, Via};

use crate::case::Case;
use crate::random::{Random, pattern};
use crate::stage::{Plan, Stage};

/// A started transfer, and the expected bytes.
struct Running {
    stage: Stage,
    case: Case,
    content: Vec<u8>,
}

impl Running {
    fn begin(chance: &mut Random) -> Self {
        let all: Vec<_> =
            Case::all().into_iter().filter(|case| !case.blocking || case.to_file()).collect();
        let all: Vec<_> = all.into_iter().filter(|case| !case.blocking || case.of_file()).collect();
        let case = chance.one_of(&all);
        let content = pattern(chance.amount(200_000), chance.next() >> 20);
        let settings = Settings::from(case.via)
            .chunk(chance.coin().then(|| 1000 + chance.amount(100_000) as u32))
            .max_per_step(chance.amount(100_000) as u64)
            .pipe_size(chance.one_of(&[4096, 65_536, 1 << 20]));
        let plan = Plan {
            settings,
            buffers: Some(chance.one_of(&[5000, 50_000])),
            source_at: chance.amount(5000) as u64,
            sink_at: chance.amount(5000) as u64,
            ..Plan::new(case, content.clone())
        };
        Self { stage: plan.stage(), case, content }
    }

    fn finish(self, chance: &mut Random) {
        let outcome = self.stage.run(chance);
        assert_eq!(outcome.end.unwrap(), Progress::Done, "{}", self.case);
        assert!(outcome.received == self.content, "{}: {:?}", self.case, outcome.report);
    }
}

#[test]
fn transfers_that_take_turns_on_a_thread_never_mix_their_bytes() {
    let mut chance = Random::fresh();
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
            Progress::NeedsZerocopyCompletion => stage.drain(&mut chance),
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
fn a_pipe_dropped_half_full_is_not_reused() {
    for &direction in &[Direction::FileToSocket, Direction::SocketToSocket] {
        let case = Case::new(direction, Via::Splice, crate::case::Transport::Unix, false);
        let mut chance = Random::of(6);
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
