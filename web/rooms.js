// The rooms of a client: which are to be open, and what the server delivers of them.
//
// Keeps to the order of the log: a revision is taken when it follows the last one, and otherwise the room is opened again
// where it broke. A room goes through `closed`, `opening`, `open`; `removed` until the account is a member again.

import { ClientError, Refused, passes, unexpected } from './requests.js';
import { Room } from './room.js';

/** @import { Events } from './client.js' */
/** @import { Connection } from './connection.js' */
/** @import { Keys } from './keys.js' */
/** @import { Entry, Opening } from './room.js' */
/** @import { AccountChange, Answer, ErrorFrame, Item, RoomView, ServerFrame, Welcome } from './types.js' */

/** @typedef {<K extends keyof Events>(name: K, event: Events[K]) => void} Tell */

/** How long until a quarantined room is tried to be opened again: it may be mended, or an operator may have it go on. */
const QUARANTINE_MS = 10_000;

export class Rooms {
  /** Every room heard of, by id. @type {Map<string, Room>} */ known = new Map();
  #connection;
  #keys;
  #ask;
  #tell;
  #follow;
  #account = '';
  #site = '';
  #accountRevision = 0;
  /** Who waits for a room to open. @type {Map<string, {resolve: (room: Room) => void, reject: (error: Error) => void}[]>} */ #opening = new Map();
  /** @type {string[]} */ #watched = [];

  /**
   * @param {{connection: Connection, keys: Keys, ask: () => Promise<Answer>, tell: Tell, follow: boolean}} parts
   *   `ask`: for the list of rooms; `follow`: whether that is done whenever it may have changed.
   */
  constructor({ connection, keys, ask, tell, follow }) {
    this.#connection = connection;
    this.#keys = keys;
    this.#ask = ask;
    this.#tell = tell;
    this.#follow = follow;
  }

  /** Those of which something is known, the last active first. */
  get list() {
    return [...this.known.values()].filter((room) => room.view).sort((a, b) => (b.view?.time ?? 0) - (a.view?.time ?? 0));
  }

