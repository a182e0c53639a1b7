//! Between the messages of the wire and the values of the store. Nothing is copied: a key that came
//! in one buffer from the socket goes on as a piece of that buffer.

pub(crate) mod request;
pub(crate) mod response;

#[cfg(test)]
mod tests;
