// One upload: where it stands, whether its rows add up, and those that were not counted, each with its reason. One that is held is
// released or discarded here. It looks again by itself for as long as something is under way.

import { ask, path, reach } from '../api.js';
import { download, el, fill, pause } from '../dom.js';
import { asOf, failure } from '../states.js';
import { facts, table } from '../tables.js';
import { count, counted, spoken, time } from '../words.js';
import { statusOf } from './uploads.js';

const LOOK_MS = 1_500;
const MEANINGS = {
  receiving: 'It is being sent.',
  interrupted: 'Its sender has not been heard of for a minute. Rows that arrived may be counted; sent again, no row with a key or a time counts twice.',
  held: 'Nothing of it counts until it is released.',
  processing: 'All of it is on the log, and is being counted.',
  completed: 'All its rows are counted or refused, and every page shows it.',
  discarded: 'It was held, and shall never count.',
  failed: 'It was not taken as a whole.',
};

export function open({ root, signal }, to) {
  const title = el('h1', { class: 'name' }, 'Upload');
  const state = el('div');
  const errors = el('div');
  let turn = new AbortController();
  root.append(el('p', { class: 'way' }, el('a', { href: '#/uploads' }, 'Uploads')), title, state, errors);

  function update({ args }) {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    fill(errors);
    fill(state, el('p', { class: 'state loading', role: 'status' }, 'Loading the upload'));
    const { signal: ends } = turn;
    watch({ id: args[0], title, state, errors, signal: ends, again: () => update({ args }) }).catch((problem) => {
      if (!ends.aborted) fill(state, failure(problem, () => update({ args })));
    });
  }

  update(to);
  return { update };
}

async function watch({ id, title, state, errors, signal, again }) {
  const base = `/v1/uploads/${encodeURIComponent(id)}`;
  let last = null;
  while (!signal.aborted) {
    const upload = await ask(base, { signal });
    title.textContent = upload.name || 'Upload without a name';
    const text = JSON.stringify({ ...upload, as_of: null });
    // Not made anew where nothing changed: the reader may be about to press something.
    if (text !== last) {
      fill(state, shown(upload, { base, signal, again }));
      const isOther = last === null || !['receiving', 'processing'].includes(upload.status);
      if (isOther) showErrors(errors, base, upload, signal);
    }
    last = text;
    // Rows of a held one may be reflected a moment after it.
    const isSettling = upload.status === 'held' && upload.ledger.in_flight > 0;
    if (!['receiving', 'processing'].includes(upload.status) && !isSettling) return;
    await pause(LOOK_MS, signal);
  }
}

function shown(upload, act) {
  const { ledger, accepted } = upload;
  const parts = [
    [ledger.counted, 'counted'], [ledger.duplicate, 'duplicates'], [ledger.reversed, 'reversed'],
    [ledger.dead_lettered, 'dead letters'], [ledger.in_flight ?? 0, 'to go'],
  ].filter(([number], index) => index === 0 || number > 0);
  const isWaiting = ['held', 'discarded', 'failed'].includes(upload.status);
  return [
    el('section', { class: 'card' },
      el('p', { class: 'why', role: 'status' }, statusOf(upload), MEANINGS[upload.status] ?? ''),
      upload.failure && el('p', { class: 'problem' }, `${upload.failure.detail || spoken(upload.failure.code)}`),
      accepted !== null && !isWaiting && el('p', {}, `${counted(accepted, 'accepted row')} = ${parts.map(([number, word]) => `${count(number)} ${word}`).join(' + ')}.`),
      facts([
        ['Begun', el('time', { datetime: upload.begun_at }, time(upload.begun_at))],
        ['Rows read', count(upload.rows)],
        accepted !== null && ['Accepted', count(accepted)],
        upload.invalid !== null && ['Refused', count(upload.invalid)],
        upload.hold && ['Held rows', count(ledger.held)],
        upload.atomic && ['Asked for', 'all rows or none'],
        ['Id', el('code', {}, upload.upload)],
      ]),
      upload.status === 'held' && decision(upload, act)),
    asOf(upload.as_of),
  ];
}

/** Release or discard. A discard cannot be taken back, so it is asked twice. */
function decision(upload, { base, signal, again }) {
  const box = el('div');
  const act = async (button, options, way) => {
    for (const other of box.querySelectorAll('button')) other.disabled = true;
    button.textContent = 'One moment';
    try {
      await ask(`${base}${way}`, { ...options, signal });
      again();
    } catch (problem) {
      if (!signal.aborted) fill(box, failure(problem, again));
    }
  };
  const button = (text, kind, click) => {
    const node = el('button', { type: 'button', class: kind, on: { click: () => click(node) } }, text);
    return node;
  };
  const offer = () => fill(box, el('div', { class: 'actions' },
    button('Count it', undefined, (node) => act(node, { method: 'POST' }, '/process')),
    button('Discard', 'quiet', sure)));
  const sure = () => {
    fill(box, el('p', { role: 'alert' }, `Discard ${counted(upload.accepted ?? 0, 'held row')} for good?`),
      el('div', { class: 'actions' },
        button('Discard for good', 'danger', (node) => act(node, { method: 'DELETE' }, '')),
        button('Keep it', 'quiet', offer)));
    box.querySelector('.danger').focus();
  };
  offer();
  return box;
}

async function showErrors(box, base, upload, signal) {
  try {
    const { errors, complete } = await ask(`${base}/errors`, { signal });
    if (errors.length === 0) { fill(box); return; }
    const csv = async () => {
      try {
        download(`${upload.name || upload.upload}.errors.csv`, 'text/csv', await (await reach(path(`${base}/errors`, { format: 'csv' }))).text());
      } catch (problem) {
        box.append(failure(problem));
      }
    };
    fill(box, el('section', { class: 'card' },
      table(`${counted(errors.length, 'row')} not counted${complete ? '' : '; there are more than could be listed'}`, [
        { name: 'Row', head: true, of: ({ row }) => count(row) },
        { name: 'Field', of: (line) => (line.dead_letter ? el('a', { href: `#/dead-letters/${line.dead_letter}` }, 'dead letter') : el('code', {}, line.field ?? '')) },
        { name: 'What is wrong', long: true, grows: true, of: ({ message }) => message },
      ], errors, { stacks: true }),
      el('div', { class: 'actions' }, el('button', { type: 'button', class: 'quiet', on: { click: csv } }, 'Download as CSV'))));
  } catch (problem) {
    if (!signal.aborted) fill(box, failure(problem, () => showErrors(box, base, upload, signal)));
  }
}
