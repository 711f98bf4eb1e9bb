//! What this client has seen of a store, so that nobody can show it an older state (FRESHNESS).
//!
//! A [`Freshness`] answers from memory and from a small database outside the store. What was seen since is written to
//! the database now and then, after the store itself has been synced, so that the memory never runs ahead of what a
//! power cut leaves. It knows ids, generations and seals; what they mean to a filesystem is told in `vfs::fresh`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_crypto::id::MachineId;
use parking_lot::{Condvar, Mutex};

use self::database::Link;
use self::removals::Removals;
pub use self::rows::{Entry, Id, Mark, Relation, Version};
use self::rows::{Object, Rows};

mod database;
mod removals;
mod rows;

#[cfg(test)]
mod tests;

/// How what was found goes with what is known (FRESHNESS §4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is as new as anything that was seen, or newer.
    Fits,
    /// It is older.
    Older,
    /// It stands beside what was known: two machines wrote at once.
    Fork,
}

/// What the background thread is to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// Nothing yet.
    Wait,
    /// Write what was seen.
    Write,
    /// End.
    Stop,
}

/// An entry that was known and is not listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// The first 16 bytes of its sealed name.
    pub tag: Id,
    /// What was known.
    pub entry: Entry,
    /// Whether nobody but somebody else can have removed it.
    pub sure: bool,
}

/// How a directory's listing differs from what was known.
#[derive(Debug)]
pub struct Compared {
    /// What is not listed.
    pub missing: Vec<Missing>,
    /// What is listed although this client has just taken it away.
    pub removed: Vec<(Id, Entry)>,
}

/// What is remembered of one store.
#[derive(Debug)]
pub struct Freshness {
    rows: Mutex<Layers>,
    link: Link,
    removals: Mutex<Removals>,
    wake: Condvar,
    /// Counts machine crashes with the store in use (FRESHNESS §5).
    age: u32,
}

#[derive(Debug, Default)]
struct Layers {
    /// Seen since the last writing.
    new: Rows,
    /// On its way into the database.
    leaving: Option<Arc<Rows>>,
    /// When the first and the last of the new rows were added.
    since: Option<(Instant, Instant)>,
    stopping: bool,
}

const TICK: Duration = Duration::from_millis(500);
/// How long nothing must have been added before the rows are written, and how long they wait at most.
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
/// From this many rows on they are written at once; at most so many are kept.
const MANY: usize = 1 << 16;
const MOST: usize = 1 << 18;

