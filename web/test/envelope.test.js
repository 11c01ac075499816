// The bytes: RFC 9180's vectors, our own, and another implementation in both directions.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core';

import {
  COUNTER_END, OpenError, Opener, Sealer, associatedData, decapsulate, encapsulate, fromBase64, keyInfo, secretKey, toBase64,
  utf8,
} from '../envelope.js';

const VECTORS = new URL('../../core/tests/vectors/', import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, VECTORS), 'utf8'));
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (array) => Buffer.from(array).toString('hex');

test('both ends agree with RFC 9180', async () => {
  const vector = read('hpke.json');
  assert.deepEqual([vector.mode, vector.kem_id, vector.kdf_id, vector.aead_id], [0, 0x10, 1, 2]);
  const publicKey = bytes(vector.pkRm);
  const secret = await secretKey(publicKey, bytes(vector.skRm));
  const usages = ['deriveBits'];
  const P256 = { name: 'ECDH', namedCurve: 'P-256' };
  const ephemeral = {
    privateKey: await secretKey(bytes(vector.enc), bytes(vector.skEm)),
    publicKey: await crypto.subtle.importKey('raw', bytes(vector.enc), P256, true, []),
  };
  assert.deepEqual(ephemeral.privateKey.usages, usages);
  assert.ok(vector.exports.length > 0);
  for (const { exporter_context, exported_value } of vector.exports) {
    const context = bytes(exporter_context);
    const sealed = await encapsulate(publicKey, bytes(vector.info), context, ephemeral);
    assert.equal(hex(sealed.encapsulation), vector.enc);
    assert.equal(hex(sealed.key), exported_value);
    const opened = await decapsulate(secret, publicKey, bytes(vector.enc), bytes(vector.info), context);
    assert.equal(hex(opened), exported_value);
  }
});

test('the vectors of the core open, field by field', async () => {
  const vectors = read('envelope.json');
  assert.ok(vectors.length > 0);
  for (const vector of vectors) {
    const name = { site: vector.site, room: vector.room, version: vector.version };
    const claim = claimOf(vector);
    assert.equal(hex(keyInfo(name)), vector.info, vector.says);
    assert.equal(hex(associatedData(claim)), vector.associated_data, vector.says);
    const opener = await Opener.create(name, bytes(vector.public), bytes(vector.secret));
    assert.equal(hex(await opener.open(claim, vector.envelope)), vector.plaintext, vector.says);
  }
});

test('an envelope opens only as what it was sealed as', async () => {
  const vector = read('envelope.json')[0];
  const opener = await Opener.create(vector, bytes(vector.public), bytes(vector.secret));
  const claim = claimOf(vector);
  const other = { kind: 'system', sender: 'bea', message: 'JIHGFEDCBA9876543210', edit: 1 };
  for (const [field, value] of Object.entries(other)) {
    await rejects(opener.open({ ...claim, [field]: value }, vector.envelope), 'not_authentic');
  }
  await rejects(opener.open({ ...claim, room: 'x'.repeat(17) }, vector.envelope), 'version');
  await rejects(opener.open({ ...claim, version: 9 }, { ...vector.envelope, version: 9 }), 'version');
  await rejects(opener.open(claim, { ...vector.envelope, counter: 1 }), 'not_authentic');
  for (const counter of [COUNTER_END, -1, 0.5]) await rejects(opener.open(claim, { ...vector.envelope, counter }), 'counter');
  const cut = toBase64(fromBase64(vector.envelope.ciphertext).subarray(1));
  await rejects(opener.open(claim, { ...vector.envelope, ciphertext: cut }), 'not_authentic');
  await rejects(opener.open(claim, { ...vector.envelope, ciphertext: '' }), 'not_authentic');
  const off = fromBase64(vector.envelope.encapsulation);
  off[64] ^= 1;
  await rejects(opener.open(claim, { ...vector.envelope, encapsulation: toBase64(off) }), 'encapsulation');
  await rejects(opener.open(claim, { ...vector.envelope, encapsulation: 'AAAA' }), 'encapsulation');
});

