//! The whole audit: fold what the chain concludes, wait until the views reflect it, compare, and look again where something moved
//! meanwhile. It is exact at a quiet moment; on a log that never rests it says that it could not look.

use crate::compare::compare;
use crate::fold::Shared;
use crate::names::Names;
use crate::partition::{Pass, READ_BYTES, Source};
use crate::progress::{self, Rows};
use crate::record::{Foreigners, Reading};
use crate::report::{Difference, Differences, PartitionReport, Report};
use log::batch::Kind;
use log::{ChainReader, LogError, LogReader};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::generation::{FOLD_VERSION, Generation, PARTITIONER};
use schemas::key::Hashing;
use schemas::row::View;
use schemas::{Offset, Partition};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use views::Store;

/// Wait between two looks at views that are not there yet.
const PAUSE: Duration = Duration::from_millis(250);

/// What is audited.
pub struct World<'w> {
    /// What the fold rests on.
    pub generation: &'w Generation,
    /// Id of our own schema in the values on `events`; the generation's, or what the embedded ingest writes.
    pub own_schema: Option<u32>,
    /// The records.
    pub log: &'w mut dyn LogReader,
    /// The changelog.
    pub chain: &'w mut dyn ChainReader,
    /// The views.
    pub views: &'w Store,
    /// Runs the store's futures; the audit itself blocks, so it must not be called from a task of this runtime.
    pub runtime: &'w Handle,
    /// The text of another writer's schema by its id; `None` where the registry does not have it, an error where it cannot be
    /// asked.
    pub registry: &'w mut dyn FnMut(u32) -> Result<Option<String>, String>,
}

/// How patient an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long it waits, once it has folded the log, for views that reflect all of the chain and stay so for one look.
    pub patience: Duration,
    /// How long it waits first for the views to reflect every record that is on the log when it begins; `None`: not at all.
    pub wait: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            wait: None,
        }
    }
}

/// What an audit is doing, for people who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Folding the records of a partition.
    Folding {
        /// Which.
        partition: Partition,
        /// Next offset.
        next: Offset,
        /// Next offset at the end of the log.
        end: Offset,
    },
    /// Comparing the rows of a view.
    Comparing {
        /// Which.
        view: View,
        /// Rows compared so far.
        rows: u64,
    },
    /// Waiting.
    Waiting {
        /// For what.
        why: String,
    },
}

/// Why an audit could not say anything.
#[derive(Debug, thiserror::Error)]
pub enum CouldNotLook {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The view store failed.
    #[error(transparent)]
    Views(#[from] views::Error),
    /// The registry cannot be asked.
    #[error("the registry cannot be asked: {0}")]
    Registry(String),
    /// A record's schema is gone, and the chain did not rule that it was unknown.
    #[error("the registry does not have schema id {0} any more, in which events were counted")]
    SchemaGone(u32),
    /// The generation is not one that this release folds.
    #[error("this release cannot fold the generation: {0}")]
    Generation(String),
    /// The changelog holds what a later release wrote.
    #[error("changelog {partition}/{changelog} was written by a later release: audit with that one")]
    LaterRelease {
        /// Partition of the changelog.
        partition: Partition,
        /// Where.
        changelog: Offset,
    },
    /// The changelog gave nothing for a long time before its end.
    #[error(
        "changelog {partition} gives nothing between {changelog} and {mark}: is a transaction open there?"
    )]
    ChainSilent {
        /// Partition of the changelog.
        partition: Partition,
        /// Next offset read.
        changelog: Offset,
        /// Its end.
        mark: Offset,
    },
    /// The first records of the log are gone.
    #[error("the records of partition {partition} before {first} are gone: there is nothing to compare with")]
    RecordsGone {
        /// Partition of `events`.
        partition: Partition,
        /// First offset still there.
        first: Offset,
    },
    /// The views did not reflect all of the chain in time, or it went on all the time.
    #[error("no quiet moment to compare at: {0}; stop what sends, or wait longer")]
    NotQuiet(String),
}

