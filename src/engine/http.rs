//! One HTTP connection: which request is the engine's, what it asks for, and who answers it. When it becomes a WebSocket, nothing
//! of HTTP stays. Not here: what sessions do with it (`polling`, `session`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::acceptor::Slot;
use super::answers::{self, Problem};
use super::counters::{Stray, add};
use super::handshake::{Query, handshake};
use super::id::Sid;
use super::payload::{self, Limits, Packet, Unreadable};
use super::polling::Posted;
use super::server::Fallback;
use super::session::Session;
use super::shard::Shard;
use super::websocket::{self, handshake as opening};
use super::{CloseReason, Handshake, RefusalCause, Transport, compression, origins, upgrade};

/// Bytes of a request's head, and of what hyper reads ahead.
const HEAD_BYTES: usize = 16 << 10;

/// What a connection becomes when HTTP is over.
enum Successor {
    Session(Handshake),
    Probe(Sid),
}

/// Serves one connection until it ends or becomes a WebSocket.
pub(super) async fn serve(shard: Rc<Shard>, tcp: TcpStream, remote: SocketAddr, slot: Slot) {
    let successor: Cell<Option<(Successor, bool)>> = Cell::new(None);
    let exchange = Exchange {
        shard: &shard,
        remote,
        successor: &successor,
    };
    // Boxed, so that a connection between two requests does not keep room for the answering of one.
    let service = service_fn(|request| Box::pin(async move { Ok::<_, Infallible>(exchange.answer(request).await) }));
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shard.settings().header_read_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(tcp), service);
    let mut ending = std::pin::pin!(shard.ending().cancelled());
    let mut is_ending = false;
    let served = std::future::poll_fn(|cx| {
        if !is_ending && ending.as_mut().poll(cx).is_ready() {
            is_ending = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    });
    let served = served.await;
    drop(slot);
    // A connection that failed has nobody left to tell.
    let (Ok(()), Some((successor, may_compress))) = (served, successor.take()) else {
        return;
    };
    let parts = connection.into_parts();
    let stream = websocket::Stream::new(parts.io.into_inner(), &parts.read_buf, may_compress);
    match successor {
        Successor::Session(handshake) => shard.open_websocket(stream, handshake),
        Successor::Probe(sid) => upgrade::forward(&shard, sid, stream),
    }
}

/// The requests of one connection.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    shard: &'a Rc<Shard>,
    remote: SocketAddr,
    /// And whether it may compress.
    successor: &'a Cell<Option<(Successor, bool)>>,
}