  /** A room, heard of or not. @param {string} id */
  room(id) {
    let room = this.known.get(id);
    if (!room) this.known.set(id, (room = new Room(id, this.#site, this.#account)));
    return room;
  }

  /**
   * Has the room delivered from here on, beginning with its last `limit` revisions, until `close`.
   * @param {string} id @param {{limit?: number}} [options]
   * @returns {Promise<Room>}
   */
  open(id, { limit } = {}) {
    const room = this.room(id);
    if (limit !== undefined) room.limit = limit;
    room.wanted = true;
    if (room.state === 'open') return Promise.resolve(room);
    return new Promise((resolve, reject) => {
      this.#opening.set(id, [...(this.#opening.get(id) ?? []), { resolve, reject }]);
      if (room.state !== 'opening' && this.#connection.ready) this.#sendOpen(room);
    });
  }

  /** No longer has the room delivered. What was said is kept. @param {string} id */
  close(id) {
    const room = this.room(id);
    room.wanted = false;
    this.#notOpened(room, new ClientError('closed', 'the room was closed before it was open'));
    if (room.state === 'open' || room.state === 'opening') {
      room.state = 'closed';
      if (this.#connection.ready) this.#send({ close: { room: id } });
    }
  }

  /** Asks for the list of rooms; tells `rooms`. @returns {Promise<RoomView[]>} */
  async refresh() {
    let answer = await this.#ask();
    // Older than what we were told since: ask again.
    for (let attempt = 0; attempt < 3 && 'rooms' in answer; attempt += 1) {
      if (answer.rooms.account_revision >= this.#accountRevision) break;
      answer = await this.#ask();
    }
    if (!('rooms' in answer)) throw unexpected(answer);
    const { rooms } = answer.rooms;
    const ids = new Set(rooms.map((view) => view.room));
    for (const view of rooms) {
      const room = this.room(view.room);
      room.see(view);
      if (room.state === 'removed') this.#joined(room);
    }
    for (const room of this.known.values()) {
      if (room.view && room.state !== 'removed' && !ids.has(room.id)) this.#removed(room);
    }
    this.#listed();
    return rooms;
  }

  /** Has events of these kinds counted in all rooms, open or not; see `unread`. @param {string[]} kinds */
  watch(kinds) {
    this.#watched = kinds;
    if (this.#connection.ready) this.#send({ watch: { kinds } });
  }

  /** Opens what is to be opened, then tells what changed, in the order of the log. @param {Room} room @param {Entry[]} changed @param {Opening[]} openings */
  show(room, changed, openings) {
    const before = room.openings;
    const opened = Promise.all(openings.map((opening) => this.#keys.open(room, opening)));
    const turn = Promise.all([before, opened]).then(() => {
      if (changed.length > 0) this.#tell('changed', { room, changed });
    });
    room.openings = turn;
    return turn;
  }

  /** What the server sent, apart from answers. @param {ServerFrame} frame */
  take(frame) {
    if (frame.batch) this.#stream(frame.batch, (room, batch) => room.take(batch));
    else if (frame.void) this.#stream(frame.void, (room, gap) => ({ changed: room.skip(gap), openings: [] }));
    else if (frame.key) this.#keys.learn(this.room(frame.key.room), frame.key);
    else if (frame.opened) this.#opened(frame.opened.room, frame.opened.after);
    else if (frame.account) this.#accountChanged(frame.account);
    else if (frame.reset) this.#reset(frame.reset);
    else if (frame.watched) this.#watchedEvent(frame.watched);
    else if (frame.watch_lagged) this.#refreshSoon();
  }

  /** A refusal that answers no request: gives whether it was one of opening a room. @param {ErrorFrame} frame */
  refused(frame) {
    const room = frame.room === null ? undefined : this.known.get(frame.room);
    if (frame.id !== null || room?.state !== 'opening') return false;
    this.#openRefused(room, frame);
    return true;
  }

  /** There is a connection: what is to be open is opened. @param {Welcome} welcome */
  welcomed({ account, site, account_revision }) {
    this.#account = account;
    this.#site = site;
    this.#accountRevision = account_revision;
    for (const room of this.known.values()) {
      if (!room.view) room.site = room.site || site;
      room.account = account;
      if (room.wanted && room.state !== 'removed') this.#sendOpen(room);
    }
    if (this.#watched.length > 0) this.#send({ watch: { kinds: this.#watched } });
  }

  /** Nothing is open on the server any more. */
  dropped() {
    for (const room of this.known.values()) {
      if (room.state === 'open' || room.state === 'opening') room.state = 'closed';
    }
  }

  /** Nobody will open anything any more. @param {Error} error */
  ended(error) {
    for (const room of this.known.values()) this.#notOpened(room, error);
  }

  /**
   * @template {{room: string, from: number, to: number}} T
   * @param {T} frame
   * @param {(room: Room, frame: T) => {changed: Entry[], openings: Opening[]}} take
   */
  #stream(frame, take) {
    const room = this.known.get(frame.room);
    // Of an opening that is over.
    if (room?.state !== 'open') return;
    if (!room.continues(frame)) {
      this.#send({ close: { room: room.id } });
      this.#sendOpen(room);
      this.#tell('reopened', { room });
      return;
    }
    const messages = room.view?.messages;
    const { changed, openings } = take(room, frame);
    this.show(room, changed, openings);
    if (changed.length > 0 || messages !== room.view?.messages) this.#listed();
  }

  /** @param {RoomView} view @param {number} after */
  #opened(view, after) {
    const room = this.room(view.room);
    if (room.state !== 'opening') return;
    const resumed = room.position !== null;
    if (!room.begin(view, after) && resumed) this.#tell('restarted', { room });
    for (const { resolve } of this.#opening.get(room.id) ?? []) resolve(room);
    this.#opening.delete(room.id);
    this.#listed();
    this.#tell('changed', { room, changed: [] });
  }

  /** @param {Room} room @param {ErrorFrame} frame */
  #openRefused(room, frame) {
    room.state = 'closed';
    if (frame.reason === 'not_a_member' && room.view) {
      this.#notOpened(room, new Refused(frame));
      this.#removed(room);
    } else if (frame.reason === 'quarantined' && room.view) {
      this.#quarantined(room);
    } else if (passes(frame) || frame.reason === 'already_open') {
      if (frame.reason === 'already_open') this.#send({ close: { room: room.id } });
      this.#openLater(room);
    } else {
      room.wanted = false;
      this.#notOpened(room, new Refused(frame));
      this.#tell('problem', frame);
    }
  }

  /** @param {{revision: number, event: AccountChange}} change */
  #accountChanged({ revision, event }) {
    this.#accountRevision = Math.max(this.#accountRevision, revision);
    if ('joined' in event) {
      const room = this.room(event.joined.room);
      if (room.state === 'removed') this.#joined(room);
      // The list has what the event does not say.
      if (this.#follow) this.#refreshSoon();
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
      this.#quarantined(room);
      this.#tell('changed', { room, changed: [] });
    }
  }

  /** @param {{room: string, item: Item}} watched */
  #watchedEvent({ room: id, item }) {
    const room = this.known.get(id);
    if (!room || room.state === 'open') return;
    room.notice(item);
    this.#listed();
  }

  /** @param {Room} room */
  #removed(room) {
    if (room.state === 'removed') return;
    room.state = 'removed';
    this.#notOpened(room, new ClientError('no_such_room', 'no longer a member'));
    this.#tell('removed', { room });
    this.#listed();
  }

  /** @param {Room} room */
  #joined(room) {
    room.state = 'closed';
    this.#tell('joined', { room });
    if (room.wanted && this.#connection.ready) this.#sendOpen(room);
  }

  /** @param {Room} room */
  #quarantined(room) {
    room.state = 'quarantined';
    this.#listed();
    setTimeout(() => this.#tryAgain(room), QUARANTINE_MS);
  }

  /** @param {Room} room */
  #tryAgain(room) {
    if (room.state === 'quarantined' && room.wanted && this.#connection.ready) this.#sendOpen(room);
  }

  /** @param {Room} room */
  #sendOpen(room) {
    room.state = 'opening';
    const { id, position, limit } = room;
    this.#send({ open: position === null ? { room: id, limit } : { room: id, position } });
  }

  /** @param {Room} room */
  #openLater(room) {
    const { generation } = this.#connection;
    setTimeout(() => {
      if (generation === this.#connection.generation && room.wanted && room.state === 'closed') this.#sendOpen(room);
    }, this.#connection.backoff(2));
  }

  /** @param {Room} room @param {Error} error */
  #notOpened(room, error) {
    for (const { reject } of this.#opening.get(room.id) ?? []) reject(error);
    this.#opening.delete(room.id);
  }

  #listed() {
    this.#tell('rooms', this.list);
  }

  #refreshSoon() {
    this.refresh().catch(() => {});
  }

  /** @param {object} frame */
  #send(frame) {
    this.#connection.transmit(JSON.stringify(frame));
  }
}
