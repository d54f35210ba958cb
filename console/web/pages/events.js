// The events behind a user's number, newest first, page after page on demand.

import { ask, path } from '../api.js';
import { el, fill } from '../dom.js';
import { failure } from '../states.js';
import { table } from '../tables.js';
import { count, counted, sum, time } from '../words.js';

const LIMIT = 50;
/** Events that a page shows at most; beyond that a range of days is the way. */
const SHOWN = 2_000;

/** Shows the events of `query` (from, to, type; the days are UTC days) in a box; `signal` ends it. */
export async function showEvents(box, id, query, signal) {
  const all = [];
  let cursor = null;
  let isComplete = true;
  const trouble = el('div');

  async function more() {
    box.setAttribute('aria-busy', 'true');
    try {
      const answer = await ask(path(`/v1/users/${encodeURIComponent(id)}/events`, { ...query, limit: LIMIT, cursor }), { signal });
      const first = all.length;
      all.push(...answer.events);
      cursor = answer.next_cursor;
      isComplete &&= answer.complete;
      show(first);
    } catch (problem) {
      if (signal.aborted) return;
      fill(trouble, failure(problem, more));
      if (!trouble.isConnected) fill(box, trouble);
    } finally {
      box.removeAttribute('aria-busy');
    }
  }

  function show(first) {
    fill(trouble);
    if (all.length === 0 && !cursor) { fill(box, notice(), el('p', { class: 'hint' }, 'There are none in this range.')); return; }
    const rest = cursor && all.length < SHOWN && el('button', { type: 'button', class: 'quiet', on: { click: more } }, 'More events');
    fill(box, table(`${counted(all.length, 'event')}, newest first${cursor ? '; there are more' : ''}`, COLUMNS, all, { stacks: true, all: true, empty: 'None so far; there may be some further back.' }),
      notice(), trouble,
      rest, cursor && !rest && el('p', { class: 'hint' }, `These are the newest ${count(SHOWN)}. Choose fewer days to see others.`));
    // Whoever asked for more goes on reading where the new ones begin.
    if (first > 0) {
      const row = box.querySelector('tbody').rows[first];
      if (row) { row.tabIndex = -1; row.focus(); }
    }
  }

  const notice = () => !isComplete && el('p', { class: 'notice' }, 'Some events are further back than is remembered, and were not found in the time that a search may take. The numbers above count them all the same.');

  fill(box, el('p', { class: 'state loading', role: 'status' }, 'Loading the events'));
  await more();
}

const COLUMNS = [
  { name: 'Happened', head: true, of: ({ occurred_at: at }) => (at ? el('time', { datetime: at, title: at }, time(at)) : el('span', { class: 'muted' }, 'not readable')) },
  { name: 'Type', long: true, of: (event) => [event.event_type ?? el('span', { class: 'muted' }, event.undecoded ?? 'not readable'), event.reverse && el('span', { class: 'tag plain' }, 'takes one back')] },
  { name: 'Amount', number: true, of: (event) => (event.amount === null ? '\u2013' : sum(event.amount)) },
  { name: 'Other fields', long: true, grows: true, of: ({ metadata }) => others(metadata ?? {}) },
  { name: 'Comes from', of: origin },
];

function others(metadata) {
  const pairs = Object.entries(metadata);
  return pairs.length === 0 ? '' : el('span', { class: 'pairs' }, pairs.map(([name, value]) =>
    el('span', {}, el('span', { class: 'muted' }, `${name} `), typeof value === 'string' ? value : JSON.stringify(value))));
}

/** Its upload and row, or its place on the log. */
function origin({ upload_id, row, partition, offset, idempotency_key: key }) {
  const place = el('code', { title: key ? `key ${key}` : undefined }, `${partition}-${offset}`);
  return upload_id ? [el('a', { href: `#/uploads/${encodeURIComponent(upload_id)}` }, 'upload'), row !== null && `, row ${count(row)}`] : place;
}
