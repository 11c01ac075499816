// The envelope once more, from the layout in the header of core/src/keys/mod.rs: HPKE by @hpke/core, AES-GCM by WebCrypto.
//
// Run by core/tests/envelope_interop.rs, or by hand: `node envelope.mjs < /dev/null` checks the test vectors alone.
// Standard input: {"open": [case], "seal": [case]}, a case being the claim, site, secret (hex), public (hex),
// plaintext (hex) and, to be opened, the envelope. Standard output: {"vectors": n, "opened": n, "sealed": [envelope]}.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from "@hpke/core";

const suite = new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const subtle = globalThis.crypto.subtle;

const fromHex = (text) => Uint8Array.from(Buffer.from(text, "hex"));
const toHex = (bytes) => Buffer.from(bytes).toString("hex");
const fromBase64 = (text) => Uint8Array.from(Buffer.from(text, "base64"));
const toBase64 = (bytes) => Buffer.from(bytes).toString("base64");
const buffer = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);

const u32 = (number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
};

// Each part with its length in front; a number is four bytes.
const prefixed = (...parts) =>
  Uint8Array.from(
    Buffer.concat(
      parts.flatMap((part) => {
        const bytes = typeof part === "number" ? u32(part) : Buffer.from(part, "utf8");
        return [u32(bytes.length), bytes];
      }),
    ),
  );

const info = ({ site, room, version }) => prefixed("chamberlain/1", site, room, version);
const associatedData = ({ room, version, kind, sender, message, edit }) =>
  prefixed(room, version, kind, sender, message, edit);

const nonce = (counter) => {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE(BigInt(counter), 4);
  return Uint8Array.from(bytes);
};

const messageContext = buffer(new TextEncoder().encode("message"));

async function keyPair({ secret, public: point }) {
  const [privateKey, publicKey] = await Promise.all([
    suite.kem.deserializePrivateKey(buffer(fromHex(secret))),
    suite.kem.deserializePublicKey(buffer(fromHex(point))),
  ]);
  return { privateKey, publicKey };
}

async function exported(said, encapsulation, infoBytes, context = messageContext) {
  const recipient = await suite.createRecipientContext({
    recipientKey: await keyPair(said),
    enc: buffer(encapsulation),
    info: buffer(infoBytes),
  });
  return new Uint8Array(await recipient.export(context, 32));
}

const aes = (key, usage) => subtle.importKey("raw", key, "AES-GCM", false, [usage]);

async function open(said, envelope) {
  assert.equal(envelope.version, said.version);
  const key = await exported(said, fromBase64(envelope.encapsulation), info(said));
  const parameters = { name: "AES-GCM", iv: nonce(envelope.counter), additionalData: associatedData(said) };
  return new Uint8Array(await subtle.decrypt(parameters, await aes(key, "decrypt"), fromBase64(envelope.ciphertext)));
}

async function sealer(said) {
  const recipientPublicKey = await suite.kem.deserializePublicKey(buffer(fromHex(said.public)));
  const sender = await suite.createSenderContext({ recipientPublicKey, info: buffer(info(said)) });
  const key = await aes(await sender.export(messageContext, 32), "encrypt");
  let counter = 0;
  return async (claim) => {
    const parameters = { name: "AES-GCM", iv: nonce(counter), additionalData: associatedData(claim) };
    const ciphertext = new Uint8Array(await subtle.encrypt(parameters, key, fromHex(claim.plaintext)));
    const { version } = claim;
    return {
      version,
      encapsulation: toBase64(new Uint8Array(sender.enc)),
      counter: counter++,
      ciphertext: toBase64(ciphertext),
    };
  };
}

function stored({ version, encapsulation, counter, ciphertext }) {
  const count = nonce(counter).subarray(4);
  return toHex(Buffer.concat([u32(version), fromBase64(encapsulation), count, fromBase64(ciphertext)]));
}

async function checkVector(vector) {
  const { envelope } = vector;
  assert.equal(toHex(info(vector)), vector.info);
  assert.equal(toHex(associatedData(vector)), vector.associated_data);
  assert.equal(toHex(nonce(envelope.counter)), vector.nonce);
  assert.equal(toHex(fromBase64(envelope.ciphertext)), vector.ciphertext);
  assert.equal(stored(envelope), vector.stored);
  assert.equal(toHex(await exported(vector, fromBase64(envelope.encapsulation), info(vector))), vector.key);
  assert.equal(toHex(await open(vector, envelope)), vector.plaintext);

  const parameters = { name: "AES-GCM", iv: fromHex(vector.nonce), additionalData: fromHex(vector.associated_data) };
  const again = await subtle.encrypt(parameters, await aes(fromHex(vector.key), "encrypt"), fromHex(vector.plaintext));
  assert.equal(toHex(again), vector.ciphertext);
  await assert.rejects(open({ ...vector, edit: (vector.edit + 1) % 2 ** 32 }, envelope));
  await assert.rejects(open({ ...vector, sender: `${vector.sender}x` }, envelope));
}

const read = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}`, import.meta.url), "utf8"));

// The library itself against RFC 9180, so that it and we do not agree on an error.
const hpke = read("hpke.json");
for (const { exporter_context, exported_value } of hpke.exports) {
  const said = { secret: hpke.skRm, public: hpke.pkRm };
  const value = await exported(said, fromHex(hpke.enc), fromHex(hpke.info), buffer(fromHex(exporter_context)));
  assert.equal(toHex(value), exported_value);
}

const vectors = read("envelope.json");
for (const vector of vectors) {
  await checkVector(vector);
}

const asked = JSON.parse(readFileSync(0, "utf8") || `{"open":[],"seal":[]}`);
for (const said of asked.open) {
  assert.equal(toHex(await open(said, said.envelope)), said.plaintext);
}

// One sealer per room and version, as the protocol has it.
const sealers = new Map();
const sealed = [];
for (const said of asked.seal) {
  const name = JSON.stringify([said.site, said.room, said.version]);
  if (!sealers.has(name)) {
    sealers.set(name, await sealer(said));
  }
  sealed.push(await sealers.get(name)(said));
}

process.stdout.write(`${JSON.stringify({ vectors: vectors.length, opened: asked.open.length, sealed })}\n`);
