//! An open WebSocket: client frames are read through the thread's scratch buffer, the output queue is written by vectored
//! writes. While nothing happens it holds a socket and nothing else.

use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::super::outbox::Outbox;
use super::{Decoder, Item, Limits, Violation};

/// Frames given to one vectored write, whatever the settings say.
const FRAMES_PER_WRITE: usize = 128;

/// An open WebSocket.
pub struct Stream {
    tcp: TcpStream,
    decoder: Decoder,
    /// Bytes that were read and not yet decoded, because whoever reads had enough.
    backlog: Vec<u8>,
    decoded: usize,
    /// Nothing that still comes can be understood.
    is_garbled: bool,
    may_compress: bool,
}

/// Why nothing more will be read.
#[derive(Debug)]
pub enum Ended {
    Eof,
    Failed,
    Violated(Violation),
}

impl Stream {
    /// `read_ahead` is what came behind the handshake's request; `may_compress`, whether both sides may.
    pub fn new(tcp: TcpStream, read_ahead: &[u8], may_compress: bool) -> Self {
        Self {
            tcp,
            decoder: Decoder::default(),
            backlog: read_ahead.to_vec(),
            decoded: 0,
            is_garbled: false,
            may_compress,
        }
    }

    /// The socket, to be moved to another shard, and what else it was made of.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>, bool) {
        (self.tcp, self.backlog, self.may_compress)
    }

    /// Whether compressed frames may be written.
    pub fn may_compress(&self) -> bool {
        self.may_compress
    }

    /// Hands one item after the other to `sink`, until it breaks (then this is ready) or everything is read (then it is pending).
    pub fn poll_items(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        limits: Limits,
        mut sink: impl FnMut(Item) -> ControlFlow<()>,
    ) -> Poll<Result<(), Ended>> {
        if !self.backlog.is_empty() {
            let mut backlog = std::mem::take(&mut self.backlog);
            let (len, flow) = self.decode(&mut backlog[self.decoded..], limits, &mut sink)?;
            self.decoded += len;
            if self.decoded < backlog.len() {
                self.backlog = backlog;
            } else {
                self.decoded = 0;
            }
            if flow.is_break() {
                return Poll::Ready(Ok(()));
            }
        }
        loop {
            let mut buf = ReadBuf::new(scratch);
            let read = Pin::new(&mut self.tcp).poll_read(cx, &mut buf);
            ready!(read).map_err(|_| Ended::Failed)?;
            let input = buf.filled_mut();
            if input.is_empty() {
                return Poll::Ready(Err(Ended::Eof));
            }
            let (len, flow) = self.decode(input, limits, &mut sink)?;
            if flow.is_break() {
                self.backlog = input[len..].to_vec();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads and forgets, until the peer has said its farewell or closed its side.
    pub fn poll_farewell(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], limits: Limits) -> Poll<()> {
        if !self.is_garbled {
            let is_close = |item| match item {
                Item::Close(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            match ready!(self.poll_items(cx, scratch, limits, is_close)) {
                Ok(()) | Err(Ended::Eof | Ended::Failed) => return Poll::Ready(()),
                Err(Ended::Violated(_)) => {}
            }
        }
        loop {
            let mut buf = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Writes from the queue, at most so many frames at a time. Ready with `Ok` when the queue is empty; `written` hears of each
    /// progress, in bytes and whole frames.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
        most: usize,
        mut written: impl FnMut(usize, usize),
    ) -> Poll<io::Result<()>> {
        while !outbox.is_empty() {
            match self.try_write(outbox, most) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(len) => written(len, outbox.advance(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Most writes are of one frame, and send(2) is a tenth faster than writev(2).
    fn try_write(&self, outbox: &Outbox, most: usize) -> io::Result<usize> {
        if let Some(frame) = outbox.only() {
            return self.tcp.try_write(frame);
        }
        let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
        let count = outbox.slices(&mut slices[..most.clamp(1, FRAMES_PER_WRITE)]);
        self.tcp.try_write_vectored(&slices[..count])
    }

    /// One attempt to say a last frame; the stream is given up afterwards, so nobody minds whether it succeeds.
    pub fn try_last_words(&self, frame: &[u8]) {
        let _is_best_effort = self.tcp.try_write(frame);
    }

    /// Tells the peer that nothing more will come.
    pub fn shutdown(&self) {
        let _already_gone = socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
    }

    /// Decodes until the sink breaks; returns how many bytes that took.
    fn decode(
        &mut self,
        input: &mut [u8],
        limits: Limits,
        sink: &mut impl FnMut(Item) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Ended> {
        let limits = Limits {
            may_compress: self.may_compress,
            ..limits
        };
        let mut taken = 0;
        while taken < input.len() {
            let decoded = self.decoder.next(&mut input[taken..], limits);
            let (len, item) = decoded.map_err(|violation| {
                self.is_garbled = true;
                Ended::Violated(violation)
            })?;
            taken += len;
            if let Some(item) = item
                && sink(item).is_break()
            {
                return Ok((taken, ControlFlow::Break(())));
            }
        }
        Ok((taken, ControlFlow::Continue(())))
    }
}
