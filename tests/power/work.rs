//! What programs do to the mount, when each step was acknowledged, and whether it is still there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kms_tests::{TIMEOUT, tree};

/// Less work than this says nothing.
pub(crate) const ENOUGH: usize = 20;
const FILES: u64 = 5;
const SECTOR: usize = 512;
const SECTORS: usize = 512;

/// Small numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % end
    }
}

/// A file that is overwritten in place.
struct Overwritten {
    number: u64,
    /// The sectors that each write covered. A write's version is its index; version 0 wrote them all.
    writes: Vec<Range<usize>>,
    /// The log's length when all writes below a version were acknowledged.
    acknowledged: Vec<(u64, usize)>,
}

/// A step in the directories that was acknowledged.
enum Step {
    Created(u64),
    Directory(u64),
    Replaced(u64),
}

/// All that was done.
pub(crate) struct Notes {
    overwritten: Vec<Overwritten>,
    /// With the log's length when they were acknowledged.
    steps: Vec<(u64, Step)>,
}

/// A sector says whose it is: a version, and bytes that follow from it and the place.
fn sector(file: u64, sector: usize, version: usize) -> Vec<u8> {
    let version = u64::try_from(version).unwrap();
    let place = (file << 56) | (u64::try_from(sector).unwrap() << 40);
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend(tree::bytes(place ^ version.rotate_left(1), SECTOR - 8));
    bytes
}

fn content(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 997 % 9000).unwrap();
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend(tree::bytes(number, length));
    bytes
}

fn synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Overwritten {
    fn name(&self) -> String {
        format!("overwritten-{}", self.number)
    }

    fn overwrite(&mut self, at: &Path, seed: u64, stop: &AtomicBool, position: &dyn Fn() -> u64) {
        let mut dice = Dice::new(seed + self.number);
        let file = File::options()
            .write(true)
            .open(at.join(self.name()))
            .unwrap();
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..=dice.below(6) {
                let begin = dice.below(SECTORS);
                let end = (begin + 1 + dice.below(100)).min(SECTORS);
                let version = self.writes.len();
                let bytes: Vec<u8> = (begin..end)
                    .flat_map(|index| sector(self.number, index, version))
                    .collect();
                self.writes.push(begin..end);
                let offset = u64::try_from(begin * SECTOR).unwrap();
                file.write_all_at(&bytes, offset).unwrap();
            }
            file.sync_data().unwrap();
            self.acknowledged.push((position(), self.writes.len()));
        }
    }

    fn missing(&self, at: &Path, position: u64) -> Vec<String> {
        let below = self
            .acknowledged
            .iter()
            .take_while(|(noted, _)| *noted <= position)
            .last()
            .map_or(1, |(_, below)| *below);
        let mut expected = [0; SECTORS];
        for (version, range) in self.writes[..below].iter().enumerate() {
            expected[range.clone()].fill(version);
        }
        let name = self.name();
        let file = match File::open(at.join(&name)) {
            Ok(file) => file,
            Err(error) => return vec![format!("{name}: {error}")],
        };
        let wrong = |(index, expected): (usize, &usize)| {
            let mut bytes = [0; SECTOR];
            let offset = u64::try_from(index * SECTOR).unwrap();
            if let Err(error) = file.read_exact_at(&mut bytes, offset) {
                return Some(format!("{name}: sector {index}: {error}"));
            }
            let version = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let version = usize::try_from(version).unwrap();
            let written = self
                .writes
                .get(version)
                .is_some_and(|range| range.contains(&index));
            let whole = written && bytes[..] == sector(self.number, index, version);
            (!whole || version < *expected).then(|| {
                format!("{name}: sector {index}: version {version} (whole: {whole}), acknowledged was {expected}")
            })
        };
        expected.iter().enumerate().filter_map(wrong).collect()
    }
}

