// Requests and their answers: sent until they are answered, under the same id and with the same bytes.

/** @import { Answer, CurrentKey, ErrorFrame } from './types.js' */

/**
 * @typedef {object} Waiting A request that has no answer yet.
 * @property {string} text The frame, sent as often as it takes.
 * @property {(answer: Answer) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {number} refusals How often the server asked for patience.
 * @property {ReturnType<typeof setTimeout> | null} timer
 */

/** Requests that may wait for an answer at a time. */
const WAITING_MAX = 1_024;
/** How often a request is tried again although the server refused it for the time being. */
const PATIENCE = 8;
/** Refusals that pass: the same request may succeed later. */
const PASSING = new Set(['rate_limited', 'busy', 'deadline', 'store_unavailable', 'draining', 'overtaken', 'newer_log']);

/** The server said no. */
export class Refused extends Error {
  /** @param {{code: string, reason: string, message: string, current?: CurrentKey | null}} frame */
  constructor(frame) {
    super(frame.message);
    this.name = 'Refused';
    this.code = frame.code;
    this.reason = frame.reason;
    this.current = frame.current ?? null;
  }
}

/** The client cannot, whatever the server would say. */
export class ClientError extends Error {
  /** @param {'closed' | 'too_many_waiting' | 'not_loaded' | 'no_such_room' | 'unexpected'} reason @param {string} words */
  constructor(reason, words) {
    super(words);
    this.name = 'ClientError';
    this.reason = reason;
  }
}

/** Whether the same may succeed later. @param {ErrorFrame} frame */
export function passes(frame) {
  return PASSING.has(frame.reason);
}

/** The answer is not of the kind that was asked for. @param {object} answer */
export function unexpected(answer) {
  return new ClientError('unexpected', `the server answered something else: ${Object.keys(answer).join()}`);
}

/** What one client asked and was not answered yet, in the order of asking. */
export class Requests {
  /** @type {Map<string, Waiting>} */ #waiting = new Map();
  #transmit;
  #backoff;

  /**
   * @param {(text: string) => void} transmit Sends, when there is a connection.
   * @param {(attempt: number) => number} backoff How long to wait, in milliseconds.
   */
  constructor(transmit, backoff) {
    this.#transmit = transmit;
    this.#backoff = backoff;
  }

  /** Asks now, and again after every reconnection until there is an answer. @param {string} id @param {string} text @returns {Promise<Answer>} */
  ask(id, text) {
    if (this.#waiting.size >= WAITING_MAX) {
      return Promise.reject(new ClientError('too_many_waiting', `${WAITING_MAX} requests wait for an answer`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { text, resolve, reject, refusals: 0, timer: null });
      this.#transmit(text);
    });
  }

  /** There is a new connection: everything is sent again. */
  again() {
    for (const waiting of this.#waiting.values()) {
      if (waiting.timer) clearTimeout(waiting.timer);
      waiting.timer = null;
      this.#transmit(waiting.text);
    }
  }

  /** @param {string} id @param {Answer} answer */
  answered(id, answer) {
    this.#take(id)?.resolve(answer);
  }

  /** Gives whether the refusal was of a request that waits. @param {ErrorFrame} frame */
  refused(frame) {
    const waiting = frame.id === null ? undefined : this.#waiting.get(frame.id);
    if (!waiting || frame.id === null) return false;
    if (passes(frame) && waiting.refusals < PATIENCE) {
      waiting.refusals += 1;
      waiting.timer = setTimeout(() => {
        waiting.timer = null;
        this.#transmit(waiting.text);
      }, this.#backoff(waiting.refusals));
    } else {
      this.#take(frame.id)?.reject(new Refused(frame));
    }
    return true;
  }

  /** Nothing will be answered any more. @param {Error} error */
  end(error) {
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
  }

  /** @param {string} id */
  #take(id) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting?.timer) clearTimeout(waiting.timer);
    return waiting;
  }
}
