//! Deadlines that have passed, collected once a turn. Each backend first handles everything that arrived
//! before them.

use super::turns::EventLoop;
use crate::connection::{Connection as _, EventLoopConnection as _};
use crate::selector::Token;

/// Deadlines, on every event loop.
pub(crate) trait FindOverdue<'a>: EventLoop<'a> {
    /// Collects the connections whose deadlines have passed; false if there are none.
    fn find_overdue(&mut self) -> bool {
        let core = self.core();
        while let Some(timer) = core.timers.pop(core.now) {
            let Some(connection) = core.connections.get_mut(timer.1) else { continue };
            if core.timers.fire(timer, &mut connection.state().deadline, core.now) {
                core.overdue.push(timer.1);
            }
        }
        !core.overdue.is_empty()
    }

    /// Times out a connection whose deadline has passed, unless it is extended; false if it was not
    /// timed out.
    fn time_out(&mut self, token: Token, may_extend: bool) -> bool {
        let core = self.core();
        let Some(connection) = core.connections.get_mut(token) else { return false };
        let deadline = &mut connection.state().deadline;
        if !deadline.has_passed(core.now)
            || (may_extend && core.timers.extend(token, deadline, core.now))
        {
            return false;
        }
        deadline.clear();
        self.with_connection(token, |connection, cx| connection.time_out(cx));
        true
    }
}

impl<'a, L: EventLoop<'a>> FindOverdue<'a> for L {}
