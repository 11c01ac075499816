// Chamberlain's client: one connection that comes back, and the rooms on it.
//
//   import { Client } from './client.js';
//   const client = await Client.connect('wss://rooms.example/v1/socket', () => token);
//   const room = await client.open(await client.createChannel('Plans', { accounts: ['bea'] }));
//   await client.send(room.id, 'Good evening.');
//   for await (const message of client.messages(room.id)) console.log(message.sender, message.text);
//
// Works in browsers and in Node 20 or newer; where there is no global WebSocket, pass one: `{ webSocket: WebSocket }` of the
// package `ws`. What is promised:
//
// - A command is sent until it is answered, under the same request id and with the same bytes, through any number of
//   reconnections. A message that must be sealed again, because another key version won, keeps its message id and takes a
//   new nonce and a new request id: a request id names one sequence of bytes for ever.
// - The revisions of an open room are taken in order, each once. After a reconnection the room goes on where it was; when the
//   server says that this is another log, or a revision is missing, the room is opened again and `restarted` or `reopened`
//   says so.
// - Secrets live in memory only.

import { Opener, Sealer, fromBase64, utf8 } from './envelope.js';
import { Room } from './room.js';

export { Opener, OpenError, Sealer } from './envelope.js';
export { Room } from './room.js';

/** @import { Answer, CurrentKey, Envelope, ErrorFrame, HistoryPage, Item, KeyFrame, MembersPage, MemberView, Outcome, Role, RoomView, Sent, ServerFrame, Socket, SocketClass, Welcome } from './types.js' */
/** @import { Claim } from './envelope.js' */
/** @import { Entry, Message, Opening } from './room.js' */

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
 * What a client tells, by name.
 * @typedef {object} Events
 * @property {Status} status The connection changed.
 * @property {Welcome} welcome The server took us in.
 * @property {Room[]} rooms The list of rooms, or what is known of one of them, changed.
 * @property {{room: Room, changed: Entry[]}} changed These entries of a room are new or different.
 * @property {{room: Room}} reopened A revision was missing; the room was opened again where it broke.
 * @property {{room: Room}} restarted What was known of the room was dropped: the log is another one.
 * @property {{room: Room}} removed This account is no longer a member.
 * @property {{room: Room}} joined This account is a member now.
 * @property {ErrorFrame} problem The server refused something that nobody waits for.
 */

/**
 * @typedef {object} Options
 * @property {SocketClass} [webSocket] Instead of the global one.
 * @property {boolean} [followRooms] Keep the list of rooms up to date; on unless `false`.
 * @property {number} [backoffFirstMs]
 * @property {number} [backoffMostMs]
 * @property {number} [pingAfterMs] Silence after which we ask whether the server is there.
 * @property {number} [deadAfterMs] Silence after which it is not.
 * @property {number} [connectMs] How long a connection may take to say welcome.
 */

/** @typedef {string | ((why: {refused: boolean}) => string | Promise<string>)} TokenSource */

/**
 * @typedef {object} Waiting A request that has no answer yet.
 * @property {string} id
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
/** How often one message is sealed again before we give up. */
const RESEALS = 8;
/** Key versions kept per room; older ones are asked for again when they are needed. */
const KEYS_PER_ROOM = 256;
/** A connection that lasted this long was a good one: waiting begins anew. */
const GOOD_MS = 10_000;
/** Refusals that pass: the same request may succeed later. */
const PASSING = new Set(['rate_limited', 'busy', 'deadline', 'store_unavailable', 'draining']);
/** Close codes that no reconnection cures. */
const FINAL_CLOSES = new Map([[4003, 'account_disabled']]);
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

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

/** One account's connection, and its rooms. */
export class Client {
  /** @type {Status} */ status = { state: 'idle', attempt: 0, retryAt: null, reason: '', code: null };
  /** The server's last welcome. @type {Welcome | null} */ welcome = null;
  /** Every room heard of, by id. @type {Map<string, Room>} */ known = new Map();

  #url;
  /** @type {TokenSource} */ #tokens;
  /** @type {Required<Omit<Options, 'webSocket'>> & {webSocket: SocketClass}} */ #options;
  /** @type {Socket | null} */ #socket = null;
  /** Whether the server said welcome on this connection. */
  #ready = false;
  /** Counts connections, so that what belongs to an earlier one is recognized. */
  #generation = 0;
  #refusedToken = false;
  #token = '';
  #lastHeard = 0;
  #connectedAt = 0;
  #accountRevision = 0;
  /** In the order of asking. @type {Map<string, Waiting>} */ #waiting = new Map();
  /** Who waits for a room to open. @type {Map<string, {resolve: (room: Room) => void, reject: (error: Error) => void}[]>} */ #opening = new Map();
  /** Keys being asked for. @type {Map<string, Promise<Opener>>} */ #asking = new Map();
  /** @type {string[]} */ #watched = [];
  /** @type {Map<keyof Events, Set<(event: any) => void>>} */ #listeners = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #refreshTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #pulse;
  /** Timers of rooms that are opened again. @type {Set<ReturnType<typeof setTimeout>>} */ #later = new Set();

