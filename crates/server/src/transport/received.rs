//! The effect of received bytes on a transport.

/// The effect of received bytes.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "plain bytes are all stream"))]
pub(crate) enum Received {
    /// Bytes of the stream were passed on, or the peer has ended the stream.
    Stream,
    /// No byte of the stream has arrived: the wait continues.
    Again,
    /// The handshake continues in the next turn of the event loop: [`Event::Deferred`] comes then.
    ///
    /// [`Event::Deferred`]: karez_reactor::Event::Deferred
    Postponed,
    /// The handshake continues when the outbox has been sent.
    Handshake,
    /// The handshake is complete; the stream begins. Bytes that were received behind the handshake are
    /// to be passed to [`Transport::receive`](super::Transport::receive).
    Established { unread: Vec<u8> },
    /// The client sends HTTP without TLS; its bytes were passed on as the stream.
    PlainHttp,
    /// The connection cannot continue. The outbox has the alert, if there is one.
    Failed,
}
