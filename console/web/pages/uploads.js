// Uploads: what became of each file that was sent as one, newest first, in pages. Each leads to its own page.

import { ask, path } from '../api.js';
import { el } from '../dom.js';
import { asOf, empty, load } from '../states.js';
import { table } from '../tables.js';
import { count, counted, time } from '../words.js';

const LIMIT = 50;

/** What each status means, and how it is coloured. */
export const STATUSES = {
  receiving: ['being received', ''],
  interrupted: ['interrupted', 'bad'],
  held: ['held', 'warn'],
  processing: ['being counted', ''],
  completed: ['completed', 'good'],
  discarded: ['discarded', ''],
  failed: ['failed', 'bad'],
};

/** A status as a word on its colour. */
export const statusOf = ({ status }) => el('span', { class: `tag ${STATUSES[status]?.[1] || 'plain'}` }, STATUSES[status]?.[0] ?? status);

export function open({ root, signal, go, about }, to) {
  const box = el('div');
  let turn = new AbortController();
  root.append(
    el('h1', {}, 'Uploads'),
    el('p', { class: 'lead' }, 'Files that were sent as one, each with what became of its rows.'), box);

  function update({ query }) {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    const cursor = query.get('cursor');
    const { signal: ends } = turn;
    load(box, {
      what: 'the uploads', signal: ends,
      get: () => ask(path('/v1/uploads', { limit: LIMIT, cursor }), { signal: ends }),
      show: (answer) => shown(answer, { cursor, go, about }),
    });
  }

  update(to);
  return { update };
}

function shown({ uploads, next_cursor, as_of }, { cursor, go, about }) {
  if (uploads.length === 0 && !next_cursor && !cursor) {
    return [empty('No uploads in the last 30 days',
      about.takes_events ? ['A file that is sent from this page is one. ', el('a', { href: '#/send' }, 'Send a file')] : 'A file that is posted to /v1/uploads is one.'), asOf(as_of)];
  }
  const number = (name, of) => ({ name, number: true, of: (upload) => (of(upload) === null ? '\u2013' : count(of(upload))) });
  return [
    el('section', { class: 'card' },
      table(`${counted(uploads.length, 'upload')} on this page, newest first`, [
        { name: 'Name', head: true, long: true, of: (upload) => el('a', { href: `#/uploads/${upload.upload}` }, upload.name || 'without a name') },
        { name: 'Begun', long: true, of: (upload) => el('time', { datetime: upload.begun_at }, time(upload.begun_at)) },
        { name: 'Status', of: statusOf },
        number('Accepted', (upload) => upload.accepted),
        number('Refused', (upload) => upload.invalid),
        number('Counted', (upload) => upload.ledger.counted),
        number('Duplicates', (upload) => upload.ledger.duplicate),
        number('Dead letters', (upload) => upload.ledger.dead_lettered),
        number('To go', (upload) => upload.ledger.in_flight),
      ], uploads, { stacks: true, empty: 'None on this page; there may be some on the next.' }),
      el('nav', { class: 'pager', 'aria-label': 'Pages of uploads' },
        cursor && el('button', { type: 'button', class: 'quiet', on: { click: () => go([], {}) } }, 'First page'),
        next_cursor ? el('button', { type: 'button', on: { click: () => go([], { cursor: next_cursor }) } }, 'Next page') : el('span', { class: 'muted' }, 'These are the last ones.'))),
    asOf(as_of),
  ];
}