impl Step {
    /// Whether it is still there.
    fn find(&self, at: &Path) -> Result<(), String> {
        let (name, wanted) = match self {
            Self::Created(number) => (format!("created-{number}"), *number),
            Self::Replaced(number) => ("replaced".to_owned(), *number),
            Self::Directory(number) => {
                let name = format!("directory-{number}");
                let entries: io::Result<Vec<_>> =
                    fs::read_dir(at.join(&name)).and_then(Iterator::collect);
                return match entries {
                    Ok(entries) if entries.is_empty() => Ok(()),
                    Ok(entries) => Err(format!("{name}: {} entries", entries.len())),
                    Err(error) => Err(format!("{name}: {error}")),
                };
            }
        };
        let bytes = fs::read(at.join(&name)).map_err(|error| format!("{name}: {error}"))?;
        let number = bytes
            .first_chunk()
            .map(|first| u64::from_le_bytes(*first))
            .filter(|number| *number <= 1 << 20)
            .ok_or_else(|| format!("{name}: {} bytes that nobody wrote", bytes.len()))?;
        let later = matches!(self, Self::Replaced(_)) && number > wanted;
        if bytes == content(number) && (number == wanted || later) {
            return Ok(());
        }
        Err(format!("{name}: is {number}, acknowledged was {wanted}"))
    }
}

/// Makes files and directories, and replaces a file, one after the other.
fn name(at: &Path, stop: &AtomicBool, position: &dyn Fn() -> u64) -> io::Result<Vec<(u64, Step)>> {
    let mut steps = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let step = match number % 3 {
            0 => {
                synced(&at.join(format!("created-{number}")), &content(number))?;
                Step::Created(number)
            }
            1 => {
                fs::create_dir(at.join(format!("directory-{number}")))?;
                Step::Directory(number)
            }
            _ => {
                synced(&at.join("new"), &content(number))?;
                fs::rename(at.join("new"), at.join("replaced"))?;
                Step::Replaced(number)
            }
        };
        sync_directory(at)?;
        steps.push((position(), step));
    }
    Ok(steps)
}

impl Notes {
    /// Makes what is there before the work.
    pub(crate) fn begin(at: &Path) -> Self {
        let overwritten = (0..FILES).map(|number| Overwritten {
            number,
            writes: std::iter::once(0..SECTORS).collect(),
            acknowledged: Vec::new(),
        });
        let overwritten: Vec<_> = overwritten.collect();
        for file in &overwritten {
            let bytes: Vec<u8> = (0..SECTORS)
                .flat_map(|index| sector(file.number, index, 0))
                .collect();
            synced(&at.join(file.name()), &bytes).unwrap();
        }
        sync_directory(at).unwrap();
        Self {
            overwritten,
            steps: Vec::new(),
        }
    }

    /// Works for a while, or longer where a disk is slow; `position` tells how long the log is.
    pub(crate) fn work(
        &mut self,
        at: &Path,
        seed: u64,
        length: Duration,
        position: &(dyn Fn() -> u64 + Sync),
    ) {
        let stop = &AtomicBool::new(false);
        // Each is noted where it stands in the log.
        let acknowledged = AtomicUsize::new(0);
        let position = &|| {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            position()
        };
        let (overwritten, steps) = (&mut self.overwritten, &mut self.steps);
        std::thread::scope(|scope| {
            for file in overwritten {
                scope.spawn(move || file.overwrite(at, seed, stop, position));
            }
            scope.spawn(move || *steps = name(at, stop, position).unwrap());
            let begun = Instant::now();
            let is_enough = |passed| {
                let done = acknowledged.load(Ordering::Relaxed) > ENOUGH;
                passed > length && done || passed > TIMEOUT
            };
            while !is_enough(begun.elapsed()) {
                std::thread::sleep(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// How much was acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let files = self.overwritten.iter().map(|file| file.acknowledged.len());
        files.sum::<usize>() + self.steps.len()
    }

    /// What was acknowledged when the log had this length, and is not there.
    pub(crate) fn missing(&self, at: &Path, position: u64) -> Vec<String> {
        let files = self
            .overwritten
            .iter()
            .flat_map(|file| file.missing(at, position));
        let steps = self.steps.iter().filter(|(noted, _)| *noted <= position);
        files
            .chain(steps.filter_map(|(_, step)| step.find(at).err()))
            .collect()
    }
}
