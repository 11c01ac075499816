// A room as one client knows it: the fold over the frames it was sent, and what was said, in order.
//
// Nothing here waits or sends. Revisions come in one by one; what must be opened is handed back to the caller, so that the
// order of the log never depends on how long cryptography takes.

/** @import { Batch, CurrentKey, Envelope, HistoryPage, Item, RoomEvent, RoomView, VoidFrame } from './types.js' */
/** @import { Claim, Opener, Sealer } from './envelope.js' */

/**
 * Something said, by a member or by the room.
 * @typedef {object} Message
 * @property {'message'} type
 * @property {string} room
 * @property {string} message Its id, chosen by the sender.
 * @property {number | null} revision `null` until the server has recorded it.
 * @property {number} time Milliseconds since the epoch: the server's, or ours while it is pending.
 * @property {string} sender The account.
 * @property {'message' | 'system'} kind
 * @property {string | null} text `null` when deleted, or when it could not be opened.
 * @property {number} version The key version it is sealed under.
 * @property {number} ordinal How many messages of members there are up to here.
 * @property {number} edits How often it was edited.
 * @property {boolean} edited
 * @property {boolean} deleted
 * @property {boolean} own Whether this account said it.
 * @property {boolean} pending Sent by this client and not yet seen in the stream.
 * @property {Error | null} failed Why it was refused.
 * @property {string | null} unreadable Why it could not be opened.
 * @property {{kind: string, accounts: string[]} | null} system What a system message is about.
 * @property {Envelope | null} sealed The envelope that `text` was opened from.
 */

/**
 * Something that happened beside what was said.
 * @typedef {object} Notice
 * @property {'notice'} type
 * @property {string} room
 * @property {number} revision
 * @property {number} time
 * @property {string} account Who asked for it.
 * @property {RoomEvent} event
 */

/**
 * Revisions that this account may not read.
 * @typedef {object} Gap
 * @property {'gap'} type
 * @property {string} room
 * @property {number} revision The first.
 * @property {number} to The last.
 * @property {VoidFrame['why']} why
 */

/** @typedef {Message | Notice | Gap} Entry */

/**
 * An envelope to open into a message, unless another edit or a deletion overtakes it.
 * @typedef {object} Opening
 * @property {Message} message
 * @property {Envelope} envelope
 * @property {Claim} claim
 */

/** @typedef {'closed' | 'opening' | 'open' | 'removed' | 'quarantined'} RoomState */

/** Entries kept in memory; older ones are dropped, and can be loaded again. */
const ENTRIES_MAX = 5_000;
/** Edits and deletions remembered of messages that are not loaded. */
const CHANGES_MAX = 5_000;

/** A room. Read its fields; only its client changes them. */
export class Room {
  /** @type {RoomState} */ state = 'closed';
  /** Whether it is to be open; survives reconnects and removals. */
  wanted = false;
  /** How many of the last revisions to begin with. */
  limit = 50;
  /** @type {RoomView | null} */ view = null;
  /** The last revision that was covered; 0 before the first. */
  last = 0;
  /** The first revision that was covered. */
  first = 1;
  /** What to resume from. @type {string | null} */ position = null;
  /** Whether there is something before `first`. */
  more = false;
  /** What was said and what happened, by revision. @type {Entry[]} */ entries = [];
  /** Sent by this client and not in `entries` yet, in the order of sending. @type {Map<string, Message>} */ unsent = new Map();
  /** Openers by version. @type {Map<number, Promise<Opener>>} */ keys = new Map();
  /** The key to seal under. @type {CurrentKey | null} */ current = null;
  /** The sealer of the current version. @type {{version: number, sealer: Promise<Sealer>} | null} */ sealing = null;
  /** One after the other, so that what is said first is recorded first. @type {Promise<unknown>} */ sends = Promise.resolve();
  /** One after the other, so that changes are told in the order of the log. @type {Promise<unknown>} */ openings = Promise.resolve();
  /** Members' messages up to the read mark. */
  #readOrdinal = 0;
  /** By revision of the message. @type {Map<number, {item: Item, edit: number, version: number}>} */ #edits = new Map();
  /** Revisions of messages. @type {Set<number>} */ #deleted = new Set();

  /** @param {string} id @param {string} site @param {string} account Whose client this is. */
  constructor(id, site, account) {
    this.id = id;
    this.site = site;
    this.account = account;
  }

  /** What to call it. */
  get name() {
    return this.view?.name ?? this.id;
  }

  /** How many messages of members were not read. */
  get unread() {
    return this.view?.unread ?? 0;
  }

  /** What was said, by revision, what is not yet recorded at the end. @returns {Message[]} */
  get messages() {
    const said = /** @type {Message[]} */ (this.entries.filter((entry) => entry.type === 'message'));
    return [...said, ...this.unsent.values()];
  }

