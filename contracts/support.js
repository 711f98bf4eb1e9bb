// What the contract's tests stand on: an anvil of their own, authors that sign, entries as LEDGER §5.4.2 packs them.
const crypto = require("crypto");
const path = require("path");
const { spawn } = require("child_process");

const tools = path.resolve(process.argv[2], "node_modules");
const { keccak256 } = require(path.join(tools, "js-sha3"));
const artefact = require("./KmsLedger.json");

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const NETWORK = "kms";
const DOMAIN = "kms/ledger-entry/1";

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const cat = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const sha256 = (...parts) => crypto.createHash("sha256").update(cat(...parts)).digest();

/// A big-endian number of `length` bytes.
function be(value, length) {
  return Buffer.from(BigInt(value).toString(16).padStart(2 * length, "0"), "hex");
}

const cbor = {
  head(major, value) {
    const n = BigInt(value);
    if (n < 24n) return be((major << 5) | Number(n), 1);
    const size = n < 1n << 8n ? 0 : n < 1n << 16n ? 1 : n < 1n << 32n ? 2 : 3;
    return cat(be((major << 5) | (24 + size), 1), be(n, 1 << size));
  },
  number: (value) => cbor.head(0, value),
  bytes: (value) => cat(cbor.head(2, value.length), value),
  text: (value) => cat(cbor.head(3, value.length), Buffer.from(value)),
  list: (items) => cat(cbor.head(4, items.length), ...items),
  map: (fields) => cat(cbor.head(5, Object.keys(fields).length), ...Object.entries(fields).flatMap(([key, value]) => [cbor.text(key), value])),
};

/// A new author: a node, or the ledger key of a policy.
function author() {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  const jwk = publicKey.export({ format: "jwk" });
  const [x, y] = [jwk.x, jwk.y].map((text) => be("0x" + hex(Buffer.from(text, "base64url")), 32));
  return { secret: privateKey, x, y, key: cat([2 + (y[31] & 1)], x), account: "0x" + keccak256(cat(x, y)).slice(24) };
}

/// A chain of its own with the contract on it.
class Chain {
  static async start() {
    const chain = new Chain();
    chain.port = 20000 + (process.pid % 20000);
    chain.process = spawn(path.join(tools, "@foundry-rs", `anvil-linux-${process.arch === "arm64" ? "arm64" : "amd64"}`, "bin", "anvil"), ["--port", chain.port, "--silent"], { stdio: "ignore" });
    for (let tries = 0; ; tries++) {
      try {
        [chain.sender] = await chain.rpc("eth_accounts");
        break;
      } catch (error) {
        if (tries > 600) throw error;
        await new Promise((next) => setTimeout(next, 50));
      }
    }
    const name = cat(be(32, 32), be(NETWORK.length, 32), Buffer.from(NETWORK.padEnd(32, "\0")));
    const receipt = await chain.mine({ data: artefact.bytecode + hex(name) });
    chain.contract = receipt.contractAddress;
    return chain;
  }

  stop() {
    this.process.kill();
  }

  async rpc(method, params = []) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const answer = await fetch(`http://127.0.0.1:${this.port}`, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = await answer.json();
    if (error) throw Object.assign(new Error(error.message), { data: error.data });
    return result;
  }

  async now() {
    return Number((await this.rpc("eth_getBlockByNumber", ["latest", false])).timestamp);
  }

  async mine(transaction) {
    const hash = await this.rpc("eth_sendTransaction", [{ from: this.sender, gas: "0x1c9c380", ...transaction }]);
    for (;;) {
      const receipt = await this.rpc("eth_getTransactionReceipt", [hash]);
      if (receipt) return receipt;
      await new Promise((next) => setTimeout(next, 5));
    }
  }

  /// Calls a function in a transaction; throws the name of the contract's error, or returns gas and events.
  async send(data, from = this.sender) {
    try {
      await this.rpc("eth_call", [{ from, to: this.contract, data }, "latest"]);
    } catch (error) {
      throw new Refused(error);
    }
    const receipt = await this.mine({ from, to: this.contract, data });
    const events = receipt.logs.map((log) => ({ name: eventNames[log.topics[0]], topics: log.topics, data: log.data }));
    return { gas: Number(receipt.gasUsed), events };
  }

  async view(signature, ...words) {
    const answer = await this.rpc("eth_call", [{ to: this.contract, data: "0x" + selector(signature) + words.map(hex).join("") }, "latest"]);
    return answer.slice(2).match(/.{64}/g).map((word) => BigInt("0x" + word));
  }

