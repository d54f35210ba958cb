// Send: a file is dropped or chosen, becomes an upload, and each step is told: how much was sent, what was accepted, which rows were
// refused and why, and when all of it is counted. Files go one after the other, in the order in which they came.

import { counted as said } from '../words.js';
import { el, field, fill, select } from '../dom.js';
import { failure, untilCompleted, untilCounted } from '../states.js';
import { figures, table } from '../tables.js';
import { bytes, count, span } from '../words.js';
import { withOurNames } from './columns.js';
import { refused } from './refused.js';
import { deliver, FORMATS, kindOf, TERMS } from './sending.js';

export function open({ root, signal }) {
  const input = el('input', { type: 'file', multiple: true, class: 'hidden', id: 'files', on: { change: () => { take(input.files); input.value = ''; } } });
  const check = el('input', { type: 'checkbox', id: 'check' });
  const format = select([['', 'By its name'], ...Object.entries(FORMATS).map(([name, { label }]) => [name, label])], '');
  const encoding = select([['', 'By its name'], ['none', 'None'], ['gzip', 'gzip'], ['zstd', 'zstd']], '');
  const terms = select(Object.entries(TERMS).map(([name, { label }]) => [name, label]), 'now');
  const list = el('div', { class: 'deliveries' });
  const drop = el('label', { class: 'drop', for: 'files' },
    el('strong', {}, 'Drop files here'), el('span', {}, 'or press to choose them'),
    el('span', { class: 'hint' }, 'CSV, NDJSON or JSON; also packed with gzip (.gz) or zstd (.zst)'));
  for (const name of ['dragenter', 'dragover']) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add('over'); });
  for (const name of ['dragleave', 'drop']) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove('over'); });
  drop.addEventListener('drop', (event) => take(event.dataTransfer.files));
  root.append(
    el('h1', {}, 'Send'),
    el('p', { class: 'lead' }, 'A file of events. What is accepted is durable; what is refused is listed row by row.'),
    el('div', { class: 'sendbox' }, input, drop),
    el('div', { class: 'bar' }, field('Format', format), field('Packed with', encoding), field('Rows count', terms),
      el('div', { class: 'check' }, check, el('label', { for: 'check' }, 'Check only: record nothing'))),
    help(), list);

  let queue = Promise.resolve();
  function take(files) {
    for (const file of files) {
      const kind = kindOf(file.name);
      const asked = {
        format: format.value || kind.format,
        encoding: encoding.value === 'none' ? null : encoding.value || kind.encoding,
        check: check.checked,
        terms: terms.value,
      };
      line(file, asked);
    }
  }

  /** Puts a file behind those before it. Rows of it that are mended become a file as well. */
  function line(file, asked) {
    const card = el('section', { class: 'card delivery', 'aria-label': file.name, tabindex: '-1' });
    list.prepend(card);
    const mended = (blob, name) => {
      const next = line(new File([blob], name), { ...asked, encoding: null });
      next.focus();
      next.scrollIntoView({ block: 'nearest' });
    };
    const start = () => { queue = queue.then(() => run(card, file, asked, { page: signal, again: start, mended })).catch((cause) => console.error(cause)); };
    waiting(card, file);
    start();
    return card;
  }
  return { update() {} };
}

/** The fields of an event, as README.md tells them. */
function help() {
  const fields = [
    ['user_id', 'userId', 'who; 1 to 256 bytes'],
    ['event_type', 'eventType, type', 'what; 1 to 128 bytes'],
    ['occurred_at', 'timestamp, time', 'when: RFC 3339, or seconds, milliseconds or microseconds since 1970; without it the time of acceptance'],
    ['amount', '', 'an exact decimal with at most 6 digits behind the point'],
    ['idempotency_key', 'idempotencyKey', 'two events with the same key are taken for one'],
    ['all others', '', 'kept with the event'],
  ];
  return el('details', {}, el('summary', {}, 'What a file holds'),
    el('p', { class: 'hint' }, 'An event a row. In CSV the first row names the columns.'),
    table('Columns and fields', [
      { name: 'Name', head: true, of: ([name]) => el('code', {}, name) },
      { name: 'Also called', of: ([, other]) => el('code', {}, other) },
      { name: 'What it says', long: true, of: ([, , meaning]) => meaning },
    ], fields, { stacks: true }));
}

function heading(file, asked) {
  return el('h2', { class: 'name' }, file.name, el('span', { class: 'muted' }, ` ${bytes(file.size)}${asked?.check ? ', check only' : ''}`));
}

function waiting(card, file) {
  fill(card, heading(file), el('p', { class: 'hint' }, 'Waits for the file before it.'));
}

