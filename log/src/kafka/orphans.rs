//! Partitions that the group gives to nobody, and how they come to an owner.
//!
//! A static member that comes back gets its place in the generation as it was, without a rebalance (KIP-345). If it died between the
//! two steps of a cooperative rebalance (KIP-429), that generation gives what it was giving up to nobody, and the second step
//! never comes: these partitions would not be counted until some member happens to join or leave. So a static member looks now and
//! then whether all partitions have an owner. Where they have none for two looks, it has a visitor join the group and leave it
//! again, so that the group divides everything anew. It never touches the lane's own membership.

use super::raw::Membership;
use super::settings::Settings;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks: longer than the two steps of a rebalance take, so that two looks in a row mean that no second step comes.
const LOOK: Duration = Duration::from_secs(5);
/// For one look; it holds up the lane.
const PATIENCE: Duration = Duration::from_secs(1);
/// For a visitor to be let in.
const VISIT: Duration = Duration::from_secs(30);
/// How a visitor waits.
const POLL: Duration = Duration::from_millis(100);

/// Looks for them.
pub(super) struct Orphans {
    settings: Settings,
    looked: Instant,
    seen_before: bool,
    visit: Option<JoinHandle<()>>,
}

impl Orphans {
    /// One who looks, where the lane is a static member: a dynamic one never comes back to its place.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        settings.instance_id.as_ref()?;
        Some(Self {
            settings: settings.clone(),
            looked: Instant::now(),
            seen_before: false,
            visit: None,
        })
    }

    /// Looks if it is time to. What cannot be known now is looked for the next time.
    pub(super) fn look<C: ConsumerContext>(&mut self, member: &BaseConsumer<C>) {
        let visiting = self.visit.as_ref().is_some_and(|visit| !visit.is_finished());
        if visiting || self.looked.elapsed() < LOOK {
            return;
        }
        self.visit = None;
        let seen = self.ownerless(member).unwrap_or_default();
        self.looked = Instant::now();
        if seen.is_empty() || !self.seen_before {
            self.seen_before = !seen.is_empty();
            return;
        }
        self.seen_before = false;
        tracing::warn!(group = self.settings.group, partitions = ?seen, "the group gives partitions to nobody: a visitor makes it divide them anew");
        let settings = self.settings.clone();
        match std::thread::Builder::new()
            .name("visitor".to_owned())
            .spawn(move || visit(&settings))
        {
            Ok(thread) => self.visit = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread for a visitor"),
        }
    }

    /// The partitions that a group at rest gives to nobody; `None` where that cannot be said.
    fn ownerless<C: ConsumerContext>(&self, member: &BaseConsumer<C>) -> Option<BTreeSet<i32>> {
        let groups = member
            .fetch_group_list(Some(&self.settings.group), PATIENCE)
            .ok()?;
        let group = groups
            .groups()
            .iter()
            .find(|group| group.name() == self.settings.group)?;
        if group.state() != "Stable" {
            return None;
        }
        let topic = &self.settings.events;
        let metadata = member.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let known = metadata.topics().iter().find(|known| known.name() == topic)?;
        let mut left: BTreeSet<i32> = known
            .partitions()
            .iter()
            .map(|partition| partition.id())
            .collect();
        for member in group.members() {
            for partition in assigned(member.assignment()?, topic)? {
                left.remove(&partition);
            }
        }
        Some(left)
    }
}

/// Joins the group as a dynamic member and leaves it as soon as it is in.
fn visit(settings: &Settings) {
    let settings = Settings {
        instance_id: None,
        statistics: None,
        ..settings.clone()
    };
    let visitor = match BaseConsumer::from_config(&settings.member()) {
        Ok(visitor) => visitor,
        Err(error) => return tracing::warn!(%error, "no client for a visitor"),
    };
    if let Err(error) = visitor.subscribe(&[&settings.events]) {
        return tracing::warn!(%error, "a visitor cannot join the group");
    }
    let began = Instant::now();
    while began.elapsed() < VISIT {
        // What it is given to read is read by nobody, and left behind.
        let _ = visitor.poll(POLL);
        if Membership::of(&visitor).is_some_and(|membership| membership.generation() >= 0) {
            return;
        }
    }
    tracing::warn!("a visitor was not let into the group");
}

/// The partitions of `topic` in a member's assignment (the classic protocol's `ConsumerProtocolAssignment`, all versions): a version,
/// then for each topic its name and partitions.
fn assigned(bytes: &[u8], topic: &str) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    if bytes.is_empty() {
        return Some(found);
    }
    let (_version, mut rest) = bytes.split_first_chunk::<2>()?;
    for _ in 0..int32(&mut rest)? {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
        rest = after;
        for _ in 0..int32(&mut rest)? {
            let partition = int32(&mut rest)?;
            if name == topic.as_bytes() {
                found.push(partition);
            }
        }
    }
    Some(found)
}

fn int32(bytes: &mut &[u8]) -> Option<i32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_whole_or_not_at_all() {
        let bytes = [
            &[0, 1, 0, 0, 0, 2][..],
            &[0, 1, b'x', 0, 0, 0, 1, 0, 0, 0, 9],
            &[0, 6],
            b"events",
            &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3],
            &[255, 255, 255, 255],
        ]
        .concat();
        assert_eq!(assigned(&bytes, "events"), Some(vec![0, 3]));
        assert_eq!(assigned(&bytes, "other"), Some(vec![]));
        assert_eq!(
            assigned(&[], "events"),
            Some(vec![]),
            "a member that was given nothing yet"
        );
        for cut in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..cut], "events"), None, "{cut}");
        }
    }
}
