//! Mail: what tasks tell each other, whatever reactors or threads they live on.
//!
//! Each reactor has a mailroom, made when the first of its tasks asks for a [`Mailbox`], and wakes
//! for it by the waker it has; a thread of model blocking gets a mailroom and a waker of its own.
//! Mail lies in a [tray](crate::tray), for which the reactor is woken once.
//!
//! What it does badly: a mail costs a lock, one to a reactor that sleeps two system calls and
//! perhaps a switch of threads, also where both tasks live on the same; it is heard only by a task
//! that wants to receive; and what was sent to one who is gone is lost without a word.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::demultiplexer::Token;
use crate::error::named;
use crate::tray::Tray;
use crate::waker::Waker;

/// The mail of a task that gets none.
#[derive(Debug)]
pub enum NoMail {}

/// Where a task lives, as it is told [once](crate::Task::move_in).
#[derive(Debug)]
pub struct Home<'a, M> {
    pub(crate) token: Token,
    pub(crate) room: &'a mut Option<Arc<Mailroom<M>>>,
    /// Who sleeps there, if that is not only this task's thread.
    pub(crate) waker: Option<&'a Arc<Waker>>,
}

impl<M> Home<'_, M> {
    /// By what others reach the task from now on.
    ///
    /// # Errors
    /// On model blocking, where each connection that can be reached needs an eventfd: there was no
    /// descriptor left for it.
    pub fn mailbox(self) -> io::Result<Mailbox<M>> {
        let room = match (self.room.take(), self.waker) {
            (Some(room), _) => room,
            (None, Some(waker)) => Mailroom::new(Arc::clone(waker)),
            (None, None) => Mailroom::new(Arc::new(Waker::eventfd().map_err(named("eventfd"))?)),
        };
        *self.room = Some(Arc::clone(&room));
        Ok(Mailbox { room, token: self.token, waiting: Arc::default() })
    }
}

/// By what a task is reached by others, from any thread. Clones reach the same task.
pub struct Mailbox<M> {
    room: Arc<Mailroom<M>>,
    token: Token,
    waiting: Arc<AtomicUsize>,
}

impl<M> Mailbox<M> {
    /// How many mails may wait for a task that does not listen.
    pub const CAPACITY: usize = 256;

    /// Sends a mail, which the task hears as [`Event::Mail`](crate::Event::Mail) when it next wants
    /// to receive. From one sender to one task mails keep their order.
    ///
    /// # Errors
    /// The mail itself: so many wait already that the task does not keep up.
    pub fn send(&self, mail: M) -> Result<(), M> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= Self::CAPACITY {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(mail);
        }
        let place = Place(Arc::clone(&self.waiting));
        self.room.post(self.token, Parcel { mail, place });
        Ok(())
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        let (room, waiting) = (Arc::clone(&self.room), Arc::clone(&self.waiting));
        Self { room, token: self.token, waiting }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("token", &self.token)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

/// A mail, and its place among those that may wait.
pub(crate) struct Parcel<M> {
    mail: M,
    place: Place,
}

impl<M> Parcel<M> {
    /// The mail; its place is free.
    pub(crate) fn open(self) -> M {
        drop(self.place);
        self.mail
    }
}

/// Free again when it goes, heard or not.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The mail that has come for the tasks of one reactor.
pub(crate) struct Mailroom<M> {
    parcels: Tray<(Token, Parcel<M>)>,
    waker: Arc<Waker>,
}

impl<M> Mailroom<M> {
    fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { parcels: Tray::new(), waker })
    }

    /// Who wakes the one whose tasks these are.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    fn post(&self, token: Token, parcel: Parcel<M>) {
        self.parcels.leave((token, parcel), || self.waker.wake());
    }

    /// All that has come since the last time.
    pub(crate) fn take(&self) -> Vec<(Token, Parcel<M>)> {
        let mut taken = Vec::new();
        self.parcels.take(&mut taken);
        taken
    }
}

impl<M> fmt::Debug for Mailroom<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailroom").field("waker", &self.waker).finish_non_exhaustive()
    }
}

/// The mail of one task that it has not heard.
pub(crate) type Unheard<M> = VecDeque<Parcel<M>>;
