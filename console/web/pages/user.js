// A user: totals by type over all time, by day of a range, and the events behind the numbers. The id is asked for, and then stands in the address.

import { ask, path } from '../api.js';
import { SERIES } from '../chart.js';
import { el, field, fill } from '../dom.js';
import { asked, lastDays, queryOf, rangeForm } from '../range.js';
import { asOf, empty, load } from '../states.js';
import { figures, table } from '../tables.js';
import { byWeight, totalsChart, totalsTable } from '../totals.js';
import { count, month, sum } from '../words.js';
import { monthDates } from '../zones.js';
import { showEvents } from './events.js';

/** How far back a user's newest month is looked for: a little less than one query may span. */
const DEFAULT_DAYS = 3_600;

export function open({ root, signal, go }, to) {
  const input = el('input', { type: 'search', required: true, maxlength: 256, autocomplete: 'off', spellcheck: 'false', placeholder: 'user-1' });
  const search = el('form', { class: 'bar search', on: { submit: (event) => { event.preventDefault(); go([input.value], {}); } } },
    field('User', input, 'Exactly as senders name the user; upper and lower case differ.'),
    el('button', { type: 'submit' }, 'Look up'));
  const form = rangeForm({ withBuckets: false, go: change });
  const totals = el('div');
  const days = el('div');
  const events = el('div');
  let id = null;
  let now = null;
  let range = {};
  let turn = new AbortController();
  root.append(el('h1', {}, 'Users'), el('p', { class: 'lead' }, 'What one user did, in all, by day and event by event.'), search, totals);

  function change(changes) {
    go([id], { from: now.from ?? range.from, to: now.to ?? range.to, tz: now.tz, measure: now.measure, ...changes });
  }

  function update({ args, query }) {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    const isOther = id !== (args[0] ?? null);
    id = args[0] ?? null;
    now = { ...asked(query), types: [], bucket: '1d' };
    input.value = id ?? '';
    if (isOther) for (const box of [totals, days, events]) { delete box.dataset.shown; fill(box); }
    if (id === null) { fill(totals, empty('No user is looked up', 'Write the id of a user above.')); return; }
    // A browser takes these for steps of the path, however they are written.
    if (id === '.' || id === '..') { fill(totals, empty('A browser cannot ask for this id', `The path of ${id} leads elsewhere. Other clients can ask for it.`)); return; }
    const { signal: ends } = turn;
    load(totals, {
      what: 'the user', signal: ends,
      get: () => ask(path(`/v1/users/${encodeURIComponent(id)}`), { signal: ends }),
      show: (answer) => {
        if (answer.total.count === 0) return [empty('Nothing is counted for this user', `No event of ${id} is among what was counted so far. Is the id written as senders write it?`), asOf(answer.as_of)];
        if (isOther || !days.isConnected) loadDays(ends);
        return [inAll(answer), el('h2', {}, 'By day'), form.node, days, el('h2', {}, 'Events'), events, asOf(answer.as_of)];
      },
    });
    form.show(now, now.from && now.to ? now : lastDays(DEFAULT_DAYS, now.tz));
    if (!isOther && days.isConnected) loadDays(ends);
  }

  function loadDays(ends) {
    const mine = now;
    load(days, {
      what: 'the days', signal: ends,
      get: () => daysOf(id, mine, ends),
      show: (found) => {
        range = found.range;
        if (found.moved) form.show(mine, range);
        behind(found.range, mine, ends);
        return byDay(found, mine, ends);
      },
    });
  }

  function behind({ from, to: last }, { tz }, ends) {
    const card = el('section', { class: 'card' });
    fill(events, tz !== 'UTC' && el('p', { class: 'hint' }, 'Those of the UTC days of this range.'), card);
    showEvents(card, id, { from, to: last }, ends);
  }

  update(to);
  return { update };
}

function inAll({ user_id, total, by_type }) {
  return el('section', { class: 'card' },
    el('h2', { class: 'name' }, user_id),
    figures([{ name: 'Events', value: count(total.count) }, { name: 'Sum of amounts', value: sum(total.sum) }]),
    table('In all, by type', [
      { name: 'Type', head: true, long: true, of: (line) => line.event_type },
      { name: 'Events', number: true, of: (line) => count(line.count) },
      { name: 'Sum', number: true, of: (line) => sum(line.sum) },
    ], [...by_type].sort((a, b) => b.count - a.count)));
}

/** Without dates: the newest month in which the user has events. */
async function daysOf(id, now, signal) {
  const isAsked = now.from && now.to;
  const range = isAsked ? { from: now.from, to: now.to } : lastDays(DEFAULT_DAYS, now.tz);
  const answer = await ask(path(`/v1/users/${encodeURIComponent(id)}/days`, queryOf(now, range)), { signal });
  const last = answer.days.at(-1)?.day;
  if (isAsked || !last) return { answer, range };
  const [from, to] = monthDates(last.slice(0, 7));
  answer.days = answer.days.filter((line) => line.day >= from);
  return { answer, range: { from, to }, moved: true };
}

function byDay({ answer, range, moved }, now, signal) {
  const lines = answer.days;
  if (lines.length === 0) return empty('No events on these days', 'This user has events on other days: choose another range.');
  const types = byWeight(lines);
  const box = el('div', { class: 'chart' });
  queueMicrotask(() => !signal.aborted && totalsChart(box, lines, { now, range, signal }));
  const chip = (type, index) => el('span', { class: 'chip plain' }, el('i', { class: `key s${index + 1}` }), type);
  return [
    moved && el('p', { class: 'notice' }, `This is ${month(range.from.slice(0, 7))}, the newest month in which the user has events.`),
    el('section', { class: 'card', 'aria-label': 'Chart' },
      el('div', { class: 'chips' }, types.slice(0, types.length > SERIES ? SERIES - 1 : SERIES).map(chip)), box),
    el('section', { class: 'card' }, totalsTable(lines, now)),
  ];
}
