//! One reader of live totals: it knows what it was shown, and shows what is another total now. States that come while it still
//! reads are skipped, so what it costs is bounded by its range and never by how fast events come.

use super::hub::{DayTypes, Hub, Tick, Watch};
use super::queue::{End, PIECE_BYTES, Queue};
use crate::asked::{Range, Types, span, today, zone};
use crate::cursor::Place;
use crate::params::{Params, invalid};
use crate::tally::{Line, Tally, Total};
use chrono::NaiveDate;
use chrono_tz::Tz;
use prometheus::IntGauge;
use schemas::receipt::Receipt;
use schemas::{Day, Timestamp};
use serde::Serialize;
use serde_json::json;
use service::http::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// Days that a reader may watch: a month.
const DAYS: u32 = 31;
/// Totals that a reader may have: about 2 MB of text when all are sent.
const TOTALS: usize = 20_000;
/// Milliseconds after which a browser that was cut off asks again.
const RETRY_MS: u32 = 2_000;

/// What a reader asks for.
pub(super) struct Asked {
    tenant: Arc<str>,
    zone: Tz,
    /// None for yesterday and today, whichever days these are.
    dates: Option<(NaiveDate, NaiveDate)>,
    types: Types,
}

impl Asked {
    /// Reads `from`, `to` and `tz`.
    pub(super) fn read(params: &Params, types: Types, tenant: Arc<str>) -> Result<Self, Problem> {
        let dates = match (params.date("from")?, params.date("to")?) {
            (None, None) => None,
            (Some(from), Some(to)) => Some((from, to)),
            (Some(_), None) => return Err(invalid("to", "must stand with from")),
            (None, Some(_)) => return Err(invalid("from", "must stand with to")),
        };
        Ok(Self {
            tenant,
            zone: zone(params)?,
            dates,
            types,
        })
    }

    /// The days that it is about now.
    pub(super) fn range(&self, now: Timestamp) -> Result<Range, Problem> {
        let (from, to) = self.dates.unwrap_or_else(|| {
            let today = today(now, self.zone);
            (today.pred_opt().unwrap_or(today), today)
        });
        span(from, to, DAYS)?;
        Range::days(from, to, self.zone)
    }
}

/// What one UTC day adds to the totals of a reader.
struct Part {
    types: Arc<DayTypes>,
    totals: BTreeMap<Place, Total>,
}

/// A reader.
pub(super) struct Reader {
    hub: Arc<Hub>,
    asked: Asked,
    range: Range,
    watch: Watch,
    /// What it saw before it was cut off: it is shown nothing older.
    resumed: Option<Receipt>,
    parts: BTreeMap<Day, Part>,
    shown: BTreeMap<Place, Total>,
    /// What was shown last of a state's place, as an event.
    as_of: String,
    queue: Queue,
    /// When it must hear something, if there is nothing to show.
    heartbeat: Instant,
    _counted: Counted,
}

impl Reader {
    /// A reader that watches its days from now on.
    ///
    /// Errors: 503 `too_many_live_days`.
    pub(super) fn new(
        hub: Arc<Hub>,
        asked: Asked,
        range: Range,
        resumed: Option<Receipt>,
        queue: Queue,
    ) -> Result<Self, Problem> {
        let watch = hub.watch(&asked.tenant, range.buckets.days().utc_days())?;
        Ok(Self {
            _counted: Counted::new(&hub.api().metrics.live),
            hub,
            asked,
            range,
            watch,
            resumed,
            parts: BTreeMap::new(),
            shown: BTreeMap::new(),
            as_of: String::new(),
            queue,
            heartbeat: Instant::now(),
        })
    }

    /// Shows what there is until the reader goes, is too slow, or the process stops.
    pub(super) async fn run(mut self) {
        let shutdown = self.hub.api().progress.shutdown().clone();
        let end = tokio::select! {
            biased;
            () = shutdown.begun() => End::Stopping,
            Err(end) = self.follow() => end,
        };
        self.hub.api().metrics.live_ends.get(&[end.word()]).inc();
        self.queue.end(event("end", &json!({"reason": end.word()})));
    }

