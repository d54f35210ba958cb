//! When to stop: one token for the whole process, begun by SIGTERM, by SIGINT or by a part that cannot go on.
//!
//! The first signal announces the stop, so that readiness falls, and some time later begins the drain: whoever sends work has then had the time to
//! look. A second one ends the process at once, so that nobody needs `kill -9` to leave a drain that hangs. Signals are awaited on a thread of their own: a runtime whose threads are all busy must still
//! be stoppable.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit;

/// The wish to stop. Clones are the same wish; it cannot be taken back.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    announced: CancellationToken,
    token: CancellationToken,
}

/// The work was not done when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not done within {} ms", .after.as_millis())]
pub struct DeadlinePassed {
    /// How long it had.
    pub after: Duration,
}

impl Shutdown {
    /// A wish that only [`Shutdown::begin`] utters: for tests, and for parts that stop after others.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A wish that SIGTERM or SIGINT announces and, after `delay`, utters. The second signal exits with [`exit::INTERRUPTED`] at once.
    ///
    /// Call it once, early in `main`; needs no runtime.
    ///
    /// # Errors
    /// If the signal handlers or their thread cannot be set up.
    pub fn on_signals(delay: Duration) -> std::io::Result<Self> {
        let shutdown = Self::new();
        let begun = shutdown.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut terminate, mut interrupt) = {
            let _context = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let name = either(&mut terminate, &mut interrupt).await;
                    tracing::info!(
                        signal = name,
                        "draining; a second signal ends the process at once"
                    );
                    begun.announce();
                    let second = either(&mut terminate, &mut interrupt);
                    tokio::pin!(second);
                    let name = tokio::select! {
                        name = second.as_mut() => name,
                        () = tokio::time::sleep(delay) => {
                            begun.begin();
                            second.await
                        }
                    };
                    tracing::warn!(signal = name, "ended before the drain was done");
                    std::process::exit(i32::from(exit::INTERRUPTED));
                });
            })?;
        Ok(shutdown)
    }

    /// Says that the wish will be uttered soon: no new work should be sent here.
    pub fn announce(&self) {
        self.announced.cancel();
    }

    /// Whether the wish was announced or uttered.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Utters the wish; further calls do nothing.
    pub fn begin(&self) {
        self.announced.cancel();
        self.token.cancel();
    }

    /// Whether the wish was uttered.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the wish is uttered. May be dropped and called again at any time.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// A wish that this one utters too, but whose own `begin` leaves this one alone: stops one part early.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            announced: self.announced.child_token(),
            token: self.token.child_token(),
        }
    }
}

/// Gives `work` until `deadline` from now; for the drain of a part.
///
/// # Errors
/// [`DeadlinePassed`]; `work` is dropped then.
pub async fn within<F: Future>(deadline: Duration, work: F) -> Result<F::Output, DeadlinePassed> {
    tokio::time::timeout(deadline, work)
        .await
        .map_err(|_| DeadlinePassed { after: deadline })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_child_follows_its_parent_and_not_the_other_way() {
        let parent = Shutdown::new();
        let (first, second) = (parent.child(), parent.child());
        first.begin();
        assert!(first.has_begun() && !parent.has_begun() && !second.has_begun());
        parent.announce();
        assert!(second.is_announced() && !second.has_begun());
        parent.begin();
        second.begun().await;
    }

    #[tokio::test]
    async fn work_that_outlasts_its_deadline_is_dropped() {
        let after = Duration::from_millis(1);
        assert_eq!(
            within(after, std::future::pending::<()>()).await,
            Err(DeadlinePassed { after })
        );
        assert_eq!(within(Duration::from_secs(60), async { 7 }).await, Ok(7));
    }

    /// The child of the test below, in a process of its own: it drains for ever.
    #[test]
    #[ignore = "is run by a_second_signal_ends_the_process_at_once"]
    fn drains_for_ever() {
        let shutdown = Shutdown::on_signals(Duration::ZERO).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        eprintln!("up");
        runtime.block_on(shutdown.begun());
        eprintln!("draining");
        loop {
            std::thread::park();
        }
    }

    /// Is never left behind, whatever becomes of the test.
    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_second_signal_ends_the_process_at_once() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "shutdown::tests::drains_for_ever",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = Killed(child.unwrap());
        let mut lines = BufReader::new(child.0.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let kill = |signal: &str, id: u32| {
            assert!(
                Command::new("kill")
                    .args([signal, &id.to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
        };
        assert!(lines.any(|line| line == "up"));
        kill("-TERM", child.0.id());
        assert!(lines.any(|line| line == "draining"));
        kill("-INT", child.0.id());
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the process drains for ever");
            std::thread::yield_now();
        };
        assert_eq!(status.code(), Some(i32::from(exit::INTERRUPTED)));
    }
}
