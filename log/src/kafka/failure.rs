//! What a failure of librdkafka's means to whoever holds a port.

use super::raw::Failure;
use crate::ports::{AppendError, CommitError, LogError};
use rdkafka::error::RDKafkaErrorCode as Code;

/// What is missing where a broker knows us and says no.
pub(super) const NO_RIGHT: &str =
    "our user lacks a right there; `tidemark migrate --acl` gives those of each role";

/// A failure to read or to ask.
pub(super) fn log_error(doing: &str, failure: &Failure) -> LogError {
    let text = format!("{doing}: {failure}");
    match failure.code {
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::AutoOffsetReset => LogError::Wrong(text),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::ClusterAuthorizationFailed => LogError::Wrong(format!("{text}: {NO_RIGHT}")),
        Code::InvalidTransactionTimeout => LogError::Wrong(text),
        _ if failure.fatal => LogError::Fatal(text),
        _ => LogError::Away(text),
    }
}

/// A failure to append.
pub(super) fn append_error(failure: &Failure) -> AppendError {
    match failure.code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord => {
            AppendError::Refused(failure.to_string())
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            AppendError::Unavailable(format!("{failure}: {NO_RIGHT}"))
        }
        _ => AppendError::Unavailable(failure.to_string()),
    }
}

/// A failure that ends a transactional producer.
pub(super) fn fatal(doing: &str, failure: &Failure) -> CommitError {
    CommitError::Fatal(format!("{doing}: {failure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_append_is_told_who_gives_the_right() {
        let error = append_error(&Failure {
            code: Code::TopicAuthorizationFailed,
            text: "Broker: Topic authorization failed".to_owned(),
            fatal: false,
            abort: false,
        });
        assert!(matches!(error, AppendError::Unavailable(_)));
        assert!(error.to_string().ends_with(NO_RIGHT), "{error}");
    }
}
