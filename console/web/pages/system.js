// System: whether the outcomes add up, how far counting is behind the log, and how fast it goes. It looks every two seconds while the
// page is in sight; rates are differences between two looks.

import { ask } from '../api.js';
import { line } from '../chart.js';
import { el, fill, pause } from '../dom.js';
import { asOf, failure } from '../states.js';
import { figures, table } from '../tables.js';
import { count, counted, spoken } from '../words.js';

const LOOK_MS = 2_000;
/** Looks that the line of the rate spans: ten minutes. */
const KEPT = 300;
/** Every outcome: its name in the API, its word, what it means and its colour. Those of `ALWAYS` are shown though they be none. */
const OUTCOMES = [
  ['counted', 'counted', 'Counted in the views.', 's1'],
  ['duplicate', 'duplicates', 'Repeats of an event that was counted before.', 's6'],
  ['dead_lettered', 'dead letters', 'Refused for good, each with its reason.', 's5'],
  ['rerouted', 'rerouted', 'Sent on to the partition of their key, and concluded there.', 's7'],
  ['reversed', 'reversed', 'Took an event back that was counted before.', 's3'],
  ['held', 'held', 'Wait, or waited, for the release of their upload.', 's2'],
  ['repeated', 'repeated', 'Copies of held records that were released before.', 's4'],
  ['noted', 'noted', 'Facts of uploads, and canaries: no events.', 's8'],
];
const ALWAYS = 4;

/** The outcomes that a ledger has something of, and those that every reader looks for. */
const outcomesOf = (ledger) => OUTCOMES.filter(([name], index) => index < ALWAYS || ledger[name] > 0);

export function open({ root, signal }) {
  const verdict = el('div');
  const numbers = el('div');
  const chart = el('div', { class: 'chart small' });
  const tables = el('div');
  const state = el('div', { role: 'status' });
  root.append(
    el('h1', {}, 'System'),
    el('p', { class: 'lead' }, 'What became of every record, and whether it adds up.'),
    state, verdict, numbers,
    el('section', { class: 'card' }, el('h2', {}, 'Records concluded a second, over ten minutes'), chart),
    tables);
  fill(verdict, el('p', { class: 'state loading' }, 'Loading the ledger'));
  const plot = line(chart, { describe: 'Records concluded a second over the last ten minutes.', signal, spanS: (KEPT * LOOK_MS) / 1000, say: (rate) => `${count(Math.round(rate))} a second` });
  watch({ verdict, numbers, tables, state, plot, signal });
  return { update() {} };
}

async function watch({ verdict, numbers, tables, state, plot, signal }) {
  const times = [];
  const rates = [];
  let before = null;
  let rate = null;
  while (!signal.aborted) {
    if (!document.hidden) {
      try {
        const [ledger, health] = await Promise.all([ask('/v1/ledger', { signal }), healthOf(signal)]);
        const now = { at: Date.now() / 1000, records: ledger.records };
        if (before !== null) {
          rate = Math.max(0, (now.records - before.records) / (now.at - before.at));
          times.push(now.at);
          rates.push(rate);
          if (times.length > KEPT) { times.shift(); rates.shift(); }
          plot.push([...times], [...rates]);
        }
        before = now;
        fill(state);
        fill(verdict, sentence(ledger));
        fill(numbers, numbersOf(ledger, rate, health));
        update(tables, ledger);
      } catch (problem) {
        if (signal.aborted) return;
        before = null;
        if (verdict.querySelector('.loading')) fill(verdict);
        // A key that may not see the ledger will not see it in two seconds either.
        if ('isGone' in problem && !problem.passes) {
          fill(state, failure(problem, () => watch({ verdict, numbers, tables, state, plot, signal })));
          return;
        }
        fill(state, failure(problem), el('p', { class: 'hint' }, `It is asked again every ${LOOK_MS / 1000} seconds; what stands below is the last answer.`));
      }
    }
    await pause(LOOK_MS, signal);
  }
}

