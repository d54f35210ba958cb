// Redriving dead letters: first a dry run, which counts by reason and writes nothing; then, once the reader has seen it, the redrive itself,
// call by call until there are none left, and then until their outcomes show. What one call does is bounded by the server; all calls
// together can be stopped between two of them.

import { ask } from '../api.js';
import { el, field, fill } from '../dom.js';
import { failure, untilCounted } from '../states.js';
import { facts } from '../tables.js';
import { count, counted, spoken } from '../words.js';

/** Dead letters that one call takes at most. */
const CALL_LIMIT = 1_000;
/** Looks of a dry run: beyond that it says that there are more. */
const DRY_CALLS = 50;
/** Why some of what was asked for is left alone. */
const SKIPPED = {
  redriven: 'redriven before, and not refused again',
  quarantined: 'quarantined: tried too often',
  not_found: 'not there any more, or of another tenant',
  bytes_gone: 'whose bytes the log has dropped',
  held: 'rows of an upload that is held or was discarded',
  too_large: 'too large to be written again',
};

const post = (body, signal) => ask('/v1/dead-letters/redrive', {
  method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' }, signal,
});

/** Adds what a call did to what was done before it. */
function add(all, answer) {
  for (const name of ['matched', 'redriven']) all[name] += answer[name];
  for (const group of ['by_reason', 'skipped']) {
    for (const [name, number] of Object.entries(answer[group])) all[group][name] = (all[group][name] ?? 0) + number;
  }
  if (answer.receipt) all.receipts.push(answer.receipt);
  return all;
}

/** All calls of a redrive. `asked` is `{ids}` or `{filter}`; `tell` learns of each call, and says by false that it was enough. */
async function calls(asked, { signal, most = Infinity, tell = () => true }) {
  const all = { matched: 0, redriven: 0, by_reason: {}, skipped: {}, receipts: [], isWhole: false };
  let cursor;
  for (let call = 0; call < most; call += 1) {
    const answer = await post({ ...asked, ...(asked.ids ? {} : { limit: CALL_LIMIT }), ...(cursor && { cursor }) }, signal);
    add(all, answer);
    cursor = answer.next_cursor;
    if (!cursor) { all.isWhole = true; break; }
    if (!tell(all)) break;
  }
  return all;
}

