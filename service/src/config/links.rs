//! Links over TLS, and who we are on them: what is the same for Kafka, the view store and the registry.
//!
//! Passwords are never settings: a setting names the file that holds one. The file is read when it is needed and not once, so that a
//! password that was changed holds without a restart.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::redact::Secret;

/// The size beyond which the file of a password is not that but a mistake.
const PASSWORD_FILE_BYTES: u64 = 64 * 1024;

/// Sections `kafka.tls` and `store.tls`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Whether the link is encrypted, and the other side's certificate and name are checked. There is no way to leave the check out.
    /// Default `false`; `TIDEMARK_KAFKA__TLS__ENABLED`, `TIDEMARK_STORE__TLS__ENABLED`.
    pub enabled: bool,
    /// PEM file of the authorities whose certificates are believed; none: the system's.
    /// Default none; `TIDEMARK_KAFKA__TLS__CA_FILE`, `TIDEMARK_STORE__TLS__CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate with those between it and its authority, for mutual TLS.
    /// Default none; `TIDEMARK_KAFKA__TLS__CERTIFICATE_FILE`, `TIDEMARK_STORE__TLS__CERTIFICATE_FILE`.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its private key, without a password.
    /// Default none; `TIDEMARK_KAFKA__TLS__KEY_FILE`, `TIDEMARK_STORE__TLS__KEY_FILE`.
    pub key_file: Option<PathBuf>,
}

impl Tls {
    /// `section` is `kafka.tls` and so on.
    pub(super) fn check(&self, section: &str, checks: &mut Checks<'_>) {
        let files = [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ];
        for (name, file) in files {
            let Some(file) = file else { continue };
            let key = format!("{section}.{name}");
            let reason = format!("has no effect while {section}.enabled is false");
            checks.that(self.enabled, &key, file.display(), &reason);
            is_readable(&key, file, checks);
        }
        let both = self.certificate_file.is_some() == self.key_file.is_some();
        let reason = "a certificate and its key belong together: set both or none";
        checks.that(both, &format!("{section}.certificate_file"), "", reason);
    }
}

/// The file must be there and readable now; what it holds is said by whoever reads it.
pub(super) fn is_readable(key: &str, file: &Path, checks: &mut Checks<'_>) {
    if let Err(error) = fs::File::open(file) {
        let reason = format!("the file cannot be read: {error}");
        checks.that(false, key, file.display(), &reason);
    }
}

/// A name and the file of its password belong together, and the file must hold one.
pub(super) fn check_login(section: &str, name: Option<&str>, file: Option<&Path>, checks: &mut Checks<'_>) {
    let (name_key, file_key) = (format!("{section}.username"), format!("{section}.password_file"));
    if let Some(name) = name {
        checks.text(&name_key, name, 1024);
        let reason = format!("needs {file_key}: the file of its password");
        checks.that(file.is_some(), &name_key, name, &reason);
    }
    if let Some(file) = file {
        let reason = format!("has no effect without {name_key}");
        checks.that(name.is_some(), &file_key, file.display(), &reason);
        if let Err(reason) = read_password(file) {
            checks.that(false, &file_key, file.display(), &reason);
        }
    }
}

/// Reads the password that a file holds; a line end at its end is left out.
///
/// # Errors
/// In words that hold no part of it: the file cannot be read, holds nothing, or far too much.
pub fn read_password(file: &Path) -> Result<Secret, String> {
    let unreadable = |error: io::Error| format!("the file {} cannot be read: {error}", file.display());
    if fs::metadata(file).map_err(unreadable)?.len() > PASSWORD_FILE_BYTES {
        return Err(format!("the file {} is too large for a password", file.display()));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password.is_empty() {
        true => Err(format!("the file {} holds nothing", file.display())),
        false => Ok(Secret::new(password)),
    }
}
