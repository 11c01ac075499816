// Room keys in the browser: who seals, who opens, and the bytes in between.
//
// The layout is that of core/src/keys: HPKE (RFC 9180) in base mode over DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and
// AES-256-GCM, used for one exported key per encapsulation. WebCrypto alone: its HKDF joins extract and expand, so HPKE's
// labelled steps are built on HMAC. Nothing here stores a secret; a sealer lives as long as the page that made it.

/** @import { Envelope } from './types.js' */

/**
 * What an envelope claims to be; bound to the ciphertext.
 * @typedef {object} Claim
 * @property {string} room
 * @property {number} version
 * @property {'message' | 'system'} kind
 * @property {string} sender
 * @property {string} message The message id.
 * @property {number} edit 0 for the first text, then 1, 2, ...
 */

/**
 * Which key of which room this is.
 * @typedef {object} KeyName
 * @property {string} site The room's origin site.
 * @property {string} room
 * @property {number} version
 */

/** Sealers remembered by an opener, unless it is told otherwise. */
const KNOWN_SEALERS = 64;
/** The first counter that no sealer uses. */
export const COUNTER_END = 2 ** 32;
/** Bytes of a public half and of an encapsulation: uncompressed SEC1. */
export const PUBLIC_BYTES = 65;
/** Bytes of a private half: the scalar, big-endian. */
export const SECRET_BYTES = 32;
const TAG_BYTES = 16;

/** Why an envelope does not open: it never will, as the same claim and with the same key. */
export class OpenError extends Error {
  /** @param {'version' | 'counter' | 'encapsulation' | 'not_authentic'} why @param {string} words */
  constructor(why, words) {
    super(words);
    this.name = 'OpenError';
    this.why = why;
  }
}

/** Seals for one room under one key version. Counts its nonces, is never stored and never copied. */
export class Sealer {
  /** @type {KeyName} */ #name;
  /** @type {CryptoKey} */ #key;
  #counter = 0;

  /** @param {KeyName} name @param {Bytes} encapsulation @param {CryptoKey} key */
  constructor(name, encapsulation, key) {
    this.#name = name;
    this.encapsulation = toBase64(encapsulation);
    this.#key = key;
  }

  /**
   * Encapsulates to the public half of a key version.
   * @param {KeyName} name
   * @param {Bytes} publicKey
   */
  static async create(name, publicKey) {
    const { encapsulation, key } = await encapsulate(publicKey, keyInfo(name), MESSAGE);
    return new Sealer(name, encapsulation, await aesKey(key));
  }

  get version() {
    return this.#name.version;
  }

  /** Whether every nonce is used and a new sealer is needed. */
  get exhausted() {
    return this.#counter >= COUNTER_END;
  }

  /**
   * Uses up a nonce, whatever happens.
   * @param {Claim} claim
   * @param {Bytes} plaintext
   * @returns {Promise<Envelope>}
   */
  async seal(claim, plaintext) {
    if (this.exhausted) throw new Error('this sealer has used all its nonces; make a new one');
    const counter = this.#counter++;
    if (claim.room !== this.#name.room || claim.version !== this.#name.version) {
      throw new Error(`a sealer of version ${this.#name.version} was asked for version ${claim.version}`);
    }
    const algorithm = { name: 'AES-GCM', iv: nonce(counter), additionalData: associatedData(claim) };
    const sealed = await subtle().encrypt(algorithm, this.#key, plaintext);
    return {
      version: claim.version,
      encapsulation: this.encapsulation,
      counter,
      ciphertext: toBase64(new Uint8Array(sealed)),
    };
  }
}

/** Opens what was sealed under one key version; remembers the keys of the sealers it heard last, up to a bound. */
export class Opener {
  /** @type {KeyName} */ #name;
  /** @type {CryptoKey} */ #secret;
  /** @type {Bytes} */ #public;
  /** Keys with which something opened, the longest unheard first. @type {Map<string, CryptoKey>} */ #known = new Map();
  /** Keys being derived. @type {Map<string, Promise<CryptoKey>>} */ #deriving = new Map();
  #bound;

  /** @param {KeyName} name @param {CryptoKey} secret @param {Bytes} publicKey @param {number} bound */
  constructor(name, secret, publicKey, bound) {
    this.#name = name;
    this.#secret = secret;
    this.#public = publicKey;
    this.#bound = bound;
  }

  /**
   * @param {KeyName} name
   * @param {Bytes} publicKey
   * @param {Bytes} secret The scalar; must be the one of the public half.
   * @param {number} [bound] How many sealers' keys it remembers.
   */
  static async create(name, publicKey, secret, bound = KNOWN_SEALERS) {
    return new Opener(name, await secretKey(publicKey, secret), publicKey, bound);
  }

