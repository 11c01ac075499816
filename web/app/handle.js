// A handle for debugging: `window.chamberlain`, in the console and in the browser test. It can do nothing that the page cannot.

/** @import { Client } from '../client.js' */
/** @import { Envelope } from '../types.js' */

/**
 * What a room's messages were opened from, as the server sent it.
 * @typedef {object} Taken
 * @property {string} room
 * @property {number | null} revision
 * @property {string} sender
 * @property {string} message
 * @property {'message' | 'system'} kind
 * @property {number} version
 * @property {number} edits
 * @property {Envelope | null} sealed
 */

/** @param {() => Client | null} client The one that is signed in. */
export function handleOf(client) {
  return {
    get client() {
      return client();
    },

    /** The envelopes of a room that this page has. @param {string} id @returns {Taken[]} */
    envelopes(id) {
      const messages = client()?.room(id).messages ?? [];
      return messages.map(({ room: of, revision, sender, message, kind, version, edits, sealed }) => ({ room: of, revision, sender, message, kind, version, edits, sealed }));
    },

    /** The key versions of a room that this page holds. @param {string} id */
    versions(id) {
      return [...(client()?.room(id).keys.keys() ?? [])];
    },

    /**
     * Tries to open an envelope with every key of its room that this page holds: as the version that it says, and relabelled as
     * the version of the key.
     * @param {Taken} taken
     * @returns {Promise<{opened: boolean, text: string | null, tried: number}>}
     */
    async tryOpen({ room: id, sender, message, kind, version, edits, sealed }) {
      let tried = 0;
      for (const opening of client()?.room(id).keys.values() ?? []) {
        const opener = await opening;
        for (const as of new Set([version, opener.version])) {
          if (!sealed) continue;
          tried += 1;
          const claim = { room: id, version: as, kind, sender, message, edit: edits };
          try {
            const plaintext = await opener.open(claim, { ...sealed, version: as });
            return { opened: true, text: new TextDecoder().decode(plaintext), tried };
          } catch {
            // The next key.
          }
        }
      }
      return { opened: false, text: null, tried };
    },
  };
}