/// Audits a world. `tell` hears what it is doing. Reads only; may take a second for every few hundred thousand records, and
/// about 80 bytes of memory for each counted event.
///
/// Errors: whatever keeps it from saying anything. What it says is never a guess.
pub fn audit(
    mut world: World<'_>,
    settings: &Settings,
    tell: &mut dyn FnMut(Step),
) -> Result<Report, CouldNotLook> {
    let mut audit = Audit::new(&world)?;
    if let Some(patience) = settings.wait {
        wait_for_end(&mut world, patience, tell)?;
    }
    let World {
        generation,
        own_schema,
        log,
        chain,
        views,
        runtime,
        registry,
    } = world;
    let mut shared = Shared {
        reading: Reading {
            partitions: generation.partitions,
            own_schema,
            foreigners: Foreigners::default(),
            registry,
        },
        users: Names::default(),
        types: Names::default(),
        rerouted: FxHashMap::default(),
        origins: FxHashSet::default(),
        rulings: 0,
    };
    audit.advance(log, chain, &mut shared, tell)?;
    let deadline = Instant::now() + settings.patience;
    loop {
        let progress = read_progress(views, runtime)?;
        audit.advance(log, chain, &mut shared, tell)?;
        let mut why = progress::behind(&progress, &audit.sources);
        if why.is_none() {
            let mut differences = Differences::default();
            progress::check(&progress, &audit.sources, &mut differences);
            let rows = compare(
                &mut audit.sources,
                &shared,
                views,
                runtime,
                &mut differences,
                tell,
            )?;
            audit.check_copies(log, &shared, &mut differences)?;
            // What was written meanwhile must not look like a fault, and without a fault it does not matter.
            if differences.is_empty() || !audit.advance(log, chain, &mut shared, tell)? {
                return Ok(audit.report(rows, shared.rulings, differences));
            }
            why = Some("the chain went on while its views were compared".to_owned());
        }
        let why = why.unwrap_or_default();
        if Instant::now() >= deadline {
            return Err(CouldNotLook::NotQuiet(why));
        }
        tell(Step::Waiting { why });
        pause(runtime);
    }
}

fn pause(runtime: &Handle) {
    // Made inside, since a sleep belongs to the runtime that makes it.
    runtime.block_on(async { tokio::time::sleep(PAUSE).await });
}

fn read_progress(views: &Store, runtime: &Handle) -> Result<Rows, CouldNotLook> {
    let mut rows = Rows::new();
    for view in View::ALL {
        rows.insert(view, runtime.block_on(views.progress(view))?);
    }
    Ok(rows)
}

/// Waits until every view reflects every record that is on the log now.
fn wait_for_end(
    world: &mut World<'_>,
    patience: Duration,
    tell: &mut dyn FnMut(Step),
) -> Result<(), CouldNotLook> {
    let deadline = Instant::now() + patience;
    let partitions = (0..world.generation.partitions).map(Partition);
    let ends = partitions.map(|partition| Ok((partition, world.log.range(partition)?.1)));
    let ends = ends.collect::<Result<Vec<_>, LogError>>()?;
    loop {
        let progress = read_progress(world.views, world.runtime)?;
        let Some(why) = short(world.log, &progress, &ends)? else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(CouldNotLook::NotQuiet(why));
        }
        tell(Step::Waiting { why });
        pause(world.runtime);
    }
}

/// Which view does not reflect all records before these ends.
fn short(
    log: &mut dyn LogReader,
    progress: &Rows,
    ends: &[(Partition, Offset)],
) -> Result<Option<String>, LogError> {
    for (view, rows) in progress {
        for (partition, end) in ends {
            let next = rows.get(partition).map_or(Offset(0), |progress| progress.next);
            if !only_canaries(log, *partition, next, *end)? {
                let name = view.name();
                return Ok(Some(format!(
                    "{name} reflects partition {partition} up to {next}, records end at {end}"
                )));
            }
        }
    }
    Ok(None)
}

/// Whether nothing in this range counts: `query` sends canaries on when those who count have stopped.
fn only_canaries(
    log: &mut dyn LogReader,
    partition: Partition,
    mut next: Offset,
    end: Offset,
) -> Result<bool, LogError> {
    while next < end {
        let batch = log.read(partition, next, end, READ_BYTES)?;
        if batch.is_empty() {
            break;
        }
        for record in batch.iter() {
            if record.kind != Kind::Canary {
                return Ok(false);
            }
            next = record.offset.next();
        }
    }
    Ok(true)
}

/// All source partitions as far as they were looked at.
struct Audit {
    sources: Vec<Source>,
    hashing: Hashing,
    /// What is wrong with the chain: found once and never again.
    differences: Differences,
}