/** A redrive in a dialog: what it would do, and then doing it. `done` is called when something was redriven and the reader goes back. */
export function redrive(asked, { title, signal, done }) {
  const stop = new AbortController();
  signal.addEventListener('abort', () => close(), { once: true });
  const box = el('div', { class: 'steps' });
  const force = el('input', { type: 'checkbox', id: 'redrive-force', on: { change: () => look() } });
  const rate = el('input', { type: 'number', min: 1, max: 10_000, step: 1, placeholder: '1000' });
  const heading = el('h2', { id: 'redrive-title', tabindex: '-1' }, title);
  let isDone = false;
  let isClosed = false;
  const close = () => {
    if (isClosed) return;
    isClosed = true;
    stop.abort();
    dialog.close();
    dialog.remove();
    if (isDone && !signal.aborted) done();
  };
  const dialog = el('dialog', { class: 'wide', 'aria-labelledby': 'redrive-title', on: { cancel: (event) => { event.preventDefault(); close(); } } }, heading, box);
  const whole = () => ({ ...asked, ...(force.checked && { force: true }) });

  async function look() {
    fill(box, el('p', { class: 'state loading', role: 'status' }, 'Counting what it would do'));
    try {
      show(await calls({ ...whole(), dry_run: true }, { signal: stop.signal, most: DRY_CALLS }));
    } catch (problem) {
      if (!stop.signal.aborted) fill(box, failure(problem, look), el('div', { class: 'actions' }, quiet('Cancel')));
    }
  }

  function show(plan) {
    const more = plan.isWhole ? '' : 'more than ';
    fill(box,
      el('p', { role: 'status' }, plan.redriven === 0 ? 'None of these would be redriven.'
        : `It would put ${more}${counted(plan.redriven, 'dead letter')} back on the log. Nothing was written yet.`),
      numbers(plan),
      el('div', { class: 'check' }, force, el('label', { for: force.id }, 'Also those that are quarantined')),
      plan.redriven > 0 && !asked.ids && field('Records a second', rate, 'So that others are not held up; at most 10,000.'),
      el('p', { class: 'hint' }, 'Each is judged anew, with the key that it had: what is refused again comes back here, and nothing is counted twice.'),
      el('div', { class: 'actions' },
        plan.redriven > 0 && el('button', { type: 'button', on: { click: () => rate.reportValidity() && run(plan) } }, `Redrive ${more}${counted(plan.redriven, 'dead letter')}`),
        quiet('Cancel')));
    heading.focus();
  }

  async function run(plan) {
    let isEnough = false;
    isDone = true;
    const bar = el('progress', { max: plan.redriven, value: 0, 'aria-label': 'Progress of the redrive' });
    const words = el('p', { role: 'status' }, 'Redriving');
    fill(box, bar, words, el('div', { class: 'actions' }, el('button', { type: 'button', class: 'quiet', on: { click: (event) => { isEnough = true; event.target.disabled = true; } } }, 'Stop')));
    const tell = (all) => { bar.value = all.redriven; words.textContent = `${count(all.redriven)} of ${count(plan.redriven)}`; return !isEnough; };
    try {
      const speed = rate.value && !asked.ids ? { rate: Number(rate.value) } : {};
      const all = await calls({ ...whole(), ...speed }, { signal: stop.signal, tell });
      await told(all);
    } catch (problem) {
      if (!stop.signal.aborted) {
        fill(box, failure(problem), el('p', {}, 'Some may be redriven already. To begin again redrives none of them twice.'),
          el('div', { class: 'actions' }, el('button', { type: 'button', on: { click: look } }, 'Look again'), quiet('Close')));
      }
    }
  }

  async function told(all) {
    const state = el('p', { class: 'counting', role: 'status' }, 'Waiting until their outcomes show');
    fill(box, el('p', {}, `${counted(all.redriven, 'dead letter')} ${all.redriven === 1 ? 'is' : 'are'} back on the log${all.isWhole ? '.' : '; it was stopped before the end.'}`),
      numbers(all), state, el('div', { class: 'actions' }, el('button', { type: 'button', on: { click: close } }, 'Close')));
    box.querySelector('button').focus();
    for (const receipt of all.receipts) {
      await untilCounted(receipt, { signal: stop.signal, tell: () => {} });
    }
    if (stop.signal.aborted) return;
    state.dataset.state = 'counted';
    state.textContent = 'All outcomes show: each was counted, or was refused again and says why.';
  }

  const quiet = (label) => el('button', { type: 'button', class: 'quiet', on: { click: close } }, label);
  document.body.append(dialog);
  dialog.showModal();
  look();
}

/** Counts by reason, and what is left alone. */
function numbers({ by_reason, skipped }) {
  const found = Object.entries(by_reason).filter(([, number]) => number > 0).map(([reason, number]) => [spoken(reason), count(number)]);
  const left = Object.entries(skipped).filter(([, number]) => number > 0).map(([why, number]) => [SKIPPED[why] ?? spoken(why), count(number)]);
  return [
    found.length > 0 && facts(found),
    left.length > 0 && [el('h3', {}, 'Left alone'), facts(left)],
  ];
}

/** Redrives one, as it is or mended; the answer when its outcome shows. Not to be redriven is a problem here. */
export async function redriveOne(body, signal) {
  const answer = await post(body, signal);
  if (answer.redriven === 1) {
    await untilCounted(answer.receipt, { signal, tell: () => {} });
    return null;
  }
  const why = Object.entries(answer.skipped).find(([, number]) => number > 0)?.[0];
  return SKIPPED[why] ?? 'left alone';
}