  get version() {
    return this.#name.version;
  }

  /**
   * @param {Claim} claim
   * @param {Envelope} envelope
   * @returns {Promise<Bytes>} The plaintext.
   */
  async open(claim, envelope) {
    const { room, version } = this.#name;
    if (claim.room !== room || claim.version !== version || envelope.version !== version) {
      throw new OpenError('version', `this key is version ${version} of ${room}, the envelope says ${envelope.version}`);
    }
    if (!Number.isInteger(envelope.counter) || envelope.counter < 0 || envelope.counter >= COUNTER_END) {
      throw new OpenError('counter', 'the counter is one that no sealer uses');
    }
    const key = this.#recall(envelope.encapsulation) ?? (await this.#derive(envelope.encapsulation));
    const algorithm = { name: 'AES-GCM', iv: nonce(envelope.counter), additionalData: associatedData(claim) };
    /** @type {ArrayBuffer} */
    let plaintext;
    try {
      plaintext = await subtle().decrypt(algorithm, key, fromBase64(envelope.ciphertext));
    } catch {
      throw new OpenError('not_authentic', 'the envelope is not what it is claimed to be');
    }
    this.#remember(envelope.encapsulation, key);
    return new Uint8Array(plaintext);
  }

  /** @param {string} encapsulation */
  #recall(encapsulation) {
    return this.#known.get(encapsulation);
  }