    async fn follow(&mut self) -> Result<Infallible, End> {
        let mut ticks = self.hub.ticks();
        self.send(format!("retry: {RETRY_MS}\n\n")).await?;
        self.begin().await?;
        loop {
            let tick = ticks.borrow_and_update().clone();
            if let Some(tick) = tick.filter(|tick| self.may_see(tick)) {
                self.resumed = None;
                self.show(&tick).await?;
            }
            tokio::select! {
                moved = ticks.changed() => if moved.is_err() { return Err(End::Stopping) },
                () = sleep_until(self.heartbeat) => self.send(": nothing changed\n\n".to_owned()).await?,
                () = self.queue.gone() => return Err(End::Gone),
            }
            self.roll().await?;
        }
    }

    /// Whether a state has all its days and is not older than what it saw.
    fn may_see(&self, tick: &Tick) -> bool {
        let mut days = self.watch.days.iter();
        days.all(|day| tick.day(&self.watch.tenant, *day).is_some())
            && self.resumed.as_ref().is_none_or(|resumed| tick.covers(resumed))
    }

    /// Says what follows, from nothing on.
    async fn begin(&mut self) -> Result<(), End> {
        self.parts.clear();
        self.shown.clear();
        self.as_of.clear();
        let (tz, from, to) = (self.range.zone.name(), self.range.from, self.range.to);
        let range = json!({"tz": tz, "from": from.to_string(), "to": to.to_string()});
        self.send(event("range", &range)).await
    }

    /// Goes on to the next day, where it is about today.
    async fn roll(&mut self) -> Result<(), End> {
        if self.asked.dates.is_some() {
            return Ok(());
        }
        let now = (self.hub.api().clock)();
        let range = match self.asked.range(now) {
            Ok(range) if range.from != self.range.from => range,
            _ => return Ok(()),
        };
        let days = range.buckets.days().utc_days();
        // Where there is no place for the new day now, there may be at the next look.
        if let Ok(watch) = self.hub.watch(&self.asked.tenant, days) {
            (self.range, self.watch) = (range, watch);
            self.begin().await?;
        }
        Ok(())
    }

    /// Shows each total that is another one now, and then what all of them are as of.
    async fn show(&mut self, tick: &Tick) -> Result<(), End> {
        let mut piece = String::new();
        for place in self.changed(tick) {
            let mut total = Total::default();
            let parts = self.parts.values().filter_map(|part| part.totals.get(&place));
            parts.for_each(|part| total.merge(part));
            let before = match total.count {
                0 => self.shown.remove(&place),
                _ => self.shown.insert(place.clone(), total),
            };
            if before.unwrap_or_default() == total {
                continue;
            }
            if self.shown.len() > TOTALS {
                return Err(End::Large);
            }
            let days = self.range.buckets.days();
            let line = Line {
                start: place.start,
                label: self.range.buckets.label(days.index(place.start).unwrap_or(0)),
                event_type: place.event_type,
                total,
            };
            piece.push_str(&event("total", &line));
            if piece.len() >= PIECE_BYTES {
                self.send(std::mem::take(&mut piece)).await?;
            }
        }
        let as_of = event("as_of", &tick.as_of).replacen('\n', &format!("\nid: {}\n", tick.id), 1);
        if as_of != self.as_of || !piece.is_empty() {
            piece.push_str(&as_of);
            self.as_of = as_of;
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Takes in a state; the places of all totals that may be others in it.
    fn changed(&mut self, tick: &Tick) -> BTreeSet<Place> {
        let mut changed = BTreeSet::new();
        for day in &self.watch.days {
            let Some(types) = tick.day(&self.watch.tenant, *day) else {
                continue;
            };
            let before = self.parts.get(day);
            if before.is_some_and(|before| Arc::ptr_eq(&before.types, types)) {
                continue;
            }
            let mut tally = Tally::default();
            for (event_type, cells) in types.iter() {
                tally.add(*day, event_type, cells, &self.range.buckets, &self.asked.types);
            }
            let lines = tally.take_before(i64::MAX, &self.range.buckets).into_iter();
            let totals: BTreeMap<_, _> = lines.map(|line| (line.place(), line.total)).collect();
            changed.extend(totals.keys().cloned());
            changed.extend(
                before
                    .into_iter()
                    .flat_map(|before| before.totals.keys().cloned()),
            );
            let types = Arc::clone(types);
            self.parts.insert(*day, Part { types, totals });
        }
        changed
    }

    async fn send(&mut self, piece: String) -> Result<(), End> {
        self.queue.send(piece).await?;
        self.heartbeat = Instant::now() + self.hub.api().limits.live_heartbeat();
        Ok(())
    }
}

/// An event as text. JSON has no line ends, so its data is one line.
fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// One more reader for as long as it lives.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
