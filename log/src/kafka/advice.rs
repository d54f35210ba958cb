//! What to mend where a broker cannot be talked to: librdkafka's words for the common mistakes, and the setting that is at fault.
//!
//! The words are those of librdkafka 2.12, of OpenSSL 3, and ours for certificates (`raw/handle.rs`); the tests on a real broker hold them
//! (`e2e/tests/secure.rs`). Words that are not known are passed on as they are.

/// Words, and what to do. The first that fits holds: the more special ones come first.
const ADVICE: [(&str, &str); 13] = [
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
    // An alert of TLS, taken for the length of an answer.
    (
        "Invalid response size 35251",
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
    // All that librdkafka says of a connection that is closed at the first question: its own guesses do not come through.
    (
        "in state APIVERSION_QUERY",
        "it may be that the port speaks TLS: set kafka.tls.enabled, or that it does not take our certificate: see kafka.tls.certificate_file",
    ),
];

/// The line, and what to do about it if that is known.
pub(super) fn with_advice(line: &str) -> String {
    match ADVICE.iter().find(|(words, _)| line.contains(words)) {
        Some((_, advice)) => format!("{line}: {advice}"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_advice_that_fits_is_given_and_any_other_line_stays_as_it_is() {
        let tls = "Receive failed: Invalid response size 352518912 (0..100000000) (after 4ms in state APIVERSION_QUERY)";
        assert!(with_advice(tls).ends_with(": that port of the broker speaks TLS: set kafka.tls.enabled"));
        let refused = "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(with_advice(refused), refused);
    }
}
