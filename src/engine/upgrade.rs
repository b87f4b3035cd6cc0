//! From polling to WebSocket: the client probes the new transport while the old one goes on, and says when it has changed.
//! Until then nothing of the session moves, so a probe that fails costs nothing.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::id::Sid;
use super::outbox::{Key, Outbox};
use super::session::Session;
use super::shard::Shard;
use super::{Frame, websocket};

/// How often a GET that came during the probe is let go.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

/// Takes a fresh WebSocket to the session's shard, and probes it there.
pub(super) fn forward(shard: &Rc<Shard>, sid: Sid, stream: websocket::Stream) {
    if sid.shard() == shard.index() {
        if let Some(session) = shard.session(&sid) {
            tokio::task::spawn_local(probe(session, stream));
        }
        return;
    }
    let (tcp, read_ahead) = stream.into_parts();
    let Ok(tcp) = tcp.into_std() else {
        return;
    };
    shard.with_session(sid, move |session| {
        if let (Some(session), Ok(tcp)) = (session, TcpStream::from_std(tcp)) {
            let stream = websocket::Stream::new(tcp, &read_ahead);
            tokio::task::spawn_local(probe(session.clone(), stream));
        }
    });
}

async fn probe(session: Rc<Session>, mut stream: websocket::Stream) {
    if !session.begin_upgrade() {
        stream.try_last_words(Frame::close(1000).wire());
        return;
    }
    let limit = session.shard().settings().upgrade_timeout;
    match tokio::time::timeout(limit, converse(&session, &mut stream)).await {
        Ok(Some(())) if session.is_open() => session.upgrade(stream),
        _ => {
            session.give_up_upgrade();
            stream.try_last_words(Frame::close(1000).wire());
        }
    }
}

/// `2probe`, `3probe`, `5`: anything else is no upgrade.
async fn converse(session: &Rc<Session>, stream: &mut websocket::Stream) -> Option<()> {
    expect(session, stream, "2probe").await?;
    let mut outbox = Outbox::default();
    outbox.push_first(Key::Unique, Frame::text(&[b"3probe"]));
    std::future::poll_fn(|cx| stream.poll_write(cx, &mut outbox, |_, _| {}))
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