  /// The entry with its author's signature in front.
  async entry(by, kind, fields, rest) {
    const payload = cbor.map({ network: cbor.text(NETWORK), entry: cbor.map({ [kind]: cbor.map(fields) }) });
    const message = cat(be(DOMAIN.length, 4), Buffer.from(DOMAIN), payload);
    const signature = crypto.sign("sha256", message, { key: by.secret, dsaEncoding: "ieee-p1363" });
    const r = signature.subarray(0, 32);
    const found = BigInt("0x" + hex(signature.subarray(32)));
    const s = found > ORDER / 2n ? ORDER - found : found;
    // Which of the two points R was: by trying.
    for (const parity of [0n, 1n]) {
      const to = "0x0000000000000000000000000000000000000001";
      const recovered = await this.rpc("eth_call", [{ to, data: "0x" + hex(cat(sha256(message), be(27n + parity, 32), r, be(s, 32))) }, "latest"]);
      if (recovered.slice(26) === by.account.slice(2)) return cat(by.key, r, be(s | (parity << 255n), 32), rest);
    }
    throw new Error("the signature is not the author's");
  }

  registration(by, { until, seq, addrs = ["/ip4/192.0.2.1/tcp/4710"] }) {
    const list = cbor.list(addrs.map(cbor.text));
    const fields = { key: cbor.bytes(by.key), available_until: cbor.number(until), addrs: list, seq: cbor.number(seq) };
    return this.entry(by, "register_node", fields, cat(be(until, 5), be(seq, 8), list));
  }

  grant(policy, { expiry, m = 2, n = 3, seq = 1, nodes = Array.from({ length: n }, () => author().key) }) {
    const fields = {
      ledger_key: cbor.bytes(policy.by.key),
      inner: cbor.bytes(policy.inner),
      expiry: cbor.number(expiry),
      m: cbor.number(m),
      nodes: cbor.list(nodes.map(cbor.bytes)),
      seq: cbor.number(seq),
    };
    if (policy.revocation) fields.revocation = cbor.bytes(policy.revocation);
    const rest = cat(policy.inner, be(expiry, 5), be(m, 1), be(seq, 4), policy.revocation ?? Buffer.alloc(16), ...nodes);
    return this.entry(policy.by, "grant", fields, rest);
  }

  revocation(policy, epoch) {
    const fields = { ledger_key: cbor.bytes(policy.by.key), inner: cbor.bytes(policy.inner), epoch: cbor.number(epoch) };
    return this.entry(policy.by, "revoke", fields, cat(policy.inner, be(epoch, 4)));
  }

  handover(by, { to, policy, index = 0, after = 12 }) {
    const fields = { from: cbor.bytes(by.key), to: cbor.bytes(to.key), policy: cbor.bytes(policy.id), index: cbor.number(index), after: cbor.number(after) };
    return this.entry(by, "handover", fields, cat(to.key, policy.id, be(index, 1), be(after, 8)));
  }
}

/// A policy that nobody has granted yet; `proof` revokes it, once it is granted, as of `epoch`.
function policy({ sealed = true, epoch = 2 } = {}) {
  const [by, inner, secret] = [author(), crypto.randomBytes(32), crypto.randomBytes(16)];
  const id = sha256("kms/policy/1", by.key, inner);
  const revocation = sealed ? sha256("kms/revocation/1", secret, be(epoch, 4)).subarray(0, 16) : undefined;
  return { by, inner, id, revocation, proof: cat(secret, be(epoch, 4)) };
}

const selector = (signature) => keccak256(signature).slice(0, 8);
const signatureOf = ({ name, inputs }) => `${name}(${inputs.map(({ type }) => type).join(",")})`;
const named = (type, key) => Object.fromEntries(artefact.abi.filter((item) => item.type === type).map((item) => [key(signatureOf(item)), item.name]));
const errorNames = named("error", selector);
const eventNames = named("event", (signature) => "0x" + keccak256(signature));
for (const name of ["NodeRegistered", "PolicyGranted", "PolicyRevoked", "PolicyReleased", "HandedOver", "HandedOverMany"]) eventNames["0x" + keccak256(name)] = name;

/// What the contract said, as `Name` or `Name(number)`.
class Refused extends Error {
  constructor({ message, data }) {
    const name = errorNames[data?.slice(2, 10)];
    super(!name ? message : data.length > 10 ? `${name}(${BigInt("0x" + data.slice(10))})` : name);
  }
}

/// Calls, as LEDGER §5.4.2 puts them together.
const call = {
  register: (entry) => "0x" + selector("register()") + hex(entry),
  retire: (entry) => "0x" + selector("retire()") + hex(entry),
  grant: (entry, { by }) => "0x" + selector("grant()") + hex(cat(by.y, entry)),
  revoke: (entry, { by }) => "0x" + selector("revoke()") + hex(cat(by.y, entry)),
  release: (...items) => "0x" + selector("release()") + hex(cat(...items.flatMap(({ id, proof }) => [id, proof]))),
  handover: (entry) => "0x" + selector("handover()") + hex(entry),
  handoverMany: (items) => "0x" + selector("handoverMany()") + hex(items),
  handoverRoot: (root, count) => "0x" + selector("handoverRoot(bytes32,uint256)") + hex(cat(root, be(count, 32))),
};

module.exports = { Chain, ORDER, author, be, call, cat, hex, policy };
