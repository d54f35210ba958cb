//! A view store that loses, delays, repeats and forgets, and that looks after every single write whether progress is ahead
//! of the rows it stands for. Of two writes to a row the higher stamp wins, of equal ones the greater value, as in Cassandra.
//!
//! One thing it never does: be set back without a sign. The connections break, so whoever called before learns it by its
//! next call, and what was still on its way is gone.

use crate::sim::PARTITION;
use crate::truth::{Truth, cells};
use aggregator::lane::Owned;
use aggregator::projector::Sink;
use schemas::Partition;
use schemas::row::{Progress, Row, RowKey, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views::{Error, Stored};

/// The lane that owns the partition, in every process.
pub const LANE: &str = "lane";

/// What becomes of one call. A mask says by its bits which of the call's writes are meant.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is done and answered.
    Fine,
    /// It is done in another order, each write twice, and answered.
    Repeated,
    /// Nothing of it arrives.
    Away,
    /// All of it arrives, the answer does not.
    Unanswered,
    /// These writes arrive, the others never.
    Partly(u64),
    /// These writes arrive, the others are still on their way.
    Late(u64),
    /// These of the writes on their way arrive.
    Land(u64),
    /// The store is as it was so many calls ago.
    SetBack(usize),
    /// Somebody empties this view's table.
    Empty(View),
    /// These writes arrive, the others are still on their way, and the process is no more.
    Die(u64),
    /// The store is not what it should be.
    Wrong,
    /// It is done; the process owns nothing any more, for a moment.
    LetGo,
    /// The process is asked to stop. These writes arrive, the others never; it is answered if that is all of them.
    Stop(u64),
}

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Begin,
    Rows,
    Progress(View),
    Look(View),
}

/// Says what becomes of each call; `None` once nothing will go wrong any more.
pub type Script = Box<dyn FnMut(&World, Call) -> Option<Fault> + Send>;

#[derive(Clone, Debug, Default)]
struct Table {
    life: Option<Uuid>,
    progress: Option<Progress>,
    rows: BTreeMap<RowKey, (u64, Vec<u8>)>,
}

type Tables = BTreeMap<View, Table>;

/// One cell on its way.
#[derive(Clone, Debug)]
enum Write {
    Row(Row),
    Progress(View, Progress),
}

/// A process that projects.
pub struct Process {
    pub stop: CancellationToken,
    pub owned: Owned,
    pub flushes: u64,
}

/// The store and all that goes wrong with it.
pub struct World {
    truth: Truth,
    script: Option<Script>,
    tables: Tables,
    past: Vec<Tables>,
    on_their_way: Vec<Write>,
    processes: Vec<Process>,
    dead: BTreeSet<usize>,
    broken: BTreeSet<usize>,
    /// What must never be.
    pub faults: Vec<String>,
}

