// The package where it is installed, without a page: what needs no gateway.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import test from 'node:test';

import { Kms, KmsError } from 'kms-browser';

const wasm = await readFile(createRequire(import.meta.url).resolve('kms-browser/kms.wasm'));
const kms = await Kms.load(wasm);
const words = `${'abandon '.repeat(23)}art`;
const code = (name) => (error) => error instanceof KmsError && error.code === name;

test('an identity comes from its words, and from nothing that is none', () => {
  // The words of 32 zero bytes, which are no key; and others that are none at all.
  assert.throws(() => kms.identityFromWords(words), code('BAD_KEY'));
  assert.throws(() => kms.identityFromWords('abandon'), code('BAD_KEY'));
  const me = kms.identityFromWords('legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title');
  assert.match(me.identity, /^kms1/);
  me.close();
});

test('a secret key and an identity file that are none are refused, and not repeated', () => {
  for (const wrong of ['', 'KMS-SECRET-KEY-1QQQQ', 'kms1qqqq']) {
    assert.throws(() => kms.identityFromSecret(wrong), code('BAD_KEY'), wrong);
  }
  assert.throws(() => kms.identityFromSecret(''), { number: -5, errno: -22 });
  const attempt = () => kms.identityFromFile('c2VjcmV0', 'hunter2');
  assert.throws(attempt, (error) => code('BAD_DATA')(error) && !error.message.includes('hunter2'));
});

test('what cannot be opened says why before anybody is asked', async () => {
  const me = kms.identityFromWords('legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title');
  const options = { ticket: 'kms-ticket-1-AAAA', gateway: 'http://127.0.0.1:1' };
  await assert.rejects(me.open(new Uint8Array(5), options), code('BAD_DATA'));
  await assert.rejects(me.open(new Blob([new Uint8Array(9000)]), options), code('BAD_DATA'));
  await assert.rejects(me.open('text', options), code('BAD_TYPE'));
  await assert.rejects(me.open(new Uint8Array(5), {}), code('BAD_TYPE'));
  await assert.rejects(me.open(new Uint8Array(5), { ...options, timeout: 0 }), code('BAD_PARAMETER'));
  me.close();
  await assert.rejects(me.open(new Uint8Array(5), options), code('LOCKED'));
});
