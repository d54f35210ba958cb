// Sending one file: what it is by its name, the request with its progress, and what the server answered. XMLHttpRequest, since fetch
// does not tell how much of a body was sent.

import { gone, heard, path, problemOf } from '../api.js';
import { askForKey, credentials, key } from '../key.js';

/** Formats by the end of a name, with the type that is sent. */
export const FORMATS = {
  csv: { label: 'CSV', media: 'text/csv' },
  ndjson: { label: 'NDJSON, one event a line', media: 'application/x-ndjson' },
  json: { label: 'JSON, one event or an array', media: 'application/json' },
};
/** When rows of a file count. */
export const TERMS = {
  now: { label: 'At once', query: {} },
  hold: { label: 'When I release them', query: { hold: 'true' } },
  atomic: { label: 'Only if all are valid', query: { atomic: 'true' } },
};
/** Letters of a name that are sent; the API takes 512 bytes. */
const NAME_LETTERS = 120;
const ENDS = { csv: 'csv', tsv: null, ndjson: 'ndjson', jsonl: 'ndjson', json: 'json' };
const PACKED = { gz: 'gzip', gzip: 'gzip', zst: 'zstd', zstd: 'zstd' };

/** Format and compression by a file's name; either may be null. */
export function kindOf(name) {
  const ends = name.toLowerCase().split('.').slice(1);
  const encoding = PACKED[ends.at(-1)] ?? null;
  if (encoding) ends.pop();
  return { format: ENDS[ends.at(-1)] ?? null, encoding };
}

/** Sends a file; gives the answer, or throws a problem. It becomes an upload of its name; with `check` nothing is recorded. */
export async function deliver(file, { name, format, encoding, check, terms, progress, signal }) {
  for (;;) {
    const used = key();
    const { status, text, header } = await once(file, { name, format, encoding, check, terms, progress, signal });
    if (status >= 200 && status < 300) return JSON.parse(text);
    const problem = problemOf(status, text, header);
    if (status !== 401 || !(await askForKey(used))) throw problem;
  }
}

function once(file, { name, format, encoding, check, terms, progress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', check ? '/v1/events?validate=true' : path('/v1/uploads', { name: name.slice(0, NAME_LETTERS), ...TERMS[terms].query }));
    request.setRequestHeader('Content-Type', FORMATS[format].media);
    if (encoding) request.setRequestHeader('Content-Encoding', encoding);
    for (const [name, value] of Object.entries(credentials())) request.setRequestHeader(name, value);
    request.upload.addEventListener('progress', (event) => progress(event.loaded, event.total));
    request.addEventListener('load', () => {
      heard(true);
      resolve({ status: request.status, text: request.responseText, header: (name) => request.getResponseHeader(name) });
    });
    request.addEventListener('error', () => {
      const problem = gone();
      problem.title = 'The connection ended before an answer came';
      problem.detail = 'How much of the file was taken is not known. Send it again: rows with a key or a time are counted once, however often they are sent.';
      reject(problem);
    });
    request.addEventListener('abort', () => reject(new DOMException('stopped', 'AbortError')));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

/** Refused rows as CSV, for whoever mends them. */
export function refusedAsCsv(results) {
  const cell = (value) => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = results.map((row) => [row.row, row.field ?? '', row.code ?? '', row.message ?? ''].map(cell).join(','));
  return ['row,field,code,message', ...lines, ''].join('\r\n');
}