impl World {
    pub fn new(truth: Truth, script: Script) -> Self {
        Self {
            truth,
            script: Some(script),
            tables: Tables::default(),
            past: vec![Tables::default()],
            on_their_way: Vec::new(),
            processes: Vec::new(),
            dead: BTreeSet::new(),
            broken: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Whether nothing goes wrong any more.
    pub fn is_calm(&self) -> bool {
        self.script.is_none()
    }

    /// How far the views are, for people.
    pub fn summary(&self) -> String {
        let of = |view: View| {
            let table = self.tables.get(&view);
            let next = table.and_then(|table| Some(table.progress.as_ref()?.next.0));
            let believed = self.believed(view).is_some();
            format!("{}: next {next:?}, believed: {believed}", view.name())
        };
        let (calm, end) = (self.is_calm(), self.truth.end);
        format!("calm: {calm}, end: {end}, {}", View::ALL.map(of).join(", "))
    }

    /// A new process: its number.
    pub fn join(&mut self, process: Process) -> usize {
        self.processes.push(process);
        self.processes.len() - 1
    }

    /// How often this process has looked at all tables: once in each flush.
    pub fn flushes(&self, process: usize) -> u64 {
        self.processes[process].flushes
    }

    pub fn is_dead(&self, process: usize) -> bool {
        self.dead.contains(&process)
    }

    /// Whether the views are the plain sum over the chain, and say so.
    pub fn is_complete(&self) -> bool {
        let reflected = |view| self.believed(view).map(|progress| progress.next.0);
        View::ALL
            .iter()
            .all(|view| reflected(*view) == Some(self.truth.end))
            && self.has_all_rows()
    }

    /// Whether every row is as it will be in the end.
    pub fn has_all_rows(&self) -> bool {
        let whole = |(key, versions): (&RowKey, &BTreeMap<u64, _>)| {
            self.stored(key) == versions.keys().next_back().copied()
        };
        self.truth.rows.iter().all(whole)
    }

    /// All processes are asked to stop.
    pub fn end(&mut self) {
        self.dead.extend(0..self.processes.len());
        for process in &self.processes {
            process.stop.cancel();
        }
    }

    /// Whoever let its partition go has it back.
    pub fn give_back(&self) {
        for process in &self.processes {
            process.owned.take(PARTITION, LANE);
        }
    }

    /// What was still on its way arrives now.
    pub fn settle(&mut self) {
        for write in std::mem::take(&mut self.on_their_way) {
            self.apply(write);
        }
    }

    fn stored(&self, key: &RowKey) -> Option<u64> {
        let (version, _) = self.tables.get(&key.view())?.rows.get(key)?;
        Some(*version)
    }

    fn believed(&self, view: View) -> Option<&Progress> {
        let table = self.tables.get(&view)?;
        let progress = table.progress.as_ref()?;
        (table.life == Some(progress.birth)).then_some(progress)
    }

    fn call(&mut self, process: usize, call: Call, writes: Vec<Write>) -> Result<(), Error> {
        if self.dead.contains(&process) || self.broken.remove(&process) {
            return away();
        }
        self.processes[process].flushes += u64::from(call == Call::Look(View::Progress));
        let Some(mut script) = self.script.take() else {
            self.apply_all(writes);
            return Ok(());
        };
        let fault = script(self, call);
        self.script = fault.is_some().then_some(script);
        let answer = self.suffer(fault.unwrap_or(Fault::Fine), process, writes);
        self.past.push(self.tables.clone());
        answer
    }

    fn suffer(&mut self, fault: Fault, process: usize, writes: Vec<Write>) -> Result<(), Error> {
        let answered = matches!(
            fault,
            Fault::Fine
                | Fault::Repeated
                | Fault::Land(_)
                | Fault::Empty(_)
                | Fault::LetGo
                | Fault::Stop(u64::MAX)
        );
        match fault {
            Fault::Fine | Fault::Unanswered => self.apply_all(writes),
            Fault::Repeated => {
                self.apply_all(writes.iter().rev().cloned().collect());
                self.apply_all(writes);
            }
            Fault::Away => {}
            Fault::Wrong => return Err(Error::Wrong("as planned".into())),
            Fault::Partly(mask) => {
                let (arrive, _) = divide(writes, mask);
                self.apply_all(arrive);
            }
            Fault::Late(mask) => self.apply_some(writes, mask),
            Fault::Land(mask) => {
                let (arrive, stay) = divide(std::mem::take(&mut self.on_their_way), mask);
                self.on_their_way = stay;
                self.apply_all(arrive);
                self.apply_all(writes);
            }
            Fault::SetBack(calls) => {
                let place = self.past.len().saturating_sub(1 + calls);
                self.tables = self.past[place].clone();
                self.on_their_way.clear();
                self.broken = (0..self.processes.len())
                    .filter(|other| *other != process)
                    .collect();
            }
            Fault::Empty(view) => {
                self.tables.remove(&view);
                self.apply_all(writes);
            }
            Fault::LetGo => {
                self.apply_all(writes);
                self.processes[process].owned.let_go(PARTITION, LANE);
            }
            Fault::Die(mask) => {
                self.apply_some(writes, mask);
                self.dead.insert(process);
                self.processes[process].stop.cancel();
            }
            Fault::Stop(mask) => {
                let (arrive, _) = divide(writes, mask);
                self.apply_all(arrive);
                self.processes[process].stop.cancel();
            }
        }
        if answered { Ok(()) } else { away() }
    }

    fn apply_all(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.apply(write);
        }
    }

    fn apply_some(&mut self, writes: Vec<Write>, mask: u64) {
        let (arrive, late) = divide(writes, mask);
        self.on_their_way.extend(late);
        self.apply_all(arrive);
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Row(row) => self.apply_row(row),
            Write::Progress(view, progress) => {
                if self.truth.ledgers.get(&progress.next.0) != Some(&progress.ledger) {
                    self.faults.push(format!("{} has a wrong ledger", view.name()));
                }
                let rank = |progress: &Progress| (progress.changelog, progress.encode());
                let stored = &mut self.tables.entry(view).or_default().progress;
                if stored
                    .as_ref()
                    .is_none_or(|stored| rank(stored) < rank(&progress))
                {
                    *stored = Some(progress);
                }
            }
        }
        self.look();
    }

