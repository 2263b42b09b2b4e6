//! Fuzzing in the test process, on stable Rust: decoders and parsers are given the files of a corpus and
//! seeded mutations of them.
//!
//! A target is a test named `fuzz::…` beside the code it attacks, so that it reaches what is private
//! there; its corpus is a folder `corpus/<target>` of its crate. In the suite each target takes its corpus
//! and [`RUNS`] mutations. `LOCKSTEP_FUZZ_SECONDS=600` goes on for that long, with new seeds;
//! `LOCKSTEP_FUZZ_SEED=N` repeats one. An input that makes the target panic is written to a file whose
//! path is printed with its seed: put it into the corpus with the correction.
//!
//! There is no feedback from coverage: the corpus carries the shapes, and mutations join, cut, repeat and
//! change them. What a guided fuzzer finds later becomes a file of the corpus.

mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use mutate::{Kind, mutated};

/// Mutations of a target in the suite.
pub const RUNS: u64 = 20_000;

/// Longest input, in bytes: mutations that repeat must not grow without end.
pub const LONGEST: usize = 1 << 16;

/// Attacks `target`, whose corpus is the files of `<root>/corpus/<name>`.
///
/// `root` is `env!("CARGO_MANIFEST_DIR")` of the calling crate. The target judges by panicking: it
/// asserts what must hold of any input, and returns.
///
/// # Panics
///
/// With the target, after the input was written to a file; and if the corpus is empty or cannot be read.
pub fn attack(root: &str, name: &str, kind: Kind, target: impl Fn(&[u8])) {
    let corpus = read(&Path::new(root).join("corpus").join(name));
    for (path, input) in &corpus {
        judge(&target, input, || path.display().to_string());
    }
    let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
    let run = |seed: u64| {
        let input = mutated(&inputs, kind, seed);
        judge(&target, &input, || format!("seed {seed} of {name}, {}", keep(name, seed, &input)));
    };
    if let Some(seed) = number("LOCKSTEP_FUZZ_SEED") {
        return run(seed);
    }
    (0..RUNS).for_each(run);
    if let Some(seconds) = number("LOCKSTEP_FUZZ_SECONDS") {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut seed = RUNS;
        while Instant::now() < end {
            run(seed);
            seed += 1;
        }
        println!("{name}: {seed} inputs");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

fn judge(target: &impl Fn(&[u8]), input: &[u8], describe: impl FnOnce() -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("the target panics with {}", describe());
        resume_unwind(panic);
    }
}

/// Writes an input beside other temporary files and says where.
fn keep(name: &str, seed: u64, input: &[u8]) -> String {
    let path = std::env::temp_dir().join(format!("lockstep-fuzz-{name}-{seed}"));
    match fs::write(&path, input) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("which could not be written to {}: {error}", path.display()),
    }
}

fn read(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("the corpus {} cannot be read: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry of the corpus").path();
            let input = fs::read(&path).expect("a file of the corpus");
            (path, input)
        })
        .collect();
    assert!(!files.is_empty(), "the corpus {} is empty", folder.display());
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_target_is_a_panic_of_the_attack() {
        let root = std::env::temp_dir().join(format!("lockstep-fuzz-test-{}", std::process::id()));
        fs::create_dir_all(root.join("corpus/one")).unwrap();
        fs::write(root.join("corpus/one/a"), b"abc").unwrap();
        let root = root.to_str().unwrap().to_owned();
        attack(&root, "one", Kind::Bytes, |_| {});
        let longest = |input: &[u8]| assert!(input.len() < 6);
        let found = catch_unwind(|| attack(&root, "one", Kind::Bytes, longest));
        fs::remove_dir_all(&root).unwrap();
        assert!(found.is_err(), "mutations repeat parts of the corpus");
    }
}
