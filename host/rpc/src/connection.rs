//! What one client may hold: sockets, unread answers, calls under way. A client that asks for more waits, and one that
//! takes nothing is left.

use crate::error::RpcError;
use crate::limits::Limits;
use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Sleep;

/// Calls that may have arrived on a connection and not begun before nothing more is read from it.
const MAX_WAITING: usize = 256;

/// Bytes by which the answer to a batch grows before they are counted.
const GROWTH: usize = 64 << 10;

/// All sockets of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    started: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Bytes of answers that no client has taken.
    unread: AtomicUsize,
    /// Bytes of calls that have arrived and are not answered, and of what has arrived over WebSockets besides.
    held: AtomicUsize,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    server: Arc<Connections>,
    /// When the last call began or ended, in milliseconds since the server's start.
    active: AtomicU64,
    /// HTTP requests under way; a WebSocket is one without end.
    requests: AtomicUsize,
    upgraded: AtomicBool,
    /// Calls that have arrived and not begun.
    waiting: AtomicUsize,
    /// Bytes of calls that have arrived and are not answered.
    held: AtomicUsize,
    /// Bytes of a WebSocket that have arrived since its last call did.
    partial: AtomicUsize,
    /// Bytes of answers that the client has not taken.
    unread: AtomicUsize,
    /// Whether the socket takes no more bytes at present.
    stalled: AtomicBool,
    closed: AtomicBool,
    calls: Semaphore,
    /// That less is unread, or that the connection is closed.
    changed: Notify,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Connections {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            started: Instant::now(),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            unread: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().expect("no holder of this lock panics")
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    #[cfg(test)]
    pub fn unread(&self) -> usize {
        self.unread.load(SeqCst)
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// A place for a new socket. Where all are taken, the one is closed that has been idle for longest; `None` if every
    /// one is at work.
    pub fn admit(self: &Arc<Self>) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.len() >= self.limits.max_connections as usize {
            let id = idlest(&open)?;
            if let Some(connection) = open.remove(&id) {
                connection.close();
            }
        }
        let id = self.next.fetch_add(1, SeqCst);
        let connection = Arc::new(Connection {
            id,
            server: self.clone(),
            active: AtomicU64::new(self.now()),
            requests: AtomicUsize::new(0),
            upgraded: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            partial: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            calls: Semaphore::new(self.limits.max_calls_per_connection.max(1)),
            changed: Notify::new(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        });
        open.insert(id, connection.clone());
        Some(connection)
    }

    /// Gives up an idle socket, where the system has none left.
    pub fn shed_idle(&self) {
        let mut open = self.open();
        if let Some(connection) = idlest(&open).and_then(|id| open.remove(&id)) {
            connection.close();
        }
    }

    pub fn close_all(&self) {
        self.open().drain().for_each(|(_, connection)| connection.close());
    }

    /// Closes the connection on which most is unread, of those that take nothing if there are any.
    fn shed_unread(&self) {
        let open = self.open();
        let greatest = open.values().max_by_key(|connection| {
            (connection.stalled.load(SeqCst), connection.unread.load(SeqCst))
        });
        if let Some(connection) = greatest {
            tracing::debug!("closing a connection whose client takes no answers");
            connection.close();
        }
    }

    /// Closes the connection that has sent most of what is not answered.
    fn shed_held(&self) {
        let open = self.open();
        // One that is closed counts until its socket is gone, so that no other is closed in its place.
        if let Some(connection) = open.values().max_by_key(|connection| connection.arrived()) {
            tracing::debug!("closing a connection whose client asks for too much at once");
            connection.close();
        }
    }
}

/// Of the sockets without a request the one whose last is longest ago; failing that, of WebSockets.
fn idlest(open: &HashMap<u64, Arc<Connection>>) -> Option<u64> {
    let rank = |connection: &Connection| match connection.requests.load(SeqCst) {
        0 => Some(0),
        _ if connection.upgraded.load(SeqCst) => Some(1),
        _ => None,
    };
    let ranked = open.values().filter_map(|connection| {
        Some((rank(connection)?, connection.active.load(SeqCst), connection.id))
    });
    ranked.min().map(|(_, _, id)| id)
}

impl Connection {
    pub fn limits(&self) -> &Limits {
        &self.server.limits
    }

    fn touch(&self) {
        self.active.store(self.server.now(), SeqCst);
    }

    /// Counts an HTTP request until the answer is dropped.
    pub fn request(self: &Arc<Self>) -> UnderWay {
        self.touch();
        self.requests.fetch_add(1, SeqCst);
        UnderWay(self.clone())
    }

    /// From now on a WebSocket.
    pub fn upgrade(&self) {
        self.upgraded.store(true, SeqCst);
        self.requests.fetch_add(1, SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Ends the connection, whatever it does.
    fn close(&self) {
        self.closed.store(true, SeqCst);
        self.changed.notify_waiters();
        self.reader.wake();
        self.writer.wake();
    }

    pub async fn until_closed(&self) {
        while !self.is_closed() {
            let changed = self.changed.notified();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a call may begin: until few enough are executed and little enough is unread. `None` once the
    /// connection is closed.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.places(1).await
    }

    /// The same for a batch, whose answer may be large: it is alone.
    pub async fn turn_of_batch(&self) -> Option<SemaphorePermit<'_>> {
        self.places(self.limits().max_calls_per_connection.max(1)).await
    }

    async fn places(&self, count: usize) -> Option<SemaphorePermit<'_>> {
        let _waits = Waits::new(self);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let permit = tokio::select! {
            permit = self.calls.acquire_many(count) => permit.expect("the semaphore is never closed"),
            () = self.until_closed() => return None,
        };
        loop {
            let changed = self.changed.notified();
            if self.is_closed() {
                return None;
            }
            if !self.is_behind() {
                self.touch();
                return Some(permit);
            }
            changed.await;
        }
    }

    /// Whether the client takes less than it asks for.
    pub fn is_behind(&self) -> bool {
        self.unread.load(SeqCst) > self.limits().max_unread
    }

    /// Counts the bytes of a call, or batch, until it is answered: they are kept as long. Beyond the limit for all an
    /// HTTP request is refused, unless it takes little; the limit bounds those that take little, too.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, RpcError> {
        let all = self.count(&self.held, bytes);
        let held = Held { connection: self.clone(), bytes };
        let limits = self.limits();
        if self.upgraded.load(SeqCst) {
            self.server.held.fetch_sub(self.partial.swap(0, SeqCst), SeqCst);
            if all > limits.max_unread_in_all {
                self.server.shed_held();
            }
        } else if all > limits.max_http_held() && bytes > limits.http_share() {
            return Err(RpcError::Overloaded);
        }
        Ok(held)
    }

    /// Counts what a WebSocket has sent and what is no call as yet.
    fn received(&self, bytes: usize) {
        if self.upgraded.load(SeqCst)
            && self.count(&self.partial, bytes) > self.limits().max_unread_in_all
        {
            self.server.shed_held();
        }
    }

    /// Counts for the server first, so that it never counts less than its connections do. Returns what it counts.
    fn count(&self, held: &AtomicUsize, bytes: usize) -> usize {
        let all = self.server.held.fetch_add(bytes, SeqCst) + bytes;
        held.fetch_add(bytes, SeqCst);
        all
    }

    fn arrived(&self) -> usize {
        self.held.load(SeqCst) + self.partial.load(SeqCst)
    }

    /// Whether so much has arrived that nothing more is read. HTTP is always read: that the client has gone shows there.
    fn is_full(&self) -> bool {
        self.upgraded.load(SeqCst)
            && (self.waiting.load(SeqCst) >= MAX_WAITING
                || self.held.load(SeqCst) > self.limits().max_request as usize)
    }

    /// Counts an answer that goes to the client.
    pub fn answered(&self, bytes: usize) {
        self.touch();
        // As in `count`.
        let all = self.server.unread.fetch_add(bytes, SeqCst) + bytes;
        self.unread.fetch_add(bytes, SeqCst);
        if self.is_closed() {
            // Nothing is written any more, and it may be forgotten already.
            self.take(usize::MAX);
        } else if all > self.limits().max_unread_in_all {
            self.server.shed_unread();
        }
    }

    /// Counts what the socket has taken. Headers and frames are counted here only, so nothing is ever counted too long.
    fn wrote(&self, bytes: usize) {
        self.stalled.store(false, SeqCst);
        let before = self.take(bytes);
        if before > self.limits().max_unread && !self.is_behind() {
            self.changed.notify_waiters();
        }
    }

    /// Counts so much less as unread. Returns what it was.
    fn take(&self, bytes: usize) -> usize {
        let less = |unread: usize| Some(unread.saturating_sub(bytes));
        let before = self.unread.fetch_update(SeqCst, SeqCst, less).unwrap_or_default();
        self.server.unread.fetch_sub(before.min(bytes), SeqCst);
        before
    }

    /// Removes what the connection still counts, once its socket is gone.
    fn forget(&self) {
        self.close();
        self.take(usize::MAX);
        self.server.held.fetch_sub(self.partial.swap(0, SeqCst), SeqCst);
        self.server.open().remove(&self.id);
    }
}

/// See [`Connection::request`].
pub(crate) struct UnderWay(Arc<Connection>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.touch();
        self.0.requests.fetch_sub(1, SeqCst);
    }
}

