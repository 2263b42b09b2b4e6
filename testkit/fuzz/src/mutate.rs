//! Inputs made of a corpus by a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::LONGEST;

/// What an input is, which decides how it is changed.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Bytes: bits flip, and numbers become extreme.
    Bytes,
    /// Text in UTF-8: also tokens of these are put in, and what comes out is UTF-8 again.
    Text(&'static [&'static str]),
}

/// Values at which lengths, counts and numbers go wrong.
const EXTREMES: [&[u8]; 10] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0xff; 4],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0xff; 8],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
];

/// The input that `seed` makes of the corpus, at most [`LONGEST`] bytes.
pub fn mutated(corpus: &[&[u8]], kind: Kind, seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut input = corpus.choose(&mut random).map(|input| input.to_vec()).unwrap_or_default();
    for _ in 0..random.random_range(1..=6) {
        step(&mut input, corpus, kind, &mut random);
    }
    input.truncate(LONGEST);
    match kind {
        Kind::Bytes => input,
        Kind::Text(_) => String::from_utf8_lossy(&input).into_owned().into_bytes(),
    }
}

fn step(input: &mut Vec<u8>, corpus: &[&[u8]], kind: Kind, random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..8) {
        0 => input.truncate(at),
        1 => {
            let end = (at + random.random_range(1..16)).min(input.len());
            input.drain(at..end);
        }
        2 => flip(input, random),
        3 => overwrite(input, at, EXTREMES.choose(random).copied().unwrap_or_default()),
        4 => {
            let part = part(input, random);
            for _ in 0..random.random_range(1..=64) {
                input.splice(at..at, part.iter().copied());
                if input.len() > LONGEST {
                    break;
                }
            }
        }
        5 => {
            let other = corpus.choose(random).copied().unwrap_or_default();
            let part = part(other, random);
            input.splice(at..at, part);
        }
        6 => insert(input, at, kind, random),
        _ => {
            let other = corpus.choose(random).copied().unwrap_or_default();
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

fn flip(input: &mut [u8], random: &mut StdRng) {
    if !input.is_empty() {
        let at = random.random_range(0..input.len());
        input[at] ^= 1 << random.random_range(0..8);
    }
}

fn overwrite(input: &mut Vec<u8>, at: usize, with: &[u8]) {
    let end = (at + with.len()).min(input.len());
    input.splice(at..end, with.iter().copied());
}

fn insert(input: &mut Vec<u8>, at: usize, kind: Kind, random: &mut StdRng) {
    match kind {
        Kind::Text(tokens) if !tokens.is_empty() => {
            let token = tokens.choose(random).copied().unwrap_or_default();
            input.splice(at..at, token.bytes());
        }
        _ => {
            let byte = random.random();
            input.splice(at..at, [byte]);
        }
    }
}

/// A piece of at most 64 bytes.
fn part(of: &[u8], random: &mut StdRng) -> Vec<u8> {
    let from = random.random_range(0..=of.len());
    let end = (from + random.random_range(1..=64)).min(of.len());
    of[from..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_again() {
        let corpus: [&[u8]; 2] = [b"SELECT 1", b"x"];
        for seed in 0..500 {
            let one = mutated(&corpus, Kind::Text(&["N'"]), seed);
            assert_eq!(one, mutated(&corpus, Kind::Text(&["N'"]), seed));
            assert!(std::str::from_utf8(&one).is_ok(), "seed {seed}");
        }
    }
}
