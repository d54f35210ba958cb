// Live: today's totals as they change, yesterday's beside them, and how fast events come. Each total that arrives is absolute, so a
// reader that was cut off is right again with the first answer.

import { path } from '../api.js';
import { line } from '../chart.js';
import { el, field, fill, freshId } from '../dom.js';
import { asOf, empty, failure } from '../states.js';
import { follow } from '../stream.js';
import { figures, table } from '../tables.js';
import { addSums, count, counted, date, sum } from '../words.js';
import { choose, isZone, zone, zones } from '../zones.js';

/** Seconds that the line of the rate spans. */
const WINDOW_S = 300;
const TICK_MS = 1_000;

export function open({ root, signal, go }, to) {
  const state = el('p', { class: 'pulse', role: 'status' });
  const numbers = el('div');
  const chart = el('div', { class: 'chart small' });
  const totals = el('div');
  const reflected = el('div');
  const list = el('datalist', { id: freshId('zones') }, zones().map((name) => el('option', { value: name })));
  const place = el('input', { type: 'text', list: list.id, autocomplete: 'off', spellcheck: 'false', on: { change: zoned, input: () => place.setCustomValidity(''), focus: () => place.select() } });
  root.append(
    el('h1', {}, 'Live'),
    el('p', { class: 'lead' }, 'Events that happened today, as they are counted.'),
    el('form', { class: 'bar', on: { submit: (event) => event.preventDefault() } }, field('Zone', place), list, state),
    numbers,
    el('section', { class: 'card' }, el('h2', {}, 'Events a second, over five minutes'), chart),
    el('section', { class: 'card' }, totals), reflected);

  function zoned() {
    const name = place.value.trim() || 'UTC';
    place.setCustomValidity(isZone(name) ? '' : 'There is no such zone. Names are such as Europe/Berlin.');
    if (!place.reportValidity()) return;
    choose(name);
    go([], { tz: name });
  }

  const rate = rateOf(chart, signal);
  let turn = null;

  function update({ query }) {
    const tz = query.get('tz') ?? zone();
    place.value = tz;
    turn?.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    const day = { range: null, totals: new Map(), changed: new Set() };
    fill(totals, el('p', { class: 'state loading' }, 'Loading the totals'));
    rate.forget();
    follow(path('/v1/live', { tz }), {
      signal: turn.signal,
      state: (word, more) => say(state, word, more),
      on(name, data) {
        if (name === 'range') { day.range = data; day.totals.clear(); }
        if (name === 'total') { day.totals.set(`${data.day} ${data.event_type}`, data); day.changed.add(data.event_type); }
        if (name === 'as_of') { show(day, data); day.changed.clear(); }
      },
    }).catch((problem) => {
      say(state, 'ended', {});
      fill(totals, failure(problem, () => update({ query })));
    });
  }

  function show(day, as_of) {
    const types = typesOf(day);
    const all = (name) => types.map((type) => type[name]).filter(Boolean);
    const events = all('today').reduce((sum, total) => sum + total.count, 0);
    fill(numbers, figures([
      { name: 'Events today', value: count(events), note: date(day.range.to) },
      { name: 'Sum of amounts today', value: sum(addSums(all('today').map((total) => total.sum))) },
      { name: 'Events yesterday', value: count(all('yesterday').reduce((sum, total) => sum + total.count, 0)), note: date(day.range.from) },
    ]));
    fill(totals, types.length > 0 ? totalsOf(types, day)
      : empty('Nothing today and yesterday', 'Events that happened on these days appear here as soon as they are counted; you need not reload.'));
    fill(reflected, asOf(as_of));
    rate.at(events, day.range.to);
  }

  update(to);
  return { update };
}

function typesOf({ range, totals }) {
  const types = new Map();
  for (const total of totals.values()) {
    const type = types.get(total.event_type) ?? { name: total.event_type };
    if (total.day === range.to) type.today = total;
    if (total.day === range.from) type.yesterday = total;
    types.set(total.event_type, type);
  }
  return [...types.values()].sort((a, b) => (b.today?.count ?? 0) - (a.today?.count ?? 0) || (a.name < b.name ? -1 : 1));
}

function totalsOf(types, { changed }) {
  const none = '\u2013';
  return table('Totals by type', [
    { name: 'Type', head: true, long: true, of: (type) => el('span', { class: changed.has(type.name) && 'fresh' }, type.name) },
    { name: 'Today', number: true, of: (type) => (type.today ? count(type.today.count) : none) },
    { name: 'Sum today', number: true, of: (type) => (type.today ? sum(type.today.sum) : none) },
    { name: 'Yesterday', number: true, of: (type) => (type.yesterday ? count(type.yesterday.count) : none) },
    { name: 'Sum yesterday', number: true, of: (type) => (type.yesterday ? sum(type.yesterday.sum) : none) },
  ], types);
}

function say(state, word, { waitMs, attempt, problem } = {}) {
  const words = {
    connecting: 'Connecting',
    again: 'Connecting again',
    live: 'Live',
    ended: 'Stopped',
    waiting: `${problem?.title ?? 'Cut off'}. Trying again in ${counted(Math.ceil((waitMs ?? 0) / 1000), 'second')} (attempt ${attempt})`,
  };
  state.dataset.state = word;
  state.textContent = words[word];
}

/** Differences of the total of today, each second, for as long as the page is open. */
function rateOf(box, signal) {
  const plot = line(box, { describe: 'Events a second over the last five minutes.', signal, spanS: WINDOW_S, say: (rate) => `${count(Math.round(rate))} a second` });
  let day = null;
  let known = null;
  let last = null;
  let times = [];
  let values = [];
  const tick = () => {
    if (known === null) return;
    const now = Math.floor(Date.now() / 1000);
    if (last !== null) { times.push(now); values.push(Math.max(0, known - last)); }
    last = known;
    [times, values] = [times.slice(-WINDOW_S), values.slice(-WINDOW_S)];
    plot.push(times, values);
  };
  const timer = setInterval(tick, TICK_MS);
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  const forget = () => { day = known = last = null; times = []; values = []; };
  return {
    forget,
    at(events, of) {
      // Another day begins at another total, which is no rate.
      if (day !== null && day !== of) last = null;
      day = of;
      known = events;
    },
  };
}
