//! A cable that can be pulled out: a TCP relay whose far end may change.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Relays connections until it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<String>,
    cut: AtomicBool,
    stopped: AtomicBool,
    /// Both ends of what is connected.
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// To the host and port of an `http://` or `ws://` URL.
    pub fn to(url: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            target: Mutex::new(authority(url)),
            cut: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let relay = Self { port, shared: shared.clone() };
        thread::spawn(move || serve(&listener, &shared));
        relay
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// From now on to another URL. What is connected stays so.
    pub fn retarget(&self, url: &str) {
        *self.shared.target.lock().expect("no holder panics") = authority(url);
    }

    /// Whether the cable is out: it ends what is connected, and ends at once what connects.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
        if cut {
            self.shared.drop_all();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.drop_all();
        // Wakes the listener; if nobody listens, it has ended already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn drop_all(&self) {
        for stream in self.open.lock().expect("no holder panics").drain(..) {
            // The peer may have gone.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn authority(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned()
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { continue };
        if shared.cut.load(Ordering::SeqCst) {
            continue;
        }
        // Whose far end cannot be reached sees its connection end.
        let _ = join(near, shared);
    }
}

fn join(near: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let target = shared.target.lock().expect("no holder panics").clone();
    let target: SocketAddr = target.parse().map_err(io::Error::other)?;
    let far = TcpStream::connect_timeout(&target, Duration::from_secs(1))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    {
        let mut open = shared.open.lock().expect("no holder panics");
        open.retain(|stream| stream.peer_addr().is_ok());
        open.extend([near.try_clone()?, far.try_clone()?]);
    }
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::spawn(move || pump(from, to));
    }
    Ok(())
}

/// Copies until one end closes, then closes the other.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    // An error ends the connection as its end does.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
