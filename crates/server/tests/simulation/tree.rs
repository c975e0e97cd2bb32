//! The served files.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

/// Names and sizes of the files.
pub(crate) const FILES: [(&str, usize); 8] = [
    ("empty", 0),
    ("one", 1),
    ("small", 300),
    ("page", 4096),
    ("sixteen", 16 << 10),
    ("seventeen", (16 << 10) + 1),
    ("middle", 70_001),
    ("large", 300_000),
];

/// The number of names in the directory `many`.
pub(crate) const MANY: usize = 60;

/// Returns the content of a file: no two places of it, and no two files, look the same.
pub(crate) fn content(name: &str) -> Vec<u8> {
    let (index, (_, size)) =
        FILES.iter().enumerate().find(|(_, (known, _))| *known == name).unwrap();
    let word = |at: u32| (at ^ (u32::try_from(index).unwrap() << 24)).wrapping_mul(0x9e37_79b1);
    let words = 0..u32::try_from(size / 4 + 1).unwrap();
    let mut bytes: Vec<u8> = words.flat_map(|at| word(at).to_be_bytes()).collect();
    bytes.truncate(*size);
    bytes
}

/// Writes the files, and waits until their time stamps are told apart from those of a later write.
pub(crate) fn write(root: &Path) {
    for (name, _) in FILES {
        fs::write(root.join(name), content(name)).unwrap();
    }
    for directory in ["many", "index", "archive"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for number in 0..MANY {
        fs::write(root.join(format!("many/name-{number:03}")), "").unwrap();
    }
    fs::write(root.join("index/index.html"), content("small")).unwrap();
    for name in ["one", "middle", "small"] {
        fs::write(root.join("archive").join(name), content(name)).unwrap();
    }
    age(root);
    // Time stamps have the granularity of the clock of the kernel, 10 ms at most.
    thread::sleep(Duration::from_millis(50));
}

fn age(directory: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        }
    }
}
