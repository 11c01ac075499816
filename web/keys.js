// The keys of a client's rooms: what is sealed with them, and what is opened.

import { Opener, Sealer, fromBase64, utf8 } from './envelope.js';
import { ClientError } from './requests.js';

/** @import { Claim } from './envelope.js' */
/** @import { Opening, Room } from './room.js' */
/** @import { Envelope, KeyFrame } from './types.js' */

/** Key versions kept per room; older ones are asked for again when they are needed. */
const VERSIONS_MAX = 256;

/** Seals and opens for one client. */
export class Keys {
  /** Keys being asked for. @type {Map<string, Promise<Opener>>} */ #asking = new Map();
  #fetch;

  /** @param {(room: string, version?: number) => Promise<KeyFrame>} fetch Asks the server for a key, the current one without a version. */
  constructor(fetch) {
    this.#fetch = fetch;
  }

  /** The server gave a key. @param {Room} room @param {KeyFrame} frame */
  learn(room, { version, public: publicKey, secret }) {
    room.learn({ version, public: publicKey });
    const known = room.keys.get(version);
    if (known) return known;
    const opener = Opener.create({ site: room.site, room: room.id, version }, fromBase64(publicKey), fromBase64(secret));
    // Whoever opens with it sees why it is no key.
    opener.catch(() => {});
    room.keys.set(version, opener);
    if (room.keys.size > VERSIONS_MAX) room.keys.delete(Math.min(...room.keys.keys()));
    return opener;
  }

  /**
   * Seals a text under the room's current key. Not to be called twice at a time for one room: a sealer is made once.
   * @param {Room} room @param {string} message @param {number} edit @param {string} text
   * @returns {Promise<Envelope>}
   */
  async seal(room, message, edit, text) {
    if (!room.current) await this.#fetch(room.id);
    const current = room.current;
    if (!current) throw new ClientError('unexpected', 'the server gave no key to seal under');
    const { version } = current;
    const known = room.sealing?.version === version ? await room.sealing.sealer : null;
    const sealing = known && !known.exhausted ? null : Sealer.create({ site: room.site, room: room.id, version }, fromBase64(current.public));
    if (sealing) {
      room.sealing = { version, sealer: sealing };
      sealing.catch(() => (room.sealing = null));
    }
    const sealer = sealing ? await sealing : /** @type {Sealer} */ (known);
    /** @type {Claim} */
    const claim = { room: room.id, version, kind: 'message', sender: room.account, message, edit };
    return sealer.seal(claim, utf8(JSON.stringify({ text })));
  }

  /** Opens into the message, or says there why not. @param {Room} room @param {Opening} opening */
  async open(room, { message, envelope, claim }) {
    /** @type {{text: string, kind?: string, accounts?: string[]} | null} */ let content = null;
    /** @type {string | null} */ let unreadable = null;
    try {
      const opener = await (room.keys.get(envelope.version) ?? this.#ask(room, envelope.version));
      content = JSON.parse(new TextDecoder().decode(await opener.open(claim, envelope)));
      if (typeof content?.text !== 'string') throw new Error('what was sealed has no text');
    } catch (error) {
      unreadable = error instanceof Error ? error.message : String(error);
    }
    // An edit or a deletion overtook it.
    if (message.deleted || message.edits !== claim.edit) return;
    message.unreadable = unreadable;
    message.text = unreadable === null && content ? content.text : null;
    if (claim.kind === 'system' && content) message.system = { kind: content.kind ?? '', accounts: content.accounts ?? [] };
  }

  /** @param {Room} room @param {number} version @returns {Promise<Opener>} */
  #ask(room, version) {
    const name = `${room.id}/${version}`;
    const asking =
      this.#asking.get(name) ??
      this.#fetch(room.id, version)
        .then((frame) => this.learn(room, frame))
        .finally(() => this.#asking.delete(name));
    this.#asking.set(name, asking);
    return asking;
  }
}
