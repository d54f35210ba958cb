// Rows that were refused, each with its reason. Where the file is at hand a row can be mended: its cells become a form, and what was mended is
// sent as a file of its own, in the format of the first. Nobody need go back to the file, and no row that was accepted is sent again.

import { download, el, field, fill, freshId } from '../dom.js';
import { table } from '../tables.js';
import { count, counted } from '../words.js';
import { asRecord, cells, rowsOf } from './rows.js';
import { refusedAsCsv } from './sending.js';

const KEYS = ['idempotency_key', 'idempotencykey'];
const TIMES = ['timestamp', 'occurred_at', 'occurredat', 'time'];
/** Names of one field, so that a fault is shown at the column whatever it is called. */
const SAME = [['user_id', 'userid'], ['event_type', 'eventtype', 'type'], TIMES, ['amount'], KEYS, ['reverse']];

/**
 * The list. `source` is what was sent: its `body`, `format` and `encoding`. `send(blob, name)` sends mended rows; without it they are
 * listed only.
 */
export function refused({ results = [], results_left_out: left = 0 }, file, { source, send } = {}) {
  if (results.length === 0) return null;
  const mended = new Map();
  const waiting = el('div', { class: 'actions', role: 'status' });
  const may = Boolean(send) && source.encoding !== 'zstd';
  const marks = new Map();
  const button = (result) => {
    const node = el('button', { type: 'button', class: 'quiet small', 'aria-label': `Mend row ${count(result.row)}`, on: { click: () => edit(result) } }, 'Mend');
    marks.set(result.row, node);
    return node;
  };

  async function edit(result) {
    const { header, found } = await rowsOf(source.body, source, [result.row]).catch(() => ({ header: null, found: new Map() }));
    const keep = mended.get(result.row);
    const text = keep?.text ?? found.get(result.row);
    if (text === undefined) {
      fill(waiting, el('p', { class: 'problem' }, `Row ${count(result.row)} cannot be read here any more. Mend it in the file, and send that again.`));
      return;
    }
    form({ result, header, text, others: mended.size - (keep ? 1 : 0), done: (changed, isAll) => {
      mended.set(result.row, { header, text: changed });
      const mark = marks.get(result.row);
      mark.textContent = 'Mended';
      if (isAll) all(); else { offer(); mark.focus(); }
    } });
  }

  function offer() {
    fill(waiting, el('button', { type: 'button', on: { click: all } }, `Send ${counted(mended.size, 'mended row')}`));
  }

  function all() {
    const rows = [...mended].sort(([a], [b]) => a - b);
    for (const [row] of rows) {
      const mark = marks.get(row);
      mark.textContent = 'Sent mended';
      mark.disabled = true;
    }
    mended.clear();
    fill(waiting, el('p', { class: 'hint' }, rows.length === 1 ? 'The mended row is sent as a file of its own: see above.' : 'The mended rows are sent as a file of their own: see above.'));
    send(fileOf(rows.map(([, row]) => row), source.format), nameOf(file.name, source.format, rows.map(([row]) => row)));
  }

  return [
    table(`${counted(results.length, 'refused row')}${left > 0 ? `, and ${count(left)} more that are not listed` : ''}`, [
      { name: 'Row', head: true, of: ({ row }) => count(row) },
      { name: 'Field', of: (result) => el('code', {}, result.field ?? '') },
      { name: 'What is wrong', long: true, grows: true, of: (result) => result.message ?? '' },
      may && { name: 'Mend it', of: button },
    ].filter(Boolean), results, { stacks: true }),
    waiting,
    el('p', { class: 'hint' }, 'In CSV the header is row 1.'),
    el('button', { type: 'button', class: 'quiet', on: { click: () => download(`${file.name}.refused.csv`, 'text/csv', refusedAsCsv(results)) } }, 'Download the list as CSV'),
  ];
}