/// A call that has arrived and not begun.
struct Waits<'a>(&'a Connection);

impl<'a> Waits<'a> {
    fn new(connection: &'a Connection) -> Self {
        connection.waiting.fetch_add(1, SeqCst);
        Self(connection)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, SeqCst) == MAX_WAITING {
            self.0.reader.wake();
        }
    }
}

/// See [`Connection::hold`].
pub(crate) struct Held {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.server.held.fetch_sub(self.bytes, SeqCst);
        let before = self.connection.held.fetch_sub(self.bytes, SeqCst);
        if before > self.connection.limits().max_request as usize {
            self.connection.reader.wake();
        }
    }
}

/// Counts the answer to a batch as unread while it grows.
pub(crate) struct Growing {
    connection: Arc<Connection>,
    counted: usize,
    /// Too little to count as yet.
    more: usize,
}

impl Growing {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection, counted: 0, more: 0 }
    }

    pub fn by(&mut self, bytes: usize) {
        self.more += bytes;
        if self.more >= GROWTH {
            self.connection.answered(self.more);
            self.counted += std::mem::take(&mut self.more);
        }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.connection.take(self.counted);
    }
}

/// The socket itself. It reads nothing while too much waits, and fails where the client takes no byte for too long.
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// When a write that waits has waited for too long.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, stall: None }
    }

    fn check(&self) -> io::Result<()> {
        match self.connection.is_closed() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.connection.writer.register(context.waker());
        self.check()?;
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(result) => {
                self.stall = None;
                self.connection.wrote(*result.as_ref().unwrap_or(&0));
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.connection.stalled.store(true, SeqCst);
                let patience = self.connection.limits().write_timeout;
                let stall =
                    self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                match stall.as_mut().poll(context) {
                    Poll::Ready(()) => {
                        // Reading ends, too: whoever reads of a WebSocket does not see that writing has failed.
                        self.connection.close();
                        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.connection.forget();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.reader.register(context.waker());
        self.check()?;
        if self.connection.is_full() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.connection.received(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