impl Freshness {
    /// Opens the memory kept in `dir`. Never fails: what cannot be used is begun anew.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let (link, last_age) = Link::open(dir);
        let (removals, found) = Removals::open(dir, link.is_kept());
        let this = Self {
            rows: Mutex::default(),
            link,
            removals: Mutex::new(removals),
            wake: Condvar::new(),
            age: last_age + u32::from(found.is_unknown()),
        };
        {
            let mut rows = this.rows.lock();
            rows.new.age = (this.age != last_age).then_some(this.age);
            for dir in found.dirs() {
                rows.new.dirs.insert(*dir, NEVER);
            }
        }
        this
    }

    /// A memory that ends with the process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            rows: Mutex::default(),
            link: Link::none(),
            removals: Mutex::default(),
            wake: Condvar::new(),
            age: 1,
        }
    }

    /// Forgets everything (FRESHNESS §6).
    pub fn forget_all(dir: &Path) {
        Link::remove(dir);
        Removals::remove(dir);
    }

    /// Compares a verified state with what is known, and remembers it if it is new.
    pub fn see(&self, id: Id, version: &Version) -> Verdict {
        self.see_above(id, version).0
    }

    /// The same; says also which generation is the highest that is known, of whichever version.
    pub fn see_above(&self, id: Id, version: &Version) -> (Verdict, u64) {
        let Some(known) = self.object(&id) else {
            self.put_object(id, Object::of(version.clone()));
            return (Verdict::Fits, version.mark.generation);
        };
        let generations = known.versions().map(|it| it.mark.generation);
        let highest = generations.fold(version.mark.generation, u64::max);
        (self.see_beside(id, version, known), highest)
    }

    fn see_beside(&self, id: Id, version: &Version, known: Object) -> Verdict {
        let relations = known.versions().map(|it| version.to(it));
        let relations: Vec<Relation> = relations.collect();
        let is_same = relations.contains(&Relation::Same);
        if relations.contains(&Relation::Older) || is_same && known.gone {
            return Verdict::Older;
        }
        if is_same {
            return Verdict::Fits;
        }
        self.put_object(id, known.followed_by(version));
        if relations.contains(&Relation::Beside) {
            Verdict::Fork
        } else {
            Verdict::Fits
        }
    }

    /// Remembers what this client has written itself.
    pub fn wrote(&self, id: Id, version: &Version) {
        // Of one that was just made nothing is known.
        let known = if version.mark.generation > 1 {
            self.object(&id)
        } else {
            None
        };
        let object = known.map_or_else(
            || Object::of(version.clone()),
            |known| known.followed_by(version),
        );
        self.put_object(id, object);
    }

    /// Whether this generation would be refused, without remembering anything.
    #[must_use]
    pub fn is_older(&self, id: &Id, generation: u64) -> bool {
        self.object(id).is_some_and(|known| {
            let last = known.last.mark.generation;
            generation < last || known.gone && generation <= last
        })
    }

    /// The highest generation of an object that was seen; 0 if none was.
    #[must_use]
    pub fn known_generation(&self, id: &Id) -> u64 {
        self.object(id).map_or(0, |known| {
            let generations = known.versions().map(|it| it.mark.generation);
            generations.max().unwrap_or(0)
        })
    }

    /// Which machine has sealed the last state of an object that was seen, if it is the last one of all.
    #[must_use]
    pub fn last_writer(&self, id: &Id) -> Option<MachineId> {
        let known = self.object(id).filter(|known| known.others.is_empty())?;
        known.last.writers.last().map(|(machine, _)| machine)
    }

    /// The object's last name is gone: what it was must not come back. One of which there are several versions may
    /// stand elsewhere.
    pub fn gone(&self, id: Id) {
        let known = self.object(&id);
        if known.as_ref().is_some_and(|known| !known.others.is_empty()) {
            return;
        }
        let object = known.unwrap_or_else(|| Object::of(Version::ZERO));
        let mut layers = self.rows.lock();
        layers.new.graves.push(id);
        drop(layers);
        self.put_object(
            id,
            Object {
                gone: true,
                ..object
            },
        );
    }

    /// Another object has taken the only name this one had in that generation. If it was not seen elsewhere since, it
    /// is gone.
    pub fn replaced(&self, id: Id, generation: u64) {
        let elsewhere = |known: Object| known.last.mark.generation > generation;
        if !self.object(&id).is_some_and(elsewhere) {
            self.gone(id);
        }
    }

    /// What is known under a name.
    #[must_use]
    pub fn entry(&self, dir: &Id, tag: &Id) -> Option<Entry> {
        let key = (*dir, *tag);
        {
            let layers = self.rows.lock();
            if let Some(entry) = layers.find(|rows| rows.entries.get(&key)) {
                return entry.clone();
            }
        }
        self.link.entry(&key)
    }

    /// Remembers what stands under a name.
    pub fn put_entry(&self, dir: Id, tag: Id, entry: Entry) {
        let mut layers = self.rows.lock();
        if layers.has_room() {
            layers.new.entries.insert((dir, tag), Some(entry));
            self.touched(&mut layers);
        }
    }

    /// The same for what was found there, unless this client took the name away a moment ago: then it may have been
    /// found before that. Says whether it is remembered.
    #[must_use]
    pub fn found_entry(&self, dir: Id, tag: Id, entry: &Entry) -> bool {
        let key = (dir, tag);
        let mut layers = self.rows.lock();
        if let Some(None) = layers.find(|rows| rows.entries.get(&key)) {
            return false;
        }
        if layers.has_room() {
            layers.new.entries.insert(key, Some(entry.clone()));
            self.touched(&mut layers);
        }
        true
    }

    /// Before this client takes names out of a directory.
    pub fn will_remove(&self, dir: &Id) {
        self.removals.lock().add(dir);
    }

    /// A name is gone by this client's own doing; what stood there, as far as it is known.
    pub fn remove_entry(&self, dir: Id, tag: Id) -> Option<Entry> {
        let known = self.entry(&dir, &tag);
        let mut layers = self.rows.lock();
        if layers.has_room() {
            layers.new.entries.insert((dir, tag), None);
        } else {
            // Rather no comparison than one that blames somebody else.
            layers.new.dirs.insert(dir, NEVER);
        }
        self.touched(&mut layers);
        known
    }

    /// Compares a directory's listing with the names known, and remembers those that are new, as `describe` says (if it
    /// does), but for those [`Self::found_entry`] does not remember.
    pub fn compare<'a, T: 'a>(
        &self,
        dir: Id,
        listed: impl IntoIterator<Item = (Id, &'a T)>,
        describe: impl Fn(&Id, &T) -> Option<Entry>,
    ) -> Compared {
        let mut known = self.entries(&dir);
        let sure = self.is_sure(&dir);
        let mut seen = HashSet::new();
        let mut removed = Vec::new();
        for (tag, listed) in listed {
            seen.insert(tag);
            // Otherwise this client may have put something else there before it was killed.
            if !sure || !known.contains_key(&tag) {
                let Some(entry) = describe(&tag, listed) else {
                    continue;
                };
                if !self.found_entry(dir, tag, &entry) {
                    removed.push((tag, entry));
                }
            }
        }
        known.retain(|tag, _| !seen.contains(tag));
        if !sure {
            let mut layers = self.rows.lock();
            layers.new.dirs.insert(dir, self.age);
            self.touched(&mut layers);
        }
        let missing = |(tag, entry)| Missing { tag, entry, sure };
        Compared {
            missing: known.into_iter().map(missing).collect(),
            removed,
        }
    }

    /// This client has just made the directory: all that will be in it, it will have put there itself.
    pub fn begin_dir(&self, dir: Id) {
        let mut layers = self.rows.lock();
        if layers.has_room() {
            layers.new.dirs.insert(dir, self.age);
            self.touched(&mut layers);
        }
    }

    /// Whether what this client knows of a directory's entries is all its own removals left.
    #[must_use]
    pub fn is_sure(&self, dir: &Id) -> bool {
        self.dir_age(dir) == self.age
    }

    /// Whether a configuration was seen to be replaced; otherwise it is remembered as the one that counts.
    pub fn see_config(&self, digest: [u8; 32]) -> Verdict {
        let mut history = self.link.configs();
        let mut layers = self.rows.lock();
        history.extend(&layers.new.configs);
        if history.last() == Some(&digest) {
            return Verdict::Fits;
        }
        if history.contains(&digest) {
            return Verdict::Older;
        }
        layers.new.configs.push(digest);
        self.touched(&mut layers);
        Verdict::Fits
    }

    /// Waits a little for something that should be written now.
    pub fn wait(&self) -> Turn {
        let mut layers = self.rows.lock();
        if !layers.stopping && !layers.is_due() {
            self.wake.wait_for(&mut layers, TICK);
        }
        match (layers.stopping, layers.is_due()) {
            (true, _) => Turn::Stop,
            (false, true) => Turn::Write,
            (false, false) => Turn::Wait,
        }
    }

    /// Lets [`Self::wait`] end.
    pub fn stop(&self) {
        self.rows.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Writes what was seen: `sync` makes everything durable that the rows speak of. When it fails they stay.
    ///
    /// # Errors
    /// Those of `sync`. What the database does not take is tried again with the next rows.
    pub fn write<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if !self.link.is_kept() {
            self.rows.lock().since = None;
            return Ok(());
        }
        let leaving = {
            let mut layers = self.rows.lock();
            layers.since = None;
            if layers.new.is_empty() || layers.leaving.is_some() {
                return Ok(());
            }
            let leaving = Arc::new(std::mem::take(&mut layers.new));
            layers.leaving = Some(Arc::clone(&leaving));
            self.removals.lock().set_aside();
            leaving
        };
        let synced = sync();
        let written = synced.is_ok() && self.link.write(&leaving);
        let mut layers = self.rows.lock();
        layers.leaving = None;
        if written {
            self.removals.lock().written();
        } else {
            self.removals.lock().not_written();
            let newer = std::mem::take(&mut layers.new);
            layers.new = Arc::unwrap_or_clone(leaving);
            layers.new.overlay(newer);
            // With the next ones; trying at once would not go better.
        }
        synced
    }

    /// The memory is complete: the next one to open it need not expect anything else.
    pub fn close(&self) {
        self.removals.lock().close();
    }

    fn object(&self, id: &Id) -> Option<Object> {
        {
            let layers = self.rows.lock();
            if let Some(object) = layers.find(|rows| rows.objects.get(id)) {
                return Some(object.clone());
            }
        }
        self.link.object(id)
    }

    fn put_object(&self, id: Id, object: Object) {
        let mut layers = self.rows.lock();
        // Somebody else was faster with a later state.
        let newer = layers.new.objects.get(&id).is_some_and(|known| {
            object.last.to(&known.last) == Relation::Older && !object.others.contains(&known.last)
        });
        if !newer && (layers.has_room() || layers.new.objects.contains_key(&id)) {
            layers.new.objects.insert(id, object);
            self.touched(&mut layers);
        }
    }

    fn entries(&self, dir: &Id) -> BTreeMap<Id, Entry> {
        let layers = self.rows.lock();
        let mut known = self.link.entries(dir);
        let range = (*dir, [0; 16])..=(*dir, [0xff; 16]);
        let leaving = layers.leaving.as_deref().into_iter();
        for rows in leaving.chain([&layers.new]) {
            for ((_, tag), entry) in rows.entries.range(range.clone()) {
                match entry {
                    Some(entry) => known.insert(*tag, entry.clone()),
                    None => known.remove(tag),
                };
            }
        }
        known
    }

    fn dir_age(&self, dir: &Id) -> u32 {
        {
            let layers = self.rows.lock();
            if let Some(age) = layers.find(|rows| rows.dirs.get(dir)) {
                return *age;
            }
        }
        self.link.dir_age(dir).unwrap_or(NEVER)
    }

    fn touched(&self, layers: &mut Layers) {
        let now = Instant::now();
        layers.since = Some((layers.since.map_or(now, |(first, _)| first), now));
        if layers.new.len() == MANY {
            self.wake.notify_all();
        }
    }
}

impl Layers {
    /// The newest row that `look` finds.
    fn find<'a, T>(&'a self, look: impl Fn(&'a Rows) -> Option<&'a T>) -> Option<&'a T> {
        look(&self.new).or_else(|| self.leaving.as_deref().and_then(look))
    }

    fn is_due(&self) -> bool {
        let waited = |(first, last): (Instant, Instant)| {
            last.elapsed() >= QUIET || first.elapsed() >= PATIENCE
        };
        self.new.len() >= MANY || self.since.is_some_and(waited)
    }

    fn has_room(&self) -> bool {
        self.new.len() < MOST
    }
}

/// The age of a directory that was not compared.
const NEVER: u32 = 0;