async function run(card, file, asked, { page, again, mended }) {
  if (page.aborted) return;
  if (!asked.format) {
    fill(card, heading(file), el('p', { class: 'problem', role: 'alert' }, 'The name does not say which format it has. Choose the format above, and then the file again.'));
    return;
  }
  const isReadable = asked.format === 'csv' && !asked.encoding;
  const ask = (form) => { fill(card, heading(file, asked), form); form.querySelector('select').focus(); };
  const body = isReadable ? await withOurNames(file, ask).catch(() => file) : file;
  if (body === null) {
    fill(card, heading(file, asked), el('p', { role: 'status' }, 'Not sent.'));
    return;
  }
  const stop = new AbortController();
  page.addEventListener('abort', () => stop.abort(), { once: true });
  const bar = el('progress', { max: 1, value: 0, 'aria-label': `Progress of ${file.name}` });
  const words = el('p', { class: 'hint' }, 'Sending');
  const told = el('p', { class: 'hidden', role: 'status' });
  fill(card, heading(file, asked), bar, words, told,
    el('div', { class: 'actions' }, el('button', { type: 'button', class: 'quiet', on: { click: () => stop.abort() } }, 'Stop')));
  const progress = progressOf(bar, words, told);
  try {
    const answer = await deliver(body, { ...asked, name: file.name, progress, signal: stop.signal });
    if (!page.aborted) await outcome(card, file, { ...asked, body }, answer, { page, mended });
  } catch (problem) {
    if (page.aborted) return;
    const isStopped = problem.name === 'AbortError';
    fill(card, heading(file, asked),
      isStopped ? el('p', { role: 'status' }, 'Stopped. Rows that had arrived by then may be counted; to send the file again counts no row with a key or a time twice.')
        : failure(problem, again),
      isStopped ? el('button', { type: 'button', on: { click: again } }, 'Send again') : refused(problem.members ?? {}, file));
  }
}

/** Tells of progress, by eye at each step, by ear at each quarter. */
function progressOf(bar, words, told) {
  const began = performance.now();
  let quarter = 0;
  return (loaded, total) => {
    const seconds = (performance.now() - began) / 1000;
    const rate = loaded / Math.max(seconds, 0.001);
    bar.value = total > 0 ? loaded / total : 1;
    if (loaded === total) {
      bar.removeAttribute('value');
      words.textContent = `All ${bytes(total)} are sent. The server is writing them to its log.`;
      told.textContent = 'All is sent. The server is writing.';
      return;
    }
    words.textContent = `${bytes(loaded)} of ${bytes(total)}, ${bytes(rate)} a second, about ${span((total - loaded) / rate)} left`;
    if (Math.floor((loaded / total) * 4) > quarter) {
      quarter = Math.floor((loaded / total) * 4);
      told.textContent = `${quarter * 25} percent sent`;
    }
  };
}

async function outcome(card, file, asked, answer, { page, mended }) {
  const invalid = (answer.invalid ?? 0) + (answer.refused ?? 0);
  const state = el('p', { class: 'counting', role: 'status' });
  const next = el('div', { class: 'actions' });
  fill(card, heading(file, asked),
    figures([
      { name: asked.check ? 'Valid' : 'Accepted', value: count(answer.accepted), kind: 'good', note: asked.check ? 'nothing was recorded' : 'durable on the log' },
      { name: 'Refused rows', value: count(invalid), kind: invalid > 0 ? 'bad' : undefined, note: invalid > 0 ? 'listed below' : 'none' },
    ]),
    state, next, refused(answer, file, { source: asked, send: !asked.check && mended }));
  if (asked.check || !answer.receipt) return;
  const link = answer.upload && el('a', { class: answer.status === 'held' ? 'button' : undefined, href: `#/uploads/${answer.upload}` }, 'The upload');
  if (answer.status === 'held') {
    state.textContent = 'It is held: nothing of it counts until it is released.';
    fill(next, link);
    return;
  }
  state.textContent = 'Waiting until all of it is counted';
  try {
    const isReleased = asked.terms === 'atomic';
    await (isReleased ? untilCompleted : untilCounted)(isReleased ? answer.upload : answer.receipt, {
      signal: page,
      tell({ counted, as_of }) {
        state.dataset.state = counted ? 'counted' : 'waiting';
        state.textContent = counted ? 'All of it is counted: every page shows it.'
          : `Waiting until all of it is counted: ${as_of.lag_records === null ? 'some' : said(as_of.lag_records, 'record')} to go`;
      },
    });
    fill(next, el('a', { class: 'button', href: '#/days' }, 'Look at the days'), link, el('a', { href: '#/dead-letters' }, 'Dead letters'));
  } catch (problem) {
    if (!page.aborted) fill(next, failure(problem));
  }
}
