//! The memory limit of a control group bounds the default number of connections.

use karez_reactor::Model;
use std::fs;
use std::path::PathBuf;

use crate::client::Client;
use crate::connection_limits::{all_threads_sleep, site};
use crate::layouts;
use crate::server::Server;

/// The limit, and the connections that have a thread and fit into half of it.
const LIMIT: usize = 64 << 20;
const FIT: usize = 256;

/// A control group with a memory limit.
struct Group(PathBuf);

impl Group {
    /// Prints the reason and returns `None` where that is not possible.
    fn limited() -> Option<Self> {
        let name = format!("karez-e2e-memory-{}", std::process::id());
        let mut reason = None;
        for (mount, file) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let group = PathBuf::from(mount).join(&name);
            if let Err(error) = fs::create_dir(&group) {
                reason.get_or_insert(error);
                continue;
            }
            // Removed again if it has no such file.
            let group = Self(group);
            match fs::write(group.0.join(file), LIMIT.to_string()) {
                Ok(()) => return Some(group),
                Err(error) => reason = Some(error),
            }
        }
        println!("skipped: no control group with a memory limit: {}", reason?);
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _removed = fs::remove_dir(&self.0);
    }
}

fn ask(client: &mut Client) -> u16 {
    client.request("OPTIONS", "*", "").status
}

#[test]
fn memory_limit_bounds_the_connections() {
    let Some(group) = Group::limited() else { return };
    let root = site();
    let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.0.display());
    for layout in layouts::each_model().filter(|layout| layout.model == Model::Blocking) {
        let prefix = ["sh", "-c", &script, "sh"];
        // With a limit on files of 1,024 there were 744, with a larger one 1,024.
        let server = Server::start_under(&prefix, layout, root.path(), &["--log", "off"]);
        let mut clients: Vec<_> = (0..FIT).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(ask(client), 204, "{layout}");
        }
        server.wait_until("all are idle", || all_threads_sleep(&server));
        let mut one_more = server.connect();
        assert_eq!(ask(&mut one_more), 204, "{layout}");
        assert!(clients.remove(0).is_closed(), "{layout}");
        for client in &mut clients {
            assert_eq!(ask(client), 204, "{layout}");
        }
    }
}
