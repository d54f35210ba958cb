//! What to mend where a broker cannot be talked to: librdkafka's words for the common mistakes, and the setting that is at fault.
//!
//! The words are those of librdkafka 2.12 and of OpenSSL 3; the tests on a real broker hold them (`e2e/tests/secure.rs`). Words that are
//! not known are passed on as they are.

/// Words, and what to do. The first that fits holds: the more special ones come first.
const ADVICE: [(&str, &str); 11] = [
    (
        "certificate has expired",
        "the broker's certificate has expired: renew it there",
    ),
    (
        "IP address mismatch",
        "the broker's certificate does not name the address of kafka.brokers, or the one that the broker advertises",
    ),
    (
        "hostname mismatch",
        "the broker's certificate does not name the host of kafka.brokers, or the one that the broker advertises",
    ),
    (
        "broker certificate could not be verified",
        "kafka.tls.ca_file does not hold the authority that signed the broker's certificate",
    ),
    (
        "certificate verify failed",
        "kafka.tls.ca_file does not hold the authority that signed the broker's certificate",
    ),
    (
        "connecting to a PLAINTEXT broker listener",
        "that port of the broker speaks no TLS, or refused our certificate: see kafka.tls",
    ),
    (
        "connecting to a SSL listener",
        "that port of the broker speaks TLS: set kafka.tls.enabled",
    ),
    (
        "require SASL authentication",
        "the broker closed the connection: it may ask for kafka.sasl.username",
    ),
    (
        "alert bad certificate",
        "the broker does not take our certificate: see kafka.tls.certificate_file",
    ),
    (
        "alert certificate",
        "the broker asks for a certificate that it knows: see kafka.tls.certificate_file",
    ),
    (
        "uthentication",
        "the broker does not know kafka.sasl.username, or its password is not the one in kafka.sasl.password_file",
    ),
];

/// The line, and what to do about it if that is known.
pub(super) fn with_advice(line: &str) -> String {
    match ADVICE.iter().find(|(words, _)| line.contains(words)) {
        Some((_, advice)) => format!("{line}: {advice}"),
        None => line.to_owned(),
    }
}
