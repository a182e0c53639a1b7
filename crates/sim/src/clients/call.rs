//! A call through a node's door, polled by hand: no runtime, and only when it was woken, so that a
//! wake-up that is lost shows as a client without an answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use env::Moment;
use server::InProcess;
use store::Command;

use super::wire::{Shape, Told, get, scan, send};
use crate::history::Request;

/// Rings when a call can go on; and tells whoever polls all of them that one can.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    any: Arc<AtomicBool>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }
}

/// A call under way, and what it came to.
pub(super) struct Call {
    /// `None` once it is answered.
    future: Option<Pin<Box<dyn Future<Output = Told>>>>,
    bell: Arc<Bell>,
    told: Option<(Moment, Told)>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Call {
    /// Sends a command.
    pub(super) fn command(door: InProcess, command: Command, any: &Arc<AtomicBool>) -> Self {
        Self::new(Box::pin(send(door, command)), any)
    }

    /// Reads a key, or several.
    pub(super) fn read(
        door: InProcess,
        (request, shape): (&Request, Shape),
        any: &Arc<AtomicBool>,
    ) -> Self {
        match request {
            Request::Get { key } => Self::new(Box::pin(get(door, key.clone(), shape)), any),
            Request::Scan { keys, at } => Self::new(Box::pin(scan(door, keys.clone(), *at)), any),
            Request::Put { .. }
            | Request::Swap { .. }
            | Request::Delete { .. }
            | Request::Revoke { .. } => unreachable!("{request:?} is no read"),
        }
    }

    fn new(future: Pin<Box<dyn Future<Output = Told>>>, any: &Arc<AtomicBool>) -> Self {
        any.store(true, Ordering::Relaxed);
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), any: Arc::clone(any) });
        Self { future: Some(future), bell, told: None }
    }

    /// Goes on if something rang. Returns what it came to if that is new.
    pub(super) fn work(&mut self, now: Moment) -> Option<&Told> {
        if !self.bell.rung.swap(false, Ordering::Relaxed) {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.bell));
        let future = self.future.as_mut()?;
        let Poll::Ready(told) = future.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return None;
        };
        self.future = None;
        self.told = Some((now, told));
        self.told.as_ref().map(|(_, told)| told)
    }

    /// What it came to, and when.
    pub(super) fn take(&mut self) -> Option<(Moment, Told)> {
        self.told.take()
    }
}
