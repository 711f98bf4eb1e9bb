// Compiles KmsLedger.sol and writes KmsLedger.json: interface, code, and what made them.
//   node contracts/compile.js TOOLS [--check]
// TOOLS is a directory in which scripts/setup has installed its tools. With --check nothing is written: the file must be what comes out.
const fs = require("fs");
const path = require("path");

const solc = require(require.resolve("solc", { paths: [process.argv[2]] }));
const source = fs.readFileSync(path.join(__dirname, "KmsLedger.sol"), "utf8");
const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 100000 },
  viaIR: true,
  // The code of the source, whatever its comments and wherever it lies.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "KmsLedger.sol": { KmsLedger: ["abi", "evm.bytecode.object"] } },
};
const input = { language: "Solidity", sources: { "KmsLedger.sol": { content: source } }, settings };
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const { formattedMessage } of output.errors ?? []) console.error(formattedMessage);
if ((output.errors ?? []).length > 0) process.exit(1);

const { abi, evm } = output.contracts["KmsLedger.sol"].KmsLedger;
const { outputSelection, ...made } = settings;
const artefact = { compiler: solc.version(), settings: made, abi, bytecode: "0x" + evm.bytecode.object };
const text = JSON.stringify(artefact, null, 2) + "\n";
const file = path.join(__dirname, "KmsLedger.json");
if (process.argv[3] !== "--check") fs.writeFileSync(file, text);
else if (fs.readFileSync(file, "utf8") !== text) {
  console.error("contracts/KmsLedger.json is not what KmsLedger.sol compiles to; run node contracts/compile.js TOOLS");
  process.exit(1);
}
