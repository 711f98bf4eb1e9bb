// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// The ledger of a kms network on an EVM chain (LEDGER §5.4).
///
/// Authors sign the very statements that every kind of ledger takes; anybody may carry them here and pay. The contract
/// writes the signed bytes again from the fields, so that there is one encoding, and keeps one word a node and one a
/// policy: enough for the rules of LEDGER §4. All else is in the events, from which readers check everything anew.
contract KmsLedger {
    /// The fields are not of the form of LEDGER §5.4.2.
    error Malformed();
    /// The signature is not the author's.
    error BadSignature();
    /// Not 1 ≤ m ≤ n ≤ 255.
    error BadThreshold();
    /// There is a later entry, with this number or epoch.
    error Outnumbered(uint256 latest);
    /// The node has promised to serve until then.
    error Shortened(uint256 until);
    /// The policy was revoked then, which is for good.
    error Revoked(uint256 since);
    /// The grant, or what it would move, is over.
    error AlreadyExpired();
    /// This does not open what the grant was sealed with, or another grant of the policy was sealed otherwise.
    error NotTheSecret();
    /// Only a registered node's own account may.
    error NotANode();
    /// Nothing of that name was granted.
    error NotGranted();

    // Events carry what was given, as it was given: ABI's way of writing byte strings would cost 700 more each time.

    /// A node's registration.
    bytes32 private constant NODE_REGISTERED = keccak256("NodeRegistered");
    /// A grant.
    bytes32 private constant POLICY_GRANTED = keccak256("PolicyGranted");
    /// A revocation by the author.
    bytes32 private constant POLICY_REVOKED = keccak256("PolicyRevoked");
    /// Revocations by whoever holds the secrets.
    bytes32 private constant POLICY_RELEASED = keccak256("PolicyReleased");
    /// A fragment has moved, as the node that gave it away signed it.
    bytes32 private constant HANDED_OVER = keccak256("HandedOver");
    /// Fragments have moved, as the account of the node that gave them away says: the second topic.
    bytes32 private constant HANDED_OVER_MANY = keccak256("HandedOverMany");
    /// The Merkle root over any number of them.
    event HandedOverRoot(address indexed from, bytes32 root, uint256 count);

    /// The version of LEDGER §5.4.
    uint256 public constant version = 1;

    /// n/2 of secp256k1: of the two forms of a signature the low one alone is taken.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
    uint256 private constant LOW_255_BITS = (1 << 255) - 1;
    /// How an entry begins: the author's key 33 ‖ r 32 ‖ s 32, with the parity of R in the highest bit of s.
    uint256 private constant AUTHOR_BYTES = 97;
    /// policy 32 ‖ secret 16 ‖ epoch 4.
    uint256 private constant RELEASE_BYTES = 52;

    uint256 private constant GRANTED = 1;
    uint256 private constant REVOKED = 2;

    /// The network's name as CBOR text, at most 32 bytes of it.
    bytes32 private immutable networkText;
    uint256 private immutable networkBytes;

    /// Of an account: `seq` 64 | `available_until` 64 | first half of keccak256(addresses) 128.
    mapping(address => Word) private nodes;
    /// Of a policy: `revocation` 128 | `seq` 32 | `epoch` 32 | `expiry`, or when it was revoked 40 | m 8 | n 8 | status 8.
    mapping(bytes32 => Word) private policies;

    struct Word {
        uint256 value;
    }

    constructor(string memory network_) {
        uint256 length = bytes(network_).length;
        require(length > 0 && length < 24, "a network's name has 1 to 23 bytes");
        networkText = bytes32(((0x60 + length) << 248) | (uint256(bytes32(bytes(network_))) >> 8));
        networkBytes = length + 1;
    }

    // What anybody may ask

    /// The network's name.
    function network() external view returns (string memory) {
        bytes memory name = new bytes(networkBytes - 1);
        for (uint256 i = 0; i < name.length; i++) name[i] = networkText[i + 1];
        return string(name);
    }

    /// What is known of the node with this account.
    function node(address account) external view returns (uint64 seq, uint64 availableUntil, bytes16 addresses) {
        uint256 word = nodes[account].value;
        return (uint64(word >> 192), uint64(word >> 128), bytes16(uint128(word)));
    }

    /// What is known of a policy. `status`: 0 nothing, 1 granted, 2 revoked; `time`: its expiry, or when it was revoked.
    function policy(bytes32 id)
        external
        view
        returns (uint8 status, uint64 time, uint8 m, uint8 n, uint32 seq, uint32 epoch, bytes16 revocation)
    {
        uint256 word = policies[id].value;
        return (
            uint8(word),
            uint40(word >> 24),
            uint8(word >> 16),
            uint8(word >> 8),
            uint32(word >> 96),
            uint32(word >> 64),
            bytes16(uint128(word >> 128))
        );
    }

    // Nodes: the word belongs to the account that signs. That it is the account of the key in the entry, readers check.

    /// author ‖ available_until 5 ‖ seq 8 ‖ addresses (CBOR list of text). The promise never becomes shorter.
    function register() external {
        bytes calldata entry = given(4);
        (Word storage kept, uint256 known, uint256 next) = registration(entry);
        if (uint64(next >> 128) < uint64(known >> 128)) revert Shortened(uint64(known >> 128));
        kept.value = next;
        tell(NODE_REGISTERED, entry);
    }

    /// The same, but the promise may become shorter: for a node that leaves. Whether it still keeps anything is
    /// for readers to judge (LEDGER §4), who pass over what comes too early.
    function retire() external {
        bytes calldata entry = given(4);
        (Word storage kept, uint256 known, uint256 next) = registration(entry);
        if (known == 0) revert NotANode();
        kept.value = next;
        tell(NODE_REGISTERED, entry);
    }

    function registration(bytes calldata entry)
        private
        view
        returns (Word storage kept, uint256 known, uint256 next)
    {
        unchecked {
            if (entry.length <= AUTHOR_BYTES + 13) revert Malformed();
            uint256 until = take(entry, AUTHOR_BYTES, 5);
            uint256 seq = take(entry, AUTHOR_BYTES + 5, 8);
            (uint256 start, uint256 pos) = begin("\x65entry\xa1\x6dregister_node\xa4\x63key\x58\x21", 28);
            pos = putSlice(pos, entry, 0, 33);
            pos = put(pos, "\x6favailable_until", 16);
            pos = putNumber(pos, until);
            pos = put(pos, "\x65addrs", 6);
            uint256 addresses = pos;
            pos = putSlice(pos, entry, AUTHOR_BYTES + 13, entry.length - AUTHOR_BYTES - 13);
            uint256 hash;
            assembly ("memory-safe") {
                hash := keccak256(addresses, sub(pos, addresses))
            }
            pos = put(pos, "\x63seq", 4);
            pos = putNumber(pos, seq);
            kept = nodes[signer(entry, start, pos)];
            known = kept.value;
            if (known != 0 && seq <= known >> 192) revert Outnumbered(known >> 192);
            next = (seq << 192) | (until << 128) | (hash >> 128);
        }
    }

    // Policies

    /// y 32 ‖ author ‖ inner 32 ‖ expiry 5 ‖ m 1 ‖ seq 4 ‖ revocation 16, or zeros ‖ nodes, 33 each.
    function grant() external {
        unchecked {
            bytes calldata entry = given(36);
            if (entry.length < AUTHOR_BYTES + 58) revert Malformed();
            uint256 n = (entry.length - AUTHOR_BYTES - 58) / 33;
            if (entry.length != AUTHOR_BYTES + 58 + 33 * n) revert Malformed();
            uint256 expiry = take(entry, AUTHOR_BYTES + 32, 5);
            uint256 m = take(entry, AUTHOR_BYTES + 37, 1);
            uint256 seq = take(entry, AUTHOR_BYTES + 38, 4);
            uint256 revocation = take(entry, AUTHOR_BYTES + 42, 16);
            if (m == 0 || m > n || n > 255) revert BadThreshold();

            (uint256 start, uint256 pos) = revocation == 0
                ? begin("\x65entry\xa1\x65grant\xa6\x6aledger_key\x58\x21", 27)
                : begin("\x65entry\xa1\x65grant\xa7\x6aledger_key\x58\x21", 27);
            pos = putSlice(pos, entry, 0, 33);
            pos = put(pos, "\x65inner\x58\x20", 8);
            pos = putSlice(pos, entry, AUTHOR_BYTES, 32);
            pos = put(pos, "\x66expiry", 7);
            pos = putNumber(pos, expiry);
            pos = put(pos, "\x61m", 2);
            pos = putNumber(pos, m);
            pos = put(pos, "\x65nodes", 6);
            pos = n < 24 ? put(pos, bytes32((0x80 + n) << 248), 1) : put(pos, bytes32((0x9800 + n) << 240), 2);
            for (uint256 from = AUTHOR_BYTES + 58; from < entry.length; from += 33) {
                pos = put(pos, "\x58\x21", 2);
                pos = putSlice(pos, entry, from, 33);
            }
            pos = put(pos, "\x63seq", 4);
            pos = putNumber(pos, seq);
            if (revocation != 0) {
                pos = put(pos, "\x6arevocation\x50", 12);
                pos = putSlice(pos, entry, AUTHOR_BYTES + 42, 16);
            }
            checkAuthor(entry, start, pos);

            Word storage kept = policies[policyOf(entry)];
            uint256 known = kept.value;
            if (uint8(known) == REVOKED) revert Revoked(uint40(known >> 24));
            if (known != 0) {
                if (seq <= uint32(known >> 96)) revert Outnumbered(uint32(known >> 96));
                if (revocation != known >> 128) revert NotTheSecret();
            }
            if (expiry <= block.timestamp) revert AlreadyExpired();
            kept.value = (revocation << 128) | (seq << 96) | (expiry << 24) | (m << 16) | (n << 8) | GRANTED;
            tell(POLICY_GRANTED, entry);
        }
    }

    /// y 32 ‖ author ‖ inner 32 ‖ epoch 4. May come before the grant, and then prevents it.
    function revoke() external {
        bytes calldata entry = given(36);
        if (entry.length != AUTHOR_BYTES + 36) revert Malformed();
        uint256 epoch = take(entry, AUTHOR_BYTES + 32, 4);
        (uint256 start, uint256 pos) = begin("\x65entry\xa1\x66revoke\xa3\x6aledger_key\x58\x21", 28);
        pos = putSlice(pos, entry, 0, 33);
        pos = put(pos, "\x65inner\x58\x20", 8);
        pos = putSlice(pos, entry, AUTHOR_BYTES, 32);
        pos = put(pos, "\x65epoch", 6);
        pos = putNumber(pos, epoch);
        checkAuthor(entry, start, pos);
        Word storage kept = policies[policyOf(entry)];
        end(kept, kept.value, epoch);
        tell(POLICY_REVOKED, entry);
    }

    /// Revokes with the secrets that grants were sealed with: by whoever holds them, from any account. Each item: policy 32
    /// ‖ secret 16 ‖ epoch 4; all of them count or none.
    function release() external {
        bytes calldata items = given(4);
        unchecked {
            uint256 from = 0;
            do {
                releaseOne(items, from);
                from += RELEASE_BYTES;
            } while (from < items.length);
            if (from != items.length) revert Malformed();
        }
        tell(POLICY_RELEASED, items);
    }

    function releaseOne(bytes calldata items, uint256 from) private {
        Word storage kept = policies[bytes32(take(items, from, 32))];
        uint256 known = kept.value;
        uint256 opened;
        assembly ("memory-safe") {
            mstore(0, "kms/revocation/1")
            calldatacopy(16, add(items.offset, add(from, 32)), 20)
            pop(staticcall(gas(), 2, 0, 36, 0, 32))
            opened := shr(128, mload(0))
        }
        // What was never granted, or without a secret, holds zeros, to which nobody knows one.
        if (opened != known >> 128) revert NotTheSecret();
        end(kept, known, take(items, from + 48, 4));
    }

    function end(Word storage kept, uint256 known, uint256 epoch) private {
        unchecked {
            uint256 since = block.timestamp;
            if (uint8(known) == REVOKED) {
                // The label may move on again; it never goes back.
                if (epoch <= uint32(known >> 64)) revert Outnumbered(uint32(known >> 64));
                since = uint40(known >> 24);
            }
            uint256 stays = known & ~uint256((0xffffffffffffffffff << 24) | 0xff);
            kept.value = stays | (epoch << 64) | (since << 24) | REVOKED;
        }
    }

    // Handovers

    /// author ‖ to 33 ‖ policy 32 ‖ index 1 ‖ after 8. Who keeps what is for readers to judge (LEDGER §4).
    function handover() external {
        bytes calldata entry = given(4);
        if (entry.length != AUTHOR_BYTES + 74) revert Malformed();
        (uint256 start, uint256 pos) = begin("\x65entry\xa1\x68handover\xa5\x64from\x58\x21", 24);
        pos = putSlice(pos, entry, 0, 33);
        pos = put(pos, "\x62to\x58\x21", 5);
        pos = putSlice(pos, entry, AUTHOR_BYTES, 33);
        pos = put(pos, "\x66policy\x58\x20", 9);
        pos = putSlice(pos, entry, AUTHOR_BYTES + 33, 32);
        pos = put(pos, "\x65index", 6);
        pos = putNumber(pos, take(entry, AUTHOR_BYTES + 65, 1));
        pos = put(pos, "\x65after", 6);
        pos = putNumber(pos, take(entry, AUTHOR_BYTES + 66, 8));
        if (nodes[signer(entry, start, pos)].value == 0) revert NotANode();
        uint256 known = policies[bytes32(take(entry, AUTHOR_BYTES + 33, 32))].value;
        if (known == 0) revert NotGranted();
        if (uint8(known) == REVOKED) revert Revoked(uint40(known >> 24));
        if (uint40(known >> 24) <= block.timestamp) revert AlreadyExpired();
        tell(HANDED_OVER, entry);
    }

    /// From the account of the node that gives fragments away; each item: to 33 ‖ policy 32 ‖ index 1.
    function handoverMany() external {
        bytes calldata items = given(4);
        if (nodes[msg.sender].value == 0) revert NotANode();
        if (items.length == 0 || items.length % 66 != 0) revert Malformed();
        bytes32 topic = HANDED_OVER_MANY;
        assembly ("memory-safe") {
            let start := mload(0x40)
            calldatacopy(start, items.offset, items.length)
            log2(start, items.length, topic, caller())
        }
    }

    /// The same for any number: each recipient is shown its path to this root.
    function handoverRoot(bytes32 root, uint256 count) external {
        if (nodes[msg.sender].value == 0) revert NotANode();
        if (count == 0) revert Malformed();
        emit HandedOverRoot(msg.sender, root, count);
    }

    // What is given and told

    /// What follows from this byte of the call on: arguments are bytes put together, not ABI's. If there are fewer bytes it is
    /// longer than anything can be.
    function given(uint256 from) private pure returns (bytes calldata rest) {
        assembly ("memory-safe") {
            rest.offset := from
            rest.length := sub(calldatasize(), from)
        }
    }

    function tell(bytes32 topic, bytes calldata entry) private {
        assembly ("memory-safe") {
            let start := mload(0x40)
            calldatacopy(start, entry.offset, entry.length)
            log1(start, entry.length, topic)
        }
    }

    // The signed bytes, written one after the other behind the free memory pointer. Nothing else takes memory meanwhile:
    // each write may spill over what comes after it.

    /// The signature's domain and the statement up to its author: {network, entry: {…
    function begin(bytes32 head, uint256 length) private view returns (uint256 start, uint256 pos) {
        assembly ("memory-safe") {
            start := mload(0x40)
        }
        pos = put(start, "\x00\x00\x00\x12kms/ledger-entry/1\xa2\x67network", 31);
        pos = put(pos, networkText, networkBytes);
        pos = put(pos, head, length);
    }

    function put(uint256 pos, bytes32 word, uint256 length) private pure returns (uint256) {
        assembly ("memory-safe") {
            mstore(pos, word)
        }
        unchecked {
            return pos + length;
        }
    }

    function putSlice(uint256 pos, bytes calldata entry, uint256 from, uint256 length) private pure returns (uint256) {
        assembly ("memory-safe") {
            calldatacopy(pos, add(entry.offset, from), length)
        }
        unchecked {
            return pos + length;
        }
    }

    /// A CBOR unsigned integer in its shortest form.
    function putNumber(uint256 pos, uint256 value) private pure returns (uint256) {
        unchecked {
            if (value < 24) return put(pos, bytes32(value << 248), 1);
            // Most are times.
            if (value >= 1 << 16 && value < 1 << 32) return put(pos, bytes32((0x1a << 248) | (value << 216)), 5);
            if (value < 1 << 8) return put(pos, bytes32((0x18 << 248) | (value << 240)), 2);
            if (value < 1 << 16) return put(pos, bytes32((0x19 << 248) | (value << 232)), 3);
            return put(pos, bytes32((0x1b << 248) | (value << 184)), 9);
        }
    }

    /// A big-endian number of the entry, which is long enough.
    function take(bytes calldata entry, uint256 from, uint256 length) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, mul(8, length)), calldataload(add(entry.offset, from)))
        }
    }

    /// The account whose signature the entry bears, of the bytes from `start` to `until`.
    function signer(bytes calldata entry, uint256 start, uint256 until) private view returns (address account) {
        uint256 s = take(entry, 65, 32);
        uint256 low = s & LOW_255_BITS;
        if (low > HALF_ORDER) revert BadSignature();
        assembly ("memory-safe") {
            pop(staticcall(gas(), 2, start, sub(until, start), start, 32))
            mstore(add(start, 32), add(27, shr(255, s)))
            calldatacopy(add(start, 64), add(entry.offset, 33), 32)
            mstore(add(start, 96), low)
            // What is not a signature gives nothing back.
            mstore(0, 0)
            pop(staticcall(gas(), 1, start, 128, 0, 32))
            account := mload(0)
        }
        if (account == address(0)) revert BadSignature();
    }

    /// Checks that this is the account of the author's key: the hash of x ‖ y, of which y stands before the entry and
    /// belongs to the key's first byte.
    function checkAuthor(bytes calldata entry, uint256 start, uint256 until) private view {
        address account = signer(entry, start, until);
        uint256 sign = take(entry, 0, 1);
        uint256 hash;
        uint256 y;
        assembly ("memory-safe") {
            y := calldataload(4)
            calldatacopy(0, add(entry.offset, 1), 32)
            mstore(32, y)
            hash := keccak256(0, 64)
        }
        if (account != address(uint160(hash)) || sign != 2 + (y & 1)) revert BadSignature();
    }

    /// SHA256("kms/policy/1" ‖ ledger key ‖ inner): nobody can name another's policy.
    function policyOf(bytes calldata entry) private view returns (bytes32 id) {
        uint256 start;
        assembly ("memory-safe") {
            start := mload(0x40)
        }
        uint256 pos = put(start, "kms/policy/1", 12);
        pos = putSlice(pos, entry, 0, 33);
        pos = putSlice(pos, entry, AUTHOR_BYTES, 32);
        assembly ("memory-safe") {
            pop(staticcall(gas(), 2, start, sub(pos, start), 0, 32))
            id := mload(0)
        }
    }
}
