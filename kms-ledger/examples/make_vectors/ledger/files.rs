//! Ledger files, whole, damaged and compacted (LEDGER 5.2).

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use kms_crypto::policy::revocation;
use kms_ledger::{FileLedger, FileOptions};
use kms_proto::ledger::{Chain, Ledger, Prepared, Record, SignedEntry};

use super::{grant, register, release, revoke};
use crate::{Area, NETWORK, NOW};

struct File<'a> {
    spec: &'a str,
    expect: &'a str,
    height: u64,
    now: u64,
    seen: Option<(u64, [u8; 32])>,
}

pub(super) fn write(area: &Area) {
    let write = |name: &str, file: File<'_>, bytes: &[u8]| {
        let (height, now) = (file.height.to_string(), file.now.to_string());
        let seen = file
            .seen
            .map(|(height, hash)| format!("{height} {}", data_encoding::HEXLOWER.encode(&hash)));
        let mut fields = vec![
            ("spec", file.spec),
            ("expect", file.expect),
            ("type", "file"),
            ("network", NETWORK),
            ("now", &now),
            ("height", &height),
        ];
        if let Some(seen) = &seen {
            fields.push(("seen", seen));
        }
        area.write(&format!("file-{name}"), &fields, &[bytes.to_vec()]);
    };
    let ok = |height| File {
        spec: "LEDGER 5.2",
        expect: "ok",
        height,
        now: NOW,
        seen: None,
    };
    let tampered = |height| File {
        spec: "LEDGER 5.2",
        expect: "tampered",
        height,
        now: NOW,
        seen: None,
    };
    let chain = |height| File {
        spec: "LEDGER 3",
        ..tampered(height)
    };

    let (whole, ends) = three_records();
    let (one, two, three) = (
        &whole[16..ends[0]],
        &whole[ends[0]..ends[1]],
        &whole[ends[1]..],
    );
    write("three-records", ok(3), &whole);
    write("empty", ok(0), &whole[..16]);
    write("just-made", ok(0), &whole[..9]);
    write("of-no-length", ok(0), &[]);
    write("unfinished-length", ok(2), &whole[..ends[1] + 2]);
    write("unfinished-record", ok(2), &whole[..ends[1] + 60]);
    write("unfinished-checksum", ok(2), &whole[..whole.len() - 1]);
    write("unfinished-zeros", ok(3), &[&whole[..], &[0; 200]].concat());
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    write(
        "unfinished-or-wrong-at-the-end",
        ok(2),
        &flipped(whole.len() - 20),
    );
    let not_a_ledger = || File {
        expect: "not-a-ledger",
        ..tampered(0)
    };
    write("wrong-magic", not_a_ledger(), &flipped(0));
    write("version-2", not_a_ledger(), &with_version(&whole, 2));
    write("wrong-header-checksum", not_a_ledger(), &flipped(13));
    write("wrong-byte", tampered(2), &flipped(ends[0] + 40));
    write("wrong-checksum", tampered(1), &flipped(ends[0] - 1));
    write("longer-length", tampered(2), &flipped(ends[0] + 2));
    write("impossible-length", tampered(2), &flipped(ends[0]));
    write(
        "many-zeros",
        tampered(4),
        &[&whole[..], &[0; 20_000]].concat(),
    );

    write(
        "record-left-out",
        chain(2),
        &[&whole[..16], one, three].concat(),
    );
    write("record-twice", chain(2), &[&whole[..16], one, one].concat());
    write(
        "records-swapped",
        chain(1),
        &[&whole[..16], two, one].concat(),
    );
    write(
        "first-left-out",
        chain(1),
        &[&whole[..16], two, three].concat(),
    );
    let later = forged_frame(two, &time(NOW + 1), &time(NOW + 3));
    write(
        "time-changed-breaks-the-chain",
        chain(3),
        &[&whole[..ends[0]], &later, three].concat(),
    );
    let back = forged_frame(two, &time(NOW + 1), &time(NOW - 1));
    write(
        "back-in-time",
        chain(2),
        &[&whole[..ends[0]], &back].concat(),
    );
    let version = forged_frame(one, b"\x67version\x01", b"\x67version\x02");
    write(
        "record-version-2",
        chain(1),
        &[&whole[..16], &version].concat(),
    );
    let network = forged_frame(one, b"\x67network\x67vectors", b"\x67network\x67another");
    write(
        "record-of-another-network",
        chain(1),
        &[&whole[..16], &network].concat(),
    );
    let entry = forged_frame(two, &[7; 32], &[6; 32]);
    write(
        "entry-changed",
        chain(2),
        &[&whole[..ends[0]], &entry].concat(),
    );

    let ahead = |now, expect| File {
        spec: "LEDGER 3",
        expect,
        height: 3,
        now,
        seen: None,
    };
    write("30-seconds-ahead", ahead(NOW + 2 - 30, "ok"), &whole);
    write(
        "31-seconds-ahead",
        ahead(NOW + 2 - 31, "ahead-of-clock"),
        &whole,
    );

    let head = |frame: &[u8]| record_in(frame).hash();
    let seen = |height, hash, expect, at| File {
        spec: "LEDGER 3",
        expect,
        height: at,
        now: NOW,
        seen: Some((height, hash)),
    };
    write("seen-before", seen(2, head(two), "ok", 3), &whole);
    write(
        "shorter-than-seen",
        seen(3, head(three), "shorter", 2),
        &whole[..ends[1]],
    );
    write(
        "shorter-by-a-wrong-byte",
        seen(3, head(three), "shorter", 2),
        &flipped(whole.len() - 20),
    );
    write("other-than-seen", seen(2, head(one), "forked", 2), &whole);
    compacted(&write);
}

