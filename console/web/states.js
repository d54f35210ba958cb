// What a page shows when there is nothing to show: still loading, nothing there, or a problem. In words, with what to do next.

import { ask } from './api.js';
import { el, fill, pause } from './dom.js';
import { count, counted, time } from './words.js';

/** After this the reader is told that it takes longer. */
const SLOW_MS = 3_000;
/** Between two looks at an upload. */
const LOOK_MS = 700;

/** A box that shows what a promise brings; meanwhile that it loads, and else its problem with a button to try again. */
export async function load(box, { what, get, show, signal }) {
  const isFirst = !box.dataset.shown;
  box.setAttribute('aria-busy', 'true');
  const slow = setTimeout(() => {
    const note = el('p', { class: 'state slow', role: 'status' }, 'The server takes longer than usual. Still waiting.');
    if (isFirst) fill(box, note);
    else box.prepend(note);
  }, SLOW_MS);
  if (isFirst) fill(box, el('p', { class: 'state loading', role: 'status' }, `Loading ${what}`));
  try {
    const answer = await get();
    if (signal.aborted) return;
    fill(box, show(answer));
    box.dataset.shown = 'yes';
  } catch (problem) {
    if (signal.aborted) return;
    delete box.dataset.shown;
    fill(box, failure(problem, () => load(box, { what, get, show, signal })));
  } finally {
    clearTimeout(slow);
    box.removeAttribute('aria-busy');
  }
}

/** A problem, and a button to try again. */
export function failure(problem, again) {
  // What is no problem of the server is a fault of this page: it must be seen in the console and by tests.
  if (!('isGone' in problem)) console.error(problem);
  return el('div', { class: 'state problem', role: 'alert' },
    el('h2', {}, problem.title ?? 'This page failed'),
    el('p', {}, sentence(problem.detail ?? String(problem.message))),
    problem.retryAfterS > 0 && el('p', {}, `The server asks to wait ${counted(problem.retryAfterS, 'second')}.`),
    problem.requestId && el('p', { class: 'small' }, 'Request ', el('code', {}, problem.requestId)),
    again && el('button', { type: 'button', on: { click: again } }, 'Try again'));
}

/** A detail of the API, which begins small, as a sentence. */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Nothing there, and what to do about it. */
export const empty = (title, ...body) => el('div', { class: 'state empty' }, el('h2', {}, title), body.map((part) => el('p', {}, part)));

/** What an answer reflects, in one line. */
export function asOf(as_of) {
  const at = as_of.newest_accepted_at;
  const lag = as_of.lag_records;
  return el('p', { class: 'asof' },
    at ? ['As of ', el('time', { datetime: at, title: at }, time(at)), ', when the newest counted record was accepted. '] : 'Nothing has been accepted yet. ',
    lag === null ? 'How far the log is ahead is not known.'
      : lag === 0 ? 'Nothing waits to be counted.' : `${count(lag)} more ${lag === 1 ? 'record waits' : 'records wait'} to be counted.`);
}

/** Waits until a receipt is counted, telling of each look. */
export async function untilCounted(receipt, { signal, tell }) {
  while (!signal.aborted) {
    const answer = await ask(`/v1/receipts/${encodeURIComponent(receipt)}?wait=2s`, { signal });
    tell(answer);
    if (answer.counted) return;
  }
}

/** Waits until an upload that is released by itself is completed: its receipt names the held rows, not the copies that count. */
export async function untilCompleted(upload, { signal, tell }) {
  while (!signal.aborted) {
    const { status, ledger, as_of } = await ask(`/v1/uploads/${upload}?wait=2s`, { signal });
    const counted = status === 'completed';
    tell({ counted, as_of: { ...as_of, lag_records: ledger.in_flight } });
    if (counted) return;
    await pause(LOOK_MS, signal);
  }
}
