//! Random changes by another process: whatever changes, a hit after a drain is the current version.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Ground, Random, Writer, is_root, truth};

/// The names that are asked for: by directories, by links, and by hard links.
const NAMES: [&str; 14] = [
    "a/b/0", "a/b/1", "a/b/2", "a/0", "c/b/0", "c/b/1", "c/b/2", "c/0", "l/b/0", "l/b/1", "l/0",
    "a/n/0", "h0", "h1",
];
const FILES: [&str; 10] =
    ["a/b/0", "a/b/1", "a/b/2", "a/0", "c/b/0", "c/b/1", "c/b/2", "c/0", "h0", "h1"];
const DIRECTORIES: [&str; 6] = ["a", "a/b", "c", "c/b", "l", "a/n"];

#[test]
fn no_hit_is_older_than_the_last_change() {
    let Some(mut ground) = Ground::new() else { return };
    plant(&ground.outer);
    hammer(&mut ground, rounds(2000), 1);
}

#[test]
fn no_insertion_keeps_the_past() {
    let Some(mut ground) = Ground::new() else { return };
    plant(&ground.outer);
    let Some(mut writer) = Writer::start(&ground.outer) else { return };
    let (mut random, mut refused, mut hits) = (Random(2), 0, 0);
    for round in 0..rounds(150) {
        let changes: Vec<_> = (0..12).map(|turn| change(&mut random, round * 100 + turn)).collect();
        let mut answers = 0;
        // The changes run while files are inserted.
        for change in &changes {
            writer.send(change);
        }
        while answers < changes.len() {
            let name = random.pick(&NAMES);
            if ground.hit(name).is_none() {
                refused += u32::from(ground.keep(name).is_err());
            }
            // One answer at a time, so that the insertions go on.
            writer.answer();
            answers += 1;
        }
        hits += check(&mut ground, round);
    }
    println!("{hits} hits, {refused} refused insertions");
    assert!(hits > 100 && refused > 0, "{hits} hits, {refused} refused insertions");
}

/// Returns so many rounds, or ten times as many with `KAREZ_HAMMER=full` in the environment.
fn rounds(short: usize) -> usize {
    let full = std::env::var("KAREZ_HAMMER").is_ok_and(|wanted| wanted == "full");
    if full { 10 * short } else { short }
}

/// Makes so many changes of the [planted](plant) files, which may lie in any layer.
pub(super) fn hammer(ground: &mut Ground, rounds: usize, seed: u64) {
    let Some(mut writer) = Writer::start(&ground.outer) else { return };
    let (mut random, mut hits, mut changed) = (Random(seed), 0, 0);
    for round in 0..rounds {
        for _ in 0..2 {
            let name = random.pick(&NAMES);
            if ground.hit(name).is_none() {
                // Missing now, perhaps, or with a sibling.
                let _refused = ground.keep(name);
            }
        }
        let before = ground.cache.len();
        let answer = writer.run(&change(&mut random, round));
        ground.cache.drain();
        changed += usize::from(answer == "ok" && ground.cache.len() < before);
        hits += check(ground, round);
    }
    println!("{hits} hits, {changed} changes dropped entries");
    assert!(hits > rounds && changed > rounds / 4, "{hits} hits, {changed} effective changes");
}

/// Creates the files in a directory.
pub(super) fn plant(directory: &Path) {
    for name in FILES.iter().chain(&["a/n/0"]) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    symlink("a", directory.join("l")).unwrap();
}

/// Compares all hits with the files, and returns how many there were. The writer rests meanwhile.
fn check(ground: &mut Ground, round: usize) -> usize {
    ground.cache.drain();
    let mut hits = 0;
    for name in NAMES {
        let path = ground.path(name);
        if let Some(entry) = ground.cache.get(name.as_bytes()) {
            let current = truth(&path);
            assert_eq!(Some(&entry.value().version), current.as_ref(), "{name} in round {round}");
            hits += 1;
        }
    }
    hits
}

fn change(random: &mut Random, round: usize) -> String {
    let file = random.pick(&FILES);
    let directory = random.pick(&DIRECTORIES);
    match random.below(24) {
        0..=4 => format!("write {file} {round}"),
        5 => format!("append {file} {round}"),
        6 => format!("pwrite {file} {round}"),
        7 => format!("truncate {file} {}", "x".repeat(round % 7)),
        8..=10 => format!("replace {file} {round}"),
        11 => format!("unlink {file}"),
        12 => format!("mode {file}"),
        13 => format!("write {file}{} {round}", random.pick(&[".gz", ".br", ".zst"])),
        // So that no name is missing for long.
        14..=16 => "restore .".to_owned(),
        17 => format!("hard {} {file}", random.pick(&["h0", "h1", "a/b/0"])),
        18 => format!("link l {}", random.pick(&["a", "c", "none"])),
        19 => format!("toggle {directory}"),
        20 => format!("anew a/n {round}"),
        21 if is_root() => format!("mode {directory}"),
        _ => {
            format!("write {} {round}", random.pick(&["unrelated", "a/unrelated", "c/b/unrelated"]))
        }
    }
}
