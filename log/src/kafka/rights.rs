//! The rights that each role needs at the brokers, and no more; `tidemark migrate --acl` gives them. The tests with the authoriser on
//! (`e2e/tests/secure.rs`) run each role with these alone.

use super::raw::Acl;
use super::settings::Settings;
use rdkafka::bindings::rd_kafka_AclOperation_t as Op;
use rdkafka::bindings::rd_kafka_ResourceType_t as Type;
use std::fmt;

/// Who asks the brokers for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Appends events.
    Ingest,
    /// Counts.
    Aggregate,
    /// Answers, and puts records back on the log: redrives, releases and what uploads say of themselves.
    Query,
    /// Makes topics and the first generation.
    Migrate,
    /// Reads all of it.
    Audit,
}

impl Role {
    /// By its subcommand.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Ingest,
            Self::Aggregate,
            Self::Query,
            Self::Migrate,
            Self::Audit,
        ];
        all.into_iter().find(|role| role.to_string() == text)
    }

    /// What it needs with these settings, for this principal (`User:...`).
    pub(super) fn acls(self, settings: &Settings, principal: &str) -> Vec<Acl> {
        let topic = |name: &str| (Type::RD_KAFKA_RESOURCE_TOPIC, name.to_owned(), false);
        let (read, write) = (Op::RD_KAFKA_ACL_OPERATION_READ, Op::RD_KAFKA_ACL_OPERATION_WRITE);
        let (create, look) = (
            Op::RD_KAFKA_ACL_OPERATION_CREATE,
            Op::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        );
        // Reading or writing a topic includes it; making one does not.
        let see = Op::RD_KAFKA_ACL_OPERATION_DESCRIBE;
        let events = topic(&settings.events);
        let changelog = topic(&settings.changelog);
        let letters = topic(&settings.dead_letters);
        let generations = topic(&settings.generations);
        // Each role compares topics with the generation record, which takes their settings.
        let wanted = match self {
            Self::Ingest => vec![
                (events, vec![write, look]),
                // For `wait=counted`, and to see that the changelog is the generation's.
                (changelog, vec![read, look]),
                (generations, vec![read]),
            ],
            Self::Aggregate => vec![
                // Misplaced records are written where they belong.
                (events, vec![read, write, look]),
                (changelog, vec![read, write, look]),
                (letters, vec![write]),
                (generations, vec![read]),
                (
                    (Type::RD_KAFKA_RESOURCE_GROUP, settings.group.clone(), false),
                    vec![read],
                ),
                (
                    (
                        Type::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
                        format!("{}.", settings.group),
                        true,
                    ),
                    vec![write],
                ),
            ],
            Self::Query => vec![
                (events, vec![read, write, look]),
                (changelog, vec![read, look]),
                (generations, vec![read]),
            ],
            Self::Migrate => vec![
                (events, vec![create, see, look]),
                (changelog, vec![create, read, look]),
                (letters, vec![create, see, look]),
                (generations, vec![create, read, write, look]),
            ],
            Self::Audit => vec![
                (events, vec![read, look]),
                (changelog, vec![read, look]),
                (generations, vec![read]),
            ],
        };
        let acls = wanted
            .into_iter()
            .flat_map(|((resource, name, is_prefix), operations)| {
                operations.into_iter().map(move |operation| Acl {
                    resource,
                    name: name.clone(),
                    is_prefix,
                    principal: principal.to_owned(),
                    operation,
                })
            });
        acls.collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingest => "ingest",
            Self::Aggregate => "aggregate",
            Self::Query => "query",
            Self::Migrate => "migrate",
            Self::Audit => "audit",
        })
    }
}
