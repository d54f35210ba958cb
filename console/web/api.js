// Asking the server. Every way in which an answer can fail to come is one `Problem`, with words that say what to do; pages show it
// and decide nothing about it. A 401 asks for a key and then asks again.

import { askForKey, credentials, key } from './key.js';

/** Longest wait for an answer. */
const DEADLINE_MS = 30_000;

/** Why there is no answer. */
export class Problem extends Error {
  constructor(title, { detail = '', status = 0, code = '', requestId = '', retryAfterS = 0, members = {} } = {}) {
    super(title);
    Object.assign(this, { title, detail, status, code, requestId, retryAfterS, members });
  }

  /** Whether there was no server to answer. */
  get isGone() { return this.status === 0; }

  /** Whether the same request may be answered later. */
  get passes() { return this.isGone || this.status === 429 || this.status === 503; }
}

/** Tells the header whether the server answers. */
export function heard(isThere) {
  dispatchEvent(new CustomEvent('server', { detail: isThere }));
}

/** What a server that does not answer is called. */
export function gone() {
  heard(false);
  return new Problem('The server does not answer', {
    code: 'gone',
    detail: 'It may have stopped, or the network between is down. Nothing was lost: what it acknowledged is on its log.',
  });
}

/** The problem that a status and a body tell of. */
export function problemOf(status, text, headers) {
  let said = {};
  try { said = JSON.parse(text) ?? {}; } catch { /* not a problem document */ }
  return new Problem(said.title ?? `The server answered with status ${status}`, {
    status,
    detail: said.detail ?? '',
    code: String(said.type ?? '').replace('/problems/', ''),
    requestId: said.instance ?? headers('x-request-id') ?? '',
    retryAfterS: Number(headers('retry-after') ?? 0) || 0,
    members: said,
  });
}

/** The response of a request that succeeded, with a key where the server wants one. */
export async function reach(path, { signal, headers = {}, deadlineMs = DEADLINE_MS, method = 'GET', body } = {}) {
  for (;;) {
    const used = key();
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), deadlineMs);
    signal?.addEventListener('abort', () => limit.abort(), { once: true });
    let response;
    try {
      response = await fetch(path, { method, body, headers: { ...credentials(), ...headers }, signal: limit.signal });
    } catch (cause) {
      if (signal?.aborted) throw cause;
      if (!limit.signal.aborted) throw gone();
      heard(false);
      throw new Problem('No answer in time', { code: 'slow', detail: `The server was given ${deadlineMs / 1000} s. It may be very busy.` });
    } finally {
      clearTimeout(timer);
    }
    heard(true);
    if (response.ok) return response;
    const problem = problemOf(response.status, await response.text().catch(() => ''), (name) => response.headers.get(name));
    if (problem.status !== 401 || !(await askForKey(used))) throw problem;
  }
}

/** An answer in JSON. */
export async function ask(path, options) {
  const response = await reach(path, { ...options, headers: { Accept: 'application/json', ...options?.headers } });
  try {
    return await response.json();
  } catch (cause) {
    if (options?.signal?.aborted) throw cause;
    throw gone();
  }
}

/** A path with a query; parameters without a value are left out, lists stand several times. */
export function path(base, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== '') parameters.append(name, one);
  }
  const text = parameters.toString();
  return text ? `${base}?${text}` : base;
}
