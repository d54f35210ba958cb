//! A password of SASL that may change while clients live: a client shows the one it was told last when it next connects.

use super::handle::Failure;
use rdkafka::bindings as native;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Name and password, and the clients that show them.
pub struct Login {
    username: String,
    state: Mutex<State>,
}

struct State {
    password: String,
    /// Addresses of clients that are alive: each is taken out before its client goes.
    clients: BTreeSet<usize>,
}

impl Login {
    /// Who we are to the brokers.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Arc<Self> {
        let (password, clients) = (password.into(), BTreeSet::new());
        Arc::new(Self {
            username: username.into(),
            state: Mutex::new(State { password, clients }),
        })
    }

    /// Takes another password, if it is one; whether it is. Every client, present or to come, shows it from its next connection on.
    pub fn change(&self, password: &str) -> bool {
        let mut state = self.lock();
        if state.password == password {
            return false;
        }
        password.clone_into(&mut state.password);
        let texts = (CString::new(self.username.as_str()), CString::new(password));
        let (Ok(username), Ok(secret)) = texts else {
            tracing::error!(
                "a password of Kafka's holds a zero byte: clients that are there keep the one before it"
            );
            return true;
        };
        for client in &state.clients {
            let client = *client as *mut native::rd_kafka_t;
            // SAFETY: a client in the set is alive, since it is taken out under this lock before it goes; the call copies both texts.
            let told =
                unsafe { native::rd_kafka_sasl_set_credentials(client, username.as_ptr(), secret.as_ptr()) };
            if let Err(failure) = Failure::take(told) {
                tracing::warn!(%failure, "a client of Kafka's does not take the new password");
            }
        }
        true
    }

    pub(in crate::kafka) fn username(&self) -> &str {
        &self.username
    }

    pub(in crate::kafka) fn password(&self) -> String {
        self.lock().password.clone()
    }

    /// Tells a client of changes for as long as what is returned lives, which must go before the client does.
    pub(in crate::kafka) fn enrol(self: &Arc<Self>, client: NonNull<native::rd_kafka_t>) -> Enrolled {
        let client = client.as_ptr() as usize;
        self.lock().clients.insert(client);
        Enrolled {
            login: Arc::clone(self),
            client,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, redacted)", self.username)
    }
}

/// A client that is told of changes.
#[derive(Debug)]
pub(in crate::kafka) struct Enrolled {
    login: Arc<Login>,
    client: usize,
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.login.lock().clients.remove(&self.client);
    }
}
