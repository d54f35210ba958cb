//! A way to an engine that a test can cut: the engine is away then for whoever comes this way, and for nobody else.

use std::io::copy;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::spawn;

/// Both ends of each connection; none while the way is cut.
type Open = Option<Vec<TcpStream>>;

/// The way. It takes connections until the tests end: a port that is given up and taken again may have become another's.
pub(crate) struct Link {
    /// Where it begins.
    pub(crate) address: SocketAddr,
    open: Arc<Mutex<Open>>,
}

impl Link {
    /// A way to this engine.
    pub(crate) fn to(engine: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let link = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::new(Mutex::new(Some(Vec::new()))),
        };
        let open = Arc::clone(&link.open);
        spawn(move || {
            for near in listener.incoming().flatten() {
                // While it is cut, whoever comes is let go.
                if let Some(open) = lock(&open).as_mut()
                    && let Ok(far) = TcpStream::connect(engine)
                {
                    open.extend(joined(near, far));
                }
            }
        });
        link
    }

    /// Ends all connections, and lets nobody through.
    pub(crate) fn cut(&self) {
        for stream in lock(&self.open).take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends the cut.
    pub(crate) fn heal(&self) {
        *lock(&self.open) = Some(Vec::new());
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings what comes at either end to the other one.
fn joined(near: TcpStream, far: TcpStream) -> [TcpStream; 2] {
    for (from, to) in [(&near, &far), (&far, &near)] {
        // What is small and waits for company would be late.
        to.set_nodelay(true).unwrap();
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    [near, far]
}
