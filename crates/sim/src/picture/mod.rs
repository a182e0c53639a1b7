//! A picture of what happened: one page of HTML with everything in it, for people.
//!
//! A world that keeps a [`Recording`] notes each change of a node, each message and each fault;
//! [`page`] puts it into a page that draws it: time runs down, a column for each node.

mod page;
mod recording;
mod words;

pub use page::page;
pub use recording::{Recording, View};
pub use words::{Kind, describe};
