//! The topics of a generation as they must be, and what to say of one that is not so. Pure.

use super::settings::Settings;
use schemas::limits::{DEAD_LETTER_BYTES, RECORD_BYTES};
use std::collections::BTreeMap;

use super::settings::FRAME_BYTES;

/// How a topic's setting must be where the topic is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Exactness or rebuilds rest on it.
    Exactly,
    /// A number, at least so large; `-1` is unlimited.
    AtLeast,
    /// Set at creation; later it is the operator's.
    Advised,
}

/// A topic as it is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// Its settings.
    pub config: Vec<(&'static str, String, Rule)>,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its id: another one is another topic, whatever its name.
    pub id: uuid::Uuid,
    /// Its partitions.
    pub partitions: u32,
    /// Its settings, defaults included.
    pub config: BTreeMap<String, String>,
}

impl Plan {
    /// `events`: kept for ever by default, since every view can be rebuilt from it; stamped by the broker.
    pub fn events(settings: &Settings, partitions: u32) -> Self {
        let config = vec![
            ("cleanup.policy", "delete".to_owned(), Rule::Exactly),
            (
                "message.timestamp.type",
                "LogAppendTime".to_owned(),
                Rule::Exactly,
            ),
            ("max.message.bytes", RECORD_BYTES.to_string(), Rule::AtLeast),
            ("retention.ms", "-1".to_owned(), Rule::Advised),
            ("retention.bytes", "-1".to_owned(), Rule::Advised),
        ];
        Self {
            name: settings.events.clone(),
            partitions,
            config,
        }
    }

    /// The changelog: the chain must never lose its beginning.
    pub fn changelog(settings: &Settings, partitions: u32) -> Self {
        let mut config = kept();
        config.push(("max.message.bytes", RECORD_BYTES.to_string(), Rule::AtLeast));
        Self {
            name: settings.changelog.clone(),
            partitions,
            config,
        }
    }

    /// Copies of dead letters.
    pub fn dead_letters(settings: &Settings) -> Self {
        let mut config = kept();
        config.push((
            "max.message.bytes",
            (DEAD_LETTER_BYTES + FRAME_BYTES).to_string(),
            Rule::AtLeast,
        ));
        Self {
            name: settings.dead_letters.clone(),
            partitions: 1,
            config,
        }
    }

    /// The generation record.
    pub fn generations(settings: &Settings) -> Self {
        let config = vec![("cleanup.policy", "compact".to_owned(), Rule::Exactly)];
        Self {
            name: settings.generations.clone(),
            partitions: 1,
            config,
        }
    }

    /// Every topic that `migrate` makes.
    pub fn all(settings: &Settings, partitions: u32) -> Vec<Self> {
        vec![
            Self::generations(settings),
            Self::events(settings, partitions),
            Self::changelog(settings, partitions),
            Self::dead_letters(settings),
        ]
    }

    /// What is wrong with a topic that is already there.
    pub fn faults(&self, found: &Found) -> Vec<String> {
        let mut faults = Vec::new();
        if found.partitions != self.partitions {
            faults.push(format!(
                "has {} partitions instead of {}",
                found.partitions, self.partitions
            ));
        }
        for (name, wanted, rule) in &self.config {
            let is = found.config.get(*name).map(String::as_str).unwrap_or_default();
            let holds = match rule {
                Rule::Exactly => is == wanted,
                Rule::AtLeast => number(is) >= number(wanted),
                Rule::Advised => true,
            };
            if !holds {
                faults.push(format!("has {name}={is} instead of {wanted}"));
            }
        }
        faults
    }
}

fn kept() -> Vec<(&'static str, String, Rule)> {
    vec![
        ("cleanup.policy", "delete".to_owned(), Rule::Exactly),
        ("retention.ms", "-1".to_owned(), Rule::Exactly),
        ("retention.bytes", "-1".to_owned(), Rule::Exactly),
    ]
}

fn number(text: &str) -> i64 {
    match text.parse() {
        Ok(-1) => i64::MAX,
        Ok(number) => number,
        Err(_) => i64::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(plan: &Plan) -> Found {
        let config = plan
            .config
            .iter()
            .map(|(name, value, _)| ((*name).to_owned(), value.clone()))
            .collect();
        Found {
            name: plan.name.clone(),
            id: uuid::Uuid::nil(),
            partitions: plan.partitions,
            config,
        }
    }

    #[test]
    fn a_topic_as_planned_has_no_faults() {
        for plan in Plan::all(&Settings::new("somewhere", 1), 4) {
            assert!(plan.faults(&found(&plan)).is_empty());
        }
    }

    #[test]
    fn compacted_events_too_few_partitions_and_too_small_records_are_faults() {
        let plan = Plan::events(&Settings::new("somewhere", 1), 4);
        let mut is = found(&plan);
        is.partitions = 3;
        is.config
            .insert("cleanup.policy".to_owned(), "compact".to_owned());
        is.config
            .insert("max.message.bytes".to_owned(), "1000".to_owned());
        is.config.insert("retention.ms".to_owned(), "86400000".to_owned());
        let faults = plan.faults(&is);
        assert_eq!(
            faults.len(),
            3,
            "retention of events is the operator's: {faults:?}"
        );
    }

    #[test]
    fn a_changelog_that_forgets_is_a_fault() {
        let plan = Plan::changelog(&Settings::new("somewhere", 1), 4);
        let mut is = found(&plan);
        is.config.insert("retention.ms".to_owned(), "86400000".to_owned());
        assert_eq!(plan.faults(&is).len(), 1);
    }
}