/** A row as a form, in a dialog: of CSV a control for each column, else its text. The fault stands at the column that it is of. */
function form({ result, header, text, others, done }) {
  const values = header && cells(text).cells;
  const controls = header
    ? header.map((name, index) => [name, el('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', value: values[index] ?? '' })])
    : [['The row as JSON', el('textarea', { rows: 8, spellcheck: 'false', class: 'code' })]];
  if (!header) controls[0][1].value = text;
  const at = Math.max(0, header ? controls.findIndex(([name]) => isSame(name, result.field ?? '')) : 0);
  const fault = el('p', { class: 'fault', id: freshId('fault') }, result.message ?? '');
  controls[at][1].setAttribute('aria-invalid', 'true');
  controls[at][1].setAttribute('aria-errormessage', fault.id);
  const extra = header && values.length > header.length;
  const close = () => { dialog.close(); dialog.remove(); };
  const finish = (isAll) => {
    const changed = header ? asRecord(controls.map(([, control]) => control.value)) : controls[0][1].value.replace(/\s*\n\s*/g, ' ').trim();
    close();
    done(changed, isAll);
  };
  const dialog = el('dialog', { class: 'wide', 'aria-labelledby': 'mend-title', on: { cancel: (event) => { event.preventDefault(); close(); } } },
    el('form', { on: { submit: (event) => { event.preventDefault(); finish(true); } } },
      el('h2', { id: 'mend-title' }, `Mend row ${count(result.row)}`),
      extra && el('p', { class: 'notice' }, 'The row has more cells than the header has names; those beyond are left out.'),
      el('div', { class: header ? 'bar' : undefined }, controls.map(([name, control], index) =>
        el('div', { class: 'field' }, ...field(name || `column ${index + 1}`, control).childNodes, index === at && fault))),
      el('div', { class: 'actions' },
        el('button', { type: 'submit' }, others > 0 ? `Send it and ${counted(others, 'other')}` : 'Send this row'),
        el('button', { type: 'button', class: 'quiet', on: { click: () => finish(false) } }, 'Keep it, and mend others first'),
        el('button', { type: 'button', class: 'quiet', on: { click: close } }, 'Cancel'))));
  document.body.append(dialog);
  dialog.showModal();
  controls[at][1].focus();
  controls[at][1].select();
}

const plain = (name) => name.trim().toLowerCase();

function isSame(name, field) {
  const [a, b] = [plain(name), plain(field)];
  return a === b || SAME.some((names) => names.includes(a) && names.includes(b));
}

/**
 * Mended rows as a file. A row with neither key nor time would be counted twice if its answer were lost and it were sent again: it gets
 * a key here. One with a time keeps the key of its content, so that the whole file, mended and sent later, counts it once.
 */
export function fileOf(rows, format) {
  const fresh = () => `mended-${crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(16)).join('')}`;
  if (format !== 'csv') {
    const whole = rows.map(({ text }) => withKey(text, fresh));
    return new Blob([format === 'json' ? `[${whole.join(',\n')}]` : whole.map((text) => `${text}\n`).join('')]);
  }
  const { header } = rows[0];
  const column = (names) => header.findIndex((name) => names.includes(plain(name)));
  const [key, time] = [column(KEYS), column(TIMES)];
  const names = key === -1 ? [...header, 'idempotency_key'] : header;
  const lines = rows.map(({ text }) => {
    const row = cells(text).cells;
    const place = key === -1 ? header.length : key;
    const needsKey = (row[key] ?? '') === '' && (row[time] ?? '') === '';
    row[place] = needsKey ? fresh() : row[key] ?? '';
    return asRecord(Array.from(row, (cell) => cell ?? ''));
  });
  return new Blob([[asRecord(names), ...lines, ''].join('\n')]);
}

/** The same of JSON, whose other fields are left as they are written. */
function withKey(text, fresh) {
  try {
    const names = Object.keys(JSON.parse(text)).map(plain);
    if ([...KEYS, ...TIMES].some((name) => names.includes(name))) return text;
    return text.replace(/^\s*\{/, `{"idempotency_key":${JSON.stringify(fresh())}${names.length > 0 ? ',' : ''}`);
  } catch {
    return text;
  }
}

/** `shop.csv` becomes `shop, row 3 mended.csv`. */
function nameOf(name, format, rows) {
  const base = name.replace(/\.(gz|gzip|zst|zstd)$/i, '').replace(/\.[^.]*$/, '').replace(/, rows? [\d,]+ mended$/, '');
  return `${base}, ${rows.length === 1 ? `row ${rows[0]}` : `${rows.length} rows`} mended.${format}`;
}
