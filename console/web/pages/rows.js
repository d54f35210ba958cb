// Single rows of a file that was sent, cut as the server cuts them, so that a row that it refused is found by its number and can be
// mended. The file is read in pieces up to the row that is looked for; nothing is kept but that row and the header.

/** Longest row that is looked at, in letters: what is beyond is no row of a person. */
const ROW_LETTERS = 256 * 1024;
/** Largest array of JSON that is looked through, in bytes. */
const JSON_BYTES = 64 * 1024 * 1024;

/**
 * The rows of these numbers: a map from number to text, with the `header` of CSV. None are there of what is packed in a way that
 * the browser does not know.
 */
export async function rowsOf(body, { format, encoding }, numbers) {
  const wanted = new Set(numbers);
  const found = new Map();
  if (wanted.size === 0 || encoding === 'zstd') return { header: null, found };
  if (format === 'json') {
    if (body.size <= JSON_BYTES && !encoding) cutArray(await body.text(), (number, text) => { if (wanted.has(number)) found.set(number, text); });
    return { header: null, found };
  }
  const last = Math.max(...wanted);
  let header = null;
  let number = 0;
  for await (const row of format === 'csv' ? records(linesOf(body, encoding)) : linesOf(body, encoding)) {
    number += 1;
    if (format === 'csv' && number === 1) header = cells(row).cells;
    else if (wanted.has(number)) found.set(number, row);
    if (number >= last) break;
  }
  return { header, found };
}

/** The lines of a file, without their ends. One that is too long is empty. */
async function* linesOf(body, encoding) {
  let stream = body.stream();
  if (encoding === 'gzip') stream = stream.pipeThrough(new DecompressionStream('gzip'));
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      if (rest.length > ROW_LETTERS) rest = rest.slice(0, ROW_LETTERS + 1);
      for (const line of lines) yield line.length > ROW_LETTERS ? '' : line.replace(/\r$/, '');
    }
    if (rest) yield rest.replace(/\r$/, '');
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Records of CSV: lines, joined where a quoted cell goes on. Blank lines are none. */
async function* records(lines) {
  let open = null;
  for await (const line of lines) {
    const text = open === null ? line : `${open}\n${line}`;
    open = null;
    if (text.trim() === '') continue;
    if (text.length <= ROW_LETTERS && cells(text).isOpen) open = text;
    else yield text;
  }
  if (open !== null) yield open;
}

/** The cells of a record, and whether its last one is quoted and not closed. A bare JSON cell keeps its commas and quotes. */
export function cells(text) {
  const found = [];
  let at = 0;
  for (;;) {
    let cell;
    if (text[at] === '"') {
      const close = closing(text, at + 1);
      if (close === -1) return { cells: [...found, text.slice(at + 1).replaceAll('""', '"')], isOpen: true };
      cell = text.slice(at + 1, close).replaceAll('""', '"');
      at = close + 1;
    } else {
      const from = at;
      if (text[at] === '{' || text[at] === '[') at = nested(text, at);
      const comma = text.indexOf(',', at);
      at = comma === -1 ? text.length : comma;
      cell = text.slice(from, at);
    }
    found.push(cell);
    const comma = text.indexOf(',', at);
    if (comma === -1) return { cells: found, isOpen: false };
    at = comma + 1;
  }
}

/** Where a quoted cell closes: a quote that stands alone. */
function closing(text, from) {
  for (let at = text.indexOf('"', from); at !== -1; at = text.indexOf('"', at)) {
    if (text[at + 1] !== '"') return at;
    at += 2;
  }
  return -1;
}

/** Behind the bracket that closes the one at `from`; `from` where none does. */
function nested(text, from) {
  let depth = 0;
  let isText = false;
  for (let at = from; at < text.length; at += 1) {
    const letter = text[at];
    if (isText) {
      if (letter === '\\') at += 1;
      else if (letter === '"') isText = false;
    } else if (letter === '"') isText = true;
    else if (letter === '{' || letter === '[') depth += 1;
    else if ((letter === '}' || letter === ']') && (depth -= 1) === 0) return at + 1;
  }
  return from;
}

/** The elements of an array, from 1, as they are written; a document that is one object is the first. */
function cutArray(text, tell) {
  let at = text.search(/[^\s\ufeff]/);
  if (at === -1) return;
  if (text[at] !== '[') { tell(1, text.slice(at).trim()); return; }
  at += 1;
  for (let number = 1; at < text.length; number += 1) {
    while (/[\s,]/.test(text[at] ?? '')) at += 1;
    if (at >= text.length || text[at] === ']') return;
    const from = at;
    at = text[at] === '{' || text[at] === '[' ? nested(text, at) : text.slice(at).search(/[,\]]/) + at;
    if (at <= from) return;
    tell(number, text.slice(from, at).trim());
  }
}

/** A record of CSV, with quotes where a cell needs them. */
export const asRecord = (list) => list.map((cell) => (/[",\r\n]|^[{[]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(',');
