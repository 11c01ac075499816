// One account's connection to a server, again and again: hello, silence, tokens, and how long to wait.
//
// Knows frames only as far as the connection itself is concerned; everything else is told to its client.

/** @import { ServerFrame, Socket, SocketClass, Welcome } from './types.js' */

export const SUBPROTOCOL = 'chamberlain.v1+json';

/**
 * What the connection is doing.
 * @typedef {object} Status
 * @property {'idle' | 'connecting' | 'connected' | 'waiting' | 'ended'} state
 * @property {number} attempt Connections tried in vain since the last good one.
 * @property {number | null} retryAt While waiting: when the next attempt is due, in milliseconds since the epoch.
 * @property {string} reason Why the last connection ended, in words; empty when there is none.
 * @property {string | null} code Why it ended, for a program: a reason of the server, or `closed`.
 */

/**
 * @typedef {object} Timing
 * @property {SocketClass} webSocket
 * @property {number} backoffFirstMs
 * @property {number} backoffMostMs
 * @property {number} pingAfterMs Silence after which we ask whether the server is there.
 * @property {number} answerMs How long it may take to say so: after that it is not.
 * @property {number} connectMs How long a connection may take to say welcome.
 */

/** @typedef {string | ((why: {refused: boolean}) => string | Promise<string>)} TokenSource */

/**
 * @typedef {object} Told What a connection tells its client.
 * @property {(status: Status) => void} status
 * @property {(welcome: Welcome) => void} welcome What is sent from here on arrives.
 * @property {(frame: ServerFrame) => void} frame
 * @property {() => void} dropped What was open on the server is open no more.
 * @property {(reason: string) => void} ended There will be no further connection.
 */

/** A connection that lasted this long was a good one: waiting begins anew. */
const GOOD_MS = 10_000;
/** Close codes that no reconnection cures. */
const FINAL_CLOSES = new Map([[4003, 'account_disabled']]);

export class Connection {
  /** @type {Status} */ status = { state: 'idle', attempt: 0, retryAt: null, reason: '', code: null };
  /** Whether the server said welcome on this connection. */
  ready = false;
  /** Counts connections, so that what belongs to an earlier one is recognized. */
  generation = 0;

  #url;
  #tokens;
  #timing;
  #told;
  /** @type {Socket | null} */ #socket = null;
  /** @type {string | null} */ #account = null;
  #token = '';
  #refusedToken = false;
  #lastHeard = 0;
  /** When we asked whether the server is there; null when it has answered since. @type {number | null} */ #askedAt = null;
  #connectedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #refreshTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #pulse;

  /** @param {string} url @param {TokenSource} tokens @param {Timing} timing @param {Told} told */
  constructor(url, tokens, timing, told) {
    this.#url = url;
    this.#tokens = tokens;
    this.#timing = timing;
    this.#told = told;
  }

