//! A leader's counting over its books, without allocating.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Decision, MatchQuorum, Quorum, joint, majority};
use crate::progress::Progress;
use crate::{Configuration, LogIndex};

/// Room for values, and the rule if it is not the usual one.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Counter {
    /// The values of the two halves.
    room: [Vec<u64>; 2],
    /// The configuration in force, where more than heads is counted.
    ruled: Option<Box<Configuration>>,
}

impl Counter {
    /// From now on the rules of `configuration` hold.
    pub(crate) fn adopt(&mut self, configuration: &Configuration) {
        self.ruled = (!configuration.takes_majorities()).then(|| Box::new(configuration.clone()));
    }

    /// The largest `value` that a commit quorum of voters has reached.
    pub(crate) fn quorum_value(
        &mut self,
        books: &[Progress],
        value: impl Fn(&Progress) -> u64,
    ) -> u64 {
        let value = |book: &Progress| if book.counts() { value(book) } else { 0 };
        let [incoming, outgoing] = &mut self.room;
        incoming.clear();
        outgoing.clear();
        let Some(configuration) = &self.ruled else {
            for book in books {
                if book.votes_incoming {
                    incoming.push(value(book));
                }
                if book.votes_outgoing {
                    outgoing.push(value(book));
                }
            }
            return joint::quorum_value(incoming, outgoing);
        };
        incoming.extend(books.iter().map(&value));
        incoming.sort_unstable();
        configuration.quorum_value(Decision::Commit, incoming, &|voter| {
            let place = books.binary_search_by_key(&voter, |book| book.id);
            place.map_or(0, |place| value(&books[place]))
        })
    }

    /// Empties the room, so that nodes that know the same look the same.
    #[cfg(any(test, feature = "invariants"))]
    pub(crate) fn forget(&mut self) {
        self.room.iter_mut().for_each(Vec::clear);
    }

    /// How far a majority of the full voters of C_new has the log, whatever the rule.
    pub(crate) fn payloads_held(&mut self, books: &[Progress]) -> u64 {
        let [full, _] = &mut self.room;
        full.clear();
        let holders = books.iter().filter(|book| book.votes_incoming && !book.is_witness);
        full.extend(holders.map(Progress::counted_index));
        majority::quorum_value(full)
    }

    /// What the match indexes of the voters prove.
    pub(crate) fn match_quorum(&mut self, books: &[Progress]) -> MatchQuorum {
        MatchQuorum(LogIndex(self.quorum_value(books, |book| book.match_index.0)))
    }
}
