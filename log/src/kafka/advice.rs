//! What to mend where a broker cannot be talked to: librdkafka's words for the common mistakes, and the setting that is at fault.
//!
//! The words are those of librdkafka 2.12, of OpenSSL 3, and ours for certificates (`raw/handle.rs`); the tests on a real broker hold them (`e2e/tests/secure.rs`). Words that are
//! not known are passed on as they are.

/// Words, and what to do. The first that fits holds: the more special ones come first.
const ADVICE: [(&str, &str); 12] = [
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
        "authority that is not known",
        "kafka.tls.ca_file does not hold the authority that signed the broker's certificate",
    ),
    (
        "certificate verify failed",
        "the broker's certificate is not believed: it has expired, does not name kafka.brokers, or is of an authority that kafka.tls.ca_file lacks",
    ),
    (
        "connecting to a PLAINTEXT broker listener",
        "that port of the broker speaks no TLS, or refuses our certificate: see kafka.tls.enabled and kafka.tls.certificate_file",
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
        "might be caused by broker version",
        "the broker closed the connection: it may not take our certificate, see kafka.tls.certificate_file",
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