impl Exchange<'_> {
    async fn answer(self, mut request: Request<Incoming>) -> Response<Body> {
        if !is_under(request.uri().path(), &self.shard.settings().path) {
            let fallback: &Fallback = self.shard.fallback();
            request.extensions_mut().insert(ConnectInfo(self.remote));
            return fallback(request).await;
        }
        let origins = &self.shard.settings().origins;
        let (parts, body) = request.into_parts();
        if !origins.admit(&parts.headers) {
            return self.refuse(Problem::Forbidden);
        }
        let answered = match parts.method {
            Method::OPTIONS => Ok(origins::preflight(&parts.headers)),
            _ => self.engine(&parts, body).await,
        };
        if let Err(Problem::UnknownSid) = answered {
            let stray = self.stray(parts.uri.query().unwrap_or_default());
            add(&self.shard.tally().strays[stray.index()], 1);
        }
        let mut response = answered.unwrap_or_else(|problem| self.refuse(problem));
        origins.mark(&parts.headers, response.headers_mut());
        response
    }

    fn refuse(self, problem: Problem) -> Response<Body> {
        self.shard.tally().refuse(problem.into());
        problem.response()
    }

    async fn engine(self, request: &request::Parts, body: Incoming) -> Result<Response<Body>, Problem> {
        let query = Query::parse(request.uri.query().unwrap_or_default())?;
        let is_upgrade = opening::is_asked(&request.headers);
        match (query.transport, query.sid) {
            (Transport::Websocket, _) if !is_upgrade => Err(Problem::BadRequest),
            (Transport::Polling, _) if is_upgrade => Err(Problem::BadRequest),
            (_, None) if request.method != Method::GET => Err(Problem::BadHandshakeMethod),
            (_, None) if !query.is_version_4 => Err(Problem::UnsupportedVersion),
            (transport, None) => self.open(transport, request).await,
            (Transport::Websocket, Some(sid)) => self.probe(sid, request).await,
            (Transport::Polling, Some(sid)) => match request.method {
                Method::GET => self.get(sid, request).await,
                Method::POST => self.post(sid, request, body).await,
                _ => Err(Problem::BadRequest),
            },
        }
    }

    /// Why nobody knows the session that this query names.
    fn stray(self, query: &str) -> Stray {
        match Query::parse(query).ok().and_then(|query| query.sid) {
            None => Stray::Malformed,
            Some(sid) if sid.is_of(self.shard.settings().tag) => Stray::Ended,
            Some(_) => Stray::Elsewhere,
        }
    }

    /// A new session.
    async fn open(self, transport: Transport, request: &request::Parts) -> Result<Response<Body>, Problem> {
        if self.shard.is_stopping() {
            return Err(Problem::Stopping);
        }
        if let Err(refusal) = self.shard.protocol().admit(request, self.remote).await {
            self.shard.tally().refuse(RefusalCause::Application);
            return Ok(answers::refused(refusal));
        }
        let handshake = handshake(request, self.remote);
        if transport == Transport::Polling {
            return Ok(answers::payload(self.shard.open_polling(handshake)));
        }
        self.switch(request, Successor::Session(handshake))
    }

    /// A WebSocket for a session that polls, or says farewell.
    async fn probe(self, sid: Sid, request: &request::Parts) -> Result<Response<Body>, Problem> {
        let is_known = |session: Option<&Rc<Session>>| session.is_some_and(|session| !session.is_severed());
        if !self.shard.ask(sid, is_known).await.unwrap_or(false) {
            return Err(Problem::UnknownSid);
        }
        self.switch(request, Successor::Probe(sid))
    }

    fn switch(self, request: &request::Parts, successor: Successor) -> Result<Response<Body>, Problem> {
        match opening::answer(request, self.shard.settings().compression) {
            Ok((response, may_compress)) => {
                self.successor.set(Some((successor, may_compress)));
                Ok(response)
            }
            Err(opening::Malformed::Version) => {
                self.shard.tally().refuse(RefusalCause::UnsupportedVersion);
                Ok(opening::wrong_version())
            }
            Err(opening::Malformed::Request) => Err(Problem::BadRequest),
        }
    }

    async fn get(self, sid: Sid, request: &request::Parts) -> Result<Response<Body>, Problem> {
        let (get, payload) = oneshot::channel();
        self.shard.with_session(sid, |session| match session {
            Some(session) => session.begin_get(get),
            None => drop(get.send(Err(Problem::UnknownSid))),
        });
        let payload = payload.await.unwrap_or(Err(Problem::UnknownSid))?;
        let response = answers::payload(payload);
        if !self.shard.settings().compression {
            return Ok(response);
        }
        Ok(compression::encoded(&request.headers, response).await)
    }

    async fn post(self, sid: Sid, request: &request::Parts, incoming: Incoming) -> Result<Response<Body>, Problem> {
        let (sender, receiver) = oneshot::channel();
        let begin = |session: Option<&Rc<Session>>| {
            session.map_or(Err(Problem::UnknownSid), |session| session.begin_post(receiver))
        };
        self.shard.ask(sid, begin).await.unwrap_or(Err(Problem::UnknownSid))?;
        let (done, answer) = oneshot::channel();
        let mut posted = Posted {
            packets: VecDeque::new(),
            failure: None,
            done,
        };
        let reading = self.read(request, incoming, &mut posted.packets);
        let limit = self.shard.settings().body_read_timeout;
        posted.failure = match tokio::time::timeout(limit, reading).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_elapsed) => Some((CloseReason::TransportError, Problem::Timeout)),
        };
        // A session that has ended takes nothing: what comes back is dropped at once, and its end of the answer with it.
        drop(sender.send(posted));
        answer.await.unwrap_or(Err(Problem::UnknownSid))?;
        Ok(answers::ok())
    }

    /// Reads packets up to the bounds; those before a failure are kept.
    async fn read(
        self,
        request: &request::Parts,
        incoming: Incoming,
        packets: &mut VecDeque<Packet>,
    ) -> Result<(), (CloseReason, Problem)> {
        let too_large = (CloseReason::PayloadTooLarge, Problem::TooLarge);
        let settings = self.shard.settings();
        let declared = request.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|len| len > settings.max_payload as u64) {
            return Err(too_large);
        }
        let limits = Limits {
            bytes: settings.max_payload,
            packets: settings.max_packets,
        };
        let read = payload::read(incoming, limits, packets).await;
        read.map_err(|unreadable| match unreadable {
            Unreadable::TooLarge => too_large,
            Unreadable::Malformed => (CloseReason::ParseError, Problem::BadRequest),
        })
    }
}

/// Whether a request's path is the engine's, with or without its last slash.
fn is_under(path: &str, own: &str) -> bool {
    let stem = own.strip_suffix('/').unwrap_or(own);
    path.strip_prefix(stem)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
