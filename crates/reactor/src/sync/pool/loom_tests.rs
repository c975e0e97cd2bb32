//! Every order in which the threads of a pool can run.

use super::*;
use loom::thread;

/// The number of jobs that are done, and the wait for it.
type Tally = Arc<(Mutex<usize>, Condvar)>;

fn count(tally: Tally) {
    *tally.0.lock().unwrap() += 1;
    tally.1.notify_one();
}

/// Two threads, as many as there may be, that sleep whenever they can, and two jobs, which the test
/// waits for before it drops the pool: a lost wake-up is a deadlock, which loom finds.
#[test]
fn all_jobs_run_in_any_order() {
    loom::model(|| {
        let mut queues = DeviceQueues::new();
        queues.threads = 2;
        let (queues, work) = (Mutex::new(queues), Condvar::new());
        let shared = Arc::new(PoolShared { queues, work, bound: 2 });
        let pool = Pool { shared: Arc::clone(&shared), cores: None, run: count };
        let worker = |_| {
            let shared: Arc<PoolShared<Tally>> = Arc::clone(&shared);
            thread::spawn(move || {
                let mut done = None;
                while let Some((ticket, work)) = shared.next(done) {
                    count(work);
                    done = Some(ticket);
                }
            })
        };
        let workers: Vec<_> = (0..2).map(worker).collect();
        let tally = Tally::default();
        for _ in 0..2 {
            let device = Device::default();
            let until = Instant::now();
            pool.submit(device, until, Admit::Always, Arc::clone(&tally)).ok().unwrap();
        }
        let mut done = tally.0.lock().unwrap();
        while *done < 2 {
            done = tally.1.wait(done).unwrap();
        }
        drop(done);
        drop(pool);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
