// Days: counts or sums per bucket and type, as a chart and as a table with the same numbers. Without dates in the address it shows
// the last days, or the newest month that has events, since an empty chart tells a new reader nothing.

import { ask, path, reach } from '../api.js';
import { SERIES } from '../chart.js';
import { download, el, fill } from '../dom.js';
import { key } from '../key.js';
import { asked, lastDays, queryOf, rangeForm } from '../range.js';
import { asOf, empty, failure, load } from '../states.js';
import { figures } from '../tables.js';
import { byWeight, totalsChart, totalsTable } from '../totals.js';
import { addSums, count, month, sum } from '../words.js';
import { monthDates, shift, today } from '../zones.js';
import { linkOf } from './day.js';
import { usersFigure, usersTable } from './distinct.js';

const DEFAULT_DAYS = 30;
/** How far back the newest month is looked for: a little less than one query may span. */
const SEARCH_DAYS = 3_600;

export function open({ root, signal, about, go }, to) {
  const box = el('div');
  const form = rangeForm({ withBuckets: true, go: change });
  let now = null;
  let range = {};
  let turn = new AbortController();
  root.append(
    el('h1', {}, 'Days'),
    el('p', { class: 'lead' }, 'What was counted, by day of a zone and type of event.'),
    form.node, box);

  function change(changes) {
    const at = { from: now.from ?? range.from, to: now.to ?? range.to };
    go([], { ...at, tz: now.tz, bucket: now.bucket, measure: now.measure, type: now.types, ...changes });
  }

  function update({ query }) {
    now = asked(query);
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    const mine = { now, signal: turn.signal };
    form.show(now, now.from && now.to ? now : lastDays(DEFAULT_DAYS, now.tz));
    load(box, {
      what: 'the days', signal: turn.signal,
      get: () => answerOf(mine),
      show: (found) => { range = found.range; if (found.moved) form.show(now, range); return shown(found, mine, { change, about }); },
    });
  }

  update(to);
  return { update };
}

/** The answer, and the range that it is of. */
async function answerOf({ now, signal }) {
  const isAsked = now.from && now.to;
  const range = isAsked ? { from: now.from, to: now.to } : lastDays(DEFAULT_DAYS, now.tz);
  const get = (of) => ask(path('/v1/days', queryOf(now, of)), { signal });
  const answer = await get(range);
  if (lines(answer).length > 0) return { answer, range, users: await usersOf(now, range, signal) };
  const newest = await newestMonth(now, signal);
  if (isAsked || !newest) return { answer, range, newest };
  const [from, to] = monthDates(newest);
  const found = { from, to };
  return { answer: await get(found), range: found, moved: true, users: await usersOf(now, found, signal) };
}

const lines = (answer) => answer.days ?? answer.buckets;

/** Estimates of distinct users, which are of UTC days alone; null where there are none. */
async function usersOf(now, { from, to }, signal) {
  if (now.tz !== 'UTC') return null;
  const { type } = queryOf(now, {});
  // A server that does not count users, or cannot now, shows its days all the same.
  return ask(path('/v1/distinct-users', { from, to, type }), { signal }).catch((problem) => { if (signal.aborted) throw problem; return null; });
}

async function newestMonth({ tz, types }, signal) {
  const to = shift(today(tz), 1);
  const query = queryOf({ tz, types, bucket: '1mo' }, { from: shift(to, -SEARCH_DAYS), to });
  const answer = await ask(path('/v1/days', query), { signal });
  return lines(answer).at(-1)?.month;
}

function shown({ answer, range, newest, moved, users }, { now, signal }, { change, about }) {
  const all = lines(answer);
  if (all.length === 0) return [nothing(now, newest, change, about), asOf(answer.as_of)];
  const types = byWeight(all);
  const box = el('div', { class: 'chart' });
  const chart = el('section', { class: 'card', 'aria-label': 'Chart' }, chips(types, now, change), box);
  queueMicrotask(() => !signal.aborted && totalsChart(box, all, { now, range, signal }));
  return [
    moved && el('p', { class: 'notice' }, `There are no events in the last ${DEFAULT_DAYS} days. This is ${month(range.from.slice(0, 7))}, the newest month that has some.`),
    figures([
      { name: 'Events', value: count(all.reduce((sum, line) => sum + line.count, 0)) },
      { name: 'Sum of amounts', value: sum(addSums(all.map((line) => line.sum))) },
      { name: 'Types', value: count(types.length) },
      users && usersFigure(users),
    ].filter(Boolean)),
    chart,
    el('section', { class: 'card' }, totalsTable(all, now, now.bucket === '1d' && ((day) => linkOf(day, now)))),
    users && usersTable(users),
    el('div', { class: 'below' }, asOf(answer.as_of), exported(now, range)),
  ];
}

function nothing(now, newest, change, about) {
  if (newest) {
    const [from, to] = monthDates(newest);
    const link = el('button', { type: 'button', on: { click: () => change({ from, to }) } }, `Show ${month(newest)}`);
    return empty('There are no events on these days', 'The newest month that has some is another one.', link);
  }
  if (now.types.length > 0) {
    return empty('There are no events of these types', el('button', { type: 'button', on: { click: () => change({ type: [] }) } }, 'Show all types'));
  }
  return empty('Nothing has been counted yet',
    about.takes_events ? ['Send a file of events, and they appear here as soon as they are counted. ', el('a', { href: '#/send' }, 'Send a file')]
      : 'Events are sent to the ingest service, and appear here as soon as they are counted.');
}

/** Which types are shown, as buttons: none pressed means all. The colours are those of the chart. */
function chips(types, now, change) {
  const known = [...types, ...now.types.filter((type) => !types.includes(type))];
  const pressed = new Set(now.types);
  const chip = (type, index) => el('button', {
    type: 'button', class: 'chip', 'aria-pressed': String(pressed.has(type)),
    on: { click: () => change({ type: pressed.has(type) ? now.types.filter((other) => other !== type) : [...now.types, type] }) },
  }, el('i', { class: `key s${index < SERIES - 1 || types.length <= SERIES ? index + 1 : SERIES}` }), type);
  return el('div', { class: 'chips', role: 'group', 'aria-label': 'Types that are shown' },
    known.map(chip),
    now.types.length > 0 && el('button', { type: 'button', class: 'chip all', on: { click: () => change({ type: [] }) } }, 'All types'));
}

/** The same as CSV. A link cannot carry a key: where there is one, the page fetches the file. */
function exported(now, range) {
  const link = path('/v1/days', { ...queryOf(now, range), format: 'csv' });
  const box = el('div');
  const fetched = async (event) => {
    if (key() === null) return;
    event.preventDefault();
    try {
      download(`days-${range.from}-${range.to}.csv`, 'text/csv', await (await reach(link)).text());
    } catch (problem) {
      fill(box, failure(problem));
    }
  };
  return [el('a', { href: link, download: `days-${range.from}-${range.to}.csv`, class: 'button', on: { click: fetched } }, 'Download as CSV'), box];
}