  /** Only what opened something is remembered: made-up envelopes push no sealer out. @param {string} encapsulation @param {CryptoKey} key */
  #remember(encapsulation, key) {
    this.#known.delete(encapsulation);
    if (this.#bound === 0) return;
    this.#known.set(encapsulation, key);
    if (this.#known.size > this.#bound) this.#known.delete(/** @type {string} */ (this.#known.keys().next().value));
  }

  /** @param {string} encapsulation */
  #derive(encapsulation) {
    const underWay = this.#deriving.get(encapsulation);
    if (underWay) return underWay;
    const derived = decapsulate(this.#secret, this.#public, fromBase64(encapsulation), keyInfo(this.#name), MESSAGE)
      .then(aesKey, () => {
        throw new OpenError('encapsulation', 'the encapsulation is not an uncompressed point on P-256');
      })
      .finally(() => this.#deriving.delete(encapsulation));
    this.#deriving.set(encapsulation, derived);
    return derived;
  }
}

/**
 * HPKE SetupBaseS and Export of 32 bytes.
 * @param {Bytes} publicKey The recipient's.
 * @param {Bytes} info
 * @param {Bytes} context The exporter context.
 * @param {CryptoKeyPair} [ephemeral] For test vectors only; otherwise new at every call.
 */
export async function encapsulate(publicKey, info, context, ephemeral) {
  const pair = ephemeral ?? (await subtle().generateKey(P256, true, ['deriveBits']));
  const encapsulation = new Uint8Array(await subtle().exportKey('raw', pair.publicKey));
  const shared = await diffieHellman(pair.privateKey, await importPublic(publicKey));
  return { encapsulation, key: await exportKey(shared, encapsulation, publicKey, info, context) };
}

/**
 * HPKE SetupBaseR and Export of 32 bytes.
 * @param {CryptoKey} secret
 * @param {Bytes} publicKey Of the same pair.
 * @param {Bytes} encapsulation
 * @param {Bytes} info
 * @param {Bytes} context The exporter context.
 */
export async function decapsulate(secret, publicKey, encapsulation, info, context) {
  const shared = await diffieHellman(secret, await importPublic(encapsulation));
  return exportKey(shared, encapsulation, publicKey, info, context);
}

/**
 * A private half as WebCrypto wants it: with its public half, which is checked against it.
 * @param {Bytes} publicKey
 * @param {Bytes} secret
 * @param {boolean} [extractable]
 */
export function secretKey(publicKey, secret, extractable = false) {
  if (publicKey.length !== PUBLIC_BYTES || publicKey[0] !== 4) throw new Error('a public key must be 65 bytes: 04, x, y');
  if (secret.length !== SECRET_BYTES) throw new Error('a private key must be 32 bytes');
  const [d, x, y] = [secret, publicKey.subarray(1, 33), publicKey.subarray(33)].map(toBase64Url);
  return subtle().importKey('jwk', { kty: 'EC', crv: 'P-256', d, x, y }, P256, extractable, ['deriveBits']);
}

/** HPKE's info. @param {KeyName} name */
export function keyInfo({ site, room, version }) {
  return prefixed(['chamberlain/1', site, room, version]);
}

/** The associated data of a claim. @param {Claim} claim */
export function associatedData({ room, version, kind, sender, message, edit }) {
  return prefixed([room, version, kind, sender, message, edit]);
}

const MESSAGE = utf8('message');
const P256 = { name: 'ECDH', namedCurve: 'P-256' };
const KEM_SUITE = concat(utf8('KEM'), u16(0x0010));
const HPKE_SUITE = concat(utf8('HPKE'), u16(0x0010), u16(0x0001), u16(0x0002));
const BASE_MODE = Uint8Array.of(0);
const NOTHING = new Uint8Array(0);

/** WebCrypto, where the page is allowed to use it. */
function subtle() {
  const crypto = globalThis.crypto;
  if (!crypto?.subtle) throw new Error('WebCrypto is missing: the page needs HTTPS or localhost');
  return crypto.subtle;
}

/** @param {Bytes} bytes */
function importPublic(bytes) {
  if (bytes.length !== PUBLIC_BYTES || bytes[0] !== 4) throw new Error('not an uncompressed point');
  return subtle().importKey('raw', bytes, P256, false, []);
}

/** @param {CryptoKey} secret @param {CryptoKey} publicKey */
async function diffieHellman(secret, publicKey) {
  return new Uint8Array(await subtle().deriveBits({ name: 'ECDH', public: publicKey }, secret, 256));
}

/**
 * DHKEM's ExtractAndExpand, the key schedule of base mode, and Export.
 * @param {Bytes} shared @param {Bytes} encapsulation @param {Bytes} publicKey @param {Bytes} info @param {Bytes} context
 */
async function exportKey(shared, encapsulation, publicKey, info, context) {
  const extracted = await labelledExtract(KEM_SUITE, NOTHING, 'eae_prk', shared);
  const kem = await labelledExpand(KEM_SUITE, extracted, 'shared_secret', concat(encapsulation, publicKey));
  const pskId = await labelledExtract(HPKE_SUITE, NOTHING, 'psk_id_hash', NOTHING);
  const infoHash = await labelledExtract(HPKE_SUITE, NOTHING, 'info_hash', info);
  const secret = await labelledExtract(HPKE_SUITE, kem, 'secret', NOTHING);
  const exporter = await labelledExpand(HPKE_SUITE, secret, 'exp', concat(BASE_MODE, pskId, infoHash));
  return labelledExpand(HPKE_SUITE, exporter, 'sec', context);
}

/** @param {Bytes} suite @param {Bytes} salt @param {string} label @param {Bytes} input */
function labelledExtract(suite, salt, label, input) {
  // HMAC pads a short key with zeros, and WebCrypto takes no empty one.
  const key = salt.length === 0 ? new Uint8Array(32) : salt;
  return hmac(key, concat(utf8('HPKE-v1'), suite, utf8(label), input));
}

/** Always 32 bytes: one block of HKDF-Expand. @param {Bytes} suite @param {Bytes} key @param {string} label @param {Bytes} info */
function labelledExpand(suite, key, label, info) {
  return hmac(key, concat(u16(32), utf8('HPKE-v1'), suite, utf8(label), info, Uint8Array.of(1)));
}

/** @param {Bytes} key @param {Bytes} bytes */
async function hmac(key, bytes) {
  const imported = await subtle().importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await subtle().sign('HMAC', imported, bytes));
}

/** @param {Bytes} bytes */
function aesKey(bytes) {
  return subtle().importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt']);
}

/** Four zero bytes, and the counter. @param {number} counter */
function nonce(counter) {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setBigUint64(4, BigInt(counter));
  return bytes;
}

/** Joins texts and numbers, each with its length as a big-endian u32 in front. @param {(string | number)[]} fields */
function prefixed(fields) {
  return concat(
    ...fields.flatMap((field) => {
      const bytes = typeof field === 'string' ? utf8(field) : u32(field);
      return [u32(bytes.length), bytes];
    }),
  );
}

/** @param {number} value */
function u16(value) {
  return Uint8Array.of(value >>> 8, value & 255);
}

/** @param {number} value */
function u32(value) {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

/** @param {string} text @returns {Bytes} */
export function utf8(text) {
  return Uint8Array.from(new TextEncoder().encode(text));
}

/** @param {Bytes[]} parts */
function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** @param {Bytes} bytes */
export function toBase64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** @param {Bytes} bytes */
function toBase64Url(bytes) {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
