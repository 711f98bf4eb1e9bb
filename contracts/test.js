// The contract on a real chain: what it takes, every refusal, and what each call costs.
//   node contracts/test.js TOOLS [--table]
// TOOLS is a directory in which scripts/setup has installed its tools. With --table the gas is printed as docs/BENCHMARKS.md has it.
const assert = require("assert");
const crypto = require("crypto");
const { Chain, ORDER, author, be, call, cat, hex, policy } = require("./support.js");

let chain, expiry;

const checks = {
  async "a node registers, and promises more but never less"() {
    const node = author();
    const { events } = await chain.send(call.register(await chain.registration(node, { until: expiry, seq: 1 })));
    assert.deepStrictEqual(events.map(({ name }) => name), ["NodeRegistered"]);
    await refused("Outnumbered(1)", call.register(await chain.registration(node, { until: expiry + 9, seq: 1 })));
    await refused(`Shortened(${expiry})`, call.register(await chain.registration(node, { until: expiry - 1, seq: 2 })));
    await chain.send(call.register(await chain.registration(node, { until: expiry + 9, seq: 2 })));
    const [seq, until] = await chain.view("node(address)", be(node.account, 32));
    assert.deepStrictEqual([seq, until], [2n, BigInt(expiry + 9)]);
  },

  async "a node that leaves may promise less"() {
    const node = author();
    await refused("NotANode", call.retire(await chain.registration(node, { until: expiry, seq: 1 })));
    await chain.send(call.register(await chain.registration(node, { until: expiry, seq: 1 })));
    await refused("Outnumbered(1)", call.retire(await chain.registration(node, { until: 5, seq: 1 })));
    await chain.send(call.retire(await chain.registration(node, { until: 5, seq: 2 })));
    assert.strictEqual((await chain.view("node(address)", be(node.account, 32)))[1], 5n);
  },

  async "an entry that is cut short is malformed"() {
    const it = policy();
    const entry = await chain.grant(it, { expiry });
    for (const cut of [Buffer.alloc(0), entry.subarray(0, 100), entry.subarray(0, entry.length - 1)]) await refused("Malformed", call.grant(cut, it));
    await assert.rejects(chain.send(call.grant(Buffer.alloc(0), { by: { y: Buffer.alloc(9) } })), /Malformed|BadThreshold/);
    const roundEpoch = policy({ epoch: 256 });
    await chain.send(call.grant(await chain.grant(roundEpoch, { expiry }), roundEpoch));
    await refused("Malformed", call.release({ id: roundEpoch.id, proof: roundEpoch.proof.subarray(0, 19) }));
    await refused("Malformed", call.revoke((await chain.revocation(it, 2)).subarray(1), it));
    await refused("Malformed", call.register((await chain.registration(author(), { until: expiry, seq: 1 })).subarray(0, 110)));
    await refused("Malformed", call.handover((await chain.handover(author(), { to: author(), policy: it })).subarray(1)));
  },

  async "a changed byte, a stranger's key and the other form of a signature are refused"() {
    const it = policy();
    const entry = await chain.grant(it, { expiry });
    for (const changed of [0, 20, 40, 70, 100, 133, 140, 150, entry.length - 1]) {
      const bytes = Buffer.from(entry);
      bytes[changed] ^= 1;
      await refused("BadSignature", call.grant(bytes, it));
    }
    await refused("BadSignature", call.grant(entry, { by: author() }));
    const high = Buffer.from(entry);
    const s = BigInt("0x" + hex(entry.subarray(65, 97)));
    const low = s & ((1n << 255n) - 1n);
    be(((ORDER - low) & ((1n << 255n) - 1n)) | ((s >> 255n) ^ 1n) << 255n, 32).copy(high, 65);
    await refused("BadSignature", call.grant(high, it));
    await chain.send(call.grant(entry, it));
  },

  async "a threshold that cannot be met is refused"() {
    for (const [m, n] of [[0, 1], [2, 1], [1, 0], [4, 3]]) {
      const it = policy();
      await refused("BadThreshold", call.grant(await chain.grant(it, { expiry, m, n }), it));
    }
    for (const n of [24, 255]) {
      const it = policy({ sealed: n === 24 });
      const node = author().key;
      await chain.send(call.grant(await chain.grant(it, { expiry, m: n, nodes: Array(n).fill(node), seq: 70000 }), it));
    }
  },

  async "a grant lies in the future, and a later one replaces it"() {
    const it = policy();
    const now = await chain.now();
    await refused("AlreadyExpired", call.grant(await chain.grant(it, { expiry: now }), it));
    const { events } = await chain.send(call.grant(await chain.grant(it, { expiry, seq: 5 }), it));
    assert.deepStrictEqual(events.map(({ name }) => name), ["PolicyGranted"]);
    for (const seq of [0, 4, 5]) await refused("Outnumbered(5)", call.grant(await chain.grant(it, { expiry, seq }), it));
    await chain.send(call.grant(await chain.grant(it, { expiry: expiry + 7, seq: 6 }), it));
    const [status, time, m, n, seq] = await chain.view("policy(bytes32)", it.id);
    assert.deepStrictEqual([status, time, m, n, seq], [1n, BigInt(expiry + 7), 2n, 3n, 6n]);
  },

  async "a revocation is for good, and goes on to later epochs only"() {
    const it = policy();
    await chain.send(call.grant(await chain.grant(it, { expiry }), it));
    const { events } = await chain.send(call.revoke(await chain.revocation(it, 7), it));
    assert.deepStrictEqual(events.map(({ name }) => name), ["PolicyRevoked"]);
    const since = await chain.now();
    await refused(`Revoked(${since})`, call.grant(await chain.grant(it, { expiry, seq: 2 }), it));
    for (const epoch of [6, 7]) await refused("Outnumbered(7)", call.revoke(await chain.revocation(it, epoch), it));
    await chain.send(call.revoke(await chain.revocation(it, 300), it));
    const [status, time, , , , epoch] = await chain.view("policy(bytes32)", it.id);
    assert.deepStrictEqual([status, time, epoch], [2n, BigInt(since), 300n]);
  },

  async "a revocation may come before its grant"() {
    const it = policy();
    await chain.send(call.revoke(await chain.revocation(it, 2), it));
    await refused(`Revoked(${await chain.now()})`, call.grant(await chain.grant(it, { expiry }), it));
  },

  async "whoever holds the secret revokes, as of the epoch it was made for"() {
    const it = policy();
    await refused("NotTheSecret", call.release(it));
    await chain.send(call.grant(await chain.grant(it, { expiry }), it));
    await refused("NotTheSecret", call.release({ id: it.id, proof: policy().proof }));
    const later = Buffer.from(it.proof);
    later[19] += 1;
    await refused("NotTheSecret", call.release({ id: it.id, proof: later }));
    for (const proof of [cat(it.proof, [0]), it.proof.subarray(1), []]) await refused("NotTheSecret", call.release({ id: it.id, proof }));
    const [, stranger] = await chain.rpc("eth_accounts");
    const { events } = await chain.send(call.release(it), stranger);
    assert.deepStrictEqual(events.map(({ name, data }) => [name, data]), [["PolicyReleased", "0x" + hex(cat(it.id, it.proof))]]);
    await refused("Outnumbered(2)", call.release(it));
    await chain.send(call.revoke(await chain.revocation(it, 3), it));
    const plain = policy({ sealed: false });
    await chain.send(call.grant(await chain.grant(plain, { expiry }), plain));
    await refused("NotTheSecret", call.release(plain));
  },

  async "a later grant is sealed as the first one was"() {
    const it = policy();
    await chain.send(call.grant(await chain.grant(it, { expiry }), it));
    for (const { revocation } of [policy(), policy({ sealed: false })])
      await refused("NotTheSecret", call.grant(await chain.grant({ ...it, revocation }, { expiry, seq: 2 }), it));
    await chain.send(call.grant(await chain.grant(it, { expiry, seq: 2 }), it));
    await chain.send(call.release(it));
  },

  async "of many revocations all count or none"() {
    const items = [policy(), policy(), policy()];
    for (const it of items.slice(0, 2)) await chain.send(call.grant(await chain.grant(it, { expiry }), it));
    await refused("NotTheSecret", call.release(...items));
    assert.strictEqual((await chain.view("policy(bytes32)", items[0].id))[0], 1n);
    await chain.send(call.release(...items.slice(0, 2)));
    for (const { id } of items.slice(0, 2)) assert.strictEqual((await chain.view("policy(bytes32)", id))[0], 2n);
  },

  async "fragments of living policies are handed over, by registered nodes"() {
    const [node, to, it] = [author(), author(), policy()];
    await refused("NotANode", call.handover(await chain.handover(node, { to, policy: it })));
    await chain.send(call.register(await chain.registration(node, { until: expiry, seq: 1 })));
    await refused("NotGranted", call.handover(await chain.handover(node, { to, policy: it })));
    await chain.send(call.grant(await chain.grant(it, { expiry }), it));
    const { events } = await chain.send(call.handover(await chain.handover(node, { to, policy: it })));
    assert.deepStrictEqual(events.map(({ name }) => name), ["HandedOver"]);
    await chain.send(call.release(it));
    await refused(`Revoked(${await chain.now()})`, call.handover(await chain.handover(node, { to, policy: it })));
  },

  async "many handovers come from the node's own account alone"() {
    const node = await registeredWithAccount();
    const item = cat(author().key, crypto.randomBytes(32), [0]);
    await refused("NotANode", call.handoverMany(item));
    await refused("NotANode", call.handoverRoot(crypto.randomBytes(32), 1));
    await refused("Malformed", call.handoverMany(item.subarray(1)), node.account);
    await refused("Malformed", call.handoverMany(Buffer.alloc(0)), node.account);
    await refused("Malformed", call.handoverRoot(crypto.randomBytes(32), 0), node.account);
    await chain.send(call.handoverMany(item), node.account);
    await chain.send(call.handoverRoot(crypto.randomBytes(32), 1), node.account);
  },

  async "a handover of what is over is refused"() {
    const [node, it] = [author(), policy()];
    const soon = (await chain.now()) + 1000;
    await chain.send(call.register(await chain.registration(node, { until: expiry, seq: 1 })));
    await chain.send(call.grant(await chain.grant(it, { expiry: soon }), it));
    await chain.rpc("evm_setNextBlockTimestamp", [soon]);
    await chain.rpc("evm_mine");
    await refused("AlreadyExpired", call.handover(await chain.handover(node, { to: author(), policy: it })));
  },

  async "it says for which network it is"() {
    const words = await chain.view("network()");
    assert.strictEqual(Buffer.from(words[2].toString(16), "hex").toString().slice(0, 3), "kms");
    assert.deepStrictEqual(await chain.view("version()"), [1n]);
  },

  async "nothing costs more than it may"() {
    for (const [what, gas, limit] of await costs()) assert.ok(gas <= limit, `${what}: ${gas} gas, at most ${limit}`);
  },
};

