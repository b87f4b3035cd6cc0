//! From polling to WebSocket: the client probes the new transport while the old one goes on, and says when it has changed.
//! Until then nothing of the session moves, so a probe that fails costs nothing.
//!
//! A session that is closed meanwhile waits for it, within the time for the farewell: a client that has stopped polling hears by
//! the WebSocket alone what it is told last.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::id::Sid;
use super::outbox::{Key, Outbox};
use super::polling::Polling;
use super::session::Session;
use super::shard::Shard;
use super::{Frame, Transport, websocket};

/// How often a GET that came during the probe is let go.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

/// Ready when the session of an upgrade is over; it never brings anything.
type Over = oneshot::Receiver<Infallible>;

/// A WebSocket that is being probed.
pub(super) struct Upgrade {
    /// The probe was answered, so the client may have stopped polling.
    is_answered: bool,
    /// Dropped when the session is over.
    _over: oneshot::Sender<Infallible>,
}

impl Upgrade {
    /// Whether the client may have stopped polling, and waits to be heard by WebSocket.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }
}

/// Takes a fresh WebSocket to the session's shard, and probes it there.
pub(super) fn forward(shard: &Rc<Shard>, sid: Sid, stream: websocket::Stream) {
    if sid.shard() == shard.index() {
        if let Some(session) = shard.session(&sid) {
            tokio::task::spawn_local(probe(session, stream));
        }
        return;
    }
    let (tcp, read_ahead, may_compress) = stream.into_parts();
    let Ok(tcp) = tcp.into_std() else {
        return;
    };
    shard.with_session(sid, move |session| {
        if let (Some(session), Ok(tcp)) = (session, TcpStream::from_std(tcp)) {
            let stream = websocket::Stream::new(tcp, &read_ahead, may_compress);
            tokio::task::spawn_local(probe(session.clone(), stream));
        }
    });
}

async fn probe(session: Rc<Session>, mut stream: websocket::Stream) {
    let Some(over) = session.begin_upgrade() else {
        stream.try_last_words(Frame::close(1000).wire());
        return;
    };
    let limit = session.shard().settings().upgrade_timeout;
    let is_upgraded = tokio::select! {
        biased;
        _ = over => false,
        () = tokio::time::sleep(limit) => false,
        conversed = converse(&session, &mut stream) => conversed.is_some(),
    };
    if is_upgraded && !session.is_severed() {
        session.upgrade(stream);
    } else {
        session.give_up_upgrade();
        stream.try_last_words(Frame::close(1000).wire());
    }
}

/// `2probe`, `3probe`, `5`: anything else is no upgrade.
async fn converse(session: &Rc<Session>, stream: &mut websocket::Stream) -> Option<()> {
    expect(session, stream, "2probe").await?;
    if !session.answer_probe() {
        return None;
    }
    let mut outbox = Outbox::default();
    outbox.push_first(Key::Unique, Frame::text(&[b"3probe"]));
    std::future::poll_fn(|cx| stream.poll_write(cx, &mut outbox, 1, |_, _| {}))
        .await
        .ok()?;
    let upgraded = expect(session, stream, "5");
    let mut upgraded = std::pin::pin!(upgraded);
    loop {
        session.release_get();
        tokio::select! {
            biased;
            upgraded = &mut upgraded => return upgraded,
            () = tokio::time::sleep(RELEASE_INTERVAL) => {}
        }
    }
}

/// The next message, which must be this text.
async fn expect(session: &Session, stream: &mut websocket::Stream, wanted: &str) -> Option<()> {
    let limits = session.shard().limits();
    let mut is_wanted = false;
    let read = std::future::poll_fn(|cx| {
        let mut scratch = session.shard().scratch();
        stream.poll_items(cx, &mut scratch, limits, |item| {
            is_wanted = matches!(&item, websocket::Item::Text(text) if text == wanted);
            match item {
                // WebSocket's own pongs are no answer of the client.
                websocket::Item::Pong => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })
    });
    read.await.ok()?;
    is_wanted.then_some(())
}

// How far the session is with it.
impl Session {
    /// Begins to probe a WebSocket; one at a time. During the farewell too, which the WebSocket then takes over.
    fn begin_upgrade(&self) -> Option<Over> {
        if self.is_severed() || self.transport() == Transport::Websocket {
            return None;
        }
        let mut polling = self.polling.borrow_mut();
        let polling = polling.as_deref_mut().filter(|polling| polling.upgrade.is_none())?;
        let (sender, over) = oneshot::channel();
        polling.upgrade = Some(Upgrade {
            is_answered: false,
            _over: sender,
        });
        if let Some(end) = polling.farewell_end {
            self.clock().limit.set(Some(end));
        }
        Some(over)
    }

    /// The probe is about to be answered, whereupon the client stops polling. False when there is no session to change to.
    fn answer_probe(&self) -> bool {
        match self.polling.borrow_mut().as_deref_mut() {
            Some(Polling {
                upgrade: Some(upgrade), ..
            }) if !self.is_severed() => {
                upgrade.is_answered = true;
                true
            }
            _ => false,
        }
    }

    /// The client goes on polling; a GET that waits may now be told of the end.
    fn give_up_upgrade(&self) {
        if let Some(polling) = self.polling.borrow_mut().as_deref_mut() {
            polling.upgrade = None;
            polling.owes_noop = false;
        }
        self.wake();
    }

    /// Lets the waiting GET go, so that the client may change its transport.
    fn release_get(&self) {
        if let Some(polling) = self.polling.borrow_mut().as_deref_mut()
            && polling.get.is_some()
        {
            polling.owes_noop = true;
            self.wake();
        }
    }
}
