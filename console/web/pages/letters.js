// Dead letters: what was refused for good, in order of time, by reason, state, user and upload, in pages. Each leads to its own page, which
// shows its bytes. Some or all that match are redriven from here, after a dry run.

import { ask, path } from '../api.js';
import { el, field, select } from '../dom.js';
import { asOf, empty, load } from '../states.js';
import { table } from '../tables.js';
import { counted, spoken, time } from '../words.js';
import { redrive } from './redrive.js';

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

/** What a dead letter may be by now, with its colour. */
export const STATES = {
  open: ['open', ''],
  redriven: ['redriven', 'good'],
  quarantined: ['quarantined', 'bad'],
};

/** A state as a word on its colour, with its tries. */
export function stateOf({ state, tries }) {
  const [word, colour] = STATES[state] ?? [state, 'plain'];
  return [el('span', { class: `tag ${colour}` }, word), tries > 0 && el('span', { class: 'muted small' }, ` ${counted(tries, 'try', 'tries')}`)];
}

const FILTERS = ['reason', 'state', 'from', 'to', 'user', 'upload'];

export function open({ root, signal, go }, to) {
  const box = el('div');
  const text = (placeholder) => el('input', { type: 'search', maxlength: 256, autocomplete: 'off', spellcheck: 'false', placeholder, on: { change: () => change() } });
  const controls = {
    reason: select([['', 'Every reason'], ...Object.keys(REASONS).map((word) => [word, spoken(word)])], '', () => change()),
    state: select([['', 'Every state'], ...Object.entries(STATES).map(([word, [label]]) => [word, label])], '', () => change()),
    from: el('input', { type: 'date', on: { change: () => change() } }),
    to: el('input', { type: 'date', on: { change: () => change() } }),
    user: text('every user'),
    upload: text('every upload'),
  };
  let turn = new AbortController();
  root.append(
    el('h1', {}, 'Dead letters'),
    el('p', { class: 'lead' }, 'Records that were refused for good: not counted, not lost, each with its reason and its bytes. They can be put back on the log, one also mended.'),
    el('form', { class: 'bar', on: { submit: (event) => event.preventDefault() } },
      field('Reason', controls.reason), field('State', controls.state),
      field('Accepted from', controls.from), field('Accepted to', controls.to),
      field('User', controls.user), field('Upload', controls.upload)),
    box);

  // A page's cursor is of one question: another question begins at its first page.
  const change = () => {
    const { from, to: until } = controls;
    until.setCustomValidity(from.value && until.value && from.value > until.value ? 'The range ends before it begins.' : '');
    if (until.reportValidity()) go([], Object.fromEntries(FILTERS.map((name) => [name, controls[name].value.trim()])));
  };

  function update({ query }) {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    for (const name of FILTERS) controls[name].value = query.get(name) ?? '';
    const asked = { ...Object.fromEntries(FILTERS.map((name) => [name, controls[name].value])), cursor: query.get('cursor') };
    const { signal: ends } = turn;
    load(box, {
      what: 'the dead letters', signal: ends,
      get: () => ask(path('/v1/dead-letters', { ...asked, limit: LIMIT }), { signal: ends }),
      show: (answer) => shown(answer, asked, { go, signal: ends, again: () => update({ query }) }),
    });
  }

  update(to);
  return { update };
}

function shown({ dead_letters, next_cursor, as_of }, asked, { go, signal, again }) {
  if (dead_letters.length === 0 && !next_cursor && !asked.cursor) {
    const isFiltered = FILTERS.some((name) => asked[name]);
    return [isFiltered ? empty('No dead letters match', 'Choose another reason or other days.')
      : empty('No dead letters', `Nothing that was accepted in the last ${DEFAULT_DAYS} days was refused. Earlier ones are found by their days.`), asOf(as_of)];
  }
  const next = () => go([], { ...asked, cursor: next_cursor });
  const chosen = new Set();
  const some = el('button', { type: 'button', disabled: true, on: { click: () => redrive({ ids: [...chosen] }, { title: `Redrive ${counted(chosen.size, 'dead letter')}`, signal, done: again }) } });
  const every = el('button', { type: 'button', class: 'quiet', on: { click: () => redrive({ filter: filterOf(asked) }, { title: 'Redrive all that match', signal, done: again }) } }, 'Redrive all that match');
  const boxes = dead_letters.map(({ id }) => el('input', {
    type: 'checkbox', 'aria-label': `Choose ${id}`,
    on: { change: ({ target }) => { if (target.checked) chosen.add(id); else chosen.delete(id); choose(); } },
  }));
  const all = el('input', { type: 'checkbox', 'aria-label': 'Choose all of this page', on: { change: () => {
    dead_letters.forEach(({ id }, index) => { boxes[index].checked = all.checked; if (all.checked) chosen.add(id); else chosen.delete(id); });
    choose();
  } } });
  const choose = () => {
    some.disabled = chosen.size === 0;
    some.textContent = chosen.size === 0 ? 'Redrive the chosen ones' : `Redrive ${counted(chosen.size, 'chosen one')}`;
    all.checked = chosen.size === dead_letters.length;
    all.indeterminate = chosen.size > 0 && !all.checked;
  };
  choose();
  return [
    el('section', { class: 'card' },
      el('div', { class: 'actions' }, some, every),
      table(`${counted(dead_letters.length, 'dead letter')} on this page, oldest first`, [
        { name: all, word: 'Choose', pick: true, of: (letter) => boxes[dead_letters.indexOf(letter)] },
        { name: 'Accepted', head: true, narrow: true, of: (letter) => el('a', { href: `#/dead-letters/${encodeURIComponent(letter.id)}` }, el('time', { datetime: letter.accepted_at }, time(letter.accepted_at))) },
        { name: 'Reason', narrow: true, of: (letter) => el('span', { class: 'tag' }, spoken(letter.reason)) },
        { name: 'State', narrow: true, of: stateOf },
        { name: 'User', long: true, of: ({ user_id: id }) => (id === null ? el('span', { class: 'muted' }, 'not readable') : id) },
        { name: 'Detail', long: true, grows: true, of: (letter) => letter.detail },
        { name: 'Place', of: (letter) => el('code', {}, letter.id) },
      ].filter(Boolean), dead_letters, { stacks: true, empty: 'None on this page; there may be some on the next.' }),
      el('nav', { class: 'pager', 'aria-label': 'Pages of dead letters' },
        asked.cursor && el('button', { type: 'button', class: 'quiet', on: { click: () => history.back() } }, 'Back'),
        asked.cursor && el('button', { type: 'button', class: 'quiet', on: { click: () => go([], { ...asked, cursor: '' }) } }, 'First page'),
        next_cursor ? el('button', { type: 'button', on: { click: next } }, 'Next page') : el('span', { class: 'muted' }, 'These are the last ones.'))),
    asOf(as_of),
  ];
}

/** What of the question a redrive by filter takes: a state is no part of it, since it skips what was redriven by itself. */
function filterOf({ reason, from, to, user, upload }) {
  const all = { reason: reason ? [reason] : '', from, to, user, upload };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''));
}
