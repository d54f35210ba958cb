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

impl State {
    /// Has these, which must be in the set, show the present password from their next connection on.
    fn tell(&self, username: &str, clients: impl Iterator<Item = usize>) {
        let texts = (CString::new(username), CString::new(self.password.as_str()));
        let (Ok(username), Ok(secret)) = texts else {
            tracing::error!(
                "a password of Kafka's holds a zero byte: clients that are there keep the one before it"
            );
            return;
        };
        for client in clients {
            let client = client as *mut native::rd_kafka_t;
            // SAFETY: a client in the set is alive, since it is taken out under the lock of this state before it goes; the call copies both
            // texts.
            let told =
                unsafe { native::rd_kafka_sasl_set_credentials(client, username.as_ptr(), secret.as_ptr()) };
            if let Err(failure) = Failure::take(told) {
                tracing::warn!(%failure, "a client of Kafka's does not take the new password");
            }
        }
    }
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
        state.tell(&self.username, state.clients.iter().copied());
        true
    }

    pub(in crate::kafka) fn username(&self) -> &str {
        &self.username
    }

    pub(in crate::kafka) fn password(&self) -> String {
        self.lock().password.clone()
    }

    /// Tells a client the present password, and of changes for as long as what is returned lives, which must go before the client does.
    pub(in crate::kafka) fn enrol(self: &Arc<Self>, client: NonNull<native::rd_kafka_t>) -> Enrolled {
        let client = client.as_ptr() as usize;
        let mut state = self.lock();
        state.clients.insert(client);
        // The one that it was made with may have changed since, while nobody knew of this client.
        state.tell(&self.username, std::iter::once(client));
        drop(state);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::handle::{Handle, text};
    use super::*;
    use crate::kafka::settings::Settings;
    use std::ffi::c_char;

    /// What a client shows at its next connection.
    fn shown(handle: &Handle) -> String {
        let mut value = [0 as c_char; 64];
        let mut length = value.len();
        // SAFETY: the client is alive and owns its configuration; `value` is as long as said.
        let read = unsafe {
            let config = native::rd_kafka_conf(handle.ptr());
            native::rd_kafka_conf_get(
                config,
                c"sasl.password".as_ptr(),
                value.as_mut_ptr(),
                &raw mut length,
            )
        };
        assert_eq!(read, native::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK);
        text(value.as_ptr())
    }

    #[test]
    fn a_client_that_is_made_while_the_password_changes_shows_the_new_one() {
        let login = Login::new("somebody", "first");
        let mut settings = Settings::new("127.0.0.1:1", 1);
        settings.login = Some(Arc::clone(&login));
        let config = settings.appender();
        assert!(login.change("second"));
        let handle = Handle::producer(&config, settings.watched(None), false).unwrap();
        assert_eq!(shown(&handle), "second");
        assert!(login.change("third"));
        assert_eq!(shown(&handle), "third");
        // One that is the same is no change.
        assert!(!login.change("third"));
    }
}
