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

import { Connection } from './connection.js';
import { Keys } from './keys.js';
import { ClientError, Refused, Requests, unexpected } from './requests.js';
import { Room } from './room.js';
import { Rooms } from './rooms.js';

export { SUBPROTOCOL } from './connection.js';
export { Opener, OpenError, Sealer } from './envelope.js';
export { ClientError, Refused } from './requests.js';
export { Room } from './room.js';

/** @import { Status, Timing, TokenSource } from './connection.js' */
/** @import { Entry, Message, Opening } from './room.js' */
/** @import { AccountChange, Answer, Envelope, ErrorFrame, HistoryPage, Item, KeyFrame, MembersPage, MemberView, Outcome, Role, RoomView, Sent, ServerFrame, SocketClass, Welcome } from './types.js' */

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
 * Times are told in connection.js.
 * @typedef {Partial<Timing> & {followRooms?: boolean}} Options `followRooms`: keep the list of rooms up to date; on unless `false`.
 */

/** How often one message is sealed again before we give up. */
const RESEALS = 8;
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** One account's connection, and its rooms. */
export class Client {
  /** The server's last welcome. @type {Welcome | null} */ welcome = null;

  #connection;
  #requests;
  #keys = new Keys((room, version) => this.key(room, version));
  #rooms;
  #follow;
  /** @type {Map<keyof Events, Set<(event: any) => void>>} */ #listeners = new Map();

  /**
   * Does not connect yet: see `start`.
   * @param {string | URL} url `ws:` or `wss:`
   * @param {TokenSource} token A token, or what gives one whenever it is needed.
   * @param {Options} [options]
   */
  constructor(url, token, { followRooms = true, webSocket, ...timing } = {}) {
    const socketClass = webSocket ?? /** @type {SocketClass | undefined} */ (globalThis.WebSocket);
    if (!socketClass) throw new Error('there is no WebSocket here: pass one as `webSocket`, for instance of the package `ws`');
    const times = { backoffFirstMs: 500, backoffMostMs: 30_000, pingAfterMs: 10_000, answerMs: 8_000, connectMs: 15_000 };
    const connection = new Connection(String(url), token, { ...times, ...timing, webSocket: socketClass }, {
      status: (status) => this.#tell('status', status),
      welcome: (welcome) => this.#welcomed(welcome),
      frame: (frame) => this.#take(frame),
      dropped: () => this.#rooms.dropped(),
      ended: (reason) => this.#ended(new ClientError('closed', reason)),
    });
    this.#connection = connection;
    this.#requests = new Requests((text) => connection.transmit(text), (attempt) => connection.backoff(attempt));
    this.#rooms = new Rooms({
      connection,
      keys: this.#keys,
      ask: () => this.#query('rooms'),
      tell: (name, event) => this.#tell(name, event),
      follow: followRooms,
    });
    this.#follow = followRooms;
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
      this.#connection.connect();
    });
  }

  /** Ends the connection and everything that waits for an answer. */
  stop() {
    this.#connection.end('closed', 'the client was closed');
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
    this.#connection.wake();
  }

  /** What the connection is doing. */
  get status() {
    return this.#connection.status;
  }

  /** The account, once the server said welcome. */
  get account() {
    return this.welcome?.account ?? '';
  }

  /** Every room heard of, by id. */
  get known() {
    return this.#rooms.known;
  }

  /** Rooms this account is in, or was removed from, the last active first. */
  get list() {
    return this.#rooms.list;
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
  open(id, options) {
    return this.#rooms.open(id, options);
  }

  /** No longer has the room delivered. What was said is kept. @param {string} id */
  close(id) {
    this.#rooms.close(id);
  }

  /** Asks for the list of rooms; tells `rooms`. @returns {Promise<RoomView[]>} */
  rooms() {
    return this.#rooms.refresh();
  }

  /** Has events of these kinds counted in all rooms, open or not; see `unread`. @param {string[]} kinds */
  watch(kinds) {
    this.#rooms.watch(kinds);
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
    const room = this.#rooms.room(id);
    const message = room.say(messageId(), text, Date.now());
    return this.#sendMessage(room, message);
  }

  /** Says a refused message again, under the same message id. @param {string} id @param {string} message @returns {Promise<Sent>} */
  retry(id, message) {
    const room = this.#rooms.room(id);
    const unsent = room.unsent.get(message);
    if (!unsent?.failed) return Promise.reject(new ClientError('not_loaded', 'no refused message has this id'));
    unsent.failed = null;
    unsent.pending = true;
    return this.#sendMessage(room, unsent);
  }

  /** Forgets a refused message. @param {string} id @param {string} message */
  discard(id, message) {
    const room = this.#rooms.room(id);
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
    const room = this.#rooms.room(id);
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
    const room = this.#rooms.room(id);
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
    const room = this.#rooms.room(id);
    const scratch = new Room(id, room.site, this.account);
    scratch.first = Infinity;
    const { openings } = scratch.takeOlder(page);
    await Promise.all(openings.map((opening) => this.#keys.open(room, opening)));
    return { messages: scratch.messages, from: page.from, to: page.to, more: page.more };
  }

  /** Loads what was before the first entry of an open room; tells `changed`. @param {string} id @param {number} [limit] */
  async older(id, limit) {
    const room = this.#rooms.room(id);
    if (!room.more) return 0;
    const { first } = room;
    const page = await this.#history(id, { before: first }, limit);
    // The room was opened anew, or somebody else asked for the same page.
    if (room.first !== first) return 0;
    const { changed, openings } = room.takeOlder(page);
    await this.#rooms.show(room, changed, openings);
    return changed.length;
  }

  /**
   * What is said in an open room, from its first loaded message on, as it comes.
   * @param {string} id @param {{after?: number}} [from] Only after this revision.
   * @returns {AsyncGenerator<Message>}
   */
  async *messages(id, { after = 0 } = {}) {
    const room = this.#rooms.room(id);
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
    this.#keys.learn(this.#rooms.room(room), answer.key);
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
        const sealed = await this.#keys.seal(room, message, edit, text);
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
    return this.#requests.ask(id, text);
  }

  // --- what the server says ---

  /** @param {ServerFrame} frame */
  #take(frame) {
    if (frame.ok) this.#requests.answered(frame.ok.id, frame.ok.answer);
    else if (frame.error) this.#error(frame.error);
    else this.#rooms.take(frame);
  }

  /** @param {ErrorFrame} frame */
  #error(frame) {
    if (this.#requests.refused(frame) || this.#rooms.refused(frame)) return;
    if (frame.code === 'unauthenticated') this.#connection.tokenRefused(frame.message);
    this.#tell('problem', frame);
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.welcome = welcome;
    // Rooms first, so that what this connection says comes back on it.
    this.#rooms.welcomed(welcome);
    this.#requests.again();
    this.#tell('welcome', welcome);
    if (this.#follow) this.rooms().catch(() => {});
  }

  /** @param {Error} error */
  #ended(error) {
    this.#requests.end(error);
    this.#rooms.ended(error);
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
