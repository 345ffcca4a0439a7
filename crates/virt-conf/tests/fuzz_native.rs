//! The seeds of the smaller formats, and each of them damaged in many places, go through the fuzz entry points.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use virt_conf::fuzz::TARGETS;

/// What has seeds elsewhere.
const ELSEWHERE: &str = "domain_xml";

/// Texts that are put over parts of a file.
const DAMAGE: &[&str] = &[
    "",
    "-1",
    "'",
    "\"",
    "\n",
    "=",
    "[",
    "]",
    ",",
    "true",
    "0x",
    "99999999999999999999",
    "\u{e9}",
    "none",
    " ",
    "\0",
    "|",
    "%",
    "/",
    ":",
    "4294967296",
    "file",
    "2",
    ".",
];

/// Each call gives a damaged copy of the text; always the same ones.
fn damaged(text: &[u8], rounds: usize, mut each: impl FnMut(&[u8])) {
    let mut state = text.len() as u64 | 1;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for _ in 0..rounds {
        let mut copy = text.to_vec();
        for _ in 0..=random(2) {
            // What stands between two delimiters is the best place.
            let marks: Vec<usize> = (0..copy.len())
                .filter(|at| b"\"'=,.: \n".contains(&copy[*at]))
                .collect();
            let (start, end) = if marks.len() > 1 && random(4) > 0 {
                let at = random(marks.len() - 1);
                (marks[at] + 1, marks[at + 1])
            } else {
                let start = random(copy.len());
                (start, (start + random(20)).min(copy.len()))
            };
            copy.splice(start..end.max(start), DAMAGE[random(DAMAGE.len())].bytes());
        }
        each(&copy);
    }
}

#[test]
fn small_formats_survive() {
    for (name, target) in TARGETS.iter().filter(|(name, _)| *name != ELSEWHERE) {
        // The name of the entry point is the name of the folder of seeds.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz-seeds")
            .join(name);
        let mut failures = Vec::new();
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).expect("there are seeds").flatten() {
            let seed = std::fs::read(entry.path()).expect("a seed can be read");
            seeds += 1;
            let mut check = |data: &[u8]| {
                if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
                    failures.push(String::from_utf8_lossy(data).into_owned());
                }
            };
            check(&seed);
            damaged(&seed, 600, &mut check);
        }
        assert!(seeds > 0, "no seeds of {name}");
        assert!(
            failures.is_empty(),
            "{name}: {} failures, the first:\n{}",
            failures.len(),
            failures[0]
        );
    }
}