    fn apply_row(&mut self, row: Row) {
        let version = row.version.0;
        let is = cells(&row.key, &row.value);
        let must = self.truth.rows.get(&row.key).and_then(|row| row.get(&version));
        if row.partition != PARTITION || must != Some(&is) {
            self.faults
                .push(format!("{:?} at {version} is {is:?}, not {must:?}", row.key));
        }
        let rows = &mut self.tables.entry(row.key.view()).or_default().rows;
        let new = (version, row.value);
        if rows.get(&row.key).is_none_or(|stored| *stored < new) {
            rows.insert(row.key, new);
        }
    }

    /// Progress is never ahead of the rows it stands for.
    fn look(&mut self) {
        for view in View::ALL {
            let Some(next) = self.believed(view).map(|progress| progress.next.0) else {
                continue;
            };
            let missing = self
                .truth
                .rows
                .keys()
                .find(|key| key.view() == view && self.stored(key) < self.truth.needed(key, next));
            if let Some(key) = missing {
                let is = self.stored(key);
                self.faults
                    .push(format!("{} says {next}, but {key:?} is of {is:?}", view.name()));
            }
        }
    }
}

/// The writes that the mask names, and the others.
fn divide(writes: Vec<Write>, mask: u64) -> (Vec<Write>, Vec<Write>) {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for (index, write) in writes.into_iter().enumerate() {
        match mask >> (index % 64) & 1 {
            1 => named.push(write),
            _ => others.push(write),
        }
    }
    (named, others)
}

fn away<T>() -> Result<T, Error> {
    Err(Error::Away("as planned".into()))
}

/// One process's way to the store.
#[derive(Clone)]
pub struct Client {
    pub world: Arc<Mutex<World>>,
    pub process: usize,
}

impl Client {
    async fn call<T>(
        &self,
        call: Call,
        writes: Vec<Write>,
        read: impl FnOnce(&mut World) -> T + Send,
    ) -> Result<T, Error> {
        // Somebody else's turn, so that the chain is read while rows are being written.
        tokio::task::yield_now().await;
        let mut world = self.world.lock().unwrap();
        world.call(self.process, call, writes)?;
        Ok(read(&mut world))
    }
}

impl Sink for Client {
    fn arrange(&self, rows: &mut [Row]) {
        // Nothing may rest on an order; this one is no other store's.
        rows.sort_unstable_by(|a, b| b.value.cmp(&a.value));
    }

    async fn upsert(&self, rows: Arc<[Row]>) -> Result<(), Error> {
        let writes = rows.iter().cloned().map(Write::Row).collect();
        self.call(Call::Rows, writes, |_| ()).await
    }

    async fn begin(&self, view: View, _: Partition, _: Uuid) -> Result<Uuid, Error> {
        let life = |world: &mut World| {
            let table = world.tables.entry(view).or_default();
            *table.life.get_or_insert_with(Uuid::now_v7)
        };
        self.call(Call::Begin, Vec::new(), life).await
    }

    async fn write_progress(&self, view: View, _: Partition, progress: &Progress) -> Result<(), Error> {
        let writes = vec![Write::Progress(view, progress.clone())];
        self.call(Call::Progress(view), writes, |_| ()).await
    }

    async fn stored(&self, view: View) -> Result<BTreeMap<Partition, Stored>, Error> {
        let stored = |world: &mut World| {
            let table = world.tables.get(&view).cloned().unwrap_or_default();
            Stored {
                life: table.life,
                progress: table.progress,
            }
        };
        let stored = self.call(Call::Look(view), Vec::new(), stored).await?;
        Ok(BTreeMap::from([(PARTITION, stored)]))
    }
}