  /**
   * Does not connect yet: see `start`.
   * @param {string | URL} url `ws:` or `wss:`
   * @param {TokenSource} token A token, or what gives one whenever it is needed.
   * @param {Options} [options]
   */
  constructor(url, token, options = {}) {
    this.#url = String(url);
    this.#tokens = token;
    const webSocket = options.webSocket ?? /** @type {SocketClass | undefined} */ (globalThis.WebSocket);
    if (!webSocket) throw new Error('there is no WebSocket here: pass one as `webSocket`, for instance of the package `ws`');
    this.#options = {
      followRooms: true,
      backoffFirstMs: 500,
      backoffMostMs: 30_000,
      pingAfterMs: 20_000,
      deadAfterMs: 45_000,
      connectMs: 15_000,
      ...options,
      webSocket,
    };
  }

  /**
   * A client whose first connection stands.
   * @param {string | URL} url @param {TokenSource} token @param {Options} [options]
   */
  static async connect(url, token, options) {
    const client = new Client(url, token, options);
    await client.start();
    return client;
  }

  /** Connects, and again whenever the connection breaks. Resolves with the first welcome. @returns {Promise<Welcome>} */
  start() {
    return new Promise((resolve, reject) => {
      const settled = [
        this.on('welcome', (welcome) => {
          for (const stop of settled) stop();
          resolve(welcome);
        }),
        this.on('status', (status) => {
          if (status.state !== 'ended') return;
          for (const stop of settled) stop();
          reject(new ClientError('closed', status.reason));
        }),
      ];
      this.#connect();
    });
  }

  /** Ends the connection and everything that waits for an answer. */
  stop() {
    this.#end('closed', 'the client was closed');
  }

  /**
   * Calls `listener` at every such event until the returned function is called.
   * @template {keyof Events} K
   * @param {K} name @param {(event: Events[K]) => void} listener
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** The network may be back, or the machine awake: connect now, or see whether the connection still stands. */
  wake() {
    if (this.status.state === 'waiting') {
      this.#connect();
    } else if (this.#ready) {
      const generation = this.#generation;
      const before = this.#lastHeard;
      this.#transmit('"ping"');
      setTimeout(() => {
        if (generation === this.#generation && this.#lastHeard === before) this.#lost('the server does not answer', null);
      }, Math.min(5_000, this.#options.deadAfterMs));
    }
  }

  /** The account, once the server said welcome. */
  get account() {
    return this.welcome?.account ?? '';
  }

  /** Rooms this account is in, or was removed from, the last active first. */
  get list() {
    return [...this.known.values()].filter((room) => room.view).sort((a, b) => (b.view?.time ?? 0) - (a.view?.time ?? 0));
  }

  /** A room that was heard of. @param {string} id */
  room(id) {
    const room = this.known.get(id);
    if (!room) throw new ClientError('no_such_room', `nothing is known of room ${id}`);
    return room;
  }

  // --- rooms ---

  /**
   * Has the room delivered from here on, beginning with its last `limit` revisions, until `close`.
   * @param {string} id @param {{limit?: number}} [options]
   * @returns {Promise<Room>}
   */
  open(id, { limit } = {}) {
    const room = this.#room(id);
    if (limit !== undefined) room.limit = limit;
    room.wanted = true;
    if (room.state === 'open') return Promise.resolve(room);
    return new Promise((resolve, reject) => {
      this.#opening.set(id, [...(this.#opening.get(id) ?? []), { resolve, reject }]);
      if (room.state !== 'opening' && this.#ready) this.#sendOpen(room);
    });
  }

  /** No longer has the room delivered. What was said is kept. @param {string} id */
  close(id) {
    const room = this.#room(id);
    room.wanted = false;
    this.#notOpened(room, new ClientError('closed', 'the room was closed before it was open'));
    if (room.state === 'open' || room.state === 'opening') {
      room.state = 'closed';
      if (this.#ready) this.#transmit(JSON.stringify({ close: { room: id } }));
    }
  }

  /** Asks for the list of rooms; tells `rooms`. @returns {Promise<RoomView[]>} */
  async rooms() {
    let answer = await this.#query('rooms');
    // Older than what we were told since: ask again.
    for (let attempt = 0; attempt < 3 && 'rooms' in answer; attempt += 1) {
      if (answer.rooms.account_revision >= this.#accountRevision) break;
      answer = await this.#query('rooms');
    }
    if (!('rooms' in answer)) throw unexpected(answer);
    const { rooms } = answer.rooms;
    const ids = new Set(rooms.map((view) => view.room));
    for (const view of rooms) {
      const room = this.#room(view.room);
      room.see(view);
      if (room.state === 'removed') this.#joined(room);
    }
    for (const room of this.known.values()) {
      if (room.view && room.state !== 'removed' && !ids.has(room.id)) this.#removed(room);
    }
    this.#tell('rooms', this.list);
    return rooms;
  }

  /** Has events of these kinds counted in all rooms, open or not; see `unread`. @param {string[]} kinds */
  watch(kinds) {
    this.#watched = kinds;
    if (this.#ready) this.#transmit(JSON.stringify({ watch: { kinds } }));
  }

  /**
   * Begins a channel, and gives its room id.
   * @param {string} name @param {{accounts?: string[], channels?: string[]}} [others]
   * @returns {Promise<string>}
   */
  async createChannel(name, { accounts = [], channels = [] } = {}) {
    return (await this.#created({ create_channel: { name, accounts, channels } })).room;
  }

  /**
   * Begins a direct message room, or finds the one that is there.
   * @param {string} account
   * @returns {Promise<{room: string, exists: boolean}>}
   */
  createDm(account) {
    return this.#created({ create_dm: { account } });
  }

  /**
   * @param {string} room @param {string[]} accounts
   * @param {{channels?: string[], bots?: boolean, history?: 'all' | 'none'}} [how]
   */
  add(room, accounts, { channels = [], bots = false, history = 'all' } = {}) {
    return this.#done({ add: { room, accounts, channels, bots, history } });
  }

  /** @param {string} room @param {string[]} accounts */
  remove(room, accounts) {
    return this.#done({ remove: { room, accounts } });
  }

  /** @param {string} room */
  leave(room) {
    return this.remove(room, [this.account]);
  }

  /** @param {string} room @param {string} account @param {Role} role */
  setRole(room, account, role) {
    return this.#done({ set_role: { room, account, role } });
  }

  /** @param {string} room @param {string} name */
  rename(room, name) {
    return this.#done({ rename: { room, name } });
  }

  /** @param {string} room */
  archive(room) {
    return this.#done({ archive: { room } });
  }

  /** Moves the room to a new key version. @param {string} room */
  rotate(room) {
    return this.#done({ rotate: { room } });
  }

  /**
   * A page of the room's members, by account.
   * @param {string} room @param {{after?: string, limit?: number}} [page]
   * @returns {Promise<MembersPage>}
   */
  async members(room, { after, limit } = {}) {
    const answer = await this.#query({ members: { room, after, limit } });
    if (!('members' in answer)) throw unexpected(answer);
    return answer.members;
  }

  /** Every member of the room, page by page. @param {string} room @returns {AsyncGenerator<MemberView>} */
  async *allMembers(room) {
    /** @type {string | undefined} */ let after;
    for (;;) {
      const page = await this.members(room, { after });
      yield* page.members;
      after = page.members.at(-1)?.account;
      if (!page.more || after === undefined) return;
    }
  }

  // --- messages ---

  /**
   * Seals and says something. The message is in `room.unsent` at once and in `room.entries` when it is recorded; a refused one
   * stays in `unsent` with `failed`, for `retry` or `discard`.
   * @param {string} id @param {string} text
   * @returns {Promise<Sent>}
   */
  send(id, text) {
    if (this.status.state === 'ended') return Promise.reject(new ClientError('closed', this.status.reason));
    const room = this.#room(id);
    const message = room.say(messageId(), text, Date.now());
    return this.#sendMessage(room, message);
  }

  /** Says a refused message again, under the same message id. @param {string} id @param {string} message @returns {Promise<Sent>} */
  retry(id, message) {
    const room = this.#room(id);
    const unsent = room.unsent.get(message);
    if (!unsent?.failed) return Promise.reject(new ClientError('not_loaded', 'no refused message has this id'));
    unsent.failed = null;
    unsent.pending = true;
    return this.#sendMessage(room, unsent);
  }

  /** Forgets a refused message. @param {string} id @param {string} message */
  discard(id, message) {
    const room = this.#room(id);
    if (!room.unsent.get(message)?.failed) return;
    room.unsent.delete(message);
    this.#tell('changed', { room, changed: [] });
  }

  /**
   * Seals another text for one of this account's messages; it must be loaded.
   * @param {string} id @param {number} revision @param {string} text
   * @returns {Promise<Sent>}
   */
  edit(id, revision, text) {
    const room = this.#room(id);
    const message = room.message(revision);
    if (!message) return Promise.reject(new ClientError('not_loaded', `revision ${revision} is no message that is loaded`));
    return this.#inTurn(room, message.message, message.edits + 1, text, (sealed, edit) => ({
      edit: { room: id, revision, edit, content: { sealed } },
    }));
  }

  /** Takes a message back. @param {string} room @param {number} revision */
  delete(room, revision) {
    return this.#done({ delete: { room, revision } });
  }

  /** Everything up to `revision` was read. @param {string} id @param {number} revision */
  async markRead(id, revision) {
    const outcome = await this.#command({ mark_read: { room: id, revision } });
    if (!('marked' in outcome)) throw unexpected(outcome);
    const room = this.#room(id);
    room.read(outcome.marked.revision);
    this.#tell('rooms', this.list);
    return outcome.marked.revision;
  }

  /**
   * A page of the room's past, opened, oldest first; changes nothing that is shown. Edits after the page are not in it.
   * @param {string} id
   * @param {{before: number} | {after: number} | {around: number} | 'latest'} range
   * @param {number} [limit]
   */
  async history(id, range, limit) {
    const page = await this.#history(id, range, limit);
    const room = this.#room(id);
    const scratch = new Room(id, room.site, this.account);
    scratch.first = Infinity;
    const { openings } = scratch.takeOlder(page);
    await Promise.all(openings.map((opening) => this.#open(room, opening)));
    return { messages: scratch.messages, from: page.from, to: page.to, more: page.more };
  }

  /** Loads what was before the first entry of an open room; tells `changed`. @param {string} id @param {number} [limit] */
  async older(id, limit) {
    const room = this.#room(id);
    if (!room.more) return 0;
    const { first } = room;
    const page = await this.#history(id, { before: first }, limit);
    // The room was opened anew, or somebody else asked for the same page.
    if (room.first !== first) return 0;
    const { changed, openings } = room.takeOlder(page);
    await this.#openInTurn(room, changed, openings);
    return changed.length;
  }

  /**
   * What is said in an open room, from its first loaded message on, as it comes.
   * @param {string} id @param {{after?: number}} [from] Only after this revision.
   * @returns {AsyncGenerator<Message>}
   */
  async *messages(id, { after = 0 } = {}) {
    const room = this.#room(id);
    let done = after;
    /** @type {(() => void) | null} */ let ring = null;
    const wake = () => ring?.();
    const stops = [this.on('changed', wake), this.on('removed', wake), this.on('status', wake)];
    try {
      for (;;) {
        for (let turn; turn !== room.openings; ) await (turn = room.openings);
        const news = room.entries.filter((entry) => entry.type === 'message' && (entry.revision ?? 0) > done);
        for (const message of /** @type {Message[]} */ (news)) {
          done = message.revision ?? done;
          yield message;
        }
        if (room.state === 'removed' || this.status.state === 'ended') return;
        if (room.last <= done || news.length === 0) await new Promise((resolve) => (ring = () => resolve(undefined)));
      }
    } finally {
      for (const stop of stops) stop();
    }
  }

  /**
   * The key of a version, or of the current one, asked from the server.
   * @param {string} room @param {number} [version]
   * @returns {Promise<KeyFrame>}
   */
  async key(room, version) {
    const answer = await this.#query({ key: { room, version } });
    if (!('key' in answer)) throw unexpected(answer);
    this.#learnKey(answer.key);
    return answer.key;
  }

  // --- sealing ---

  /** @param {Room} room @param {Message} message @returns {Promise<Sent>} */
  async #sendMessage(room, message) {
    this.#tell('changed', { room, changed: [message] });
    try {
      const sent = await this.#inTurn(room, message.message, 0, message.text ?? '', (sealed) => ({
        submit: { room: room.id, message: message.message, content: { sealed } },
      }));
      // Still here: the answer was quicker than the stream, or the room is not open.
      if (room.unsent.has(message.message)) {
        Object.assign(message, { pending: false, revision: sent.revision, time: sent.time, version: sent.version });
        if (!room.wanted) room.unsent.delete(message.message);
        this.#tell('changed', { room, changed: [message] });
      }
      return sent;
    } catch (error) {
      // An attempt that seemed lost was recorded after all: the stream has it.
      const recorded = room.entries.find((entry) => entry.type === 'message' && entry.message === message.message && entry.own);
      if (recorded?.type === 'message' && recorded.revision !== null) {
        return { revision: recorded.revision, time: recorded.time, version: recorded.version };
      }
      message.pending = false;
      message.failed = asError(error);
      this.#tell('changed', { room, changed: [message] });
      throw error;
    }
  }

  /**
   * Seals after everything that was to be said before it in this room, sends, and waits. When another key version won, seals
   * again under it.
   * @param {Room} room @param {string} message @param {number} edit @param {string} text
   * @param {(sealed: Envelope, edit: number) => object} command
   * @returns {Promise<Sent>}
   */
  async #inTurn(room, message, edit, text, command) {
    for (let attempt = 0; ; attempt += 1) {
      const turn = room.sends.then(async () => {
        const sealed = await this.#seal(room, message, edit, text);
        // Not awaited in turn: what follows may be sealed while this one is under way.
        return { answered: this.#command(command(sealed, edit)) };
      });
      room.sends = turn.catch(() => {});
      try {
        const outcome = await (await turn).answered;
        if (!('sent' in outcome)) throw unexpected(outcome);
        return outcome.sent;
      } catch (error) {
        const stale = error instanceof Refused && error.reason === 'stale_key' && attempt < RESEALS;
        if (!stale) throw error;
        // With another version in the meantime, the refusal tells nothing new.
        if (error.current) room.learn(error.current);
        else room.current = null;
      }
    }
  }

  /** @param {Room} room @param {string} message @param {number} edit @param {string} text @returns {Promise<Envelope>} */
  async #seal(room, message, edit, text) {
    if (!room.current) await this.key(room.id);
    const current = room.current;
    if (!current) throw new ClientError('unexpected', 'the server gave no key to seal under');
    const name = { site: room.site, room: room.id, version: current.version };
    const known = room.sealing?.version === current.version ? await room.sealing.sealer : null;
    const sealing = known && !known.exhausted ? null : Sealer.create(name, fromBase64(current.public));
    if (sealing) {
      room.sealing = { version: current.version, sealer: sealing };
      sealing.catch(() => (room.sealing = null));
    }
    const sealer = sealing ? await sealing : /** @type {Sealer} */ (known);
    /** @type {Claim} */
    const claim = { room: room.id, version: current.version, kind: 'message', sender: this.account, message, edit };
    return sealer.seal(claim, utf8(JSON.stringify({ text })));
  }

  /** @param {Room} room @param {Opening} opening */
  async #open(room, { message, envelope, claim }) {
    /** @type {{text: string, kind?: string, accounts?: string[]} | null} */ let content = null;
    /** @type {string | null} */ let unreadable = null;
    try {
      const opener = await (room.keys.get(envelope.version) ?? this.#askKey(room, envelope.version));
      content = JSON.parse(new TextDecoder().decode(await opener.open(claim, envelope)));
      if (typeof content?.text !== 'string') throw new Error('what was sealed has no text');
    } catch (error) {
      unreadable = asError(error).message;
    }
    // An edit or a deletion overtook it.
    if (message.deleted || message.edits !== claim.edit) return;
    message.unreadable = unreadable;
    message.text = unreadable === null && content ? content.text : null;
    if (claim.kind === 'system' && content) message.system = { kind: content.kind ?? '', accounts: content.accounts ?? [] };
  }

  /** @param {Room} room @param {Entry[]} changed @param {Opening[]} openings */
  #openInTurn(room, changed, openings) {
    const before = room.openings;
    const opened = Promise.all(openings.map((opening) => this.#open(room, opening)));
    const turn = Promise.all([before, opened]).then(() => {
      if (changed.length > 0) this.#tell('changed', { room, changed });
    });
    room.openings = turn;
    return turn;
  }

  /** @param {KeyFrame} frame */
  #learnKey({ room: id, version, public: publicKey, secret }) {
    const room = this.#room(id);
    room.learn({ version, public: publicKey });
    const known = room.keys.get(version);
    if (known) return known;
    const opener = Opener.create({ site: room.site, room: id, version }, fromBase64(publicKey), fromBase64(secret));
    // Whoever opens with it sees why it is no key.
    opener.catch(() => {});
    room.keys.set(version, opener);
    if (room.keys.size > KEYS_PER_ROOM) room.keys.delete(Math.min(...room.keys.keys()));
    return opener;
  }

  /** @param {Room} room @param {number} version @returns {Promise<Opener>} */
  #askKey(room, version) {
    const name = `${room.id}/${version}`;
    const asking =
      this.#asking.get(name) ??
      this.key(room.id, version)
        .then((frame) => this.#learnKey(frame))
        .finally(() => this.#asking.delete(name));
    this.#asking.set(name, asking);
    return asking;
  }

  // --- requests ---

  /** @param {object} command @returns {Promise<Outcome>} */
  async #command(command) {
    const id = crypto.randomUUID();
    const answer = await this.#ask(id, JSON.stringify({ command: { id, command } }));
    if (!('outcome' in answer)) throw unexpected(answer);
    return answer.outcome;
  }

  /** @param {object} command @returns {Promise<number>} */
  async #done(command) {
    const outcome = await this.#command(command);
    if (!('done' in outcome)) throw unexpected(outcome);
    return outcome.done.revision;
  }

  /** @param {object} command */
  async #created(command) {
    const outcome = await this.#command(command);
    if (!('created' in outcome)) throw unexpected(outcome);
    return outcome.created;
  }

  /** @param {object | string} query @returns {Promise<Answer>} */
  #query(query) {
    const id = crypto.randomUUID();
    return this.#ask(id, JSON.stringify({ query: { id, query } }));
  }

  /** @param {string} room @param {object | string} range @param {number} [limit] @returns {Promise<HistoryPage>} */
  async #history(room, range, limit) {
    const answer = await this.#query({ history: { room, range, limit } });
    if (!('history' in answer)) throw unexpected(answer);
    return answer.history;
  }

  /** @param {string} id @param {string} text @returns {Promise<Answer>} */
  #ask(id, text) {
    if (this.status.state === 'ended') return Promise.reject(new ClientError('closed', this.status.reason));
    if (this.#waiting.size >= WAITING_MAX) return Promise.reject(tooManyWaiting());
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { id, text, resolve, reject, refusals: 0, timer: null });
      this.#transmit(text);
    });
  }

  /** @param {ErrorFrame} frame @param {Waiting} waiting */
  #refused(frame, waiting) {
    if (PASSING.has(frame.reason) && waiting.refusals < PATIENCE) {
      waiting.refusals += 1;
      waiting.timer = setTimeout(() => {
        waiting.timer = null;
        this.#transmit(waiting.text);
      }, this.#backoff(waiting.refusals));
      return;
    }
    this.#waiting.delete(waiting.id);
    waiting.reject(new Refused(frame));
  }

  // --- frames ---

  /** @param {ServerFrame} frame */
  #take(frame) {
    if (frame.batch) this.#stream(frame.batch.room, frame.batch, (room, batch) => room.take(batch), frame.batch);
    else if (frame.ok) this.#answered(frame.ok.id, frame.ok.answer);
    else if (frame.key) this.#learnKey(frame.key);
    else if (frame.void) {
      const skip = (/** @type {Room} */ room, /** @type {import('./types.js').VoidFrame} */ gap) => ({ changed: room.skip(gap), openings: [] });
      this.#stream(frame.void.room, frame.void, skip, frame.void);
    } else if (frame.opened) this.#opened(frame.opened.room, frame.opened.after);
    else if (frame.account) this.#accountChanged(frame.account);
    else if (frame.error) this.#error(frame.error);
    else if (frame.reset) this.#reset(frame.reset);
    else if (frame.watched) this.#watchedEvent(frame.watched);
    else if (frame.watch_lagged) this.#refreshRooms();
    else if (frame.welcome) this.#welcomed(frame.welcome);
    else if (frame.bye) this.#bye(frame.bye);
  }

  /**
   * @template {{from: number, to: number}} T
   * @param {string} id @param {T} frame
   * @param {(room: Room, frame: T) => {changed: Entry[], openings: Opening[]}} take
   * @param {{from: number, to: number}} range
   */
  #stream(id, frame, take, range) {
    const room = this.known.get(id);
    // Of an opening that is over.
    if (room?.state !== 'open') return;
    if (!room.continues(range)) {
      this.#reopen(room);
      this.#tell('reopened', { room });
      return;
    }
    const messages = room.view?.messages;
    const { changed, openings } = take(room, frame);
    this.#openInTurn(room, changed, openings);
    if (changed.length > 0 || messages !== room.view?.messages) this.#tell('rooms', this.list);
  }

  /** @param {RoomView} view @param {number} after */
  #opened(view, after) {
    const room = this.#room(view.room);
    if (room.state !== 'opening') return;
    const resumed = room.position !== null;
    if (!room.begin(view, after) && resumed) this.#tell('restarted', { room });
    for (const { resolve } of this.#opening.get(room.id) ?? []) resolve(room);
    this.#opening.delete(room.id);
    this.#tell('rooms', this.list);
    this.#tell('changed', { room, changed: [] });
  }

  /** @param {string} id @param {Answer} answer */
  #answered(id, answer) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    if (waiting.timer) clearTimeout(waiting.timer);
    waiting.resolve(answer);
  }

  /** @param {ErrorFrame} frame */
  #error(frame) {
    const waiting = frame.id === null ? undefined : this.#waiting.get(frame.id);
    if (waiting) return this.#refused(frame, waiting);
    if (frame.code === 'unauthenticated') {
      this.#refusedToken = true;
      this.status.reason = frame.message;
    }
    const room = frame.room === null ? undefined : this.known.get(frame.room);
    if (frame.id === null && room?.state === 'opening') this.#openRefused(room, frame);
    else this.#tell('problem', frame);
  }

  /** @param {Room} room @param {ErrorFrame} frame */
  #openRefused(room, frame) {
    room.state = 'closed';
    if (frame.reason === 'not_a_member' && room.view) {
      this.#notOpened(room, new Refused(frame));
      this.#removed(room);
    } else if (PASSING.has(frame.reason) || frame.reason === 'already_open') {
      if (frame.reason === 'already_open') this.#transmit(JSON.stringify({ close: { room: room.id } }));
      this.#openLater(room);
    } else {
      room.wanted = false;
      this.#notOpened(room, new Refused(frame));
      this.#tell('problem', frame);
    }
  }

  /** @param {{revision: number, event: import('./types.js').AccountChange}} change */
  #accountChanged({ revision, event }) {
    this.#accountRevision = Math.max(this.#accountRevision, revision);
    if ('joined' in event) {
      const room = this.#room(event.joined.room);
      if (room.state === 'removed') this.#joined(room);
      // The list has what the event does not say.
      if (this.#options.followRooms) this.#refreshRooms();
    } else {
      const room = this.known.get(event.left.room);
      if (room) this.#removed(room);
    }
  }

  /** @param {{room: string, why: 'removed' | 'unknown_position' | 'quarantined'}} reset */
  #reset({ room: id, why }) {
    const room = this.known.get(id);
    if (!room) return;
    if (why === 'removed') {
      this.#removed(room);
    } else if (why === 'unknown_position') {
      room.forget(0);
      this.#tell('restarted', { room });
      if (room.wanted) this.#sendOpen(room);
    } else {
      room.state = 'quarantined';
      room.wanted = false;
      this.#tell('rooms', this.list);
      this.#tell('changed', { room, changed: [] });
    }
  }

  /** @param {{room: string, item: Item}} watched */
  #watchedEvent({ room: id, item }) {
    const room = this.known.get(id);
    if (!room || room.state === 'open') return;
    room.notice(item);
    this.#tell('rooms', this.list);
  }

  /** @param {Room} room */
  #removed(room) {
    if (room.state === 'removed') return;
    room.state = 'removed';
    this.#notOpened(room, new ClientError('no_such_room', 'no longer a member'));
    this.#tell('removed', { room });
    this.#tell('rooms', this.list);
  }

  /** @param {Room} room */
  #joined(room) {
    room.state = 'closed';
    this.#tell('joined', { room });
    if (room.wanted && this.#ready) this.#sendOpen(room);
  }

  /** @param {string} id */
  #room(id) {
    let room = this.known.get(id);
    if (!room) this.known.set(id, (room = new Room(id, this.welcome?.site ?? '', this.account)));
    return room;
  }

  /** @param {Room} room */
  #sendOpen(room) {
    room.state = 'opening';
    const { id, position, limit } = room;
    this.#transmit(JSON.stringify({ open: position === null ? { room: id, limit } : { room: id, position } }));
  }

  /** @param {Room} room */
  #reopen(room) {
    this.#transmit(JSON.stringify({ close: { room: room.id } }));
    this.#sendOpen(room);
  }

  /** @param {Room} room */
  #openLater(room) {
    const generation = this.#generation;
    const timer = setTimeout(() => {
      this.#later.delete(timer);
      if (generation === this.#generation && room.wanted && room.state === 'closed') this.#sendOpen(room);
    }, this.#backoff(2));
    this.#later.add(timer);
  }

  /** @param {Room} room @param {Error} error */
  #notOpened(room, error) {
    for (const { reject } of this.#opening.get(room.id) ?? []) reject(error);
    this.#opening.delete(room.id);
  }

  #refreshRooms() {
    this.rooms().catch(() => {});
  }

  // --- the connection ---

  async #connect() {
    clearTimeout(this.#retryTimer);
    const generation = (this.#generation += 1);
    this.#tellStatus('connecting');
    const refused = this.#refusedToken;
    try {
      const token = typeof this.#tokens === 'string' ? this.#tokens : await this.#tokens({ refused });
      if (generation !== this.#generation) return;
      if (refused && token === this.#token) throw new Error(this.status.reason || 'the token was refused');
      this.#token = token;
    } catch (error) {
      if (generation === this.#generation) this.#end(refused ? 'invalid_token' : 'no_token', asError(error).message);
      return;
    }
    this.#refusedToken = false;
    /** @type {Socket} */ let socket;
    try {
      socket = new this.#options.webSocket(this.#url, [SUBPROTOCOL]);
    } catch (error) {
      this.#end('invalid_url', asError(error).message);
      return;
    }
    this.#socket = socket;
    const began = (this.#lastHeard = Date.now());
    socket.onopen = () => socket.send(JSON.stringify({ hello: { token: this.#token } }));
    socket.onmessage = (event) => {
      if (generation !== this.#generation) return;
      this.#lastHeard = Date.now();
      const frame = JSON.parse(event.data);
      if (typeof frame === 'object') this.#take(frame);
    };
    socket.onerror = () => {};
    socket.onclose = (event) => {
      if (generation !== this.#generation) return;
      const code = Number(event.code);
      if (code === 4001) this.#refusedToken = true;
      const final = FINAL_CLOSES.get(code);
      if (final) this.#end(final, event.reason || 'the account is disabled');
      else this.#lost(event.reason || this.status.reason || 'the connection was lost', null);
    };
    clearInterval(this.#pulse);
    const { pingAfterMs, deadAfterMs, connectMs } = this.#options;
    this.#pulse = setInterval(() => {
      const silent = Date.now() - this.#lastHeard;
      if (!this.#ready && Date.now() - began > connectMs) this.#lost('the server did not answer', null);
      else if (this.#ready && silent > deadAfterMs) this.#lost('the server fell silent', null);
      else if (silent > pingAfterMs) this.#transmit('"ping"');
    }, Math.min(5_000, pingAfterMs / 2, connectMs / 2));
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    if (this.welcome && this.welcome.account !== welcome.account) {
      this.#end('another_account', `the token is now one of ${welcome.account}, not of ${this.welcome.account}`);
      return;
    }
    this.welcome = welcome;
    this.#ready = true;
    this.#connectedAt = Date.now();
    this.#accountRevision = welcome.account_revision;
    this.#scheduleRefresh(welcome);
    // Rooms first, so that what this connection says comes back on it.
    for (const room of this.known.values()) {
      if (!room.view) room.site = room.site || welcome.site;
      room.account = welcome.account;
      if (room.wanted && room.state !== 'removed') this.#sendOpen(room);
    }
    for (const waiting of this.#waiting.values()) {
      if (waiting.timer) clearTimeout(waiting.timer);
      waiting.timer = null;
      this.#transmit(waiting.text);
    }
    if (this.#watched.length > 0) this.#transmit(JSON.stringify({ watch: { kinds: this.#watched } }));
    this.#tellStatus('connected');
    this.#tell('welcome', welcome);
    if (this.#options.followRooms) this.#refreshRooms();
  }

  /** Asks for a newer token before this one ends. @param {Welcome} welcome */
  #scheduleRefresh(welcome) {
    clearTimeout(this.#refreshTimer);
    if (welcome.expires === null || welcome.expires === undefined || typeof this.#tokens === 'string') return;
    const tokens = this.#tokens;
    const left = welcome.expires - welcome.time;
    const generation = this.#generation;
    // Timers take 31 bits.
    this.#refreshTimer = setTimeout(async () => {
      try {
        const token = await tokens({ refused: false });
        if (generation !== this.#generation || token === this.#token) return;
        this.#token = token;
        this.#transmit(JSON.stringify({ refresh: { token } }));
      } catch {
        // The connection ends with its token, and the next one asks again.
      }
    }, Math.min(2 ** 31 - 1, Math.max(0, left - Math.min(60_000, left / 5))));
  }

  /** @param {{code: number, reason: string, retry_after_ms: number | null}} bye */
  #bye({ code, reason, retry_after_ms }) {
    if (code === 4001) this.#refusedToken = true;
    const final = FINAL_CLOSES.get(code);
    if (final) this.#end(final, reason);
    else this.#lost(reason, retry_after_ms);
  }

  /** @param {string} text */
  #transmit(text) {
    if (this.#ready && this.#socket?.readyState === 1) this.#socket.send(text);
  }

  /** The connection is gone; the next one follows. @param {string} reason @param {number | null} retryAfterMs */
  #lost(reason, retryAfterMs) {
    const good = this.#ready && Date.now() - this.#connectedAt > GOOD_MS;
    const attempt = good ? 0 : this.status.attempt;
    this.#drop();
    const generation = this.#generation;
    const wait = Math.max(retryAfterMs ?? 0, this.#backoff(attempt));
    this.status = { ...this.status, attempt: attempt + 1 };
    this.#tellStatus('waiting', { retryAt: Date.now() + wait, reason });
    this.#retryTimer = setTimeout(() => {
      if (generation === this.#generation) this.#connect();
    }, wait);
  }

  /** @param {string} code @param {string} reason */
  #end(code, reason) {
    if (this.status.state === 'ended') return;
    this.#drop();
    this.#tellStatus('ended', { reason, code });
    const error = new ClientError('closed', reason);
    for (const waiting of this.#waiting.values()) {
      if (waiting.timer) clearTimeout(waiting.timer);
      waiting.reject(error);
    }
    this.#waiting.clear();
    for (const room of this.known.values()) this.#notOpened(room, error);
  }

  /** Lets go of the socket; its events are of an earlier generation now. */
  #drop() {
    this.#generation += 1;
    this.#ready = false;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#refreshTimer);
    clearInterval(this.#pulse);
    for (const timer of this.#later) clearTimeout(timer);
    this.#later.clear();
    const socket = this.#socket;
    this.#socket = null;
    for (const room of this.known.values()) {
      if (room.state === 'open' || room.state === 'opening') room.state = 'closed';
    }
    try {
      socket?.close(1000);
    } catch {
      // It never opened.
    }
  }

  /** Doubles, with jitter over its upper half, up to the bound. @param {number} attempt */
  #backoff(attempt) {
    const { backoffFirstMs, backoffMostMs } = this.#options;
    const most = Math.min(backoffMostMs, backoffFirstMs * 2 ** Math.min(attempt, 16));
    return most * (0.5 + Math.random() / 2);
  }

  /** @param {Status['state']} state @param {Partial<Status>} [rest] */
  #tellStatus(state, rest = {}) {
    const reason = state === 'connected' ? '' : this.status.reason;
    this.status = { attempt: this.status.attempt, retryAt: null, code: null, reason, ...rest, state };
    this.#tell('status', this.status);
  }

  /**
   * @template {keyof Events} K
   * @param {K} name @param {Events[K]} event
   */
  #tell(name, event) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(event);
  }
}

/** A message's name: 20 characters of base 62, each equally likely. */
export function messageId() {
  let id = '';
  while (id.length < 20) {
    for (const byte of crypto.getRandomValues(new Uint8Array(32))) {
      // 248 is the largest multiple of 62 in a byte: what is above would favour the first characters.
      if (byte < 248 && id.length < 20) id += BASE62[byte % 62];
    }
  }
  return id;
}

/** @param {unknown} error */
function asError(error) {
  return error instanceof Error ? error : new Error(String(error));
}

/** @param {object} answer */
function unexpected(answer) {
  return new ClientError('unexpected', `the server answered something else: ${Object.keys(answer).join()}`);
}

function tooManyWaiting() {
  return new ClientError('too_many_waiting', `${WAITING_MAX} requests wait for an answer`);
}