test('another implementation opens what we seal', async () => {
  const { name, pair, publicKey } = await fresh();
  const sealer = await Sealer.create(name, publicKey);
  for (const [edit, text] of ['Good evening.', 'Grüße 🗝', ''].entries()) {
    const claim = { room: name.room, version: name.version, kind: 'message', sender: 'ada', message: 'a'.repeat(20), edit };
    const sealed = await sealer.seal(claim, utf8(text));
    assert.equal(sealed.counter, edit, 'each seal takes a nonce');
    const recipient = await suite().createRecipientContext({
      recipientKey: pair.privateKey,
      enc: fromBase64(sealed.encapsulation),
      info: keyInfo(name),
    });
    const key = await aes(await recipient.export(utf8('message'), 32));
    const algorithm = { name: 'AES-GCM', iv: iv(sealed.counter), additionalData: associatedData(claim) };
    const plain = await crypto.subtle.decrypt(algorithm, key, fromBase64(sealed.ciphertext));
    assert.equal(new TextDecoder().decode(plain), text);
  }
});

test('we open what another implementation seals', async () => {
  const { name, pair, publicKey, scalar } = await fresh();
  const sender = await suite().createSenderContext({ recipientPublicKey: pair.publicKey, info: keyInfo(name) });
  const key = await aes(await sender.export(utf8('message'), 32));
  const opener = await Opener.create(name, publicKey, scalar);
  for (const counter of [0, 1, 2 ** 32 - 1]) {
    const claim = { room: name.room, version: name.version, kind: 'system', sender: 'bo.t+x@corp', message: 'b'.repeat(17), edit: 0 };
    const algorithm = { name: 'AES-GCM', iv: iv(counter), additionalData: associatedData(claim) };
    const ciphertext = toBase64(new Uint8Array(await crypto.subtle.encrypt(algorithm, key, utf8(`number ${counter}`))));
    const envelope = { version: name.version, encapsulation: toBase64(new Uint8Array(sender.enc)), counter, ciphertext };
    assert.equal(new TextDecoder().decode(await opener.open(claim, envelope)), `number ${counter}`);
  }
});

test('an opener remembers few sealers and opens all the same', async () => {
  const { name, publicKey, scalar } = await fresh();
  const opener = await Opener.create(name, publicKey, scalar, 2);
  const claim = { room: name.room, version: name.version, kind: 'message', sender: 'ada', message: 'a'.repeat(20), edit: 0 };
  const sealed = [];
  for (let n = 0; n < 4; n += 1) sealed.push(await (await Sealer.create(name, publicKey)).seal(claim, utf8(`${n}`)));
  for (const [n, envelope] of [...sealed, ...sealed].entries()) {
    assert.equal(new TextDecoder().decode(await opener.open(claim, envelope)), `${n % 4}`);
  }
});

test('a private half must belong to its public half', async () => {
  const [one, two] = [await fresh(), await fresh()];
  await assert.rejects(Opener.create(one.name, one.publicKey, two.scalar));
});

const suite = () => new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const aes = (key) => crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']);

function claimOf({ room, version, kind, sender, message, edit }) {
  return { room, version, kind, sender, message, edit };
}

function iv(counter) {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE(BigInt(counter), 4);
  return Uint8Array.from(bytes);
}

async function fresh() {
  const pair = await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits']);
  const publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  const scalar = Uint8Array.from(Buffer.from((await crypto.subtle.exportKey('jwk', pair.privateKey)).d, 'base64url'));
  return { name: { site: 'home', room: '0123456789abcdefg', version: 7 }, pair, publicKey, scalar };
}

function rejects(promise, why) {
  return assert.rejects(promise, (error) => error instanceof OpenError && error.why === why);
}