  /** @param {number} revision @returns {Message | undefined} */
  message(revision) {
    const entry = this.entries[this.#place(revision)];
    return entry?.type === 'message' && entry.revision === revision ? entry : undefined;
  }

  /** The server's word on the room; an older one than we have is ignored. @param {RoomView} view */
  see(view) {
    if (this.view && view.head < this.view.head) return;
    const read = Math.max(view.messages - view.unread, this.#readOrdinal);
    this.view = { ...view };
    this.site = view.site ?? this.site;
    this.#readOrdinal = read;
    this.#count(view.messages);
    this.learn(view.key);
  }

  /** A key version that may be the current one. @param {CurrentKey} key */
  learn(key) {
    if (!this.current || key.version > this.current.version) this.current = { version: key.version, public: key.public };
    if (this.view && key.version > this.view.key.version) this.view.key = this.current;
  }

  /**
   * The server delivers from after `after` on. Returns whether what is known goes on there; otherwise it is dropped.
   * @param {RoomView} view @param {number} after
   */
  begin(view, after) {
    const continues = this.position !== null && after === this.last;
    if (!continues) this.forget(after);
    this.state = 'open';
    this.see(view);
    return continues;
  }

  /** Drops what was said: the log begins again after `after`. @param {number} after */
  forget(after) {
    this.entries = [];
    this.position = null;
    this.#edits.clear();
    this.#deleted.clear();
    this.last = after;
    this.first = after + 1;
    this.more = after > 0;
    for (const [id, message] of this.unsent) if (message.revision !== null) this.unsent.delete(id);
  }

  /**
   * Whether a frame continues the stream. If not, the stream is broken and the room must be opened again.
   * @param {{from: number, to: number}} range
   */
  continues({ from, to }) {
    return from === this.last + 1 && to >= from;
  }

  /** @param {Batch} batch @returns {{changed: Entry[], openings: Opening[]}} */
  take(batch) {
    const result = this.#fold(batch.items, true);
    this.last = batch.to;
    this.position = batch.position;
    this.#trim();
    return result;
  }

  /** @param {VoidFrame} gap @returns {Entry[]} */
  skip(gap) {
    this.last = gap.to;
    this.position = gap.position;
    if (gap.why === 'filtered') return [];
    /** @type {Gap} */
    const entry = { type: 'gap', room: this.id, revision: gap.from, to: gap.to, why: gap.why };
    this.entries.push(entry);
    return [entry];
  }

  /** A page from before `first`. @param {HistoryPage} page @returns {{changed: Entry[], openings: Opening[]}} */
  takeOlder(page) {
    const result = this.#fold(page.items.filter((item) => item.revision < this.first), false);
    this.first = Math.min(this.first, page.from);
    this.more = page.more && this.first > 1;
    return result;
  }

  /** Something that happened while the room was not open. @param {Item} item */
  notice(item) {
    if (this.view && item.revision > this.view.head) this.#present(item);
  }

  /** Notes that everything up to `revision` was read. @param {number} revision */
  read(revision) {
    if (!this.view) return;
    this.view.read = Math.max(this.view.read, revision);
    const ordinal = this.entries.reduce(
      (most, entry) => (entry.type === 'message' && (entry.revision ?? Infinity) <= revision ? Math.max(most, entry.ordinal) : most),
      0,
    );
    this.#readOrdinal = Math.max(this.#readOrdinal, revision >= this.view.head ? this.view.messages : ordinal);
    this.#count(this.view.messages);
  }

  /**
   * A message that is about to be sent.
   * @param {string} id @param {string} text @param {number} time
   * @returns {Message}
   */
  say(id, text, time) {
    const message = this.#blank(id, this.account, time);
    message.text = text;
    message.pending = true;
    this.unsent.set(id, message);
    return message;
  }

  /**
   * Folds items; `live` ones also change what the room looks like now.
   * @param {Item[]} items @param {boolean} live
   */
  #fold(items, live) {
    /** @type {Set<Entry>} */ const changed = new Set();
    /** @type {Opening[]} */ const openings = [];
    /** @type {Entry[]} */ const added = [];
    const before = this.entries;
    for (const item of items) {
      if (live && item.revision > (this.view?.head ?? 0)) this.#present(item);
      const entry = this.#entry(item, openings, changed, added);
      if (!entry) continue;
      added.push(entry);
      changed.add(entry);
      // Later items of the same page look for it by revision.
      if (live) this.entries.push(entry);
    }
    if (!live) this.entries = [...added, ...before];
    return { changed: [...changed], openings };
  }

  /** @param {Item} item @param {Opening[]} openings @param {Set<Entry>} changed @param {Entry[]} added @returns {Entry | null} */
  #entry(item, openings, changed, added) {
    const event = item.event;
    if (typeof event === 'string') return null;
    /** @param {number} revision @returns {Message | undefined} */
    const find = (revision) =>
      this.message(revision) ??
      /** @type {Message | undefined} */ (added.find((entry) => entry.type === 'message' && entry.revision === revision));
    if ('message' in event) return this.#message(item, event.message, openings);
    if ('edited' in event) {
      const { revision, edit, version } = event.edited;
      const message = find(revision);
      if (!message) remember(this.#edits, revision, { item, edit, version }, edit);
      else if (this.#edit(message, item, edit, version, openings)) changed.add(message);
      return null;
    }
    if ('deleted' in event) {
      const message = find(event.deleted.revision);
      if (message) {
        erase(message);
        changed.add(message);
      } else {
        this.#deleted.add(event.deleted.revision);
        if (this.#deleted.size > CHANGES_MAX) this.#deleted.delete(/** @type {number} */ (this.#deleted.values().next().value));
      }
      return null;
    }
    if ('created' in event) this.site = event.created.site;
    const told = 'role_set' in event || ('key_rotated' in event && event.key_rotated.version > 0) || 'continued' in event;
    if (!told) return null;
    return { type: 'notice', room: this.id, revision: item.revision, time: item.time, account: item.account, event };
  }

  /** @param {Item} item @param {{message: string, kind: 'message' | 'system', version: number, ordinal: number}} event @param {Opening[]} openings */
  #message(item, event, openings) {
    const message = this.#blank(event.message, item.account, item.time);
    message.revision = item.revision;
    message.kind = event.kind;
    message.version = event.version;
    message.ordinal = event.ordinal;
    message.own = event.kind === 'message' && message.own;
    const sent = message.own ? this.unsent.get(event.message) : undefined;
    if (sent) {
      message.text = sent.text;
      this.unsent.delete(event.message);
    }
    const edit = this.#edits.get(item.revision);
    this.#edits.delete(item.revision);
    if (this.#deleted.delete(item.revision) || !item.body) {
      erase(message);
    } else if (!edit || !this.#edit(message, edit.item, edit.edit, edit.version, openings)) {
      openings.push(this.#opening(message, item.body, 0));
    }
    return message;
  }

  /** @param {Message} message @param {Item} item @param {number} edit @param {number} version @param {Opening[]} openings */
  #edit(message, item, edit, version, openings) {
    if (message.deleted || edit <= message.edits || !item.body) return false;
    message.edits = edit;
    message.edited = true;
    message.version = version;
    openings.push(this.#opening(message, item.body, edit));
    return true;
  }

  /** @param {Message} message @param {Envelope} envelope @param {number} edit @returns {Opening} */
  #opening(message, envelope, edit) {
    message.sealed = envelope;
    const { version, kind, sender } = message;
    return { message, envelope, claim: { room: this.id, version, kind, sender, message: message.message, edit } };
  }

  /** What the room looks like after `item`. @param {Item} item */
  #present(item) {
    const view = this.view;
    if (!view) return;
    const event = item.event;
    view.head = item.revision;
    view.time = item.time;
    if (event === 'archived') view.archived = true;
    if (typeof event === 'string') return;
    if ('members_added' in event) view.members += event.members_added.accounts.length;
    if ('members_removed' in event) view.members -= event.members_removed.accounts.length;
    if ('role_set' in event && event.role_set.account === this.account) view.role = event.role_set.role;
    if ('renamed' in event) view.name = event.renamed.name;
    if ('key_rotated' in event) this.learn(event.key_rotated);
    if ('message' in event) {
      // Who speaks in a room that was read up to here has read what it says itself.
      if (item.account === this.account && view.unread === 0) this.#readOrdinal = event.message.ordinal;
      this.#count(event.message.ordinal);
    }
  }

  /** @param {number} messages */
  #count(messages) {
    if (!this.view) return;
    this.view.messages = messages;
    this.view.unread = Math.max(0, messages - this.#readOrdinal);
  }

  /** Where the entry of a revision is, or would be. @param {number} revision */
  #place(revision) {
    let [low, high] = [0, this.entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (/** @type {number} */ (/** @type {Entry} */ (this.entries[middle]).revision) < revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #trim() {
    if (this.entries.length <= ENTRIES_MAX) return;
    this.entries = this.entries.slice(-ENTRIES_MAX);
    this.first = /** @type {number} */ (/** @type {Entry} */ (this.entries[0]).revision);
    this.more = true;
  }

  /** @param {string} id @param {string} sender @param {number} time @returns {Message} */
  #blank(id, sender, time) {
    return {
      type: 'message',
      room: this.id,
      message: id,
      revision: null,
      time,
      sender,
      kind: 'message',
      text: null,
      version: this.current?.version ?? 0,
      ordinal: 0,
      edits: 0,
      edited: false,
      deleted: false,
      own: sender === this.account,
      pending: false,
      failed: null,
      unreadable: null,
      system: null,
      sealed: null,
    };
  }
}

/** @param {Message} message */
function erase(message) {
  message.deleted = true;
  message.text = null;
  message.sealed = null;
  message.unreadable = null;
}

/**
 * Keeps the highest edit of each message, and of not too many.
 * @template {{edit: number}} T
 * @param {Map<number, T>} edits @param {number} revision @param {T} value @param {number} edit
 */
function remember(edits, revision, value, edit) {
  if ((edits.get(revision)?.edit ?? 0) < edit) edits.set(revision, value);
  if (edits.size > CHANGES_MAX) edits.delete(/** @type {number} */ (edits.keys().next().value));
}
