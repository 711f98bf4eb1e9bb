'use strict'
const test = require('node:test')
const assert = require('node:assert')

test('it can be required, too', () => {
  const { Client, KmsError, generateKey } = require('kms')
  assert.ok(Client.open && generateKey && KmsError.prototype instanceof Error)
})
