// Lines of an answer by bucket and type, as a chart and as a table with the same numbers: what days and users share.

import { bars, SERIES } from './chart.js';
import { el } from './dom.js';
import { table } from './tables.js';
import { addSums, clock, count, counted, date, month, sum } from './words.js';
import { midnight, monthDates, shift } from './zones.js';

const STEPS = { '15m': 900, '1h': 3_600 };

/** Types, those with the most events first. */
export function byWeight(all) {
  const weights = new Map();
  for (const line of all) weights.set(line.event_type, (weights.get(line.event_type) ?? 0) + line.count);
  return [...weights].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([type]) => type);
}

const idOf = (line) => line.start ?? line.day;

/** The buckets that have events, in order, each with its lines by type. */
function bucketsOf(all, now) {
  const found = new Map();
  for (const line of all) {
    if (!found.has(idOf(line))) found.set(idOf(line), { id: idOf(line), line, by: new Map() });
    found.get(idOf(line)).by.set(line.event_type, line);
  }
  const buckets = [...found.values()];
  for (const bucket of buckets) bucket.label = label(bucket.line, now);
  // An hour that the clocks show twice is told apart by its offset.
  const labels = buckets.map((bucket) => bucket.label);
  for (const bucket of buckets) {
    if (bucket.line.start && labels.indexOf(bucket.label) !== labels.lastIndexOf(bucket.label)) bucket.label += ` (${bucket.line.start.slice(19)})`;
  }
  return buckets;
}

function label(line, { bucket }) {
  if (bucket === '1mo') return month(line.month);
  return bucket === '1d' ? date(line.day) : `${date(line.day)}, ${clock(line.start)}`;
}

/** Draws lines into a box. `now` is what was asked, `range` its dates. */
export function totalsChart(box, all, { now, range, signal }) {
  const types = byWeight(all);
  const buckets = bucketsOf(all, now);
  const { edges, labels, ids } = axis(buckets, now, range);
  const of = new Map(buckets.map((bucket) => [bucket.id, bucket]));
  const named = types.length <= SERIES ? types : types.slice(0, SERIES - 1);
  const text = (line) => (line ? line[now.measure] : 0);
  const series = named.map((name) => ({ name, texts: ids.map((id) => text(of.get(id)?.by.get(name))) }));
  if (named.length < types.length) {
    const rest = new Set(types.slice(named.length));
    const other = (id) => [...(of.get(id)?.by.values() ?? [])].filter((line) => rest.has(line.event_type));
    series.push({ name: counted(rest.size, 'other type'), texts: ids.map((id) => addSums(other(id).map((line) => String(line[now.measure])))) });
  }
  for (const one of series) one.values = one.texts.map(Number);
  const noun = now.measure === 'sum' ? 'Sums of amounts' : 'Events';
  bars(box, {
    edges, labels, series, zone: now.tz, signal, say: say(now), isWhole: now.measure === 'count',
    describe: `${noun} by type from ${date(range.from)} to ${date(range.to)}, zone ${now.tz}.`,
  });
}

/** All buckets of the range, also those without events, which the answer leaves out. */
function axis(buckets, now, { from, to }) {
  const starts = new Map();
  const seconds = (text) => Date.parse(text) / 1000;
  if (now.bucket === '1d') {
    for (let day = from; day <= to; day = shift(day, 1)) starts.set(midnight(day, now.tz), [date(day), day]);
  } else if (now.bucket === '1mo') {
    for (let day = from; day <= to; day = shift(monthDates(day.slice(0, 7))[1], 1)) starts.set(midnight(day, now.tz), [month(day.slice(0, 7)), day]);
  } else {
    const step = STEPS[now.bucket];
    for (let at = midnight(from, now.tz); at < midnight(shift(to, 1), now.tz); at += step) starts.set(at, ['', at]);
  }
  const known = new Map(buckets.map((bucket) => [bucket.line.start ? seconds(bucket.line.start) : midnight(bucket.line.day, now.tz), bucket]));
  for (const [at, bucket] of known) starts.set(at, [bucket.label, bucket.id]);
  const order = [...starts.keys()].sort((a, b) => a - b);
  const clocks = new Intl.DateTimeFormat('en-GB', { timeZone: now.tz, weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
  return {
    edges: [...order, midnight(shift(to, 1), now.tz)],
    labels: order.map((at) => starts.get(at)[0] || clocks.format(at * 1000)),
    ids: order.map((at) => starts.get(at)[1]),
  };
}

const say = ({ measure }) => (measure === 'sum' ? (text) => sum(String(text)) : (number) => count(Number(number)));
const total = (lines, { measure }) => (measure === 'sum' ? sum(addSums(lines.map((line) => line.sum))) : count(lines.reduce((all, line) => all + line.count, 0)));
const headOf = (bucket, link) => {
  const at = el('time', { datetime: bucket.id }, bucket.label);
  return link ? el('a', { href: link(bucket.id) }, at) : at;
};

/**
 * The lines as a table: a column for each type, or where these are too many a row for each bucket and type. `link` gives the address of
 * a bucket's own page, where it has one.
 */
export function totalsTable(all, now, link) {
  const types = byWeight(all);
  return types.length <= SERIES ? wide(bucketsOf(all, now), types, now, link) : long(all, now, link);
}

function wide(buckets, types, now, link) {
  const cell = (bucket, type) => (bucket.by.has(type) ? say(now)(bucket.by.get(type)[now.measure]) : '\u2013');
  const columns = [
    { name: now.bucket === '1d' ? 'Day' : now.bucket === '1mo' ? 'Month' : 'Begins', head: true, of: (bucket) => headOf(bucket, link) },
    ...types.map((type) => ({ name: type, number: true, of: (bucket) => cell(bucket, type) })),
  ];
  if (types.length > 1) columns.push({ name: 'All', number: true, of: (bucket) => total([...bucket.by.values()], now) });
  const column = (type) => buckets.flatMap((bucket) => bucket.by.get(type) ?? []);
  const foot = ['All', ...types.map((type) => total(column(type), now)), types.length > 1 && total(types.flatMap(column), now)].filter(Boolean);
  return table(now.measure === 'sum' ? 'Sums of amounts by type' : 'Events by type', columns, buckets, { foot });
}

function long(all, now, link) {
  return table('Events and sums by type', [
    { name: 'Begins', head: true, of: (line) => headOf({ id: idOf(line), label: label(line, now) }, link) },
    { name: 'Type', long: true, of: (line) => line.event_type },
    { name: 'Events', number: true, of: (line) => count(line.count) },
    { name: 'Sum', number: true, of: (line) => sum(line.sum) },
  ], all, { foot: ['All', '', count(all.reduce((sum, line) => sum + line.count, 0)), sum(addSums(all.map((line) => line.sum)))] });
}
