//! A socket that waits for nothing: what cannot be written at once is kept, and what has come is read into a buffer that all
//! share. Not here: what the bytes mean.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

/// Clients on one source address; each has some 28,000 ports, and what was closed keeps its own for a minute.
const PER_ADDRESS: usize = 5_000;
/// Of 127.0.0.0/8, so that a minute passes before an address comes again.
const ADDRESSES: usize = 60_000;

pub struct Pipe {
    stream: TcpStream,
    /// What the kernel has not taken yet.
    pending: Vec<u8>,
}

impl Pipe {
    /// Begins to connect to a port on this machine; events come as `token`.
    pub fn open(port: u16, registry: &Registry, token: Token) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::from((source(), 0)).into())?;
        match socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            pending: Vec::new(),
        })
    }

    /// One that was accepted.
    pub fn accepted(mut stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            pending: Vec::new(),
        })
    }

    /// Adds bytes to what `flush` writes.
    pub fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// One write of these bytes; what does not fit is queued.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        if self.pending.is_empty() {
            written = nothing_when_full(self.stream.write(bytes))?;
        }
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes as much of the queue as goes.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            let written = nothing_when_full(self.stream.write(&self.pending))?;
            if written == 0 {
                return Ok(());
            }
            self.pending.drain(..written);
        }
        Ok(())
    }

    /// Bytes that have come; `None` when there are none. The other side's end is an error.
    pub fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.read(scratch) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(Some(read)),
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// EINPROGRESS on Linux; the standard library has its kind on nightly only.
const IN_PROGRESS: i32 = 115;

fn nothing_when_full(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if is_passing(&error) => Ok(0),
        other => other,
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}

fn source() -> Ipv4Addr {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let address = OPENED.fetch_add(1, Ordering::Relaxed) / PER_ADDRESS % ADDRESSES;
    Ipv4Addr::new(127, 1, (address / 250) as u8, (address % 250 + 1) as u8)
}