  /** Connects now. */
  async connect() {
    clearTimeout(this.#retryTimer);
    const generation = (this.generation += 1);
    this.#tell('connecting');
    const refused = this.#refusedToken;
    try {
      const token = typeof this.#tokens === 'string' ? this.#tokens : await this.#tokens({ refused });
      if (generation !== this.generation) return;
      if (refused && token === this.#token) throw new Error(this.status.reason || 'the token was refused');
      this.#token = token;
    } catch (error) {
      if (generation === this.generation) this.end(refused ? 'invalid_token' : 'no_token', words(error));
      return;
    }
    this.#refusedToken = false;
    /** @type {Socket} */ let socket;
    try {
      socket = new this.#timing.webSocket(this.#url, [SUBPROTOCOL]);
    } catch (error) {
      this.end('invalid_url', words(error));
      return;
    }
    this.#socket = socket;
    this.#lastHeard = Date.now();
    this.#askedAt = null;
    socket.onopen = () => socket.send(JSON.stringify({ hello: { token: this.#token } }));
    socket.onmessage = (event) => {
      if (generation === this.generation) this.#heard(JSON.parse(event.data));
    };
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      if (generation === this.generation) this.#closed(Number(code), reason || this.status.reason || 'the connection was lost', null);
    };
    this.#listen(Date.now());
  }

  /** Sends, when there is a connection; otherwise it is for the client to say it again. @param {string} text */
  transmit(text) {
    if (this.ready && this.#socket?.readyState === 1) this.#socket.send(text);
  }

  /** The network may be back, or the machine awake: connect now, or see whether the connection still stands. */
  wake() {
    if (this.status.state === 'waiting') this.connect();
    if (!this.ready) return;
    const { generation } = this;
    const asked = this.#ask();
    setTimeout(() => {
      if (generation === this.generation && this.#askedAt === asked) this.#lost('the server does not answer', null);
    }, Math.min(5_000, this.#timing.answerMs));
  }

  /** The server does not take the token; the connection ends with that. @param {string} reason */
  tokenRefused(reason) {
    this.#refusedToken = true;
    this.status.reason = reason;
  }

  /** Ends for good. @param {string} code @param {string} reason */
  end(code, reason) {
    if (this.status.state === 'ended') return;
    this.#drop();
    this.#tell('ended', { reason, code });
    this.#told.ended(reason);
  }

  /** Doubles, with jitter over its upper half, up to the bound; in milliseconds. @param {number} attempt */
  backoff(attempt) {
    const { backoffFirstMs, backoffMostMs } = this.#timing;
    const most = Math.min(backoffMostMs, backoffFirstMs * 2 ** Math.min(attempt, 16));
    return most * (0.5 + Math.random() / 2);
  }

  /** @param {ServerFrame | string} frame */
  #heard(frame) {
    this.#lastHeard = Date.now();
    this.#askedAt = null;
    if (typeof frame === 'string') return;
    if (frame.welcome) this.#welcomed(frame.welcome);
    else if (frame.bye) this.#closed(frame.bye.code, frame.bye.reason, frame.bye.retry_after_ms);
    else this.#told.frame(frame);
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    if (this.#account !== null && this.#account !== welcome.account) {
      this.end('another_account', `the token is now one of ${welcome.account}, not of ${this.#account}`);
      return;
    }
    this.#account = welcome.account;
    this.ready = true;
    this.#connectedAt = Date.now();
    this.#scheduleRefresh(welcome);
    this.#tell('connected');
    this.#told.welcome(welcome);
  }

  /** Asks for a newer token before this one ends. @param {Welcome} welcome */
  #scheduleRefresh({ expires, time }) {
    clearTimeout(this.#refreshTimer);
    const tokens = this.#tokens;
    if (expires === null || expires === undefined || typeof tokens === 'string') return;
    const { generation } = this;
    const left = expires - time;
    const refresh = async () => {
      try {
        const token = await tokens({ refused: false });
        if (generation !== this.generation || token === this.#token) return;
        this.#token = token;
        this.transmit(JSON.stringify({ refresh: { token } }));
      } catch {
        // The connection ends with its token, and the next one asks again.
      }
    };
    // Timers take 31 bits.
    this.#refreshTimer = setTimeout(refresh, Math.min(2 ** 31 - 1, Math.max(0, left - Math.min(60_000, left / 5))));
  }

  /** Asks whether the server is there, unless that was asked already; when. */
  #ask() {
    if (this.#askedAt === null) {
      this.#askedAt = Date.now();
      this.transmit('"ping"');
    }
    return this.#askedAt;
  }

  /**
   * Watches over the silence. Only a question without an answer ends a connection, not silence alone: in a page that nobody looks
   * at, timers go off once a minute.
   * @param {number} began When this connection did.
   */
  #listen(began) {
    clearInterval(this.#pulse);
    const { pingAfterMs, answerMs, connectMs } = this.#timing;
    const look = () => {
      const now = Date.now();
      if (!this.ready && now - began > connectMs) this.#lost('the server did not answer', null);
      else if (this.#askedAt !== null && now - this.#askedAt > answerMs) this.#lost('the server fell silent', null);
      else if (this.ready && now - this.#lastHeard > pingAfterMs) this.#ask();
    };
    this.#pulse = setInterval(look, Math.min(pingAfterMs, answerMs, connectMs) / 4);
  }

  /** The server ended it. @param {number} code @param {string} reason @param {number | null} retryAfterMs */
  #closed(code, reason, retryAfterMs) {
    if (code === 4001) this.#refusedToken = true;
    const final = FINAL_CLOSES.get(code);
    if (final) this.end(final, reason);
    else this.#lost(reason, retryAfterMs);
  }

  /** The connection is gone; the next one follows. @param {string} reason @param {number | null} retryAfterMs */
  #lost(reason, retryAfterMs) {
    const good = this.ready && Date.now() - this.#connectedAt > GOOD_MS;
    const attempt = good ? 0 : this.status.attempt;
    this.#drop();
    const { generation } = this;
    const wait = Math.max(retryAfterMs ?? 0, this.backoff(attempt));
    this.#retryTimer = setTimeout(() => {
      if (generation === this.generation) this.connect();
    }, wait);
    this.#tell('waiting', { attempt: attempt + 1, retryAt: Date.now() + wait, reason });
  }

  /** Lets go of the socket; its events are of an earlier generation now. */
  #drop() {
    this.generation += 1;
    this.ready = false;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#refreshTimer);
    clearInterval(this.#pulse);
    const socket = this.#socket;
    this.#socket = null;
    this.#told.dropped();
    try {
      socket?.close(1000);
    } catch {
      // It never opened.
    }
  }

  /** @param {Status['state']} state @param {Partial<Status>} [rest] */
  #tell(state, rest = {}) {
    const reason = state === 'connected' ? '' : this.status.reason;
    this.status = { attempt: this.status.attempt, retryAt: null, code: null, reason, ...rest, state };
    this.#told.status(this.status);
  }
}

/** @param {unknown} error */
function words(error) {
  return error instanceof Error ? error.message : String(error);
}