impl Audit {
    fn new(world: &World<'_>) -> Result<Self, CouldNotLook> {
        let generation = world.generation;
        if generation.fold_version != FOLD_VERSION || generation.partitioner != PARTITIONER {
            return Err(CouldNotLook::Generation(format!(
                "it has fold version {} and partitioner {}, this release {FOLD_VERSION} and {PARTITIONER}",
                generation.fold_version, generation.partitioner
            )));
        }
        let source = |partition| Source::new(Partition(partition), generation.number);
        Ok(Self {
            sources: (0..generation.partitions).map(source).collect(),
            hashing: Hashing::new(&generation.secret),
            differences: Differences::default(),
        })
    }

    /// Folds all that the chains conclude by now. True if that was anything new.
    fn advance(
        &mut self,
        log: &mut dyn LogReader,
        chain: &mut dyn ChainReader,
        shared: &mut Shared<'_>,
        tell: &mut dyn FnMut(Step),
    ) -> Result<bool, CouldNotLook> {
        let mut tell = |partition, next, end| tell(Step::Folding { partition, next, end });
        let mut pass = Pass {
            log,
            chain,
            shared,
            hashing: &self.hashing,
            differences: &mut self.differences,
            tell: &mut tell,
        };
        let mut moved = false;
        for source in &mut self.sources {
            moved |= source.advance(&mut pass)?;
        }
        Ok(moved)
    }

    /// Looks for the copies of rerouted and of released records, and for words of releases, where the target's records were all folded.
    fn check_copies(
        &mut self,
        log: &mut dyn LogReader,
        shared: &Shared<'_>,
        differences: &mut Differences,
    ) -> Result<(), CouldNotLook> {
        for source in &mut self.sources {
            source.ask_end(log)?;
        }
        let source = |partition: Partition| self.sources.get(partition.0 as usize);
        for ((partition, offset), (to, content)) in &shared.rerouted {
            let said = source(*partition).is_some_and(|source| *offset < source.chain.rerouted_through);
            let whole = source(*to).is_some_and(|source| source.fold.next >= source.end);
            if said && whole && !shared.origins.contains(&(*partition, *offset, *content)) {
                differences.push(|| Difference::Copy {
                    partition: *partition,
                    offset: *offset,
                    to: *to,
                });
            }
        }
        self.check_uploads(differences);
        Ok(())
    }

    /// Looks for the copies of released records, for words of releases, and for either without a release.
    fn check_uploads(&self, differences: &mut Differences) {
        let is_whole = |source: &Source| source.fold.next >= source.end;
        for source in &self.sources {
            let (partition, uploads) = (source.fold.partition, &source.fold.rows.uploads);
            let through = source.chain.rerouted_through;
            let mut missing = |offset, from, to| {
                differences.push(|| Difference::Copy {
                    partition: from,
                    offset,
                    to,
                });
            };
            if is_whole(source) {
                uploads
                    .uncopied(through)
                    .for_each(|offset| missing(offset, partition, partition));
            }
            for (at, id, partitions) in uploads.releases(through) {
                for target in self.sources.iter().filter(|target| is_whole(target)) {
                    let to = target.fold.partition;
                    let theirs = &target.fold.rows.uploads;
                    if partitions.contains(&to) && !theirs.was_told(id) {
                        missing(*at, partition, to);
                    }
                    // What was held behind the release was not part of it.
                    let passed_over = |offset: &Offset| to != partition || offset < at;
                    if let Some(offset) = theirs.untold(id).find(passed_over) {
                        missing(offset, to, to);
                    }
                }
            }
            let is_released = |id| {
                let mut sources = self.sources.iter();
                sources.any(|source| source.fold.rows.uploads.has_released(id))
            };
            let words = uploads.words().filter(|(id, _)| !is_released(*id));
            for offset in uploads.uncalled().chain(words.map(|(_, offset)| offset)) {
                differences.push(|| Difference::Uncalled { partition, offset });
            }
        }
    }

    fn report(
        self,
        rows: std::collections::BTreeMap<View, u64>,
        rulings: u64,
        differences: Differences,
    ) -> Report {
        let partitions = self.sources.iter().map(|source| PartitionReport {
            partition: source.fold.partition,
            next: source.fold.next,
            in_flight: source.end.0.saturating_sub(source.fold.next.0),
            superseded: source.chain.superseded,
            ledger: source.fold.ledger,
        });
        Report {
            partitions: partitions.collect(),
            rows,
            rulings,
            differences: self.differences.and(differences),
        }
    }
}
