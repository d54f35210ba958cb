// Server-sent events, read by fetch: the browser's own EventSource cannot send a key. Whoever was cut off comes back with the last id,
// so nothing between is missed, and says all the while how it stands.

import { gone, heard, reach } from './api.js';
import { pause } from './dom.js';

/** The server says something at least every 15 s; a stream that is silent for so long is dead. */
const SILENCE_MS = 45_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;

/** Follows a stream until the signal. `on(name, data)` gets each event, `state(word, more)` each change of how it stands. */
export async function follow(path, { signal, on, state }) {
  let id = null;
  let failed = 0;
  while (!signal.aborted) {
    state(failed === 0 ? 'connecting' : 'again', { attempt: failed });
    let problem = null;
    try {
      const headers = { Accept: 'text/event-stream', ...(id === null ? {} : { 'Last-Event-ID': id }) };
      const response = await reach(path, { signal, headers });
      state('live', {});
      await read(response, signal, (event) => {
        failed = 0;
        if (event.id !== null) id = event.id;
        on(event.name, event.data);
      });
      problem = gone();
    } catch (cause) {
      if (signal.aborted) return;
      if (!('isGone' in cause)) throw cause;
      // An id that the server does not know, since it was given another log: begin anew.
      if (cause.status === 400 && id !== null) id = null;
      else if (!cause.passes) throw cause;
      problem = cause;
    }
    failed += 1;
    const backOff = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failed - 1));
    const waitMs = Math.max(problem.retryAfterS * 1000, backOff);
    state('waiting', { waitMs, attempt: failed, problem });
    await pause(waitMs, signal);
  }
}

/** Reads one response to its end. */
async function read(response, signal, on) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const stop = () => reader.cancel().catch(() => {});
  signal.addEventListener('abort', stop, { once: true });
  let rest = '';
  try {
    for (;;) {
      const timer = setTimeout(stop, SILENCE_MS);
      const piece = await reader.read().finally(() => clearTimeout(timer));
      if (piece.done) return;
      heard(true);
      const blocks = (rest + piece.value).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) event(block, on);
    }
  } catch (cause) {
    if (signal.aborted) throw cause;
    // Cut off in the middle: the same as an end.
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function event(block, on) {
  const found = { name: 'message', data: '', id: null };
  for (const line of block.split('\n')) {
    const [, field, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') found.name = value;
    else if (field === 'data') found.data += value;
    else if (field === 'id') found.id = value;
  }
  if (found.data) on({ ...found, data: JSON.parse(found.data) });
}
