// A server that a test plays by hand: it takes one connection after the other and says what the test tells it to say.

import { WebSocketServer } from 'ws';

import { Sealer, fromBase64, toBase64, utf8 } from '../../envelope.js';

export const SITE = 'home';
export const ROOM = '0123456789abcdefg';
const PATIENCE_MS = 5_000;

export class Server {
  #server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: (offered) => [...offered][0] });
  #connections = [];
  #waiting = [];

  constructor() {
    this.#server.on('connection', (socket) => {
      const connection = new Connection(socket);
      const waiting = this.#waiting.shift();
      if (waiting) waiting(connection);
      else this.#connections.push(connection);
    });
  }

  static async start() {
    const server = new Server();
    await new Promise((resolve) => server.#server.on('listening', resolve));
    return server;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}/v1/socket`;
  }

  /** The next connection. */
  accept() {
    const connection = this.#connections.shift();
    if (connection) return Promise.resolve(connection);
    return within(new Promise((resolve) => this.#waiting.push(resolve)), 'nobody connected');
  }

  /** The next connection, after hello and welcome. */
  async welcome(account = 'ada', rest = {}) {
    const connection = await this.accept();
    connection.hello = await connection.expect('hello');
    const time = Date.now();
    const welcome = { account, name: account, admin: false, site: SITE, node: 'n', time, account_revision: 0, expires: null, limits: {} };
    connection.send({ welcome: { ...welcome, ...rest } });
    return connection;
  }

  async stop() {
    for (const socket of this.#server.clients) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

class Connection {
  #frames = [];
  #waiting = [];
  constructor(socket) {
    this.socket = socket;
    this.protocol = socket.protocol;
    socket.on('message', (data) => {
      const frame = JSON.parse(data);
      const [name, body] = typeof frame === 'string' ? [frame, {}] : Object.entries(frame)[0];
      const waiting = this.#waiting.findIndex((one) => one.name === name);
      if (waiting >= 0) this.#waiting.splice(waiting, 1)[0].resolve(body);
      else this.#frames.push({ name, body });
    });
    this.closed = new Promise((resolve) => socket.on('close', resolve));
  }

  send(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  /** The next frame of this name, whatever else came before it. */
  expect(name) {
    const at = this.#frames.findIndex((frame) => frame.name === name);
    if (at >= 0) return Promise.resolve(this.#frames.splice(at, 1)[0].body);
    return within(new Promise((resolve) => this.#waiting.push({ name, resolve })), `the client sent no ${name}`);
  }

  /** Frames of this name that nobody asked for. */
  unasked(name) {
    return this.#frames.filter((frame) => frame.name === name).map((frame) => frame.body);
  }

  ok(id, answer) {
    this.send({ ok: { id, answer } });
  }

  refuse(id, reason, code, rest = {}) {
    this.send({ error: { id, room: null, code, reason, message: `refused: ${reason}`, current: null, ...rest } });
  }

  drop() {
    this.socket.terminate();
  }
}

/** A room as a server has it: keys, and what is sealed under them. */
export class RoomKeys {
  constructor(room = ROOM) {
    this.room = room;
    this.versions = [];
  }

  async rotate() {
    const pair = await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits']);
    const publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    const { d } = await crypto.subtle.exportKey('jwk', pair.privateKey);
    const version = this.versions.length;
    const name = { site: SITE, room: this.room, version };
    this.versions.push({
      current: { version, public: toBase64(publicKey) },
      frame: { room: this.room, version, public: toBase64(publicKey), secret: Buffer.from(d, 'base64url').toString('base64') },
      sealer: await Sealer.create(name, publicKey),
    });
    return this.versions[version];
  }

  get last() {
    return this.versions.at(-1);
  }

  view(rest = {}) {
    const nothing = { head: 0, time: 0, messages: 0, unread: 0, read: 0, members: 2, archived: false, counterpart: null };
    return { room: this.room, kind: 'channel', name: 'plans', role: 'owner', ...nothing, key: this.last.current, ...rest };
  }

  async body(sender, message, text, { edit = 0, kind = 'message', version = this.versions.length - 1 } = {}) {
    const claim = { room: this.room, version, kind, sender, message, edit };
    const content = typeof text === 'string' ? { text } : text;
    return this.versions[version].sealer.seal(claim, utf8(JSON.stringify(content)));
  }

  /** An item with a message; `ordinal` is the revision unless it is said. */
  async message(revision, sender, text, { message = id20(revision), ordinal = revision, ...rest } = {}) {
    const version = rest.version ?? this.versions.length - 1;
    const body = await this.body(sender, message, text, rest);
    const event = { message: { message, kind: rest.kind ?? 'message', version, ordinal } };
    return { revision, time: 1_000 * revision, account: sender, event, body };
  }
}

export function batch(items, { room = ROOM, from = items[0].revision, to = items.at(-1).revision, own = [] } = {}) {
  return { batch: { room, from, to, items, position: toBase64(utf8(`position ${to}`)), own } };
}

export function positionOf(text) {
  return new TextDecoder().decode(fromBase64(text));
}

export function id20(n) {
  return String(n).padStart(20, 'm');
}

export function within(promise, words) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(words)), PATIENCE_MS)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until `check` gives something true. */
export async function until(check, words) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`never: ${words}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
