//! What becomes of frames.

use bytes::Bytes;

use super::Route;
use crate::Moment;

/// What became of a frame, for those who draw a picture of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// It was sent.
    Sent {
        /// Its number; a copy has one of its own.
        number: u64,
        /// When.
        at: Moment,
        /// When it arrives, or `None` if it is lost.
        arrives: Option<Moment>,
        /// From whom, to whom, and what.
        delivery: Delivery,
        /// Its sender, in this life or another, had sent it before.
        is_replay: bool,
    },
    /// A wire that was cut, or a node that died, took it under way.
    Dropped {
        /// Its number.
        number: u64,
        /// When.
        at: Moment,
    },
}

/// A frame that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The sender.
    pub from: u64,
    /// The receiver.
    pub to: u64,
    /// Whether it went by the second way of its sender.
    pub is_second: bool,
    /// What was sent.
    pub frame: Bytes,
}

impl Delivery {
    pub(super) fn route(&self) -> Route {
        (self.from, self.to, self.is_second)
    }
}