/// A ledger file of a registration, a grant a second later, its revocation another second later; where each record ends.
fn three_records() -> (Vec<u8>, Vec<usize>) {
    let dir = std::env::temp_dir().join(format!("kms-ledger-vectors-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory for a file");
    let path = dir.join("ledger");
    let time = Arc::new(AtomicU64::new(NOW));
    let clock = Arc::clone(&time);
    let options = FileOptions {
        clock: Arc::new(move || clock.load(SeqCst)),
        ..FileOptions::new(NETWORK)
    };
    let ledger = FileLedger::open_writer(&path, options).expect("a new ledger");
    let ends = [
        register(1, NOW + 5000, &["/ip4/192.0.2.1/tcp/4100"]),
        grant(|_| {}),
        revoke(2),
    ]
    .iter()
    .map(|entry| {
        ledger.submit(entry).expect("accepted");
        time.fetch_add(1, SeqCst);
        fs::read(&path).expect("it can be read").len()
    })
    .collect();
    let whole = fs::read(&path).expect("it can be read");
    fs::remove_dir_all(dir).expect("it can be removed");
    (whole, ends)
}

/// What is in a frame.
fn record_in(frame: &[u8]) -> Record {
    Record::from_bytes(&frame[4..frame.len() - 4]).expect("it was written as one")
}

/// The frame with only the heading of the record in it.
fn heading_of(frame: &[u8]) -> Vec<u8> {
    let heading = record_in(frame).heading().to_bytes();
    let len = u32::try_from(heading.len()).expect("short").to_be_bytes();
    let sum = crc32c::crc32c(&heading).to_be_bytes();
    [&len[..], &heading, &sum].concat()
}

/// Each of some entries a month after the one before it, as frames.
fn months_apart(entries: &[SignedEntry]) -> Vec<Vec<u8>> {
    let mut chain = Chain::new(NETWORK);
    let mut time = NOW;
    let frame = |entry: &SignedEntry| {
        let entry = entry.admit(NETWORK).expect("signed");
        let Prepared::New(record) = chain.prepare(entry, time).expect("by the rules") else {
            unreachable!("each is another one");
        };
        time += MONTH;
        let bytes = record.bytes().to_vec();
        chain.commit(record);
        let len = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        let sum = crc32c::crc32c(&bytes).to_be_bytes();
        [&len[..], &bytes, &sum].concat()
    };
    entries.iter().map(frame).collect()
}

/// Thirty days, for which an entry is kept that is over.
const MONTH: u64 = 30 * 24 * 60 * 60;

/// What may be left out, and what may not (LEDGER 5.2.1).
fn compacted(write: &dyn Fn(&str, File<'_>, &[u8])) {
    let file = |expect, height| File {
        spec: "LEDGER 5.2.1",
        expect,
        height,
        now: NOW + 9 * MONTH,
        seen: None,
    };
    let case = |name: &str, expect, height, frames: &[Vec<u8>], without: &[usize]| {
        let mut bytes = three_records().0[..16].to_vec();
        for (index, frame) in frames.iter().enumerate() {
            match without.contains(&index) {
                true => bytes.extend(heading_of(frame)),
                false => bytes.extend(frame),
            }
        }
        write(&format!("compacted-{name}"), file(expect, height), &bytes);
    };
    let node = |seq| register(seq, NOW + 9 * MONTH, &[]);
    let frames = months_apart(&[grant(|_| {}), node(1), node(2), node(3)]);
    case("grant-and-registrations", "ok", 4, &frames, &[0, 1, 2]);
    case("last-registration", "tampered", 4, &frames, &[0, 3]);
    let mut bytes = three_records().0[..16].to_vec();
    bytes.extend(frames[..3].iter().flat_map(|frame| heading_of(frame)));
    bytes.extend(&frames[3]);
    for (name, expect, at, seen) in [
        ("seen-before", "ok", 4, 2),
        ("other-than-seen", "forked", 2, 1),
    ] {
        let seen = Some((2, record_in(&frames[seen - 1]).hash()));
        let file = File {
            seen,
            ..file(expect, at)
        };
        write(&format!("compacted-{name}"), file, &bytes);
    }
    let early = grant(|it| it.expiry = NOW + 2 * MONTH + 1);
    let frames = months_apart(&[early, node(1), node(2), node(3)]);
    case("grant-a-second-too-early", "tampered", 1, &frames, &[0]);
    let frames = months_apart(&[grant(|_| {}), node(1), revoke(2), node(2)]);
    case("grant-before-revocation", "ok", 4, &frames, &[0]);
    case("revocation", "tampered", 3, &frames, &[0, 2]);
    let sealed = grant(|it| it.revocation = Some(revocation(&[9; 16], 2)));
    let frames = months_apart(&[sealed, node(1), release(9, 2), node(2)]);
    case("grant-of-a-release", "tampered", 3, &frames, &[0]);
    let again = grant(|it| {
        it.seq = 2;
        it.expiry = NOW + 9 * MONTH;
    });
    let frames = months_apart(&[grant(|_| {}), node(1), again, node(2)]);
    case("grant-renewed-later", "ok", 4, &frames, &[0]);
}

fn with_version(file: &[u8], version: u8) -> Vec<u8> {
    let mut bytes = file.to_vec();
    bytes[9] = version;
    let checksum = crc32c::crc32c(&bytes[..12]).to_be_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    bytes
}

/// A record's time as it is encoded.
fn time(seconds: u64) -> Vec<u8> {
    [b"\x64time\x1a", &seconds.to_be_bytes()[4..]].concat()
}

/// A frame with some bytes changed, and the checksum right again.
fn forged_frame(frame: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = frame
        .windows(from.len())
        .position(|it| it == from)
        .expect("what is to be changed is there");
    let mut bytes = frame.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    let end = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[4..end]).to_be_bytes();
    bytes[end..].copy_from_slice(&checksum);
    bytes
}