async function healthOf(signal) {
  try {
    return (await ask('/health', { signal })).status;
  } catch (problem) {
    if (problem.isGone ?? true) throw problem;
    return problem.detail || problem.title;
  }
}

/** The ledger in words, and as a bar of its parts. */
function sentence(ledger) {
  const outcomes = outcomesOf(ledger);
  const parts = outcomes.map(([name, word]) => `${count(ledger[name])} ${word}`);
  const total = outcomes.reduce((all, [name]) => all + ledger[name], 0);
  const bar = el('div', { class: 'share', 'aria-hidden': 'true' });
  for (const [name, , , colour] of outcomes.filter(([name]) => ledger[name] > 0)) {
    const part = el('span', { class: colour });
    part.style.flexGrow = String(Math.max(ledger[name], total / 150));
    bar.append(part);
  }
  const words = ledger.balanced
    ? [el('strong', { class: 'good' }, 'It adds up. '), `${counted(ledger.records, 'record')} = ${parts.join(' + ')}, in each partition for itself.`]
    : [el('strong', { class: 'bad' }, 'It does not add up. '), `${counted(ledger.records, 'record')} were read, and the outcomes are ${parts.join(' + ')} = ${count(total)}. Run tidemark audit.`];
  return el('section', { class: 'card verdict' }, el('p', { role: 'status' }, words), bar,
    el('ul', { class: 'legend' }, outcomes.map(([name, word, meaning, colour]) => el('li', {},
      el('i', { class: `key ${colour}` }), el('b', {}, count(ledger[name])), ` ${word}`, el('span', { class: 'muted' }, meaning)))));
}

function numbersOf(ledger, rate, health) {
  return figures([
    { name: 'Accepted', value: count(ledger.accepted), note: ledger.copies > 0 ? `without ${counted(ledger.copies, 'copy', 'copies')} of reroutes, releases and redrives` : 'what senders sent' },
    { name: 'Waiting to be counted', value: count(ledger.in_flight), note: 'records that the log has and no view reflects' },
    { name: 'Concluded a second', value: rate === null ? '\u2013' : count(Math.round(rate)), note: 'since the last look' },
    { name: 'Health', value: health === 'ok' ? 'OK' : health, kind: health === 'ok' ? 'good' : 'bad', note: health === 'ok' ? 'takes requests' : 'see the admin port\u2019s /ready' },
  ]);
}

/** Tables are made anew only when they changed: a reader may have the focus in one. */
function update(box, ledger) {
  const text = JSON.stringify([ledger.partitions, ledger.dead_letters_by_reason, ledger.as_of]);
  if (box.dataset.of === text) return;
  box.dataset.of = text;
  const number = (name, of) => ({ name, number: true, of: (partition) => count(partition[of]) });
  const reasons = Object.entries(ledger.dead_letters_by_reason).sort(([, a], [, b]) => b - a);
  fill(box,
    el('section', { class: 'card' }, table('By partition', [
      { name: 'Partition', head: true, of: ({ partition }) => partition },
      number('Records', 'records'), ...outcomesOf(ledger).map(([name, word]) => number(word.charAt(0).toUpperCase() + word.slice(1), name)), number('Waiting', 'in_flight'),
      number('Next offset', 'next_offset'), number('End of the log', 'end_offset'),
      { name: 'Adds up', of: ({ balanced }) => el('span', { class: balanced ? 'good' : 'bad' }, balanced ? 'yes' : 'no') },
    ], ledger.partitions)),
    el('section', { class: 'card' }, table('Dead letters by reason', [
      { name: 'Reason', head: true, of: ([reason]) => el('a', { href: `#/dead-letters?reason=${reason}` }, spoken(reason)) },
      { name: 'Dead letters', number: true, of: ([, number]) => count(number) },
    ], reasons, { empty: 'There are none.' })),
    asOf(ledger.as_of));
}
