// Dead letters: what was refused for good, in order of time, by reason, in pages. Each leads to its own page, which shows its bytes.

import { ask, path } from '../api.js';
import { el, field, select } from '../dom.js';
import { asOf, empty, load } from '../states.js';
import { table } from '../tables.js';
import { counted, spoken, time } from '../words.js';

const LIMIT = 50;
const DEFAULT_DAYS = 7;

/** Every reason, with what it means to whoever sent the record. */
export const REASONS = {
  undecodable: 'The bytes are no event in any form that is known.',
  unknown_schema: 'It was written with a schema that the registry does not have.',
  invalid: 'It can be read, and a field of it is not valid.',
  key_mismatch: 'The record\u2019s key is not the event\u2019s idempotency key.',
  key_conflict: 'Its idempotency key was counted before with other content.',
  null_key: 'The record has no key.',
  null_value: 'The record has no value.',
  oversized: 'It is larger than an event may be.',
  too_many_types: 'It is of one event type more than there may be.',
  reversal_unmatched: 'It takes back an event that was never counted.',
};

export function open({ root, signal, go }, to) {
  const box = el('div');
  const reason = select([['', 'Every reason'], ...Object.keys(REASONS).map((word) => [word, spoken(word)])], '', () => change());
  const from = el('input', { type: 'date', on: { change: () => change() } });
  const until = el('input', { type: 'date', on: { change: () => change() } });
  let turn = new AbortController();
  root.append(
    el('h1', {}, 'Dead letters'),
    el('p', { class: 'lead' }, 'Records that were refused for good: not counted, not lost, each with its reason and its bytes.'),
    el('form', { class: 'bar', on: { submit: (event) => event.preventDefault() } },
      field('Reason', reason), field('Accepted from', from), field('Accepted to', until)),
    box);

  // A page's cursor is of one question: another question begins at its first page.
  const change = () => {
    until.setCustomValidity(from.value && until.value && from.value > until.value ? 'The range ends before it begins.' : '');
    if (until.reportValidity()) go([], { reason: reason.value, from: from.value, to: until.value });
  };

  function update({ query }) {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    reason.value = query.get('reason') ?? '';
    from.value = query.get('from') ?? '';
    until.value = query.get('to') ?? '';
    const asked = { reason: reason.value, from: from.value, to: until.value, cursor: query.get('cursor') };
    const { signal: ends } = turn;
    load(box, {
      what: 'the dead letters', signal: ends,
      get: () => ask(path('/v1/dead-letters', { ...asked, limit: LIMIT }), { signal: ends }),
      show: (answer) => shown(answer, asked, go),
    });
  }

  update(to);
  return { update };
}

function shown({ dead_letters, next_cursor, as_of }, asked, go) {
  if (dead_letters.length === 0 && !next_cursor && !asked.cursor) {
    const isFiltered = asked.reason || asked.from || asked.to;
    return [isFiltered ? empty('No dead letters match', 'Choose another reason or other days.')
      : empty('No dead letters', `Nothing that was accepted in the last ${DEFAULT_DAYS} days was refused. Earlier ones are found by their days.`), asOf(as_of)];
  }
  const next = () => go([], { ...asked, cursor: next_cursor });
  return [
    el('section', { class: 'card' },
      table(`${counted(dead_letters.length, 'dead letter')} on this page, oldest first`, [
        { name: 'Accepted', head: true, of: (letter) => el('a', { href: `#/dead-letters/${encodeURIComponent(letter.id)}` }, el('time', { datetime: letter.accepted_at }, time(letter.accepted_at))) },
        { name: 'Reason', of: (letter) => el('span', { class: 'tag' }, spoken(letter.reason)) },
        { name: 'User', long: true, of: (letter) => letter.user_id ?? el('span', { class: 'muted' }, 'not readable') },
        { name: 'Detail', long: true, grows: true, of: (letter) => letter.detail },
        { name: 'Place', of: (letter) => el('code', {}, letter.id) },
      ], dead_letters, { stacks: true, empty: 'None on this page; there may be some on the next.' }),
      el('nav', { class: 'pager', 'aria-label': 'Pages of dead letters' },
        asked.cursor && el('button', { type: 'button', class: 'quiet', on: { click: () => history.back() } }, 'Back'),
        asked.cursor && el('button', { type: 'button', class: 'quiet', on: { click: () => go([], { ...asked, cursor: '' }) } }, 'First page'),
        next_cursor ? el('button', { type: 'button', on: { click: next } }, 'Next page') : el('span', { class: 'muted' }, 'These are the last ones.'))),
    asOf(as_of),
  ];
}
