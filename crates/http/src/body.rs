//! The body of a response, and the queue that a protocol sends it to.
//!
//! A protocol frames a body without knowing how a file is moved: a file is a value of the caller's type
//! `F`, which the protocol passes on to the [`Sink`].

/// A response body whose files are of type `F`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Body<F> {
    /// No body.
    Empty,
    /// A body in memory.
    Bytes(Vec<u8>),
    /// A file, or a part of one.
    File(F),
    /// Pieces in memory and parts of files, in order: a `multipart/byteranges` body.
    Parts(Vec<BodyPart<F>>),
    /// A body that is appended piece by piece after the head, which has no length.
    Stream,
    /// The same where the head has the length: its pieces may be parts of files.
    Sized,
}

/// A piece of [`Body::Parts`], or of a body that is appended.
#[derive(Debug)]
pub enum BodyPart<F> {
    /// Memory.
    Bytes(Vec<u8>),
    /// A part of a file.
    File(F),
}

/// The queue of data to send, as a protocol sees it.
pub trait Sink<F> {
    /// Appends memory.
    fn push_bytes(&mut self, bytes: Vec<u8>);

    /// Appends a part of a file.
    fn push_file(&mut self, file: F);

    /// Returns an empty buffer for memory that is going to be appended.
    fn buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }
}