async function registeredWithAccount() {
  const node = author();
  await chain.send(call.register(await chain.registration(node, { until: expiry, seq: 1 })));
  await chain.rpc("anvil_setBalance", [node.account, "0xde0b6b3a7640000"]);
  await chain.rpc("anvil_impersonateAccount", [node.account]);
  return node;
}

/// What, gas, and the most it may cost.
async function costs() {
  const rows = [];
  const measure = async (what, limit, data, from, items = 1) => rows.push([what, Math.round((await chain.send(data, from)).gas / items), limit]);
  const node = author();
  await measure("register, first time", 75000, call.register(await chain.registration(node, { until: expiry, seq: 1 })));
  await measure("register again", 36000, call.register(await chain.registration(node, { until: expiry + 9, seq: 2 })));
  const granted = async (n) => {
    const it = policy();
    const data = call.grant(await chain.grant(it, { expiry, m: 1, n }), it);
    return [it, data];
  };
  for (const n of [1, 3, 5]) await measure(`grant to ${n}`, 54000 + 920 * n, (await granted(n))[1]);
  const some = [];
  for (let i = 0; i < 102; i++) {
    const [it, data] = await granted(3);
    await chain.send(data);
    some.push(it);
  }
  await measure("revoke, by the author", 36000, call.revoke(await chain.revocation(some[0], 2), some[0]));
  await measure("revoke, by the secret", 29000, call.release(some[1]));
  await measure("revoke, by the secret, each of 100", 8000, call.release(...some.slice(2)), undefined, 100);
  const live = (await granted(3))[0];
  await chain.send(call.grant(await chain.grant(live, { expiry }), live));
  await measure("handover, signed", 35000, call.handover(await chain.handover(node, { to: author(), policy: live })));
  const { account } = await registeredWithAccount();
  const items = cat(...Array.from({ length: 100 }, (_, index) => cat(author().key, crypto.randomBytes(32), [index])));
  await measure("handover, each of 100", 3000, call.handoverMany(items), account, 100);
  await measure("handover, Merkle root of any number", 26000, call.handoverRoot(crypto.randomBytes(32), 100), account);
  return rows;
}

async function refused(why, data, from) {
  await assert.rejects(chain.send(data, from), { message: why });
}

(async () => {
  let failed = 0;
  chain = await Chain.start();
  try {
    expiry = (await chain.now()) + 7 * 86400;
    if (process.argv[3] === "--table") {
      console.log("| call | gas | at most |\n|---|---|---|");
      for (const row of await costs()) console.log(`| ${row.map((cell) => cell.toLocaleString("en")).join(" | ")} |`);
      return;
    }
    for (const [name, check] of Object.entries(checks)) {
      try {
        await check();
        console.log(`ok      ${name}`);
      } catch (error) {
        failed += 1;
        console.log(`FAILED  ${name}\n${error.stack}`);
      }
    }
  } finally {
    chain.stop();
  }
  process.exit(failed === 0 ? 0 : 1);
})();
