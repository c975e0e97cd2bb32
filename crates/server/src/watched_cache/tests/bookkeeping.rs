//! A model of the bookkeeping: which entries a change drops, and which watches the rest needs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Ground, Limits, Random, kernel_watches};

/// The entries that have to be there, the most recently used one last.
#[derive(Default)]
struct Model {
    entries: Vec<(String, Needs)>,
}

/// The inodes that an entry depends on, by device and number.
struct Needs {
    watched: Vec<(u64, u64)>,
    file: (u64, u64),
}

/// Returns the needs of an entry whose path has no links.
fn needs(path: &Path) -> Needs {
    Needs { watched: path.ancestors().map(inode).collect(), file: inode(path) }
}

fn inode(path: &Path) -> (u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

#[test]
fn entries_and_watches_are_those_of_the_model() {
    for seed in 0..6 {
        run(seed, Limits { entries: if seed % 2 == 0 { 1024 } else { 7 }, watches: 4096 });
    }
}

fn run(seed: u64, limits: Limits) {
    let Some(mut ground) = Ground::with(limits) else { return };
    let names: Vec<String> = (0..4)
        .flat_map(|a| (0..3).flat_map(move |b| (0..3).map(move |c| format!("d{a}/e{b}/f{c}"))))
        .collect();
    for name in &names {
        ground.write(name, "");
    }
    let (mut random, mut model) = (Random(seed), Model::default());
    for step in 0..1200 {
        let name = &names[random.below(names.len())];
        let clears = ground.cache.clears;
        match random.below(10) {
            0..=4 => model.keep(&mut ground, name),
            5 => model.get(&mut ground, name),
            6 => model.write(&ground, name),
            7 => model.link(&ground, name, &names[random.below(names.len())]),
            8 => model.rename(&ground, name, random.below(2)),
            _ => model.remove(&mut ground, name),
        }
        ground.cache.drain();
        if ground.cache.clears > clears {
            // The host has changed its mounts.
            model.entries.retain(|(key, _)| ground.cache.contains(key.as_bytes()));
        }
        compare(&ground, &model, &format!("seed {seed}, step {step}"));
    }
    ground.cache.clear();
    assert_eq!((ground.cache.watches(), kernel_watches(&ground.cache)), (0, 0));
    assert_eq!(ground.cache.dependencies.totals(), (0, 0));
}

impl Model {
    fn keep(&mut self, ground: &mut Ground, name: &str) {
        if ground.keep(name).is_ok() {
            self.drop_entries(|key, _| key == name);
            self.entries.push((name.to_owned(), needs(&ground.path(name))));
            let surplus = self.entries.len().saturating_sub(ground.cache.limits.entries);
            self.entries.drain(..surplus);
        }
    }

    fn get(&mut self, ground: &mut Ground, name: &str) {
        if ground.cache.get(name.as_bytes()).is_some() {
            let index = self.entries.iter().position(|(key, _)| key == name).unwrap();
            let entry = self.entries.remove(index);
            self.entries.push(entry);
        }
    }

    fn write(&mut self, ground: &Ground, name: &str) {
        ground.write(name, "content");
        let changed = inode(&ground.path(name));
        self.drop_entries(|_, needs| needs.file == changed);
    }

    /// Gives a file another's name, which changes the number of links of both.
    fn link(&mut self, ground: &Ground, name: &str, other: &str) {
        let (path, other) = (ground.path(name), ground.path(other));
        if path != other {
            let changed = [inode(&path), inode(&other)];
            fs::remove_file(&path).unwrap();
            if changed[0] == changed[1] {
                // They were one file already.
                fs::write(&path, "").unwrap();
            } else {
                fs::hard_link(&other, &path).unwrap();
            }
            self.drop_entries(|key, needs| key == name || changed.contains(&needs.file));
        }
    }

    /// Renames a directory on the path, and back.
    fn rename(&mut self, ground: &Ground, name: &str, above: usize) {
        let moved = Path::new(name).ancestors().nth(above + 1).unwrap().to_str().unwrap();
        let away = ground.path("away");
        fs::rename(ground.path(moved), &away).unwrap();
        fs::rename(away, ground.path(moved)).unwrap();
        self.drop_entries(|key, _| Path::new(key).starts_with(moved));
    }

    /// Removes an entry, and changes names that no entry depends on.
    fn remove(&mut self, ground: &mut Ground, name: &str) {
        ground.write(&format!("{name}.unrelated"), "");
        ground.write("unrelated", "");
        let removed = ground.cache.remove(name.as_bytes());
        assert!(!removed || self.entries.iter().any(|(key, _)| key == name));
        self.drop_entries(|key, _| key == name);
    }

    fn drop_entries(&mut self, is_dropped: impl Fn(&str, &Needs) -> bool) {
        self.entries.retain(|(key, needs)| !is_dropped(key, needs));
    }

    fn watches(&self) -> usize {
        let needed = self.entries.iter().flat_map(|(_, needs)| &needs.watched);
        needed.collect::<BTreeSet<_>>().len()
    }
}

fn compare(ground: &Ground, model: &Model, when: &str) {
    let cache = &ground.cache;
    let expected: BTreeSet<_> = model.entries.iter().map(|(key, _)| key.as_str()).collect();
    let kept: BTreeSet<_> =
        cache.numbers.keys().map(|key| std::str::from_utf8(key).unwrap()).collect();
    assert_eq!(kept, expected, "{when}");
    assert_eq!(cache.len(), kept.len(), "{when}");
    assert_eq!(cache.watches(), model.watches(), "{when}");
    assert_eq!(kernel_watches(cache), model.watches(), "{when}");
}
